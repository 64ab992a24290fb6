// SPDX-License-Identifier: Apache-2.0

package introspect_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	gojwt "github.com/golang-jwt/jwt/v5"
	"go.uber.org/goleak"
	"google.golang.org/grpc/metadata"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/backendtest"
	"github.com/grpcauth/grpcauth/backends/bearer"
	"github.com/grpcauth/grpcauth/backends/introspect"
	"github.com/grpcauth/grpcauth/grpcauthtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	endpoint  = "https://idp.example.com/introspect"
	method    = "/shop.v1.Orders/Get"
	secret    = "s3cret: \"with\" ~+/=& ü"
	refused   = "CREDENTIALS_INVALID"
	expired   = "CREDENTIALS_EXPIRED"
	undecided = "AUTHENTICATION_UNAVAILABLE"
	broken    = "AUTHENTICATION_FAILED"
)

var start = time.Date(2026, time.March, 4, 5, 6, 7, 0, time.UTC)

// server is an authorization server that answers without a network, so that time can be made up.
type server struct {
	mu     sync.Mutex
	answer func(req *http.Request, form url.Values) (*http.Response, error) // guarded by mu
	asked  atomic.Int64
}

func (s *server) RoundTrip(req *http.Request) (*http.Response, error) {
	s.asked.Add(1)
	form := url.Values{}
	if req.Body != nil {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return nil, err
		}
		if form, err = url.ParseQuery(string(body)); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	answer := s.answer
	s.mu.Unlock()
	return answer(req, form)
}

func (s *server) set(answer func(*http.Request, url.Values) (*http.Response, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = answer
}

func respond(status int, body string, header ...string) func(*http.Request, url.Values) (*http.Response, error) {
	return func(req *http.Request, _ url.Values) (*http.Response, error) {
		h := http.Header{}
		for i := 0; i < len(header); i += 2 {
			h.Add(header[i], header[i+1])
		}
		return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(body)), Request: req}, nil
	}
}

// knows answers that the token is active, with alice as its subject and the changes, and that all others are not.
func knows(token string, changes map[string]any) func(*http.Request, url.Values) (*http.Response, error) {
	members := map[string]any{"active": true, "sub": "alice", "aud": "orders", "exp": start.Add(time.Hour).Unix()}
	for name, value := range changes {
		if members[name] = value; value == nil {
			delete(members, name)
		}
	}
	body, err := json.Marshal(members)
	if err != nil {
		panic(err)
	}
	return func(req *http.Request, form url.Values) (*http.Response, error) {
		if form.Get("token") != token {
			return respond(200, `{"active":false}`)(req, form)
		}
		return respond(200, string(body))(req, form)
	}
}

// setup returns a backend that asks a server which answers so.
func setup(t testing.TB, answer func(*http.Request, url.Values) (*http.Response, error), change func(*introspect.Options)) (*bearer.Backend, *server) {
	t.Helper()
	s := &server{answer: answer}
	opts := introspect.Options{
		URL: endpoint, ClientID: "orders-service", ClientSecret: secret, Audiences: []string{"orders"},
		Client: &http.Client{Transport: s}, Now: func() time.Time { return start },
	}
	if change != nil {
		change(&opts)
	}
	b, err := introspect.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	return b, s
}

