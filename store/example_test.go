// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/grpcauth/grpcauth/store"
	"github.com/grpcauth/grpcauth/store/memstore"
)

// Of two who change a record one wins; the other reads it again.
func Example() {
	ctx := context.Background()
	s, err := memstore.New(memstore.Options{})
	if err != nil {
		panic(err)
	}
	if err := s.Put(ctx, store.Record{Key: "cart/1", Owner: "alice", Value: []byte("an apple")}); err != nil {
		panic(err)
	}
	mine, err := store.Get(ctx, s, "cart/1")
	if err != nil {
		panic(err)
	}
	hers := mine
	mine.Value, hers.Value = []byte("a pear"), []byte("a plum")
	fmt.Println(s.Put(ctx, mine))
	fmt.Println(errors.Is(s.Put(ctx, hers), store.ErrConflict))
	now, err := store.Get(ctx, s, "cart/1")
	fmt.Printf("%s, version %d, %v\n", now.Value, now.Version, err)
	// Output:
	// <nil>
	// true
	// a pear, version 2, <nil>
}
