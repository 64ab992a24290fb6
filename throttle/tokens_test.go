// SPDX-License-Identifier: Apache-2.0

package throttle_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grpcauth/grpcauth/store"
	"github.com/grpcauth/grpcauth/throttle"
)

// fail lets tokens of an address be wrong.
func fail(t *testing.T, l *throttle.Limiter, address string, n int) {
	t.Helper()
	for range n {
		l.Fail(t.Context(), address)
	}
	synctest.Wait()
}

func TestTokensAreBlockedAfterTheLimit(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, counter store.Counter) {
		t.Helper()
		l := newLimiter(t, throttle.Options{Counter: counter})
		fail(t, l, home, 59)
		if err := l.Blocked(home); err != nil {
			t.Fatalf("is blocked after 59: %v", err)
		}
		fail(t, l, home, 1)
		if wait := retryAfter(t, l.Blocked(home)); wait != time.Second {
			t.Errorf("has to wait for %v, want a second", wait)
		}
		time.Sleep(800 * time.Millisecond)
		if wait := retryAfter(t, l.Blocked(home)); wait < 200*time.Millisecond || wait > 220*time.Millisecond {
			t.Errorf("has to wait for %v, want about what is left of the second", wait)
		}
		if err := l.Blocked(away); err != nil {
			t.Errorf("another address: %v", err)
		}
		if wait := try(t, l, "alice", home, throttle.Failed); wait > 0 {
			t.Errorf("an attempt with a password has to wait for %v", wait)
		}
		if got := l.Stats().Throttled; got != 2 {
			t.Errorf("%d were throttled, want 2", got)
		}
		time.Sleep(200 * time.Millisecond)
		if err := l.Blocked(home); err != nil {
			t.Errorf("is blocked when the time has come: %v", err)
		}
		fail(t, l, home, 1000) // They were all under way. They must not make it any longer.
		time.Sleep(time.Second)
		if err := l.Blocked(home); err != nil && counter == nil {
			t.Errorf("is blocked a second after many at once: %v", err)
		}
		time.Sleep(2 * time.Minute)
		if err := l.Blocked(home); err != nil {
			t.Errorf("is blocked two windows later: %v", err)
		}
	})
}

func TestTokensCountOnAllNodes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		a, b := newLimiter(t, throttle.Options{Counter: s}), newLimiter(t, throttle.Options{Counter: s})
		fail(t, a, home, 40)
		fail(t, b, home, 19)
		if err := b.Blocked(home); err != nil {
			t.Fatalf("is blocked after 59: %v", err)
		}
		fail(t, b, home, 1)
		retryAfter(t, b.Blocked(home))
		if err := b.Blocked(away); err != nil {
			t.Errorf("another address: %v", err)
		}
	})
}

func TestTokensAreCountedThoughTheServerIsNot(t *testing.T) {
	t.Parallel()
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t)
				s.breaks(fault)
				l := newLimiter(t, throttle.Options{Counter: s})
				before := time.Now()
				for range 60 {
					if err := l.Blocked(home); err != nil {
						t.Fatal(err)
					}
					l.Fail(cancelled(t), home) // That the call is over changes nothing.
				}
				retryAfter(t, l.Blocked(home))
				if waited := time.Since(before); waited > 0 {
					t.Errorf("calls waited for %v", waited)
				}
				time.Sleep(3 * time.Second)
				synctest.Wait()
				if l.Stats().Outages == 0 {
					t.Error("nobody was told")
				}
				time.Sleep(time.Minute)
			})
		})
	}
}

// Counting is a matter of one address: a flood of others neither blocks nor frees it.
func TestTokensOfManyAddressesAreBounded(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, counter store.Counter) {
		t.Helper()
		l := newLimiter(t, throttle.Options{Counter: counter, MaxMemory: 1 << 20})
		fail(t, l, home, 60)
		for i := range 20_000 {
			l.Fail(context.Background(), fmt.Sprint(i)) //nolint:usetesting // in a loop
			if i%500 == 0 {
				synctest.Wait()
			}
		}
		retryAfter(t, l.Blocked(home))
		if got := l.Stats(); got.Entries > 1<<20/16 || got.Evicted == 0 {
			t.Errorf("%+v: want no more than fit, and some that had to go", got)
		}
	})
}
