// SPDX-License-Identifier: Apache-2.0

package grpcauthtest_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/jwt"
	"github.com/grpcauth/grpcauth/grpcauthtest"
	echov1 "github.com/grpcauth/grpcauth/internal/gen/echo/v1"
	"github.com/grpcauth/grpcauth/jwks"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// double stands in for a test where there is none: an example has no testing.TB of its own.
type double struct {
	testing.TB

	ctx      context.Context
	cleanups []func()
}

func (*double) Helper()                    {}
func (d *double) Context() context.Context { return d.ctx }
func (d *double) Cleanup(f func())         { d.cleanups = append(d.cleanups, f) }

// inTest runs the body of a test, and what it leaves to clean up.
func inTest(body func(testing.TB)) {
	d := &double{ctx: context.Background()}
	body(d)
	for len(d.cleanups) > 0 {
		last := len(d.cleanups) - 1
		d.cleanups[last]()
		d.cleanups = d.cleanups[:last]
	}
}

var (
	secrets    = []string{"HS256", "HS384", "HS512"}
	signatures = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"}
)

func TestIssuersTokensVerify(t *testing.T) {
	t.Parallel()
	issuer := grpcauthtest.NewIssuer(t, "https://idp.example.com", "orders")
	for _, algorithms := range [][]string{secrets, signatures} {
		v, err := jwt.NewVerifier(jwt.Options{Issuers: []jwt.Issuer{issuer.Config(algorithms...)}})
		if err != nil {
			t.Fatal(err)
		}
		for _, algorithm := range algorithms {
			user, err := v.Verify(t.Context(), issuer.Token(algorithm, "alice", map[string]any{"scope": "read write", "iat": nil}))
			if err != nil || user.ID != "alice" || user.Issuer != issuer.URL || len(user.Scopes) != 2 {
				t.Errorf("%s: got %v, %v", algorithm, user, err)
			}
		}
	}
}

// What the issuer publishes is what a server without access to the issuer itself would trust.
func TestIssuersPublishedKeysVerify(t *testing.T) {
	t.Parallel()
	issuer := grpcauthtest.NewIssuer(t, "https://idp.example.com", "orders")
	for _, algorithm := range slices.Concat(secrets, signatures) {
		issuer.Token(algorithm, "alice", nil) // makes the key
	}
	keys, err := jwks.Parse(issuer.JWKS())
	if err != nil {
		t.Fatal(err)
	}
	config := issuer.Config(signatures...)
	config.Keys = keys
	v, err := jwt.NewVerifier(jwt.Options{Issuers: []jwt.Issuer{config}})
	if err != nil {
		t.Fatal(err)
	}
	for _, algorithm := range signatures {
		if _, err := v.Verify(t.Context(), issuer.Token(algorithm, "alice", nil)); err != nil {
			t.Errorf("%s: got %v", algorithm, err)
		}
	}
}

func TestRotatedKeyVerifiesOnlyWhileItIsKept(t *testing.T) {
	t.Parallel()
	for name, keep := range map[string]bool{"kept": true, "removed": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			issuer := grpcauthtest.NewIssuer(t, "https://idp.example.com", "orders")
			b, err := jwt.New(jwt.Options{Issuers: []jwt.Issuer{issuer.Config("EdDSA")}})
			if err != nil {
				t.Fatal(err)
			}
			accepted := func(token string) bool {
				_, err := b.Authenticate(t.Context(), grpcauthtest.Request(t.Context(), "/a.B/C", "authorization", "Bearer "+token))
				return err == nil
			}
			before := issuer.Token("EdDSA", "alice", nil)
			kid := issuer.KeyID("EdDSA")
			if !accepted(before) {
				t.Fatal("the first token was refused")
			}
			issuer.Rotate("EdDSA", keep)
			if issuer.KeyID("EdDSA") == kid {
				t.Error("the new key has the ID of the old one")
			}
			if !accepted(issuer.Token("EdDSA", "alice", nil)) {
				t.Error("the new token was refused")
			}
			if got := accepted(before); got != keep {
				t.Errorf("the old token was accepted: %t, want %t", got, keep)
			}
		})
	}
}

