// SPDX-License-Identifier: Apache-2.0

//go:build !race

package authotel_test

import (
	"testing"
	"time"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/authotel"
)

var let = grpcauth.Event{
	Method: "/shop.v1.Orders/Get", Rule: "/shop.v1.Orders/*", Backend: "jwt", User: &grpcauth.User{ID: "alice"}, Latency: time.Microsecond, Remembered: true,
}

func TestObservationCostsTwoAllocationsAtTheMost(t *testing.T) {
	telemetry, ctx := newTelemetry(t, authotel.Options{MeterProvider: newMeters()}), t.Context()
	for _, name := range []string{"", "jwt"} {
		for _, code := range []grpcauth.Code{grpcauth.CodeInvalid, grpcauth.CodeThrottled} {
			e := let
			if e.Backend = name; name == "" {
				e.Err, e.Code, e.User = errBad, code, nil
			}
			if got := testing.AllocsPerRun(100, func() { telemetry.Observe(ctx, e) }); got > 2 {
				t.Errorf("%v allocations for backend %q", got, name)
			}
		}
	}
}

var errBad = grpcauth.Errorf(grpcauth.CodeInvalid, "nobody has this token")

func BenchmarkObserve(b *testing.B) {
	telemetry, ctx := newTelemetry(b, authotel.Options{MeterProvider: newMeters()}), b.Context()
	b.ReportAllocs()
	for b.Loop() {
		telemetry.Observe(ctx, let)
	}
}
