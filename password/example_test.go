// SPDX-License-Identifier: Apache-2.0

package password_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/grpcauth/grpcauth/password"
)

func Example() {
	ctx := context.Background()
	hasher, err := password.New(password.Options{})
	if err != nil {
		panic(err)
	}
	hash, err := hasher.Hash(ctx, "correct horse battery staple")
	if err != nil {
		panic(err)
	}
	fmt.Println(hash[:31])
	fmt.Println(hasher.Verify(ctx, hash, "correct horse battery staple"))
	fmt.Println(errors.Is(hasher.Verify(ctx, hash, "Tr0ub4dor&3"), password.ErrMismatch))

	// A hash that another program left behind still verifies, and is worth replacing at the next login.
	old := "$2a$04$OWbRCXjif4034sg8h5EglelPQMZK3esxu4S4lqZ7z6wW.BZp1KvK."
	fmt.Println(hasher.Verify(ctx, old, "Tr0ub4dor&3"), hasher.NeedsRehash(old))
	// Output:
	// $argon2id$v=19$m=19456,t=2,p=1$
	// <nil>
	// true
	// <nil> true
}
