// SPDX-License-Identifier: Apache-2.0

package token_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/grpcauth/grpcauth/store/memstore"
	"github.com/grpcauth/grpcauth/token"
)

func Example() {
	ctx := context.Background()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	ring, err := token.NewRing(token.RingOptions{Keys: []token.SigningKey{{Key: key}}})
	if err != nil {
		panic(err)
	}
	issuer, err := token.New(token.Options{Issuer: "https://login.example.com", Audiences: []string{"orders"}, Ring: ring})
	if err != nil {
		panic(err)
	}
	records, err := memstore.New(memstore.Options{})
	if err != nil {
		panic(err)
	}
	refresher, err := token.NewRefresher(token.RefreshOptions{Store: records, OnReuse: func(_ context.Context, r token.Reuse) {
		fmt.Println("somebody has a token of", r.Grant.Subject)
	}})
	if err != nil {
		panic(err)
	}

	// The user logs in.
	refresh, grant, err := refresher.Start(ctx, token.Grant{Subject: "alice", ClientID: "shop", Scopes: []string{"orders.read"}})
	if err != nil {
		panic(err)
	}
	_, access, err := issuer.Sign(ctx, grant.Claims())
	if err != nil {
		panic(err)
	}
	fmt.Println(access.Subject, "may call for", access.Expiry.Sub(access.IssuedAt).Round(time.Minute))

	// Her client gets new tokens; then somebody shows the old one.
	client := token.Client{ID: "shop"}
	next, _, err := refresher.Rotate(ctx, refresh, client)
	fmt.Println("rotated:", next != refresh, err)
	_, _, err = refresher.Rotate(ctx, refresh, client)
	fmt.Println("once more:", errors.Is(err, token.ErrReused))
	_, _, err = refresher.Rotate(ctx, next, client)
	fmt.Println("from then on:", errors.Is(err, token.ErrRevoked))
	// Output:
	// alice may call for 10m0s
	// rotated: true <nil>
	// somebody has a token of alice
	// once more: true
	// from then on: true
}
