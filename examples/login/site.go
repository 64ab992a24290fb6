// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/reflection"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/authservice"
	"github.com/grpcauth/grpcauth/backends/apikey"
	"github.com/grpcauth/grpcauth/backends/jwt"
	"github.com/grpcauth/grpcauth/backends/session"
	echov1 "github.com/grpcauth/grpcauth/internal/gen/echo/v1"
	"github.com/grpcauth/grpcauth/password"
	grpcauthv1 "github.com/grpcauth/grpcauth/proto/grpcauth/v1"
	"github.com/grpcauth/grpcauth/store"
	"github.com/grpcauth/grpcauth/throttle"
	"github.com/grpcauth/grpcauth/token"
)

const (
	issuerURL  = "https://login.example.com"
	audience   = "echo"
	sessionKey = "x-session-id" // for callers that are no browsers
)

// site is a server and what it stands on.
type site struct {
	server   *grpc.Server
	accounts accounts
	hasher   *password.Hasher
	keys     *apikey.Backend
}

// newSite lets somebody guess the password of an account so many times in a minute.
func newSite(s database, key crypto.Signer, guesses int, log io.Writer) (*site, error) {
	users := accounts{s}
	hasher, err := password.New(password.Options{})
	if err != nil {
		return nil, err
	}
	sessions, err := session.New(session.Options{Store: s, MetadataKey: sessionKey})
	if err != nil {
		return nil, err
	}
	keys, err := apikey.New(apikey.Options{Store: s, Prefix: "echo_test"})
	if err != nil {
		return nil, err
	}
	tokens, accepted, err := newTokens(s, key)
	if err != nil {
		return nil, err
	}
	limiter, err := throttle.New(throttle.Options{
		Counter: s, Account: throttle.Limit{Attempts: guesses, Window: time.Minute},
		Address: throttle.Limit{Attempts: 20 * guesses, Window: time.Minute}, Concurrent: 20, // everybody comes from loopback here
	})
	if err != nil {
		return nil, err
	}
	service, err := authservice.New(authservice.Options{
		Account: users.byName, AccountOf: users.of, SetPassword: users.setPassword, Hasher: hasher,
		Sessions: sessions, Tokens: tokens, Keys: keys, Limiter: limiter,
		After: func(_ context.Context, e authservice.Event) {
			if e.Kind == authservice.RefreshTokenReused {
				fmt.Fprintf(log, "a used refresh token of %q came back: its login has ended\n", e.User.ID)
			}
		},
	})
	if err != nil {
		return nil, err
	}

	auth := grpcauth.New(grpcauth.Chain(accepted, sessions, keys),
		grpcauth.WithPolicy(service.Policy()),
		grpcauth.WithPolicy(grpcauth.ReflectionPolicy(grpcauth.Public)),
		grpcauth.WithPolicy(grpcauth.Policy{"/echo.v1.EchoService/*": {Scopes: []string{"echo"}}}),
	)
	srv := grpc.NewServer(auth.ServerOptions()...)
	guarded := auth.Registrar(srv)
	grpcauthv1.RegisterAuthServiceServer(guarded, service)
	echov1.RegisterEchoServiceServer(guarded, echo{})
	reflection.Register(guarded)
	return &site{srv, users, hasher, keys}, auth.Check(srv)
}

func (s *site) close() {
	s.server.Stop()
	_ = s.keys.Close() // the times of last use that it could not write are no loss
}

// newTokens makes what issues tokens, and what accepts them.
func newTokens(s store.Store, key crypto.Signer) (*authservice.Tokens, grpcauth.Backend, error) {
	ring, err := token.NewRing(token.RingOptions{Keys: []token.SigningKey{{ID: "1", Algorithm: "ES256", Key: key}}})
	if err != nil {
		return nil, nil, err
	}
	access, err := token.New(token.Options{Issuer: issuerURL, Audiences: []string{audience}, Ring: ring, Lifetime: 10 * time.Minute})
	if err != nil {
		return nil, nil, err
	}
	revoked, err := token.NewDenylist(token.DenyOptions{Store: s, Issuer: issuerURL, MaxLifetime: 10 * time.Minute})
	if err != nil {
		return nil, nil, err
	}
	accepted, err := jwt.New(jwt.Options{
		Issuers:  []jwt.Issuer{{URL: issuerURL, Audiences: []string{audience}, Algorithms: []string{"ES256"}, Keys: ring, AccessTokenProfile: true}},
		Denylist: revoked,
	})
	return &authservice.Tokens{
		Issuer: access, Name: issuerURL, Refresh: token.RefreshOptions{Store: s, Denylist: revoked},
	}, accepted, err
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
