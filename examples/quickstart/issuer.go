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
	audience  = "quickstart.example.com"
	algorithm = "ES256"
	keyID     = "quickstart-1"
)

// issuer stands for an identity provider, which is a service of its own: a server needs the public keys alone.
type issuer struct{ key *ecdsa.PrivateKey }

func newIssuer() (*issuer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	return &issuer{key}, err
}

// keys is what an identity provider publishes.
func (i *issuer) keys() (*jwks.StaticSet, error) {
	return jwks.Static(jwks.Key{ID: keyID, Algorithm: algorithm, Public: &i.key.PublicKey})
}

// token signs a token for a user (RFC 7519) that expires after its lifetime, which may be negative.
func (i *issuer) token(subject, scope string, lifetime time.Duration) (string, error) {
	header, err := json.Marshal(map[string]string{"alg": algorithm, "kid": keyID, "typ": "JWT"})
	if err != nil {
		return "", err
	}
	claims, err := json.Marshal(map[string]any{
		"iss": issuerURL, "aud": audience, "sub": subject, "scope": scope, "exp": time.Now().Add(lifetime).Unix(),
	})
	if err != nil {
		return "", err
	}
	signed := base64.RawURLEncoding.EncodeToString(header) + "." + base64.RawURLEncoding.EncodeToString(claims)
	digest := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, i.key, digest[:])
	if err != nil {
		return "", err
	}
	signature := append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...) // RFC 7518, section 3.4
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}
