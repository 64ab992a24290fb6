// SPDX-License-Identifier: Apache-2.0

package oidc_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/bearer"
	"github.com/grpcauth/grpcauth/backends/jwt"
	"github.com/grpcauth/grpcauth/backends/oidc"
	"github.com/grpcauth/grpcauth/grpcauthtest"
	"github.com/grpcauth/grpcauth/jwks"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	issuerURL = "https://idp.example.com/tenant"
	wellKnown = issuerURL + "/.well-known/openid-configuration"
	keysURL   = "https://keys.example.net/set"
	method    = "/shop.v1.Orders/Get"
	undecided = "AUTHENTICATION_UNAVAILABLE"
	refused   = "CREDENTIALS_INVALID"
)

type answer func(*http.Request) (*http.Response, error)

// provider answers without a network, by URL, so that time can be made up. What it has no answer for does not exist.
type provider struct {
	mu      sync.Mutex
	answers map[string]answer // guarded by mu, like asked
	asked   []string
}

func (p *provider) RoundTrip(req *http.Request) (*http.Response, error) {
	p.mu.Lock()
	p.asked = append(p.asked, req.URL.String())
	a := p.answers[req.URL.String()]
	p.mu.Unlock()
	if a == nil {
		a = respond(http.StatusNotFound, "")
	}
	return a(req)
}

func (p *provider) set(url string, a answer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answers[url] = a
}

// seen returns what was asked for since the last call.
func (p *provider) seen() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	seen := strings.Join(p.asked, " ")
	p.asked = nil
	return seen
}

func respond(status int, body string, header ...string) answer {
	return func(req *http.Request) (*http.Response, error) {
		h := http.Header{}
		for i := 0; i < len(header); i += 2 {
			h.Add(header[i], header[i+1])
		}
		return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(body)), Request: req}, nil
	}
}

func down(*http.Request) (*http.Response, error) { return nil, errors.New("connection refused") }

func hang(req *http.Request) (*http.Response, error) {
	<-req.Context().Done()
	return nil, req.Context().Err()
}

func document(issuer, keys string) string {
	return fmt.Sprintf(`{"issuer":%q,"jwks_uri":%q,"id_token_signing_alg_values_supported":["RS256"]}`, issuer, keys)
}

// sound is a provider that answers as it should with the keys of signer.
func sound(signer *grpcauthtest.Issuer) *provider {
	return &provider{answers: map[string]answer{
		wellKnown: respond(http.StatusOK, document(issuerURL, keysURL)),
		keysURL: func(req *http.Request) (*http.Response, error) {
			return respond(http.StatusOK, string(signer.JWKS()))(req)
		},
	}}
}

func newSigner(t *testing.T) *grpcauthtest.Issuer {
	t.Helper()
	signer := grpcauthtest.NewIssuer(t, issuerURL, "orders")
	signer.Token("ES256", "alice", nil) // makes the key that is published
	return signer
}

func config() jwt.Issuer {
	return jwt.Issuer{URL: issuerURL, Audiences: []string{"orders"}, Algorithms: []string{"ES256"}}
}

func discover(t *testing.T, p *provider, opts oidc.Options) *oidc.Provider {
	t.Helper()
	opts.Keys.Client = &http.Client{Transport: p}
	found, err := oidc.New(config(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = found.Close() })
	return found
}

