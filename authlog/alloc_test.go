// SPDX-License-Identifier: Apache-2.0

//go:build !race

package authlog

import (
	"context"
	"log/slog"
	"net"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/grpcauth/grpcauth"
)

// writes is a handler that takes everything and keeps nothing.
type writes struct{ slog.Handler }

func (writes) Enabled(context.Context, slog.Level) bool { return true }

func newDiscarding(tb testing.TB, opts Options) *Logger {
	tb.Helper()
	opts.Handler = writes{slog.DiscardHandler}
	l, err := New(opts)
	if err != nil {
		tb.Fatal(err)
	}
	return l
}

var let = grpcauth.Event{
	Method: "/shop.v1.Orders/Get", Rule: "/shop.v1.Orders/*", Backend: "jwt", User: &grpcauth.User{ID: "alice", Issuer: "https://idp.example.com"},
	Peer: &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1}, Remembered: true,
}

var refusal = grpcauth.Event{
	Method: "/shop.v1.Orders/Get", Rule: "/shop.v1.Orders/*", Backend: "jwt", Err: grpcauth.Errorf(grpcauth.CodeInvalid, "no"), Code: grpcauth.CodeInvalid,
	Status: codes.Unauthenticated, Peer: let.Peer,
}

// withKey is what the record of a call with an API key is made of.
func withKey() grpcauth.Event {
	e := let
	e.User = &grpcauth.User{ID: "ci", Method: "apikey", RawClaims: []byte(`{"key_id":"0123456789abcdef"}`)}
	return e
}

func TestRecordCostsTwoAllocationsAtTheMost(t *testing.T) {
	l, ctx := newDiscarding(t, Options{}), t.Context()
	for name, e := range map[string]grpcauth.Event{"accepted": let, "API key": withKey(), "refused": refusal} {
		if got := testing.AllocsPerRun(100, func() { l.Observe(ctx, e) }); got > 2 {
			t.Errorf("%s: %v allocations", name, got)
		}
	}
	sampled := newDiscarding(t, Options{Sample: 1 << 30})
	sampled.Observe(ctx, let)
	if got := testing.AllocsPerRun(100, func() { sampled.Observe(ctx, let) }); got > 0 {
		t.Errorf("%v allocations for a record that is not written", got)
	}
}

func BenchmarkObserve(b *testing.B) {
	for name, e := range map[string]grpcauth.Event{"accepted": let, "key": withKey(), "refused": refusal} {
		b.Run(name, func(b *testing.B) {
			l, ctx := newDiscarding(b, Options{}), b.Context()
			b.ReportAllocs()
			for b.Loop() {
				l.Observe(ctx, e)
			}
		})
	}
}
