// SPDX-License-Identifier: Apache-2.0

package mtls_test

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/peer"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/bearer"
	"github.com/grpcauth/grpcauth/backends/mtls"
	"github.com/grpcauth/grpcauth/grpcauthtest"
)

func TestNewNamesTheOptionThatIsWrong(t *testing.T) {
	t.Parallel()
	roots := func() *x509.CertPool { return nil }
	for want, opts := range map[string]mtls.Options{
		"Options.Roots is nil":                       {},
		"Options.Identities[1] is no kind of name":   {Roots: roots, Identities: []mtls.Identity{mtls.DNS, 0}},
		"Options.Identities[0] is no kind of name":   {Roots: roots, Identities: []mtls.Identity{mtls.InsecureCommonName + 1}},
		"Options.Identities has DNS twice":           {Roots: roots, Identities: []mtls.Identity{mtls.DNS, mtls.URI, mtls.DNS}},
		"Identities has InsecureCommonName beside":   {Roots: roots, Identities: []mtls.Identity{mtls.SPIFFE, mtls.InsecureCommonName}},
		"InsecureCommonName beside others: a common": {Roots: roots, Identities: []mtls.Identity{mtls.InsecureCommonName, mtls.DNS}},
		"Options.Allow matches SPIFFE IDs only":      {Roots: roots, Identities: []mtls.Identity{mtls.SPIFFE, mtls.DNS}, Allow: []string{orders}},
		"Options.Allow[1]: ":                         {Roots: roots, Allow: []string{orders, "spiffe://example.org"}},
		"Options.Allow[0]: ":                         {Roots: roots, Allow: []string{""}},
	} {
		if b, err := mtls.New(opts); b != nil || err == nil || !strings.HasPrefix(err.Error(), "mtls: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, %v, want %q", b, err, want)
		}
	}
	// What is given is copied: changing it afterwards changes nothing.
	ca := grpcauthtest.NewCA(t)
	opts := mtls.Options{Roots: ca.Pool, Identities: []mtls.Identity{mtls.SPIFFE}, Allow: []string{orders}}
	b := newBackend(t, ca, opts)
	opts.Identities[0], opts.Allow[0] = mtls.InsecureCommonName, "spiffe://evil.test/**"
	expect(t, b, verified(issue(t, ca, orders)), orders)
}

func TestUserOfACertificate(t *testing.T) {
	t.Parallel()
	ca := grpcauthtest.NewCA(t)
	leaf := issue(t, ca, orders)
	user := accept(t, newBackend(t, ca, mtls.Options{Issuer: "mesh"}), verified(leaf))
	want := &grpcauth.User{ID: orders, Issuer: "mesh", Method: "mtls", Expiry: ca.Certificate.NotAfter, Binding: grpcauth.Binding{CertSHA256: thumbprint(leaf)}}
	if leaf.NotAfter.Before(want.Expiry) {
		want.Expiry = leaf.NotAfter
	}
	if !reflect.DeepEqual(user, want) {
		t.Errorf("got %+v, want %+v", user, want)
	}
}

func TestMapMakesTheUser(t *testing.T) {
	t.Parallel()
	ca := grpcauthtest.NewCA(t)
	leaf := issue(t, ca, orders)
	end := accept(t, newBackend(t, ca, mtls.Options{}), verified(leaf)).Expiry
	bound := grpcauth.Binding{CertSHA256: thumbprint(leaf)}
	for name, test := range map[string]struct{ mapped, want grpcauth.User }{
		"nothing": {grpcauth.User{}, grpcauth.User{ID: orders, Issuer: "mesh", Method: "mtls", Expiry: end, Binding: bound}},
		"all of it": {
			grpcauth.User{ID: "7", Issuer: "shop", Name: "Orders", Method: "workload", Scopes: []string{"a"}, Permissions: []string{"b"}, Expiry: end.Add(-time.Minute)},
			grpcauth.User{ID: "7", Issuer: "shop", Name: "Orders", Method: "workload", Scopes: []string{"a"}, Permissions: []string{"b"}, Expiry: end.Add(-time.Minute), Binding: bound},
		},
		"a longer life":       {grpcauth.User{Expiry: end.Add(time.Minute)}, grpcauth.User{ID: orders, Issuer: "mesh", Method: "mtls", Expiry: end, Binding: bound}},
		"another certificate": {grpcauth.User{Binding: grpcauth.Binding{CertSHA256: "x"}}, grpcauth.User{ID: orders, Issuer: "mesh", Method: "mtls", Expiry: end, Binding: bound}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kept := test.mapped.Clone()
			b := newBackend(t, ca, mtls.Options{Issuer: "mesh", Map: func(cert *x509.Certificate, id mtls.ID) (*grpcauth.User, error) {
				if !cert.Equal(leaf) || id.String() != orders {
					t.Errorf("Map was asked about %q", id)
				}
				return kept, nil
			}})
			for range 2 {
				user := accept(t, b, verified(leaf))
				if !reflect.DeepEqual(user, &test.want) {
					t.Errorf("got %+v, want %+v", user, test.want)
				}
				user.ID, user.Scopes = "changed", append(user.Scopes[:0], "changed") // by the handler, whose own copy it is
			}
			if !reflect.DeepEqual(kept, &test.mapped) {
				t.Errorf("what Map keeps became %+v", kept)
			}
		})
	}
	t.Run("another kind of name", func(t *testing.T) {
		t.Parallel()
		b := newBackend(t, ca, mtls.Options{Identities: []mtls.Identity{mtls.DNS}, Map: func(_ *x509.Certificate, id mtls.ID) (*grpcauth.User, error) {
			return &grpcauth.User{Name: fmt.Sprintf("%q", id)}, nil
		}})
		user := accept(t, b, verified(ca.Issue(x509.Certificate{DNSNames: []string{"example.com"}, URIs: workload(t, orders).URIs}).Leaf))
		if user.ID != "example.com" || user.Name != `""` {
			t.Errorf("got %+v", user)
		}
	})
}

