// SPDX-License-Identifier: Apache-2.0

package dpop_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math"
	"math/big"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"github.com/grpcauth/grpcauth/backends/bearer/internal/dpop"
)

// FuzzProof signs any header and claims, or takes any text. What is accepted, encoding/json must read the same way, and golang-jwt must verify.
func FuzzProof(f *testing.F) {
	c := callers()["ES256"]
	for _, text := range []string{rfcProof, rfcGrant, rfcProof + ".", rfcProof + "==", "..", rfcHeader, strings.Replace(rfcProof, ".", "\n.", 1)} {
		f.Add("", "", text)
	}
	for _, other := range callers() {
		f.Add("", "", other.proof(f, other.header(), claims))
		f.Add(strings.Replace(c.header(), "ES256", other.algorithm, 1), claims, "")
		f.Add(other.header(), claims, "")
	}
	for _, member := range []string{`"typ":"dpop+jwt",`, `"TYP":"JWT",`, `"crit":[],`, `"kid":1,`, `"jw\u006b":{},`, `"alg":"none",`} {
		f.Add("{"+member+c.header()[1:], claims, "")
	}
	for _, member := range []string{`"jti":"b",`, `"JTI":"b",`, `"iat":1.5,`, `"x":{"iat":1},`, `"ath":null,`, "\"x\":\"\xff\",", `"x":"\ud800",`} {
		f.Add(c.header(), "{"+member+claims[1:], "")
	}
	f.Add(c.header(), strings.Replace(claims, "1700000000", "1.7e9", 1), "")
	f.Fuzz(func(t *testing.T, header, claims, text string) {
		if text == "" {
			text = c.proof(t, header, claims)
		}
		proof, err := dpop.Parse(text, dpop.Algorithms())
		if err != nil || proof.Verify() != nil {
			return
		}
		theirs, err := oracle(text)
		if err != nil {
			t.Fatalf("%q: accepted, and refused by the oracle: %v", text, err)
		}
		mine := said{ID: proof.ID, Method: proof.Method, URL: proof.URL, Hash: proof.TokenHash, Nonce: proof.Nonce, IssuedAt: float64(proof.IssuedAt)}
		if theirs != mine {
			t.Errorf("%q: read as %+v, by the oracle as %+v", text, mine, theirs)
		}
		if len(text) > 4<<10 || proof.ID == "" || proof.Method == "" || proof.URL == "" || len(proof.Key.Thumbprint()) != 43 {
			t.Errorf("%q: accepted with %+v", text, proof)
		}
	})
}

type said struct {
	ID, Method, URL, Hash, Nonce string
	IssuedAt                     float64
}

// unmarshal keeps numbers as they are: one that no float64 holds is JSON still.
func unmarshal(text []byte, into map[string]any) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if !json.Valid(text) {
		return errors.New("not JSON")
	}
	return decoder.Decode(&into)
}

func oracle(text string) (said, error) {
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return said{}, errors.New("not three parts")
	}
	var decoded [3][]byte
	for i, part := range parts {
		var err error
		if decoded[i], err = base64.RawURLEncoding.DecodeString(part); err != nil || base64.RawURLEncoding.EncodeToString(decoded[i]) != part {
			return said{}, errors.New("not base64url")
		}
	}
	header, claims := map[string]any{}, map[string]any{} // of maps, encoding/json does not fold the names
	if err := errors.Join(unmarshal(decoded[0], header), unmarshal(decoded[1], claims)); err != nil {
		return said{}, err
	}
	member := func(m map[string]any, name string) string { s, _ := m[name].(string); return s }
	iat, _ := claims["iat"].(json.Number)
	issued, err := iat.Float64()
	if err != nil {
		return said{}, errors.New("no time")
	}
	s := said{member(claims, "jti"), member(claims, "htm"), member(claims, "htu"), member(claims, "ath"), member(claims, "nonce"), math.Floor(issued)}
	jwk, _ := header["jwk"].(map[string]any)
	for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"} {
		if _, found := jwk[private]; found {
			return s, errors.New("a private key")
		}
	}
	method := jwt.GetSigningMethod(strings.Replace(member(header, "alg"), "Ed25519", "EdDSA", 1))
	if _, critical := header["crit"]; method == nil || member(header, "typ") != "dpop+jwt" || critical {
		return s, errors.New("another header")
	}
	number := func(name string) []byte {
		b, _ := base64.RawURLEncoding.DecodeString(member(jwk, name))
		return b
	}
	x, y := new(big.Int).SetBytes(number("x")), new(big.Int).SetBytes(number("y"))
	var key any
	switch jwk["kty"] {
	case "RSA":
		key = &rsa.PublicKey{N: new(big.Int).SetBytes(number("n")), E: int(new(big.Int).SetBytes(number("e")).Int64())}
	case "EC":
		curve := map[any]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521()}[jwk["crv"]]
		key = &ecdsa.PublicKey{Curve: curve, X: x, Y: y} //nolint:staticcheck // another way than the one that is tested
	case "OKP":
		key = ed25519.PublicKey(number("x"))
	}
	return s, method.Verify(parts[0]+"."+parts[1], decoded[2], key)
}
