// SPDX-License-Identifier: Apache-2.0

package mtls_test

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"net"
	"net/url"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/mtls"
	"github.com/grpcauth/grpcauth/grpcauthtest"
)

const (
	method    = "/shop.v1.Orders/Get"
	orders    = "spiffe://example.org/ns/shop/sa/orders"
	missing   = "CREDENTIALS_MISSING"
	refused   = "CREDENTIALS_INVALID"
	expired   = "CREDENTIALS_EXPIRED"
	undecided = "AUTHENTICATION_UNAVAILABLE"
	broken    = "AUTHENTICATION_FAILED"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newBackend makes a backend that trusts the authority, unless the options say whom to trust.
func newBackend(tb testing.TB, ca *grpcauthtest.CA, opts mtls.Options) *mtls.Backend {
	tb.Helper()
	if opts.Roots == nil && opts.Peer == nil {
		pool := ca.Pool()
		opts.Roots = func() *x509.CertPool { return pool }
	}
	b, err := mtls.New(opts)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// workload is the template of a certificate with these URIs.
func workload(tb testing.TB, uris ...string) x509.Certificate {
	tb.Helper()
	var template x509.Certificate
	for _, text := range uris {
		uri, err := url.Parse(text)
		if err != nil {
			tb.Fatal(err)
		}
		template.URIs = append(template.URIs, uri)
	}
	return template
}

// issue has the authority issue a certificate with these URIs.
func issue(tb testing.TB, ca *grpcauthtest.CA, uris ...string) *x509.Certificate {
	tb.Helper()
	return ca.Issue(workload(tb, uris...)).Leaf
}

// sign makes a certificate of a public key from the template, which the issuer signs, even one that should not.
func sign(tb testing.TB, issuer tls.Certificate, template *x509.Certificate, public any) *x509.Certificate {
	tb.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, issuer.Leaf, public, issuer.PrivateKey)
	if err != nil {
		tb.Fatal(err)
	}
	made, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	return made
}

// issueUnder makes a certificate and its key from the template, signed by the issuer.
func issueUnder(tb testing.TB, issuer tls.Certificate, template x509.Certificate) tls.Certificate {
	tb.Helper()
	made := grpcauthtest.NewCA(tb).Issue(template)
	leaf := sign(tb, issuer, made.Leaf, made.Leaf.PublicKey)
	return tls.Certificate{Certificate: append([][]byte{leaf.Raw}, issuer.Certificate...), PrivateKey: made.PrivateKey, Leaf: leaf}
}

// selfSigned makes a certificate and its key from the template, signed by that key.
func selfSigned(tb testing.TB, template x509.Certificate) tls.Certificate {
	tb.Helper()
	made := grpcauthtest.NewCA(tb).Issue(template)
	leaf := sign(tb, made, made.Leaf, made.Leaf.PublicKey)
	return tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: made.PrivateKey, Leaf: leaf}
}

// verified is a connection whose client certificate the TLS stack verified, with the chain that the client sent.
func verified(chain ...*x509.Certificate) credentials.TLSInfo {
	return credentials.TLSInfo{State: tls.ConnectionState{PeerCertificates: chain, VerifiedChains: [][]*x509.Certificate{chain}}}
}

// request is a call over a connection with that authentication.
func request(tb testing.TB, info credentials.AuthInfo, pairs ...string) *grpcauth.Request {
	tb.Helper()
	ctx := peer.NewContext(tb.Context(), &peer.Peer{Addr: &net.TCPAddr{}, AuthInfo: info})
	return grpcauth.NewRequest(metadata.NewIncomingContext(ctx, metadata.Pairs(pairs...)), method)
}

// call is one call; the answer is the user's ID or the code of the refusal.
func call(tb testing.TB, b grpcauth.Backend, info credentials.AuthInfo) string {
	tb.Helper()
	return answer(b.Authenticate(tb.Context(), request(tb, info)))
}

func answer(user *grpcauth.User, err error) string {
	switch {
	case user != nil && err != nil:
		return "a user and an error"
	case err != nil:
		return grpcauth.CodeOf(err).String()
	case user == nil:
		return "neither a user nor an error"
	}
	return user.ID
}

// accept is a call that must be let in.
func accept(tb testing.TB, b grpcauth.Backend, info credentials.AuthInfo) *grpcauth.User {
	tb.Helper()
	user, err := b.Authenticate(tb.Context(), request(tb, info))
	if err != nil {
		tb.Fatalf("a good certificate was refused: %v", err)
	}
	return user
}

func expect(tb testing.TB, b grpcauth.Backend, info credentials.AuthInfo, want string) {
	tb.Helper()
	if got := call(tb, b, info); got != want {
		tb.Errorf("got %s, want %s", got, want)
	}
}

func thumbprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// now is a moment at which the authority and what it issues by default are valid.
func now(ca *grpcauthtest.CA) time.Time { return ca.Certificate.NotBefore.Add(30 * time.Minute) }