// look is one call with a token; the answer is the user's ID or the code of the refusal.
func look(ctx context.Context, b grpcauth.Backend, token string) string {
	user, err := b.Authenticate(ctx, grpcauthtest.Request(ctx, method, "authorization", "Bearer "+token))
	switch {
	case user != nil && err != nil:
		return "a user and an error"
	case err != nil:
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

func expectAsked(t *testing.T, s *server, want int64) {
	t.Helper()
	if got := s.asked.Load(); got != want {
		t.Errorf("the server was asked %d times, want %d", got, want)
	}
}

func TestConformance(t *testing.T) {
	t.Parallel()
	b, _ := setup(t, knows("mF_9.B5f-4.1JqM", map[string]any{"exp": nil}), nil)
	backendtest.Run(t, backendtest.Suite{
		Backend: b,
		Good:    metadata.Pairs("authorization", "Bearer mF_9.B5f-4.1JqM"),
		Bad:     []metadata.MD{metadata.Pairs("authorization", "Bearer mF_9.B5f-4.1JqN"), metadata.Pairs("authorization", "Bearer mF_9.B5f-4.1JqM=")},
		Secrets: []string{secret},
	})
}

func TestRequestIsThatOfTheRFC(t *testing.T) {
	t.Parallel()
	b, s := setup(t, nil, nil)
	s.set(func(req *http.Request, form url.Values) (*http.Response, error) {
		if req.Method != http.MethodPost || req.URL.String() != endpoint || req.Header.Get("Content-Type") != "application/x-www-form-urlencoded" || req.Header.Get("Accept") != "application/json" {
			t.Errorf("got %s %s with %v", req.Method, req.URL, req.Header)
		}
		if form.Get("token") != "a+b/c~d==" || form.Get("token_type_hint") != "access_token" || len(form) != 2 {
			t.Errorf("got the form %v", form)
		}
		return knows("a+b/c~d==", nil)(req, form)
	})
	expect(t, b, "a+b/c~d==", "alice")
}

func TestServiceProvesItself(t *testing.T) {
	t.Parallel()
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	asserted := func(alg, keyID, audience string, public any) func(*http.Request, url.Values) error {
		return func(req *http.Request, form url.Values) error {
			if req.Header.Get("Authorization") != "" || form.Get("client_id") != "orders-service" || form.Get("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" {
				return fmt.Errorf("got %v and %v", req.Header, form)
			}
			claims := gojwt.MapClaims{}
			token, err := gojwt.ParseWithClaims(form.Get("client_assertion"), claims, func(*gojwt.Token) (any, error) { return public, nil },
				gojwt.WithValidMethods([]string{alg}), gojwt.WithTimeFunc(func() time.Time { return start }), gojwt.WithAudience(audience), gojwt.WithIssuer("orders-service"),
				gojwt.WithSubject("orders-service"), gojwt.WithExpirationRequired())
			if err != nil {
				return err
			}
			if kid, _ := token.Header["kid"].(string); kid != keyID {
				return fmt.Errorf("got kid %q", kid)
			}
			if id, _ := claims["jti"].(string); len(id) < 22 {
				return fmt.Errorf("got jti %q", id)
			}
			return nil
		}
	}
	for name, c := range map[string]struct {
		change func(*introspect.Options)
		check  func(*http.Request, url.Values) error
	}{
		"basic": {nil, func(req *http.Request, form url.Values) error {
			id, password, ok := req.BasicAuth()
			if id != "orders-service" || password != url.QueryEscape(secret) || !ok || form.Has("client_id") {
				return fmt.Errorf("got %q, %q and %v", id, password, form)
			}
			return nil
		}},
		"basic, with a strange name": {func(o *introspect.Options) { o.ClientID = "a:b c" }, func(req *http.Request, _ url.Values) error {
			if id, _, _ := req.BasicAuth(); id != "a%3Ab+c" {
				return fmt.Errorf("got %q", id)
			}
			return nil
		}},
		"in the body": {func(o *introspect.Options) { o.SecretInBody = true }, func(req *http.Request, form url.Values) error {
			if form.Get("client_id") != "orders-service" || form.Get("client_secret") != secret || req.Header.Get("Authorization") != "" {
				return fmt.Errorf("got %v and %v", req.Header, form)
			}
			return nil
		}},
		"access token": {func(o *introspect.Options) {
			o.ClientID, o.ClientSecret, o.AccessToken = "", "", func(context.Context) (string, error) { return "own", nil }
		}, func(req *http.Request, form url.Values) error {
			if req.Header.Get("Authorization") != "Bearer own" || len(form) != 2 {
				return fmt.Errorf("got %v and %v", req.Header, form)
			}
			return nil
		}},
		"RS256":   {func(o *introspect.Options) { o.ClientSecret, o.PrivateKey, o.KeyID = "", rsaKey, "k1" }, asserted("RS256", "k1", endpoint, rsaKey.Public())},
		"ES256":   {func(o *introspect.Options) { o.ClientSecret, o.PrivateKey = "", p256 }, asserted("ES256", "", endpoint, p256.Public())},
		"ES384":   {func(o *introspect.Options) { o.ClientSecret, o.PrivateKey, o.Audience = "", p384, "https://idp" }, asserted("ES384", "", "https://idp", p384.Public())},
		"Ed25519": {func(o *introspect.Options) { o.ClientSecret, o.PrivateKey = "", ed }, asserted("EdDSA", "", endpoint, ed.Public())},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, s := setup(t, nil, c.change)
			s.set(func(req *http.Request, form url.Values) (*http.Response, error) {
				if err := c.check(req, form); err != nil {
					t.Error(err)
				}
				return knows("a", nil)(req, form)
			})
			expect(t, b, "a", "alice")
		})
	}
}

func TestAssertionsAreMadeForOneRequest(t *testing.T) {
	t.Parallel()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	b, s := setup(t, nil, func(o *introspect.Options) { o.ClientSecret, o.PrivateKey = "", key })
	s.set(func(req *http.Request, form url.Values) (*http.Response, error) {
		seen[form.Get("client_assertion")] = true
		return knows("x", nil)(req, form)
	})
	for _, token := range []string{"a", "b", "c"} {
		expect(t, b, token, refused)
	}
	if len(seen) != 3 {
		t.Errorf("%d assertions for 3 requests", len(seen))
	}
}

// What is not the answer that RFC 7662 describes decides nothing, and is not remembered.
func TestAnswerThatIsNoneDecidesNothing(t *testing.T) {
	t.Parallel()
	good := `{"active":true,"sub":"alice","aud":"orders"}`
	for name, answer := range map[string]func(*http.Request, url.Values) (*http.Response, error){
		"no active":              respond(200, `{"sub":"alice","aud":"orders"}`),
		"active by case":         respond(200, `{"Active":true,"sub":"alice","aud":"orders"}`),
		"active as text":         respond(200, `{"active":"true","sub":"alice","aud":"orders"}`),
		"active as a number":     respond(200, `{"active":1,"sub":"alice","aud":"orders"}`),
		"active null":            respond(200, `{"active":null,"sub":"alice","aud":"orders"}`),
		"active twice":           respond(200, `{"active":false,"active":true,"sub":"alice","aud":"orders"}`),
		"active twice by case":   respond(200, `{"active":true,"ACTIVE":false,"sub":"alice","aud":"orders"}`),
		"an array":               respond(200, `[`+good+`]`),
		"a list":                 respond(200, good+good),
		"true":                   respond(200, `true`),
		"nothing":                respond(200, ``),
		"HTML":                   respond(200, `<!doctype html><title>active</title>`),
		"half of it":             respond(200, good[:20]),
		"invalid UTF-8":          respond(200, "{\"active\":true,\"sub\":\"al\xffice\",\"aud\":\"orders\"}"),
		"too large":              respond(200, good+strings.Repeat(" ", 64<<10)),
		"deep":                   respond(200, strings.Repeat(`{"a":`, 10_000)),
		"sub is a number":        respond(200, `{"active":true,"sub":1,"aud":"orders"}`),
		"sub is too long":        respond(200, `{"active":true,"sub":"`+strings.Repeat("a", 256)+`","aud":"orders"}`),
		"exp is text":            respond(200, `{"active":true,"sub":"alice","aud":"orders","exp":"9999999999"}`),
		"exp is negative":        respond(200, `{"active":true,"sub":"alice","aud":"orders","exp":-1}`),
		"exp is null":            respond(200, `{"active":true,"sub":"alice","aud":"orders","exp":null}`),
		"nbf is text":            respond(200, `{"active":true,"sub":"alice","aud":"orders","nbf":"1"}`),
		"aud has a number":       respond(200, `{"active":true,"sub":"alice","aud":["orders",1]}`),
		"scope is a number":      respond(200, `{"active":true,"sub":"alice","aud":"orders","scope":1}`),
		"created":                respond(201, good),
		"no content":             respond(204, ``),
		"another place":          respond(302, ``, "Location", endpoint+"/2"),
		"another place, by POST": respond(307, ``, "Location", endpoint+"/2"),
		"another host":           respond(302, ``, "Location", "https://evil.example.com/"),
		"bad request":            respond(400, good),
		"not let in":             respond(401, good),
		"forbidden":              respond(403, good),
		"not found":              respond(404, good),
		"throttled":              respond(429, good),
		"failure":                respond(500, good),
		"bad gateway":            respond(502, good),
		"no connection":          func(*http.Request, url.Values) (*http.Response, error) { return nil, errors.New("connection refused") },
		"broken off": func(req *http.Request, _ url.Values) (*http.Response, error) {
			return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(io.MultiReader(strings.NewReader(good), iotest{})), Request: req}, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, s := setup(t, nil, nil)
			s.set(func(req *http.Request, form url.Values) (*http.Response, error) {
				if req.URL.String() != endpoint {
					t.Errorf("asked %s", req.URL)
					return respond(200, good)(req, form)
				}
				return answer(req, form)
			})
			expect(t, b, "a", undecided)
			expectAsked(t, s, 1)
			s.set(knows("a", nil))
			expect(t, b, "a", "alice")
		})
	}
}

