// SPDX-License-Identifier: Apache-2.0

package memstore_test

import (
	"context"
	"fmt"
	"time"

	"github.com/grpcauth/grpcauth/store"
	"github.com/grpcauth/grpcauth/store/memstore"
)

func Example() {
	ctx := context.Background()
	s, err := memstore.New(memstore.Options{MaxRecords: 10_000})
	if err != nil {
		panic(err)
	}
	err = s.Put(ctx, store.Record{Key: "session/1", Owner: "alice", Value: []byte("web"), Expiry: time.Now().Add(time.Hour)})
	if err != nil {
		panic(err)
	}
	recs, err := s.List(ctx, "alice")
	fmt.Println(len(recs), recs[0].Key, err)
	// Output: 1 session/1 <nil>
}
