// SPDX-License-Identifier: Apache-2.0

package jwks

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// parsePublished reads the JWK set of a provider. A key that cannot be used is skipped, so that one new kind of key does not stop a service; a set in which
// two keys have one ID is refused whole, since nobody can say which one is meant.
func parsePublished(document []byte) (set *StaticSet, skipped int, err error) {
	found, err := parseJSON(document)
	if err != nil {
		return nil, 0, err
	}
	var keys []Key
	for _, f := range found {
		switch {
		case f.err != nil:
			skipped++
		case !f.otherUse:
			keys = append(keys, f.key)
		}
	}
	if len(keys) == 0 {
		return nil, skipped, errors.New("the set has no key that can be used")
	}
	set, err = Static(keys...)
	return set, skipped, err
}

// freshness is how long an answer may be used without asking again (RFC 9111, section 4.2), or otherwise if it does not say.
func freshness(header http.Header, otherwise time.Duration) time.Duration {
	for directive := range strings.SplitSeq(strings.ToLower(strings.Join(header.Values("Cache-Control"), ",")), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
		switch name {
		case "no-store", "no-cache":
			return 0 // whatever else it says
		case "max-age":
			if seconds, err := strconv.ParseInt(strings.Trim(value, `"`), 10, 32); err == nil {
				age, _ := strconv.ParseInt(header.Get("Age"), 10, 32)
				otherwise = time.Duration(seconds-max(age, 0)) * time.Second
			}
		}
	}
	return otherwise
}
