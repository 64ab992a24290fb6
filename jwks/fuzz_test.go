// SPDX-License-Identifier: Apache-2.0

package jwks_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/grpcauth/grpcauth/jwks"
)

// FuzzParse checks the rules of keys with nothing of the package: the sets that Parse returns have keys that are strong enough, each of which is in the
// document, and no two that a token could mean at once.
func FuzzParse(f *testing.F) {
	edText, ecText := jwkEd.with(jwk{"kid": "k"}), jwkEC(elliptic.P521())
	for _, keys := range [][]jwk{
		{},
		{jwkRSA},
		{jwkEd},
		{ecText},
		{edText, jwkRSA, ecText},
		{edText, edText},
		{jwkEd, jwkEd},
		{edText.with(jwk{"use": "enc"}), jwkRSA},
		{edText.with(jwk{"key_ops": []string{"sign"}})},
		{edText.with(jwk{"d": "AQ"})},
		{jwkRSA.with(jwk{"e": "AQ"})},
		{jwkRSA.with(jwk{"n": b64(modulus(1024).Bytes())})},
		{ecText.with(jwk{"y": ecText["x"]})},
		{ecText.with(jwk{"crv": "P-256"})},
		{jwk{"kty": "oct", "k": "AQ", "alg": "HS256"}},
		{jwkRSA.with(jwk{"alg": "PS256"}), jwkRSA.with(jwk{"alg": "RS256"})},
	} {
		f.Add(document(f, keys...))
	}
	good := pkix(f, edwards(1))
	for _, text := range []string{
		published, "", "{}", `{"keys":null}`, `{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`, `{"keys":[],"Keys":[]}`, "\ufeff{}", good, good + pkix(f, rsaKey(2048)), good + good, good + "text", good[:50] + "\n" + good,
		certificate(f, pointOn(elliptic.P256())), block("RSA PRIVATE KEY", nil), block("PUBLIC KEY", []byte{0x30}), "-----", "-----BEGIN ",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		given := bytes.Clone(text)
		set, err := jwks.Parse(text)
		if !bytes.Equal(text, given) {
			t.Fatal("the document was changed")
		}
		if err != nil {
			if set != nil || !strings.HasPrefix(err.Error(), "jwks: ") || len(err.Error()) > 1500 {
				t.Errorf("got %v, %v", set, err)
			}
			return
		}
		keys := set.All()
		if len(keys) == 0 || len(keys) > 1000 || len(text) > 1<<20 {
			t.Errorf("%d keys of %d bytes", len(keys), len(text))
		}
		seen := map[string]int{}
		for i, k := range keys {
			strong(t, k)
			inside(t, text, k)
			for _, algorithm := range []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"} {
				meant := "without an ID for " + algorithm
				if k.ID != "" {
					meant = "of the ID " + k.ID // whatever the algorithm
				}
				if other, ok := seen[meant]; ok && other != i && k.Supports(algorithm) {
					t.Errorf("%v: two keys %s", keys, meant)
				}
				if k.Supports(algorithm) {
					seen[meant] = i
				}
			}
			if found, err := set.Keys(t.Context(), k.ID); err != nil || k.ID != "" && (len(found) != 1 || !found[0].Equal(k)) {
				t.Errorf("%v: got %v, %v", k, found, err)
			}
		}
		if again, err := jwks.Static(keys...); err != nil || !slices.EqualFunc(again.All(), keys, jwks.Key.Equal) {
			t.Errorf("Static(%v): got %v, %v", keys, again, err)
		}
	})
}

// strong reports a key that breaks a rule.
func strong(t *testing.T, k jwks.Key) {
	t.Helper()
	var fits []string
	ok := false
	switch public := k.Public.(type) {
	case *rsa.PublicKey:
		fits = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
		ok = public.N.Sign() > 0 && public.N.BitLen() >= 2048 && public.N.BitLen() <= 16384 && public.N.Bit(0) == 1 && public.E >= 3 && public.E%2 == 1
	case *ecdsa.PublicKey:
		fits = []string{map[elliptic.Curve]string{elliptic.P256(): "ES256", elliptic.P384(): "ES384", elliptic.P521(): "ES512"}[public.Curve]}
		ok = fits[0] != "" && onCurve(public)
	case ed25519.PublicKey:
		fits = []string{"EdDSA", "Ed25519"}
		ok = len(public) == 32
	}
	if !ok || k.Secret != nil || len(k.ID) > 256 || k.Use != "" && k.Use != "sig" || k.Algorithm != "" && !slices.Contains(fits, k.Algorithm) {
		t.Errorf("%v was taken", k)
	}
}

// onCurve computes y² = x³ - 3x + b.
func onCurve(public *ecdsa.PublicKey) bool {
	x, y := coordinates(public)
	p := public.Params()
	right := new(big.Int).Exp(x, big.NewInt(3), nil)
	right.Sub(right, new(big.Int).Mul(x, big.NewInt(3)))
	right.Mod(right.Add(right, p.B), p.P)
	left := new(big.Int).Exp(y, big.NewInt(2), p.P)
	return left.Cmp(right) == 0 && x.Cmp(p.P) < 0 && y.Cmp(p.P) < 0
}

// inside reports a key of JSON whose numbers or ID are not in a member of the document that encoding/json reads.
func inside(t *testing.T, text []byte, k jwks.Key) {
	t.Helper()
	if bytes.HasPrefix(bytes.TrimLeft(text, " \t\r\n"), []byte("-----")) {
		return
	}
	var document struct{ Keys []map[string]any }
	var alone map[string]any
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber() // one that no float64 holds is JSON still
	if err := decoder.Decode(&alone); err != nil || !json.Valid(text) {
		t.Fatalf("encoding/json refuses the document: %v", err)
	}
	_ = json.Unmarshal(text, &document) // a single key may have members of another type
	if _, isSet := alone["keys"]; !isSet {
		document.Keys = []map[string]any{alone}
	}
	var want []byte
	switch public := k.Public.(type) {
	case *rsa.PublicKey:
		want = public.N.Bytes()
	case *ecdsa.PublicKey:
		x, _ := coordinates(public)
		want = x.FillBytes(make([]byte, (public.Params().BitSize+7)/8))
	case ed25519.PublicKey:
		want = public
	}
	if !slices.ContainsFunc(document.Keys, func(written map[string]any) bool {
		kid, _ := written["kid"].(string)
		use, _ := written["use"].(string)
		_, private := written["d"]
		number := base64.RawURLEncoding.EncodeToString(want)
		return kid == k.ID && use == k.Use && !private && (written["n"] == number || written["x"] == number)
	}) {
		t.Errorf("%v is not in the document", k)
	}
}
