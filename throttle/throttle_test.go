// SPDX-License-Identifier: Apache-2.0

package throttle_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/grpcauth/grpcauth/store"
	"github.com/grpcauth/grpcauth/store/memstore"
	"github.com/grpcauth/grpcauth/throttle"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// home and away are addresses of clients.
const (
	home = "192.0.2.1"
	away = "198.51.100.7"
)

// server is a Counter whose answers can be changed. It remembers what it was asked.
type server struct {
	store.Counter

	mu    sync.Mutex // guards what follows
	trips int
	adds  []store.Addition
	fault func(ctx context.Context, adds []store.Addition) ([]int64, error)
}

func newServer(t *testing.T) *server {
	t.Helper()
	s, err := memstore.New(memstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return &server{Counter: s}
}

func (s *server) AddAll(ctx context.Context, adds ...store.Addition) ([]int64, error) {
	s.mu.Lock()
	s.trips++
	s.adds = append(s.adds, adds...)
	fault := s.fault
	s.mu.Unlock()
	if fault != nil {
		return fault(ctx, adds)
	}
	return store.AddAll(ctx, s.Counter, adds...)
}

func (s *server) breaks(fault func(ctx context.Context, adds []store.Addition) ([]int64, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = fault
}

// count returns how often the server was asked since it was last counted.
func (s *server) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.trips
	s.trips = 0
	return n
}

func newLimiter(t *testing.T, opts throttle.Options) *throttle.Limiter {
	t.Helper()
	l, err := throttle.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// everywhere runs a test where attempts are counted in memory and where they are counted by a server, in a bubble whose time is the test's.
func everywhere(t *testing.T, test func(t *testing.T, counter store.Counter)) {
	t.Helper()
	t.Run("memory", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) { t.Helper(); test(t, nil) })
	})
	t.Run("counter", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) { t.Helper(); test(t, newServer(t)) })
	})
}

// try makes an attempt and waits until nothing is to be given back any more.
func try(t *testing.T, l *throttle.Limiter, account, address string, o throttle.Outcome) time.Duration {
	t.Helper()
	done, err := l.Reserve(t.Context(), account, address)
	if err != nil {
		synctest.Wait()
		return retryAfter(t, err)
	}
	done(o)
	synctest.Wait()
	return 0
}

// retryAfter is that of an error, which must be that there were too many attempts.
func retryAfter(t *testing.T, err error) time.Duration {
	t.Helper()
	var refused *throttle.Error
	if !errors.As(err, &refused) || refused.RetryAfter <= 0 {
		t.Fatalf("got %v, want too many attempts and when to try again", err)
	}
	return refused.RetryAfter
}

// let wants n attempts to be let in, and the next one refused. It returns when to try again.
func let(t *testing.T, l *throttle.Limiter, account, address string, n int) time.Duration {
	t.Helper()
	for i := range n {
		if wait := try(t, l, account, address, throttle.Failed); wait > 0 {
			t.Fatalf("attempt %d has to wait for %v, want %d to be let in", i+1, wait, n)
		}
	}
	wait := try(t, l, account, address, throttle.Failed)
	if wait == 0 {
		t.Fatalf("attempt %d was let in, want %d", n+1, n)
	}
	return wait
}

func TestRefusesAnAccountAfterItsLimit(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, counter store.Counter) {
		t.Helper()
		l := newLimiter(t, throttle.Options{Counter: counter, Address: throttle.Limit{Attempts: 1000, Window: time.Minute}})
		for i := range 5 {
			if wait := try(t, l, "alice", fmt.Sprint(i), throttle.Failed); wait > 0 {
				t.Fatalf("attempt %d has to wait for %v", i, wait)
			}
		}
		if try(t, l, "alice", away, throttle.Failed) == 0 {
			t.Error("a sixth attempt from elsewhere was let in")
		}
		if wait := try(t, l, "bob", away, throttle.Failed); wait > 0 {
			t.Errorf("another account has to wait for %v", wait)
		}
		if got := l.Stats().Throttled; got != 1 {
			t.Errorf("%d attempts were throttled, want 1", got)
		}
	})
}

