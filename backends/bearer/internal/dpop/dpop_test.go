// SPDX-License-Identifier: Apache-2.0

package dpop_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/grpcauth/grpcauth/backends/bearer/internal/dpop"
)

// Proofs of RFC 9449, sections 4.1 and 7.1, both of one key.
const (
	rfcHeader = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19"
	rfcGrant  = rfcHeader + ".eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwiaWF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg"
	rfcProof  = rfcHeader + ".eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm90ZWN0ZWRyZXNvdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9.2oW9RP35yRqzhrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA"
)

const claims = `{"jti":"a","htm":"POST","htu":"https://orders.example.com/shop.v1.Orders/Get","iat":1700000000,"ath":"h","nonce":"n"}`

func b64[T ~string | ~[]byte](b T) string { return base64.RawURLEncoding.EncodeToString([]byte(b)) }

// caller is a key that signs by one algorithm.
type caller struct {
	algorithm, jwk string
	key            crypto.Signer
}

// header is what its proofs begin with.
func (c caller) header() string {
	return fmt.Sprintf(`{"typ":"dpop+jwt","alg":%q,"jwk":%s}`, c.algorithm, c.jwk)
}

func (c caller) proof(tb testing.TB, header, claims string) string {
	tb.Helper()
	signed := b64(header) + "." + b64(claims)
	return signed + "." + b64(c.sign(tb, signed))
}

func (c caller) sign(tb testing.TB, signed string) []byte {
	tb.Helper()
	hash := map[string]crypto.Hash{"256": crypto.SHA256, "384": crypto.SHA384, "512": crypto.SHA512}[c.algorithm[2:]]
	digest := []byte(signed)
	if hash != 0 {
		h := hash.New()
		_, _ = h.Write(digest)
		digest = h.Sum(nil)
	}
	var signature []byte
	var err error
	switch key := c.key.(type) {
	case *ecdsa.PrivateKey:
		r, s, errSign := ecdsa.Sign(rand.Reader, key, digest)
		if errSign != nil {
			tb.Fatal(errSign)
		}
		size := (key.Curve.Params().BitSize + 7) / 8
		signature = append(r.FillBytes(make([]byte, size)), s.FillBytes(make([]byte, size))...)
	case *rsa.PrivateKey:
		if signature, err = rsa.SignPKCS1v15(rand.Reader, key, hash, digest); c.algorithm == "PS256" {
			signature, err = rsa.SignPSS(rand.Reader, key, hash, digest, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
		}
	case ed25519.PrivateKey:
		signature = ed25519.Sign(key, digest)
	}
	if err != nil {
		tb.Fatal(err)
	}
	return signature
}

func callerEC(algorithm string, curve elliptic.Curve) caller {
	size := (curve.Params().BitSize + 7) / 8
	key, err := ecdsa.ParseRawPrivateKey(curve, big.NewInt(int64(size)).FillBytes(make([]byte, size)))
	if err != nil {
		panic(err)
	}
	point, err := key.PublicKey.Bytes()
	if err != nil {
		panic(err)
	}
	return caller{algorithm, fmt.Sprintf(`{"kty":"EC","crv":%q,"x":%q,"y":%q}`, curve.Params().Name, b64(point[1:1+size]), b64(point[1+size:])), key}
}

// callers are one for each algorithm.
var callers = sync.OnceValue(func() map[string]caller {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	jwkRSA := fmt.Sprintf(`{"kty":"RSA","n":%q,"e":"AQAB"}`, b64(rsaKey.N.Bytes()))
	edKey := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	jwkEd := fmt.Sprintf(`{"kty":"OKP","crv":"Ed25519","x":%q}`, b64(edKey.Public().(ed25519.PublicKey)))
	return map[string]caller{
		"RS256": {"RS256", jwkRSA, rsaKey}, "PS256": {"PS256", jwkRSA, rsaKey}, "EdDSA": {"EdDSA", jwkEd, edKey}, "Ed25519": {"Ed25519", jwkEd, edKey},
		"ES256": callerEC("ES256", elliptic.P256()), "ES384": callerEC("ES384", elliptic.P384()), "ES512": callerEC("ES512", elliptic.P521()),
	}
})

// verify is nil for a proof that is good by itself.
func verify(text string, algorithms ...string) error {
	proof, err := dpop.Parse(text, algorithms)
	if err != nil {
		return fmt.Errorf("parse: %w", err)
	}
	return proof.Verify()
}

func TestProofsOfTheRFCVerify(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]dpop.Proof{
		rfcGrant: {ID: "-BwC3ESc6acc2lTc", Method: "POST", URL: "https://server.example.com/token", IssuedAt: 1562262616},
		rfcProof: {ID: "e1j3V_bKic8-LAEB", Method: "GET", URL: "https://resource.example.org/protectedresource", IssuedAt: 1562262618, TokenHash: dpop.TokenHash("Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU")},
	} {
		p, err := dpop.Parse(text, []string{"ES256"})
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Verify(); err != nil {
			t.Error(err)
		}
		if p.ID != want.ID || p.Method != want.Method || p.URL != want.URL || p.IssuedAt != want.IssuedAt || p.TokenHash != want.TokenHash || p.Nonce != "" {
			t.Errorf("got %+v, want %+v", p, want)
		}
		if got := p.Key.Thumbprint(); got != "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I" {
			t.Errorf("got the key %s", got)
		}
	}
}

