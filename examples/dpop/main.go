// SPDX-License-Identifier: Apache-2.0

// Command dpop is a gRPC service whose tokens are bound to a key of the caller (RFC 9449): who steals one can do nothing with it. Each line that it prints is one call.
package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"os"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/bearer"
	"github.com/grpcauth/grpcauth/backends/jwt"
	"github.com/grpcauth/grpcauth/clientauth"
)

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "dpop:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer) error {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0") // on loopback, tokens may be sent in plaintext
	if err != nil {
		return err
	}
	idp, err := newIssuer()
	if err != nil {
		return err
	}
	origin := "https://" + listener.Addr().String() // what callers know the server by
	srv, err := newServer(idp, origin)
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
	client := healthpb.NewHealthClient(conn)
	try := func(what string, ctx context.Context, opts ...grpc.CallOption) {
		_, err := client.Check(ctx, &healthpb.HealthCheckRequest{}, opts...)
		fmt.Fprintf(out, "%-36s %v\n", what, status.Code(err))
	}
	// Alice has a key, and a token that is bound to it. Her credentials make a proof for each call.
	var token string
	source := clientauth.SourceFunc(func(context.Context) (clientauth.Token, error) { return clientauth.Token{Value: token}, nil })
	alice, err := newCredentials(source)
	if err == nil {
		token, err = idp.token("alice", alice.Thumbprint())
	}
	if err != nil {
		return err
	}
	try("alice", ctx, grpc.PerRPCCredentials(alice))
	try("alice, once more", ctx, grpc.PerRPCCredentials(alice))
	// A thief has the token, but not the key.
	thief, err := newCredentials(source)
	if err != nil {
		return err
	}
	try("a thief, as a bearer token", metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token))
	try("a thief, without a proof", metadata.AppendToOutgoingContext(ctx, "authorization", "DPoP "+token))
	try("a thief, with a key of his own", ctx, grpc.PerRPCCredentials(thief))
	// A proof that was overheard is good for one call: the one it was made for.
	for _, made := range []struct{ what, url string }{
		{"a proof for another method", origin + healthpb.Health_Watch_FullMethodName},
		{"a proof for another server", "https://invoices.example.com" + healthpb.Health_Check_FullMethodName},
		{"a proof for this call", origin + healthpb.Health_Check_FullMethodName},
	} {
		proof, err := alice.Proof("POST", made.url, token, "")
		if err != nil {
			return err
		}
		call := metadata.AppendToOutgoingContext(ctx, "authorization", "DPoP "+token, "dpop", proof)
		try(made.what, call)
		try("the same proof, once more", call)
	}
	return nil
}

func newCredentials(src clientauth.Source) (*clientauth.DPoP, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	return clientauth.NewDPoP(key, src, clientauth.Options{InsecureAllowLoopback: true})
}

func newServer(idp *issuer, origin string) (*grpc.Server, error) {
	tokens, err := jwt.New(jwt.Options{
		Issuers: []jwt.Issuer{{URL: issuerURL, Audiences: []string{audience}, Algorithms: []string{"ES256"}, Keys: idp.keys}},
		Bearer:  bearer.Options{RequireBinding: true, DPoP: &bearer.DPoP{Origins: []string{origin}}},
	})
	if err != nil {
		return nil, err
	}
	auth := grpcauth.New(tokens)
	srv := grpc.NewServer(auth.ServerOptions()...)
	healthpb.RegisterHealthServer(auth.Registrar(srv), health.NewServer())
	return srv, nil
}
