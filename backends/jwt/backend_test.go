// SPDX-License-Identifier: Apache-2.0

package jwt_test

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/backendtest"
	"github.com/grpcauth/grpcauth/backends/bearer"
	"github.com/grpcauth/grpcauth/backends/jwt"
	"github.com/grpcauth/grpcauth/grpcauthtest"
	"github.com/grpcauth/grpcauth/jwks"
)

// newBackend trusts one issuer; it counts how often a token was accepted anew rather than remembered.
func newBackend(t *testing.T, issuer jwt.Issuer, clock func() time.Time) (b *bearer.Backend, accepted *int) {
	t.Helper()
	accepted = new(int)
	issuer.Map = func(*grpcauth.User) error { *accepted++; return nil }
	b, err := jwt.New(jwt.Options{Issuers: []jwt.Issuer{issuer}, Now: clock})
	if err != nil {
		t.Fatal(err)
	}
	return b, accepted
}

// look is one call with a token; the answer is the user's ID or the code of the refusal.
func look(t *testing.T, b grpcauth.Backend, token string) string {
	t.Helper()
	user, err := b.Authenticate(t.Context(), grpcauthtest.Request(t.Context(), "/shop.v1.Orders/Get", "authorization", "Bearer "+token))
	if err != nil {
		return grpcauth.CodeOf(err).String()
	}
	return user.ID
}

func standing() time.Time { return now }

func TestConformance(t *testing.T) {
	t.Parallel()
	i := shared()
	for _, alg := range []string{"HS256", "RS256", "PS256", "ES256", "EdDSA"} {
		t.Run(alg, func(t *testing.T) {
			t.Parallel()
			b, err := jwt.New(jwt.Options{Issuers: []jwt.Issuer{i.Config(alg)}, Now: standing})
			if err != nil {
				t.Fatal(err)
			}
			bad := []metadata.MD{metadata.Pairs("authorization", "Bearer not-a-jwt")}
			for _, changes := range []map[string]any{{"aud": "other"}, {"iss": "https://other.example.com"}, {"exp": now.Unix()}, {"sub": nil}, {"nbf": now.Unix() + 60}} {
				bad = append(bad, metadata.Pairs("authorization", "Bearer "+i.Token(alg, "alice", changes)))
			}
			backendtest.Run(t, backendtest.Suite{
				Backend: b, Bad: bad, Now: standing,
				Good: metadata.Pairs("authorization", "Bearer "+i.Token(alg, "alice", map[string]any{"scope": "a b"})),
			})
		})
	}
}

// ring is a key set that changes when a test says so.
type ring struct {
	mu   sync.Mutex
	keys []jwks.Key // guarded by mu, like err
	err  error
}

func (r *ring) Keys(_ context.Context, kid string) ([]jwks.Key, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var found []jwks.Key
	for _, k := range r.keys {
		if kid == "" || k.ID == kid {
			found = append(found, k)
		}
	}
	return found, r.err
}

func (r *ring) set(err error, keys ...jwks.Key) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.keys, r.err = keys, err
}

func TestRememberedTokenIsRefusedOnceItsKeyIsRemoved(t *testing.T) {
	t.Parallel()
	for _, alg := range []string{"HS256", "ES256", "EdDSA"} {
		i := newIssuer(t)
		b, accepted := newBackend(t, i.Config(alg), standing)
		old := i.Token(alg, "alice", nil)
		for range 3 {
			if got := look(t, b, old); got != "alice" {
				t.Fatalf("%s: got %s", alg, got)
			}
		}
		i.Rotate(alg, true)
		young := i.Token(alg, "bob", nil)
		for range 3 {
			if a, b := look(t, b, old), look(t, b, young); a != "alice" || b != "bob" {
				t.Errorf("%s, both keys published: got %s and %s", alg, a, b)
			}
		}
		if *accepted != 2 {
			t.Errorf("%s: accepted anew %d times, want once for each token", alg, *accepted)
		}
		i.Rotate(alg, false)
		i.Token(alg, "x", nil) // makes the third key
		for range 2 {
			if a, b := look(t, b, old), look(t, b, young); a != "alice" || b != refused {
				t.Errorf("%s, the second key removed: got %s and %s", alg, a, b)
			}
		}
	}
}

