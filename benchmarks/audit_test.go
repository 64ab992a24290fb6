// SPDX-License-Identifier: Apache-2.0

package benchmarks

import (
	"context"
	"log/slog"
	"testing"

	"google.golang.org/grpc"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/authlog"
	"github.com/grpcauth/grpcauth/backends/bearer"
)

// discards is a handler that takes every record and keeps none.
type discards struct{ slog.Handler }

func (discards) Enabled(context.Context, slog.Level) bool { return true }

// observed is our interceptor alone with a remembered token, with an observer and without.
func observed(observer func(w *world) grpcauth.Observer) contest {
	return contest{ready: func(w *world) (ours, peer op) {
		b, err := bearer.New(everyToken{}, bearer.Options{})
		if err != nil {
			w.Fatal(err)
		}
		call := func(opts ...grpcauth.Option) op {
			interceptor := grpcauth.New(b, opts...).Unary()
			ctx, _ := w.incoming("Bearer " + userName)
			info := &grpc.UnaryServerInfo{FullMethod: method}
			return opFunc(func() error {
				_, err := interceptor(ctx, nil, info, nothing)
				return err
			})
		}
		return call(grpcauth.WithObserver(observer(w))), call()
	}}
}

func audited(w *world) grpcauth.Observer {
	w.Helper()
	l, err := authlog.New(authlog.Options{Handler: discards{slog.DiscardHandler}})
	if err != nil {
		w.Fatal(err)
	}
	return l
}

func BenchmarkAudited(b *testing.B) { benchmark(b, observed(audited)) }
