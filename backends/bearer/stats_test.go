// SPDX-License-Identifier: Apache-2.0

package bearer_test

import (
	"errors"
	"testing"
	"time"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/bearer"
	"github.com/grpcauth/grpcauth/grpcauthtest"
)

func expectStats(t *testing.T, b *bearer.Backend, want bearer.Stats) {
	t.Helper()
	if got := b.Stats(); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestStatsCountWhatIsRememberedAndWhatIsNot(t *testing.T) {
	t.Parallel()
	b := newBackend(t, desk{"a": {ID: "alice"}, "b": {ID: "bob"}}, bearer.Options{MaxRemembered: 1, MaxRefused: 1})
	expectStats(t, b, bearer.Stats{})
	expect(t, b, "a", "alice")
	expectStats(t, b, bearer.Stats{Misses: 1, Remembered: 1})
	expect(t, b, "a", "alice")
	expectStats(t, b, bearer.Stats{Hits: 1, Misses: 1, Remembered: 1})
	expect(t, b, "bad", "CREDENTIALS_INVALID")
	expect(t, b, "bad", "CREDENTIALS_INVALID")
	expectStats(t, b, bearer.Stats{Hits: 2, Misses: 2, Remembered: 1, Refused: 1})
	expect(t, b, "b", "bob")
	expectStats(t, b, bearer.Stats{Hits: 2, Misses: 3, Evictions: 1, Remembered: 1, Refused: 1})
	expect(t, b, "worse", "CREDENTIALS_INVALID")
	expectStats(t, b, bearer.Stats{Hits: 2, Misses: 4, Evictions: 2, Remembered: 1, Refused: 1})
	b.Invalidate(func(*grpcauth.User) bool { return true })
	expectStats(t, b, bearer.Stats{Hits: 2, Misses: 4, Evictions: 2, Refused: 1})
}

func TestStatsTakeAVerdictThatExpiredForNone(t *testing.T) {
	t.Parallel()
	clock := grpcauthtest.NewClock(start)
	b := newBackend(t, anybody(), bearer.Options{Now: clock.Now, RememberFor: time.Minute, MaxRemembered: 1})
	expect(t, b, "a", "a")
	clock.Advance(time.Minute)
	expect(t, b, "b", "b") // what has expired is no loss
	expect(t, b, "a", "a")
	expectStats(t, b, bearer.Stats{Misses: 3, Evictions: 1, Remembered: 1})
}

func TestStatsOfABackendWithoutMemory(t *testing.T) {
	t.Parallel()
	b := newBackend(t, desk{"a": {ID: "alice"}}, bearer.Options{MaxRemembered: -1, MaxRefused: -1})
	for range 2 {
		expect(t, b, "a", "alice")
		expect(t, b, "bad", "CREDENTIALS_INVALID")
	}
	expectStats(t, b, bearer.Stats{Misses: 4})
}

func TestStatsCountAVerdictWithoutItsGroundsAsBoth(t *testing.T) {
	t.Parallel()
	p := &prover{judge: anybody()}
	b := newBackend(t, p, bearer.Options{})
	expect(t, b, "a", "a")
	p.gone = errors.New("the key is gone")
	expect(t, b, "a", "a")
	expectStats(t, b, bearer.Stats{Hits: 1, Misses: 2, Remembered: 1})
}
