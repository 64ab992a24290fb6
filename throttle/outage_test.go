// SPDX-License-Identifier: Apache-2.0

package throttle_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grpcauth/grpcauth/store"
	"github.com/grpcauth/grpcauth/throttle"
)

var errDown = errors.New("connection refused")

// faults are what a server does that cannot be relied on.
var faults = map[string]func(ctx context.Context, adds []store.Addition) ([]int64, error){
	"down":     func(context.Context, []store.Addition) ([]int64, error) { return nil, errDown },
	"slow":     func(ctx context.Context, _ []store.Addition) ([]int64, error) { <-ctx.Done(); return nil, ctx.Err() },
	"too few":  func(context.Context, []store.Addition) ([]int64, error) { return []int64{1}, nil },
	"too many": func(context.Context, []store.Addition) ([]int64, error) { return make([]int64, 99), nil },
	"no sums":  func(_ context.Context, adds []store.Addition) ([]int64, error) { return make([]int64, len(adds)), nil },
	"swapped": func(_ context.Context, adds []store.Addition) ([]int64, error) {
		sums := make([]int64, len(adds))
		for i := range sums {
			sums[i] = 1 - adds[i].N
		}
		return sums, nil
	},
	"negative": func(_ context.Context, adds []store.Addition) ([]int64, error) {
		sums := make([]int64, len(adds))
		for i := range sums {
			sums[i] = -1 + 2*adds[i].N
		}
		return sums, nil
	},
}

func undecided(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		t.Fatal("was let in")
	}
	if refused, ok := errors.AsType[*throttle.Error](err); ok {
		t.Fatalf("has to wait for %v, want that nothing is known", refused.RetryAfter)
	}
}

func TestOutageLetsNobodyTry(t *testing.T) {
	t.Parallel()
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t)
				l := newLimiter(t, throttle.Options{Counter: s})
				try(t, l, "warm", home, throttle.NotJudged)
				s.breaks(fault)
				for range 10 { // Nothing is under way any more after each.
					_, err := l.Reserve(t.Context(), "alice the secret", home)
					undecided(t, err)
					if strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "throttle/") {
						t.Errorf("the error tells a key: %v", err)
					}
					if name == "down" && !errors.Is(err, errDown) {
						t.Errorf("got %v, want why", err)
					}
				}
				if got := l.Stats().Outages; got != 10 {
					t.Errorf("%d outages, want 10", got)
				}
				s.breaks(nil)
				let(t, l, "bob", home, 5)
			})
		})
	}
}

func TestOutageIsWaitedForAShortTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		s.breaks(faults["slow"])
		l := newLimiter(t, throttle.Options{Counter: s})
		before := time.Now()
		_, err := l.Reserve(t.Context(), "alice", home)
		undecided(t, err)
		if waited := time.Since(before); waited != 3*time.Second {
			t.Errorf("waited for %v, want three seconds", waited)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err = l.Reserve(ctx, "alice", home); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want that the caller's time is over", err)
		}
		if got := l.Stats().Outages; got != 1 {
			t.Errorf("%d outages, want 1: that a caller has little time is none", got)
		}
	})
}

func TestOutageIsCountedLocallyIfThatIsWanted(t *testing.T) {
	t.Parallel()
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t)
				l := newLimiter(t, throttle.Options{Counter: s, Outage: throttle.CountLocally})
				try(t, l, "warm", home, throttle.NotJudged)
				s.count()
				s.breaks(fault)
				before := time.Now()
				for range 4 {
					try(t, l, "alice", home, throttle.Failed)
					try(t, l, "alice", home, throttle.Succeeded)
				}
				let(t, l, "alice", home, 1)
				if waited := time.Since(before); waited > 10*time.Second {
					t.Errorf("ten attempts took %v: each waited for the server", waited)
				}
				if n := s.count(); name != "slow" && n > 5 { // once, and for the marks of four successes
					t.Errorf("the server was asked %d times", n)
				}
				if l.Stats().Outages == 0 {
					t.Error("nobody was told")
				}
				if _, err := l.Reserve(cancelled(t), "bob", away); !errors.Is(err, context.Canceled) {
					t.Errorf("got %v, want that it was cancelled", err)
				}
				s.breaks(nil)
				time.Sleep(time.Second)
				let(t, l, "bob", away, 5)
				if s.count() == 0 {
					t.Error("the server is not asked any more")
				}
			})
		})
	}
}

