// SPDX-License-Identifier: Apache-2.0

package jwks

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/grpcauth/grpcauth/internal/strictjson"
)

// found is what became of one JWK of a document.
type found struct {
	key      Key
	err      error // why it cannot be used
	otherUse bool  // it is not for verifying signatures
}

// parseJSON reads a JWK set or a single JWK. The error is that of the whole document.
func parseJSON(document []byte) ([]found, error) {
	var keys *strictjson.Value
	single := false
	err := strictjson.Object(document, func(name string, v strictjson.Value) error {
		switch name {
		case "keys":
			keys = &v
		case "kty":
			single = true
		}
		return nil
	})
	switch {
	case err != nil:
		return nil, fmt.Errorf("the JWK set: %w", err)
	case keys == nil && !single:
		return nil, errors.New(`the document has no member "keys"`)
	case keys == nil:
		j := &jwk{}
		err := strictjson.Object(document, j.member)
		return []found{j.found(err)}, nil
	case keys.Kind() != strictjson.ArrayKind:
		return nil, errors.New(`the member "keys" is not an array`)
	}
	var all []found
	err = keys.Elements(func(v strictjson.Value) error {
		if len(all) == maxKeys {
			return fmt.Errorf("more than %d keys", maxKeys)
		}
		j := &jwk{}
		all = append(all, j.found(v.Members(j.member)))
		return nil
	})
	return all, err
}

// jwk is a JSON Web Key as it is written (RFC 7517, section 4, and RFC 7518, section 6).
type jwk struct {
	kty, crv, n, e, x, y string
	key                  Key
	otherUse, private    bool
}

func (j *jwk) member(name string, v strictjson.Value) error {
	var field *string
	switch name {
	case "kty":
		field = &j.kty
	case "crv":
		field = &j.crv
	case "n":
		field = &j.n
	case "e":
		field = &j.e
	case "x":
		field = &j.x
	case "y":
		field = &j.y
	case "kid":
		field = &j.key.ID
	case "alg":
		field = &j.key.Algorithm
	case "use":
		field = &j.key.Use
	case "d", "p", "q", "dp", "dq", "qi", "oth", "k":
		j.private = true
		return nil
	case "key_ops":
		ops, ok := v.Strings()
		if !ok {
			return errors.New("key_ops is not an array of strings")
		}
		j.otherUse = j.otherUse || !slices.Contains(ops, "verify")
		return nil
	default:
		return nil
	}
	var ok bool
	if *field, ok = v.String(); !ok {
		return errors.New(name + " is not a string")
	}
	return nil
}

func (j *jwk) found(err error) found {
	f := found{key: j.key, err: err, otherUse: j.otherUse || j.key.Use != "" && j.key.Use != "sig"}
	switch {
	case err != nil:
	case j.private || j.kty == "oct":
		f.err, f.otherUse = errors.New("it holds a secret or a private key: publish the public key alone, and give secrets to Static"), false
	case f.otherUse:
	default:
		if f.key.Public, f.err = j.public(); f.err == nil {
			f.err = f.key.Validate()
		}
	}
	return f
}

var curves = map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521()}

func (j *jwk) public() (any, error) {
	switch j.kty {
	case "RSA":
		n, errN := decodeUint("n", j.n)
		e, errE := decodeUint("e", j.e)
		if err := errors.Join(errN, errE); err != nil {
			return nil, err
		}
		if e.BitLen() > 31 {
			return nil, errors.New("e is above 2^31-1")
		}
		return &rsa.PublicKey{N: n, E: int(e.Int64())}, nil
	case "EC":
		curve, ok := curves[j.crv]
		if !ok {
			return nil, fmt.Errorf("crv %q: P-256, P-384 and P-521 are supported", shorten(j.crv))
		}
		x, errX := decode("x", j.x)
		y, errY := decode("y", j.y)
		if err := errors.Join(errX, errY); err != nil {
			return nil, err
		}
		if size := (curve.Params().BitSize + 7) / 8; len(x) != size || len(y) != size {
			return nil, fmt.Errorf("x or y does not have the %d bytes of the curve", size)
		}
		public, err := ecdsa.ParseUncompressedPublicKey(curve, slices.Concat([]byte{4}, x, y))
		if err != nil {
			return nil, errors.New("x and y are not a point on the curve")
		}
		return public, nil
	case "OKP":
		if j.crv != "Ed25519" {
			return nil, fmt.Errorf("crv %q: Ed25519 is supported", shorten(j.crv))
		}
		x, err := decode("x", j.x)
		return ed25519.PublicKey(x), err
	default:
		return nil, fmt.Errorf("kty %q: RSA, EC and OKP are supported", shorten(j.kty))
	}
}

var base64url = base64.RawURLEncoding.Strict()

// decode takes canonical unpadded base64url only.
func decode(name, text string) ([]byte, error) {
	b, err := base64url.DecodeString(text)
	if err != nil || len(b) == 0 || strings.ContainsAny(text, "\r\n") { // the decoder skips line breaks
		return nil, errors.New(name + " is missing or not canonical base64url")
	}
	return b, nil
}

// decodeUint takes a number in the fewest bytes only (RFC 7518, section 2), so that a key has one text.
func decodeUint(name, text string) (*big.Int, error) {
	b, err := decode(name, text)
	if err == nil && b[0] == 0 {
		err = errors.New(name + " begins with a zero byte")
	}
	return new(big.Int).SetBytes(b), err
}
