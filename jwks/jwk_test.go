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
	"fmt"
	"maps"
	"math/big"
	"strings"
	"testing"

	"github.com/grpcauth/grpcauth/jwks"
)

// jwk is a JSON Web Key as it is written.
type jwk map[string]any

// with is a changed copy; nil takes a member away.
func (j jwk) with(members jwk) jwk {
	changed := maps.Clone(j)
	for name, value := range members {
		if changed[name] = value; value == nil {
			delete(changed, name)
		}
	}
	return changed
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// modulus is as long as that of an RSA key, and nothing verifies with it: no test here needs more.
func modulus(bits uint) *big.Int {
	n := new(big.Int).Lsh(big.NewInt(1), bits-1)
	return n.Add(n, big.NewInt(int64(bits)|1))
}

// pointOn is a point of a curve whose private key is small, and so the same in each run.
func pointOn(curve elliptic.Curve) *ecdsa.PublicKey {
	scalar := make([]byte, (curve.Params().BitSize+7)/8)
	scalar[len(scalar)-1] = 7
	private, err := ecdsa.ParseRawPrivateKey(curve, scalar)
	if err != nil {
		panic(err)
	}
	return &private.PublicKey
}

func edwards(seed byte) ed25519.PublicKey {
	public, _ := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize)).Public().(ed25519.PublicKey)
	return public
}

func jwkEC(curve elliptic.Curve) jwk {
	point, err := pointOn(curve).Bytes()
	if err != nil {
		panic(err)
	}
	half := 1 + len(point)/2
	return jwk{"kty": "EC", "crv": curve.Params().Name, "x": b64(point[1:half]), "y": b64(point[half:])}
}

var (
	jwkRSA = jwk{"kty": "RSA", "n": b64(modulus(2048).Bytes()), "e": "AQAB"}
	jwkEd  = jwk{"kty": "OKP", "crv": "Ed25519", "x": b64(edwards(1))}
)

// document is a set of keys as it is published.
func document(tb testing.TB, keys ...jwk) []byte {
	tb.Helper()
	text, err := json.Marshal(map[string]any{"keys": keys})
	if err != nil {
		tb.Fatal(err)
	}
	return text
}

// all gives the keys of a document.
func all(t *testing.T, document []byte) []jwks.Key {
	t.Helper()
	set, err := jwks.Parse(document)
	if err != nil {
		t.Fatalf("%.200s: %v", document, err)
	}
	return set.All()
}

// refuses reports a document that is taken, or whose error does not say why.
func refuses(t *testing.T, document []byte, why string) {
	t.Helper()
	set, err := jwks.Parse(document)
	if err == nil || set != nil || !strings.HasPrefix(err.Error(), "jwks: ") || !strings.Contains(err.Error(), why) {
		t.Errorf("%.300q: got %v, %v; want %q", document, set, err, why)
	}
}

func TestParsesEveryTypeOfKey(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		text jwk
		want jwks.Key
	}{
		{jwkRSA, jwks.Key{Public: &rsa.PublicKey{N: modulus(2048), E: 65537}}},
		{jwkRSA.with(jwk{"e": "Aw"}), jwks.Key{Public: &rsa.PublicKey{N: modulus(2048), E: 3}}},
		{jwkRSA.with(jwk{"e": b64([]byte{0x7f, 0xff, 0xff, 0xff})}), jwks.Key{Public: &rsa.PublicKey{N: modulus(2048), E: 1<<31 - 1}}},
		{jwkRSA.with(jwk{"n": b64(modulus(16384).Bytes()), "alg": "PS512"}), jwks.Key{Algorithm: "PS512", Public: &rsa.PublicKey{N: modulus(16384), E: 65537}}},
		{jwkEC(elliptic.P256()), jwks.Key{Public: pointOn(elliptic.P256())}},
		{jwkEC(elliptic.P384()).with(jwk{"alg": "ES384"}), jwks.Key{Algorithm: "ES384", Public: pointOn(elliptic.P384())}},
		{jwkEC(elliptic.P521()), jwks.Key{Public: pointOn(elliptic.P521())}},
		{jwkEd, jwks.Key{Public: edwards(1)}},
		{jwkEd.with(jwk{"alg": "EdDSA"}), jwks.Key{Algorithm: "EdDSA", Public: edwards(1)}},
		{jwkEd.with(jwk{"alg": "Ed25519", "kid": "k 1", "use": "sig"}), jwks.Key{ID: "k 1", Algorithm: "Ed25519", Use: "sig", Public: edwards(1)}},
		{jwkEd.with(jwk{"key_ops": []string{"verify"}}), jwks.Key{Public: edwards(1)}},
		{jwkEd.with(jwk{"key_ops": []string{"sign", "verify"}, "use": ""}), jwks.Key{Public: edwards(1)}},
		{jwkEd.with(jwk{"x5t": 1, "x5c": nil, "ext": true, "Use": "enc", "D": "AQ", "y": "", "n": "?"}), jwks.Key{Public: edwards(1)}},
	} {
		alone, err := json.Marshal(test.text)
		if err != nil {
			t.Fatal(err)
		}
		for _, document := range [][]byte{alone, document(t, test.text), append([]byte("\r\n\t "), alone...)} {
			if got := all(t, document); len(got) != 1 || !got[0].Equal(test.want) || got[0].Use != test.want.Use {
				t.Errorf("%.200s: got %v, want %v", document, got, test.want)
			}
		}
	}
}

