// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"testing"
	"time"

	"github.com/grpcauth/grpcauth/grpcauthtest"
	echov1 "github.com/grpcauth/grpcauth/internal/gen/echo/v1"
	"github.com/grpcauth/grpcauth/jwks"
)

// failures are the ways in which a path of the provider can fail; down is all of it.
var failures = []string{"down", "500", "503", "doubtful", "reset", "hang", "garbage", "empty", "truncated", "html", "redirect", "loop", "slow", "huge"}

// misbehave lets a path of the provider fail, or mends everything if how is empty.
func (p *provider) misbehave(t *testing.T, path, how string) {
	t.Helper()
	p.down(t, how == "down")
	if how != "down" {
		p.fail(t, path, how)
	}
}

// newClock returns a clock that is ahead of the provider's, so that no token is from the future.
func newClock() *grpcauthtest.Clock { return grpcauthtest.NewClock(time.Now().Add(time.Minute)) }

// accepted waits for a token to be accepted, and lets the time go by in which the provider is not asked.
func accepted(t *testing.T, client echov1.EchoServiceClient, token string, clock *grpcauthtest.Clock) {
	t.Helper()
	until(t, "the token's acceptance", func() bool {
		clock.Advance(10 * time.Second)
		return say(grpcauthtest.WithBearer(t.Context(), token), client) == "alice"
	})
}

// patience is for providers that do not answer. It is real time, unlike all else here.
const patience = 300 * time.Millisecond

func TestKnownKeysOutliveEachFailureOfTheProvider(t *testing.T) { //nolint:tparallel // the provider fails in one way at a time
	t.Parallel()
	p := start(t)
	token := p.token(t, resource("jwt/ES256"))
	for _, how := range failures {
		t.Run(how, func(t *testing.T) {
			clock := newClock()
			keys := p.remote(t, jwks.Options{Timeout: patience, MaxWait: patience / 2, Now: clock.Now})
			client := dial(t, serve(t, p.trust(t, keys, clock.Now, "ES256"), nil), nil)
			accepted(t, client, token, clock)

			p.misbehave(t, jwksPath, how)
			defer p.misbehave(t, jwksPath, "")
			clock.Advance(14 * time.Minute) // it is time to fetch them anew
			until(t, "three failed fetches", func() bool {
				expect(t, client, token, "alice")
				clock.Advance(10 * time.Second)
				return keys.Stats().Failures >= 3
			})
			clock.Advance(2 * time.Hour)
			expect(t, client, token, unavailable)

			p.misbehave(t, jwksPath, "")
			accepted(t, client, token, clock)
		})
	}
}

func TestServerStartsBeforeItsProvider(t *testing.T) { //nolint:tparallel // the provider fails in one way at a time
	t.Parallel()
	p := start(t)
	token := p.token(t, resource("jwt/PS256"))
	for _, how := range failures {
		t.Run(how, func(t *testing.T) {
			p.misbehave(t, jwksPath, how)
			defer p.misbehave(t, jwksPath, "")
			clock := newClock()
			keys := p.remote(t, jwks.Options{Timeout: patience, MaxWait: patience / 2, Now: clock.Now})
			client := dial(t, serve(t, p.trust(t, keys, clock.Now, "PS256"), nil), nil)
			for range 3 {
				expect(t, client, token, unavailable)
				clock.Advance(10 * time.Second)
			}
			p.misbehave(t, jwksPath, "")
			accepted(t, client, token, clock)
		})
	}
}

func TestKeysRotate(t *testing.T) {
	t.Parallel()
	p := start(t)
	clock := newClock()
	keys := p.remote(t, jwks.Options{Now: clock.Now})
	client := dial(t, serve(t, p.trust(t, keys, clock.Now, algorithms...), nil), nil)
	tokens := func() (all []string) {
		for _, alg := range algorithms {
			all = append(all, p.token(t, resource("jwt/"+alg)))
		}
		return all
	}
	all := func(want string, tokens []string) {
		t.Helper()
		for _, token := range tokens {
			expect(t, client, token, want)
		}
	}
	fetched := func(want int) {
		t.Helper()
		if n := p.asked(t, jwksPath); n != want {
			t.Errorf("the keys were fetched %d times, want %d", n, want)
		}
	}
	old := tokens()
	all("alice", old)
	fetched(1)

	p.publish(t, 2, 1)
	young := tokens()
	all(invalid, young) // the keys were fetched a moment ago
	fetched(1)
	clock.Advance(10 * time.Second)
	all("alice", young)
	all("alice", old)
	fetched(2)

	p.publish(t, 2)
	all("alice", old)
	clock.Advance(14 * time.Minute)
	until(t, "the removal of the old keys", func() bool {
		all("alice", young)
		return say(grpcauthtest.WithBearer(t.Context(), old[0]), client) == invalid
	})
	all(invalid, old)
	all("alice", young)
	fetched(3)

	p.publish(t, 1) // the keys are those of before, and so are their names
	clock.Advance(14 * time.Minute)
	until(t, "the return of the old keys", func() bool { return say(grpcauthtest.WithBearer(t.Context(), old[0]), client) == "alice" })
	all("alice", old)
	all(invalid, young)
}

func TestMadeUpKeysDoNotHideARotation(t *testing.T) {
	t.Parallel()
	p := start(t)
	clock := newClock()
	keys := p.remote(t, jwks.Options{Now: clock.Now})
	client := dial(t, serve(t, p.trust(t, keys, clock.Now, "EdDSA"), nil), nil)
	expect(t, client, p.token(t, resource("jwt/EdDSA")), "alice")
	p.publish(t, 3)
	forged := p.token(t, resource("jwt/EdDSA")) // by a key that is never published to our server
	p.publish(t, 1)
	for range 20 {
		clock.Advance(time.Second)
		expect(t, client, forged, invalid)
	}
	if n := p.asked(t, jwksPath); n != 3 {
		t.Errorf("the keys were fetched %d times in 20 s, want 3", n)
	}
	p.publish(t, 2, 1)
	token := p.token(t, resource("jwt/EdDSA"))
	clock.Advance(10 * time.Second)
	expect(t, client, forged, invalid)
	expect(t, client, token, "alice")
}
