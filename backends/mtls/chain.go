// SPDX-License-Identifier: Apache-2.0

package mtls

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"slices"
	"time"

	"google.golang.org/grpc/credentials"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/internal/remember"
)

// proof is what was found true of a leaf, apart from the time. It is never changed once it is made: all calls with the leaf share it.
type proof struct {
	// pool is the one that the leaf was verified with, nil if it was verified elsewhere. Holding it keeps its address from being another pool's.
	pool        *x509.CertPool
	from, until time.Time // when every certificate of the chain is valid, until excluded
	caller      caller
	thumbprint  string
}

// shown returns the certificates of the connection, leaf first: those that the TLS stack verified, or what Options.Peer makes of it.
func (b *Backend) shown(req *grpcauth.Request) ([]*x509.Certificate, error) {
	p := req.Peer()
	if p == nil {
		return nil, grpcauth.ErrNoCredentials
	}
	if b.opts.Peer != nil {
		chain, ok := b.opts.Peer(p)
		switch {
		case !ok || len(chain) == 0:
			return nil, grpcauth.ErrNoCredentials
		case slices.ContainsFunc(chain, func(c *x509.Certificate) bool { return c == nil || len(c.Raw) == 0 }):
			return nil, grpcauth.Errorf(grpcauth.CodeInternal, "mtls: Options.Peer returned a certificate that is nil or was not parsed")
		}
		return chain, nil
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok || len(info.State.PeerCertificates) == 0 && len(info.State.VerifiedChains) == 0 {
		return nil, grpcauth.ErrNoCredentials
	}
	leaf, ok := req.Certificate()
	if !ok {
		return nil, grpcauth.Errorf(grpcauth.CodeInvalid, "mtls: the TLS stack did not verify the certificate: set tls.Config.ClientAuth, or Options.Peer if it is verified elsewhere")
	}
	if len(info.State.PeerCertificates) == 0 || !leaf.Equal(info.State.PeerCertificates[0]) {
		return nil, grpcauth.Errorf(grpcauth.CodeInvalid, "mtls: the verified certificate is not the one that the caller showed")
	}
	return info.State.PeerCertificates, nil
}

// prove returns what is true of the leaf now, from memory if it was found true with the same authorities before.
func (b *Backend) prove(req *grpcauth.Request, shown []*x509.Certificate) (*proof, error) {
	var pool *x509.CertPool
	if b.opts.Roots != nil {
		if pool = b.opts.Roots(); pool == nil { // to crypto/x509 no pool is the machine's own
			return nil, errors.New("mtls: Options.Roots returned nil")
		}
	}
	now, key := b.opts.Now(), remember.Key(sha256.Sum256(shown[0].Raw))
	if pool != nil && !req.Recheck() {
		if p, ok := b.proven.Get(key, now); ok && p.pool == pool && !now.Before(p.from) {
			req.Remembered()
			return p, nil
		}
	}
	p := &proof{pool: pool, thumbprint: base64.RawURLEncoding.EncodeToString(key[:])}
	if err := p.verify(shown, now); err != nil {
		return nil, grpcauth.Errorf(grpcauth.CodeInvalid, "mtls: %w", err)
	}
	var err error
	if p.caller, err = callerOf(shown[0], b.opts.Identities); err != nil {
		return nil, grpcauth.Errorf(grpcauth.CodeInvalid, "mtls: %w", err)
	}
	switch {
	case now.Before(p.from):
		return nil, grpcauth.Errorf(grpcauth.CodeInvalid, "mtls: the certificate or its authority is not valid yet")
	case !now.Before(p.until):
		return nil, grpcauth.Errorf(grpcauth.CodeExpired, "mtls: the certificate or its authority has expired")
	}
	if pool != nil {
		b.proven.Put(key, p, now, p.until)
	}
	return p, nil
}

// verify checks that the leaf is an authentic client certificate, and when it is valid. A leaf out of its time is checked as of the nearest moment
// of it, since only of what is authentic may be said that it has expired.
func (p *proof) verify(shown []*x509.Certificate, now time.Time) error {
	leaf := shown[0]
	if leaf.IsCA || leaf.KeyUsage&(x509.KeyUsageCertSign|x509.KeyUsageCRLSign) != 0 {
		return errors.New("the certificate is an authority's")
	}
	if p.pool == nil {
		if len(leaf.ExtKeyUsage)+len(leaf.UnknownExtKeyUsage) > 0 &&
			!slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageClientAuth) && !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageAny) {
			return errors.New("the certificate is not for clients")
		}
		p.from, p.until = validity(shown)
		return nil
	}
	intermediates := x509.NewCertPool()
	for _, c := range shown[1:] {
		intermediates.AddCert(c)
	}
	at := now
	switch {
	case now.Before(leaf.NotBefore):
		at = leaf.NotBefore
	case now.After(leaf.NotAfter):
		at = leaf.NotAfter
	}
	chains, err := leaf.Verify(x509.VerifyOptions{
		Roots: p.pool, Intermediates: intermediates, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return err
	}
	for _, chain := range chains {
		if from, until := validity(chain); len(chain) > 1 && until.After(p.until) {
			p.from, p.until = from, until
		}
	}
	if p.until.IsZero() {
		return errors.New("the certificate is itself in Options.Roots")
	}
	return nil
}

// validity is when all certificates of a chain are valid.
func validity(chain []*x509.Certificate) (from, until time.Time) {
	from, until = chain[0].NotBefore, chain[0].NotAfter
	for _, c := range chain[1:] {
		if c.NotBefore.After(from) {
			from = c.NotBefore
		}
		if c.NotAfter.Before(until) {
			until = c.NotAfter
		}
	}
	return from, until
}
