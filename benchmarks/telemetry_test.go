// SPDX-License-Identifier: Apache-2.0

package benchmarks

import (
	"testing"

	"go.opentelemetry.io/otel/sdk/metric"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/authotel"
)

// measured counts decisions with the SDK of OpenTelemetry, whose numbers nobody collects.
func measured(w *world) grpcauth.Observer {
	w.Helper()
	t, err := authotel.New(authotel.Options{MeterProvider: metric.NewMeterProvider(metric.WithReader(metric.NewManualReader()))})
	if err != nil {
		w.Fatal(err)
	}
	return t
}

func BenchmarkMeasured(b *testing.B) { benchmark(b, observed(measured)) }
