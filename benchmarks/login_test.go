// SPDX-License-Identifier: Apache-2.0

package benchmarks

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/authservice"
	"github.com/grpcauth/grpcauth/backends/session"
	"github.com/grpcauth/grpcauth/grpcauthtest"
	echov1 "github.com/grpcauth/grpcauth/internal/gen/echo/v1"
	passwords "github.com/grpcauth/grpcauth/password"
	grpcauthv1 "github.com/grpcauth/grpcauth/proto/grpcauth/v1"
)

// rush is how many log in at once.
const rush = 100

// loginRush measures how much slower the slowest hundredth of the calls with a session is while many log in, each of which costs a hash. Those who log in
// wait for each other, up to the limit of the hasher.
func loginRush(w *world, e effort) reading {
	w.Helper()
	var alone, meanwhile []float64
	for range e.setups {
		w.scoped(func(w *world) {
			auth, call := w.loginService()
			quiet, stop := context.WithTimeout(w.Context(), 500*time.Millisecond)
			defer stop()
			alone = append(alone, w.slowest(quiet, call))

			busy, done := context.WithCancel(w.Context())
			defer done()
			var all sync.WaitGroup
			for range rush {
				all.Go(func() {
					_, err := auth.Login(w.Context(), &grpcauthv1.LoginRequest{Username: userName, Password: userPassword})
					if code := status.Code(err); code != codes.OK && code != codes.ResourceExhausted {
						w.Errorf("a login: %v", err)
					}
				})
			}
			go func() {
				all.Wait()
				done()
			}()
			meanwhile = append(meanwhile, w.slowest(busy, call))
			all.Wait()
		})
	}
	before, during := median(alone), median(meanwhile)
	return reading{duration(during), duration(before), ratio(during / before), during / before}
}

// slowest makes calls until the context ends, and returns the time that 99 of 100 do not exceed.
func (w *world) slowest(ctx context.Context, call op) float64 {
	w.Helper()
	var took []float64
	for ctx.Err() == nil || len(took) < 100 {
		start := time.Now()
		if err := call.do(); err != nil {
			w.Fatal(err)
		}
		took = append(took, float64(time.Since(start)))
	}
	slices.Sort(took)
	return took[len(took)*99/100]
}

// loginService is a server with logins, and a call of another method with a session.
func (w *world) loginService() (grpcauthv1.AuthServiceClient, op) {
	w.Helper()
	hasher, err := passwords.New(passwords.Options{})
	if err != nil {
		w.Fatal(err)
	}
	hash, err := hasher.Hash(w.Context(), userPassword)
	if err != nil {
		w.Fatal(err)
	}
	sessions, err := session.New(session.Options{Store: w.memory(100_000), Cookie: "-", MetadataKey: sessionHeader})
	if err != nil {
		w.Fatal(err)
	}
	service, err := authservice.New(authservice.Options{
		Hasher: hasher, Sessions: sessions,
		Account: func(context.Context, string) (authservice.Account, error) {
			return authservice.Account{User: &grpcauth.User{ID: userName}, PasswordHash: hash}, nil
		},
	})
	if err != nil {
		w.Fatal(err)
	}
	guard := grpcauth.New(sessions, grpcauth.WithPolicy(service.Policy()))
	srv := grpc.NewServer(guard.ServerOptions()...)
	grpcauthv1.RegisterAuthServiceServer(srv, service)
	echov1.RegisterEchoServiceServer(srv, echo{})
	conn := grpcauthtest.Dial(w, srv, nil)
	id, _, err := sessions.Create(w.Context(), &grpcauth.User{ID: "somebody else"}, session.Device{})
	if err != nil {
		w.Fatal(err)
	}
	client := echov1.NewEchoServiceClient(conn)
	ctx := metadata.AppendToOutgoingContext(w.Context(), sessionHeader, id)
	return grpcauthv1.NewAuthServiceClient(conn), opFunc(func() error {
		if _, err := client.Echo(ctx, &echov1.EchoRequest{Text: "x"}); err != nil {
			return fmt.Errorf("the other method: %w", err)
		}
		return nil
	})
}