func TestRefusesKeysThatAreWeakOrMalformed(t *testing.T) {
	t.Parallel()
	p256, p384 := jwkEC(elliptic.P256()), jwkEC(elliptic.P384())
	for _, test := range []struct {
		key jwk
		why string
	}{
		{jwkRSA.with(jwk{"n": b64(modulus(2047).Bytes())}), "2047 bits"},
		{jwkRSA.with(jwk{"n": b64(modulus(1024).Bytes())}), "1024 bits"},
		{jwkRSA.with(jwk{"n": b64(modulus(16385).Bytes())}), "16385 bits"},
		{jwkRSA.with(jwk{"n": b64(new(big.Int).Lsh(big.NewInt(1), 2047).Bytes())}), "negative or even"},
		{jwkRSA.with(jwk{"e": "AQ"}), "below 3"},
		{jwkRSA.with(jwk{"e": "Ag"}), "even"},
		{jwkRSA.with(jwk{"e": "AQAA"}), "even"},
		{jwkRSA.with(jwk{"e": "gAAAAQ"}), "e is above 2^31-1"},
		{jwkRSA.with(jwk{"e": "AQAAAAAAAAAB"}), "e is above 2^31-1"},
		{jwkRSA.with(jwk{"alg": "ES256"}), `Algorithm "ES256"`},
		{jwkRSA.with(jwk{"alg": "HS256"}), `Algorithm "HS256"`},
		{jwkRSA.with(jwk{"alg": "none"}), `Algorithm "none"`},
		{jwkRSA.with(jwk{"alg": "rs256"}), `Algorithm "rs256"`},
		{jwkRSA.with(jwk{"alg": "RSA-OAEP"}), `Algorithm "RSA-OAEP"`},
		{p256.with(jwk{"alg": "ES384"}), `Algorithm "ES384"`},
		{p384.with(jwk{"alg": "ES256"}), `Algorithm "ES256"`},
		{jwkEC(elliptic.P521()).with(jwk{"alg": "ES256"}), `Algorithm "ES256"`},
		{p256.with(jwk{"alg": "EdDSA"}), `Algorithm "EdDSA"`},
		{p256.with(jwk{"crv": "P-384"}), "48 bytes of the curve"},
		{p384.with(jwk{"crv": "P-256"}), "32 bytes of the curve"},
		{p256.with(jwk{"x": p256["y"], "y": p256["x"]}), "not a point on the curve"},
		{p256.with(jwk{"x": b64(make([]byte, 32)), "y": b64(make([]byte, 32))}), "not a point on the curve"},
		{p256.with(jwk{"x": b64(elliptic.P256().Params().P.Bytes())}), "not a point on the curve"},
		{p256.with(jwk{"y": b64(make([]byte, 31))}), "32 bytes of the curve"},
		{p256.with(jwk{"x": b64(make([]byte, 33))}), "32 bytes of the curve"},
		{p256.with(jwk{"crv": "P-224"}), `crv "P-224"`},
		{p256.with(jwk{"crv": "secp256k1"}), `crv "secp256k1"`},
		{p256.with(jwk{"crv": "p-256"}), `crv "p-256"`},
		{p256.with(jwk{"crv": nil}), `crv ""`},
		{p256.with(jwk{"crv": "Ed25519"}), `crv "Ed25519"`},
		{jwkEd.with(jwk{"crv": "Ed448", "x": b64(make([]byte, 57))}), `crv "Ed448"`},
		{jwkEd.with(jwk{"crv": "X25519", "x": "3p7bfXt9wbTTW2HC7OQ1Nz-DQ8hbeGdNrfx-FG-IK08"}), `crv "X25519"`}, // RFC 8037, appendix A.6
		{jwkEd.with(jwk{"crv": "P-256"}), `crv "P-256"`},
		{jwkEd.with(jwk{"crv": strings.Repeat("x", 1000)}), `crv "` + strings.Repeat("x", 64) + `"`},
		{jwkEd.with(jwk{"alg": "ES256"}), `Algorithm "ES256"`},
		{jwkEd.with(jwk{"alg": "Ed448"}), `Algorithm "Ed448"`},
		{jwkEd.with(jwk{"x": b64(edwards(1)[:31])}), "31 bytes"},
		{jwkEd.with(jwk{"x": b64(append(edwards(1), 0))}), "33 bytes"},
		{jwkEd.with(jwk{"kty": "AKP"}), `kty "AKP"`},
		{jwkEd.with(jwk{"kty": "okp"}), `kty "okp"`},
		{jwkEd.with(jwk{"kty": ""}), `kty ""`},
		{jwkEd.with(jwk{"kty": nil}), `kty ""`},
		{jwkEd.with(jwk{"kty": "RSA"}), "n is missing"},
		{jwkEd.with(jwk{"kid": strings.Repeat("k", 257)}), "ID is longer than 256 bytes"},
	} {
		refuses(t, document(t, test.key), test.why)
		// A good key beside it does not save it, and the error says which one it is.
		refuses(t, document(t, jwkRSA.with(jwk{"kid": "good"}), test.key), "jwks: key 1 (ID ")
	}
}

