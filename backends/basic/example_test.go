// SPDX-License-Identifier: Apache-2.0

package basic_test

import (
	"context"
	"fmt"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/basic"
	"github.com/grpcauth/grpcauth/grpcauthtest"
	"github.com/grpcauth/grpcauth/password"
)

func Example() {
	ctx := context.Background()
	hasher, err := password.New(password.Options{})
	if err != nil {
		panic(err)
	}
	hash, err := hasher.Hash(ctx, "open sesame")
	if err != nil {
		panic(err)
	}
	accounts := map[string]basic.Account{
		"alice": {User: &grpcauth.User{ID: "42", Name: "Alice"}, PasswordHash: hash},
	}
	backend, err := basic.New(basic.Options{
		Hasher: hasher,
		Lookup: func(_ context.Context, username string) (basic.Account, error) { return accounts[username], nil },
	})
	if err != nil {
		panic(err)
	}

	for _, authorization := range []string{
		"Basic YWxpY2U6b3BlbiBzZXNhbWU=", // alice:open sesame
		"Basic YWxpY2U6b3BlbiBiYXJsZXk=", // alice:open barley
		"Basic bWFsbG9yeTp4",             // mallory:x
	} {
		user, err := backend.Authenticate(ctx, grpcauthtest.Request(ctx, "/shop.v1.Orders/Get", "authorization", authorization))
		if err != nil {
			fmt.Println(grpcauth.CodeOf(err))
			continue
		}
		fmt.Println(user.ID, user.Name, user.Method)
	}
	// Output:
	// 42 Alice basic
	// CREDENTIALS_INVALID
	// CREDENTIALS_INVALID
}
