// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"fmt"
	"time"
)

// Addition is one call of [Counter.Add].
type Addition struct {
	Key    string
	N      int64
	Window time.Duration
}

// AddAll adds to several counters and returns their sums in the same order. Each addition is atomic; all of them together are not: if
// there is an error, each has been made or not.
//
// A Counter that has a method AddAll of this signature is asked once for all of them, in one round trip if it is remote; any other is
// asked for one after the other.
func AddAll(ctx context.Context, c Counter, adds ...Addition) ([]int64, error) {
	if all, ok := c.(interface {
		AddAll(ctx context.Context, adds ...Addition) ([]int64, error)
	}); ok {
		totals, err := all.AddAll(ctx, adds...)
		switch {
		case err != nil:
			return nil, err
		case len(totals) != len(adds):
			return nil, fmt.Errorf("%d sums for %d additions: %w", len(totals), len(adds), ErrSwapped)
		}
		return totals, nil
	}
	totals := make([]int64, len(adds))
	for i, add := range adds {
		total, err := c.Add(ctx, add.Key, add.N, add.Window)
		if err != nil {
			return nil, err
		}
		totals[i] = total
	}
	return totals, nil
}
