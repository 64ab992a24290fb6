// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"google.golang.org/grpc/credentials"

	"github.com/grpcauth/grpcauth/backends/bearer"
	"github.com/grpcauth/grpcauth/backends/introspect"
	"github.com/grpcauth/grpcauth/grpcauthtest"
)

// introspect returns a backend that asks the provider, as the client "orders" unless change says otherwise.
func (p *provider) introspect(t *testing.T, change func(*introspect.Options)) *bearer.Backend {
	t.Helper()
	opts := introspect.Options{
		URL: p.issuer + introspectionPath, ClientID: "orders", ClientSecret: secret, Audiences: []string{audience}, Issuer: p.issuer,
		ClientIDAsSubject: true, Client: p.http,
	}
	if change != nil {
		change(&opts)
	}
	backend, err := introspect.New(opts)
	check(t, err)
	return backend
}

// byKey is a client that authenticates with a key.
func byKey(t *testing.T, id, alg string, key crypto.Signer) client {
	t.Helper()
	return newClient(id, client{
		"client_secret": nil, "token_endpoint_auth_method": "private_key_jwt", "token_endpoint_auth_signing_alg": alg,
		"jwks": jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k1", Algorithm: alg, Use: "sig"}}},
	})
}

func TestServiceProvesItselfToTheProvider(t *testing.T) {
	t.Parallel()
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	check(t, err)
	p256 := newKey(t)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	check(t, err)
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	check(t, err)
	p := start(t, newClient("orders", nil), newClient("in-body", client{"token_endpoint_auth_method": "client_secret_post"}),
		byKey(t, "rs256", "RS256", rsaKey), byKey(t, "es256", "ES256", p256), byKey(t, "es384", "ES384", p384), byKey(t, "eddsa", "EdDSA", ed))
	with := func(id string, key crypto.Signer) func(*introspect.Options) {
		return func(o *introspect.Options) {
			o.ClientID, o.ClientSecret, o.PrivateKey, o.KeyID, o.Audience = id, "", key, "k1", p.issuer
		}
	}
	token := p.token(t, resource("opaque"))
	for name, c := range map[string]struct {
		change func(*introspect.Options)
		want   string
	}{
		"secret":                      {nil, "alice"},
		"secret in the body":          {func(o *introspect.Options) { o.ClientID, o.SecretInBody = "in-body", true }, "alice"},
		"RS256":                       {with("rs256", rsaKey), "alice"},
		"ES256":                       {with("es256", p256), "alice"},
		"ES384":                       {with("es384", p384), "alice"},
		"EdDSA":                       {with("eddsa", ed), "alice"},
		"another's key":               {with("es256", newKey(t)), unavailable},
		"a key instead of a secret":   {with("orders", p256), unavailable},
		"a secret instead of a key":   {func(o *introspect.Options) { o.ClientID = "es256" }, unavailable},
		"wrong secret":                {func(o *introspect.Options) { o.ClientSecret = "wrong" }, unavailable},
		"another service":             {func(o *introspect.Options) { o.Audiences = []string{"billing.example.com"} }, invalid},
		"another issuer":              {func(o *introspect.Options) { o.Issuer = "https://idp.example.com" }, invalid},
		"a client is no user":         {func(o *introspect.Options) { o.ClientIDAsSubject = false }, invalid},
		"a URL that does not do this": {func(o *introspect.Options) { o.URL = p.issuer + "/nowhere" }, unavailable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			expect(t, dial(t, serve(t, p.introspect(t, c.change), nil), nil), token, c.want)
		})
	}
}

func TestRevokedTokenIsRefusedOnceItIsForgotten(t *testing.T) {
	t.Parallel()
	p := start(t, newClient("orders", nil))
	clock := grpcauthtest.NewClock(time.Now())
	client := dial(t, serve(t, p.introspect(t, func(o *introspect.Options) { o.Now = clock.Now }), nil), nil)
	revoked, kept := p.token(t, resource("opaque")), p.token(t, resource("opaque"))
	for range 5 {
		expect(t, client, revoked, "alice")
		expect(t, client, kept, "alice")
	}
	asked := func(want int) {
		t.Helper()
		if n := p.asked(t, introspectionPath); n != want {
			t.Errorf("the provider was asked %d times, want %d", n, want)
		}
	}
	asked(2)
	p.revoke(t, revoked)
	clock.Advance(29 * time.Second)
	expect(t, client, revoked, "alice")
	asked(2)
	clock.Advance(time.Second)
	for range 5 {
		expect(t, client, revoked, invalid)
		expect(t, client, kept, "alice")
	}
	asked(4)
}

