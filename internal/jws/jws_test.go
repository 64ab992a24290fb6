// SPDX-License-Identifier: Apache-2.0

package jws_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/big"
	"testing"

	gojwt "github.com/golang-jwt/jwt/v5"

	"github.com/grpcauth/grpcauth/internal/jws"
)

func Example() {
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	signed, err := jws.Sign(key, map[string]any{"typ": "JWT"}, map[string]any{"iss": "orders-service"})
	fmt.Println(signed, err)
	fmt.Println(jws.Thumbprint(key.Public()))
	// Output:
	// eyJhbGciOiJFZERTQSIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJvcmRlcnMtc2VydmljZSJ9.1nf8qn8urky51CwTJQu9o5UDZx1x_xlp5p0MrM3ZKjIi_7kUEBQLIBr94MR8WvZDOSdvgohXMjylhgkLN4ffAw <nil>
	// 9ZP03Nu8GrXPAUkbKNxHOKBzxPX83SShgFkRNK-f2lw
}

func keys(t *testing.T) map[string]crypto.Signer {
	t.Helper()
	keys := map[string]crypto.Signer{}
	var err error
	for alg, curve := range map[string]elliptic.Curve{"ES256": elliptic.P256(), "ES384": elliptic.P384(), "ES512": elliptic.P521()} {
		if keys[alg], err = ecdsa.GenerateKey(curve, rand.Reader); err != nil {
			t.Fatal(err)
		}
	}
	if keys["RS256"], err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		t.Fatal(err)
	}
	keys["EdDSA"] = ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	return keys
}

func TestSignaturesVerifyElsewhere(t *testing.T) {
	t.Parallel()
	for alg, key := range keys(t) {
		for range 20 { // numbers of a signature may be short
			signed, err := jws.Sign(key, map[string]any{"typ": "JWT", "alg": "none"}, map[string]any{"iss": "a"})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := gojwt.Parse(signed, func(*gojwt.Token) (any, error) { return key.Public(), nil }, gojwt.WithValidMethods([]string{alg})); err != nil {
				t.Errorf("%s: %v", alg, err)
			}
		}
	}
}

// short has an RSA key of 1024 bits.
type short struct{ crypto.Signer }

func (short) Public() crypto.PublicKey {
	return &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 1023), E: 65537}
}

func TestKeysThatAreOfNoUseAreRefused(t *testing.T) {
	t.Parallel()
	curve, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []crypto.Signer{short{curve}, curve} {
		if _, err := jws.Sign(key, map[string]any{}, map[string]any{}); err == nil {
			t.Errorf("%T was taken", key)
		}
	}
	if jws.JWK("a key") != "" || jws.Thumbprint("a key") != "" {
		t.Error("a string has a JWK")
	}
}

// token is a key in hardware that does not sign, or not as it should.
type token struct {
	crypto.Signer
	signature []byte
}

func (k token) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	if k.signature == nil {
		return nil, errors.New("removed")
	}
	return k.signature, nil
}

func TestKeyThatDoesNotSignIsAnError(t *testing.T) {
	t.Parallel()
	key := keys(t)["ES256"]
	huge := append([]byte{0x30, 0x82, 0x01, 0x08, 0x02, 0x82, 0x01, 0x01, 0x7f}, make([]byte, 256)...)
	for name, signature := range map[string][]byte{"nothing": nil, "no DER": {1, 2, 3}, "more": {0x30, 6, 2, 1, 1, 2, 1, 1, 0}, "too large": append(huge, 2, 1, 1)} {
		if _, err := jws.Sign(token{key, signature}, map[string]any{}, map[string]any{}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// The example of RFC 8037, appendix A.3.
func TestThumbprintIsThatOfTheRFC(t *testing.T) {
	t.Parallel()
	x, err := base64.RawURLEncoding.DecodeString("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")
	if err != nil {
		t.Fatal(err)
	}
	if got := jws.Thumbprint(ed25519.PublicKey(x)); got != "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k" {
		t.Errorf("got %s", got)
	}
}
