// SPDX-License-Identifier: Apache-2.0

package grpcauthtest

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha256" // linked in for the algorithms
	_ "crypto/sha512" // linked in for the algorithms
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/grpcauth/grpcauth/backends/jwt"
	"github.com/grpcauth/grpcauth/jwks"
)

// Issuer mints tokens of every algorithm and publishes the keys that verify them. It is itself a [jwks.Set] that changes when the issuer
// rotates its keys, and is safe for concurrent use.
type Issuer struct {
	// URL is the issuer's name.
	URL string
	// Audience is put into tokens.
	Audience string
	// Now is the time at which tokens are minted.
	Now func() time.Time

	tb   testing.TB
	mu   sync.Mutex
	keys map[string]signer // guarded by mu, as all below: by kind of key
	past []jwks.Key        // keys that were rotated out and are still published
	next int
}

// signer is a private key and what is published of it.
type signer struct {
	private any
	public  jwks.Key
}

// NewIssuer returns an issuer with that URL whose tokens are for that audience.
func NewIssuer(tb testing.TB, url, audience string) *Issuer {
	return &Issuer{URL: url, Audience: audience, Now: time.Now, tb: tb, keys: map[string]signer{}}
}

// Config is the issuer as the jwt backend wants it, for these algorithms. Keys is the issuer itself, so rotations are seen at once.
func (i *Issuer) Config(algorithms ...string) jwt.Issuer {
	return jwt.Issuer{URL: i.URL, Audiences: []string{i.Audience}, Algorithms: algorithms, Keys: i}
}

// Claims are the claims of a good token for that user, valid for ten minutes, with changes laid over them; a nil value takes a claim out.
func (i *Issuer) Claims(subject string, changes map[string]any) map[string]any {
	now := i.Now().Unix()
	claims := map[string]any{"iss": i.URL, "aud": i.Audience, "sub": subject, "iat": now, "exp": now + 600}
	maps.Copy(claims, changes)
	maps.DeleteFunc(claims, func(_ string, v any) bool { return v == nil })
	return claims
}

// Token mints a good token for that user, with changes laid over its claims; a nil value takes a claim out.
func (i *Issuer) Token(algorithm, subject string, changes map[string]any) string {
	i.tb.Helper()
	claims, err := json.Marshal(i.Claims(subject, changes))
	if err != nil {
		i.tb.Fatalf("grpcauthtest: %v", err)
	}
	key := i.signer(algorithm) // once, so that a rotation meanwhile cannot part the key from its ID
	header := fmt.Sprintf(`{"alg":%q,"kid":%q,"typ":"JWT"}`, algorithm, key.public.ID)
	return i.sign(key, algorithm, header, string(claims))
}

// Sign signs any header and claims, well-formed or not, with the key for that algorithm.
func (i *Issuer) Sign(algorithm, header, claims string) string {
	i.tb.Helper()
	return i.sign(i.signer(algorithm), algorithm, header, claims)
}

func (i *Issuer) sign(key signer, algorithm, header, claims string) string {
	i.tb.Helper()
	signed := encode([]byte(header)) + "." + encode([]byte(claims))
	signature, err := sign(algorithm, key.private, []byte(signed))
	if err != nil {
		i.tb.Fatalf("grpcauthtest: %v", err)
	}
	return signed + "." + encode(signature)
}

// KeyID is the ID of the current key for that algorithm.
func (i *Issuer) KeyID(algorithm string) string { return i.signer(algorithm).public.ID }

// Rotate replaces the keys for that algorithm. The one before stays published if keep is true.
func (i *Issuer) Rotate(algorithm string, keep bool) {
	i.tb.Helper()
	i.mu.Lock()
	defer i.mu.Unlock()
	old := i.current(algorithm).public
	delete(i.keys, kindOf(algorithm))
	if keep {
		i.past = append(i.past, old)
	}
}

// Keys returns the published keys with that ID, all if it is empty.
func (i *Issuer) Keys(_ context.Context, kid string) ([]jwks.Key, error) {
	keys := i.Published()
	if kid == "" {
		return keys, nil
	}
	return slices.DeleteFunc(keys, func(k jwks.Key) bool { return k.ID != kid }), nil
}

// Published returns all keys that verify the issuer's tokens now.
func (i *Issuer) Published() []jwks.Key {
	i.mu.Lock()
	defer i.mu.Unlock()
	keys := slices.Clone(i.past)
	for _, kind := range slices.Sorted(maps.Keys(i.keys)) {
		keys = append(keys, i.keys[kind].public)
	}
	return keys
}

