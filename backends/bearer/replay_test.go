// SPDX-License-Identifier: Apache-2.0

package bearer_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/bearer"
	"github.com/grpcauth/grpcauth/grpcauthtest"
)

// ledger is a memory that notes what it is asked. It knows everything or nothing, or fails.
type ledger struct {
	known bool
	err   error

	mu     sync.Mutex
	keys   []string    // guarded by mu, like untils
	untils []time.Time // of the keys
}

func (l *ledger) Use(_ context.Context, key string, until time.Time) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.keys, l.untils = append(l.keys, key), append(l.untils, until)
	return !l.known && l.err == nil, l.err
}

func TestAnotherMemoryDecides(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		replays *ledger
		want    string
	}{
		"new": {&ledger{}, "alice"}, "known": {&ledger{known: true}, refused}, "it fails": {&ledger{err: errors.New("down")}, undecided}, "nobody's": {&ledger{err: fmt.Errorf("x: %w", grpcauth.ErrNoCredentials)}, undecided},
		"throttled": {&ledger{err: grpcauth.Errorf(grpcauth.CodeThrottled, "slow down")}, throttled}, "it gave up": {&ledger{err: context.DeadlineExceeded}, undecided},
	} {
		b := possession(t, bearer.DPoP{Replays: test.replays})
		proof := alice.proof(nil)
		for range 2 {
			if got := prove(t.Context(), b, proof); got != test.want {
				t.Errorf("%s: got %s, want %s", name, got, test.want)
			}
		}
		if name == "nobody's" { // nor is the call anonymous
			auth := grpcauth.New(grpcauth.Chain(b, anyKey), grpcauth.WithPolicy(grpcauth.Policy{check: {Access: grpcauth.Optional}}))
			conn := line{dial(t, auth)}
			if _, err := conn.call(t, "DPoP "+token, alice.proof(map[string]any{"htu": origin + check})); status.Code(err) != codes.Unavailable {
				t.Errorf("got %v, want UNAVAILABLE", err)
			}
		}
	}
}

func TestMemoryIsToldTheKeyTheIDAndTheEnd(t *testing.T) {
	t.Parallel()
	replays := &ledger{}
	b := possession(t, bearer.DPoP{Replays: replays, MaxAge: 20 * time.Second, MaxAhead: 3 * time.Second})
	for _, changes := range []map[string]any{{"jti": "a"}, {"jti": "a", "iat": start.Unix() - 10}, {"jti": "b\n\u00e9" + strings.Repeat("x", 1000)}} {
		expectProof(t, b, "alice", alice.proof(changes))
	}
	for _, unused := range []map[string]any{{"ath": "x"}, {"htm": "GET"}, {"iat": start.Unix() - 60}, {"jti": nil}} {
		_ = prove(t.Context(), b, alice.proof(unused))
	}
	_ = prove(t.Context(), b, mallory.proof(nil))
	_ = prove(t.Context(), b, holder{mallory.key, alice.jwk, ""}.proof(nil))
	if len(replays.keys) != 3 || replays.keys[0] != replays.keys[1] || replays.keys[0] == replays.keys[2] {
		t.Errorf("got the keys %q", replays.keys)
	}
	for i, key := range replays.keys {
		if !strings.HasPrefix(key, alice.thumbprint) || len(key) > 100 || strings.ContainsFunc(key, func(c rune) bool { return c <= ' ' || c > '~' }) {
			t.Errorf("got the key %q", key)
		}
		want := start.Add(23 * time.Second)
		if i == 1 {
			want = want.Add(-10 * time.Second)
		}
		if !replays.untils[i].Equal(want) {
			t.Errorf("until %v, want %v", replays.untils[i], want)
		}
	}
}

func TestUsedProofIsRefusedAsLongAsItIsFresh(t *testing.T) {
	t.Parallel()
	for _, ahead := range []time.Duration{0, 5 * time.Second, -59 * time.Second} {
		clock := grpcauthtest.NewClock(start)
		b := possessionAt(t, bearer.DPoP{}, clock.Now)
		proof := alice.proof(map[string]any{"iat": start.Add(ahead).Unix()})
		expectProof(t, b, "alice", proof)
		for range 2 * 65 {
			clock.Advance(time.Second)
			expectProof(t, b, refused, proof)
			if clock.Now().Second()%20 == 0 {
				expectProof(t, b, "alice", alice.proof(map[string]any{"iat": clock.Now().Unix()}))
			}
		}
		for range 3 { // the memory has forgotten it, and the clock is set back
			clock.Advance(10 * time.Minute)
			expectProof(t, b, "alice", alice.proof(map[string]any{"iat": clock.Now().Unix()}))
		}
		clock.Advance(start.Sub(clock.Now()))
		expectProof(t, b, refused, proof)
	}
}
