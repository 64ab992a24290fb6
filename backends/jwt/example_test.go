// SPDX-License-Identifier: Apache-2.0

package jwt_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"net"
	"time"

	gojwt "github.com/golang-jwt/jwt/v5"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/jwt"
	"github.com/grpcauth/grpcauth/jwks"
)

func Example() {
	// The identity provider's side: a key, and tokens that it signs.
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	mint := func(audience string) string {
		token := gojwt.NewWithClaims(gojwt.SigningMethodEdDSA, gojwt.MapClaims{
			"iss": "https://idp.example.com", "aud": audience, "sub": "alice", "scope": "orders.read", "exp": time.Now().Add(time.Minute).Unix(),
		})
		token.Header["kid"] = "2026-03"
		signed, err := token.SignedString(private)
		if err != nil {
			panic(err)
		}
		return signed
	}

	// The service's side.
	keys, err := jwks.Static(jwks.Key{ID: "2026-03", Public: public})
	if err != nil {
		panic(err)
	}
	tokens, err := jwt.New(jwt.Options{Issuers: []jwt.Issuer{{
		URL: "https://idp.example.com", Audiences: []string{"orders"}, Algorithms: []string{"EdDSA"}, Keys: keys,
	}}})
	if err != nil {
		panic(err)
	}
	auth := grpcauth.New(tokens)

	for _, audience := range []string{"orders", "invoices"} {
		ctx := peer.NewContext(context.Background(), &peer.Peer{Addr: &net.UnixAddr{Net: "unix"}})
		ctx = metadata.NewIncomingContext(ctx, metadata.Pairs("authorization", "Bearer "+mint(audience)))
		ctx, err = auth.Authenticate(ctx, "/shop.v1.Orders/Get")
		if err != nil {
			fmt.Println(err)
			continue
		}
		user, _ := grpcauth.FromContext(ctx)
		fmt.Println(user.ID, user.Issuer, user.Scopes)
	}
	// Output:
	// alice https://idp.example.com [orders.read]
	// Unauthenticated: CREDENTIALS_INVALID: jwt: the audience is another one
}
