// SPDX-License-Identifier: Apache-2.0

package remember_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"
	"weak"

	"github.com/grpcauth/grpcauth/internal/remember"
)

func TestCacheReturnsWhatWasPutUnderTheSameKeyOnly(t *testing.T) {
	t.Parallel()

	keys := randomKeys(3)
	cache := remember.New[string](10)
	cache.Put(keys[0], "a", epoch, epoch.Add(time.Minute))
	cache.Put(keys[1], "b", epoch, epoch.Add(time.Minute))

	wantValue(t, cache, keys[0], epoch, "a")
	wantValue(t, cache, keys[1], epoch, "b")
	wantMiss(t, cache, keys[2], epoch)
}

func TestCacheKeysThatDifferInOneBitAreDifferent(t *testing.T) {
	t.Parallel()

	base := randomKeys(1)[0]
	cache := remember.New[string](10)
	cache.Put(base, "a", epoch, epoch.Add(time.Minute))

	for bit := range 8 * len(base) {
		other := base
		other[bit/8] ^= 1 << (bit % 8)
		wantMiss(t, cache, other, epoch)
	}
}

func TestCacheEntryEndsAtItsExpiryAndIsForgotten(t *testing.T) {
	t.Parallel()

	k := randomKeys(1)[0]
	expiry := epoch.Add(time.Minute)
	cache := remember.New[string](10)
	cache.Put(k, "a", epoch, expiry)

	wantValue(t, cache, k, expiry.Add(-1), "a")
	wantMiss(t, cache, k, expiry)

	if got := cache.Len(); got != 0 {
		t.Errorf("Len() after the expired entry was met = %d, want 0", got)
	}

	wantMiss(t, cache, k, epoch) // no way back
}

func TestCacheLifetimeOfZeroOrLessIsNeverStored(t *testing.T) {
	t.Parallel()

	for name, expiry := range map[string]time.Time{
		"now":       epoch,
		"just past": epoch.Add(-1),
		"zero time": {},
		"year 1600": time.Date(1600, 1, 1, 0, 0, 0, 0, time.UTC),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			k := randomKeys(1)[0]
			cache := remember.New[string](10)
			cache.Put(k, "a", epoch, expiry)
			wantMiss(t, cache, k, epoch)

			cache.Put(k, "good", epoch, epoch.Add(time.Minute))
			cache.Put(k, "worse", epoch, expiry)
			wantMiss(t, cache, k, epoch) // the newest verdict counts: the older one is gone too

			if got := cache.Len(); got != 0 {
				t.Errorf("Len() = %d, want 0", got)
			}
		})
	}
}

func TestCacheLifetimeOfZeroOrLessTakesNoRoom(t *testing.T) {
	t.Parallel()

	keys := randomKeys(3)
	cache := remember.New[int](1)
	cache.Put(keys[0], 0, epoch, epoch)

	if got := cache.Len(); got != 0 {
		t.Errorf("Len() = %d, want 0", got)
	}

	cache.Put(keys[1], 1, epoch, epoch.Add(time.Minute))
	cache.Put(keys[2], 2, epoch, epoch)
	wantValue(t, cache, keys[1], epoch, 1)
}

func TestCacheExpiryBeyondTheRangeOfNanosecondsDoesNotWrapAround(t *testing.T) {
	t.Parallel()

	k := randomKeys(1)[0]
	cache := remember.New[string](10)

	for _, year := range []int{2261, 2262, 2263, 2500, 2800, 3000, 9999} {
		cache.Put(k, "a", epoch, time.Date(year, 12, 31, 0, 0, 0, 0, time.UTC))
		wantValue(t, cache, k, epoch.AddDate(200, 0, 0), "a")
		cache.Delete(k)
	}
}

func TestCacheExpiryIsWallClockWhateverTheMonotonicReadingSays(t *testing.T) {
	t.Parallel()

	now := time.Now()
	k := randomKeys(1)[0]
	cache := remember.New[string](10)
	cache.Put(k, "a", now, now.Add(time.Minute).Round(0))

	wantValue(t, cache, k, now.Round(0).Add(time.Minute-1), "a")
	wantMiss(t, cache, k, now.Add(time.Minute))
}

