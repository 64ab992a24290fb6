// SPDX-License-Identifier: Apache-2.0

package jwks_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"strings"
	"testing"

	"github.com/grpcauth/grpcauth/jwks"
)

// Public keys of the RFCs and what they are known by.
const (
	rfc7638 = `{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB","alg":"RS256","kid":"2011-04-29"}`
	rfc8037 = `{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`
	rfc9449 = `{"kty":"EC","x":"l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs","y":"9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA","crv":"P-256"}`
)

func TestThumbprintsAreThoseOfTheRFCs(t *testing.T) {
	t.Parallel()
	for document, want := range map[string]string{
		rfc7638: "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs",
		rfc8037: "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",
		rfc9449: "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I",
	} {
		key, err := jwks.ParseKey([]byte(document))
		if got := key.Thumbprint(); err != nil || got != want {
			t.Errorf("%.40s: got %q, %v, want %s", document, got, err, want)
		}
	}
}

// The members that count are written by encoding/json, which sorts the names of a map.
func TestThumbprintsOfCurvesAreHashesOfTheirMembers(t *testing.T) {
	t.Parallel()
	for _, curve := range []elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()} {
		public := pointOn(curve)
		x, y := coordinates(public)
		size := (curve.Params().BitSize + 7) / 8
		text := func(n *big.Int) string { return base64.RawURLEncoding.EncodeToString(n.FillBytes(make([]byte, size))) }
		members, err := json.Marshal(map[string]string{"kty": "EC", "crv": curve.Params().Name, "x": text(x), "y": text(y)})
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(members)
		if got, want := (jwks.Key{Public: public}).Thumbprint(), base64.RawURLEncoding.EncodeToString(sum[:]); got != want {
			t.Errorf("%s: got %s, want %s", curve.Params().Name, got, want)
		}
	}
}

func TestThumbprintCountsTheKeyAlone(t *testing.T) {
	t.Parallel()
	plain := jwks.Key{Public: edwards(1)}
	if named := (jwks.Key{ID: "a", Algorithm: "EdDSA", Use: "sig", Public: edwards(1)}); named.Thumbprint() != plain.Thumbprint() {
		t.Error("ID, algorithm or use change the thumbprint")
	}
	if other := (jwks.Key{Public: edwards(2)}); other.Thumbprint() == plain.Thumbprint() {
		t.Error("two keys have one thumbprint")
	}
}

func TestKeysThatMustNotBeUsedHaveNoThumbprint(t *testing.T) {
	t.Parallel()
	x, y := coordinates(pointOn(elliptic.P256()))
	for name, key := range map[string]jwks.Key{
		"nothing": {}, "a secret": secret("HS256", 32), "a secret and a key": {Algorithm: "HS256", Public: edwards(1), Secret: make([]byte, 32)},
		"no RSA key": {Public: (*rsa.PublicKey)(nil)}, "an empty RSA key": {Public: &rsa.PublicKey{}}, "a short RSA key": {Public: &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 1023), E: 3}},
		"no curve": {Public: &ecdsa.PublicKey{}}, "no EC key": {Public: (*ecdsa.PublicKey)(nil)}, "off the curve": {Public: affine(elliptic.P256(), x, new(big.Int).Add(y, big.NewInt(1)))},
		"no point": {Public: affine(elliptic.P256(), nil, nil)}, "another curve": {Public: affine(elliptic.P224(), x, y)}, "a short Ed25519 key": {Public: edwards(1)[:31]},
		"not a key": {Public: "key"}, "for encryption": {Use: "enc", Public: edwards(1)}, "for another algorithm": {Algorithm: "RS256", Public: edwards(1)},
	} {
		if got := key.Thumbprint(); got != "" {
			t.Errorf("%s: got %s", name, got)
		}
	}
}

func TestParseKeyReadsOnePublicKey(t *testing.T) {
	t.Parallel()
	key, err := jwks.ParseKey([]byte(rfc7638))
	if public, ok := key.Public.(*rsa.PublicKey); err != nil || !ok || public.N.BitLen() != 2048 || key.ID != "2011-04-29" || key.Algorithm != "RS256" {
		t.Errorf("got %v, %v", key, err)
	}
	if key, err := jwks.ParseKey([]byte(` {"use":"sig","key_ops":["verify"],"ext":true,"x5c":["x"],` + rfc8037[1:] + "\n")); err != nil || !key.Supports("EdDSA") {
		t.Errorf("got %v, %v", key, err)
	}
}

func TestParseKeyRefusesWhatIsNotOnePublicKeyForSignatures(t *testing.T) {
	t.Parallel()
	const secretPart = "870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE"
	with := func(member string) string { return "{" + member + "," + rfc9449[1:] }
	documents := map[string]string{
		"secret": `{"kty":"oct","alg":"HS256","k":"` + secretPart + `"}`, "set": `{"keys":[` + rfc9449 + `]}`, "array": `[` + rfc9449 + `]`, "text": `"key"`, "null": `null`, "nothing": ``, "no members": `{}`,
		"two documents": rfc9449 + rfc9449, "cut": rfc9449[:len(rfc9449)-1], "encryption": with(`"use":"enc"`), "use of another type": with(`"use":1`), "empty operations": with(`"key_ops":[]`),
		"signing": with(`"key_ops":["sign"]`), "operations of another type": with(`"key_ops":"verify"`), "two types": with(`"kty":"EC"`), "two points": with(`"x":"l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs"`),
		"a twin in another case": with(`"X":"l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs"`), "another algorithm": with(`"alg":"ES384"`), "no algorithm": with(`"alg":"none"`), "a long name": with(`"kid":"` + strings.Repeat("a", 257) + `"`),
		"another curve": strings.Replace(rfc9449, "P-256", "secp256k1", 1), "a larger curve": strings.Replace(rfc9449, "P-256", "P-384", 1), "off the curve": strings.Replace(rfc9449, "9VE4", "9VE5", 1),
		"padded": strings.Replace(rfc9449, "BFs", "BFs=", 1), "standard base64": strings.Replace(rfc9449, "9VE4jf_", "9VE4jf/", 1), "a line break": strings.Replace(rfc9449, "9VE4", `9V\nE4`, 1), "large": rfc9449 + strings.Repeat(" ", 1<<20),
		"invalid UTF-8": with("\"kid\":\"\xff\""), "a short modulus": `{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWh","e":"AQAB"}`, "exponent 1": strings.Replace(rfc7638, "AQAB", "AQ", 1),
	}
	for _, member := range []string{"d", "p", "q", "dp", "dq", "qi", "k"} {
		documents["private member "+member] = with(fmt.Sprintf(`%q:%q`, member, secretPart))
	}
	documents["private member oth"] = with(`"oth":[]`)
	for name, document := range documents {
		key, err := jwks.ParseKey([]byte(document))
		if err == nil || key.Public != nil || key.Secret != nil {
			t.Errorf("%s: got %v, %v", name, key, err)
		} else if !strings.HasPrefix(err.Error(), "jwks: ") || strings.Contains(err.Error(), secretPart[:8]) {
			t.Errorf("%s: the error is %q", name, err)
		}
	}
}
