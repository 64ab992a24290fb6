// SPDX-License-Identifier: Apache-2.0

package remember_test

import (
	"context"
	"fmt"
	"time"

	"github.com/grpcauth/grpcauth/internal/remember"
)

// A verifier that remembers its verdicts: the second look at a token costs no judgement, and a look after the token's
// expiry costs one again.
func Example() {
	var (
		keyer   = remember.NewKeyer()
		cache   = remember.New[string](1000)
		flight  = remember.NewFlight[string](nil)
		now     = time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC)
		expires = now.Add(time.Minute)
	)

	look := func(ctx context.Context, token string, now time.Time) (string, error) {
		key := keyer.Key("https://idp.example.com", "orders", token)
		if user, ok := cache.Get(key, now); ok {
			return user + " (remembered)", nil
		}

		user, _, err := flight.Do(ctx, key, func() (string, error) {
			user := "alice" // what it costs to verify a token stands here

			cache.Put(key, user, now, expires)

			return user + " (judged)", nil
		})

		return user, err
	}

	for _, at := range []time.Time{now, now.Add(time.Second), expires} {
		user, err := look(context.Background(), "a.b.c", at)
		fmt.Println(user, err)
	}
	// Output:
	// alice (judged) <nil>
	// alice (remembered) <nil>
	// alice (judged) <nil>
}