func TestCachePutReplacesValueAndExpiry(t *testing.T) {
	t.Parallel()

	k := randomKeys(1)[0]
	cache := remember.New[string](10)
	cache.Put(k, "a", epoch, epoch.Add(time.Hour))
	cache.Put(k, "b", epoch, epoch.Add(time.Minute))

	wantValue(t, cache, k, epoch, "b")
	wantMiss(t, cache, k, epoch.Add(time.Minute))

	if got := cache.Len(); got != 0 {
		t.Errorf("Len() = %d, want 0", got)
	}
}

func TestCacheClockThatStepsBackForgetsWhatWasStoredLater(t *testing.T) {
	t.Parallel()

	k := randomKeys(1)[0]
	cache := remember.New[string](10)
	cache.Put(k, "a", epoch, epoch.Add(5*time.Minute))

	wantMiss(t, cache, k, epoch.Add(-time.Hour))
	wantMiss(t, cache, k, epoch) // forgotten, not hidden
}

func TestCacheEntryStoredWhileTheClockWasAheadGoesWithTheCorrection(t *testing.T) {
	t.Parallel()

	k := randomKeys(1)[0]
	ahead := epoch.Add(time.Hour)
	cache := remember.New[string](10)
	cache.Put(k, "a", ahead, ahead.Add(5*time.Minute))

	wantMiss(t, cache, k, epoch)
}

func TestCacheClockThatStepsForwardEndsEntries(t *testing.T) {
	t.Parallel()

	k := randomKeys(1)[0]
	cache := remember.New[string](10)
	cache.Put(k, "a", epoch, epoch.Add(5*time.Minute))

	wantMiss(t, cache, k, epoch.Add(time.Hour))
}

func TestCacheCallerWhoReadTheClockALittleEarlierStillHits(t *testing.T) {
	t.Parallel()

	k := randomKeys(1)[0]
	cache := remember.New[string](10)
	cache.Put(k, "a", epoch, epoch.Add(time.Minute))

	wantValue(t, cache, k, epoch.Add(-time.Second), "a")
	wantMiss(t, cache, k, epoch.Add(-time.Second-1))
}

func TestCacheWithoutCapacityRemembersNothing(t *testing.T) {
	t.Parallel()

	for _, capacity := range []int{0, -1, math.MinInt} {
		k := randomKeys(1)[0]
		cache := remember.New[string](capacity)
		cache.Put(k, "a", epoch, epoch.Add(time.Minute))
		wantMiss(t, cache, k, epoch)
		cache.Delete(k)
		cache.DeleteFunc(func(remember.Key, string) bool { return true })
		cache.Purge()
	}
}

func TestCacheHoldsExactlyItsCapacityWhenSmall(t *testing.T) {
	t.Parallel()

	for _, capacity := range []int{1, 2, 3, 7, 8, 9, 100, 1000, 1023} {
		keys := randomKeys(capacity + 1)
		cache := remember.New[int](capacity)

		for i, k := range keys[:capacity] {
			cache.Put(k, i, epoch, epoch.Add(time.Minute))
		}

		for i, k := range keys[:capacity] {
			wantValue(t, cache, k, epoch, i)
		}

		cache.Put(keys[capacity], capacity, epoch, epoch.Add(time.Minute))
		wantValue(t, cache, keys[capacity], epoch, capacity)

		if got := cache.Len(); got != capacity {
			t.Errorf("Len() of a full cache of %d = %d", capacity, got)
		}
	}
}

func TestCacheSurvivesAFloodWithinItsCapacity(t *testing.T) {
	t.Parallel()

	for capacity, flood := range map[int]int{1_000: 1_000_000, 10_007: 100_000} {
		cache := remember.New[int](capacity)
		source := rand.NewChaCha8([32]byte{2})

		for i := range flood {
			var k remember.Key

			_, _ = source.Read(k[:])
			cache.Put(k, i, epoch, epoch.Add(time.Minute))

			if i%1000 == 0 || i < 2*capacity && i%10 == 0 {
				if got := cache.Len(); got > capacity {
					t.Fatalf("Len() after %d keys = %d, want at most %d", i+1, got, capacity)
				}
			}
		}

		if got := cache.Len(); got != capacity {
			t.Errorf("Len() after the flood = %d, want %d", got, capacity)
		}
	}
}