func TestMapDecides(t *testing.T) {
	t.Parallel()
	ca := grpcauthtest.NewCA(t)
	leaf := issue(t, ca, orders)
	for name, test := range map[string]struct {
		user *grpcauth.User
		err  error
		want string
	}{
		"nobody":                    {nil, nil, broken},
		"a failure":                 {nil, errors.New("the database is down"), undecided},
		"a failure and a user":      {&grpcauth.User{ID: "x"}, errors.New("the database is down"), undecided},
		"a refusal":                 {nil, grpcauth.Errorf(grpcauth.CodeForbidden, "not here"), "PERMISSION_DENIED"},
		"a refusal, wrapped":        {nil, fmt.Errorf("rule 7: %w", grpcauth.Errorf(grpcauth.CodeRevoked, "sold")), "CREDENTIALS_REVOKED"},
		"no credentials":            {nil, grpcauth.ErrNoCredentials, broken},
		"no credentials, wrapped":   {nil, fmt.Errorf("rule 7: %w", grpcauth.ErrNoCredentials), broken},
		"no credentials, a refusal": {nil, grpcauth.Errorf(grpcauth.CodeMissing, "nothing"), broken},
		"no answer in time":         {nil, context.DeadlineExceeded, undecided},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBackend(t, ca, mtls.Options{Map: func(*x509.Certificate, mtls.ID) (*grpcauth.User, error) { return test.user, test.err }})
			user, err := b.Authenticate(t.Context(), request(t, verified(leaf)))
			if got := answer(user, err); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
			if test.err != nil && !errors.Is(err, test.err) {
				t.Errorf("%v does not tell the cause", err)
			}
		})
	}
}

func TestMapIsNotAskedAboutABadCertificate(t *testing.T) {
	t.Parallel()
	ca := grpcauthtest.NewCA(t)
	b := newBackend(t, ca, mtls.Options{Allow: []string{"spiffe://example.org/ns/shop/**"}, Map: func(_ *x509.Certificate, id mtls.ID) (*grpcauth.User, error) {
		t.Errorf("Map was asked about %q", id)
		return nil, errors.New("asked")
	}})
	for _, leaf := range []*x509.Certificate{issue(t, grpcauthtest.NewCA(t), orders), issue(t, ca, "spiffe://example.org/other"), issue(t, ca)} {
		expect(t, b, verified(leaf), refused)
	}
}

