// SPDX-License-Identifier: Apache-2.0

package bearer_test

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"net"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/bearer"
	"github.com/grpcauth/grpcauth/grpcauthtest"
)

func thumbprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// bound accepts every token as alice's, bound to something.
func bound(to grpcauth.Binding) *judge {
	return &judge{verify: func(context.Context, string) (*grpcauth.User, error) {
		return &grpcauth.User{ID: "alice", Binding: to}, nil
	}}
}

// over is one call over a connection with that authentication.
func over(t *testing.T, b grpcauth.Backend, info credentials.AuthInfo) string {
	t.Helper()
	ctx := metadata.NewIncomingContext(t.Context(), metadata.Pairs("authorization", "Bearer abc"))
	ctx = peer.NewContext(ctx, &peer.Peer{Addr: &net.TCPAddr{}, AuthInfo: info})
	return answer(b.Authenticate(ctx, grpcauth.NewRequest(ctx, method)))
}

// verified is a connection whose client certificate the TLS stack verified.
func verified(chain ...*x509.Certificate) credentials.TLSInfo {
	return credentials.TLSInfo{State: tls.ConnectionState{PeerCertificates: chain, VerifiedChains: [][]*x509.Certificate{chain}}}
}

func TestBoundTokenNeedsTheCertificateItIsBoundTo(t *testing.T) {
	t.Parallel()
	ca := grpcauthtest.NewCA(t)
	leaf, other := ca.Issue(x509.Certificate{}).Leaf, ca.Issue(x509.Certificate{}).Leaf
	good := verified(leaf, ca.Certificate)
	sum := sha256.Sum256(leaf.Raw)
	for _, test := range []struct {
		name string
		to   grpcauth.Binding
		info credentials.AuthInfo
		want string
	}{
		{"the right leaf", grpcauth.Binding{CertSHA256: thumbprint(leaf)}, good, "alice"},
		{"not bound, with a certificate", grpcauth.Binding{}, good, "alice"},
		{"not bound, without TLS", grpcauth.Binding{}, nil, "alice"},

		{"without TLS", grpcauth.Binding{CertSHA256: thumbprint(leaf)}, nil, refused},
		{"no client certificate", grpcauth.Binding{CertSHA256: thumbprint(leaf)}, credentials.TLSInfo{}, refused},
		{"a chain of nothing", grpcauth.Binding{CertSHA256: thumbprint(leaf)}, verified(), refused},
		{"a certificate that nobody verified", grpcauth.Binding{CertSHA256: thumbprint(leaf)}, credentials.TLSInfo{State: tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}}}, refused},
		{"another certificate", grpcauth.Binding{CertSHA256: thumbprint(leaf)}, verified(other, ca.Certificate), refused},
		{"the leaf elsewhere in the chain", grpcauth.Binding{CertSHA256: thumbprint(leaf)}, verified(other, leaf), refused},
		{"bound to the authority", grpcauth.Binding{CertSHA256: thumbprint(ca.Certificate)}, good, refused},

		{"a thumbprint that is padded", grpcauth.Binding{CertSHA256: thumbprint(leaf) + "="}, good, refused},
		{"a thumbprint that is cut", grpcauth.Binding{CertSHA256: thumbprint(leaf)[:42]}, good, refused},
		{"a thumbprint in another case", grpcauth.Binding{CertSHA256: strings.ToUpper(thumbprint(leaf))}, good, refused},
		{"a thumbprint in hexadecimal digits", grpcauth.Binding{CertSHA256: hex.EncodeToString(sum[:])}, good, refused},
		{"a thumbprint that is none", grpcauth.Binding{CertSHA256: "*"}, good, refused},

		{"a DPoP key", grpcauth.Binding{JKT: thumbprint(leaf)}, good, refused},
		{"a DPoP key and the right leaf", grpcauth.Binding{CertSHA256: thumbprint(leaf), JKT: thumbprint(leaf)}, good, refused},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := newBackend(t, bound(test.to), bearer.Options{})
			for range 2 { // judged, and then remembered
				if got := over(t, b, test.info); got != test.want {
					t.Errorf("got %s, want %s", got, test.want)
				}
			}
		})
	}
}

func TestBindingIsCheckedOnEveryCall(t *testing.T) {
	t.Parallel()
	ca := grpcauthtest.NewCA(t)
	leaf, other := ca.Issue(x509.Certificate{}).Leaf, ca.Issue(x509.Certificate{}).Leaf
	j := bound(grpcauth.Binding{CertSHA256: thumbprint(leaf)})
	b := newBackend(t, j, bearer.Options{})
	for i, call := range []struct {
		info credentials.AuthInfo
		want string
	}{
		{verified(leaf), "alice"}, {verified(other), refused}, {nil, refused}, {verified(leaf), "alice"}, {verified(other), refused},
	} {
		if got := over(t, b, call.info); got != call.want {
			t.Errorf("call %d: got %s, want %s", i, got, call.want)
		}
	}
	expectAsked(t, j, 1) // what one connection lacks says nothing of the token
}

func TestBoundTokenOverMutualTLS(t *testing.T) {
	t.Parallel()
	ca := grpcauthtest.NewCA(t)
	right, other := ca.Issue(x509.Certificate{}), ca.Issue(x509.Certificate{})
	b := newBackend(t, bound(grpcauth.Binding{CertSHA256: thumbprint(right.Leaf)}), bearer.Options{})
	for name, test := range map[string]struct {
		certificates []tls.Certificate
		want         codes.Code
	}{
		"the right certificate": {[]tls.Certificate{right}, codes.OK},
		"another certificate":   {[]tls.Certificate{other}, codes.Unauthenticated},
		"no certificate":        {nil, codes.Unauthenticated},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			auth := grpcauth.New(b)
			srv := grpc.NewServer(append(auth.ServerOptions(), grpc.Creds(credentials.NewTLS(ca.ServerTLS())))...)
			healthpb.RegisterHealthServer(auth.Registrar(srv), health.NewServer())
			client := healthpb.NewHealthClient(grpcauthtest.Dial(t, srv, credentials.NewTLS(ca.ClientTLS(test.certificates...))))
			if _, err := client.Check(grpcauthtest.WithBearer(t.Context(), "abc"), &healthpb.HealthCheckRequest{}); status.Code(err) != test.want {
				t.Errorf("got %v, want %v", err, test.want)
			}
		})
	}
}
