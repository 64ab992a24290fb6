// SPDX-License-Identifier: Apache-2.0

package gateway_test

import (
	"context"
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/gateway"
	echogateway "github.com/grpcauth/grpcauth/gateway/internal/gen/echo/v1"
	"github.com/grpcauth/grpcauth/grpcauthtest"
	echov1 "github.com/grpcauth/grpcauth/internal/gen/echo/v1"
)

func TestInProcessCallsPassEveryInterceptor(t *testing.T) {
	t.Parallel()
	var passed []string
	auth := grpcauth.New(newBackends(t).chain)
	trust, err := gateway.TrustHop(gateway.HopOptions{})
	check(t, err)
	srv := grpc.NewServer(trust,
		grpc.ChainUnaryInterceptor(auth.Unary(), func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
			passed = append(passed, info.FullMethod)
			return next(ctx, req)
		}),
		grpc.ChainStreamInterceptor(auth.Stream(), func(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
			passed = append(passed, info.FullMethod)
			return next(srv, ss)
		}))
	echov1.RegisterEchoServiceServer(srv, &echo{})
	conn, err := gateway.InProcess(srv)
	check(t, err)
	defer srv.Stop()
	defer func() { check(t, conn.Close()) }()
	client := echov1.NewEchoServiceClient(conn)
	if _, err := client.Echo(t.Context(), &echov1.EchoRequest{}); status.Code(err) != codes.PermissionDenied {
		t.Errorf("a call of nobody knows whom: got %v", err) // who calls without a gateway says neither from where nor how
	}
	ctx := grpcauthtest.WithBearer(t.Context(), "alices")
	if err := direct(t, conn, "authorization", "Bearer alices", "grpcauth-caller", "127.0.0.1"); err != nil {
		t.Error(err)
	}
	stream, err := client.Expand(ctx, &echov1.ExpandRequest{Text: "a"})
	check(t, err)
	if _, err := stream.Recv(); status.Code(err) != codes.PermissionDenied {
		t.Errorf("a stream of nobody knows whom: got %v", err)
	}
	if strings.Join(passed, " ") != "/echo.v1.EchoService/Echo" {
		t.Errorf("the next interceptor saw %q", passed)
	}
}

// The functions that a gateway should not be registered by: what they leave out, nothing can put back.
func TestPlainRegistrationKnowsNobody(t *testing.T) {
	t.Parallel()
	service := &echo{}
	opts, err := gateway.ServeMuxOptions(gateway.Options{})
	check(t, err)
	mux := runtime.NewServeMux(opts...)
	check(t, echogateway.RegisterEchoServiceHandlerServer(t.Context(), mux, service))
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodPost, "https://example.com/v1/echo", strings.NewReader("{}"))
	r.Header.Set("Authorization", "Bearer alices")
	mux.ServeHTTP(w, r)
	if calls := service.calls(); w.Code != http.StatusOK || len(calls) != 1 || calls[0].user != "" {
		t.Errorf("got %d and the calls %v", w.Code, calls)
	}
}

func TestServerWithTLSTakesTheConnectionInMemoryBesideIt(t *testing.T) {
	t.Parallel()
	ca := grpcauthtest.NewCA(t)
	auth := grpcauth.New(newBackends(t).chain)
	trust, err := gateway.TrustHop(gateway.HopOptions{})
	check(t, err)
	srv := grpc.NewServer(append(auth.ServerOptions(), trust, grpc.Creds(gateway.Credentials(credentials.NewTLS(ca.ServerTLS()))))...)
	echov1.RegisterEchoServiceServer(auth.Registrar(srv), &echo{})
	conn, err := gateway.InProcess(srv)
	check(t, err)
	defer func() { check(t, conn.Close()) }()
	check(t, direct(t, conn, "authorization", "Bearer alices", "grpcauth-caller", "198.51.100.1", "grpcauth-secured", "tls"))
	check(t, direct(t, dial(t, srv, credentials.NewTLS(ca.ClientTLS())), "authorization", "Bearer alices"))
	if err := direct(t, dial(t, srv, insecure.NewCredentials()), "authorization", "Bearer alices"); status.Code(err) != codes.Unavailable {
		t.Errorf("over plaintext: got %v", err)
	}
}

func TestInProcessSaysWhyThereIsNoConnection(t *testing.T) {
	t.Parallel()
	stopped := grpc.NewServer()
	stopped.Stop()
	secured := grpc.NewServer(grpc.Creds(credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS13, Certificates: grpcauthtest.NewCA(t).ServerTLS().Certificates})))
	defer secured.Stop()
	for name, srv := range map[string]*grpc.Server{"stopped": stopped, "not wrapped": secured, "nil": nil} {
		if conn, err := gateway.InProcess(srv); err == nil || conn != nil || !strings.HasPrefix(err.Error(), "gateway: InProcess: ") {
			t.Errorf("%s: got %v and %v", name, conn, err)
		}
	}
	srv := grpc.NewServer()
	defer srv.Stop()
	if _, err := gateway.InProcess(srv, grpc.WithDefaultServiceConfig("{")); err == nil {
		t.Error("an option that is wrong: got no error")
	}
}

func TestConnectionsInMemoryEndAlone(t *testing.T) {
	t.Parallel()
	auth := grpcauth.New(newBackends(t).chain)
	srv := grpc.NewServer(auth.ServerOptions()...)
	echov1.RegisterEchoServiceServer(auth.Registrar(srv), &echo{})
	first, err := gateway.InProcess(srv)
	check(t, err)
	second, err := gateway.InProcess(srv)
	check(t, err)
	var calls sync.WaitGroup
	for range 20 {
		calls.Go(func() { check(t, direct(t, first, "authorization", "Bearer alices")) })
		calls.Go(func() { check(t, direct(t, second, "authorization", "Bearer alices")) })
	}
	calls.Wait()
	check(t, first.Close())
	check(t, direct(t, second, "authorization", "Bearer alices"))
	srv.GracefulStop()
	if err := direct(t, second, "authorization", "Bearer alices"); status.Code(err) != codes.Unavailable {
		t.Errorf("after the server: got %v", err)
	}
	check(t, second.Close())
}