func TestRefusesMembersOfAnotherType(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"kty", "kid", "alg", "use", "crv", "x", "y", "n", "e"} {
		for _, value := range []any{json.RawMessage("null"), 1, true, []string{"sig"}, jwk{}} {
			refuses(t, document(t, jwkEd.with(jwk{name: value})), name+" is not a string")
		}
	}
	for _, value := range []any{json.RawMessage("null"), "verify", 1, jwk{}, []any{"verify", nil}, []any{1}} {
		refuses(t, document(t, jwkEd.with(jwk{"key_ops": value})), "key_ops is not an array of strings")
	}
	for _, value := range []string{`null`, `1`, `"key"`, `[]`, `[{}]`} {
		refuses(t, []byte(`{"keys":[`+value+`]}`), "not an object")
	}
	for _, value := range []string{`null`, `1`, `"key"`, `{}`, `{"keys":[]}`} {
		refuses(t, []byte(`{"keys":`+value+`}`), `"keys" is not an array`)
	}
}

func TestRefusesNumbersThatAreNotCanonical(t *testing.T) {
	t.Parallel()
	for name, key := range map[string]jwk{"n": jwkRSA, "e": jwkRSA, "x": jwkEd, "y": jwkEC(elliptic.P256())} {
		text, _ := key[name].(string)
		for what, changed := range map[string]string{
			"nothing": "", "padding": text + "=", "more padding": text + "==", "too much padding": text + "====", "a space before": " " + text, "a space after": text + " ", "a line break": text[:2] + "\n" + text[2:],
			"a line break after": text + "\r\n", "the standard alphabet": text[:len(text)-4] + "+/+/", "a dot": text + ".", "one character too many": text + "A", "not ASCII": text[:len(text)-1] + "é", "an escape": text + "%3D",
		} {
			if what == "one character too many" && len(text)%4 != 0 {
				changed = text[:len(text)/4*4] + "A"
			}
			refuses(t, document(t, key.with(jwk{name: changed})), name+" is missing or not canonical base64url")
		}
		refuses(t, document(t, key.with(jwk{name: nil})), name+" is missing")
	}
	for name, key := range map[string]jwk{"n": jwkRSA, "x": jwkEd, "y": jwkEC(elliptic.P256())} {
		// These have bits to spare in their last character.
		text, _ := key[name].(string)
		const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
		last := strings.IndexByte(alphabet, text[len(text)-1])
		refuses(t, document(t, key.with(jwk{name: text[:len(text)-1] + alphabet[last+1:last+2]})), name+" is missing or not canonical base64url")
	}
	for name, number := range map[string][]byte{"n": modulus(2048).Bytes(), "e": {1, 0, 1}} { // RFC 7518, section 2: the fewest bytes
		for zeros := 1; zeros < 3; zeros++ {
			refuses(t, document(t, jwkRSA.with(jwk{name: b64(append(make([]byte, zeros), number...))})), name+" begins with a zero byte")
		}
	}
	refuses(t, document(t, jwkRSA.with(jwk{"e": "AA"})), "e begins with a zero byte")
}

func TestLeavesOutKeysOfAnotherUse(t *testing.T) {
	t.Parallel()
	for _, other := range []jwk{
		{"use": "enc"},
		{"use": "SIG"},
		{"use": "sig "},
		{"use": "tls"},
		{"key_ops": []string{}},
		{"key_ops": []string{"encrypt"}},
		{"key_ops": []string{"sign"}},
		{"key_ops": []string{"VERIFY"}},
		{"use": "enc", "key_ops": []string{"verify"}},
		{"use": "sig", "key_ops": []string{"wrapKey", "unwrapKey"}},
		{"use": "enc", "alg": "RSA-OAEP"},
		{"use": "enc", "kty": "unheard-of"},
		{"use": "enc", "crv": "X25519"},
		{"use": "enc", "x": "short"},
	} {
		other = jwkEd.with(jwk{"kid": "other"}).with(other)
		got := all(t, document(t, other, jwkRSA.with(jwk{"kid": "mine"}), other))
		if len(got) != 1 || got[0].ID != "mine" {
			t.Errorf("%v: got %v", other, got)
		}
		refuses(t, document(t, other), "no keys")
	}
}