func cancelled(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

// The caller hangs up while the server is asked. It may have counted or not: nothing is given back that was perhaps not paid.
func TestHangingUpWhileTheServerIsAskedIsPaid(t *testing.T) {
	t.Parallel()
	for _, outage := range []throttle.Outage{throttle.Refuse, throttle.CountLocally} {
		synctest.Test(t, func(t *testing.T) {
			s := newServer(t)
			l := newLimiter(t, throttle.Options{Counter: s, Outage: outage})
			ctx, cancel := context.WithCancel(t.Context())
			s.breaks(func(ctx context.Context, adds []store.Addition) ([]int64, error) {
				_, _ = store.AddAll(ctx, s.Counter, adds...)
				cancel()
				return nil, ctx.Err()
			})
			if _, err := l.Reserve(ctx, "alice", home); !errors.Is(err, context.Canceled) {
				t.Errorf("got %v, want that it was cancelled", err)
			}
			s.breaks(nil)
			synctest.Wait()
			let(t, l, "alice", home, 4)
		})
	}
}

func TestPanicOfTheServerEndsTheCallAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		l := newLimiter(t, throttle.Options{Counter: s})
		boom := func(context.Context, []store.Addition) ([]int64, error) { panic("boom") }
		s.breaks(boom)
		for range 10 {
			func() {
				defer func() {
					if recover() != "boom" {
						t.Error("the panic is gone")
					}
				}()
				_, _ = l.Reserve(t.Context(), "alice", home)
			}()
		}
		s.breaks(nil)
		done, err := l.Reserve(t.Context(), "alice", home)
		if err != nil {
			t.Fatal(err)
		}
		s.breaks(boom)
		done(throttle.Succeeded) // It is given back where nobody else would recover.
		synctest.Wait()
		if got := l.Stats().Outages; got != 1 {
			t.Errorf("%d outages, want 1", got)
		}
		s.breaks(nil)
		let(t, l, "alice", home, 4)
	})
}

func TestGoodPathMakesOneRoundTrip(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		l := newLimiter(t, throttle.Options{Counter: s})
		done, err := l.Reserve(t.Context(), "alice", home)
		if err != nil {
			t.Fatal(err)
		}
		if n := s.count(); n != 1 {
			t.Errorf("%d round trips, want 1", n)
		}
		release := make(chan struct{})
		s.breaks(func(ctx context.Context, adds []store.Addition) ([]int64, error) {
			<-release
			return store.AddAll(ctx, s.Counter, adds...)
		})
		done(throttle.Succeeded) // It would hang here.
		synctest.Wait()
		close(release)
		synctest.Wait()
		if n := s.count(); n != 1 {
			t.Errorf("gave back in %d round trips, want 1", n)
		}
		s.breaks(nil)
		let(t, l, "alice", home, 5)
	})
}

func TestFloodOfRefusedAttemptsAsksNobody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		l := newLimiter(t, throttle.Options{Counter: s})
		let(t, l, "alice", home, 5) // Both are known now.
		let(t, l, "bob", away, 5)
		try(t, l, "alice", "elsewhere", throttle.Failed)
		s.count()
		flood := func() {
			for i := range 1000 {
				try(t, l, "alice", home, throttle.Failed)
				try(t, l, "alice", "elsewhere", throttle.Failed) // the account
				try(t, l, fmt.Sprint(i), home, throttle.Failed)  // the address
			}
		}
		flood()
		if n := s.count(); n > 0 {
			t.Errorf("the server was asked %d times, want 0", n)
		}
		time.Sleep(time.Second) // Something may have been given back by now.
		flood()
		if n := s.count(); n == 0 || n > 6 {
			t.Errorf("the server was asked %d times in a second, want a few", n)
		}
		// From another address of each attempt the one question is whether it is trusted.
		for i := range 100 {
			try(t, l, "alice", fmt.Sprint(i), throttle.Failed)
		}
		if n := s.count(); n > 100 {
			t.Errorf("the server was asked %d times for 100 addresses", n)
		}
	})
}

