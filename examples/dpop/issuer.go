// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"time"

	"github.com/grpcauth/grpcauth/jwks"
)

const (
	issuerURL = "https://idp.example.com"
	audience  = "orders"
)

// issuer stands in for an identity provider. A real one binds a token to the key whose proof comes with the request for it (RFC 9449, section 5).
type issuer struct {
	key  *ecdsa.PrivateKey
	keys *jwks.StaticSet
}

func newIssuer() (*issuer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	keys, err := jwks.Static(jwks.Key{Algorithm: "ES256", Public: &key.PublicKey})
	return &issuer{key, keys}, err
}

// token signs an access token that is bound to the key of that thumbprint.
func (i *issuer) token(subject, thumbprint string) (string, error) {
	claims, err := json.Marshal(map[string]any{
		"iss": issuerURL, "sub": subject, "aud": audience, "exp": time.Now().Add(time.Minute).Unix(), "cnf": map[string]string{"jkt": thumbprint},
	})
	if err != nil {
		return "", err
	}
	signed := encode([]byte(`{"typ":"at+jwt","alg":"ES256"}`)) + "." + encode(claims)
	digest := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, i.key, digest[:])
	if err != nil {
		return "", err
	}
	return signed + "." + encode(append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)), nil
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