func TestRefusesPrivateAndSecretKeys(t *testing.T) {
	t.Parallel()
	const why = "it holds a secret or a private key"
	secret := jwk{"kty": "oct", "alg": "HS256", "k": b64(make([]byte, 32))}
	keys := []jwk{secret, secret.with(jwk{"k": nil}), secret.with(jwk{"use": "enc"}), jwkEd.with(jwk{"d": json.RawMessage("null")}), jwkEd.with(jwk{"d": "canary", "use": "enc"}), jwkEd.with(jwk{"d": "canary", "key_ops": []string{"sign"}})}
	for _, member := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"} {
		keys = append(keys, jwkRSA.with(jwk{member: "canary"}), jwkEC(elliptic.P256()).with(jwk{member: []int{}}))
	}
	for _, key := range keys {
		refuses(t, document(t, key), why)
		refuses(t, document(t, jwkEd.with(jwk{"kid": "good"}), key), why)
		if _, err := jwks.Parse(document(t, key)); err != nil && strings.Contains(err.Error(), "canary") {
			t.Errorf("the error shows the key: %v", err)
		}
	}
}

func TestRefusesAmbiguousSets(t *testing.T) {
	t.Parallel()
	twin := jwkEd.with(jwk{"x": b64(edwards(2))})
	for _, kid := range []string{"1", "k", " ", "é"} {
		refuses(t, document(t, jwkEd.with(jwk{"kid": kid}), twin.with(jwk{"kid": kid})), "is that of another key too")
		refuses(t, document(t, jwkEd.with(jwk{"kid": kid}), jwkEd.with(jwk{"kid": kid})), "is that of another key too")
		refuses(t, document(t, jwkEd.with(jwk{"kid": kid}), jwkRSA.with(jwk{"kid": kid})), "is that of another key too")
	}
	const unnamed = "another key without an ID serves the same algorithm"
	for _, pair := range [][2]jwk{
		{jwkEd, twin},
		{jwkEd, jwkEd.with(jwk{"kid": ""})},
		{jwkEd.with(jwk{"alg": "EdDSA"}), twin.with(jwk{"alg": "Ed25519"})},
		{jwkEd.with(jwk{"alg": "EdDSA"}), twin},
		{jwkRSA, jwkRSA.with(jwk{"e": "Aw", "alg": "PS256"})},
		{jwkRSA.with(jwk{"alg": "RS256"}), jwkRSA.with(jwk{"e": "Aw", "alg": "RS256"})},
	} {
		refuses(t, document(t, pair[0], pair[1]), unnamed)
		refuses(t, document(t, pair[1], jwkEC(elliptic.P256()), pair[0]), unnamed)
	}
	got := all(t, document(t, jwkEd, jwkEC(elliptic.P256()), jwkEC(elliptic.P384()), jwkRSA.with(jwk{"alg": "RS256"}), jwkRSA.with(jwk{"alg": "PS256"}), jwkEd.with(jwk{"kid": "a"}), jwkEd.with(jwk{"kid": "A"})))
	if len(got) != 7 {
		t.Errorf("keys of which each token has one: got %v", got)
	}
}

func TestRefusesMembersOfOneNameInAKey(t *testing.T) {
	t.Parallel()
	const why = "two members of one name"
	key := `"kty":"OKP","crv":"Ed25519","x":"` + b64(edwards(1)) + `"`
	for _, twice := range []string{`"use":"enc","use":"sig"`, `"use":"sig","Use":"enc"`, `"kid":"1","\u006bid":"2"`, `"kid":"1","\u212aid":"2"`, `"uſe":"sig","use":"enc"`, `"kty":"RSA"`, `"ext":{"a":1,"A":2}`} {
		refuses(t, []byte(`{"keys":[{`+key+`,`+twice+`}]}`), why)
		refuses(t, []byte(`{`+key+`,`+twice+`}`), why)
	}
	refuses(t, fmt.Appendf(nil, `{"keys":[{%s}],"keys":[]}`, key), why)
	refuses(t, fmt.Appendf(nil, `{"keys":[{%s}],"Keys":[{%[1]s}]}`, key), why)
	refuses(t, fmt.Appendf(nil, `{"keys":[{%s}],"\u212aeys":[]}`, key), why)
}