// What one node refused is asked for again after a second, since another node may have given it back.
func TestNodesSeeWhatOthersGiveBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		opts := throttle.Options{Counter: s, Concurrent: 10}
		a, b := newLimiter(t, opts), newLimiter(t, opts)
		var dones []func(throttle.Outcome)
		for range 5 {
			done, err := a.Reserve(t.Context(), "alice", home)
			if err != nil {
				t.Fatal(err)
			}
			dones = append(dones, done)
		}
		if try(t, b, "alice", home, throttle.Failed) == 0 {
			t.Fatal("a sixth attempt was let in at another node")
		}
		for _, done := range dones {
			done(throttle.Succeeded)
		}
		synctest.Wait()
		time.Sleep(time.Second)
		let(t, b, "alice", home, 5)
	})
}

func TestWhatCannotBeGivenBackStaysCounted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		l := newLimiter(t, throttle.Options{Counter: s})
		done, err := l.Reserve(t.Context(), "alice", home)
		if err != nil {
			t.Fatal(err)
		}
		s.breaks(faults["slow"])
		done(throttle.Succeeded)
		time.Sleep(3 * time.Second)
		synctest.Wait()
		s.breaks(nil)
		let(t, l, "alice", home, 4)
		if l.Stats().Outages != 1 {
			t.Error("nobody was told")
		}
	})
}

// What was refused and could not be given back does not lengthen the time that was told.
func TestWhatWasRefusedIsNotCountedLater(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		l := newLimiter(t, throttle.Options{Counter: s, Address: throttle.Limit{Attempts: 1000, Window: time.Minute}})
		s.breaks(func(ctx context.Context, adds []store.Addition) ([]int64, error) {
			if adds[0].N < 0 {
				return nil, errDown
			}
			return store.AddAll(ctx, s.Counter, adds...)
		})
		wait := let(t, l, "alice", home, 5)
		for range 50 {
			time.Sleep(time.Second)
			wait -= time.Second
			if again := try(t, l, "alice", home, throttle.Failed); again != wait {
				t.Fatalf("has to wait for %v, want %v", again, wait)
			}
		}
		time.Sleep(wait)
		if again := try(t, l, "alice", home, throttle.Failed); again > 0 {
			t.Errorf("has to wait for %v though the time has come", again)
		}
	})
}

// A server that hangs holds up no more than a bounded queue of what is to be given back, and a few goroutines that end.
func TestWhatIsToBeGivenBackIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		many := throttle.Limit{Attempts: 1_000_000, Window: time.Minute}
		l := newLimiter(t, throttle.Options{Counter: s, Account: many, Address: many, MaxMemory: 1 << 20})
		hang := faults["slow"]
		var hanging atomic.Int64
		s.breaks(func(ctx context.Context, adds []store.Addition) ([]int64, error) {
			if adds[0].N < 0 {
				hanging.Add(1)
				return hang(ctx, adds)
			}
			return store.AddAll(ctx, s.Counter, adds...)
		})
		const n = 1000
		for i := range n {
			done, err := l.Reserve(t.Context(), "alice", home)
			if err != nil {
				t.Fatal(err)
			}
			done(throttle.NotJudged)
			if i < 10 { // Each of the first is alone in the queue, if anybody takes it.
				synctest.Wait()
			}
		}
		if dropped := l.Stats().Outages; dropped < n-300 {
			t.Errorf("%d of %d were dropped, want all but those in the queue", dropped, n)
		}
		synctest.Wait()
		if got := hanging.Load(); got != 2 {
			t.Errorf("%d questions at once, want 2", got)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
	})
}

func TestServerSeesNoNames(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		l := newLimiter(t, throttle.Options{Counter: s})
		const account, address = "correct horse battery staple", "192.0.2.99"
		try(t, l, account, address, throttle.Succeeded)
		for i := range 6 {
			try(t, l, account, fmt.Sprint(i), throttle.Failed)
		}
		try(t, l, account, address, throttle.Succeeded)
		l.Fail(t.Context(), address)
		synctest.Wait()
		s.mu.Lock()
		defer s.mu.Unlock()
		kinds := map[string]bool{}
		for _, add := range s.adds {
			kinds[strings.SplitN(add.Key, "/", 3)[1]] = true
			if strings.Contains(add.Key, "horse") || strings.Contains(add.Key, address) || len(add.Key) > 100 {
				t.Errorf("the server was told %q", add.Key)
			}
			if add.Window <= time.Minute || add.Window > 25*time.Hour {
				t.Errorf("%q is kept for %v", add.Key, add.Window)
			}
		}
		if len(kinds) < 9 { // the account, the pair, the mark and the tokens, and six addresses
			t.Errorf("the server was told of %d names", len(kinds))
		}
	})
}
