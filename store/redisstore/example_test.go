// SPDX-License-Identifier: Apache-2.0

package redisstore_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/grpcauth/grpcauth/store"
	"github.com/grpcauth/grpcauth/store/redisstore"
)

func Example() {
	server := miniredis.NewMiniRedis() // Redis in memory, for tests
	if err := server.Start(); err != nil {
		panic(err)
	}
	defer server.Close()

	client := redis.NewClient(&redis.Options{Addr: server.Addr(), ContextTimeoutEnabled: true})
	defer client.Close()
	records, err := redisstore.New(redisstore.Options{Client: client})
	if err != nil {
		panic(err)
	}

	ctx := context.Background()
	rec := store.Record{Key: "session/1", Owner: "alice", Value: []byte("a laptop")}
	fmt.Println(records.Put(ctx, rec))
	fmt.Println(errors.Is(records.Put(ctx, rec), store.ErrConflict))

	list, err := store.List(ctx, records, "alice")
	fmt.Printf("%d %s %v\n", len(list), list[0].Value, err)
	// Output:
	// <nil>
	// true
	// 1 a laptop <nil>
}