func TestRefusesAnAddressAfterItsLimit(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, counter store.Counter) {
		t.Helper()
		l := newLimiter(t, throttle.Options{Counter: counter, Account: throttle.Limit{Attempts: 1000, Window: time.Minute}})
		for i := range 5 {
			if wait := try(t, l, fmt.Sprint(i), home, throttle.Failed); wait > 0 {
				t.Fatalf("attempt %d has to wait for %v", i, wait)
			}
		}
		if try(t, l, "alice", home, throttle.Failed) == 0 {
			t.Error("a sixth attempt on another account was let in")
		}
		if wait := try(t, l, "alice", away, throttle.Failed); wait > 0 {
			t.Errorf("another address has to wait for %v", wait)
		}
		if wait := try(t, l, home, away, throttle.Failed); wait > 0 {
			t.Errorf("an account that is named like the address has to wait for %v", wait)
		}
	})
}

func TestRetryAfterIsExact(t *testing.T) {
	t.Parallel()
	for _, limit := range []throttle.Limit{{5, time.Minute}, {1, time.Minute}, {3, time.Second}, {7, 61 * time.Second}, {100, time.Hour}} {
		for _, begin := range []time.Duration{0, 7 * time.Second, 59*time.Second + 999*time.Millisecond} {
			t.Run(fmt.Sprint(limit, begin), func(t *testing.T) {
				t.Parallel()
				everywhere(t, func(t *testing.T, counter store.Counter) {
					t.Helper()
					many := throttle.Limit{Attempts: 1_000_000, Window: time.Minute}
					for _, opts := range []throttle.Options{{Account: limit, Address: many}, {Account: many, Address: limit}} {
						time.Sleep(time.Until(time.Now().Truncate(24 * time.Hour).Add(24*time.Hour + begin)))
						opts.Counter = counter
						l := newLimiter(t, opts)
						name := fmt.Sprint(opts.Account)
						wait := let(t, l, name, name, limit.Attempts)
						for range 3 {
							for range 20 { // They must not make it any longer.
								time.Sleep(wait / 40)
								wait -= wait / 40
								if again := try(t, l, name, name, throttle.Failed); again != wait {
									t.Fatalf("has to wait for %v, want what is left of the first, %v", again, wait)
								}
							}
							time.Sleep(wait - time.Millisecond)
							if again := try(t, l, name, name, throttle.Failed); again != time.Millisecond {
								t.Fatalf("a millisecond before its time an attempt has to wait for %v", again)
							}
							time.Sleep(time.Millisecond)
							wait = let(t, l, name, name, 1)
						}
					}
				})
			})
		}
	}
}

func TestSustainsNoMoreThanTheLimit(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, counter store.Counter) {
		t.Helper()
		l := newLimiter(t, throttle.Options{Counter: counter})
		const windows = 30
		n := 0
		for range windows * 60 {
			if try(t, l, "alice", home, throttle.Failed) == 0 {
				n++
			}
			time.Sleep(time.Second)
		}
		if n > 5*(windows+1) || n < 5*windows/2 {
			t.Errorf("%d attempts in %d windows, want about 5 in each", n, windows)
		}
	})
}

func TestGivesBackWhatSucceededOrWasNotJudged(t *testing.T) {
	t.Parallel()
	for _, o := range []throttle.Outcome{throttle.Succeeded, throttle.NotJudged} {
		t.Run(fmt.Sprint(o), func(t *testing.T) {
			t.Parallel()
			everywhere(t, func(t *testing.T, counter store.Counter) {
				t.Helper()
				l := newLimiter(t, throttle.Options{Counter: counter})
				for i := range 100 {
					if wait := try(t, l, "alice", home, o); wait > 0 {
						t.Fatalf("attempt %d has to wait for %v", i, wait)
					}
				}
				for range 4 {
					try(t, l, "alice", home, throttle.Failed)
					for range 10 {
						try(t, l, "alice", home, o)
					}
				}
				if l.Stats().Throttled > 0 {
					t.Error("was refused before the fifth failure")
				}
				if let(t, l, "alice", home, 1) == 0 {
					t.Error("what failed before was excused")
				}
				if try(t, l, "bob", home, throttle.Failed) == 0 {
					t.Error("what failed before from the address was excused")
				}
			})
		})
	}
}