// JWKS is the issuer's JWK set, without secrets (RFC 7517, section 5).
func (i *Issuer) JWKS() []byte {
	i.tb.Helper()
	set := []map[string]string{}
	for _, k := range i.Published() {
		if k.Public != nil {
			set = append(set, jwkOf(k))
		}
	}
	document, err := json.Marshal(map[string]any{"keys": set})
	if err != nil {
		i.tb.Fatalf("grpcauthtest: %v", err)
	}
	return document
}

// kindOf names the kind of key that an algorithm needs: one RSA key serves six algorithms, a secret or a curve serves one.
func kindOf(algorithm string) string {
	switch algorithm {
	case "RS256", "RS384", "RS512", "PS256", "PS384", "PS512":
		return "RSA"
	case "EdDSA":
		return "Ed25519"
	}
	return algorithm
}

func (i *Issuer) signer(algorithm string) signer {
	i.tb.Helper()
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.current(algorithm)
}

// current is the key for that algorithm, made if there is none. The lock is held.
func (i *Issuer) current(algorithm string) signer {
	i.tb.Helper()
	kind := kindOf(algorithm)
	if s, ok := i.keys[kind]; ok {
		return s
	}
	i.next++
	s, err := newSigner(kind, kind+"-"+strconv.Itoa(i.next))
	if err != nil {
		i.tb.Fatalf("grpcauthtest: %v", err)
	}
	i.keys[kind] = s
	return s
}

var curves = map[string]elliptic.Curve{"ES256": elliptic.P256(), "ES384": elliptic.P384(), "ES512": elliptic.P521()}

func newSigner(kind, kid string) (signer, error) {
	switch {
	case kind == "RSA":
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			return signer{}, err
		}
		return signer{key, jwks.Key{ID: kid, Public: &key.PublicKey}}, nil
	case kind == "Ed25519":
		public, private, err := ed25519.GenerateKey(rand.Reader)
		return signer{private, jwks.Key{ID: kid, Public: public}}, err
	case curves[kind] != nil:
		key, err := ecdsa.GenerateKey(curves[kind], rand.Reader)
		if err != nil {
			return signer{}, err
		}
		return signer{key, jwks.Key{ID: kid, Algorithm: kind, Public: &key.PublicKey}}, nil
	case kind == "HS256" || kind == "HS384" || kind == "HS512":
		secret := make([]byte, 64)
		_, err := rand.Read(secret)
		return signer{secret, jwks.Key{ID: kid, Algorithm: kind, Secret: secret}}, err
	default:
		return signer{}, fmt.Errorf("no key for the algorithm %q", kind)
	}
}

func sign(algorithm string, private any, signed []byte) ([]byte, error) {
	if key, ok := private.(ed25519.PrivateKey); ok {
		return ed25519.Sign(key, signed), nil
	}
	hash := map[string]crypto.Hash{"256": crypto.SHA256, "384": crypto.SHA384, "512": crypto.SHA512}[algorithm[2:]]
	h := hash.New()
	h.Write(signed)
	digest := h.Sum(nil)
	switch key := private.(type) {
	case *rsa.PrivateKey:
		if algorithm[0] == 'P' {
			return rsa.SignPSS(rand.Reader, key, hash, digest, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
		}
		return rsa.SignPKCS1v15(rand.Reader, key, hash, digest)
	case *ecdsa.PrivateKey:
		r, s, err := ecdsa.Sign(rand.Reader, key, digest)
		if err != nil {
			return nil, err
		}
		size := (key.Curve.Params().BitSize + 7) / 8
		return append(r.FillBytes(make([]byte, size)), s.FillBytes(make([]byte, size))...), nil
	case []byte:
		m := hmac.New(hash.New, key)
		m.Write(signed)
		return m.Sum(nil), nil
	default:
		return nil, fmt.Errorf("no way to sign with a %T", private)
	}
}

func jwkOf(k jwks.Key) map[string]string {
	jwk := map[string]string{"kid": k.ID, "use": "sig"}
	if k.Algorithm != "" {
		jwk["alg"] = k.Algorithm
	}
	switch public := k.Public.(type) {
	case *rsa.PublicKey:
		jwk["kty"], jwk["n"], jwk["e"] = "RSA", encode(public.N.Bytes()), encode(big.NewInt(int64(public.E)).Bytes())
	case *ecdsa.PublicKey:
		if point, err := public.Bytes(); err == nil {
			half := (len(point) - 1) / 2
			jwk["kty"], jwk["crv"] = "EC", public.Curve.Params().Name
			jwk["x"], jwk["y"] = encode(point[1:1+half]), encode(point[1+half:])
		}
	case ed25519.PublicKey:
		jwk["kty"], jwk["crv"], jwk["x"] = "OKP", "Ed25519", encode(public)
	}
	return jwk
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