func TestProofsOfEveryAlgorithmVerify(t *testing.T) {
	t.Parallel()
	if got := slices.Sorted(func(yield func(string) bool) {
		for name := range callers() {
			if !yield(name) {
				return
			}
		}
	}); !slices.Equal(got, dpop.Algorithms()) {
		t.Fatalf("algorithms are %v, tested are %v", dpop.Algorithms(), got)
	}
	for algorithm, c := range callers() {
		text := c.proof(t, c.header(), claims)
		if err := verify(text, algorithm); err != nil {
			t.Errorf("%s: %v", algorithm, err)
		}
		others := slices.DeleteFunc(dpop.Algorithms(), func(a string) bool { return a == algorithm })
		if err := verify(text, others...); err == nil {
			t.Errorf("%s: accepted where it is not taken", algorithm)
		}
		if err := verify(text); err == nil {
			t.Errorf("%s: accepted where nothing is taken", algorithm)
		}
		cut := strings.LastIndexByte(text, '.')
		for name, forged := range map[string]string{
			"other claims":    b64(c.header()) + "." + b64(strings.Replace(claims, `"a"`, `"b"`, 1)) + text[cut:],
			"other header":    b64(c.header()+" ") + "." + b64(claims) + text[cut:],
			"zero signature":  text[:cut+1] + b64(make([]byte, len(c.sign(t, "x")))),
			"other signature": text[:cut+1] + b64(c.sign(t, "x")),
			"short signature": text[:cut+1] + b64(c.sign(t, text[:cut])[1:]),
			"long signature":  text[:cut+1] + b64(append(c.sign(t, text[:cut]), 0)),
		} {
			if err := verify(forged, algorithm); err == nil || strings.HasPrefix(err.Error(), "parse") {
				t.Errorf("%s, %s: got %v, want a wrong signature", algorithm, name, err)
			}
		}
	}
}

