// SPDX-License-Identifier: Apache-2.0

// Command oidc is a gRPC service that trusts the tokens of an identity provider by the name of its issuer. It starts while the provider is down, notices that
// keys were rotated, and goes on without the provider once its keys are known; each line that it prints is one call.
package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/jwt"
	"github.com/grpcauth/grpcauth/backends/oidc"
	"github.com/grpcauth/grpcauth/jwks"
)

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "oidc:", err)
		os.Exit(1)
	}
}

const audience = "orders"

// interval is the time between two fetches: 10 seconds by default, which is long to wait for an example.
const interval = 50 * time.Millisecond

func run(ctx context.Context, out io.Writer) error {
	idp, stop, err := startProvider(ctx)
	if err != nil {
		return err
	}
	defer stop() //nolint:errcheck // the program ends
	staff, srv, err := newServer(idp.url)
	if err != nil {
		return err
	}
	defer staff.Close()                                                      //nolint:errcheck // the program ends
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0") // on loopback, tokens may be sent in plaintext
	if err != nil {
		return err
	}
	go func() { _ = srv.Serve(listener) }() // ends with Stop
	defer srv.Stop()
	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // the program ends
	health := healthpb.NewHealthClient(conn)

	for _, step := range []struct {
		what     string
		before   func() error
		audience string
	}{
		{"the provider is down", func() error { idp.setDown(true); return nil }, audience},
		{"it is back", func() error { idp.setDown(false); return nil }, audience},
		{"a token for another service", nil, "invoices"},
		{"its keys were rotated", idp.rotate, audience},
		{"it is down again", func() error { idp.setDown(true); return nil }, audience},
		{"its keys were rotated unseen", idp.rotate, audience},
	} {
		if step.before != nil {
			if err := step.before(); err != nil {
				return err
			}
			time.Sleep(interval)
		}
		token, err := idp.token("alice", step.audience)
		if err != nil {
			return err
		}
		answer, err := health.Check(metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token), nil)
		fmt.Fprintf(out, "%-30s %-16v %v\n", step.what, status.Code(err), answer.GetStatus())
	}
	return nil
}

// newServer makes a server that trusts one issuer.
func newServer(issuer string) (*oidc.Provider, *grpc.Server, error) {
	trusted := jwt.Issuer{URL: issuer, Audiences: []string{audience}, Algorithms: []string{"ES256"}}
	staff, err := oidc.New(trusted, oidc.Options{Keys: jwks.Options{MinInterval: interval}})
	if err != nil {
		return nil, nil, err
	}
	tokens, err := jwt.New(jwt.Options{Issuers: []jwt.Issuer{staff.Issuer()}})
	if err != nil {
		return nil, nil, err
	}
	auth := grpcauth.New(tokens)
	srv := grpc.NewServer(auth.ServerOptions()...)
	healthpb.RegisterHealthServer(auth.Registrar(srv), service{})
	return staff, srv, nil
}

// service is a service whose handler knows who calls.
type service struct {
	healthpb.UnimplementedHealthServer
}

func (service) Check(ctx context.Context, _ *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	answer := &healthpb.HealthCheckResponse{}
	if user, ok := grpcauth.FromContext(ctx); ok && user.ID == "alice" {
		answer.Status = healthpb.HealthCheckResponse_SERVING
	}
	return answer, nil
}
