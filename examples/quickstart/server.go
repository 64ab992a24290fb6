// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/basic"
	"github.com/grpcauth/grpcauth/backends/jwt"
	echov1 "github.com/grpcauth/grpcauth/internal/gen/echo/v1"
	"github.com/grpcauth/grpcauth/jwks"
)

// collectScope is what a credential must be good for to call Collect.
const collectScope = "echo.collect"

// policy holds what differs from the default, which is that a call needs a user: Echo, Expand, Converse and reflection
// are not named here and therefore protected.
var policy = grpcauth.Policy{
	"/echo.v1.EchoService/Collect": {Scopes: []string{collectScope}},
}

// newServer makes a server that knows its callers by a token of the issuer or by a name and a password.
func newServer(certificate tls.Certificate, keys jwks.Set, users accounts, opts ...grpcauth.Option) (*grpc.Server, error) {
	tokens, err := jwt.New(jwt.Options{Issuers: []jwt.Issuer{{
		URL: issuerURL, Audiences: []string{audience}, Algorithms: []string{algorithm}, Keys: keys,
	}}})
	if err != nil {
		return nil, err
	}
	passwords, err := basic.New(basic.Options{Lookup: users.byName})
	if err != nil {
		return nil, err
	}

	opts = append(opts,
		grpcauth.WithErrorDomain(audience),
		grpcauth.WithPolicy(policy),
		grpcauth.WithPolicy(grpcauth.HealthPolicy(grpcauth.Public)), // load balancers have no credential
	)
	auth := grpcauth.New(grpcauth.Chain(tokens, passwords), opts...)

	// ServerOptions protects every method, also those that the server does not know.
	srv := grpc.NewServer(append(auth.ServerOptions(), grpc.Creds(credentials.NewServerTLSFromCert(&certificate)))...)

	// Registered through the Registrar, a call is judged before its message is read.
	services := auth.Registrar(srv)
	echov1.RegisterEchoServiceServer(services, echo{})
	healthpb.RegisterHealthServer(services, health.NewServer())
	reflection.Register(services)

	// Check finds rules for methods that do not exist, and methods that nothing protects.
	if err := auth.Check(srv); err != nil {
		return nil, err
	}
	return srv, nil
}

// accounts stands for a table of users, by their names.
type accounts map[string]basic.Account

// byName returns the zero Account for a name that nobody has: the backend then takes as long to refuse as it does for a wrong password.
func (a accounts) byName(_ context.Context, name string) (basic.Account, error) {
	return a[name], nil
}