// The signature of each is right.
func TestRefusesHeaders(t *testing.T) {
	t.Parallel()
	c := callers()["ES256"]
	with := func(member string) string { return strings.Replace(c.header(), "{", "{"+member+",", 1) }
	without := func(part, by string) string { return strings.Replace(c.header(), part, by, 1) }
	headers := map[string]string{
		"no type": without(`"typ":"dpop+jwt",`, ""), "another type": without("dpop+jwt", "JWT"), "an access token": without("dpop+jwt", "at+jwt"), "type in another case": without("dpop+jwt", "DPoP+JWT"),
		"type is a number": without(`"dpop+jwt"`, "1"), "type is null": without(`"dpop+jwt"`, "null"), "no type but a twin": without(`"typ"`, `"Typ"`),
		"no algorithm": without(`"alg":"ES256",`, ""), "none": without("ES256", "none"), "None": without("ES256", "None"), "empty algorithm": without("ES256", ""), "HS256": without("ES256", "HS256"), "es256": without("ES256", "es256"),
		"a list of algorithms": without(`"ES256"`, `["ES256"]`), "key does not fit": without("ES256", "ES384"), "key of another type": without("ES256", "RS256"), "EdDSA with a key on P-256": without("ES256", "EdDSA"),
		"no key": without(`"jwk"`, `"key"`), "key twin": without(`"jwk"`, `"JWK"`), "key is null": without(c.jwk, "null"), "key is text": without(c.jwk, `"key"`), "key set": without(c.jwk, `{"keys":[`+c.jwk+`]}`), "a list of keys": without(c.jwk, "["+c.jwk+"]"),
		"secret":      without(c.jwk, `{"kty":"oct","alg":"HS256","k":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}`),
		"private key": without(`"kty"`, `"d":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAACA","kty"`), "key for another algorithm": without(`"kty"`, `"alg":"ES512","kty"`), "key for encryption": without(`"kty"`, `"use":"enc","kty"`),
		"two types": with(`"typ":"dpop+jwt"`), "two algorithms": with(`"alg":"ES256"`), "two keys": with(`"jwk":` + c.jwk), "type and a twin": with(`"TYP":"dpop+jwt"`), "key and a twin": with(`"jw\u212a":` + c.jwk),
		"two points": without(`"crv"`, `"crv":"P-256","crv"`), "crit": with(`"crit":["b64"]`), "empty crit": with(`"crit":[]`), "crit of nothing": with(`"crit":null`), "b64": with(`"b64":true`), "zip": with(`"zip":"DEF"`), "enc": with(`"enc":"A128GCM"`),
		"no object": "[" + c.header() + "]", "two objects": c.header() + "{}", "cut": c.header()[1:], "empty object": "{}", "invalid UTF-8": with("\"x\":\"\xff\""), "BOM": "\ufeff" + c.header(),
	}
	for name, header := range headers {
		if header == c.header() {
			t.Errorf("%s: the header is unchanged", name)
		}
		if err := verify(c.proof(t, header, claims), dpop.Algorithms()...); err == nil || !strings.HasPrefix(err.Error(), "parse") {
			t.Errorf("%s: got %v", name, err)
		}
	}
	for name, header := range map[string]string{"unchanged": c.header(), "unknown members": with(`"kid":"a","x5c":[],"jku":"https://evil.example"`), "another order": fmt.Sprintf(` { "jwk" : %s , "alg":"ES256","t\u0079p":"dpop+jwt"}`, c.jwk)} {
		if err := verify(c.proof(t, header, claims), "ES256"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The signature of each is right.
func TestRefusesClaims(t *testing.T) {
	t.Parallel()
	c := callers()["ES256"]
	bad := map[string]string{"no object": "[]", "empty object": "{}", "two objects": claims + "{}", "cut": claims[:len(claims)-1], "invalid UTF-8": claims[:len(claims)-1] + ",\"x\":\"\xff\"}", "deep": claims[:len(claims)-1] + `,"x":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + "}"}
	for member := range strings.SplitSeq(claims[1:len(claims)-1], ",") {
		name, value, _ := strings.Cut(member, ":")
		if name != `"ath"` && name != `"nonce"` {
			bad["without "+name] = strings.Replace(claims, member, `"x":1`, 1)
			bad["only a twin of "+name] = strings.Replace(claims, name, strings.ToUpper(name), 1)
		}
		bad["two of "+name] = "{" + member + "," + claims[1:]
		bad["a twin of "+name] = "{" + strings.ToUpper(name) + ":" + value + "," + claims[1:]
		for _, other := range []string{"null", "true", "[" + value + "]", "{}", `""`} {
			bad[name+" is "+other] = strings.Replace(claims, member, name+":"+other, 1)
		}
		if name == `"iat"` {
			for _, other := range []string{`"1700000000"`, "-1", "1e300", "9007199254740993", "NaN", "01"} {
				bad[name+" is "+other] = strings.Replace(claims, member, name+":"+other, 1)
			}
		} else {
			bad[name+" is a number"] = strings.Replace(claims, member, name+":1", 1)
			bad[name+" is long"] = strings.Replace(claims, member, name+`:"`+strings.Repeat("a", 2<<10+1)+`"`, 1)
		}
	}
	for name, text := range bad {
		if err := verify(c.proof(t, c.header(), text), "ES256"); err == nil || !strings.HasPrefix(err.Error(), "parse") {
			t.Errorf("%s: got %v", name, err)
		}
	}
	for name, text := range map[string]string{
		"unchanged": claims, "fraction": strings.Replace(claims, "1700000000", "1700000000.9", 1), "more": `{"x":{"a":[1]},` + claims[1:], "a long one": strings.Replace(claims, `"a"`, `"`+strings.Repeat("a", 2000)+`"`, 1),
		"without hash and nonce": strings.Replace(claims, `,"ath":"h","nonce":"n"`, "", 1),
	} {
		if err := verify(c.proof(t, c.header(), text), "ES256"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRefusesOtherTextsOfAProof(t *testing.T) {
	t.Parallel()
	parts := strings.Split(rfcProof, ".")
	header, payload, signature := parts[0], parts[1], parts[2]
	// The last character of a signature of 64 bytes has four bits that count for nothing.
	loose := signature[:len(signature)-1] + "B"
	for name, text := range map[string]string{
		"nothing": "", "dots": "..", "one part": header, "two parts": header + "." + payload, "four parts": rfcProof + "." + signature, "five parts": rfcProof + "..", "no header": "." + payload + "." + signature, "no claims": header + ".." + signature,
		"no signature": header + "." + payload + ".", "padded header": header + "=." + payload + "." + signature, "padded claims": header + "." + payload + "==." + signature, "padded signature": rfcProof + "==", "loose bits": header + "." + payload + "." + loose,
		"space before": " " + rfcProof, "space after": rfcProof + " ", "line break": rfcProof + "\n", "line break inside": header + "." + payload[:10] + "\r\n" + payload[10:] + "." + signature, "line break in the signature": header + "." + payload + "." + signature[:10] + "\n" + signature[10:],
		"line break in the header": header[:10] + "\n" + header[10:] + "." + payload + "." + signature, "standard base64": strings.ReplaceAll(rfcProof, "-", "+"), "two": rfcProof + "," + rfcProof, "JSON": `{"protected":"` + header + `"}`,
		"long": header + "." + payload + "." + strings.Repeat("A", 4<<10), "very long": strings.Repeat(".", 1<<20), "not ASCII": rfcProof + "\u00e9", "NUL": rfcProof + "\x00",
	} {
		if err := verify(text, "ES256"); err == nil || !strings.HasPrefix(err.Error(), "parse") {
			t.Errorf("%s: got %v", name, err)
		} else if strings.Contains(err.Error(), header[:10]) {
			t.Errorf("%s: the error shows the proof: %v", name, err)
		}
	}
}

func TestRefusesSignaturesInOtherForms(t *testing.T) {
	t.Parallel()
	ec, ps := callers()["ES256"], callers()["PS256"]
	signed := b64(ec.header()) + "." + b64(claims)
	sum := sha256.Sum256([]byte(signed))
	der, err := ecdsa.SignASN1(rand.Reader, ec.key.(*ecdsa.PrivateKey), sum[:])
	if err != nil {
		t.Fatal(err)
	}
	raw := ec.sign(t, signed)
	for name, signature := range map[string][]byte{
		"DER": der, "wide numbers": slices.Concat(make([]byte, 16), raw[:32], make([]byte, 16), raw[32:]), "a zero first": append([]byte{0}, raw...), "half": raw[:32], "one byte": {1}, "twice": slices.Concat(raw, raw),
		"swapped": slices.Concat(raw[32:], raw[:32]),
	} {
		if err := verify(signed+"."+b64(signature), "ES256"); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}

	signed = b64(ps.header()) + "." + b64(claims)
	sum = sha256.Sum256([]byte(signed))
	for _, salt := range []int{1, 20, 31, 33, 64, rsa.PSSSaltLengthAuto} {
		signature, err := rsa.SignPSS(rand.Reader, ps.key.(*rsa.PrivateKey), crypto.SHA256, sum[:], &rsa.PSSOptions{SaltLength: salt})
		if err != nil {
			t.Fatal(err)
		}
		if err := verify(signed+"."+b64(signature), "PS256"); err == nil {
			t.Errorf("a salt of %d bytes: accepted", salt)
		}
	}
	sum512 := sha512.Sum512([]byte(signed))
	signature, err := rsa.SignPSS(rand.Reader, ps.key.(*rsa.PrivateKey), crypto.SHA512, sum512[:], &rsa.PSSOptions{SaltLength: 32})
	if err != nil {
		t.Fatal(err)
	}
	if err := verify(signed+"."+b64(signature), "PS256"); err == nil {
		t.Error("SHA-512: accepted")
	}
	if pkcs := callers()["RS256"].sign(t, signed); verify(signed+"."+b64(pkcs), "PS256") == nil {
		t.Error("PKCS #1 v1.5 as PSS: accepted")
	}
}
