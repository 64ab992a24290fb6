// SPDX-License-Identifier: Apache-2.0

// Package jws signs what a program says about itself: assertions to a server, and proofs that it has a key. Tokens for others are not made here.
package jws

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/big"
)

// Algorithm is what a key signs by (RFC 7518, section 3.1, and RFC 8037): RS256, ES256, ES384, ES512 or EdDSA. The error says which keys are of use.
func Algorithm(public crypto.PublicKey) (string, error) {
	switch public := public.(type) {
	case *rsa.PublicKey:
		if public.N.BitLen() >= 2048 {
			return "RS256", nil
		}
	case *ecdsa.PublicKey:
		if alg, ok := map[int]string{256: "ES256", 384: "ES384", 521: "ES512"}[public.Curve.Params().BitSize]; ok {
			return alg, nil
		}
	case ed25519.PublicKey:
		return "EdDSA", nil
	}
	return "", errors.New("the key is of no use: it must be RSA of 2048 bits or more, on P-256, P-384 or P-521, or Ed25519")
}

// JWK is a public key in the form of which thumbprints are made (RFC 7638, section 3.2): its required members in the order of their names, without white
// space. It is empty for a key that [Algorithm] knows no use for.
func JWK(public crypto.PublicKey) string {
	switch public := public.(type) {
	case *rsa.PublicKey:
		return `{"e":"` + encode(big.NewInt(int64(public.E)).Bytes()) + `","kty":"RSA","n":"` + encode(public.N.Bytes()) + `"}`
	case *ecdsa.PublicKey:
		if point, err := public.Bytes(); err == nil {
			half := 1 + len(point)/2
			return `{"crv":"` + public.Params().Name + `","kty":"EC","x":"` + encode(point[1:half]) + `","y":"` + encode(point[half:]) + `"}`
		}
	case ed25519.PublicKey:
		return `{"crv":"Ed25519","kty":"OKP","x":"` + encode(public) + `"}`
	}
	return ""
}

// Thumbprint is the SHA-256 thumbprint of a public key (RFC 7638, section 3), empty if its JWK is.
func Thumbprint(public crypto.PublicKey) string {
	jwk := JWK(public)
	if jwk == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(jwk))
	return encode(sum[:])
}

// Sign returns a JWS in compact form (RFC 7515, section 7.1). The algorithm of the header is the key's.
func Sign(key crypto.Signer, header, claims map[string]any) (string, error) {
	alg, err := Algorithm(key.Public())
	if err != nil {
		return "", err
	}
	header["alg"] = alg
	head, err := json.Marshal(header)
	if err != nil {
		return "", err
	}
	body, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	signed := encode(head) + "." + encode(body)
	signature, err := sign(key, alg, []byte(signed))
	if err != nil {
		return "", err
	}
	return signed + "." + encode(signature), nil
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func sign(key crypto.Signer, alg string, text []byte) ([]byte, error) {
	switch alg {
	case "EdDSA":
		return key.Sign(rand.Reader, text, crypto.Hash(0))
	case "RS256":
		sum := sha256.Sum256(text)
		return key.Sign(rand.Reader, sum[:], crypto.SHA256)
	case "ES256":
		sum := sha256.Sum256(text)
		return fixed(key, sum[:], crypto.SHA256, 32)
	case "ES384":
		sum := sha512.Sum384(text)
		return fixed(key, sum[:], crypto.SHA384, 48)
	default:
		sum := sha512.Sum512(text)
		return fixed(key, sum[:], crypto.SHA512, 66)
	}
}

// fixed makes the two numbers of an ECDSA signature of that many bytes each (RFC 7518, section 3.4).
func fixed(key crypto.Signer, digest []byte, hash crypto.Hash, size int) ([]byte, error) {
	der, err := key.Sign(rand.Reader, digest, hash)
	if err != nil {
		return nil, err
	}
	var numbers struct{ R, S *big.Int }
	if rest, err := asn1.Unmarshal(der, &numbers); err != nil || len(rest) > 0 || numbers.R.BitLen() > 8*size || numbers.S.BitLen() > 8*size {
		return nil, errors.New("the key made a signature that is none")
	}
	signature := make([]byte, 2*size)
	numbers.R.FillBytes(signature[:size])
	numbers.S.FillBytes(signature[size:])
	return signature, nil
}
