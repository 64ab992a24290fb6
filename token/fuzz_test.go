// SPDX-License-Identifier: Apache-2.0

package token_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/grpcauth/grpcauth/token"
)

// FuzzRefreshToken: of all texts there are, one is good, and one ends the family: that of the token before. Whatever else is read is refused before the store is asked
// anything, or is one of another family or with another proof.
func FuzzRefreshToken(f *testing.F) {
	r := newRefresher(f, token.RefreshOptions{})
	text, g, err := r.Start(f.Context(), token.Grant{Subject: "alice"})
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{
		text, "", ".", "..", g.Family, g.Family + ".", text[:86], text + "A", text + "\n", "\r" + text, strings.Replace(text, ".", "\x00", 1), strings.ToUpper(text), strings.ToLower(text),
		strings.Repeat("A", 22) + "." + strings.Repeat("A", 64), strings.Repeat("A", 21) + "B." + strings.Repeat("A", 64), strings.Repeat("=", 22) + "." + strings.Repeat("_", 64), text[:23] + "\n" + text[24:],
		"eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.", text + "." + text, strings.Repeat("A", 1<<16), "\xff\xfe",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, shown string) {
		next, grant, err := r.Rotate(t.Context(), shown, token.Client{ID: "nobody"})
		if next != "" || grant != nil || err == nil {
			t.Fatalf("%q was rotated for another client", shown)
		}
		switch {
		case strings.HasPrefix(shown, text[:45]) && len(shown) == len(text) && errors.Is(err, token.ErrOtherClient):
		case !errors.Is(err, token.ErrInvalid):
			t.Fatalf("%q: got %v", shown, err)
		}
		if shown != text && shown[:min(len(shown), 45)] != text[:45] {
			if err := r.Revoke(t.Context(), shown); !errors.Is(err, token.ErrInvalid) {
				t.Fatalf("%q revoked a family: %v", shown, err)
			}
		}
		if err := r.RevokeFamily(t.Context(), shown); shown != g.Family && !errors.Is(err, token.ErrInvalid) {
			t.Fatalf("%q is taken for a family: %v", shown, err)
		}
	})
}
