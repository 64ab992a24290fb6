// SPDX-License-Identifier: Apache-2.0

package benchmarks

import (
	"math"
	"os"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"
)

// op is one operation, such as a call. An error ends the measurement.
type op interface{ do() error }

type opFunc func() error

func (f opFunc) do() error { return f() }

// warmer is an operation on something that a server would just have received. It is read before the time counts, so many operations in advance.
type warmer interface {
	op
	warm(next int)
}

// warmed is how many operations that is: what fits into the nearest cache.
const warmed = 32

// contest is one piece of work, done in two ways.
type contest struct {
	// ready sets both up, until the end of the world.
	ready func(w *world) (ours, peer op)
	// callers is how many goroutines run an operation at once; one if zero.
	callers int
	// heavy operations are few when allocations are counted.
	heavy bool
}

// effort is how long a figure is measured. Both sides take turns in short slices: a disturbance hits both, or few of the many ratios.
type effort struct {
	setups int           // servers and connections that do the same differ from one another, so several are made
	rounds int           // of one slice for each side, per setup
	slice  time.Duration // how long a side runs at a time; zero: once
	most   time.Duration // how long a figure may take, once it has a few rounds
	batch  int           // operations over which allocations are counted
	tokens int           // the many of "many remembered tokens"
	strict bool          // a ratio that is out of bounds fails
}

func effortOf(tb testing.TB) effort {
	tb.Helper()
	full := effort{setups: 5, rounds: 25, slice: 20 * time.Millisecond, most: 10 * time.Second, batch: 2_000, tokens: 100_000}
	mode := os.Getenv("GRPCAUTH_BENCH")
	switch {
	case raceEnabled: // what is counted and what is timed would be the detector's
		return effort{setups: 1, rounds: 1, batch: 1, tokens: 1_000}
	case mode == "":
		return effort{setups: 1, rounds: 1, batch: 200, tokens: 10_000}
	case mode == "full":
		return full
	case mode == "strict":
		full.strict = true
		return full
	default:
		tb.Fatalf(`GRPCAUTH_BENCH is %q: write "full" or "strict", or nothing for a quick look`, mode)
		return full
	}
}

// times are what an operation takes on each side, in nanoseconds, and how many times as long ours takes. The ratio is the median of all rounds' own.
type times struct{ ours, peer, ratio float64 }

// compare measures the time of both sides.
func compare(w *world, c contest, e effort) times {
	w.Helper()
	var ours, peers, ratios []float64
	for range e.setups {
		w.scoped(func(w *world) {
			one, other := c.ready(w)
			sides := [2]side{newSide(w, one, c.callers, e.slice), newSide(w, other, c.callers, e.slice)}
			start := time.Now()
			for round := range e.rounds {
				if round >= 3 && time.Since(start) > e.most/time.Duration(e.setups) {
					break
				}
				var took [2]float64
				for turn := range sides {
					k := (turn + round) % 2 // who begins changes
					took[k] = sides[k].run(w)
				}
				ours, peers, ratios = append(ours, took[0]), append(peers, took[1]), append(ratios, took[0]/took[1])
			}
		})
	}
	return times{median(ours), median(peers), median(ratios)}
}

// side is an operation and how often it fits into a slice.
type side struct {
	op
	callers, n int
}

func newSide(w *world, o op, callers int, slice time.Duration) side {
	w.Helper()
	s := side{o, max(callers, 1), max(callers, 1)}
	s.run(w) // what is only done once is not measured
	for slice > 0 {
		each := s.run(w)
		if each*float64(s.n) >= float64(slice)/2 {
			s.n = max(s.callers, int(float64(slice)/each))
			break
		}
		s.n *= 2
	}
	return s
}

// run returns the nanoseconds per operation.
func (s *side) run(w *world) float64 {
	w.Helper()
	var took time.Duration
	batch, warm := s.n, func(int) {}
	if o, ok := s.op.(warmer); ok {
		batch, warm = warmed, o.warm
	}
	for done := 0; done < s.n; done += batch {
		batch = min(batch, s.n-done)
		warm(batch)
		start := time.Now()
		err := repeat(s.op, batch, s.callers)
		took += time.Since(start)
		if err != nil {
			w.Fatal(err)
		}
	}
	return float64(took.Nanoseconds()) / float64(s.n)
}

func repeat(o op, n, callers int) error {
	if callers == 1 {
		for range n {
			if err := o.do(); err != nil {
				return err
			}
		}
		return nil
	}
	errs := make([]error, callers)
	var all sync.WaitGroup
	for i := range callers {
		all.Go(func() { errs[i] = repeat(o, n/callers, 1) })
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// allocated is what one operation allocates, in the whole process: the least of several batches, as what the runtime does now and then is not
// the operation's.
func allocated(w *world, o op, batch int) (objects, bytes float64) {
	w.Helper()
	objects, bytes = math.Inf(1), math.Inf(1)
	if err := repeat(o, min(batch, 10), 1); err != nil {
		w.Fatal(err)
	}
	for range 5 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := repeat(o, batch, 1)
		runtime.ReadMemStats(&after)
		if err != nil {
			w.Fatal(err)
		}
		objects = min(objects, float64(after.Mallocs-before.Mallocs)/float64(batch))
		bytes = min(bytes, float64(after.TotalAlloc-before.TotalAlloc)/float64(batch))
	}
	return objects, bytes
}

// heap is the size of what is reachable.
func heap() float64 {
	var m runtime.MemStats
	for range 5 { // pools let go at the second collection, and finalizers run between two
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}

// benchmark runs a contest as ordinary benchmarks, ours/... and peer/....
func benchmark(b *testing.B, c contest) {
	b.Helper()
	w := newWorld(b)
	for k, name := range []string{"ours", "peer"} {
		b.Run(name, func(b *testing.B) {
			ours, peer := c.ready(w.at(b))
			o := []op{ours, peer}[k]
			b.ReportAllocs()
			if c.callers > 1 {
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						if err := o.do(); err != nil {
							b.Error(err)
						}
					}
				})
				return
			}
			for b.Loop() {
				if err := o.do(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
