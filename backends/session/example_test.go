// SPDX-License-Identifier: Apache-2.0

package session_test

import (
	"context"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc/metadata"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/session"
	"github.com/grpcauth/grpcauth/store/memstore"
)

func Example() {
	ctx := context.Background()
	now := func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }
	records, err := memstore.New(memstore.Options{Now: now})
	if err != nil {
		panic(err)
	}
	sessions, err := session.New(session.Options{Store: records, Now: now})
	if err != nil {
		panic(err)
	}

	// The login, once the password was found right. The caller of a browser is answered with the cookie.
	id, s, err := sessions.Replace(ctx, &grpcauth.User{ID: "42", Name: "Alice"}, session.Device{Name: "laptop"})
	if err != nil {
		panic(err)
	}
	fmt.Println(strings.ReplaceAll(sessions.Cookie(id, s), id, "…"))

	// A call of hers, and one after she has logged out.
	ctx = metadata.NewIncomingContext(ctx, metadata.Pairs("cookie", "__Host-session="+id))
	for range 2 {
		user, err := sessions.Authenticate(ctx, grpcauth.NewRequest(ctx, "/shop.v1.Orders/Get"))
		if err != nil {
			fmt.Println(grpcauth.CodeOf(err))
			break
		}
		fmt.Println(user.ID, user.Name, user.Method)
		if handle, ok := sessions.Current(ctx); ok {
			err = sessions.Revoke(ctx, user, handle)
		}
		if err != nil {
			panic(err)
		}
	}
	// Output:
	// __Host-session=…; Path=/; Max-Age=1800; HttpOnly; Secure; SameSite=Lax
	// 42 Alice session
	// CREDENTIALS_INVALID
}
