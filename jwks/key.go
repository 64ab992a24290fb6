// SPDX-License-Identifier: Apache-2.0

// Package jwks holds the keys that verify signatures, by their key IDs (RFC 7517).
//
// A [StaticSet] never changes: [Parse] makes one from a JWK set or PEM, and [Static] from Go values. A [RemoteSet] is what a provider publishes, fetched
// when it is needed. Keys that are too weak, of an unknown kind or ambiguous are refused when a set is made, not when a token comes.
package jwks

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"math/big"
	"slices"
	"strings"
)

// Set finds keys. Implementations are safe for concurrent use.
type Set interface {
	// Keys returns the keys that may have signed a token with this key ID, all of the set if it is empty. No keys and no error means that the
	// set has none of that ID; an error means that the set could not be asked. The slice is not changed, by either side.
	Keys(ctx context.Context, kid string) ([]Key, error)
}

// Key verifies signatures. It has either a Public key or a Secret. Printed, it shows no key
// material, but for the verbs %p and %w: fmt does not ask [Key.Format] then.
type Key struct {
	// ID is the kid of the key, at most 256 bytes; empty if it has none.
	ID string
	// Algorithm is the only JWS algorithm that the key is for (RFC 7518, section 3.1): "RS256". Empty means any that its type allows, which a
	// Secret does not have.
	Algorithm string
	// Use is "sig" or empty.
	Use string
	// Public is an *rsa.PublicKey of 2048 to 16384 bits, an *ecdsa.PublicKey on P-256, P-384 or P-521, or an ed25519.PublicKey.
	Public crypto.PublicKey
	// Secret is for HS256, HS384 and HS512, at least as long as their hash.
	Secret []byte
}

// Format prints ID, algorithm and type, for every verb that fmt asks it about.
func (k Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, k.describe()) }

// MarshalText gives the same as Format, for JSON and its like: a key set for others to read is not made from keys that may hold secrets.
func (k Key) MarshalText() ([]byte, error) { return []byte(k.describe()), nil }

// MarshalBinary gives the same as Format, for gob and its like.
func (k Key) MarshalBinary() ([]byte, error) { return []byte(k.describe()), nil }

func (k Key) describe() string {
	kind := fmt.Sprintf("%T", k.Public)
	if k.Public == nil {
		kind = "secret"
	}
	return fmt.Sprintf("Key(%q, %q, %s)", k.ID, k.Algorithm, kind)
}

// Supports reports whether the key may verify signatures of a JWS algorithm.
//
// "EdDSA" and "Ed25519" (RFC 9864) are one algorithm.
func (k Key) Supports(algorithm string) bool {
	if algorithm == "Ed25519" {
		algorithm = "EdDSA"
	}
	own := k.Algorithm
	if own == "Ed25519" {
		own = "EdDSA"
	}
	if own != "" && own != algorithm {
		return false
	}
	family := k.family()
	switch family {
	case "RSA":
		return algorithm == "RS256" || algorithm == "RS384" || algorithm == "RS512" || algorithm == "PS256" || algorithm == "PS384" || algorithm == "PS512"
	case "HS":
		return own != "" && minSecret[algorithm] != 0
	}
	return family != "" && algorithm == family
}

// minSecret is the length of the hash: shorter secrets are weaker than it (RFC 7518, section 3.2).
var minSecret = map[string]int{"HS256": 32, "HS384": 48, "HS512": 64}

// family is the kind of key: "RSA", "HS", or the one algorithm of its curve. Empty means that it is of no use.
func (k Key) family() string {
	switch public := k.Public.(type) {
	case nil:
		if k.Secret != nil {
			return "HS"
		}
	case *rsa.PublicKey:
		return "RSA"
	case *ecdsa.PublicKey:
		if public != nil && public.Curve != nil {
			switch public.Curve.Params().BitSize {
			case 256:
				return "ES256"
			case 384:
				return "ES384"
			case 521:
				return "ES512"
			}
		}
	case ed25519.PublicKey:
		return "EdDSA"
	}
	return ""
}

