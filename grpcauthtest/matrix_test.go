// SPDX-License-Identifier: Apache-2.0

package grpcauthtest_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/grpcauthtest"
	echov1 "github.com/grpcauth/grpcauth/internal/gen/echo/v1"
)

// people knows two users, and nobody else.
var people = grpcauth.BackendFunc(func(_ context.Context, req *grpcauth.Request) (*grpcauth.User, error) {
	token, err := req.Authorization("Bearer")
	switch {
	case err != nil:
		return nil, err
	case token == "reader":
		return &grpcauth.User{ID: token, Scopes: []string{"echo.read"}}, nil
	case token == "admin":
		return &grpcauth.User{ID: token, Scopes: []string{"echo.read", "echo.write"}, AuthTime: time.Now()}, nil
	}
	return nil, grpcauth.Errorf(grpcauth.CodeInvalid, "nobody's token")
})

// abrupt answers every call with an error of its own.
type abrupt struct {
	echov1.UnimplementedEchoServiceServer
}

func (abrupt) Echo(context.Context, *echov1.EchoRequest) (*echov1.EchoResponse, error) {
	refusal, err := status.New(codes.PermissionDenied, "the application's own").WithDetails(&errdetails.ErrorInfo{Reason: "OUT_OF_STOCK", Domain: "shop"})
	if err != nil {
		return nil, err
	}
	return nil, refusal.Err()
}

var matrixPolicy = grpcauth.Policy{
	"/echo.v1.EchoService/Echo":    {Scopes: []string{"echo.read"}},
	"/echo.v1.EchoService/Collect": {AnyScopes: []string{"echo.write", "echo.all"}, MaxAge: time.Hour, ACR: "", RequireBound: false},
	"/echo.v1.EchoService/Expand":  {Access: grpcauth.Optional},
	"/echo.v1.EchoService/*":       {Access: grpcauth.Denied},
	"/grpc.health.v1.Health/Check": {Access: grpcauth.Public},
}

func matrixServer(auth *grpcauth.Interceptor, opts ...grpc.ServerOption) *grpc.Server {
	srv := grpc.NewServer(append(opts, auth.ServerOptions()...)...)
	echov1.RegisterEchoServiceServer(srv, abrupt{})
	healthpb.RegisterHealthServer(srv, health.NewServer())
	return srv
}

var readerAndAdmin = []grpcauthtest.Caller{
	{Name: "reader", Metadata: map[string]string{"authorization": "Bearer reader"}},
	{Name: "admin", Metadata: map[string]string{"authorization": "Bearer admin"}},
}

func TestMatrixIsTheGoldenTable(t *testing.T) {
	t.Parallel()
	auth := grpcauth.New(people, grpcauth.WithPolicy(matrixPolicy))
	grpcauthtest.Matrix(t, matrixServer(auth), auth, readerAndAdmin...)
}

func TestMatrixCallsServersWithTLS(t *testing.T) {
	t.Parallel()
	ca := grpcauthtest.NewCA(t)
	auth := grpcauth.New(people, grpcauth.WithPolicy(matrixPolicy))
	grpcauthtest.Matrix(t, matrixServer(auth, grpc.Creds(credentials.NewTLS(ca.ServerTLS()))), auth)
}

// recorder is a test that fails without failing the real one.
type recorder struct {
	testing.TB
	name   string
	failed strings.Builder
}

func (r *recorder) Name() string                 { return r.name }
func (r *recorder) Errorf(f string, args ...any) { fmt.Fprintf(&r.failed, f+"\n", args...) }
func (r *recorder) Fatalf(f string, args ...any) {
	r.Errorf(f, args...)
	panic(r)
}

func record(t *testing.T, name string, f func(testing.TB)) string {
	t.Helper()
	r := &recorder{TB: t, name: name}
	func() {
		defer func() {
			if v := recover(); v != nil && v != any(r) {
				panic(v)
			}
		}()
		f(r)
	}()
	return r.failed.String()
}

func TestMatrixFailsWhenAccessChanges(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(grpcauth.Policy)
		want   string
	}{
		"a scope less":       {func(p grpcauth.Policy) { p["/echo.v1.EchoService/Echo"] = grpcauth.Rule{} }, "+ /echo.v1.EchoService/Echo | /echo.v1.EchoService/Echo | required |"},
		"open to everyone":   {func(p grpcauth.Policy) { p["/echo.v1.EchoService/*"] = grpcauth.Rule{Access: grpcauth.Public} }, "+ /echo.v1.EchoService/Converse"},
		"open to its server": {func(p grpcauth.Policy) { p["/grpc.health.v1.Health/Watch"] = grpcauth.Rule{Access: grpcauth.Public} }, "| public | yes | yes"},
		"a rule that misses": {func(p grpcauth.Policy) { p["/echo.v1.EchoService/Nope"] = grpcauth.Rule{} }, "no method \"Nope\""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			policy := maps.Clone(matrixPolicy)
			c.change(policy)
			auth := grpcauth.New(people, grpcauth.WithPolicy(policy))
			got := record(t, "TestMatrixIsTheGoldenTable", func(tb testing.TB) { grpcauthtest.Matrix(tb, matrixServer(auth), auth, readerAndAdmin...) })
			if !strings.Contains(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestMatrixSeesThatAServerIsOpen(t *testing.T) {
	t.Parallel()
	auth := grpcauth.New(people)
	_, _ = auth.Unary(), auth.Stream() // asked for, and forgotten
	srv := grpc.NewServer()
	echov1.RegisterEchoServiceServer(srv, echov1.UnimplementedEchoServiceServer{})
	got := record(t, "TestNeverWritten", func(tb testing.TB) { grpcauthtest.Matrix(tb, srv, auth) })
	if !strings.Contains(got, "GRPCAUTHTEST_UPDATE=1") || !strings.Contains(got, "/echo.v1.EchoService/Echo | (none) | required | yes | yes | yes | yes") {
		t.Errorf("got %q", got)
	}
	if _, err := os.Stat(filepath.Join("testdata", "TestNeverWritten.matrix")); err == nil {
		t.Error("a table was written unasked")
	}
}

func TestMatrixWantsNamesThatFitATable(t *testing.T) {
	t.Parallel()
	auth := grpcauth.New(people)
	for _, name := range []string{"", "nothing", "rights", "a|b", "a\nb"} {
		got := record(t, "TestNeverWritten", func(tb testing.TB) {
			grpcauthtest.Matrix(tb, matrixServer(auth), auth, grpcauthtest.Caller{Name: name})
		})
		if !strings.Contains(got, "the name") {
			t.Errorf("%q: got %q", name, got)
		}
	}
}
