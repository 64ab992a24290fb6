// SPDX-License-Identifier: Apache-2.0

package session_test

import (
	"context"
	"testing"
	"time"

	"google.golang.org/grpc/metadata"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/session"
	"github.com/grpcauth/grpcauth/store/memstore"
)

// The difference between the first two is what a session costs a call.
func BenchmarkCall(b *testing.B) {
	records, err := memstore.New(memstore.Options{})
	if err != nil {
		b.Fatal(err)
	}
	user := &grpcauth.User{ID: "alice", Name: "Alice", Scopes: []string{"orders.read", "orders.write"}, Permissions: []string{"orders.*"}, AuthTime: time.Now(), ACR: "pwd"}
	var md metadata.MD
	of := func(opts session.Options) grpcauth.Backend {
		opts.Store = records
		s, err := session.New(opts)
		if err != nil {
			b.Fatal(err)
		}
		id, _, err := s.Create(b.Context(), user, session.Device{Name: "laptop", UserAgent: "Mozilla/5.0 (X11; Linux x86_64)", Address: "192.0.2.1"})
		if err != nil {
			b.Fatal(err)
		}
		md = metadata.Pairs("cookie", "__Host-session="+id)
		return s
	}
	for _, bench := range []struct {
		name    string
		backend func() grpcauth.Backend
	}{
		{"allow all", func() grpcauth.Backend {
			return grpcauth.BackendFunc(func(_ context.Context, req *grpcauth.Request) (*grpcauth.User, error) { return req.Own(user), nil })
		}},
		{"session", func() grpcauth.Backend { return of(session.Options{}) }},
		{"session, remembered", func() grpcauth.Backend { return of(session.Options{RememberFor: time.Minute}) }},
	} {
		b.Run(bench.name, func(b *testing.B) {
			auth := grpcauth.New(bench.backend(), grpcauth.InsecureAllowPlaintext())
			ctx := metadata.NewIncomingContext(b.Context(), md)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := auth.Authenticate(ctx, "/shop.v1.Orders/Get"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
