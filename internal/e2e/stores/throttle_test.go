// SPDX-License-Identifier: Apache-2.0

package stores_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/grpcauth/grpcauth/store"
	"github.com/grpcauth/grpcauth/throttle"
)

// ledger is a Counter that knows the balance of what was added.
type ledger struct {
	store.Counter

	balance atomic.Int64
}

func (l *ledger) AddAll(ctx context.Context, adds ...store.Addition) ([]int64, error) {
	sums, err := store.AddAll(ctx, l.Counter, adds...)
	for _, add := range adds {
		if err == nil {
			l.balance.Add(add.N)
		}
	}
	return sums, err
}

// settle waits until everything is given back that is going to be.
func (l *ledger) settle(t *testing.T, balance int64) {
	t.Helper()
	tick, late := time.NewTicker(time.Millisecond), time.After(20*time.Second)
	defer tick.Stop()
	for l.balance.Load() != balance {
		select {
		case <-late:
			t.Fatalf("the balance is %d, want %d", l.balance.Load(), balance)
		case <-tick.C:
		}
	}
}

// nodes are two servers that count together. Their clock stands at the beginning of a window until it is moved.
type nodes struct {
	limiters [2]*throttle.Limiter
	counter  *ledger
	passed   atomic.Int64
}

func (n *nodes) now() time.Time {
	return time.Date(2100, 1, 2, 3, 0, 0, 0, time.UTC).Add(time.Duration(n.passed.Load()))
}

// guess makes an attempt and returns whether it was let in.
func (n *nodes) guess(t *testing.T, node int, account, address string, o throttle.Outcome) bool {
	t.Helper()
	done, err := n.limiters[node%2].Reserve(t.Context(), account, address)
	if err != nil {
		if _, ok := errors.AsType[*throttle.Error](err); !ok {
			t.Error(err)
		}
		return false
	}
	done(o)
	return true
}

// flood makes twenty attempts at once, as many as SQLite counts in the time that it is given, and returns how many were let in.
func (n *nodes) flood(t *testing.T, account string) int64 {
	t.Helper()
	var in atomic.Int64
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			if n.guess(t, i, account, fmt.Sprint("address", i), throttle.Failed) {
				in.Add(1)
			}
		})
	}
	all.Wait()
	return in.Load()
}

// Two nodes count on each store together.
func TestThrottle(t *testing.T) {
	t.Parallel()
	for name, opener := range openers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			open := opener(t)
			for name, check := range throttling {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					n := &nodes{}
					n.counter = &ledger{Counter: open(t, n.now)}
					for i := range n.limiters {
						var err error
						if n.limiters[i], err = throttle.New(throttle.Options{Counter: n.counter, Now: n.now}); err != nil {
							t.Fatal(err)
						}
					}
					check(t, n)
				})
			}
		})
	}
}

var throttling = map[string]func(*testing.T, *nodes){
	"many at once are let in up to the limit": func(t *testing.T, n *nodes) {
		t.Helper()
		if got := n.flood(t, "alice"); got != 5 {
			t.Errorf("%d were let in, want 5", got)
		}
		n.counter.settle(t, 10)                                // the account's, and one of each address
		n.passed.Add(int64(72*time.Second - time.Millisecond)) // one of five has passed at a fifth of the next window
		if got := n.flood(t, "alice"); got != 0 {
			t.Errorf("%d were let in before their time, want none", got)
		}
		n.counter.settle(t, 10)
		n.passed.Add(int64(time.Second))
		if got := n.flood(t, "alice"); got != 1 {
			t.Errorf("%d were let in later, want 1", got)
		}
		n.counter.settle(t, 12)
	},
	"what was not judged is given back": func(t *testing.T, n *nodes) {
		t.Helper()
		for i := range 20 {
			if !n.guess(t, i, "alice", "home", throttle.NotJudged) {
				t.Fatalf("attempt %d was refused", i)
			}
			n.counter.settle(t, 0)
		}
	},
	"the owner is let in at every node": func(t *testing.T, n *nodes) {
		t.Helper()
		n.guess(t, 0, "alice", "home", throttle.Succeeded)
		n.counter.settle(t, 1) // the mark
		n.flood(t, "alice")
		n.counter.settle(t, 11)
		if !n.guess(t, 1, "alice", "home", throttle.Failed) {
			t.Error("the owner was refused")
		}
		if n.guess(t, 1, "alice", "elsewhere", throttle.Failed) {
			t.Error("was let in from elsewhere")
		}
		n.counter.settle(t, 13) // for the address, and for the account from there
	},
	"tokens count on all nodes": func(t *testing.T, n *nodes) {
		t.Helper()
		for range 59 {
			n.limiters[0].Fail(t.Context(), "home")
		}
		n.counter.settle(t, 59)
		n.limiters[1].Fail(t.Context(), "home")
		n.counter.settle(t, 60)
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for n.limiters[1].Blocked("home") == nil { // It learns of it a moment after it was counted.
			<-tick.C
		}
	},
}
