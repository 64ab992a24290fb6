// SPDX-License-Identifier: Apache-2.0

package jwks_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/grpcauth/grpcauth/jwks"
)

func newStatic(t *testing.T, keys ...jwks.Key) *jwks.StaticSet {
	t.Helper()
	set, err := jwks.Static(keys...)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// ids gives those of the keys that a set has for a kid, in order.
func ids(t *testing.T, set jwks.Set, kid string) string {
	t.Helper()
	keys, err := set.Keys(t.Context(), kid)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, k := range keys {
		all = append(all, fmt.Sprintf("%q", k.ID))
	}
	return strings.Join(all, " ")
}

func TestFindsKeysByTheirID(t *testing.T) {
	t.Parallel()
	named := []jwks.Key{{ID: "a", Public: edwards(1)}, {ID: "A", Public: edwards(2)}, {ID: "a ", Public: rsaKey(2048)}, secret("HS256", 32)}
	unnamed := []jwks.Key{{Public: pointOn(elliptic.P256())}, {Public: rsaKey(3072)}}
	for _, test := range []struct {
		set       *jwks.StaticSet
		kid, want string
	}{
		{newStatic(t, named...), "a", `"a"`},
		{newStatic(t, named...), "A", `"A"`},
		{newStatic(t, named...), "a ", `"a "`},
		{newStatic(t, named...), "hmac", `"hmac"`},
		{newStatic(t, named...), "", `"a" "A" "a " "hmac"`},
		{newStatic(t, named...), "unknown", ``},
		{newStatic(t, named...), " a", ``},
		{newStatic(t, append(named, unnamed...)...), "a", `"a"`},
		{newStatic(t, append(named, unnamed...)...), "unknown", `"" ""`},
		{newStatic(t, append(named, unnamed...)...), "", `"a" "A" "a " "hmac" "" ""`},
		{newStatic(t, unnamed...), "a", `"" ""`},
	} {
		if got := ids(t, test.set, test.kid); got != test.want {
			t.Errorf("%v, %q: got %s, want %s", test.set, test.kid, got, test.want)
		}
	}
}

func TestRefusesSetsWithoutKeys(t *testing.T) {
	t.Parallel()
	if set, err := jwks.Static(); err == nil || set != nil {
		t.Errorf("got %v, %v", set, err)
	}
	for _, text := range []string{`{"keys":[]}`, `{"keys":[ ]}`} {
		refuses(t, []byte(text), "no keys")
	}
	for _, text := range []string{"", " ", "\r\n\t"} {
		refuses(t, []byte(text), "the document is empty")
	}
	for _, text := range []string{`{}`, `{"key":[]}`, `{"KEYS":[{}]}`, `{"issuer":"https://issuer.example","jwks_uri":"https://issuer.example/keys"}`, `{"k\u0065y":[]}`} {
		refuses(t, []byte(text), `no member "keys"`)
	}
	for _, text := range []string{`[]`, `null`, `"keys"`, `0`, `key`, "MCowBQYDK2VwAyEA", "\x30\x2a\x30\x05"} {
		refuses(t, []byte(text), "not an object")
	}
	for _, text := range []string{`{"keys":[]}{}`, `{"keys":[]`, `{"keys":[],}`, "{\"keys\":[],\"a\":\"\xff\"}", `{"keys":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`} {
		refuses(t, []byte(text), "the JWK set: ")
	}
}

func TestBoundsDocuments(t *testing.T) {
	t.Parallel()
	text := document(t, jwkEd)
	pem := []byte(pkix(t, edwards(1)))
	for _, good := range [][]byte{text, pem} {
		full := slices.Concat(good, bytes.Repeat([]byte(" "), 1<<20-len(good)))
		if got := all(t, full); len(got) != 1 {
			t.Errorf("1 MiB: got %v", got)
		}
		refuses(t, append(full, ' '), "more than 1048576 bytes")
	}
	named := make([]jwk, 1001)
	for i := range named {
		named[i] = jwkEd.with(jwk{"kid": fmt.Sprint(i)})
	}
	if got := all(t, document(t, named[:1000]...)); len(got) != 1000 || got[999].ID != "999" {
		t.Errorf("1,000 keys: got %d", len(got))
	}
	refuses(t, document(t, named...), "more than 1000 keys")
	for i := range named[:1000] {
		named[i]["use"] = "enc" // those that are left out are counted too
	}
	refuses(t, document(t, named...), "more than 1000 keys")
	refuses(t, bytes.Repeat(pem, 1001), "more than 1000 keys")
}

// spoil changes whatever can be reached from keys.
func spoil(keys []jwks.Key) {
	for i := range keys {
		switch public := keys[i].Public.(type) {
		case *rsa.PublicKey:
			public.N.SetInt64(15)
			public.E = 1
		case *ecdsa.PublicKey:
			public.X.SetInt64(1) //nolint:staticcheck // the worst that a caller can do
			public.Curve = elliptic.P224()
		case ed25519.PublicKey:
			clear(public)
		}
		clear(keys[i].Secret)
		keys[i] = jwks.Key{ID: "mallory", Public: edwards(66)}
	}
}

func fresh() []jwks.Key {
	return []jwks.Key{
		{ID: "rsa", Public: rsaKey(2048)},
		{ID: "ec", Public: pointOn(elliptic.P256())},
		{ID: "ed", Public: edwards(1), Use: "sig"},
		secret("HS256", 32),
		{Public: edwards(2)},
		{Algorithm: "RS256", Public: rsaKey(2048)},
		{Algorithm: "PS256", Public: rsaKey(3072)},
	}
}

// isFresh reports a set that does not have these very keys.
func isFresh(t *testing.T, set *jwks.StaticSet, what string) {
	t.Helper()
	keys, err := set.Keys(t.Context(), "")
	if err != nil || !slices.EqualFunc(keys, fresh(), jwks.Key.Equal) || keys[2].Use != "sig" {
		t.Errorf("%s: got %v, %v", what, keys, err)
	}
	for i, want := range fresh() {
		if keys, _ := set.Keys(t.Context(), want.ID); want.ID != "" && (len(keys) != 1 || !keys[0].Equal(want)) {
			t.Errorf("%s, key %d: got %v", what, i, keys)
		}
	}
}

func TestSetsDoNotChangeWithTheirCallers(t *testing.T) {
	t.Parallel()
	given := fresh()
	set := newStatic(t, given...)
	isFresh(t, set, "at first")
	spoil(given)
	isFresh(t, set, "after what was given was changed")
	spoil(set.All())
	isFresh(t, set, "after what All returned was changed")
	for _, kid := range []string{"", "unknown", "rsa"} {
		first, err := set.Keys(t.Context(), kid)
		if err != nil {
			t.Fatal(err)
		}
		second, _ := set.Keys(t.Context(), kid)
		longer := append(first, jwks.Key{ID: "mine"}) //nolint:gocritic // whether the two share what is appended
		_ = append(second, jwks.Key{ID: "yours"})
		if last := longer[len(longer)-1].ID; last != "mine" {
			t.Errorf("Keys of %q: what one caller appends becomes %q", kid, last)
		}
	}
	isFresh(t, set, "after something was appended to what Keys returned")

	text := document(t, jwkEd.with(jwk{"kid": "k", "alg": "EdDSA"}))
	parsed, err := jwks.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	for i := range text {
		text[i] = 'x'
	}
	if got := parsed.All(); !got[0].Equal(jwks.Key{ID: "k", Algorithm: "EdDSA", Public: edwards(1)}) {
		t.Errorf("after the document was changed: got %v", got)
	}
}

func TestAsksNothingOfTheContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if keys, err := newStatic(t, fresh()...).Keys(ctx, "ed"); err != nil || len(keys) != 1 {
		t.Errorf("got %v, %v", keys, err)
	}
}

func TestParsesTheExamplesOfTheRFCs(t *testing.T) {
	t.Parallel()
	got := all(t, []byte(published))
	if len(got) != 2 {
		t.Fatalf("got %v", got)
	}
	public, ok := got[0].Public.(*rsa.PublicKey)
	if !ok || public.N.BitLen() != 2048 || public.E != 65537 || got[0].ID != "2011-04-29" || got[0].Algorithm != "RS256" {
		t.Errorf("RFC 7517, appendix A.1: got %v", got[0])
	}
	seed, ok := new(big.Int).SetString("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60", 16) // RFC 8037, appendix A.1: d
	if want := ed25519.NewKeyFromSeed(seed.Bytes()).Public(); !ok || !got[1].Equal(jwks.Key{Public: want}) {
		t.Errorf("RFC 8037, appendix A.2: got %v", got[1])
	}
	var text struct{ Keys []jwk }
	if err := json.Unmarshal([]byte(published), &text); err != nil {
		t.Fatal(err)
	}
	if got := all(t, document(t, text.Keys[0].with(jwk{"use": nil}))); !got[0].Supports("ES256") {
		t.Errorf("the key for encryption as one for signatures: got %v", got)
	}
}
