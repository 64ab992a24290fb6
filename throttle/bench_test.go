// SPDX-License-Identifier: Apache-2.0

package throttle_test

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/grpcauth/grpcauth/store"
	"github.com/grpcauth/grpcauth/throttle"
)

func BenchmarkReserve(b *testing.B) {
	names := make([]string, 1<<16)
	for i := range names {
		names[i] = "user" + strconv.Itoa(i)
	}
	many := throttle.Limit{Attempts: 1_000_000, Window: time.Minute}
	for name, n := range map[string]int{"one name": 1, "65536 names": len(names)} {
		b.Run(name, func(b *testing.B) {
			l, err := throttle.New(throttle.Options{Account: many, Address: many, Concurrent: 1 << 20})
			if err != nil {
				b.Fatal(err)
			}
			ctx, i := b.Context(), 0
			b.ReportAllocs()
			for b.Loop() {
				i = (i + 1) % n
				done, err := l.Reserve(ctx, names[i], "192.0.2.1")
				if err != nil {
					b.Fatal(err)
				}
				done(throttle.Succeeded)
			}
		})
	}
}

// What a flood costs the server for which it is too much.
func BenchmarkReserveRefused(b *testing.B) {
	l, err := throttle.New(throttle.Options{})
	if err != nil {
		b.Fatal(err)
	}
	ctx := b.Context()
	b.ReportAllocs()
	for b.Loop() {
		if done, err := l.Reserve(ctx, "alice", "192.0.2.1"); err == nil {
			done(throttle.Failed)
		}
	}
}

func BenchmarkBlocked(b *testing.B) {
	l, err := throttle.New(throttle.Options{})
	if err != nil {
		b.Fatal(err)
	}
	for range 100 {
		l.Fail(b.Context(), "192.0.2.1")
	}
	for name, address := range map[string]string{"blocked": "192.0.2.1", "unknown": "192.0.2.2"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_ = l.Blocked(address)
			}
		})
	}
}

// instant is a Counter that costs nothing.
type instant struct{}

func (instant) Add(_ context.Context, _ string, n int64, _ time.Duration) (int64, error) {
	return max(0, n), nil
}

var _ store.Counter = instant{}

// What is added to the round trip.
func BenchmarkReserveWithCounter(b *testing.B) {
	l, err := throttle.New(throttle.Options{Counter: instant{}})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		done, err := l.Reserve(b.Context(), "alice", "192.0.2.1")
		if err != nil {
			b.Fatal(err)
		}
		done(throttle.Failed)
	}
}

func TestAllocations(t *testing.T) { //nolint:paralleltest // it counts what is allocated
	if raceEnabled {
		return
	}
	l := newLimiter(t, throttle.Options{})
	ctx := t.Context()
	for name, test := range map[string]struct {
		most float64
		do   func()
	}{
		"an attempt that succeeds": {1, func() {
			done, err := l.Reserve(ctx, "alice", home)
			if err != nil {
				t.Fatal(err)
			}
			done(throttle.Succeeded)
		}},
		"an attempt that is refused": {1, func() {
			if done, err := l.Reserve(ctx, "bob", away); err == nil {
				done(throttle.Failed)
			}
		}},
		"an address that is blocked": {0, func() {
			if l.Blocked("blocked") == nil {
				l.Fail(ctx, "blocked")
			}
		}},
		"an address that is not": {0, func() { _ = l.Blocked("unknown") }},
	} {
		test.do()
		if n := testing.AllocsPerRun(1000, test.do); n > test.most {
			t.Errorf("%s: %v allocations, want %v at the most", name, n, test.most)
		}
	}
}
