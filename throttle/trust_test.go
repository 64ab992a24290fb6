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

// attack uses an account's attempts up, each from an address of its own.
func attack(t *testing.T, l *throttle.Limiter, account string) {
	t.Helper()
	for i := range 20 {
		try(t, l, account, fmt.Sprint("attacker", i), throttle.Failed)
	}
}

func TestOwnerIsLetInFromWhereSheLoggedIn(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, counter store.Counter) {
		t.Helper()
		l := newLimiter(t, throttle.Options{Counter: counter})
		try(t, l, "alice", home, throttle.Succeeded)
		try(t, l, "bob", away, throttle.Succeeded)
		try(t, l, "alice", "judged nothing", throttle.NotJudged)
		attack(t, l, "alice")
		for range 10 {
			if wait := try(t, l, "alice", home, throttle.Succeeded); wait > 0 {
				t.Fatalf("the owner has to wait for %v", wait)
			}
		}
		for _, elsewhere := range []string{away, "judged nothing", "attacker1"} {
			if try(t, l, "alice", elsewhere, throttle.Succeeded) == 0 {
				t.Errorf("was let in from %s", elsewhere)
			}
		}
		// Who is where she was has attempts of her own, and no more than those.
		let(t, l, "alice", home, 5)
		if try(t, l, "carol", home, throttle.Failed) == 0 {
			t.Error("what failed did not count for the address")
		}
	})
}

func TestOwnersOwnAttemptsAreLimited(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, counter store.Counter) {
		t.Helper()
		l := newLimiter(t, throttle.Options{Counter: counter, Address: throttle.Limit{Attempts: 1000, Window: time.Minute}})
		try(t, l, "alice", home, throttle.Succeeded)
		attack(t, l, "alice")
		wait := let(t, l, "alice", home, 5)
		if again := try(t, l, "alice", home, throttle.Failed); again != wait {
			t.Errorf("has to wait for %v, want %v", again, wait)
		}
		time.Sleep(wait)
		if again := try(t, l, "alice", home, throttle.Failed); again > 0 {
			t.Errorf("has to wait for %v though her time has come", again)
		}
	})
}

func TestTrustEnds(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, counter store.Counter) {
		t.Helper()
		l := newLimiter(t, throttle.Options{Counter: counter, TrustFor: time.Hour})
		try(t, l, "alice", home, throttle.Succeeded)
		time.Sleep(time.Hour - time.Minute)
		attack(t, l, "alice")
		if wait := try(t, l, "alice", home, throttle.NotJudged); wait > 0 {
			t.Errorf("has to wait for %v a minute before it ends", wait)
		}
		time.Sleep(time.Minute)
		attack(t, l, "alice")
		if try(t, l, "alice", home, throttle.NotJudged) == 0 {
			t.Error("was let in after it has ended")
		}
	})
}

func TestTrustIsRenewedByEachSuccess(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, counter store.Counter) {
		t.Helper()
		l := newLimiter(t, throttle.Options{Counter: counter, TrustFor: time.Hour})
		for range 10 {
			if wait := try(t, l, "alice", home, throttle.Succeeded); wait > 0 {
				t.Fatalf("has to wait for %v", wait)
			}
			time.Sleep(40 * time.Minute)
			attack(t, l, "alice")
		}
	})
}

func TestNobodyIsTrustedIfThatIsWanted(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, counter store.Counter) {
		t.Helper()
		l := newLimiter(t, throttle.Options{Counter: counter, TrustFor: -1})
		try(t, l, "alice", home, throttle.Succeeded)
		attack(t, l, "alice")
		if try(t, l, "alice", home, throttle.Succeeded) == 0 {
			t.Error("was let in")
		}
	})
}

// The owner logged in at one node, and is attacked and comes back at another.
func TestNodesTellEachOtherWhomTheyTrust(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		opts := throttle.Options{Counter: s, TrustFor: time.Hour, Address: throttle.Limit{Attempts: 1000, Window: time.Minute}}
		a, b := newLimiter(t, opts), newLimiter(t, opts)
		time.Sleep(59 * time.Minute) // Nothing depends on when the hour begins.
		try(t, a, "alice", home, throttle.Succeeded)
		for range 4 { // a little less than three quarters of the time
			attack(t, b, "alice")
			if wait := try(t, b, "alice", home, throttle.NotJudged); wait > 0 {
				t.Errorf("has to wait for %v", wait)
			}
			if try(t, b, "alice", away, throttle.NotJudged) == 0 {
				t.Error("was let in from elsewhere")
			}
			time.Sleep(44 * time.Minute / 4)
		}
		attack(t, b, "alice")
		if wait := try(t, b, "alice", home, throttle.NotJudged); wait > 0 {
			t.Errorf("has to wait for %v before three quarters of the time are over", wait)
		}
		// Attempts of the pair count on all nodes together.
		for range 2 {
			try(t, a, "alice", home, throttle.Failed)
		}
		let(t, b, "alice", home, 3)
		time.Sleep(16 * time.Minute)
		attack(t, b, "alice")
		if try(t, b, "alice", home, throttle.NotJudged) == 0 {
			t.Error("was let in when the time is over")
		}
	})
}

// The address is paid for once, however many questions there are.
func TestTrustedAttemptIsCountedOnceForItsAddress(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, counter store.Counter) {
		t.Helper()
		l := newLimiter(t, throttle.Options{Counter: counter, Account: throttle.Limit{Attempts: 2, Window: time.Minute}})
		try(t, l, "alice", home, throttle.Succeeded)
		try(t, l, "alice", away, throttle.Failed)
		try(t, l, "alice", away, throttle.Failed)
		try(t, l, "alice", home, throttle.Failed) // the account has had too many, which is found out now
		try(t, l, "alice", home, throttle.Failed) // which is known by now
		for i := range 3 {
			if wait := try(t, l, fmt.Sprint(i), home, throttle.Failed); wait > 0 {
				t.Fatalf("attempt %d has to wait for %v", i+3, wait)
			}
		}
		if try(t, l, "dave", home, throttle.Failed) == 0 {
			t.Error("a sixth attempt from the address was let in")
		}
	})
}

// What an untrusted address tried in vain is not counted for it.
func TestRefusedByTheAccountIsNotCountedForTheAddress(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, counter store.Counter) {
		t.Helper()
		l := newLimiter(t, throttle.Options{Counter: counter})
		attack(t, l, "alice")
		for range 20 {
			try(t, l, "alice", home, throttle.Failed)
			time.Sleep(100 * time.Millisecond)
		}
		let(t, l, "bob", home, 5)
	})
}

func TestTrustThatCannotBeAskedForIsUndecided(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		l := newLimiter(t, throttle.Options{Counter: s})
		attack(t, l, "alice")
		for _, second := range []int{1, 2} {
			n := 0
			s.breaks(func(ctx context.Context, adds []store.Addition) ([]int64, error) {
				n++
				if n == second {
					return nil, errDown
				}
				return store.AddAll(ctx, s.Counter, adds...)
			})
			_, err := l.Reserve(t.Context(), "alice", fmt.Sprint("new", second))
			undecided(t, err)
			synctest.Wait()
			time.Sleep(time.Second)
		}
		s.breaks(nil)
		let(t, l, "bob", "new2", 5)
	})
}
