// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"strings"
	"testing"
	"time"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/bearer"
	"github.com/grpcauth/grpcauth/backends/jwt"
	"github.com/grpcauth/grpcauth/grpcauthtest"
	"github.com/grpcauth/grpcauth/jwks"
)

var algorithms = []string{"RS256", "PS256", "ES256", "ES384", "EdDSA", "Ed25519"}

// remote returns the provider's keys.
func (p *provider) remote(t *testing.T, opts jwks.Options) *jwks.RemoteSet {
	t.Helper()
	set, err := jwks.Remote(p.issuer+jwksPath, opts)
	check(t, err)
	t.Cleanup(func() { check(t, set.Close()) })
	return set
}

// trust returns a backend that takes the provider's tokens for the audience.
func (p *provider) trust(t *testing.T, keys jwks.Set, now func() time.Time, algorithms ...string) *bearer.Backend {
	t.Helper()
	backend, err := jwt.New(jwt.Options{Now: now, Issuers: []jwt.Issuer{{
		URL: p.issuer, Audiences: []string{audience}, Algorithms: algorithms, Keys: keys, AccessTokenProfile: true,
	}}})
	check(t, err)
	return backend
}

func TestTokensOfEachAlgorithmAreAccepted(t *testing.T) { //nolint:tparallel // what they ask for is counted in the end
	t.Parallel()
	p := start(t)
	keys := p.remote(t, jwks.Options{})
	tokens := map[string]string{}
	for _, alg := range algorithms {
		tokens[alg] = p.token(t, resource("jwt/"+alg))
	}
	for _, alg := range algorithms {
		t.Run(alg, func(t *testing.T) {
			client := dial(t, serve(t, p.trust(t, keys, nil, alg), nil), nil)
			for other, token := range tokens {
				want := invalid
				if other == alg {
					want = "alice"
				}
				if got := say(grpcauthtest.WithBearer(t.Context(), token), client); got != want {
					t.Errorf("a token by %s: got %s, want %s", other, got, want)
				}
			}
		})
	}
	if n := p.asked(t, jwksPath); n != 1 {
		t.Errorf("the keys were fetched %d times, want once", n)
	}
}

func TestProviderWhoseClockIsAnHourOffIsNamedAsTheCause(t *testing.T) {
	t.Parallel()
	p := start(t)
	keys := p.remote(t, jwks.Options{})
	token := p.token(t, "https://"+audience+"/jwt/ES256?ttl=600")
	for name, c := range map[string]struct {
		off         time.Duration
		want, cause string
	}{
		"fast": {-time.Hour, invalid, "a clock is wrong"},
		"slow": {time.Hour, "CREDENTIALS_EXPIRED", "expired"},
	} {
		clock := grpcauthtest.NewClock(time.Now().Add(c.off))
		_, err := p.trust(t, keys, clock.Now, "ES256").Authenticate(t.Context(), grpcauthtest.Request(t.Context(), "/echo.v1.EchoService/Echo", "authorization", "Bearer "+token))
		if grpcauth.CodeOf(err).String() != c.want || !strings.Contains(err.Error(), c.cause) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