func backend(t *testing.T, issuers ...jwt.Issuer) *bearer.Backend {
	t.Helper()
	b, err := jwt.New(jwt.Options{Issuers: issuers})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// look is one call with a token; the answer is the user's ID or the code of the refusal.
func look(ctx context.Context, b grpcauth.Backend, token string) string {
	user, err := b.Authenticate(ctx, grpcauthtest.Request(ctx, method, "authorization", "Bearer "+token))
	if err != nil {
		return grpcauth.CodeOf(err).String()
	}
	return user.ID
}

func expect(t *testing.T, b grpcauth.Backend, token, want string) {
	t.Helper()
	if got := look(t.Context(), b, token); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestIssuerIsTrustedByItsName(t *testing.T) {
	t.Parallel()
	signer := newSigner(t)
	p := sound(signer)
	b := backend(t, discover(t, p, oidc.Options{}).Issuer())
	if seen := p.seen(); seen != "" {
		t.Errorf("asked for %s before there was a token", seen)
	}
	expect(t, b, signer.Token("ES256", "alice", nil), "alice")
	expect(t, b, signer.Token("ES256", "bob", nil), "bob")
	expect(t, b, signer.Token("ES256", "eve", map[string]any{"aud": "other"}), refused)
	if seen := p.seen(); seen != wellKnown+" "+keysURL {
		t.Errorf("asked for %s, want the document and the keys, once each", seen)
	}
}

func TestDiscoveryURLFollowsTheIssuer(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ issuer, option, want string }{
		{"https://idp.example.com", "", "https://idp.example.com/.well-known/openid-configuration"},
		{"https://idp.example.com/", "", "https://idp.example.com/.well-known/openid-configuration"},
		{"https://idp.example.com/realms/a", "", "https://idp.example.com/realms/a/.well-known/openid-configuration"},
		{"https://idp.example.com/a", "https://idp.example.com/.well-known/oauth-authorization-server/a", "https://idp.example.com/.well-known/oauth-authorization-server/a"},
	} {
		p := &provider{answers: map[string]answer{}}
		issuer := config()
		issuer.URL = c.issuer
		found, err := oidc.New(issuer, oidc.Options{DiscoveryURL: c.option, Keys: jwks.Options{Client: &http.Client{Transport: p}}})
		if err != nil {
			t.Fatal(err)
		}
		if err := found.Ready(t.Context()); err == nil {
			t.Errorf("%s: ready without a document", c.issuer)
		}
		if seen := p.seen(); seen != c.want {
			t.Errorf("%s: asked for %s, want %s", c.issuer, seen, c.want)
		}
	}
}

// What a provider must not say of itself leaves its tokens undecided: it may be the provider that is wrong, or the network.
func TestDocumentThatIsNotTheIssuersDecidesNothing(t *testing.T) {
	t.Parallel()
	signer := newSigner(t)
	for name, a := range map[string]answer{
		"another issuer":          respond(200, document("https://evil.example.com", keysURL)),
		"a trailing slash":        respond(200, document(issuerURL+"/", keysURL)),
		"another case":            respond(200, document(strings.ToUpper(issuerURL), keysURL)),
		"a longer issuer":         respond(200, document(issuerURL+"2", keysURL)),
		"no issuer":               respond(200, `{"jwks_uri":"`+keysURL+`"}`),
		"an issuer by case":       respond(200, `{"Issuer":"`+issuerURL+`","jwks_uri":"`+keysURL+`"}`),
		"two issuers":             respond(200, `{"issuer":"https://evil.example.com","issuer":"`+issuerURL+`","jwks_uri":"`+keysURL+`"}`),
		"an issuer that is none":  respond(200, `{"issuer":["`+issuerURL+`"],"jwks_uri":"`+keysURL+`"}`),
		"no keys":                 respond(200, `{"issuer":"`+issuerURL+`"}`),
		"keys that are no text":   respond(200, `{"issuer":"`+issuerURL+`","jwks_uri":1}`),
		"keys over plaintext":     respond(200, document(issuerURL, "http://keys.example.net/set")),
		"keys here, in plaintext": respond(200, document(issuerURL, "http://127.0.0.1/set")),
		"keys in a file":          respond(200, document(issuerURL, "file:///etc/passwd")),
		"keys with user info":     respond(200, document(issuerURL, "https://a:b@keys.example.net/set")),
		"a mebibyte":              respond(200, document(issuerURL, keysURL)+strings.Repeat(" ", 1<<20)),
		"HTML":                    respond(200, "<!doctype html><title>Sign in</title>"),
		"nothing":                 respond(200, ""),
		"null":                    respond(200, "null"),
		"an array":                respond(200, "["+document(issuerURL, keysURL)+"]"),
		"a deep document":         respond(200, strings.Repeat(`{"a":`, 10_000)+strings.Repeat("}", 10_000)),
		"bytes that are no text":  respond(200, "{\"issuer\":\"\xff\"}"),
		"no content":              respond(204, ""),
		"not found":               respond(404, document(issuerURL, keysURL)),
		"a failure":               respond(500, document(issuerURL, keysURL)),
		"no connection":           down,
		"another host":            respond(302, "", "Location", "https://evil.example.com/document"),
		"plaintext":               respond(302, "", "Location", "http://idp.example.com/document"),
		"a redirect to itself":    respond(302, "", "Location", wellKnown),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := sound(signer)
			p.set(wellKnown, a)
			p.set("https://evil.example.com/document", respond(200, document(issuerURL, keysURL)))
			p.set("http://idp.example.com/document", respond(200, document(issuerURL, keysURL)))
			p.set("http://127.0.0.1/set", respond(200, string(signer.JWKS())))
			p.set("http://keys.example.net/set", respond(200, string(signer.JWKS())))
			found := discover(t, p, oidc.Options{})
			expect(t, backend(t, found.Issuer()), signer.Token("ES256", "alice", nil), undecided)
			for url := range strings.FieldsSeq(p.seen()) {
				if url != wellKnown {
					t.Errorf("asked %s", url)
				}
			}
			if err := found.Ready(t.Context()); err == nil {
				t.Error("it is ready")
			}
			opts := oidc.Options{Eager: true, Keys: jwks.Options{Client: &http.Client{Transport: p}}}
			if _, err := oidc.New(config(), opts); err == nil {
				t.Error("New was told to ask, and found nothing wrong")
			}
		})
	}
}