func TestCacheEntriesThatAreAskedForSurviveAFlood(t *testing.T) {
	t.Parallel()

	keys := randomKeys(100_100)
	wanted, flood := keys[:100], keys[100:]
	cache := remember.New[int](1_000)

	for i, k := range wanted {
		cache.Put(k, i, epoch, epoch.Add(time.Hour))
	}

	for i, k := range flood {
		cache.Put(k, -1, epoch, epoch.Add(time.Hour))

		if i%500 == 0 {
			for j, w := range wanted {
				wantValue(t, cache, w, epoch, j)
			}
		}
	}
}

func TestCacheEvictsTheOldestThatNobodyAskedFor(t *testing.T) {
	t.Parallel()

	keys := randomKeys(6)
	cache := remember.New[int](4)

	for i, k := range keys[:4] {
		cache.Put(k, i, epoch, epoch.Add(time.Hour))
	}

	cache.Get(keys[0], epoch)
	cache.Get(keys[2], epoch)
	cache.Put(keys[4], 4, epoch, epoch.Add(time.Hour)) // spares 0, evicts 1
	cache.Put(keys[5], 5, epoch, epoch.Add(time.Hour)) // goes on: spares 2, evicts 3

	wantMiss(t, cache, keys[1], epoch)
	wantMiss(t, cache, keys[3], epoch)

	for _, i := range []int{0, 2, 4, 5} {
		wantValue(t, cache, keys[i], epoch, i)
	}
}

func TestCacheEvictsTheExpiredBeforeTheAskedFor(t *testing.T) {
	t.Parallel()

	keys := randomKeys(4)
	later := epoch.Add(time.Minute)
	cache := remember.New[int](3)
	cache.Put(keys[0], 0, epoch, later.Add(time.Hour))
	cache.Put(keys[1], 1, epoch, later)
	cache.Put(keys[2], 2, epoch, later.Add(time.Hour))

	for _, k := range keys[:3] {
		cache.Get(k, epoch)
	}

	cache.Put(keys[3], 3, later, later.Add(time.Hour))

	for _, i := range []int{0, 2, 3} {
		wantValue(t, cache, keys[i], later, i)
	}
}

func TestCacheDeleteForgetsAtOnceAndLeavesTheOthers(t *testing.T) {
	t.Parallel()

	keys := randomKeys(3000)
	cache := remember.New[int](100_000)

	for i, k := range keys {
		cache.Put(k, i, epoch, epoch.Add(time.Hour))
	}

	for i := 0; i < len(keys); i += 2 {
		cache.Delete(keys[i])
		cache.Delete(keys[i]) // twice is no harm
	}

	for i, k := range keys {
		if i%2 == 0 {
			wantMiss(t, cache, k, epoch)
		} else {
			wantValue(t, cache, k, epoch, i)
		}
	}

	if got, want := cache.Len(), len(keys)/2; got != want {
		t.Errorf("Len() = %d, want %d", got, want)
	}
}

func TestCacheDeleteFuncForgetsWhatItIsToldTo(t *testing.T) {
	t.Parallel()

	keys := randomKeys(3000)
	cache := remember.New[int](100_000)

	for i, k := range keys {
		cache.Put(k, i, epoch, epoch.Add(time.Hour))
	}

	seen := 0

	cache.DeleteFunc(func(k remember.Key, v int) bool {
		if k != keys[v] {
			t.Errorf("value %d came with another key", v)
		}

		seen++

		return v%3 == 0
	})

	if seen != len(keys) {
		t.Errorf("looked at %d entries, want %d", seen, len(keys))
	}

	for i, k := range keys {
		if i%3 == 0 {
			wantMiss(t, cache, k, epoch)
		} else {
			wantValue(t, cache, k, epoch, i)
		}
	}
}