// iotest fails to be read.
type iotest struct{}

func (iotest) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestAnswerSaysWhoseTheTokenIs(t *testing.T) {
	t.Parallel()
	digest := base64.RawURLEncoding.EncodeToString(make([]byte, 32))
	for name, c := range map[string]struct {
		members map[string]any
		change  func(*introspect.Options)
		want    string
	}{
		"as it should be":              {nil, nil, "alice"},
		"not active":                   {map[string]any{"active": false}, nil, refused},
		"not active and expired":       {map[string]any{"active": false, "exp": 1}, nil, refused},
		"no audience":                  {map[string]any{"aud": nil}, nil, refused},
		"another audience":             {map[string]any{"aud": "invoices"}, nil, refused},
		"an audience by prefix":        {map[string]any{"aud": "orders2"}, nil, refused},
		"an audience by case":          {map[string]any{"aud": "Orders"}, nil, refused},
		"two audiences in one":         {map[string]any{"aud": "orders invoices"}, nil, refused},
		"one of several audiences":     {map[string]any{"aud": []string{"invoices", "orders"}}, nil, "alice"},
		"none of several audiences":    {map[string]any{"aud": []string{"invoices", "stock"}}, nil, refused},
		"no audiences":                 {map[string]any{"aud": []string{}}, nil, refused},
		"any audience":                 {map[string]any{"aud": nil}, func(o *introspect.Options) { o.Audiences, o.AnyAudience = nil, true }, "alice"},
		"the issuer":                   {map[string]any{"iss": "https://idp"}, func(o *introspect.Options) { o.Issuer = "https://idp" }, "alice"},
		"no issuer":                    {nil, func(o *introspect.Options) { o.Issuer = "https://idp" }, "alice"},
		"another issuer":               {map[string]any{"iss": "https://idp/"}, func(o *introspect.Options) { o.Issuer = "https://idp" }, refused},
		"no sub":                       {map[string]any{"sub": nil, "client_id": "alice", "username": "alice"}, nil, refused},
		"a client's own":               {map[string]any{"sub": nil, "client_id": "robot"}, func(o *introspect.Options) { o.ClientIDAsSubject = true }, "robot"},
		"nobody's":                     {map[string]any{"sub": nil}, func(o *introspect.Options) { o.ClientIDAsSubject = true }, refused},
		"a user's, by a client":        {map[string]any{"client_id": "robot"}, func(o *introspect.Options) { o.ClientIDAsSubject = true }, "alice"},
		"no expiry":                    {map[string]any{"exp": nil}, nil, "alice"},
		"expired":                      {map[string]any{"exp": start.Unix() - 1}, nil, expired},
		"expires now":                  {map[string]any{"exp": start.Unix()}, nil, expired},
		"expires in a second":          {map[string]any{"exp": start.Unix() + 1}, nil, "alice"},
		"not valid yet":                {map[string]any{"nbf": start.Unix() + 1}, nil, refused},
		"valid from now":               {map[string]any{"nbf": start.Unix()}, nil, "alice"},
		"bound to a certificate":       {map[string]any{"cnf": map[string]string{"x5t#S256": digest}}, nil, refused},
		"bound to a key":               {map[string]any{"cnf": map[string]string{"jkt": digest}}, nil, refused},
		"bound to what is not known":   {map[string]any{"cnf": map[string]string{"kid": "a"}}, nil, refused},
		"bound to more than is known":  {map[string]any{"cnf": map[string]string{"x5t#S256": digest, "kid": "a"}}, nil, refused},
		"bound to nothing":             {map[string]any{"cnf": map[string]string{}}, nil, refused},
		"bound to text":                {map[string]any{"cnf": digest}, nil, refused},
		"bound to half a digest":       {map[string]any{"cnf": map[string]string{"x5t#S256": digest[:20]}}, nil, refused},
		"bound to a padded digest":     {map[string]any{"cnf": map[string]string{"x5t#S256": digest + "="}}, nil, refused},
		"DPoP, not bound":              {map[string]any{"token_type": "DPoP"}, nil, refused},
		"DPoP, bound to a certificate": {map[string]any{"token_type": "dpop", "cnf": map[string]string{"x5t#S256": digest}}, nil, refused},
		"mapped":                       {nil, func(o *introspect.Options) { o.Map = func(u *grpcauth.User) error { u.ID = "a-" + u.ID; return nil } }, "a-alice"},
		"mapped to a refusal": {nil, func(o *introspect.Options) {
			o.Map = func(*grpcauth.User) error { return grpcauth.Errorf(grpcauth.CodeForbidden, "no") }
		}, "PERMISSION_DENIED"},
		"mapped to a failure": {nil, func(o *introspect.Options) { o.Map = func(*grpcauth.User) error { return errors.New("down") } }, undecided},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, _ := setup(t, knows("a", c.members), c.change)
			expect(t, b, "a", c.want)
		})
	}
}

