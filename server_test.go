// SPDX-License-Identifier: Apache-2.0

package grpcauth_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/grpcauthtest"
	echov1 "github.com/grpcauth/grpcauth/internal/gen/echo/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	collectMethod  = "/echo.v1.EchoService/Collect"
	expandMethod   = "/echo.v1.EchoService/Expand"
	converseMethod = "/echo.v1.EchoService/Converse"
)

// echo counts the handlers that ran and answers with the user's ID. Its hooks replace what a handler does.
type echo struct {
	echov1.UnimplementedEchoServiceServer
	calls    atomic.Int64
	unary    func(context.Context) error
	converse func(grpc.BidiStreamingServer[echov1.ConverseRequest, echov1.ConverseResponse]) error
	expand   func(grpc.ServerStreamingServer[echov1.ExpandResponse]) error
}

func userID(ctx context.Context) string {
	if user, ok := grpcauth.FromContext(ctx); ok {
		return user.ID
	}
	return "-"
}

func (e *echo) Echo(ctx context.Context, req *echov1.EchoRequest) (*echov1.EchoResponse, error) {
	e.calls.Add(1)
	if e.unary != nil {
		if err := e.unary(ctx); err != nil {
			return nil, err
		}
	}
	return &echov1.EchoResponse{Text: req.GetText(), UserId: userID(ctx)}, nil
}

func (e *echo) Collect(s grpc.ClientStreamingServer[echov1.CollectRequest, echov1.CollectResponse]) error {
	e.calls.Add(1)
	text := ""
	for {
		req, err := s.Recv()
		if err == io.EOF {
			return s.SendAndClose(&echov1.CollectResponse{Text: text, UserId: userID(s.Context())})
		}
		if err != nil {
			return err
		}
		text += req.GetText()
	}
}

func (e *echo) Expand(req *echov1.ExpandRequest, s grpc.ServerStreamingServer[echov1.ExpandResponse]) error {
	e.calls.Add(1)
	if e.expand != nil {
		return e.expand(s)
	}
	return s.Send(&echov1.ExpandResponse{Text: req.GetText(), UserId: userID(s.Context())})
}

func (e *echo) Converse(s grpc.BidiStreamingServer[echov1.ConverseRequest, echov1.ConverseResponse]) error {
	e.calls.Add(1)
	if e.converse != nil {
		return e.converse(s)
	}
	for {
		req, err := s.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := s.Send(&echov1.ConverseResponse{Text: req.GetText(), UserId: userID(s.Context())}); err != nil {
			return err
		}
	}
}

// modes are the ways in which a server is put behind an interceptor.
var modes = []string{"interceptors", "options", "registrar", "registrar and options"}

// newServer makes a server with the echo service, health and reflection, behind auth in one of the modes.
func newServer(auth *grpcauth.Interceptor, mode string, impl *echo, opts ...grpc.ServerOption) *grpc.Server {
	switch mode {
	case "interceptors":
		opts = append(opts, grpc.ChainUnaryInterceptor(auth.Unary()), grpc.ChainStreamInterceptor(auth.Stream()))
	case "options", "registrar and options":
		opts = append(opts, auth.ServerOptions()...)
	}
	srv := grpc.NewServer(opts...)
	var server grpcauth.Server = srv
	if mode == "registrar" || mode == "registrar and options" {
		server = auth.Registrar(srv)
	}
	echov1.RegisterEchoServiceServer(server, impl)
	healthpb.RegisterHealthServer(server, health.NewServer())
	reflection.Register(server)
	return srv
}

// serve serves in memory, in the mode that covers everything.
func serve(t *testing.T, auth *grpcauth.Interceptor, impl *echo, opts ...grpc.ServerOption) echov1.EchoServiceClient {
	t.Helper()
	return echov1.NewEchoServiceClient(grpcauthtest.Dial(t, newServer(auth, "registrar and options", impl, opts...), nil))
}

// transports are the ways in which a client reaches a server.
var transports = map[string]func(*testing.T, *grpcauth.Interceptor, *echo) *grpc.ClientConn{
	"in memory": func(t *testing.T, auth *grpcauth.Interceptor, impl *echo) *grpc.ClientConn {
		return grpcauthtest.Dial(t, newServer(auth, "options", impl), nil)
	},
	"TLS": func(t *testing.T, auth *grpcauth.Interceptor, impl *echo) *grpc.ClientConn {
		ca := grpcauthtest.NewCA(t)
		srv := newServer(auth, "options", impl, grpc.Creds(credentials.NewTLS(ca.ServerTLS())))
		listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		served := make(chan error, 1)
		go func() { served <- srv.Serve(listener) }()
		t.Cleanup(func() { srv.Stop(); <-served })
		return dialTLS(t, listener.Addr().String(), ca.ClientTLS())
	},
	"http.Handler": func(t *testing.T, auth *grpcauth.Interceptor, impl *echo) *grpc.ClientConn {
		ca := grpcauthtest.NewCA(t)
		srv := newServer(auth, "options", impl)
		h := httptest.NewUnstartedServer(srv)
		h.EnableHTTP2, h.TLS = true, ca.ServerTLS()
		h.TLS.NextProtos = []string{"h2"}
		h.StartTLS()
		t.Cleanup(func() { h.CloseClientConnections(); h.Close(); srv.Stop() })
		return dialTLS(t, h.Listener.Addr().String(), ca.ClientTLS())
	},
}

