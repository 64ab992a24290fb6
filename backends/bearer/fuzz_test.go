// SPDX-License-Identifier: Apache-2.0

package bearer_test

import (
	"regexp"
	"strings"
	"testing"

	"google.golang.org/grpc/metadata"

	"github.com/grpcauth/grpcauth/backends/bearer"
	"github.com/grpcauth/grpcauth/grpcauthtest"
)

// FuzzToken sends any header to a backend that knows one token. The oracle is a regular expression.
func FuzzToken(f *testing.F) {
	const known = "mF_9.B5f-4.1JqM~+/=="
	for _, header := range []string{
		"Bearer " + known, "bearer " + known, "BEARER " + known, "Bearer  " + known, "Bearer " + known + " ", "Bearer\t" + known, "Bearer " + known + "=", "Bearer " + known[:len(known)-1],
		"Bearer " + known + "," + known, "Bearer " + known + ", Bearer " + known, "Bearer \u00a0" + known, "Bearer " + known + "\r\n", "Bearer " + known + "\x00", "Bearer", "Bearer ", "", known,
		"Basic " + known, "Bearer=" + known, "Bearer " + strings.ToLower(known), "Bearer " + strings.Repeat("a", 65), "Bearer " + strings.Repeat("=", 20), "Bearer a=b", "\u212aearer " + known,
	} {
		f.Add(header)
	}
	well := regexp.MustCompile(`^[Bb][Ee][Aa][Rr][Ee][Rr] ([A-Za-z0-9._~+/-]+=*)$`)
	f.Fuzz(func(t *testing.T, header string) {
		j := only(known)
		b := newBackend(t, j, bearer.Options{MaxTokenBytes: 64})
		found := well.FindStringSubmatch(header)
		call := func() string {
			return answer(b.Authenticate(t.Context(), grpcauthtest.RequestMD(t.Context(), method, metadata.MD{"authorization": {header}})))
		}
		first := call()
		if accepted := len(found) == 2 && found[1] == known; (first == known) != accepted {
			t.Errorf("%q: got %s", header, first)
		}
		switch first {
		case known, refused, malformed, "CREDENTIALS_MISSING":
		default:
			t.Errorf("%q: got %s", header, first)
		}
		if again := call(); again != first {
			t.Errorf("%q: got %s, and then %s", header, first, again)
		}
		for _, token := range j.seen {
			if len(found) != 2 || token != found[1] || len(token) > 64 {
				t.Errorf("%q: the verifier was shown %q", header, token)
			}
		}
		if len(j.seen) > 1 {
			t.Errorf("%q: the verifier was asked %d times about one token", header, len(j.seen))
		}
	})
}