func TestUserHasWhatTheAnswerSays(t *testing.T) {
	t.Parallel()
	b, _ := setup(t, knows("a", map[string]any{
		"iss": "https://idp", "username": "Alice", "scope": "read  write", "roles": []string{"admin"}, "acr": "high", "auth_time": start.Add(-time.Minute).Unix(), "tenant": "acme",
	}), func(o *introspect.Options) { o.PermissionsClaim = "roles" })
	user, err := b.Authenticate(t.Context(), grpcauthtest.Request(t.Context(), method, "authorization", "Bearer a"))
	if err != nil {
		t.Fatal(err)
	}
	var claims struct {
		Tenant string `json:"tenant"`
	}
	if err := user.Claims(&claims); err != nil || claims.Tenant != "acme" {
		t.Errorf("got the claims %+v, %v", claims, err)
	}
	got := fmt.Sprint(user.ID, user.Issuer, user.Name, user.Method, user.Scopes, user.Permissions, user.ACR, user.AuthTime.Unix(), user.Expiry.Unix())
	want := fmt.Sprint("alice", "https://idp", "Alice", "introspect", []string{"read", "write"}, []string{"admin"}, "high", start.Unix()-60, start.Unix()+3600)
	if got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestNamesOfTheUserAreNotTheIssuersToChoose(t *testing.T) {
	t.Parallel()
	b, _ := setup(t, knows("a", map[string]any{"iss": "https://idp", "username": []int{1}}), func(o *introspect.Options) { o.Issuer = "https://idp" })
	user, err := b.Authenticate(t.Context(), grpcauthtest.Request(t.Context(), method, "authorization", "Bearer a"))
	if err != nil || user.Issuer != "https://idp" || user.Name != "" {
		t.Errorf("got %+v, %v", user, err)
	}
}

func TestAnswersAreRememberedShortly(t *testing.T) {
	t.Parallel()
	clock := grpcauthtest.NewClock(start)
	b, s := setup(t, knows("a", map[string]any{"exp": start.Add(40 * time.Second).Unix()}), func(o *introspect.Options) { o.Now = clock.Now })
	expect(t, b, "a", "alice")
	expect(t, b, "b", refused)
	clock.Advance(4 * time.Second)
	expect(t, b, "a", "alice")
	expect(t, b, "b", refused)
	expectAsked(t, s, 2)
	clock.Advance(time.Second) // 5 s
	expect(t, b, "b", refused)
	expectAsked(t, s, 3)
	clock.Advance(24 * time.Second) // 29 s
	expect(t, b, "a", "alice")
	expectAsked(t, s, 3)
	clock.Advance(time.Second) // 30 s
	expect(t, b, "a", "alice")
	expectAsked(t, s, 4)
	clock.Advance(10 * time.Second) // 40 s
	expect(t, b, "a", expired)
	expectAsked(t, s, 5)
}

func TestRevokedTokenStopsWhenItIsForgotten(t *testing.T) {
	t.Parallel()
	clock := grpcauthtest.NewClock(start)
	b, s := setup(t, knows("a", nil), func(o *introspect.Options) { o.Now = clock.Now })
	expect(t, b, "a", "alice")
	s.set(knows("none", nil))
	expect(t, b, "a", "alice")
	b.Invalidate(func(u *grpcauth.User) bool { return u.ID == "alice" })
	expect(t, b, "a", refused)
}

func TestServerThatIsDownStopsOnlyWhatIsNotRemembered(t *testing.T) {
	t.Parallel()
	b, s := setup(t, knows("a", nil), nil)
	expect(t, b, "a", "alice")
	s.set(respond(503, ""))
	expect(t, b, "a", "alice")
	expect(t, b, "b", undecided)
	expect(t, b, "b", undecided)
	expectAsked(t, s, 3)
}

func TestServerThatHangsIsGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, s := setup(t, func(req *http.Request, _ url.Values) (*http.Response, error) {
			<-req.Context().Done()
			return nil, req.Context().Err()
		}, nil)
		begin := time.Now()
		expect(t, b, "a", undecided)
		if took := time.Since(begin); took != 5*time.Second {
			t.Errorf("a call waited %v", took)
		}
		s.set(knows("a", nil))
		expect(t, b, "a", "alice")
	})
}

