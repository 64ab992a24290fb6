// SPDX-License-Identifier: Apache-2.0

package grpcauthtest_test

import (
	"context"
	"net"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/grpcauthtest"
	echov1 "github.com/grpcauth/grpcauth/internal/gen/echo/v1"
)

// bearer knows every caller by her token.
var bearer = grpcauth.BackendFunc(func(_ context.Context, req *grpcauth.Request) (*grpcauth.User, error) {
	token, err := req.Authorization("Bearer")
	return &grpcauth.User{ID: token}, err
})

// abroad is a listener whose callers seem to come from another machine.
type abroad struct{ net.Listener }

func (l abroad) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	return remote{conn}, err
}

type remote struct{ net.Conn }

func (remote) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1} }

// fromAbroad serves srv over TCP, in plaintext, as if to another machine.
func fromAbroad(t *testing.T, srv *grpc.Server) *grpc.ClientConn {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(abroad{listener}) }()
	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		srv.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return conn
}

func inMemory(t *testing.T, srv *grpc.Server) *grpc.ClientConn {
	t.Helper()
	return grpcauthtest.Dial(t, srv, nil)
}

// The same server takes a token from a connection in memory, which nobody can listen to, and not from one in plaintext.
func TestConnectionInMemoryNeedsNoTLS(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		dial func(*testing.T, *grpc.Server) *grpc.ClientConn
		code codes.Code
	}{
		"in memory":            {inMemory, codes.OK},
		"from another machine": {fromAbroad, codes.PermissionDenied},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			auth := grpcauth.New(bearer)
			srv := grpc.NewServer(auth.ServerOptions()...)
			echov1.RegisterEchoServiceServer(auth.Registrar(srv), whoAmI{})
			client := echov1.NewEchoServiceClient(test.dial(t, srv))
			_, err := client.Echo(grpcauthtest.WithBearer(t.Context(), "alice"), &echov1.EchoRequest{})
			if status.Code(err) != test.code {
				t.Errorf("got %v, want %v", err, test.code)
			}
		})
	}
}

func TestServeRunsTheInterceptorsOfItsOptionsAfterAuthentication(t *testing.T) {
	t.Parallel()
	var seen string
	option := grpc.ChainUnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		if user, ok := grpcauth.FromContext(ctx); ok {
			seen = user.ID
		}
		return handler(ctx, req)
	})
	conn := grpcauthtest.Serve(t, grpcauth.New(bearer), func(s grpcauth.Server) { echov1.RegisterEchoServiceServer(s, whoAmI{}) }, option)
	resp, err := echov1.NewEchoServiceClient(conn).Echo(grpcauthtest.WithBearer(t.Context(), "alice"), &echov1.EchoRequest{})
	if err != nil || resp.GetUserId() != "alice" || seen != "alice" {
		t.Errorf("the interceptor saw %q, the handler answered %v, %v", seen, resp, err)
	}
}

func TestServerAndConnectionEndWithTheTest(t *testing.T) {
	t.Parallel()
	var conn *grpc.ClientConn
	inTest(func(tb testing.TB) {
		conn = grpcauthtest.Serve(tb, grpcauth.New(bearer), func(s grpcauth.Server) { echov1.RegisterEchoServiceServer(s, whoAmI{}) })
	})
	_, err := echov1.NewEchoServiceClient(conn).Echo(grpcauthtest.WithBearer(t.Context(), "alice"), &echov1.EchoRequest{})
	if status.Code(err) != codes.Canceled {
		t.Errorf("got %v, want a connection that is closed", err)
	}
}

func TestRequestHasItsMetadataMethodAndPeer(t *testing.T) {
	t.Parallel()
	req := grpcauthtest.Request(t.Context(), "/shop.v1.Orders/Get", "X-Key", "one", "x-other", "two")
	value, err := req.Value("x-key")
	if req.Method() != "/shop.v1.Orders/Get" || value != "one" || err != nil || req.Peer() == nil {
		t.Errorf("got %v, %q, %v, %v", req, value, err, req.Peer())
	}
	const unsendable = "\x00\xff"
	value, err = grpcauthtest.RequestMD(t.Context(), "", metadata.MD{"x-key": {unsendable}}).Value("x-key")
	if value != unsendable || err != nil {
		t.Errorf("got %q, %v", value, err)
	}
}
