// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"context"
	"net"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/grpcauthtest"
	echov1 "github.com/grpcauth/grpcauth/internal/gen/echo/v1"
)

// echo answers with the user's ID.
type echo struct {
	echov1.UnimplementedEchoServiceServer
}

func (echo) Echo(ctx context.Context, req *echov1.EchoRequest) (*echov1.EchoResponse, error) {
	user, _ := grpcauth.FromContext(ctx)
	return &echov1.EchoResponse{Text: req.GetText(), UserId: user.ID}, nil
}

func (echo) Expand(req *echov1.ExpandRequest, s grpc.ServerStreamingServer[echov1.ExpandResponse]) error {
	user, _ := grpcauth.FromContext(s.Context())
	return s.Send(&echov1.ExpandResponse{Text: req.GetText(), UserId: user.ID})
}

// serve runs a server on loopback behind a backend until the test ends, with plaintext if creds is nil, and returns its address.
func serve(t *testing.T, backend grpcauth.Backend, creds credentials.TransportCredentials) string {
	t.Helper()
	if creds == nil {
		creds = insecure.NewCredentials()
	}
	auth := grpcauth.New(backend)
	srv := grpc.NewServer(append(auth.ServerOptions(), grpc.Creds(creds))...)
	echov1.RegisterEchoServiceServer(auth.Registrar(srv), echo{})
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	check(t, err)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(listener) }()
	t.Cleanup(func() {
		srv.Stop()
		check(t, <-served)
	})
	return listener.Addr().String()
}

// dial returns a client of a server, with plaintext if creds is nil.
func dial(t *testing.T, address string, creds credentials.TransportCredentials, opts ...grpc.DialOption) echov1.EchoServiceClient {
	t.Helper()
	if creds == nil {
		creds = insecure.NewCredentials()
	}
	conn, err := grpc.NewClient(address, append(opts, grpc.WithTransportCredentials(creds))...)
	check(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return echov1.NewEchoServiceClient(conn)
}

const (
	invalid     = "CREDENTIALS_INVALID"
	unavailable = "AUTHENTICATION_UNAVAILABLE"
)

// say makes a call with what ctx and the client have. The answer is the user that the handler saw, or the reason why there was none.
func say(ctx context.Context, client echov1.EchoServiceClient) string {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	resp, err := client.Echo(ctx, &echov1.EchoRequest{Text: "x"})
	if err != nil {
		return reason(err)
	}
	return resp.GetUserId()
}

// reason is why a call was refused.
func reason(err error) string {
	for _, d := range status.Convert(err).Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			return info.GetReason()
		}
	}
	return err.Error()
}

// expect makes a call with a token.
func expect(t *testing.T, client echov1.EchoServiceClient, token, want string) {
	t.Helper()
	if got := say(grpcauthtest.WithBearer(t.Context(), token), client); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// until asks again and again until done, for half a minute at the most.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for !done() {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			t.Fatalf("%s: it did not come to pass", what)
		}
	}
}