func TestKeepsWhatIsNotKnownToBeGood(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, counter store.Counter) {
		t.Helper()
		l := newLimiter(t, throttle.Options{Counter: counter, Concurrent: 10})
		reserve := func() func(throttle.Outcome) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel() // The caller hangs up as soon as she has paid.
			done, err := l.Reserve(ctx, "alice", home)
			if err != nil {
				t.Fatal(err)
			}
			return done
		}
		reserve()
		reserve()(throttle.Failed)
		reserve()(3)
		failed := reserve()
		failed(throttle.Failed)
		failed(throttle.Succeeded)
		var forgotten throttle.Outcome
		reserve()(forgotten)
		synctest.Wait()
		if try(t, l, "alice", away, throttle.Failed) == 0 {
			t.Error("a sixth attempt was let in")
		}
	})
}

func TestDoneCountsOnce(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, counter store.Counter) {
		t.Helper()
		l := newLimiter(t, throttle.Options{Counter: counter, TrustFor: -1})
		for range 3 {
			try(t, l, "alice", home, throttle.Failed)
		}
		done, err := l.Reserve(t.Context(), "alice", home)
		if err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() { done(throttle.Succeeded) })
		}
		all.Wait()
		synctest.Wait()
		other, err := l.Reserve(t.Context(), "alice", home)
		if err != nil {
			t.Fatal(err)
		}
		done(throttle.Succeeded) // It must not be the other's.
		other(throttle.Failed)
		synctest.Wait()
		let(t, l, "alice", away, 1)
		if try(t, l, "alice", home, throttle.Failed) == 0 {
			t.Error("an attempt was given back that was not made")
		}
	})
}

func TestConcurrentAttemptsAreLetInUpToTheLimit(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, counter store.Counter) {
		t.Helper()
		opts := throttle.Options{Counter: counter, Concurrent: 1000, Address: throttle.Limit{Attempts: 1000, Window: time.Minute}}
		nodes := []*throttle.Limiter{newLimiter(t, opts), newLimiter(t, opts)}
		if counter == nil {
			nodes[1] = nodes[0]
		}
		var all sync.WaitGroup
		var mu sync.Mutex
		n := 0
		for i := range 100 {
			all.Go(func() {
				done, err := nodes[i%2].Reserve(t.Context(), "alice", fmt.Sprint(i%10))
				if err != nil {
					retryAfter(t, err)
					return
				}
				defer done(throttle.Failed)
				mu.Lock()
				defer mu.Unlock()
				n++
			})
		}
		all.Wait()
		if n != 5 {
			t.Errorf("%d of 100 attempts at once were let in, want 5", n)
		}
	})
}

func TestConcurrentAttemptsOfAnAddressAreBounded(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, counter store.Counter) {
		t.Helper()
		l := newLimiter(t, throttle.Options{Counter: counter, Account: throttle.Limit{Attempts: 1, Window: time.Minute}, Address: throttle.Limit{Attempts: 1000, Window: time.Minute}})
		try(t, l, "blocked", home, throttle.Failed)
		var dones []func(throttle.Outcome)
		for i := range 4 {
			done, err := l.Reserve(t.Context(), fmt.Sprint(i), home)
			if err != nil {
				t.Fatal(err)
			}
			dones = append(dones, done)
			for range 10 { // What is refused is not under way.
				if try(t, l, "blocked", home, throttle.Failed) == 0 {
					t.Fatal("was let in")
				}
			}
		}
		if wait := try(t, l, "another", home, throttle.NotJudged); wait != time.Second {
			t.Errorf("a fifth attempt at once has to wait for %v, want a second", wait)
		}
		if wait := try(t, l, "another", away, throttle.NotJudged); wait > 0 {
			t.Errorf("another address has to wait for %v", wait)
		}
		dones[0](throttle.Failed)
		dones[0](throttle.Failed)
		if wait := try(t, l, "another", home, throttle.NotJudged); wait > 0 {
			t.Errorf("has to wait for %v though one has ended", wait)
		}
		for _, done := range dones {
			done(throttle.NotJudged)
		}
	})
}

