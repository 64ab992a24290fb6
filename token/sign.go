// SPDX-License-Identifier: Apache-2.0

package token

import (
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha256" // linked in for the algorithms
	_ "crypto/sha512" // linked in for the algorithms
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"strings"

	"github.com/go-json-experiment/json"
)

// header is the encoded header of the tokens of a key (RFC 9068, section 2.1).
func header(id, algorithm string) (string, error) {
	text, err := json.Marshal(map[string]string{"alg": algorithm, "kid": id, "typ": "at+jwt"}, json.Deterministic(true))
	return base64url.EncodeToString(text), err
}

// sign makes a JWS in compact form (RFC 7515, section 7.1). Private keys sign through crypto.Signer alone, so that they may be anywhere.
func (k *ringKey) sign(payload []byte) (string, error) {
	signed := k.header + "." + base64url.EncodeToString(payload)
	signature, err := k.signature([]byte(signed))
	if err != nil {
		return "", fmt.Errorf("token: the key %q did not sign: %w", k.ID, err)
	}
	return signed + "." + base64url.EncodeToString(signature), nil
}

var hashes = map[string]crypto.Hash{"256": crypto.SHA256, "384": crypto.SHA384, "512": crypto.SHA512}

// signature is made by the algorithm of the key (RFC 7518, section 3, RFC 8037 and RFC 9864).
func (k *ringKey) signature(text []byte) ([]byte, error) {
	if strings.HasPrefix(k.Algorithm, "Ed") {
		return k.Key.Sign(rand.Reader, text, crypto.Hash(0))
	}
	hash := hashes[k.Algorithm[2:]]
	if k.Secret != nil {
		mac := hmac.New(hash.New, k.Secret)
		mac.Write(text)
		return mac.Sum(nil), nil
	}
	sum := hash.New()
	sum.Write(text)
	digest := sum.Sum(nil)
	switch k.Algorithm[:2] {
	case "PS":
		return k.Key.Sign(rand.Reader, digest, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: hash})
	case "ES":
		der, err := k.Key.Sign(rand.Reader, digest, hash)
		if err != nil {
			return nil, err
		}
		return fixed(der, map[string]int{"ES256": 32, "ES384": 48, "ES512": 66}[k.Algorithm])
	default:
		return k.Key.Sign(rand.Reader, digest, hash)
	}
}

// fixed makes the two numbers of an ECDSA signature of that many bytes each (RFC 7518, section 3.4).
func fixed(der []byte, size int) ([]byte, error) {
	var numbers struct{ R, S *big.Int }
	rest, err := asn1.Unmarshal(der, &numbers)
	if err != nil || len(rest) > 0 || numbers.R.Sign() <= 0 || numbers.S.Sign() <= 0 || numbers.R.BitLen() > 8*size || numbers.S.BitLen() > 8*size {
		return nil, errors.New("what the key made is no signature")
	}
	signature := make([]byte, 2*size)
	numbers.R.FillBytes(signature[:size])
	numbers.S.FillBytes(signature[size:])
	return signature, nil
}