func dialTLS(t *testing.T, address string, config *tls.Config) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(credentials.NewTLS(config)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// calls are all kinds of calls that a client can make. Each returns the user that the handler saw.
var calls = map[string]func(context.Context, *grpc.ClientConn) (string, error){
	"unary": func(ctx context.Context, cc *grpc.ClientConn) (string, error) {
		r, err := echov1.NewEchoServiceClient(cc).Echo(ctx, &echov1.EchoRequest{Text: "x"})
		return r.GetUserId(), err
	},
	"client stream": func(ctx context.Context, cc *grpc.ClientConn) (string, error) {
		s, err := echov1.NewEchoServiceClient(cc).Collect(ctx)
		if err != nil {
			return "", err
		}
		_ = s.Send(&echov1.CollectRequest{Text: "x"})
		r, err := s.CloseAndRecv()
		return r.GetUserId(), err
	},
	"server stream": func(ctx context.Context, cc *grpc.ClientConn) (string, error) {
		s, err := echov1.NewEchoServiceClient(cc).Expand(ctx, &echov1.ExpandRequest{Text: "x"})
		if err != nil {
			return "", err
		}
		r, err := s.Recv()
		if err == nil {
			_, _ = s.Recv() // the end
		}
		return r.GetUserId(), err
	},
	"bidirectional stream": func(ctx context.Context, cc *grpc.ClientConn) (string, error) {
		s, err := echov1.NewEchoServiceClient(cc).Converse(ctx)
		if err != nil {
			return "", err
		}
		_ = s.Send(&echov1.ConverseRequest{Text: "x"})
		r, err := s.Recv()
		_ = s.CloseSend()
		return r.GetUserId(), err
	},
}

// others are calls to what every server has or lacks. The code is that of a caller who is let in.
var others = map[string]struct {
	method string
	want   codes.Code
}{
	"unknown service":    {"/no.Such/Method", codes.Unimplemented},
	"unknown method":     {"/echo.v1.EchoService/Nope", codes.Unimplemented},
	"doubled slash":      {"//echo.v1.EchoService/Echo", codes.Unimplemented},
	"trailing slash":     {"/echo.v1.EchoService/Echo/", codes.Unimplemented},
	"other case":         {"/echo.v1.echoservice/echo", codes.Unimplemented},
	"escaped slash":      {"/echo.v1.EchoService%2FEcho/x", codes.Unimplemented},
	"health Check":       {"/grpc.health.v1.Health/Check", codes.OK},
	"health List":        {"/grpc.health.v1.Health/List", codes.OK},
	"health Watch":       {"/grpc.health.v1.Health/Watch", codes.OK},
	"reflection v1":      {"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", codes.InvalidArgument}, // it asks for nothing
	"reflection v1alpha": {"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", codes.InvalidArgument},
}

// raw calls any method with an empty message, which is a valid request of each of them.
func raw(ctx context.Context, cc *grpc.ClientConn, method string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := cc.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, method)
	if err != nil {
		return err
	}
	_ = s.SendMsg(&echov1.EchoRequest{})
	_ = s.CloseSend()
	if err := s.RecvMsg(&echov1.EchoResponse{}); err != io.EOF {
		return err
	}
	return nil
}

func TestEveryKindOfCallIsJudged(t *testing.T) {
	t.Parallel()
	good := metadata.Pairs("authorization", "Bearer alice")
	for _, mode := range modes {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			impl := &echo{}
			cc := grpcauthtest.Dial(t, newServer(grpcauth.New(scheme("Bearer")), mode, impl), nil)
			for name, md := range map[string]metadata.MD{"nothing": nil, "bad": metadata.Pairs("authorization", "Bearer bad"), "good": good} {
				ctx := metadata.NewOutgoingContext(t.Context(), md)
				for kind, call := range calls {
					before := impl.calls.Load()
					user, err := call(ctx, cc)
					if name == "good" {
						if err != nil || user != "alice" {
							t.Errorf("%s, %s: got %q, %v, want alice", kind, name, user, err)
						}
					} else if status.Code(err) != codes.Unauthenticated || impl.calls.Load() != before {
						t.Errorf("%s, %s: got %q, %v, want UNAUTHENTICATED before any handler", kind, name, user, err)
					}
				}
				for kind, o := range others {
					want := o.want
					unknown := want == codes.Unimplemented
					if unknown && (mode == "interceptors" || mode == "registrar") {
						continue // only ServerOptions covers what the server does not know
					}
					if name != "good" {
						want = codes.Unauthenticated
					}
					if err := raw(ctx, cc, o.method); status.Code(err) != want {
						t.Errorf("%s, %s: got %v, want %v", kind, name, err, want)
					}
				}
			}
		})
	}
}

