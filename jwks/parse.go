// SPDX-License-Identifier: Apache-2.0

package jwks

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
)

const (
	maxDocument = 1 << 20
	maxKeys     = 1000
)

// Parse returns the set of the keys in a document: a JWK set or one JWK (RFC 7517), or PEM blocks of the types PUBLIC KEY, RSA PUBLIC KEY and
// CERTIFICATE, whose keys have no ID.
//
// JWKs that are not for verifying signatures, by their use or key_ops, are left out. Everything else that cannot be used is an error that names the key:
// secrets and private keys too, since a document of public keys that holds one is a mistake to be found. At most 1 MiB and 1,000 keys.
func Parse(document []byte) (*StaticSet, error) {
	if len(document) > maxDocument {
		return nil, fmt.Errorf("jwks: the document has more than %d bytes", maxDocument)
	}
	trimmed := bytes.TrimLeft(document, " \t\r\n")
	if len(trimmed) == 0 {
		return nil, errors.New("jwks: the document is empty: give a JWK set or PEM")
	}
	if bytes.HasPrefix(trimmed, []byte("-----")) {
		keys, err := parsePEM(trimmed)
		if err != nil {
			return nil, fmt.Errorf("jwks: %w", err)
		}
		return Static(keys...)
	}
	found, err := parseJSON(document)
	if err != nil {
		return nil, fmt.Errorf("jwks: %w", err)
	}
	keys := make([]Key, 0, len(found))
	for i, f := range found {
		switch {
		case f.err != nil:
			return nil, fmt.Errorf("jwks: key %d (ID %q): %w", i, shorten(f.key.ID), f.err)
		case !f.otherUse:
			keys = append(keys, f.key)
		}
	}
	return Static(keys...)
}

func parsePEM(document []byte) ([]Key, error) {
	var keys []Key
	for len(document) > 0 {
		// The decoder passes over what it cannot read, be it text or a damaged block: all that it took must be the one block.
		block, rest := pem.Decode(document)
		if block == nil || !bytes.HasPrefix(document, []byte("-----BEGIN ")) || bytes.Count(document[:len(document)-len(rest)], []byte("-----BEGIN ")) != 1 {
			return nil, fmt.Errorf("PEM block %d: malformed, or text between the blocks", len(keys))
		}
		if len(keys) == maxKeys {
			return nil, fmt.Errorf("more than %d keys", maxKeys)
		}
		k, err := parseBlock(block)
		if err != nil {
			return nil, fmt.Errorf("PEM block %d: %w", len(keys), err)
		}
		keys = append(keys, k)
		document = bytes.TrimLeft(rest, " \t\r\n")
	}
	return keys, nil
}

func parseBlock(block *pem.Block) (Key, error) {
	switch block.Type {
	case "PUBLIC KEY":
		public, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return Key{}, errors.New("not a public key in PKIX form")
		}
		return Key{Public: public}, nil
	case "RSA PUBLIC KEY":
		public, err := x509.ParsePKCS1PublicKey(block.Bytes)
		if err != nil {
			return Key{}, errors.New("not a public key in PKCS #1 form")
		}
		return Key{Public: public}, nil
	case "CERTIFICATE":
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return Key{}, errors.New("not a certificate")
		}
		return Key{Public: certificate.PublicKey}, nil
	case "PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY":
		return Key{}, errors.New("a private key: give its public key, and keep this one from services that only verify")
	default:
		return Key{}, fmt.Errorf("type %q: give PUBLIC KEY, RSA PUBLIC KEY or CERTIFICATE", block.Type[:min(len(block.Type), 32)])
	}
}
