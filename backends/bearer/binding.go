// SPDX-License-Identifier: Apache-2.0

package bearer

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"

	"github.com/grpcauth/grpcauth"
)

// checkBinding refuses a bound token whose holder does not show what it is bound to. What cannot be checked is refused.
func (b *Backend) checkBinding(ctx context.Context, req *grpcauth.Request, scheme, token string, to grpcauth.Binding) error {
	switch {
	case b.opts.RequireBinding && to == (grpcauth.Binding{}):
		return grpcauth.Errorf(grpcauth.CodeInvalid, "the token is not bound to a key")
	case to.JKT != "" && scheme != dpopScheme:
		return grpcauth.Errorf(grpcauth.CodeInvalid, "the token is bound to a DPoP key and was sent as a bearer token")
	case to.JKT == "" && scheme == dpopScheme:
		return grpcauth.Errorf(grpcauth.CodeInvalid, "the token is not bound to a DPoP key and was sent as one that is")
	}
	if err := checkCertificate(req, to); err != nil || to.JKT == "" || req.Recheck() {
		return err // a stream that is open has proven the key when it began
	}
	return b.possession.check(ctx, req, token, to.JKT)
}

// checkCertificate is RFC 8705, section 3.
func checkCertificate(req *grpcauth.Request, b grpcauth.Binding) error {
	if b.CertSHA256 == "" {
		return nil
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
