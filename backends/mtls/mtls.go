// SPDX-License-Identifier: Apache-2.0

// Package mtls finds the caller in the client certificate of its TLS connection.
//
// The server's tls.Config asks for certificates: tls.RequireAndVerifyClientCert, or tls.VerifyClientCertIfGiven where some callers have none.
// TLS proves once, at the handshake, that the caller holds the key; this package verifies the certificate again at each call, because a
// connection or a session that is resumed can outlive the certificate and the trust in its authority. Revocation lists are not read: remove the
// authority, or issue certificates that live for hours.
//
// The certificate is that of the other end of the connection and of nobody behind it. Where calls come through a gateway or a proxy that ends TLS, it
// is the proxy's, and so is the identity: it says which proxy passed a call on, never who made it. The caller then needs a credential that is in
// the call, such as a token; let [grpcauth.All] ask for both. No header that tells of a certificate is read.
//
// A certificate that is refused is not rescued by another backend of a [grpcauth.Chain]. Where workloads show certificates and people send tokens
// over connections that have one as well, put this backend last.
package mtls

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"google.golang.org/grpc/peer"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/internal/remember"
)

// Options say whose certificates are taken and what in them names the caller. Roots is required unless Peer is given.
type Options struct {
	// Roots returns the authorities that certificates must come from; it is asked at each call, so what it returns next counts at once. A change is
	// a new pool: certificates that were verified with a pool are not verified with the same one again. Returning nil means that nothing can be decided.
	//
	// It holds authorities only: a certificate that is itself in the pool names nobody. TLS verifies as well, with tls.Config.ClientCAs, which does
	// not stand in for Roots.
	Roots func() *x509.CertPool
	// Peer finds the certificates of connections that something other than crypto/tls verifies, leaf first; false, or no certificates, means that
	// the connection has none. If it is given, nothing else is looked at.
	//
	// Without Roots, what Peer returns is trusted as verified: for each call only the time, the usage and the name are checked, and an authority
	// that is removed is missed until the connection ends. Whoever verifies in a tls.Config does it in VerifyConnection, or resumes no sessions,
	// since VerifyPeerCertificate is not called when a session is resumed.
	Peer func(*peer.Peer) (chain []*x509.Certificate, ok bool)
	// Identities are the kinds of names that may name the caller; [SPIFFE] alone by default. The first kind of which the certificate has a name
	// decides: the certificate must have one of that kind, not two, and it must be a good one, or else it is refused. Names of other kinds do not matter.
	Identities []Identity
	// Allow are the SPIFFE IDs that are let in, as patterns; see [ParsePattern]. If there are none, every SPIFFE ID of a good certificate is.
	// It needs SPIFFE to be the only kind in Identities.
	Allow []string
	// Map is the rule that makes a user of a certificate that was proven good; id is its SPIFFE ID, or zero if it is named otherwise. An empty ID, Issuer
	// or Method of the user is filled in; its expiry is never later than the certificate's, and its certificate binding always the certificate's.
	// An [*grpcauth.AuthenticationError] refuses the call; any other error means that nothing could be decided.
	// By default, the user has the name as its ID and nothing else.
	Map func(cert *x509.Certificate, id ID) (*grpcauth.User, error)
	// Issuer is the [grpcauth.User].Issuer of callers; empty by default.
	Issuer string
	// MaxRemembered is how many verified certificates are remembered; 10,000 by default, none if negative. Each takes about 400 bytes.
	MaxRemembered int
	// Now replaces time.Now.
	Now func() time.Time
}

// Backend is a [grpcauth.Backend] for client certificates. It is safe for concurrent use.
type Backend struct {
	opts    Options
	allow   []Pattern
	schemes []grpcauth.Scheme
	proven  *remember.Cache[*proof]
}

var (
	_ grpcauth.Backend   = (*Backend)(nil)
	_ grpcauth.Describer = (*Backend)(nil)
)

