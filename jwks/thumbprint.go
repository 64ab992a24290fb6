// SPDX-License-Identifier: Apache-2.0

package jwks

import (
	"errors"
	"fmt"

	"github.com/grpcauth/grpcauth/internal/jws"
	"github.com/grpcauth/grpcauth/internal/strictjson"
)

// ParseKey returns the public key in one JWK (RFC 7517, section 4), which is for verifying signatures and holds nothing secret.
func ParseKey(jwkText []byte) (Key, error) {
	if len(jwkText) > maxDocument {
		return Key{}, fmt.Errorf("jwks: the JWK has more than %d bytes", maxDocument)
	}
	j := &jwk{}
	f := j.found(strictjson.Object(jwkText, j.member))
	switch {
	case f.err != nil:
		return Key{}, fmt.Errorf("jwks: the JWK: %w", f.err)
	case f.otherUse:
		return Key{}, errors.New("jwks: the JWK is not for verifying signatures")
	}
	return f.key, nil
}

// Thumbprint returns the SHA-256 thumbprint of the public key in unpadded base64url (RFC 7638, section 3); empty for secrets and for keys that Validate refuses.
func (k Key) Thumbprint() string {
	if k.Public == nil || k.Validate() != nil {
		return ""
	}
	return jws.Thumbprint(k.Public)
}
