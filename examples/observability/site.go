// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	exporter "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/sdk/metric"
	"google.golang.org/grpc"
	"google.golang.org/grpc/reflection"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/authlog"
	"github.com/grpcauth/grpcauth/authotel"
	"github.com/grpcauth/grpcauth/backends/basic"
	"github.com/grpcauth/grpcauth/backends/bearer"
	echov1 "github.com/grpcauth/grpcauth/internal/gen/echo/v1"
	"github.com/grpcauth/grpcauth/password"
	"github.com/grpcauth/grpcauth/throttle"
)

// The one user, and a token that a real service would get from its identity provider.
const (
	user         = "alice"
	userPassword = "open sesame"
	userToken    = "a-token-for-the-example-alone"
)

// site is a server with all that watches it.
type site struct {
	server    *grpc.Server
	metrics   http.Handler
	telemetry *authotel.Telemetry
	provider  *metric.MeterProvider
}

func newSite(ctx context.Context, audit io.Writer) (*site, error) {
	limiter, err := throttle.New(throttle.Options{})
	if err != nil {
		return nil, err
	}
	passwords, err := newPasswords(ctx, limiter)
	if err != nil {
		return nil, err
	}
	tokens, err := bearer.New(verifier{}, bearer.Options{Name: "token", Limiter: limiter})
	if err != nil {
		return nil, err
	}

	registry := prometheus.NewRegistry()
	reader, err := exporter.New(exporter.WithRegisterer(registry))
	if err != nil {
		return nil, err
	}
	s := &site{provider: metric.NewMeterProvider(metric.WithReader(reader)), metrics: promhttp.HandlerFor(registry, promhttp.HandlerOpts{})}
	s.telemetry, err = authotel.New(authotel.Options{
		MeterProvider: s.provider,
		Tokens:        map[string]*bearer.Backend{"token": tokens}, // hits, misses, size
		Limiters:      map[string]*throttle.Limiter{"guessers": limiter},
	})
	if err != nil {
		return nil, err
	}
	records, err := authlog.New(authlog.Options{Handler: slog.NewJSONHandler(audit, nil), Sample: 10})
	if err != nil {
		return nil, err
	}

	auth := grpcauth.New(grpcauth.Chain(tokens, passwords), grpcauth.WithObserver(records), grpcauth.WithObserver(s.telemetry),
		grpcauth.WithPolicy(grpcauth.ReflectionPolicy(grpcauth.Public)))
	s.server = grpc.NewServer(auth.ServerOptions()...)
	registrar := auth.Registrar(s.server)
	echov1.RegisterEchoServiceServer(registrar, echo{})
	reflection.Register(registrar)
	return s, auth.Check(s.server)
}

func (s *site) close() error {
	return errors.Join(s.telemetry.Close(), s.provider.Shutdown(context.Background()))
}

func newPasswords(ctx context.Context, limiter *throttle.Limiter) (*basic.Backend, error) {
	hasher, err := password.New(password.Options{})
	if err != nil {
		return nil, err
	}
	hash, err := hasher.Hash(ctx, userPassword)
	if err != nil {
		return nil, err
	}
	return basic.New(basic.Options{Hasher: hasher, Limiter: limiter, Lookup: func(_ context.Context, name string) (basic.Account, error) {
		if name != user {
			return basic.Account{}, nil // no such user
		}
		return basic.Account{User: &grpcauth.User{ID: user}, PasswordHash: hash}, nil
	}})
}

// verifier knows one token. It stands in for jwt, oidc or introspect, which need a provider.
type verifier struct{}

func (verifier) Verify(_ context.Context, token string) (*grpcauth.User, error) {
	if token != userToken {
		return nil, grpcauth.Errorf(grpcauth.CodeInvalid, "nobody's token")
	}
	return &grpcauth.User{ID: user}, nil
}

type echo struct {
	echov1.UnimplementedEchoServiceServer
}

func (echo) Echo(_ context.Context, req *echov1.EchoRequest) (*echov1.EchoResponse, error) {
	return &echov1.EchoResponse{Text: req.GetText()}, nil
}
