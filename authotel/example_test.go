// SPDX-License-Identifier: Apache-2.0

package authotel_test

import (
	"context"
	"fmt"

	"go.opentelemetry.io/otel/attribute"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/authotel"
	"github.com/grpcauth/grpcauth/backends/bearer"
)

func Example() {
	tokens, err := bearer.New(desk{}, bearer.Options{})
	if err != nil {
		panic(err)
	}
	reader := sdk.NewManualReader() // a program has an exporter here
	telemetry, err := authotel.New(authotel.Options{
		MeterProvider: sdk.NewMeterProvider(sdk.WithReader(reader)),
		Tokens:        map[string]*bearer.Backend{"bearer": tokens},
		Spans:         true,
	})
	if err != nil {
		panic(err)
	}
	defer telemetry.Close()
	auth := grpcauth.New(tokens, grpcauth.WithObserver(telemetry))

	for _, token := range []string{"alice", "alice", "bad"} {
		_, _ = auth.Authenticate(bearing(context.Background(), token), "/shop.v1.Orders/Get")
	}
	var numbers metricdata.ResourceMetrics
	_ = reader.Collect(context.Background(), &numbers)
	for _, m := range numbers.ScopeMetrics[0].Metrics {
		if sum, ok := m.Data.(metricdata.Sum[int64]); ok && (m.Name == "grpcauth.decisions" || m.Name == "grpcauth.cache.hits") {
			for _, p := range sum.DataPoints {
				fmt.Println(m.Name, p.Attributes.Encoded(attribute.DefaultEncoder()), p.Value)
			}
		}
	}
	// Unordered output:
	// grpcauth.decisions grpcauth.backend=bearer,grpcauth.outcome=accepted 2
	// grpcauth.decisions error.type=CREDENTIALS_INVALID,grpcauth.backend=bearer,grpcauth.outcome=refused 1
	// grpcauth.cache.hits grpcauth.backend=bearer 1
}
