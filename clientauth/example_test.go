// SPDX-License-Identifier: Apache-2.0

package clientauth_test

import (
	"crypto/tls"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/grpcauth/grpcauth/clientauth"
)

func Example() {
	token, err := clientauth.Bearer("mF_9.B5f-4.1JqM", clientauth.Options{})
	if err != nil {
		panic(err)
	}
	conn, err := grpc.NewClient("orders.example.com:443",
		grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS12})),
		grpc.WithPerRPCCredentials(token),
	)
	if err != nil {
		panic(err)
	}
	defer conn.Close()
	fmt.Println(token, token.RequireTransportSecurity())
	// Output: clientauth.Credentials true
}
