// SPDX-License-Identifier: Apache-2.0

package oidc_test

import (
	"fmt"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/jwt"
	"github.com/grpcauth/grpcauth/backends/oidc"
)

func Example() {
	staff, err := oidc.New(jwt.Issuer{URL: "https://login.example.com", Audiences: []string{"orders"}, Algorithms: []string{"RS256"}}, oidc.Options{})
	if err != nil {
		panic(err)
	}
	partners, err := oidc.New(jwt.Issuer{
		URL: "https://idp.partner.example/realms/shop", Audiences: []string{"orders"}, Algorithms: []string{"ES256"}, PermissionsClaim: "/realm_access/roles",
	}, oidc.Options{})
	if err != nil {
		panic(err)
	}
	tokens, err := jwt.New(jwt.Options{Issuers: []jwt.Issuer{staff.Issuer(), partners.Issuer()}})
	if err != nil {
		panic(err)
	}
	auth := grpcauth.New(tokens)
	fmt.Println(auth != nil, staff)
	// Output: true Provider("https://login.example.com")
}
