// SPDX-License-Identifier: Apache-2.0

package throttle_test

import (
	"fmt"
	"runtime"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grpcauth/grpcauth/store"
	"github.com/grpcauth/grpcauth/store/memstore"
	"github.com/grpcauth/grpcauth/throttle"
)

// names is how many there are in a flood.
func names() int {
	if raceEnabled {
		return 200_000
	}
	return 1_000_000
}

// A million other names do not let the victim's attempts be forgotten, though there is memory for a few of them.
func TestFloodOfNamesFreesNobody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(t, throttle.Options{MaxMemory: 1 << 20})
		wait := let(t, l, "victim", home, 5)
		for i := range names() {
			name := strconv.Itoa(i)
			if done, err := l.Reserve(t.Context(), name, name); err == nil {
				done(throttle.Failed)
			}
		}
		if again := try(t, l, "victim", away, throttle.Failed); again < wait {
			t.Errorf("the victim's attackers have to wait for %v, want at least %v", again, wait)
		}
		got := l.Stats()
		if got.Entries > 1<<20/16 || got.Evicted == 0 {
			t.Errorf("%+v: want no more entries than fit, and some that had to go", got)
		}
	})
}

// With the memory that there is by default, a million names and a hundred thousand addresses are told apart.
func TestMemoryIsTakenAsItIsNeeded(t *testing.T) { //nolint:paralleltest // it measures the memory of the process
	synctest.Test(t, func(t *testing.T) {
		heap := func() int64 {
			var m runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&m)
			return int64(m.HeapAlloc)
		}
		before := heap()
		l := newLimiter(t, throttle.Options{Address: throttle.Limit{Attempts: 1000, Window: time.Minute}})
		if used := heap() - before; used > 1<<20 {
			t.Errorf("a Limiter takes %d bytes before it is used", used)
		}
		for i := range names() {
			done, err := l.Reserve(t.Context(), strconv.Itoa(i), strconv.Itoa(i%(names()/10)))
			if err == nil {
				done(throttle.Failed)
			}
		}
		used := heap() - before
		runtime.KeepAlive(l)
		if used > 64<<20 {
			t.Errorf("uses %d bytes", used)
		}
		got := l.Stats()
		if got.Throttled > 0 || got.Entries < names()/100*105 || got.Evicted > 50_000 {
			t.Errorf("%+v: want all of them told apart, but for a few", got)
		}
		for i := range 1000 {
			if wait := try(t, l, fmt.Sprint("good", i), fmt.Sprint("good", i), throttle.Succeeded); wait > 0 {
				t.Fatalf("a good caller has to wait for %v", wait)
			}
		}
	})
}

// A clock that is set locks nobody out for longer than a window, and frees nobody who has not waited.
func TestClockMayBeSet(t *testing.T) {
	t.Parallel()
	for _, jump := range []time.Duration{time.Hour, -time.Hour} {
		for _, remote := range []bool{false, true} {
			t.Run(fmt.Sprint(jump, remote), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					shift := time.Duration(0)
					now := func() time.Time { return time.Now().Round(0).Add(shift) }
					var counter store.Counter
					if remote {
						s, err := memstore.New(memstore.Options{Now: now})
						if err != nil {
							t.Fatal(err)
						}
						counter = s
					}
					l := newLimiter(t, throttle.Options{Counter: counter, Now: now})
					let(t, l, "alice", home, 5)
					fail(t, l, home, 60)
					shift = jump
					wait := try(t, l, "alice", home, throttle.Failed)
					if wait > 2*time.Minute {
						t.Errorf("has to wait for %v", wait)
					}
					_ = l.Blocked(home)
					time.Sleep(2 * time.Minute)
					let(t, l, "alice", home, 5)
					if err := l.Blocked(home); err != nil {
						t.Errorf("tokens: %v", err)
					}
				})
			})
		}
	}
}