func (p *provider) revoke(t *testing.T, token string) {
	t.Helper()
	form := url.Values{"token": {token}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.issuer+"/token/revocation", strings.NewReader(form.Encode()))
	check(t, err)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	as("alice")(req)
	resp, err := p.http.Do(req)
	check(t, err)
	read(t, resp, http.StatusOK)
}

func TestFailedIntrospectionDecidesNothing(t *testing.T) { //nolint:tparallel // the provider fails in one way at a time
	t.Parallel()
	p := start(t, newClient("orders", nil))
	for _, how := range failures {
		t.Run(how, func(t *testing.T) {
			clock := grpcauthtest.NewClock(time.Now())
			client := dial(t, serve(t, p.introspect(t, func(o *introspect.Options) { o.Now, o.Timeout = clock.Now, patience }), nil), nil)
			known, fresh := p.token(t, resource("opaque")), p.token(t, resource("opaque"))
			ask := func(token, want string) { // again, if the machine is slow
				t.Helper()
				until(t, want, func() bool { return say(grpcauthtest.WithBearer(t.Context(), token), client) == want })
			}
			ask(known, "alice")
			ask("made-up", invalid)
			p.misbehave(t, introspectionPath, how)
			defer p.misbehave(t, introspectionPath, "")
			expect(t, client, known, "alice")
			expect(t, client, "made-up", invalid)
			for range 2 {
				expect(t, client, fresh, unavailable)
			}
			clock.Advance(30 * time.Second)
			expect(t, client, known, unavailable)
			p.misbehave(t, introspectionPath, "")
			ask(fresh, "alice")
			ask(known, "alice")
		})
	}
}

func TestTokenThatTheProviderDoesNotIntrospectIsNotAccepted(t *testing.T) {
	t.Parallel()
	p := start(t, newClient("orders", nil))
	client := dial(t, serve(t, p.introspect(t, nil), nil), nil)
	expect(t, client, p.token(t, "https://billing.example.com/opaque"), invalid)
	// It answers that of a JWT with an error, which could be our mistake as well as the caller's.
	if got := say(grpcauthtest.WithBearer(t.Context(), p.token(t, resource("jwt/ES256"))), client); got != invalid && got != unavailable {
		t.Errorf("a JWT: got %s", got)
	}
}

func TestOpaqueTokenExpiresByOurClock(t *testing.T) {
	t.Parallel()
	p := start(t, newClient("orders", nil))
	clock := grpcauthtest.NewClock(time.Now())
	client := dial(t, serve(t, p.introspect(t, func(o *introspect.Options) { o.Now = clock.Now }), nil), nil)
	token := p.token(t, "https://"+audience+"/opaque?ttl=60")
	expect(t, client, token, "alice")
	clock.Advance(2 * time.Minute) // for the provider, it is active still
	expect(t, client, token, "CREDENTIALS_EXPIRED")
}

func TestBoundOpaqueTokens(t *testing.T) {
	t.Parallel()
	p := start(t, newClient("orders", nil), newClient("workload", client{"tls_client_certificate_bound_access_tokens": true}))
	ca := grpcauthtest.NewCA(t)
	own, another := ca.Issue(x509.Certificate{DNSNames: []string{"own.test"}}), ca.Issue(x509.Certificate{DNSNames: []string{"own.test"}})
	address := serve(t, p.introspect(t, func(o *introspect.Options) { o.Bearer.DPoP = &bearer.DPoP{Origins: []string{origin}} }), credentials.NewTLS(ca.ServerTLS()))
	withOwn, withAnother := dial(t, address, credentials.NewTLS(ca.ClientTLS(own))), dial(t, address, credentials.NewTLS(ca.ClientTLS(another)))

	token := p.token(t, resource("opaque"), as("workload"), showing(own))
	for range 2 {
		expect(t, withOwn, token, "workload")
		expect(t, withAnother, token, invalid)
	}

	key := newKey(t)
	token = p.boundToken(t, resource("opaque"), "alice", key)
	for range 2 {
		expect(t, withOwn, token, invalid)
		if got, _, _ := possess(t, withAnother, "DPoP", token, prove(t, key, echoURL, token, nil)); got != "alice" {
			t.Errorf("with a proof: got %s", got)
		}
		if got, _, _ := possess(t, withAnother, "DPoP", token, prove(t, newKey(t), echoURL, token, nil)); got != invalid {
			t.Errorf("with another's proof: got %s", got)
		}
	}
}
