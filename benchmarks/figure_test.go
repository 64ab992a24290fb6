// SPDX-License-Identifier: Apache-2.0

package benchmarks

import (
	"fmt"
	"runtime"
	"strconv"
	"time"

	"google.golang.org/grpc"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/bearer"
)

// bound is what a number must keep within; the zero bound takes everything.
type bound struct {
	what    string // in words
	holds   func(number float64) bool
	counted bool // it does not depend on time, so it always has to hold
}

func (b bound) keeps(number float64) bool { return b.holds == nil || b.holds(number) }

func atMost(limit float64) bound {
	return bound{what: "at most " + ratio(limit), holds: func(number float64) bool { return number <= limit }}
}

func atLeast(limit float64) bound {
	return bound{what: "at least " + ratio(limit), holds: func(number float64) bool { return number >= limit }}
}

// within bounds a time in nanoseconds.
func within(limit time.Duration) bound {
	return bound{what: "at most " + limit.String(), holds: func(number float64) bool { return number <= float64(limit) }}
}

func moreThan(limit float64) bound {
	return bound{what: "more than " + ratio(limit), holds: func(number float64) bool { return number > limit }}
}

// counted makes a bound one on something that is counted, and may put it into other words.
func counted(b bound, what string) bound {
	b.counted = true
	if what != "" {
		b.what = what
	}
	return b
}

// slower measures how many times as long ours takes.
func slower(c contest) func(*world, effort) reading {
	return func(w *world, e effort) reading {
		w.Helper()
		t := compare(w, c, e)
		return reading{duration(t.ours), duration(t.peer), ratio(t.ratio), t.ratio}
	}
}

// faster measures how many times as long the peer takes.
func faster(c contest) func(*world, effort) reading {
	return func(w *world, e effort) reading {
		w.Helper()
		t := compare(w, c, e)
		return reading{duration(t.ours), duration(t.peer), ratio(1 / t.ratio), 1 / t.ratio}
	}
}

// amounts are what both sides allocate.
type amounts struct{ ours, peer, ourBytes, peerBytes float64 }

func count(w *world, c contest, e effort) (a amounts) {
	w.Helper()
	w.scoped(func(w *world) {
		ours, peer := c.ready(w)
		batch := e.batch
		if c.heavy {
			batch = min(batch, 20)
		}
		a.ours, a.ourBytes = allocated(w, ours, batch)
		a.peer, a.peerBytes = allocated(w, peer, batch)
	})
	return a
}

// objects counts the allocations of ours.
func objects(c contest) func(*world, effort) reading {
	return func(w *world, e effort) reading {
		w.Helper()
		a := count(w, c, e)
		return reading{number(a.ours), number(a.peer), ratio(a.ours / a.peer), a.ours}
	}
}

// fewer measures how many times as many allocations the peer makes.
func fewer(c contest) func(*world, effort) reading {
	return func(w *world, e effort) reading {
		w.Helper()
		a := count(w, c, e)
		return reading{number(a.ours), number(a.peer), ratio(a.peer / a.ours), a.peer / a.ours}
	}
}

// added counts the allocations that ours makes beyond those of the peer.
func added(c contest) func(*world, effort) reading {
	return func(w *world, e effort) reading {
		w.Helper()
		a := count(w, c, e)
		return reading{number(a.ours), number(a.peer), "", a.ours - a.peer}
	}
}

// smaller measures how many times as many bytes the peer allocates.
func smaller(c contest) func(*world, effort) reading {
	return func(w *world, e effort) reading {
		w.Helper()
		a := count(w, c, e)
		return reading{size(a.ourBytes), size(a.peerBytes), ratio(a.peerBytes / a.ourBytes), a.peerBytes / a.ourBytes}
	}
}

// memory measures the heap that each remembered token takes, when limit(tokens) may be remembered. The tokens themselves are not counted: the test
// holds them all the time.
func memory(limit func(tokens int) int) func(*world, effort) reading {
	return func(w *world, e effort) reading {
		w.Helper()
		tokens := w.distinct(e.tokens)
		most := limit(len(tokens))
		before := heap()
		interceptor := grpcauth.New(w.backend(w.jwtOptions("HS256", bearer.Options{MaxRemembered: most}))).Unary()
		ctx, md := w.incoming("")
		info := &grpc.UnaryServerInfo{FullMethod: method}
		for _, token := range tokens {
			md["authorization"][0] = "Bearer " + token
			if _, err := interceptor(ctx, nil, info, nothing); err != nil {
				w.Fatal(err)
			}
		}
		each := (heap() - before) / float64(min(most, len(tokens)))
		runtime.KeepAlive(interceptor)
		return reading{size(each), "", "", each}
	}
}

func ratio(v float64) string { return strconv.FormatFloat(v, 'f', 2, 64) }

func number(v float64) string { return strconv.FormatFloat(v, 'f', 1, 64) }

func duration(ns float64) string {
	switch {
	case ns < 1e3:
		return fmt.Sprintf("%.0f ns", ns)
	case ns < 1e6:
		return fmt.Sprintf("%.2f us", ns/1e3)
	default:
		return fmt.Sprintf("%.2f ms", ns/float64(time.Millisecond))
	}
}

func size(bytes float64) string {
	switch {
	case bytes < 1<<10:
		return fmt.Sprintf("%.0f B", bytes)
	case bytes < 1<<20:
		return fmt.Sprintf("%.2f KiB", bytes/(1<<10))
	default:
		return fmt.Sprintf("%.2f MiB", bytes/(1<<20))
	}
}