func TestEagerProviderIsReady(t *testing.T) {
	t.Parallel()
	p := sound(newSigner(t))
	found := discover(t, p, oidc.Options{Eager: true})
	if seen := p.seen(); seen != wellKnown+" "+keysURL {
		t.Errorf("asked for %s", seen)
	}
	if err := found.Ready(t.Context()); err != nil || p.seen() != "" {
		t.Errorf("got %v", err)
	}
}

func TestServiceStartsWithoutItsProvider(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		signer := grpcauthtest.NewIssuer(t, issuerURL, "orders")
		token := signer.Token("ES256", "alice", nil)
		p := sound(signer)
		p.set(wellKnown, down)
		b := backend(t, discover(t, p, oidc.Options{}).Issuer())
		expect(t, b, token, undecided)
		p.set(wellKnown, hang)
		time.Sleep(time.Second)
		expect(t, b, token, undecided)
		p.set(wellKnown, respond(200, document(issuerURL, keysURL)))
		time.Sleep(20 * time.Second)
		expect(t, b, token, "alice")
	})
}

// The keys of one issuer are found while another one's provider hangs.
func TestIssuersStandSideBySide(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const other = "https://other.example.com"
		signer, stranger := grpcauthtest.NewIssuer(t, issuerURL, "orders"), grpcauthtest.NewIssuer(t, other, "orders")
		signer.Token("ES256", "alice", nil)
		token := stranger.Token("ES256", "bob", nil)
		p := sound(signer)
		p.set(other+"/.well-known/openid-configuration", hang)
		second := config()
		second.URL, second.NameClaim = other, "nickname"
		found, err := oidc.New(second, oidc.Options{Keys: jwks.Options{Client: &http.Client{Transport: p}}})
		if err != nil {
			t.Fatal(err)
		}
		b := backend(t, discover(t, p, oidc.Options{}).Issuer(), found.Issuer())
		waiting := make(chan string)
		go func() { waiting <- look(t.Context(), b, token) }()
		synctest.Wait()
		expect(t, b, signer.Token("ES256", "alice", nil), "alice")
		expect(t, b, signer.Token("ES256", "alice", map[string]any{"iss": "https://third.example.com"}), refused)
		if got := <-waiting; got != undecided {
			t.Errorf("the issuer that hangs: got %s", got)
		}
		if err := found.Close(); err != nil { // or else its fetch goes on until its timeout
			t.Error(err)
		}
	})
}

