// SPDX-License-Identifier: Apache-2.0

package bearer

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"

	"github.com/grpcauth/grpcauth"
)

// checkBinding refuses a bound token whose holder does not show what it is bound to (RFC 8705, section 3). What cannot be checked is refused.
func checkBinding(req *grpcauth.Request, b grpcauth.Binding) error {
	if b == (grpcauth.Binding{}) {
		return nil
	}
	if b.JKT != "" {
		return grpcauth.Errorf(grpcauth.CodeInvalid, "the token is bound to a DPoP key and was sent as a bearer token")
	}
	cert, ok := req.Certificate()
	if !ok {
		return grpcauth.Errorf(grpcauth.CodeInvalid, "the token is bound to a certificate and the connection has none that was verified")
	}
	sum := sha256.Sum256(cert.Raw)
	shown := base64.RawURLEncoding.EncodeToString(sum[:])
	if subtle.ConstantTimeCompare([]byte(shown), []byte(b.CertSHA256)) != 1 {
		return grpcauth.Errorf(grpcauth.CodeInvalid, "the token is bound to another certificate")
	}
	return nil
}