// Many workers of one account begin at once. Those that have to wait may try again soon: the others may be given back.
func TestWhoWaitsForOthersTriesAgainSoon(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, counter store.Counter) {
		t.Helper()
		l := newLimiter(t, throttle.Options{Counter: counter})
		var dones []func(throttle.Outcome)
		for i := range 5 {
			done, err := l.Reserve(t.Context(), "robot", fmt.Sprint(i))
			if err != nil {
				t.Fatal(err)
			}
			dones = append(dones, done)
		}
		if wait := try(t, l, "robot", home, throttle.Succeeded); wait != time.Second {
			t.Errorf("has to wait for %v, want a second", wait)
		}
		for _, done := range dones {
			done(throttle.Succeeded)
		}
		time.Sleep(time.Second)
		if wait := try(t, l, "robot", home, throttle.Succeeded); wait > 0 {
			t.Errorf("has to wait for %v though the others were right", wait)
		}
	})
}

func TestCancelledCallsAreNotCounted(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, counter store.Counter) {
		t.Helper()
		l := newLimiter(t, throttle.Options{Counter: counter})
		cancelled, cancel := context.WithCancel(t.Context())
		cancel()
		late, cancel := context.WithDeadline(t.Context(), time.Now())
		defer cancel()
		for range 10 {
			if _, err := l.Reserve(cancelled, "alice", home); !errors.Is(err, context.Canceled) {
				t.Fatalf("got %v, want that it was cancelled", err)
			}
			if _, err := l.Reserve(late, "alice", home); !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("got %v, want that it is too late", err)
			}
		}
		let(t, l, "alice", home, 5)
		if got := l.Stats().Outages; got != 0 {
			t.Errorf("%d outages, want none", got)
		}
	})
}

func TestNewNamesTheOptionThatIsWrong(t *testing.T) {
	t.Parallel()
	good := throttle.Limit{Attempts: 1, Window: time.Second}
	prefix := netip.MustParsePrefix
	for want, opts := range map[string]throttle.Options{
		"Account.Attempts is -1":                    {Account: throttle.Limit{Attempts: -1, Window: time.Minute}},
		"Address.Attempts is 10000":                 {Address: throttle.Limit{Attempts: 1_000_001, Window: time.Minute}},
		"Address.Window is -1ns":                    {Address: throttle.Limit{Attempts: 1, Window: -1}},
		"Tokens.Window is 999ms":                    {Account: good, Tokens: throttle.Limit{Attempts: 1, Window: 999 * time.Millisecond}},
		"Tokens.Window is 24h0m0.0":                 {Tokens: throttle.Limit{Attempts: 1, Window: 24*time.Hour + 1}},
		"Counter is a nil pointer":                  {Counter: (*memstore.Store)(nil)},
		"Concurrent is -1":                          {Concurrent: -1},
		"TrustFor is 1ns":                           {TrustFor: 1},
		"TrustFor is 256":                           {TrustFor: math.MaxInt64},
		"MaxMemory is 1048575":                      {MaxMemory: 1<<20 - 1},
		"MaxMemory is -1":                           {MaxMemory: -1},
		"Outage is 2":                               {Outage: 2},
		"Proxies: the prefix number 2 is not valid": {Proxies: []netip.Prefix{prefix("10.0.0.0/8"), {}}},
		"Proxies: the prefix number 1 is not valid": {Proxies: []netip.Prefix{prefix("::ffff:0:0/95")}},
		"Proxies: 0.0.0.0/0 is everybody":           {Proxies: []netip.Prefix{prefix("0.0.0.0/0")}},
		"Proxies: ::/0 is everybody":                {Proxies: []netip.Prefix{prefix("::/0")}},
	} {
		if l, err := throttle.New(opts); err == nil || l != nil || !strings.HasPrefix(err.Error(), "throttle: Options."+want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	for _, opts := range []throttle.Options{{}, {Account: good, Address: good, Tokens: good, TrustFor: -1, MaxMemory: 1 << 20, Concurrent: 1}} {
		newLimiter(t, opts)
	}
}

func TestPrintsNothing(t *testing.T) {
	t.Parallel()
	l := newLimiter(t, throttle.Options{})
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d"} {
		if got := fmt.Sprintf(verb, l); got != "throttle.Limiter" {
			t.Errorf("%s prints %q", verb, got)
		}
	}
}