func TestSignSignsWhatItIsGiven(t *testing.T) {
	t.Parallel()
	issuer := grpcauthtest.NewIssuer(t, "https://idp.example.com", "orders")
	v, err := jwt.NewVerifier(jwt.Options{Issuers: []jwt.Issuer{issuer.Config("ES256")}})
	if err != nil {
		t.Fatal(err)
	}
	const header = `{"alg":"ES256"}`
	good := `{"iss":"https://idp.example.com","aud":"orders","sub":"alice","exp":9007199254740992}`
	if _, err := v.Verify(t.Context(), issuer.Sign("ES256", header, good)); err != nil {
		t.Errorf("got %v", err)
	}
	if _, err := v.Verify(t.Context(), issuer.Sign("ES256", header, good+"}")); err == nil {
		t.Error("claims that are no JSON were accepted")
	}
}

func TestClockStandsUntilItIsMoved(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	clock := grpcauthtest.NewClock(start)
	if got := clock.Now(); !got.Equal(start) || !clock.Now().Equal(start) {
		t.Errorf("got %v", got)
	}
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() { clock.Advance(time.Second); clock.Now() })
	}
	wg.Wait()
	clock.Advance(-3 * time.Second)
	if got := clock.Now(); !got.Equal(start.Add(7 * time.Second)) {
		t.Errorf("got %v", got)
	}
}

func TestContextHasTheUser(t *testing.T) {
	t.Parallel()
	resp, err := whoAmI{}.Echo(grpcauthtest.Context(t, &grpcauth.User{ID: "alice"}), nil)
	if err != nil || resp.GetUserId() != "alice" {
		t.Errorf("got %v, %v", resp, err)
	}
}

// leaf is a backend that knows a caller by the URI of her certificate.
var leaf = grpcauth.BackendFunc(func(_ context.Context, req *grpcauth.Request) (*grpcauth.User, error) {
	certificate, ok := req.Certificate()
	if !ok {
		return nil, grpcauth.ErrNoCredentials
	}
	return &grpcauth.User{ID: certificate.URIs[0].String()}, nil
})

func TestCertificatesOfOneAuthorityMeet(t *testing.T) {
	t.Parallel()
	ca, stranger := grpcauthtest.NewCA(t), grpcauthtest.NewCA(t)
	uri := []*url.URL{{Scheme: "spiffe", Host: "example.org", Path: "/orders"}}
	for name, test := range map[string]struct {
		config *tls.Config
		user   string
		code   codes.Code
	}{
		"of the authority":      {ca.ClientTLS(ca.Issue(x509.Certificate{URIs: uri})), "spiffe://example.org/orders", codes.OK},
		"none":                  {ca.ClientTLS(), "", codes.Unauthenticated},
		"of another":            {ca.ClientTLS(stranger.Issue(x509.Certificate{URIs: uri})), "", codes.Unavailable},
		"expired":               {ca.ClientTLS(ca.Issue(x509.Certificate{URIs: uri, NotAfter: time.Now().Add(-time.Minute)})), "", codes.Unavailable},
		"server of another one": {stranger.ClientTLS(), "", codes.Unavailable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			auth := grpcauth.New(leaf)
			srv := grpc.NewServer(append(auth.ServerOptions(), grpc.Creds(credentials.NewTLS(ca.ServerTLS())))...)
			echov1.RegisterEchoServiceServer(auth.Registrar(srv), whoAmI{})
			conn := grpcauthtest.Dial(t, srv, credentials.NewTLS(test.config))
			resp, err := echov1.NewEchoServiceClient(conn).Echo(t.Context(), &echov1.EchoRequest{})
			if resp.GetUserId() != test.user || status.Code(err) != test.code {
				t.Errorf("got %q, %v, want %q, %v", resp.GetUserId(), err, test.user, test.code)
			}
		})
	}
}

func TestBasicCredentialsArrive(t *testing.T) {
	t.Parallel()
	auth := grpcauth.New(grpcauth.BackendFunc(func(_ context.Context, req *grpcauth.Request) (*grpcauth.User, error) {
		credential, err := req.Authorization("Basic")
		return &grpcauth.User{ID: credential}, err
	}))
	conn := grpcauthtest.Serve(t, auth, func(s grpcauth.Server) { echov1.RegisterEchoServiceServer(s, whoAmI{}) })
	resp, err := echov1.NewEchoServiceClient(conn).Echo(grpcauthtest.WithBasic(t.Context(), "Aladdin", "open sesame"), &echov1.EchoRequest{})
	if err != nil || resp.GetUserId() != "QWxhZGRpbjpvcGVuIHNlc2FtZQ==" {
		t.Errorf("got %v, %v", resp, err)
	}
}
