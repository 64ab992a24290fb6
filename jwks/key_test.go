// SPDX-License-Identifier: Apache-2.0

package jwks_test

import (
	"crypto"
	"crypto/dsa" //nolint:staticcheck // a kind of key that is refused
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/grpcauth/grpcauth/jwks"
)

// foreign is a curve of the size of P-256 that is not P-256.
type foreign struct{ elliptic.Curve }

// affine is a public key that nobody checked.
func affine(curve elliptic.Curve, x, y *big.Int) *ecdsa.PublicKey {
	return &ecdsa.PublicKey{Curve: curve, X: x, Y: y} //nolint:staticcheck // what parses a point refuses what is none
}

// coordinates are those of a point on its curve.
func coordinates(public *ecdsa.PublicKey) (x, y *big.Int) {
	point, err := public.Bytes()
	if err != nil {
		panic(err)
	}
	half := 1 + len(point)/2
	return new(big.Int).SetBytes(point[1:half]), new(big.Int).SetBytes(point[half:])
}

func secret(algorithm string, size int) jwks.Key {
	return jwks.Key{ID: "hmac", Algorithm: algorithm, Secret: slices.Repeat([]byte("k"), size)}
}

func TestValidateSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	x, y := coordinates(pointOn(elliptic.P256()))
	private := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	for _, test := range []struct {
		key jwks.Key
		why string
	}{
		{jwks.Key{}, "neither Public nor Secret"},
		{jwks.Key{Algorithm: "RS256"}, "neither Public nor Secret"},
		{jwks.Key{Algorithm: "HS256", Public: edwards(1), Secret: make([]byte, 32)}, "both Public and Secret"},
		{jwks.Key{Algorithm: "HS256", Public: edwards(1), Secret: []byte{}}, "both Public and Secret"},
		{secret("HS256", 0), "Secret has 0 bytes"},
		{secret("HS256", 31), "Secret has 31 bytes"},
		{secret("HS384", 47), "Secret has 47 bytes"},
		{secret("HS384", 32), "Secret has 32 bytes"},
		{secret("HS512", 63), "Secret has 63 bytes"},
		{secret("HS512", 0), "Secret has 0 bytes"},
		{secret("", 64), "Algorithm of a Secret"},
		{secret("hs256", 64), "Algorithm of a Secret"},
		{secret("HS224", 64), "Algorithm of a Secret"},
		{secret("RS256", 64), "Algorithm of a Secret"},
		{secret("none", 64), "Algorithm of a Secret"},
		{jwks.Key{ID: strings.Repeat("k", 257), Public: edwards(1)}, "longer than 256 bytes"},
		{jwks.Key{Use: "enc", Public: edwards(1)}, `Use is "enc"`},
		{jwks.Key{Use: "Sig", Public: edwards(1)}, `Use is "Sig"`},
		{jwks.Key{Public: rsaKey(2047)}, "2047 bits"},
		{jwks.Key{Public: rsaKey(16385)}, "16385 bits"},
		{jwks.Key{Public: &rsa.PublicKey{N: modulus(2048), E: 1}}, "below 3"},
		{jwks.Key{Public: &rsa.PublicKey{N: modulus(2048), E: 0}}, "below 3"},
		{jwks.Key{Public: &rsa.PublicKey{N: modulus(2048), E: -3}}, "below 3"},
		{jwks.Key{Public: &rsa.PublicKey{N: modulus(2048), E: 65536}}, "even"},
		{jwks.Key{Public: &rsa.PublicKey{N: modulus(2048), E: 1<<31 + 1}}, "above 2^31-1"},
		{jwks.Key{Public: &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 2047), E: 3}}, "negative or even"},
		{jwks.Key{Public: &rsa.PublicKey{N: new(big.Int).Neg(modulus(2048)), E: 3}}, "negative"},
		{jwks.Key{Public: &rsa.PublicKey{E: 3}}, "Public is nil"},
		{jwks.Key{Public: (*rsa.PublicKey)(nil)}, "Public is nil"},
		{jwks.Key{Public: *rsaKey(2048)}, "Public is a rsa.PublicKey"},
		{jwks.Key{Public: (*ecdsa.PublicKey)(nil)}, "another curve"},
		{jwks.Key{Public: &ecdsa.PublicKey{}}, "another curve"},
		{jwks.Key{Public: &ecdsa.PublicKey{Curve: elliptic.P256()}}, "not a point"},
		{jwks.Key{Public: affine(elliptic.P256(), big.NewInt(1), big.NewInt(1))}, "not a point"},
		{jwks.Key{Public: affine(elliptic.P256(), big.NewInt(0), big.NewInt(0))}, "not a point"},
		{jwks.Key{Public: affine(elliptic.P256(), big.NewInt(-1), big.NewInt(1))}, "not a point"},
		{jwks.Key{Public: affine(elliptic.P384(), x, y)}, "not a point"},
		{jwks.Key{Public: affine(foreign{elliptic.P256()}, x, y)}, "not a point"},
		{jwks.Key{Public: pointOn(elliptic.P224())}, "another curve"},
		{jwks.Key{Public: ed25519.PublicKey(nil)}, "0 bytes"},
		{jwks.Key{Public: edwards(1)[:31]}, "31 bytes"},
		{jwks.Key{Public: []byte(edwards(1))}, "Public is a []uint8"},
		{jwks.Key{Public: private}, "Public is a ed25519.PrivateKey"},
		{jwks.Key{Public: &ecdh.PublicKey{}}, "Public is a *ecdh.PublicKey"},
		{jwks.Key{Public: &dsa.PublicKey{}}, "Public is a *dsa.PublicKey"},
		{jwks.Key{Public: "canary"}, "Public is a string"},
		{jwks.Key{Algorithm: "ES384", Public: pointOn(elliptic.P256())}, `Algorithm "ES384"`},
		{jwks.Key{Algorithm: "HS256", Public: rsaKey(2048)}, `Algorithm "HS256"`},
		{jwks.Key{Algorithm: "none", Public: edwards(1)}, `Algorithm "none"`},
	} {
		err := test.key.Validate()
		if err == nil || !strings.Contains(err.Error(), test.why) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%v: got %v, want %q", test.key, err, test.why)
		}
		if set, err := jwks.Static(test.key); err == nil || set != nil {
			t.Errorf("Static(%v): got %v, %v", test.key, set, err)
		}
		if _, err := jwks.Static(jwks.Key{ID: "good", Public: edwards(2)}, test.key); err == nil || !strings.HasPrefix(err.Error(), "jwks: key 1 (ID ") {
			t.Errorf("Static(good, %v): got %v", test.key, err)
		}
	}
}