func TestProviderMayMoveItsKeys(t *testing.T) {
	t.Parallel()
	for name, before := range map[string]answer{"the old place is gone": respond(404, ""), "the old place goes on": nil} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				const moved = "https://keys.example.net/moved"
				signer := grpcauthtest.NewIssuer(t, issuerURL, "orders")
				signer.Token("ES256", "alice", nil)
				old := string(signer.JWKS())
				p := sound(signer)
				p.set(keysURL, respond(200, old))
				b := backend(t, discover(t, p, oidc.Options{}).Issuer())
				expect(t, b, signer.Token("ES256", "alice", map[string]any{"exp": time.Now().Add(24 * time.Hour).Unix()}), "alice")

				signer.Rotate("ES256", false)
				token := signer.Token("ES256", "alice", map[string]any{"exp": time.Now().Add(24 * time.Hour).Unix()})
				p.set(wellKnown, respond(200, document(issuerURL, moved)))
				p.set(moved, respond(200, string(signer.JWKS())))
				if before != nil {
					p.set(keysURL, before)
				}
				for range 7 { // one look every ten minutes
					time.Sleep(10 * time.Minute)
					look(t.Context(), b, token)
					synctest.Wait()
					time.Sleep(20 * time.Second)
				}
				expect(t, b, token, "alice")
			})
		})
	}
}

func TestNewSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*jwt.Issuer, *oidc.Options)
		want   string
	}{
		"no URL":              {func(i *jwt.Issuer, _ *oidc.Options) { i.URL = "" }, "Issuer.URL is empty"},
		"no URL at all":       {func(i *jwt.Issuer, _ *oidc.Options) { i.URL = "idp.example.com" }, "Issuer.URL"},
		"plaintext":           {func(i *jwt.Issuer, _ *oidc.Options) { i.URL = "http://idp.example.com" }, "write https"},
		"user info":           {func(i *jwt.Issuer, _ *oidc.Options) { i.URL = "https://a:b@idp.example.com" }, "user info"},
		"a query":             {func(i *jwt.Issuer, _ *oidc.Options) { i.URL = "https://idp.example.com?a=b" }, "query"},
		"a fragment":          {func(i *jwt.Issuer, _ *oidc.Options) { i.URL = "https://idp.example.com#a" }, "fragment"},
		"keys":                {func(i *jwt.Issuer, _ *oidc.Options) { i.Keys = &jwks.StaticSet{} }, "Issuer.Keys is set"},
		"no audience":         {func(i *jwt.Issuer, _ *oidc.Options) { i.Audiences = nil }, "Audiences"},
		"no algorithm":        {func(i *jwt.Issuer, _ *oidc.Options) { i.Algorithms = nil }, "Algorithms"},
		"none":                {func(i *jwt.Issuer, _ *oidc.Options) { i.Algorithms = []string{"none"} }, "Algorithms"},
		"HMAC":                {func(i *jwt.Issuer, _ *oidc.Options) { i.Algorithms = []string{"HS256"} }, "HMAC"},
		"a plaintext address": {func(_ *jwt.Issuer, o *oidc.Options) { o.DiscoveryURL = "http://idp.example.com/a" }, "DiscoveryURL"},
		"a negative time":     {func(_ *jwt.Issuer, o *oidc.Options) { o.Keys.Timeout = -1 }, "Timeout"},
	} {
		issuer, opts := config(), oidc.Options{}
		c.change(&issuer, &opts)
		if _, err := oidc.New(issuer, opts); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want it to name %q", name, err, c.want)
		}
	}
}

func TestPlaintextMayBeAllowed(t *testing.T) {
	t.Parallel()
	const plain = "http://idp.example.com"
	signer := grpcauthtest.NewIssuer(t, plain, "orders")
	token := signer.Token("ES256", "alice", nil)
	p := &provider{answers: map[string]answer{
		plain + "/.well-known/openid-configuration": respond(200, document(plain, plain+"/keys")), plain + "/keys": respond(200, string(signer.JWKS())),
	}}
	issuer := config()
	issuer.URL = plain
	found, err := oidc.New(issuer, oidc.Options{Keys: jwks.Options{InsecureAllowPlaintext: true, Client: &http.Client{Transport: p}}})
	if err != nil {
		t.Fatal(err)
	}
	expect(t, backend(t, found.Issuer()), token, "alice")
}