func TestCacheDeleteFuncThatPanicsLeavesTheCacheUsable(t *testing.T) {
	t.Parallel()

	k := randomKeys(1)[0]
	cache := remember.New[int](10)
	cache.Put(k, 1, epoch, epoch.Add(time.Hour))

	func() {
		defer func() { _ = recover() }()

		cache.DeleteFunc(func(remember.Key, int) bool { panic("forget") })
	}()

	wantValue(t, cache, k, epoch, 1)
	cache.Delete(k)
}

func TestCachePurgeForgetsEverythingAndGoesOn(t *testing.T) {
	t.Parallel()

	keys := randomKeys(2000)
	cache := remember.New[int](2000)

	for range 3 {
		for i, k := range keys {
			cache.Put(k, i, epoch, epoch.Add(time.Hour))
			wantValue(t, cache, k, epoch, i)
		}

		cache.Purge()

		if got := cache.Len(); got != 0 {
			t.Fatalf("Len() after Purge = %d, want 0", got)
		}

		for _, k := range keys {
			wantMiss(t, cache, k, epoch)
		}
	}
}

func TestCacheKeepsNoDroppedValueAlive(t *testing.T) {
	t.Parallel()

	type record struct{ _ [64]byte } // too large to share its memory with other small values

	keys := randomKeys(2)
	expiry := epoch.Add(time.Minute)

	for name, drop := range map[string]func(*remember.Cache[*record]){
		"deleted":  func(c *remember.Cache[*record]) { c.Delete(keys[0]) },
		"expired":  func(c *remember.Cache[*record]) { c.Get(keys[0], expiry) },
		"replaced": func(c *remember.Cache[*record]) { c.Put(keys[0], new(record), epoch, expiry) },
		"refused":  func(c *remember.Cache[*record]) { c.Put(keys[0], new(record), epoch, epoch) },
		"evicted":  func(c *remember.Cache[*record]) { c.Put(keys[1], new(record), epoch, expiry) },
		"purged":   func(c *remember.Cache[*record]) { c.Purge() },
		"told to": func(c *remember.Cache[*record]) {
			c.DeleteFunc(func(remember.Key, *record) bool { return true })
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			cache := remember.New[*record](1)
			value := new(record)
			kept := weak.Make(value)
			cache.Put(keys[0], value, epoch, expiry)
			drop(cache)

			runtime.KeepAlive(value)
			runtime.GC()

			if kept.Value() != nil {
				t.Error("the dropped value is still reachable")
			}

			runtime.KeepAlive(cache)
		})
	}
}

func TestCacheHitAndPutIntoAFullCacheDoNotAllocate(t *testing.T) {
	keys := randomKeys(2000)
	value := &verdict{}
	cache := remember.New[*verdict](1000)

	for _, k := range keys {
		cache.Put(k, value, epoch, epoch.Add(time.Hour))
	}

	last := keys[len(keys)-1]

	i := 0
	if got := testing.AllocsPerRun(2000, func() {
		cache.Get(last, epoch)
		cache.Put(keys[i%1000], value, epoch, epoch.Add(time.Hour))
		i++
	}); got != 0 {
		t.Errorf("allocations = %v, want 0", got)
	}
}

func TestCacheTakesMemoryAsEntriesCome(t *testing.T) {
	const rounds = 10

	var before, after runtime.MemStats

	runtime.ReadMemStats(&before)

	for range rounds {
		remember.New[*verdict](100_000).Put(remember.Key{}, nil, epoch, epoch.Add(1))
	}

	runtime.ReadMemStats(&after)

	if got := (after.TotalAlloc - before.TotalAlloc) / rounds; got > 64<<10 {
		t.Errorf("a cache of 100,000 with one entry takes %d bytes, want at most 64 KiB", got)
	}
}

