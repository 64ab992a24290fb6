// SPDX-License-Identifier: Apache-2.0

package apikey_test

import (
	"context"
	"fmt"
	"time"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/apikey"
	"github.com/grpcauth/grpcauth/grpcauthtest"
	"github.com/grpcauth/grpcauth/store/memstore"
)

func Example() {
	ctx := context.Background()
	records, err := memstore.New(memstore.Options{}) // or a sqlstore or a redisstore, so that keys outlive the process
	if err != nil {
		panic(err)
	}
	keys, err := apikey.New(apikey.Options{Store: records, Prefix: "orders_live"})
	if err != nil {
		panic(err)
	}
	defer keys.Close()

	text, key, err := keys.Create(ctx, apikey.Key{Name: "nightly export", Owner: "42", Scopes: []string{"orders.read"}})
	if err != nil {
		panic(err)
	}
	call := func(text string) {
		user, err := keys.Authenticate(ctx, grpcauthtest.Request(ctx, "/shop.v1.Orders/List", "x-api-key", text))
		if err != nil {
			fmt.Println(grpcauth.CodeOf(err))
			return
		}
		fmt.Println(user.ID, user.Name, user.Scopes)
	}
	call(text)
	call(text[:len(text)-1]) // a character was lost on the way

	next, err := keys.Rotate(ctx, key.ID, 24*time.Hour) // both work for a day
	if err != nil {
		panic(err)
	}
	call(text)
	call(next)

	if err := keys.Revoke(ctx, key.ID); err != nil {
		panic(err)
	}
	call(next)
	// Output:
	// 42 nightly export [orders.read]
	// CREDENTIALS_MALFORMED
	// 42 nightly export [orders.read]
	// 42 nightly export [orders.read]
	// CREDENTIALS_INVALID
}