func TestRememberedTokenFollowsItsKeySet(t *testing.T) {
	t.Parallel()
	i, imposter := newIssuer(t), newIssuer(t)
	token := i.Token("ES256", "alice", nil)
	forged := imposter.Token("ES256", "eve", nil)
	genuine, other := i.Published()[0], imposter.Published()[0]
	if genuine.ID != other.ID {
		t.Fatal("the test needs keys of one ID")
	}
	renamed, narrowed := genuine, genuine
	renamed.ID, narrowed.Algorithm = "another", ""
	set := &ring{}
	config := i.Config("ES256")
	config.Keys = set
	b, accepted := newBackend(t, config, standing)
	for _, step := range []struct {
		name     string
		err      error
		keys     []jwks.Key
		want     string
		accepted int // how often the token was accepted anew so far
	}{
		{"not yet published", nil, nil, refused, 0},
		{"published", nil, []jwks.Key{genuine}, "alice", 1},
		{"still there", nil, []jwks.Key{genuine}, "alice", 1},
		{"beside another", nil, []jwks.Key{renamed, genuine}, "alice", 1},
		{"the set cannot be asked", errors.New("down"), []jwks.Key{genuine}, "AUTHENTICATION_UNAVAILABLE", 1},
		{"it can again", nil, []jwks.Key{genuine}, "alice", 2},
		{"described anew", nil, []jwks.Key{narrowed}, "alice", 3},
		{"removed", nil, nil, refused, 3},
		{"back again", nil, []jwks.Key{genuine}, "alice", 4},
		{"under another ID", nil, []jwks.Key{renamed}, refused, 4},
		{"back once more", nil, []jwks.Key{genuine}, "alice", 5},
		{"replaced under its ID", nil, []jwks.Key{other}, refused, 5},
	} {
		set.set(step.err, step.keys...)
		if got := look(t, b, token); got != step.want || *accepted != step.accepted {
			t.Errorf("%s: got %s, accepted anew %d times, want %s and %d", step.name, got, *accepted, step.want, step.accepted)
		}
	}
	if got := look(t, b, forged); got != "eve" {
		t.Errorf("a token of the key that is there now: got %s", got)
	}
}

// sloppy is a set that returns all keys, whichever is asked for.
type sloppy struct{ *ring }

func (s sloppy) Keys(ctx context.Context, _ string) ([]jwks.Key, error) { return s.ring.Keys(ctx, "") }

func TestKeyOfAnotherIDVerifiesNothing(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	token := i.Token("ES256", "alice", nil)
	genuine := i.Published()[0]
	renamed, nameless := genuine, genuine
	renamed.ID, nameless.ID = "another", ""
	for name, c := range map[string]struct {
		keys []jwks.Key
		want string
	}{
		"the key": {[]jwks.Key{genuine}, "alice"}, "another ID": {[]jwks.Key{renamed}, refused}, "beside another ID": {[]jwks.Key{renamed, genuine}, "alice"},
		"without an ID": {[]jwks.Key{nameless}, "alice"}, "twice": {[]jwks.Key{genuine, genuine}, refused}, "with one without an ID": {[]jwks.Key{genuine, nameless}, refused},
	} {
		config := i.Config("ES256")
		set := &ring{}
		set.set(nil, c.keys...)
		config.Keys = sloppy{set}
		if got := verdict(t, newVerifier(t, jwt.Options{Issuers: []jwt.Issuer{config}}), token); got != c.want {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}
	}
}

