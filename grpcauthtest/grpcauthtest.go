// SPDX-License-Identifier: Apache-2.0

// Package grpcauthtest helps to test services that use grpcauth, and backends of one's own: a server in memory, an issuer of tokens, a clock that
// moves when told, certificates, and contexts with a user.
//
// Everything fails its test by itself and cleans up when the test ends.
package grpcauthtest

import (
	"context"
	"encoding/base64"
	"net"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/test/bufconn"

	"github.com/grpcauth/grpcauth"
)

// Context returns a context for calling a handler as that user, without a server.
func Context(tb testing.TB, user *grpcauth.User) context.Context {
	tb.Helper()
	return grpcauth.NewContext(tb.Context(), user)
}

// Serve runs a gRPC server in memory behind auth until the test ends, and returns a connection to it.
//
// register is given the server as [grpcauth.Interceptor.Registrar] wraps it. The options come after those of auth.
func Serve(tb testing.TB, auth *grpcauth.Interceptor, register func(grpcauth.Server), opts ...grpc.ServerOption) *grpc.ClientConn {
	tb.Helper()
	srv := grpc.NewServer(append(auth.ServerOptions(), opts...)...)
	register(auth.Registrar(srv))
	return Dial(tb, srv, nil)
}

// Dial serves srv in memory until the test ends, and returns a connection to it, with plaintext if creds is nil.
func Dial(tb testing.TB, srv *grpc.Server, creds credentials.TransportCredentials) *grpc.ClientConn {
	tb.Helper()
	if creds == nil {
		creds = insecure.NewCredentials()
	}
	listener := bufconn.Listen(1 << 20)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(listener) }()
	conn, err := grpc.NewClient("passthrough:///server.test", grpc.WithTransportCredentials(creds),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	if err != nil {
		tb.Fatalf("grpcauthtest: %v", err)
	}
	tb.Cleanup(func() {
		_ = conn.Close()
		srv.Stop()
		if err := <-served; err != nil {
			tb.Errorf("grpcauthtest: the server ended with %v", err)
		}
	})
	return conn
}

// WithBearer returns a context whose outgoing calls carry a bearer token.
func WithBearer(ctx context.Context, token string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
}

// WithBasic returns a context whose outgoing calls carry a user name and a password.
func WithBasic(ctx context.Context, username, password string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(username+":"+password)))
}

// Request returns a request with this metadata, in pairs of key and value, from a peer in memory. It is for calling a backend without a server.
func Request(ctx context.Context, fullMethod string, pairs ...string) *grpcauth.Request {
	return RequestMD(ctx, fullMethod, metadata.Pairs(pairs...))
}

// RequestMD returns a request with this metadata, which may also be such that gRPC would not send it.
func RequestMD(ctx context.Context, fullMethod string, md metadata.MD) *grpcauth.Request {
	ctx = peer.NewContext(ctx, &peer.Peer{Addr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 50051}})
	return grpcauth.NewRequest(metadata.NewIncomingContext(ctx, md), fullMethod)
}

// Clock is a clock that stands still until it is moved. It is safe for concurrent use.
type Clock struct {
	mu  sync.Mutex
	now time.Time // guarded by mu
}

// NewClock returns a clock that stands at this time.
func NewClock(now time.Time) *Clock { return &Clock{now: now} }

// Now is the time of the clock; give it to the options named Now, and to [grpcauth.WithClock].
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Advance moves the clock by d, which may be negative.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}