func TestEveryTransportIsJudged(t *testing.T) {
	t.Parallel()
	for transport, dial := range transports {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			cc := dial(t, grpcauth.New(scheme("Bearer")), &echo{})
			for kind, call := range calls {
				if user, err := call(grpcauthtest.WithBearer(t.Context(), "alice"), cc); err != nil || user != "alice" {
					t.Errorf("%s: got %q, %v, want alice", kind, user, err)
				}
				if _, err := call(t.Context(), cc); status.Code(err) != codes.Unauthenticated || info(err).GetReason() != "CREDENTIALS_MISSING" {
					t.Errorf("%s, nothing: got %v, want CREDENTIALS_MISSING", kind, err)
				}
				if _, err := call(grpcauthtest.WithBearer(t.Context(), "bad"), cc); info(err).GetReason() != "CREDENTIALS_INVALID" {
					t.Errorf("%s, bad: got %v, want CREDENTIALS_INVALID", kind, err)
				}
			}
			for kind, o := range others {
				if err := raw(t.Context(), cc, o.method); status.Code(err) != codes.Unauthenticated {
					t.Errorf("%s, nothing: got %v, want UNAUTHENTICATED", kind, err)
				}
				if err := raw(grpcauthtest.WithBearer(t.Context(), "alice"), cc, o.method); status.Code(err) != o.want {
					t.Errorf("%s, good: got %v, want %v", kind, err, o.want)
				}
			}
		})
	}
}

func TestVariantsOfAMethodNeverMatchItsPublicRule(t *testing.T) {
	t.Parallel()
	policy := grpcauth.Policy{echoMethod: {Access: grpcauth.Public}, "/grpc.health.v1.Health/Check": {Access: grpcauth.Public}}
	cc := grpcauthtest.Dial(t, newServer(grpcauth.New(scheme("Bearer"), grpcauth.WithPolicy(policy)), "options", &echo{}), nil)
	for kind, o := range others {
		want := codes.Unauthenticated
		if kind == "health Check" {
			want = codes.OK
		}
		if err := raw(t.Context(), cc, o.method); status.Code(err) != want {
			t.Errorf("%s: got %v, want %v", kind, err, want)
		}
	}
	if err := raw(t.Context(), cc, echoMethod); err != nil {
		t.Errorf("the method itself: %v", err)
	}
}

func TestReadyPoliciesCoverHealthAndReflection(t *testing.T) {
	t.Parallel()
	for access, want := range map[grpcauth.Access]codes.Code{grpcauth.Public: codes.OK, grpcauth.Required: codes.Unauthenticated, grpcauth.Denied: codes.Unauthenticated} {
		auth := grpcauth.New(scheme("Bearer"), grpcauth.WithPolicy(grpcauth.HealthPolicy(access)), grpcauth.WithPolicy(grpcauth.ReflectionPolicy(access)))
		srv := newServer(auth, "options", &echo{})
		if err := auth.Check(srv); err != nil {
			t.Errorf("%v: the ready policy does not fit the server: %v", access, err)
		}
		cc := grpcauthtest.Dial(t, srv, nil)
		for kind, o := range others {
			if o.want == codes.Unimplemented {
				continue
			}
			want := want
			if want == codes.OK {
				want = o.want
			}
			if err := raw(t.Context(), cc, o.method); status.Code(err) != want {
				t.Errorf("%s, %v: got %v, want %v", kind, access, err, want)
			}
			if access == grpcauth.Denied {
				if err := raw(grpcauthtest.WithBearer(t.Context(), "alice"), cc, o.method); status.Code(err) != codes.PermissionDenied {
					t.Errorf("%s, denied to a user: got %v", kind, err)
				}
			}
		}
	}
}

func TestCertificatesOfARealConnection(t *testing.T) {
	t.Parallel()
	ca := grpcauthtest.NewCA(t)
	backend := grpcauth.BackendFunc(func(_ context.Context, req *grpcauth.Request) (*grpcauth.User, error) {
		cert, ok := req.Certificate()
		if !ok {
			return nil, grpcauth.ErrNoCredentials
		}
		return &grpcauth.User{ID: cert.DNSNames[0]}, nil
	})
	srv := newServer(grpcauth.New(backend), "options", &echo{}, grpc.Creds(credentials.NewTLS(ca.ServerTLS())))
	client := ca.ClientTLS(ca.Issue(x509.Certificate{DNSNames: []string{"client.test"}}))
	cc := grpcauthtest.Dial(t, srv, credentials.NewTLS(client))
	if user, err := calls["unary"](t.Context(), cc); err != nil || user != "client.test" {
		t.Errorf("got %q, %v, want the leaf's name", user, err)
	}
}

// eventually gives up on a call that hangs; no test depends on how long it waits.
func eventually(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

var _ http.Handler = (*grpc.Server)(nil)
