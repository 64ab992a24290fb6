// SPDX-License-Identifier: Apache-2.0

package mtls

import (
	"errors"
	"fmt"
	"strings"
)

const (
	spiffePrefix   = "spiffe://"
	maxID          = 2048
	maxTrustDomain = 255
)

// ID is a SPIFFE ID: a trust domain and, if it names a workload, a path in it. IDs are equal if and only if they compare equal by ==.
// The zero ID names nothing.
type ID struct {
	text string
	path int // where the path begins
}

// ParseID reads a SPIFFE ID, as it is written: "spiffe://example.org/ns/shop/sa/orders".
//
// The trust domain is 1 to 255 of the characters a-z, 0-9, dot, hyphen and underscore. Each segment of the path is one or more of these and A-Z, and
// neither "." nor "..". There is no slash at the end, no port, user, query, fragment or percent-encoding, and the whole has at most 2048 bytes.
func ParseID(text string) (ID, error) {
	domain, path, err := split(text)
	if err != nil {
		return ID{}, err
	}
	for path != "" {
		var segment string
		segment, path = nextSegment(path)
		if err := checkSegment(segment); err != nil {
			return ID{}, err
		}
	}
	return ID{text: text, path: len(spiffePrefix) + len(domain)}, nil
}

// String is the ID as it is written.
func (id ID) String() string { return id.text }

// TrustDomain is the trust domain alone: "example.org".
func (id ID) TrustDomain() string {
	if id.path == 0 {
		return ""
	}
	return id.text[len(spiffePrefix):id.path]
}

// Path is the path with its leading slash, empty if the ID has none: "/ns/shop/sa/orders".
func (id ID) Path() string { return id.text[id.path:] }

// Pattern matches SPIFFE IDs. The zero Pattern matches none.
type Pattern struct {
	domain, path string
}

// ParsePattern reads a pattern: a SPIFFE ID with a path, in which the segment "*" stands for any one segment, and the last may be "**", which stands for
// one or more.
//
// "spiffe://example.org/ns/*/sa/**" matches "spiffe://example.org/ns/shop/sa/orders". Everything else stands for itself, segments
// are matched whole, and the trust domain is always one certain domain.
func ParsePattern(text string) (Pattern, error) {
	domain, path, err := split(text)
	switch {
	case err != nil:
		return Pattern{}, err
	case path == "":
		return Pattern{}, errors.New(`a pattern has a path: write "/**" behind the trust domain for all that is in it`)
	}
	for rest := path; rest != ""; {
		var segment string
		segment, rest = nextSegment(rest)
		if segment == "*" || segment == "**" && rest == "" {
			continue
		}
		if strings.Contains(segment, "*") {
			return Pattern{}, errors.New(`in a pattern a star stands for a whole segment, and "**" stands at the end`)
		}
		if err := checkSegment(segment); err != nil {
			return Pattern{}, err
		}
	}
	return Pattern{domain: domain, path: path}, nil
}

// String is the pattern as it is written.
func (p Pattern) String() string {
	if p.path == "" {
		return ""
	}
	return spiffePrefix + p.domain + p.path
}

// Match reports whether the pattern matches an ID.
func (p Pattern) Match(id ID) bool {
	if p.path == "" || id.TrustDomain() != p.domain {
		return false
	}
	path, pattern := id.Path(), p.path
	for path != "" && pattern != "" {
		var segment, want string
		segment, path = nextSegment(path)
		want, pattern = nextSegment(pattern)
		switch {
		case want == "**":
			return true
		case want != "*" && want != segment:
			return false
		}
	}
	return path == "" && pattern == ""
}

// split takes apart what an ID and a pattern have in common. The path is empty or begins with a slash; its segments are not checked.
func split(text string) (domain, path string, err error) {
	rest, ok := strings.CutPrefix(text, spiffePrefix)
	switch {
	case len(text) > maxID:
		return "", "", fmt.Errorf("a SPIFFE ID has at most %d bytes", maxID)
	case !ok:
		return "", "", fmt.Errorf("a SPIFFE ID begins with %q", spiffePrefix)
	}
	end := strings.IndexByte(rest, '/')
	if end < 0 {
		end = len(rest)
	}
	domain, path = rest[:end], rest[end:]
	if domain == "" || len(domain) > maxTrustDomain {
		return "", "", fmt.Errorf("a trust domain has 1 to %d bytes", maxTrustDomain)
	}
	for i := range len(domain) {
		if !isLower(domain[i]) {
			return "", "", errors.New("a trust domain has a-z, 0-9, dots, hyphens and underscores only")
		}
	}
	return domain, path, nil
}

// nextSegment cuts the first segment off a path that begins with a slash.
func nextSegment(path string) (segment, rest string) {
	path = path[1:]
	if end := strings.IndexByte(path, '/'); end >= 0 {
		return path[:end], path[end:]
	}
	return path, ""
}

func checkSegment(segment string) error {
	if segment == "" || segment == "." || segment == ".." {
		return errors.New(`a segment of a path is neither empty nor "." nor ".."`)
	}
	for i := range len(segment) {
		if c := segment[i]; !isLower(c) && (c < 'A' || c > 'Z') {
			return errors.New("a path has a-z, A-Z, 0-9, dots, hyphens and underscores only")
		}
	}
	return nil
}

func isLower(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '.' || c == '-' || c == '_'
}