func TestRememberedTokenExpires(t *testing.T) {
	t.Parallel()
	clock := grpcauthtest.NewClock(now)
	b, accepted := newBackend(t, shared().Config("ES256"), clock.Now)
	token := shared().Token("ES256", "alice", map[string]any{"exp": now.Unix() + 60})
	for _, step := range []struct {
		advance time.Duration
		want    string
	}{
		{0, "alice"}, {59 * time.Second, "alice"}, {time.Second - 1, "alice"}, {1, "CREDENTIALS_EXPIRED"}, {time.Hour, "CREDENTIALS_EXPIRED"},
	} {
		clock.Advance(step.advance)
		if got := look(t, b, token); got != step.want {
			t.Errorf("at %v: got %s, want %s", clock.Now(), got, step.want)
		}
	}
	if *accepted != 1 {
		t.Errorf("accepted anew %d times, want once", *accepted)
	}
}

func TestTokenIsAcceptedAsSoonAsItIsValid(t *testing.T) {
	t.Parallel()
	for _, claim := range []string{"nbf", "iat"} {
		clock := grpcauthtest.NewClock(now)
		b, _ := newBackend(t, shared().Config("ES256"), clock.Now)
		token := shared().Token("ES256", "alice", map[string]any{claim: now.Unix() + 1})
		if got := look(t, b, token); got != refused {
			t.Errorf("%s in a second: got %s", claim, got)
		}
		clock.Advance(time.Second)
		if got := look(t, b, token); got != "alice" {
			t.Errorf("%s is now: got %s: the early refusal was remembered", claim, got)
		}
	}
}

func TestForgedTokenIsVerifiedOnce(t *testing.T) {
	t.Parallel()
	set := &counting{Set: shared()}
	config := shared().Config("ES256")
	config.Keys = set
	b, _ := newBackend(t, config, standing)
	token := shared().Token("ES256", "alice", nil)
	forged := token[:len(token)-8] + "AAAAAAAA"
	for range 3 {
		if got := look(t, b, forged); got != refused {
			t.Errorf("got %s", got)
		}
	}
	if set.n != 1 {
		t.Errorf("asked for keys %d times, want once", set.n)
	}
}

func TestConfirmationBindsTheToken(t *testing.T) {
	t.Parallel()
	ca := grpcauthtest.NewCA(t)
	leaf, other := ca.Issue(x509.Certificate{}).Leaf, ca.Issue(x509.Certificate{}).Leaf
	thumbprint := func(c *x509.Certificate) string { sum := sha256.Sum256(c.Raw); return encode(sum[:]) }
	b, _ := newBackend(t, shared().Config("ES256"), standing)
	for name, c := range map[string]struct {
		cnf   map[string]any
		shown []*x509.Certificate
		want  string
	}{
		"the right leaf":            {map[string]any{"x5t#S256": thumbprint(leaf)}, []*x509.Certificate{leaf, ca.Certificate}, "alice"},
		"another leaf":              {map[string]any{"x5t#S256": thumbprint(leaf)}, []*x509.Certificate{other, ca.Certificate}, refused},
		"the leaf's authority":      {map[string]any{"x5t#S256": thumbprint(ca.Certificate)}, []*x509.Certificate{leaf, ca.Certificate}, refused},
		"no certificate":            {map[string]any{"x5t#S256": thumbprint(leaf)}, nil, refused},
		"padded":                    {map[string]any{"x5t#S256": thumbprint(leaf) + "="}, []*x509.Certificate{leaf}, refused},
		"not a string":              {map[string]any{"x5t#S256": []string{thumbprint(leaf)}}, []*x509.Certificate{leaf}, refused},
		"another case of the name":  {map[string]any{"x5t#s256": thumbprint(leaf)}, []*x509.Certificate{leaf}, refused},
		"SHA-1":                     {map[string]any{"x5t": thumbprint(leaf)}, []*x509.Certificate{leaf}, refused},
		"a DPoP key":                {map[string]any{"jkt": thumbprint(leaf)}, []*x509.Certificate{leaf}, refused},
		"a DPoP key beside":         {map[string]any{"x5t#S256": thumbprint(leaf), "jkt": thumbprint(leaf)}, []*x509.Certificate{leaf}, refused},
		"an unknown method beside":  {map[string]any{"x5t#S256": thumbprint(leaf), "kid": "x"}, []*x509.Certificate{leaf}, refused},
		"not bound, no certificate": {nil, nil, "alice"},
	} {
		changes := map[string]any{"cnf": c.cnf}
		if c.cnf == nil {
			changes = nil
		}
		ctx := metadata.NewIncomingContext(t.Context(), metadata.Pairs("authorization", "Bearer "+shared().Token("ES256", "alice", changes)))
		if c.shown != nil {
			ctx = peer.NewContext(ctx, &peer.Peer{AuthInfo: credentials.TLSInfo{State: tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{c.shown}}}})
		}
		user, err := b.Authenticate(ctx, grpcauth.NewRequest(ctx, "/shop.v1.Orders/Get"))
		if got := grpcauth.CodeOf(err).String(); (err == nil) != (c.want == "alice") || err != nil && got != c.want {
			t.Errorf("%s: got %v, %v, want %s", name, user, err, c.want)
		}
	}
}

