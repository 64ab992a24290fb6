// SPDX-License-Identifier: Apache-2.0

// Command mtls is a gRPC service that knows workloads by their SPIFFE IDs, over connections that go-spiffe makes and verifies with what the Workload API gives
// it. Each line that it prints is one call. What an application needs of it is in server.go; agent.go stands in for an agent such as SPIRE's.
package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"os"

	"github.com/spiffe/go-spiffe/v2/spiffegrpc/grpccredentials"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	echov1 "github.com/grpcauth/grpcauth/internal/gen/echo/v1"
)

func main() {
	ctx := context.Background()
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err == nil {
		err = run(ctx, os.Stdout, listener)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "mtls:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, listener net.Listener) error {
	mesh, err := startAgent()
	if err != nil {
		return err
	}
	defer mesh.stop()
	sources := map[string]*workloadapi.X509Source{}
	for _, path := range []string{"/ns/shop/sa/orders", "/ns/shop/sa/web", "/ns/shop-test/sa/web"} {
		if sources[path], err = mesh.source(ctx, path); err != nil {
			return err
		}
	}
	orders, web, test := sources["/ns/shop/sa/orders"], sources["/ns/shop/sa/web"], sources["/ns/shop-test/sa/web"]

	srv, err := newServer(orders)
	if err != nil {
		return err
	}
	go func() { _ = srv.Serve(listener) }() // ends with Stop
	defer srv.Stop()

	server := tlsconfig.AuthorizeID(mesh.id("/ns/shop/sa/orders"))
	connections := map[string]*grpc.ClientConn{}
	defer func() {
		for _, conn := range connections {
			_ = conn.Close()
		}
	}()
	for name, creds := range map[string]credentials.TransportCredentials{
		"web":   grpccredentials.MTLSClientCredentials(web, web, server),
		"again": grpccredentials.MTLSClientCredentials(web, web, server), // is not opened until its first call
		"test":  grpccredentials.MTLSClientCredentials(test, test, server),
		"none":  grpccredentials.TLSClientCredentials(web, server),
	} {
		conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(creds))
		if err != nil {
			return err
		}
		connections[name] = conn
	}

	for _, step := range []struct {
		what, connection string
		before           func(context.Context) error
	}{
		{"a workload of the shop", "web", nil},
		{"a workload of its tests", "test", nil},
		{"a client without certificate", "none", nil},
		{"the mesh has a new authority", "web", mesh.rotate},
		{"the same, connected again", "again", nil},
	} {
		if step.before != nil {
			if err := step.before(ctx); err != nil {
				return err
			}
		}
		answer, err := echov1.NewEchoServiceClient(connections[step.connection]).Echo(ctx, &echov1.EchoRequest{})
		fmt.Fprintf(out, "%-30s %-16v %s\n", step.what, status.Code(err), cmp.Or(answer.GetUserId(), "-"))
	}
	return nil
}
