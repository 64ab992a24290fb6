// SPDX-License-Identifier: Apache-2.0

package jwt

import (
	"crypto"
	"crypto/rsa"
	_ "crypto/sha256" // linked in for the algorithms
	_ "crypto/sha512" // linked in for the algorithms
	"maps"
	"slices"

	gojwt "github.com/golang-jwt/jwt/v5"

	"github.com/grpcauth/grpcauth/jwks"
)

// algorithms are all that an issuer may name. golang-jwt does their cryptography and nothing else; its parser is never used.
var algorithms = map[string]gojwt.SigningMethod{
	"HS256": gojwt.SigningMethodHS256, "HS384": gojwt.SigningMethodHS384, "HS512": gojwt.SigningMethodHS512,
	"RS256": gojwt.SigningMethodRS256, "RS384": gojwt.SigningMethodRS384, "RS512": gojwt.SigningMethodRS512,
	"PS256": pss(gojwt.SigningMethodPS256, crypto.SHA256),
	"PS384": pss(gojwt.SigningMethodPS384, crypto.SHA384),
	"PS512": pss(gojwt.SigningMethodPS512, crypto.SHA512),
	"ES256": gojwt.SigningMethodES256, "ES384": gojwt.SigningMethodES384, "ES512": gojwt.SigningMethodES512,
	"EdDSA": gojwt.SigningMethodEdDSA, "Ed25519": gojwt.SigningMethodEdDSA, // RFC 9864 renamed it
}

// pss demands a salt as long as the hash (RFC 7518, section 3.5); golang-jwt would take any.
func pss(m *gojwt.SigningMethodRSAPSS, hash crypto.Hash) gojwt.SigningMethod {
	opts := &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: hash}
	return &gojwt.SigningMethodRSAPSS{SigningMethodRSA: m.SigningMethodRSA, Options: opts, VerifyOptions: opts}
}

func algorithmNames() []string { return slices.Sorted(maps.Keys(algorithms)) }

// verifySignature checks a signature with a key that supports the algorithm.
func verifySignature(alg, signed string, signature []byte, key jwks.Key) error {
	if key.Secret != nil {
		return algorithms[alg].Verify(signed, signature, key.Secret)
	}
	return algorithms[alg].Verify(signed, signature, key.Public)
}
