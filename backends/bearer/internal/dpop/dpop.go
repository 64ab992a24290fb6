// SPDX-License-Identifier: Apache-2.0

// Package dpop reads proofs of possession (RFC 9449, section 4).
package dpop

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"slices"
	"strings"

	"github.com/grpcauth/grpcauth/internal/strictjson"
	"github.com/grpcauth/grpcauth/jwks"
)

const (
	// maxProof is the size of the longest proof that is looked at. One with an RSA key of 4096 bits has about 2,100 bytes; far larger keys, which
	// callers choose for themselves, would cost too much to verify with.
	maxProof = 4 << 10
	maxText  = 2 << 10
)

// Proof is a proof that was taken apart. Nothing in it is true before [Proof.Verify].
type Proof struct {
	// ID, Method, URL, TokenHash and Nonce are the claims jti, htm, htu, ath and nonce; empty if they are missing.
	ID, Method, URL, TokenHash, Nonce string
	// IssuedAt is the claim iat, in seconds.
	IssuedAt int64
	// Key is the key that the proof shows.
	Key jwks.Key

	typ, algorithm, signed string
	signature              []byte
	hasIssuedAt, hasKey    bool
}

var errNotProof = errors.New("not a JWS in compact form")

// Parse takes a proof apart. It must have every claim but ath and nonce, and be signed by one of the algorithms.
func Parse(text string, algorithms []string) (*Proof, error) {
	if len(text) > maxProof {
		return nil, errors.New("the proof is too long")
	}
	header, rest, _ := strings.Cut(text, ".")
	claims, signature, ok := strings.Cut(rest, ".")
	if !ok || strings.IndexByte(signature, '.') >= 0 {
		return nil, errNotProof
	}
	p := &Proof{signed: text[:len(header)+1+len(claims)]}
	if err := object(header, p.header); err != nil {
		return nil, err
	}
	switch {
	case p.typ != "dpop+jwt":
		return nil, errors.New("the type is not dpop+jwt")
	case !slices.Contains(algorithms, p.algorithm):
		return nil, errors.New("the algorithm is not one that is taken")
	case !p.hasKey || !p.Key.Supports(p.algorithm):
		return nil, errors.New("there is no key, or not one for the algorithm")
	}
	if err := object(claims, p.claim); err != nil {
		return nil, err
	}
	if p.ID == "" || p.Method == "" || p.URL == "" || !p.hasIssuedAt {
		return nil, errors.New("jti, htm, htu or iat is missing")
	}
	var err error
	p.signature, err = decode(signature)
	return p, err
}

// Verify checks the signature by the key that the proof shows.
func (p *Proof) Verify() error {
	if !schemes[p.algorithm](p.Key.Public, []byte(p.signed), p.signature) {
		return errors.New("the signature is wrong")
	}
	return nil
}

func object(part string, visit func(string, strictjson.Value) error) error {
	decoded, err := decode(part)
	if err != nil {
		return err
	}
	return strictjson.Object(decoded, visit)
}

var base64url = base64.RawURLEncoding.Strict()

// decode takes canonical unpadded base64url only: the standard decoder skips line breaks.
func decode(part string) ([]byte, error) {
	decoded, err := base64url.DecodeString(part)
	if err != nil || len(decoded) == 0 || strings.ContainsAny(part, "\r\n") {
		return nil, errNotProof
	}
	return decoded, nil
}

func (p *Proof) header(name string, value strictjson.Value) (err error) {
	switch name {
	case "typ":
		p.typ, err = text(name, value)
	case "alg":
		p.algorithm, err = text(name, value)
	case "jwk":
		p.hasKey = true
		p.Key, err = jwks.ParseKey(value.Raw())
	case "crit", "b64", "zip", "enc":
		err = errors.New("the header asks for what is not supported: " + name)
	}
	return err
}

func (p *Proof) claim(name string, value strictjson.Value) (err error) {
	switch name {
	case "jti":
		p.ID, err = text(name, value)
	case "htm":
		p.Method, err = text(name, value)
	case "htu":
		p.URL, err = text(name, value)
	case "ath":
		p.TokenHash, err = text(name, value)
	case "nonce":
		p.Nonce, err = text(name, value)
	case "iat":
		if p.IssuedAt, p.hasIssuedAt = value.Seconds(); !p.hasIssuedAt {
			err = errors.New("iat is not a number of seconds")
		}
	}
	return err
}

func text(name string, value strictjson.Value) (string, error) {
	s, ok := value.String()
	if !ok || s == "" || len(s) > maxText {
		return "", errors.New(name + " is not a string, empty or too long")
	}
	return s, nil
}

// TokenHash is what the claim ath of a proof must say of a token (RFC 9449, section 4.2).
func TokenHash(token string) string {
	sum := sha256.Sum256([]byte(token))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
