// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"strings"
	"testing"
	"time"

	"github.com/grpcauth/grpcauth/backends/jwt"
	"github.com/grpcauth/grpcauth/backends/oidc"
	"github.com/grpcauth/grpcauth/jwks"
)

// discover trusts an issuer by its name, for tokens with our audience.
func discover(t *testing.T, issuer string, opts jwks.Options, algorithms ...string) *oidc.Provider {
	t.Helper()
	found, err := oidc.New(jwt.Issuer{URL: issuer, Audiences: []string{audience}, Algorithms: algorithms}, oidc.Options{Keys: opts})
	check(t, err)
	t.Cleanup(func() { check(t, found.Close()) })
	return found
}

// accept serves the tokens of these issuers.
func accept(t *testing.T, now func() time.Time, issuers ...*oidc.Provider) string {
	t.Helper()
	opts := jwt.Options{Now: now}
	for _, one := range issuers {
		opts.Issuers = append(opts.Issuers, one.Issuer())
	}
	backend, err := jwt.New(opts)
	check(t, err)
	return serve(t, backend, nil)
}

func TestIssuersAreDiscoveredSideBySide(t *testing.T) { //nolint:tparallel // what they ask for is counted in the end
	t.Parallel()
	one, other, stranger := start(t), start(t), start(t)
	client := dial(t, accept(t, nil, discover(t, one.issuer, jwks.Options{}, "RS256", "ES256"), discover(t, other.issuer, jwks.Options{}, "EdDSA")), nil)
	for name, c := range map[string]struct {
		token, want string
	}{
		"one":                           {one.token(t, resource("jwt/RS256")), "alice"},
		"one, its other algorithm":      {one.token(t, resource("jwt/ES256")), "alice"},
		"one, the other's algorithm":    {one.token(t, resource("jwt/EdDSA")), invalid},
		"other":                         {other.token(t, resource("jwt/EdDSA")), "alice"},
		"other, one's algorithm":        {other.token(t, resource("jwt/RS256")), invalid},
		"a stranger":                    {stranger.token(t, resource("jwt/RS256")), invalid},
		"another audience":              {one.token(t, "https://billing.example.com/jwt/RS256"), invalid},
		"opaque":                        {one.token(t, resource("opaque")), invalid},
		"one's claims, other's key":     {graft(one.token(t, resource("jwt/RS256")), other.token(t, resource("jwt/RS256"))), invalid},
		"one's key, a stranger's claim": {graft(stranger.token(t, resource("jwt/ES256")), one.token(t, resource("jwt/ES256"))), invalid},
	} {
		t.Run(name, func(t *testing.T) { expect(t, client, c.token, c.want) })
	}
	if one.asked(t, discoveryPath) != 1 || one.asked(t, jwksPath) != 1 || stranger.asked(t, discoveryPath) != 0 {
		t.Error("want each issuer asked once, and nobody else")
	}
}

// graft returns a token with the claims of one and the header and signature of another.
func graft(claims, other string) string {
	parts, rest := strings.Split(claims, "."), strings.Split(other, ".")
	return rest[0] + "." + parts[1] + "." + rest[2]
}

func TestServerStartsBeforeDiscovery(t *testing.T) { //nolint:tparallel // the provider fails in one way at a time
	t.Parallel()
	p := start(t)
	token := p.token(t, resource("jwt/ES256"))
	for _, path := range []string{discoveryPath, jwksPath} {
		for _, how := range failures {
			t.Run(how+path, func(t *testing.T) {
				p.misbehave(t, path, how)
				defer p.misbehave(t, path, "")
				clock := newClock()
				found := discover(t, p.issuer, jwks.Options{Timeout: patience, MaxWait: patience / 2, Now: clock.Now}, "ES256")
				client := dial(t, accept(t, clock.Now, found), nil)
				expect(t, client, token, unavailable)
				if err := found.Ready(t.Context()); err == nil {
					t.Error("it is ready while its provider fails")
				}
				p.misbehave(t, path, "")
				accepted(t, client, token, clock)
				check(t, found.Ready(t.Context()))

				p.misbehave(t, path, how)
				clock.Advance(14 * time.Minute)
				until(t, "a failure with known keys", func() bool {
					expect(t, client, token, "alice")
					clock.Advance(10 * time.Second)
					return path == discoveryPath && how != "down" || found.Stats().Err != nil // where the keys are is known as well
				})
			})
		}
	}
}

func TestProviderUnderAnotherNameIsNotTrusted(t *testing.T) {
	t.Parallel()
	p := start(t)
	name := strings.Replace(p.issuer, "127.0.0.1", "localhost", 1)
	found := discover(t, name, jwks.Options{}, "RS256")
	if err := found.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), p.issuer) {
		t.Errorf("got %v, want an error that says what the provider calls itself", err)
	}
	expect(t, dial(t, accept(t, nil, found), nil), p.token(t, resource("jwt/RS256")), invalid)
}