// A verifier whose users are checked for their bindings elsewhere must not hand out bindings that nothing can meet.
func TestThumbprintIsADigestOfSHA256(t *testing.T) {
	t.Parallel()
	v := verifierOf(t, nil, "ES256")
	digest := encode(make([]byte, 32))
	for _, name := range []string{"x5t#S256", "jkt"} {
		for value, want := range map[string]string{
			digest: "alice", encode(make([]byte, 20)): refused, encode(make([]byte, 31)): refused, encode(make([]byte, 33)): refused, "": refused, digest + "=": refused,
			digest[:42] + "B": refused, digest[:42] + "\n" + digest[42:]: refused, "+" + digest[1:]: refused,
		} {
			token := shared().Token("ES256", "alice", map[string]any{"cnf": map[string]any{name: value}})
			if got := verdict(t, v, token); got != want {
				t.Errorf("%s %q: got %s, want %s", name, value, got, want)
			}
		}
	}
}

func TestTypesAreTheOnesNamed(t *testing.T) {
	t.Parallel()
	i := shared()
	v := verifierOf(t, func(o *jwt.Options) { o.Issuers[0].Types = []string{"application/Secevent+JWT"} }, "ES256")
	for typ, want := range map[string]string{
		`,"typ":"secevent+jwt"`: "alice", `,"typ":"application/SECEVENT+jwt"`: "alice", "": "alice", `,"typ":"JWT"`: refused, `,"typ":"at+jwt"`: refused, `,"typ":"application/application/secevent+jwt"`: refused,
	} {
		token := i.Sign("ES256", `{"alg":"ES256","kid":"`+i.KeyID("ES256")+`"`+typ+`}`, string(mustJSON(i.Claims("alice", nil))))
		if got := verdict(t, v, token); got != want {
			t.Errorf("%s: got %s, want %s", typ, got, want)
		}
	}
}

func TestBearerOptionsApply(t *testing.T) {
	t.Parallel()
	long := shared().Token("ES256", "alice", map[string]any{"x": strings.Repeat("x", 20<<10)})
	for limit, want := range map[int]string{0: "CREDENTIALS_MALFORMED", len(long) - 1: "CREDENTIALS_MALFORMED", len(long): "alice"} {
		b, err := jwt.New(jwt.Options{Issuers: []jwt.Issuer{shared().Config("ES256")}, Now: standing, Bearer: bearer.Options{Name: "sso", Realm: "orders", MaxTokenBytes: limit}})
		if err != nil {
			t.Fatal(err)
		}
		if got := look(t, b, long); got != want {
			t.Errorf("limit %d: got %s, want %s", limit, got, want)
		}
		if s := b.Schemes()[0]; s.Name != "sso" || s.Params["realm"] != "orders" {
			t.Errorf("got the scheme %+v", s)
		}
	}
}