// New returns a backend. An error names the option that is wrong.
func New(opts Options) (*Backend, error) {
	if opts.Roots == nil && opts.Peer == nil {
		return nil, errors.New("mtls: Options.Roots is nil: write a function that returns the pool of the authorities whose certificates count")
	}
	if len(opts.Identities) == 0 {
		opts.Identities = []Identity{SPIFFE}
	}
	opts.Identities = slices.Clone(opts.Identities)
	for i, kind := range opts.Identities {
		switch {
		case kind < SPIFFE || kind > InsecureCommonName:
			return nil, fmt.Errorf("mtls: Options.Identities[%d] is no kind of name", i)
		case slices.Contains(opts.Identities[:i], kind):
			return nil, fmt.Errorf("mtls: Options.Identities has %v twice", kind)
		case kind == InsecureCommonName && len(opts.Identities) > 1:
			return nil, errors.New("mtls: Options.Identities has InsecureCommonName beside others: a common name is any text, also one that reads like a name of another kind")
		}
	}
	if len(opts.Allow) > 0 && !slices.Equal(opts.Identities, []Identity{SPIFFE}) {
		return nil, errors.New("mtls: Options.Allow matches SPIFFE IDs only: leave it out, or write SPIFFE alone in Identities")
	}
	allow := make([]Pattern, len(opts.Allow))
	for i, text := range opts.Allow {
		var err error
		if allow[i], err = ParsePattern(text); err != nil {
			return nil, fmt.Errorf("mtls: Options.Allow[%d]: %w", i, err)
		}
	}
	if opts.MaxRemembered == 0 {
		opts.MaxRemembered = 10_000
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	return &Backend{
		opts: opts, allow: allow, schemes: []grpcauth.Scheme{{Name: "mtls"}}, proven: remember.New[*proof](opts.MaxRemembered),
	}, nil
}

// Format prints the kind of credential, whatever the verb.
func (b *Backend) Format(f fmt.State, _ rune) {
	if b == nil {
		_, _ = io.WriteString(f, "<nil>")
		return
	}
	_, _ = io.WriteString(f, `Backend("mtls")`)
}

// Schemes says that the credential is in the connection.
func (b *Backend) Schemes() []grpcauth.Scheme { return b.schemes }

// Authenticate checks the client certificate of the call's connection. On a recheck of a stream all of it is verified anew.
func (b *Backend) Authenticate(_ context.Context, req *grpcauth.Request) (*grpcauth.User, error) {
	shown, err := b.shown(req)
	if err != nil {
		return nil, err
	}
	p, err := b.prove(req, shown)
	if err != nil {
		return nil, err
	}
	if len(b.allow) > 0 && !slices.ContainsFunc(b.allow, func(allowed Pattern) bool { return allowed.Match(p.caller.id) }) {
		return nil, grpcauth.Errorf(grpcauth.CodeInvalid, "mtls: no pattern in Options.Allow matches %q", p.caller.name)
	}
	return b.user(req, shown[0], p)
}

// user is who was proven, as the application's rule has it.
func (b *Backend) user(req *grpcauth.Request, leaf *x509.Certificate, p *proof) (*grpcauth.User, error) {
	user := &grpcauth.User{}
	if b.opts.Map != nil {
		mapped, err := b.opts.Map(leaf, p.caller.id)
		switch {
		case grpcauth.CodeOf(err) == grpcauth.CodeMissing:
			// The certificate was found: whatever the rule says of it, the call is not one without credentials.
			return nil, grpcauth.Errorf(grpcauth.CodeInternal, "mtls: Options.Map returned: %w", err)
		case err != nil:
			return nil, fmt.Errorf("mtls: Options.Map: %w", err)
		case mapped == nil:
			return nil, grpcauth.Errorf(grpcauth.CodeInternal, "mtls: Options.Map returned neither a user nor an error")
		}
		user = mapped
	}
	user = req.Own(user)
	if user.ID == "" {
		user.ID = p.caller.name
	}
	if user.Issuer == "" {
		user.Issuer = b.opts.Issuer
	}
	if user.Method == "" {
		user.Method = b.schemes[0].Name
	}
	if user.Expiry.IsZero() || p.until.Before(user.Expiry) {
		user.Expiry = p.until
	}
	user.Binding.CertSHA256 = p.thumbprint
	return user, nil
}