func TestConcurrentCallersShareARequest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		b, s := setup(t, func(req *http.Request, form url.Values) (*http.Response, error) {
			<-release
			return knows("a", nil)(req, form)
		}, nil)
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() { expect(t, b, "a", "alice") })
		}
		synctest.Wait()
		close(release)
		all.Wait()
		expectAsked(t, s, 1)
	})
}

func TestCallersThatShareARequestGetUsersOfTheirOwn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		s := &server{answer: func(req *http.Request, form url.Values) (*http.Response, error) {
			<-release
			return knows("a", nil)(req, form)
		}}
		v, err := introspect.NewVerifier(introspect.Options{
			URL: endpoint, ClientID: "orders-service", ClientSecret: secret, Audiences: []string{"orders"},
			Client: &http.Client{Transport: s}, Now: func() time.Time { return start },
		})
		if err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		var users [2]*grpcauth.User
		for i := range users {
			all.Go(func() { users[i], _ = v.Verify(t.Context(), "a") })
		}
		synctest.Wait()
		close(release)
		all.Wait()
		expectAsked(t, s, 1)
		if users[0] == nil || users[0] == users[1] {
			t.Errorf("got the users %p and %p, want two", users[0], users[1])
		}
	})
}

func TestCallerThatGivesUpFailsNobodyElse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		b, s := setup(t, func(req *http.Request, form url.Values) (*http.Response, error) {
			select {
			case <-release:
				return knows("a", nil)(req, form)
			case <-req.Context().Done():
				return nil, req.Context().Err()
			}
		}, nil)
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() {
			if _, err := b.Authenticate(ctx, grpcauthtest.Request(ctx, method, "authorization", "Bearer a")); !errors.Is(err, context.Canceled) {
				t.Errorf("who gave up got %v", err)
			}
		})
		synctest.Wait()
		for range 10 {
			all.Go(func() { expect(t, b, "a", "alice") })
		}
		synctest.Wait()
		cancel()
		synctest.Wait()
		close(release)
		all.Wait()
		expectAsked(t, s, 1)
	})
}

func TestRequestsAtATimeAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var inside, most atomic.Int64
		release := make(chan struct{})
		b, _ := setup(t, func(req *http.Request, form url.Values) (*http.Response, error) {
			if n := inside.Add(1); n > most.Load() {
				most.Store(n)
			}
			defer inside.Add(-1)
			<-release
			return knows("x", nil)(req, form)
		}, func(o *introspect.Options) { o.MaxConcurrent = 3 })
		var all sync.WaitGroup
		for n := range 20 {
			all.Go(func() { expect(t, b, fmt.Sprint(n), refused) })
		}
		synctest.Wait()
		close(release)
		all.Wait()
		if most.Load() != 3 {
			t.Errorf("%d requests at a time, want 3", most.Load())
		}
	})
}

func TestRequestThatDoesNotReturnIsInternal(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func(){"panic": func() { panic(secret) }, "end of the goroutine": runtime.Goexit} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, s := setup(t, func(*http.Request, url.Values) (*http.Response, error) { fail(); return nil, nil }, nil)
			_, err := b.Authenticate(t.Context(), grpcauthtest.Request(t.Context(), method, "authorization", "Bearer a"))
			if grpcauth.CodeOf(err).String() != broken || strings.Contains(err.Error(), secret) {
				t.Errorf("got %v", err)
			}
			s.set(knows("a", nil))
			expect(t, b, "a", "alice")
		})
	}
}