func TestSupportsTheAlgorithmsOfTheType(t *testing.T) {
	t.Parallel()
	rsaAlgorithms := []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
	every := append([]string{"ES256", "ES384", "ES512", "EdDSA", "Ed25519", "HS256", "HS384", "HS512", "none", "", "rs256", "ES256K", "Ed448", "RSA", "HS", "RS1", "NONE", "eddsa"}, rsaAlgorithms...)
	for _, test := range []struct {
		key  jwks.Key
		want []string
	}{
		{jwks.Key{Public: rsaKey(2048)}, rsaAlgorithms},
		{jwks.Key{Algorithm: "PS384", Public: rsaKey(2048)}, []string{"PS384"}},
		{jwks.Key{Public: pointOn(elliptic.P256())}, []string{"ES256"}},
		{jwks.Key{Algorithm: "ES384", Public: pointOn(elliptic.P384())}, []string{"ES384"}},
		{jwks.Key{Public: pointOn(elliptic.P521())}, []string{"ES512"}},
		{jwks.Key{Public: edwards(1)}, []string{"EdDSA", "Ed25519"}},
		{jwks.Key{Algorithm: "EdDSA", Public: edwards(1)}, []string{"EdDSA", "Ed25519"}},
		{jwks.Key{Algorithm: "Ed25519", Public: edwards(1)}, []string{"EdDSA", "Ed25519"}},
		{secret("HS256", 64), []string{"HS256"}},
		{secret("HS384", 64), []string{"HS384"}},
		{secret("HS512", 64), []string{"HS512"}},
		{secret("", 64), nil},
		{secret("RS256", 64), nil},
		{jwks.Key{Algorithm: "HS256", Public: rsaKey(2048)}, nil},
		{jwks.Key{Algorithm: "ES384", Public: pointOn(elliptic.P256())}, nil},
		{jwks.Key{Public: pointOn(elliptic.P224())}, nil},
		{jwks.Key{Public: &ecdh.PublicKey{}}, nil},
		{jwks.Key{}, nil},
		{jwks.Key{Algorithm: "none"}, nil},
	} {
		for _, algorithm := range every {
			if got := test.key.Supports(algorithm); got != slices.Contains(test.want, algorithm) {
				t.Errorf("%v: %q: got %t", test.key, algorithm, got)
			}
		}
	}
}

func TestTakesSecretsAsLongAsTheirHash(t *testing.T) {
	t.Parallel()
	for algorithm, size := range map[string]int{"HS256": 32, "HS384": 48, "HS512": 64} {
		for _, size := range []int{size, size + 1, 1000} {
			if err := secret(algorithm, size).Validate(); err != nil {
				t.Errorf("%s, %d bytes: %v", algorithm, size, err)
			}
		}
	}
}

func TestKeysAreEqualInIDAlgorithmAndMaterial(t *testing.T) {
	t.Parallel()
	different := []jwks.Key{
		{},
		{ID: "a", Public: rsaKey(2048)},
		{ID: "b", Public: rsaKey(2048)},
		{ID: "a", Algorithm: "RS256", Public: rsaKey(2048)},
		{ID: "a", Public: rsaKey(3072)},
		{ID: "a", Public: &rsa.PublicKey{N: modulus(2048), E: 3}},
		{ID: "a", Public: pointOn(elliptic.P256())},
		{ID: "a", Public: pointOn(elliptic.P384())},
		{ID: "a", Public: edwards(1)},
		{ID: "a", Public: edwards(2)},
		secret("HS256", 32),
		secret("HS256", 33),
		secret("HS384", 32),
		{ID: "hmac", Algorithm: "HS256", Secret: make([]byte, 32)},
	}
	again := func(k jwks.Key) jwks.Key { // another copy of the same key
		switch public := k.Public.(type) {
		case *rsa.PublicKey:
			k.Public = &rsa.PublicKey{N: new(big.Int).Set(public.N), E: public.E}
		case *ecdsa.PublicKey:
			k.Public = pointOn(public.Curve)
		case ed25519.PublicKey:
			k.Public = slices.Clone(public)
		}
		k.Secret = slices.Clone(k.Secret)
		return k
	}
	for i, k := range different {
		for j, o := range different {
			if want := i == j && i != 0; k.Equal(again(o)) != want { // the zero Key is no key
				t.Errorf("%d, %v and %d, %v: got %t", i, k, j, o, !want)
			}
		}
	}
	strange := jwks.Key{Public: crypto.PublicKey("text")}
	if strange.Equal(again(strange)) {
		t.Error("a key of an unknown type equals something")
	}
}