// TestCacheAgreesWithAModel runs random operations under a clock that goes back and forth, against a plain map of what
// was last put. A cache may always forget; what it returns must be what the model says, and unexpired.
func TestCacheAgreesWithAModel(t *testing.T) {
	t.Parallel()

	type entry struct {
		value          int
		stored, expiry time.Time
	}

	for seed := range uint64(40) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()

			random := rand.New(rand.NewPCG(seed, 7)) //nolint:gosec // repeatable on purpose
			capacity := []int{1, 2, 5, 16, 60, 300, 1500, 4000}[seed%8]
			keys := randomKeys(1 + random.IntN(3*capacity))
			cache := remember.New[int](capacity)
			model := make(map[remember.Key]entry)
			now := epoch
			hits := 0

			for step := range 30_000 {
				k := keys[random.IntN(len(keys))]

				switch op := random.IntN(1000); {
				case op < 500:
					got, ok := cache.Get(k, now)
					want, known := model[k]
					alive := known && now.Before(want.expiry) && !want.stored.After(now.Add(time.Second))

					if ok && (!alive || got != want.value) {
						t.Fatalf("step %d: Get = %d at %v, want %+v (alive %v)", step, got, now, want, alive)
					}

					if !ok {
						delete(model, k) // evicted or dead: it must not come back
					} else {
						hits++
					}
				case op < 900:
					expiry := now.Add(time.Duration(random.Int64N(int64(10*time.Minute))) - time.Minute)
					cache.Put(k, step, now, expiry)

					if expiry.After(now) {
						model[k] = entry{value: step, stored: now, expiry: expiry}
					} else {
						delete(model, k)
					}

					if got, ok := cache.Get(k, now); ok != expiry.After(now) || ok && got != step {
						t.Fatalf("step %d: Get right after Put = %d, %v", step, got, ok)
					}
				case op < 950:
					cache.Delete(k)
					delete(model, k)
				case op < 990:
					now = now.Add(time.Duration(random.Int64N(int64(20 * time.Second))))
				case op < 997:
					now = now.Add(-time.Duration(random.Int64N(int64(time.Minute))))
				case op < 999:
					cache.DeleteFunc(func(_ remember.Key, v int) bool { return v%7 == 0 })

					for k, e := range model {
						if e.value%7 == 0 {
							delete(model, k)
						}
					}
				default:
					cache.Purge()
					clear(model)
				}

				if got := cache.Len(); got > capacity || got > len(keys) {
					t.Fatalf("step %d: Len() = %d with capacity %d and %d keys", step, got, capacity, len(keys))
				}
			}

			if hits == 0 {
				t.Error("the run never hit, so it has shown nothing")
			}
		})
	}
}

func TestCacheUnderConcurrentUseReturnsOwnValuesOnly(t *testing.T) {
	t.Parallel()

	const capacity = 1500

	keys := randomKeys(4000)
	cache := remember.New[int](capacity)

	var group sync.WaitGroup
	for worker := range uint64(8) {
		group.Go(func() {
			random := rand.New(rand.NewPCG(worker, 1)) //nolint:gosec // repeatable on purpose

			for range 20_000 {
				i := random.IntN(len(keys))
				now := epoch.Add(time.Duration(random.IntN(4000)) * time.Millisecond)

				switch op := random.IntN(1000); {
				case op < 600:
					if got, ok := cache.Get(keys[i], now); ok && got != i {
						t.Errorf("Get(%d) = %d", i, got)
					}
				case op < 940:
					cache.Put(keys[i], i, now, now.Add(time.Second))
				case op < 990:
					cache.Delete(keys[i])
				case op < 997:
					if got := cache.Len(); got > capacity {
						t.Errorf("Len() = %d, want at most %d", got, capacity)
					}
				case op < 999:
					cache.DeleteFunc(func(k remember.Key, v int) bool { return k == keys[v] && v%5 == 0 })
				default:
					cache.Purge()
				}
			}
		})
	}

	group.Wait()
}

func wantValue[V comparable](t *testing.T, cache *remember.Cache[V], k remember.Key, now time.Time, want V) {
	t.Helper()

	if got, ok := cache.Get(k, now); !ok || got != want {
		t.Errorf("Get = %v, %v; want %v", got, ok, want)
	}
}

func wantMiss[V comparable](t *testing.T, cache *remember.Cache[V], k remember.Key, now time.Time) {
	t.Helper()

	if got, ok := cache.Get(k, now); ok {
		t.Errorf("Get = %v, want a miss", got)
	}
}
