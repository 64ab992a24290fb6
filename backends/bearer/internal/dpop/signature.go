// SPDX-License-Identifier: Apache-2.0

package dpop

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"maps"
	"math/big"
	"slices"
)

// schemes verify signatures with a key that supports the algorithm (RFC 7518, section 3.1, and RFC 8037, section 3.1).
var schemes = map[string]func(public crypto.PublicKey, signed, signature []byte) bool{
	"ES256": ecdsaVerifier(32, func(b []byte) []byte { s := sha256.Sum256(b); return s[:] }),
	"ES384": ecdsaVerifier(48, func(b []byte) []byte { s := sha512.Sum384(b); return s[:] }),
	"ES512": ecdsaVerifier(66, func(b []byte) []byte { s := sha512.Sum512(b); return s[:] }),
	"EdDSA": verifyEd25519, "Ed25519": verifyEd25519,
	"PS256": func(public crypto.PublicKey, signed, signature []byte) bool {
		key, sum := public.(*rsa.PublicKey), sha256.Sum256(signed) //nolint:errcheck,forcetypeassert // the key supports the algorithm
		return rsa.VerifyPSS(key, crypto.SHA256, sum[:], signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil
	},
	"RS256": func(public crypto.PublicKey, signed, signature []byte) bool {
		key, sum := public.(*rsa.PublicKey), sha256.Sum256(signed) //nolint:errcheck,forcetypeassert // the key supports the algorithm
		return rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], signature) == nil
	},
}

// Algorithms are all that proofs can be signed by.
func Algorithms() []string { return slices.Sorted(maps.Keys(schemes)) }

// ecdsaVerifier takes signatures of two numbers of that many bytes, and no other length.
func ecdsaVerifier(size int, hash func([]byte) []byte) func(crypto.PublicKey, []byte, []byte) bool {
	return func(public crypto.PublicKey, signed, signature []byte) bool {
		key := public.(*ecdsa.PublicKey) //nolint:errcheck,forcetypeassert // the key supports the algorithm
		return len(signature) == 2*size && ecdsa.Verify(key, hash(signed), new(big.Int).SetBytes(signature[:size]), new(big.Int).SetBytes(signature[size:]))
	}
}

func verifyEd25519(public crypto.PublicKey, signed, signature []byte) bool {
	return ed25519.Verify(public.(ed25519.PublicKey), signed, signature) //nolint:errcheck,forcetypeassert // the key supports the algorithm
}