// Equal reports whether two keys are the same key with the same ID and algorithm. Secrets are compared in constant time.
func (k Key) Equal(o Key) bool {
	if k.ID != o.ID || k.Algorithm != o.Algorithm || (k.Public == nil) != (o.Public == nil) {
		return false
	}
	if k.Public == nil {
		return k.Secret != nil && o.Secret != nil && subtle.ConstantTimeCompare(k.Secret, o.Secret) == 1
	}
	public, ok := k.Public.(interface{ Equal(crypto.PublicKey) bool })
	return ok && public.Equal(o.Public)
}

// Validate reports why a key must not be used. Sets check their keys with it; a Set of one's own does well to do so too.
func (k Key) Validate() error {
	switch {
	case len(k.ID) > 256:
		return errors.New("ID is longer than 256 bytes")
	case k.Use != "" && k.Use != "sig":
		return fmt.Errorf(`Use is %q: a key that verifies has "sig", or nothing`, k.Use)
	case k.Public != nil && k.Secret != nil:
		return errors.New("it has both Public and Secret: write one of them")
	case k.Public == nil && k.Secret == nil:
		return errors.New("it has neither Public nor Secret: write one of them")
	}
	if err := k.validateMaterial(); err != nil {
		return err
	}
	if k.Algorithm != "" && !k.Supports(k.Algorithm) {
		return fmt.Errorf("Algorithm %q is unknown or not one of a key of this type: leave it empty or write the right one", k.Algorithm)
	}
	return nil
}

func (k Key) validateMaterial() error {
	switch public := k.Public.(type) {
	case nil:
		least, ok := minSecret[k.Algorithm]
		if !ok {
			return errors.New("Algorithm of a Secret must be HS256, HS384 or HS512")
		}
		if len(k.Secret) < least {
			return fmt.Errorf("Secret has %d bytes: %s needs at least %d random ones", len(k.Secret), k.Algorithm, least)
		}
	case *rsa.PublicKey:
		return validateRSA(public)
	case *ecdsa.PublicKey:
		if k.family() == "" {
			return errors.New("Public is on another curve than P-256, P-384 and P-521")
		}
		if public.X == nil || public.Y == nil { //nolint:staticcheck // Bytes panics without them
			return errors.New("Public is not a point on its curve")
		}
		if _, err := public.Bytes(); err != nil {
			return errors.New("Public is not a point on its curve")
		}
	case ed25519.PublicKey:
		if len(public) != ed25519.PublicKeySize {
			return fmt.Errorf("Public has %d bytes: Ed25519 has %d", len(public), ed25519.PublicKeySize)
		}
	default:
		return fmt.Errorf("Public is a %T: write an *rsa.PublicKey, *ecdsa.PublicKey or ed25519.PublicKey", k.Public)
	}
	return nil
}

func validateRSA(public *rsa.PublicKey) error {
	switch {
	case public == nil || public.N == nil:
		return errors.New("Public is nil")
	case public.N.BitLen() < 2048 || public.N.BitLen() > 16384:
		return fmt.Errorf("Public has %d bits: RSA keys have 2048 to 16384", public.N.BitLen())
	case public.N.Sign() < 0 || public.N.Bit(0) == 0 || public.E < 3 || public.E%2 == 0 || public.E > 1<<31-1:
		return errors.New("Public has a modulus that is negative or even, or an exponent that is even, below 3 or above 2^31-1")
	}
	return nil
}

// clone makes a valid key independent of the caller's slices and pointers.
func (k Key) clone() Key {
	switch public := k.Public.(type) {
	case *rsa.PublicKey:
		k.Public = &rsa.PublicKey{N: new(big.Int).Set(public.N), E: public.E}
	case *ecdsa.PublicKey:
		if point, err := public.Bytes(); err == nil {
			k.Public, _ = ecdsa.ParseUncompressedPublicKey(public.Curve, point)
		}
	case ed25519.PublicKey:
		k.Public = slices.Clone(public)
	}
	k.Secret = bytes.Clone(k.Secret)
	k.ID, k.Algorithm, k.Use = strings.Clone(k.ID), strings.Clone(k.Algorithm), strings.Clone(k.Use)
	return k
}
