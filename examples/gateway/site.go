// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http"
	"net/netip"
	"time"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/authservice"
	"github.com/grpcauth/grpcauth/backends/apikey"
	"github.com/grpcauth/grpcauth/backends/session"
	echogateway "github.com/grpcauth/grpcauth/examples/internal/gen/echo/v1"
	"github.com/grpcauth/grpcauth/gateway"
	authgateway "github.com/grpcauth/grpcauth/gateway/grpcauth/v1"
	echov1 "github.com/grpcauth/grpcauth/internal/gen/echo/v1"
	"github.com/grpcauth/grpcauth/password"
	grpcauthv1 "github.com/grpcauth/grpcauth/proto/grpcauth/v1"
	"github.com/grpcauth/grpcauth/store/memstore"
	"github.com/grpcauth/grpcauth/throttle"
)

// watchEvery is how soon an open page learns that its session has ended elsewhere.
const watchEvery = time.Second

// site is the gRPC server, and the HTTP handler in front of it.
type site struct {
	server  *grpc.Server
	handler http.Handler
	conn    *gateway.Conn
	keys    *apikey.Backend
}

func newSite(ctx context.Context, f *flags, pass string, config *tls.Config) (*site, error) {
	records, err := memstore.New(memstore.Options{})
	if err != nil {
		return nil, err
	}
	sessions, err := session.New(session.Options{Store: records, Idle: f.session})
	if err != nil {
		return nil, err
	}
	keys, err := apikey.New(apikey.Options{Store: records, Prefix: "echo_test"})
	if err != nil {
		return nil, err
	}
	service, err := newService(ctx, f, pass, sessions, keys)
	if err != nil {
		return nil, err
	}

	backend := grpcauth.Chain(sessions, keys)
	auth := grpcauth.New(backend,
		grpcauth.WithPolicy(service.Policy()),
		grpcauth.WithPolicy(grpcauth.Policy{"/echo.v1.EchoService/*": {Scopes: []string{"echo"}}}))
	trust, err := gateway.TrustHop(gateway.HopOptions{})
	if err != nil {
		return nil, err
	}
	srv := grpc.NewServer(append(auth.ServerOptions(), trust, grpc.Creds(gateway.Credentials(credentials.NewTLS(config.Clone()))))...)
	guarded := auth.Registrar(srv)
	grpcauthv1.RegisterAuthServiceServer(guarded, service)
	echov1.RegisterEchoServiceServer(guarded, echo{})
	if err := auth.Check(srv); err != nil {
		return nil, err
	}

	conn, err := gateway.InProcess(srv)
	if err != nil {
		return nil, err
	}
	s := &site{server: srv, conn: conn, keys: keys}
	if s.handler, err = newHandler(ctx, f, conn, backend); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *site) close() error {
	err := s.conn.Close()
	s.server.Stop()
	return errors.Join(err, s.keys.Close())
}

// newService makes the service that logs the one user in and out.
func newService(ctx context.Context, f *flags, pass string, sessions *session.Backend, keys *apikey.Backend) (*authservice.Server, error) {
	hasher, err := password.New(password.Options{})
	if err != nil {
		return nil, err
	}
	hash, err := hasher.Hash(ctx, pass)
	if err != nil {
		return nil, err
	}
	limiter, err := throttle.New(throttle.Options{
		Account: throttle.Limit{Attempts: f.guesses, Window: time.Minute}, Address: throttle.Limit{Attempts: 20 * f.guesses, Window: time.Minute},
	})
	if err != nil {
		return nil, err
	}
	accounts := &accounts{user: grpcauth.User{ID: f.user, Name: f.user, Scopes: []string{"echo"}}, hash: hash}
	return authservice.New(authservice.Options{
		Account: accounts.byName, AccountOf: accounts.of, SetPassword: accounts.setPassword,
		Hasher: hasher, Sessions: sessions, Keys: keys, Limiter: limiter,
	})
}

// newHandler makes all that is served over HTTP: the methods of the services, what is no gRPC, and the page.
func newHandler(ctx context.Context, f *flags, conn *gateway.Conn, backend grpcauth.Backend) (http.Handler, error) {
	opts := gateway.Options{Problems: true, PublicURL: f.public, Proxies: append([]netip.Prefix(nil), f.behind...)}
	muxOptions, err := gateway.ServeMuxOptions(opts)
	if err != nil {
		return nil, err
	}
	mux := runtime.NewServeMux(muxOptions...)
	if err := authgateway.RegisterAuthServiceHandlerClient(ctx, mux, grpcauthv1.NewAuthServiceClient(conn)); err != nil {
		return nil, err
	}
	if err := echogateway.RegisterEchoServiceHandlerClient(ctx, mux, echov1.NewEchoServiceClient(conn)); err != nil {
		return nil, err
	}

	// It has rules for methods that the gRPC server does not have, which Check would take for mistakes. The backend is the same.
	auth := grpcauth.New(backend, grpcauth.WithStreamRecheck(watchEvery),
		grpcauth.WithPolicy(grpcauth.Policy{"/http.Handler/POST": {Scopes: []string{"echo"}}}))
	protect, err := gateway.NewMiddleware(auth, gateway.MiddlewareOptions{Options: opts})
	if err != nil {
		return nil, err
	}
	watch, err := gateway.NewMiddleware(auth, gateway.MiddlewareOptions{Options: opts, Endless: true})
	if err != nil {
		return nil, err
	}
	top := http.NewServeMux()
	top.Handle("/v1/", noStore(mux))
	top.Handle("POST /upload", protect(http.HandlerFunc(upload)))
	top.Handle("GET /events", watch(http.HandlerFunc(events)))
	top.Handle("/", page())
	return top, nil
}

// echo is what the logins are for.
type echo struct {
	echov1.UnimplementedEchoServiceServer
}

func (echo) Echo(ctx context.Context, req *echov1.EchoRequest) (*echov1.EchoResponse, error) {
	user, ok := grpcauth.FromContext(ctx)
	if !ok {
		return nil, errors.New("the method needs a user") // never: its rule says so
	}
	return &echov1.EchoResponse{Text: req.GetText(), UserId: user.ID}, nil
}