func TestOwnAccessTokenThatCannotBeHadDecidesNothing(t *testing.T) {
	t.Parallel()
	b, s := setup(t, knows("a", nil), func(o *introspect.Options) {
		o.ClientID, o.ClientSecret, o.AccessToken = "", "", func(context.Context) (string, error) { return "", errors.New("down") }
	})
	expect(t, b, "a", undecided)
	expectAsked(t, s, 0)
}

func TestNewSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	weak, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*introspect.Options)
		want   string
	}{
		"no URL":            {func(o *introspect.Options) { o.URL = "" }, "Options.URL"},
		"plaintext":         {func(o *introspect.Options) { o.URL = "http://idp.example.com/" }, "write https"},
		"user info":         {func(o *introspect.Options) { o.URL = "https://a:b@idp.example.com/" }, "user info"},
		"no client":         {func(o *introspect.Options) { o.ClientID = "" }, "ClientID"},
		"no secret":         {func(o *introspect.Options) { o.ClientSecret = "" }, "ClientSecret, PrivateKey and AccessToken"},
		"two secrets":       {func(o *introspect.Options) { o.PrivateKey = weak }, "exactly one"},
		"no key":            {func(o *introspect.Options) { o.ClientSecret, o.PrivateKey = "", weak }, "PrivateKey"},
		"nothing in a body": {func(o *introspect.Options) { o.ClientSecret, o.PrivateKey, o.SecretInBody = "", weak, true }, "SecretInBody"},
		"the ID of no key":  {func(o *introspect.Options) { o.KeyID = "k1" }, "KeyID"},
		"no audience":       {func(o *introspect.Options) { o.Audiences = nil }, "Audiences"},
		"an empty audience": {func(o *introspect.Options) { o.Audiences = []string{""} }, "Audiences"},
		"any and one":       {func(o *introspect.Options) { o.AnyAudience = true }, "AnyAudience"},
		"negative timeout":  {func(o *introspect.Options) { o.Timeout = -1 }, "Timeout"},
		"negative number":   {func(o *introspect.Options) { o.MaxConcurrent = -1 }, "MaxConcurrent"},
		"bearer's options":  {func(o *introspect.Options) { o.Bearer.RememberFor = -1 }, "RememberFor"},
	} {
		opts := introspect.Options{URL: endpoint, ClientID: "orders-service", ClientSecret: secret, Audiences: []string{"orders"}}
		c.change(&opts)
		if _, err := introspect.New(opts); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: got %v, want it to name %q", name, err, c.want)
		}
	}
}

func TestNothingPrintsASecret(t *testing.T) {
	t.Parallel()
	opts := introspect.Options{URL: endpoint, ClientID: "orders-service", ClientSecret: secret, Audiences: []string{"orders"}}
	v, err := introspect.NewVerifier(opts)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	encoded, err := json.Marshal([]any{opts, &opts, v})
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{fmt.Sprintf("%v %+v %#v %s %q %x %d", opts, opts, opts, opts, opts, opts, opts), fmt.Sprintf("%v %+v %#v", &opts, v, v), string(encoded)} {
		for _, hidden := range []string{secret, "s3cret", url.QueryEscape(secret), fmt.Sprintf("%x", secret)} {
			if strings.Contains(text, hidden) {
				t.Errorf("%q shows the secret", text)
			}
		}
	}
}
