// SPDX-License-Identifier: Apache-2.0

package remember_test

import (
	"sync"
	"testing"
	"time"

	"github.com/grpcauth/grpcauth/internal/remember"
)

func wantStats(t *testing.T, cache *remember.Cache[string], want remember.Stats) {
	t.Helper()

	if got := cache.Stats(); got != want {
		t.Errorf("Stats() = %+v, want %+v", got, want)
	}
}

func TestStatsCountHitsMissesAndEntries(t *testing.T) {
	t.Parallel()

	keys := randomKeys(2)
	cache := remember.New[string](10)
	cache.Put(keys[0], "a", epoch, epoch.Add(time.Minute))
	wantValue(t, cache, keys[0], epoch, "a")
	wantValue(t, cache, keys[0], epoch, "a")
	wantMiss(t, cache, keys[1], epoch)
	wantStats(t, cache, remember.Stats{Hits: 2, Misses: 1, Entries: 1})

	wantMiss(t, cache, keys[0], epoch.Add(time.Minute))
	wantStats(t, cache, remember.Stats{Hits: 2, Misses: 2})
}

func TestStatsCountEvictionsOfWhatWasStillGood(t *testing.T) {
	t.Parallel()

	keys := randomKeys(4)
	cache := remember.New[string](1)
	cache.Put(keys[0], "a", epoch, epoch.Add(time.Minute))
	cache.Put(keys[0], "b", epoch, epoch.Add(time.Minute)) // in the place of the first
	wantStats(t, cache, remember.Stats{Entries: 1})
	cache.Put(keys[1], "c", epoch, epoch.Add(time.Minute))
	wantStats(t, cache, remember.Stats{Evictions: 1, Entries: 1})
	cache.Put(keys[2], "d", epoch.Add(time.Minute), epoch.Add(time.Hour)) // in the place of one that expired
	wantStats(t, cache, remember.Stats{Evictions: 1, Entries: 1})
	cache.Delete(keys[2])
	cache.Put(keys[3], "e", epoch, epoch.Add(time.Minute))
	cache.DeleteFunc(func(remember.Key, string) bool { return true })
	wantStats(t, cache, remember.Stats{Evictions: 1})
}

func TestStatsOutliveAPurge(t *testing.T) {
	t.Parallel()

	k := randomKeys(1)[0]
	cache := remember.New[string](1)
	cache.Put(k, "a", epoch, epoch.Add(time.Minute))
	wantValue(t, cache, k, epoch, "a")
	cache.Purge()
	wantStats(t, cache, remember.Stats{Hits: 1})
}

func TestStatsCountAllCallersAndShards(t *testing.T) {
	t.Parallel()

	const callers, rounds = 8, 50

	keys := randomKeys(200)
	cache := remember.New[string](100_000)

	for _, k := range keys[:100] {
		cache.Put(k, "a", epoch, epoch.Add(time.Minute))
	}

	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for range rounds {
				for _, k := range keys {
					cache.Get(k, epoch)
				}

				cache.Stats()
			}
		})
	}

	wg.Wait()
	wantStats(t, cache, remember.Stats{Hits: callers * rounds * 100, Misses: callers * rounds * 100, Entries: 100})
}
