// SPDX-License-Identifier: Apache-2.0

package remember_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/grpcauth/grpcauth/internal/remember"
)

func BenchmarkCacheHit(b *testing.B) {
	for _, size := range []struct {
		name    string
		entries int
	}{{"1k", 1_000}, {"100k", 100_000}} {
		keys := randomKeys(size.entries)
		cache := remember.New[*verdict](size.entries)

		for _, k := range keys {
			cache.Put(k, &verdict{}, epoch, epoch.Add(time.Hour))
		}

		// Shards fill unevenly, so a few of the keys had to go: ask for those that stayed.
		held := keys[:0]

		for _, k := range keys {
			if _, ok := cache.Get(k, epoch); ok {
				held = append(held, k)
			}
		}

		b.Run(size.name+"/serial", func(b *testing.B) {
			b.ReportAllocs()

			i := 0
			for b.Loop() {
				if _, ok := cache.Get(held[i], epoch); !ok {
					b.Fatal("missed")
				}
				i++
				if i == len(held) {
					i = 0
				}
			}
		})

		b.Run(size.name+"/parallel", func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i++ {
					if _, ok := cache.Get(held[i%len(held)], epoch); !ok {
						b.Error("missed")
					}
				}
			})
		})

		b.Run(size.name+"/parallel-one-key", func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, ok := cache.Get(held[0], epoch); !ok {
						b.Error("missed")
					}
				}
			})
		})
	}
}

func BenchmarkCachePutEvict(b *testing.B) {
	keys := randomKeys(200_000)
	cache := remember.New[*verdict](10_000)
	expiry := epoch.Add(time.Hour)
	value := &verdict{}

	b.ReportAllocs()

	i := 0
	for b.Loop() {
		cache.Put(keys[i], value, epoch, expiry)
		i++
		if i == len(keys) {
			i = 0
		}
	}
}

func BenchmarkKeyer(b *testing.B) {
	keyer := remember.NewKeyer()
	token := strings.Repeat("x", 800)

	b.ReportAllocs()

	for b.Loop() {
		_ = keyer.Key("issuer", token)
	}
}

func BenchmarkFlightLeaderAlone(b *testing.B) {
	flight := remember.NewFlight[*verdict](nil)
	key := remember.NewKeyer().Key("token")
	value := &verdict{}
	judge := func() (*verdict, error) { return value, nil }
	ctx, cancel := context.WithCancel(b.Context())

	defer cancel()
	b.ReportAllocs()

	for b.Loop() {
		if _, _, err := flight.Do(ctx, key, judge); err != nil {
			b.Fatal(err)
		}
	}
}