func TestPeerFindsTheCertificates(t *testing.T) {
	t.Parallel()
	ca, stranger := grpcauthtest.NewCA(t), grpcauthtest.NewCA(t)
	leaf := issue(t, ca, orders)
	type chain = []*x509.Certificate
	for name, test := range map[string]struct {
		chain             chain
		ok                bool
		alone, underRoots string
	}{
		"its chain":               {chain{leaf, ca.Certificate}, true, orders, orders},
		"a leaf":                  {chain{leaf}, true, orders, orders},
		"a stranger's":            {chain{issue(t, stranger, orders), stranger.Certificate}, true, orders, refused},
		"none":                    {nil, true, missing, missing},
		"no":                      {nil, false, missing, missing},
		"no, with a certificate":  {chain{leaf}, false, missing, missing},
		"nil":                     {chain{nil}, true, broken, broken},
		"nil behind it":           {chain{leaf, nil}, true, broken, broken},
		"one that was not parsed": {chain{{URIs: leaf.URIs}}, true, broken, broken},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			find := func(p *peer.Peer) ([]*x509.Certificate, bool) {
				if p == nil {
					t.Error("Peer was asked about nobody")
				}
				return test.chain, test.ok
			}
			expect(t, newBackend(t, ca, mtls.Options{Peer: find}), nil, test.alone)
			expect(t, newBackend(t, ca, mtls.Options{Peer: find, Roots: ca.Pool}), nil, test.underRoots)
			// What the TLS stack verified does not stand in for what Peer says.
			expect(t, newBackend(t, ca, mtls.Options{Peer: find}), verified(issue(t, ca, "spiffe://example.org/other")), test.alone)
			if got := answer(newBackend(t, ca, mtls.Options{Peer: find}).Authenticate(t.Context(), grpcauth.NewRequest(t.Context(), method))); got != missing {
				t.Errorf("without a peer: got %s", got)
			}
		})
	}
}

func TestAllShowsBothFactors(t *testing.T) {
	t.Parallel()
	ca := grpcauthtest.NewCA(t)
	leaf := issue(t, ca, orders)
	tokens, err := bearer.New(tokensOf{"abc": {ID: "alice", Method: "token"}, "bound": {ID: "bob", Method: "token", Binding: grpcauth.Binding{CertSHA256: thumbprint(leaf)}}}, bearer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	both := grpcauth.All(newBackend(t, ca, mtls.Options{}), tokens)
	for _, test := range []struct{ authorization, id string }{{"Bearer abc", "alice"}, {"Bearer bound", "bob"}} {
		user, err := both.Authenticate(t.Context(), request(t, verified(leaf), "authorization", test.authorization))
		if err != nil {
			t.Fatal(err)
		}
		if len(user.Factors) != 2 || user.ID != orders || user.Method != "mtls" || user.Factors[0].ID != orders || user.Factors[0].Method != "mtls" ||
			user.Factors[1].ID != test.id || user.Factors[1].Method != "token" || !user.Expiry.Equal(user.Factors[0].Expiry) || user.Expiry.IsZero() {
			t.Errorf("got %+v with %+v", user, user.Factors)
		}
	}
	for name, test := range map[string]struct {
		req  *grpcauth.Request
		want string
	}{
		"no token":              {request(t, verified(leaf)), missing},
		"no certificate":        {request(t, nil, "authorization", "Bearer abc"), missing},
		"neither":               {request(t, nil), missing},
		"a wrong token":         {request(t, verified(leaf), "authorization", "Bearer abd"), refused},
		"a wrong certificate":   {request(t, verified(issue(t, grpcauthtest.NewCA(t), orders)), "authorization", "Bearer abc"), refused},
		"another's bound token": {request(t, verified(issue(t, ca, orders)), "authorization", "Bearer bound"), refused},
	} {
		if got := answer(both.Authenticate(t.Context(), test.req)); got != test.want {
			t.Errorf("%s: got %s, want %s", name, got, test.want)
		}
	}
}

// tokensOf is a verifier that knows these tokens.
type tokensOf map[string]grpcauth.User

func (known tokensOf) Verify(_ context.Context, token string) (*grpcauth.User, error) {
	user, ok := known[token]
	if !ok {
		return nil, grpcauth.Errorf(grpcauth.CodeInvalid, "unknown")
	}
	return &user, nil
}

func TestPrintingABackendShowsNothing(t *testing.T) {
	t.Parallel()
	ca := grpcauthtest.NewCA(t)
	b := newBackend(t, ca, mtls.Options{Issuer: "canary", Allow: []string{orders}})
	accept(t, b, verified(issue(t, ca, orders)))
	document, err := json.Marshal([]any{b})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprintf("%v %+v %#v %s %q %d %x %s", b, b, b, b, b, b, b, document), strings.Repeat(`Backend("mtls") `, 7)+"[{}]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	var none *mtls.Backend
	if got := fmt.Sprintf("%v %+v", none, none); got != "<nil> <nil>" {
		t.Errorf("got %s", got)
	}
}

func TestSchemeIsInTheConnection(t *testing.T) {
	t.Parallel()
	schemes := newBackend(t, grpcauthtest.NewCA(t), mtls.Options{}).Schemes()
	if len(schemes) != 1 || schemes[0].Name != "mtls" || schemes[0].Header != "" || schemes[0].Cookie != "" || schemes[0].AuthScheme != "" {
		t.Errorf("got %+v", schemes)
	}
}
