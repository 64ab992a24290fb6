// SPDX-License-Identifier: Apache-2.0

package bearer_test

import (
	"context"
	"fmt"

	"google.golang.org/grpc/metadata"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/bearer"
)

// desk is a verifier in a few lines: it knows the tokens that it handed out.
type desk map[string]grpcauth.User

func (d desk) Verify(_ context.Context, token string) (*grpcauth.User, error) {
	user, ok := d[token]
	if !ok {
		return nil, grpcauth.Errorf(grpcauth.CodeInvalid, "nobody was given the token")
	}
	return user.Clone(), nil
}

func Example() {
	backend, err := bearer.New(desk{"mF_9.B5f-4.1JqM": {ID: "alice", Scopes: []string{"orders.read"}}}, bearer.Options{Realm: "orders"})
	if err != nil {
		panic(err)
	}
	for _, header := range []string{"Bearer mF_9.B5f-4.1JqM", "Bearer guess", "Bearer not a token", "Basic YWxpY2U6"} {
		ctx := metadata.NewIncomingContext(context.Background(), metadata.Pairs("authorization", header))
		user, err := backend.Authenticate(ctx, grpcauth.NewRequest(ctx, "/shop.v1.Orders/Get"))
		if err != nil {
			fmt.Println(grpcauth.CodeOf(err))
			continue
		}
		fmt.Println(user.ID, user.Method, user.Scopes)
	}
	// Output:
	// alice bearer [orders.read]
	// CREDENTIALS_INVALID
	// CREDENTIALS_MALFORMED
	// CREDENTIALS_MISSING
}
