// SPDX-License-Identifier: Apache-2.0

package canary_test

import (
	"context"
	"fmt"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/stats"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/authotel"
	"github.com/grpcauth/grpcauth/backends/bearer"
	"github.com/grpcauth/grpcauth/throttle"
)

// traces are the metrics of a server, and a span of each of its calls, as OpenTelemetry's SDK gives them to exporters.
type traces struct {
	s      *sinks
	reader *sdkmetric.ManualReader
	meters *sdkmetric.MeterProvider
	tracer trace.Tracer
}

func newTraces(t *testing.T, s *sinks) *traces {
	t.Helper()
	r := &traces{s: s, reader: sdkmetric.NewManualReader()}
	r.meters = sdkmetric.NewMeterProvider(sdkmetric.WithReader(r.reader))
	spans := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(r))
	r.tracer = spans.Tracer("canary")
	t.Cleanup(func() {
		_ = spans.Shutdown(context.WithoutCancel(t.Context()))
		_ = r.meters.Shutdown(context.WithoutCancel(t.Context()))
	})
	return r
}

func (r *traces) observer(t *testing.T, accepted *bearer.Backend, limiter *throttle.Limiter) grpcauth.Observer {
	t.Helper()
	telemetry := must(authotel.New(authotel.Options{
		MeterProvider: r.meters, Spans: true, Tokens: map[string]*bearer.Backend{"tokens": accepted}, Limiters: map[string]*throttle.Limiter{"all": limiter},
	}))(t)
	t.Cleanup(func() { _ = telemetry.Close() })
	return telemetry
}

// collect writes down all metrics.
func (r *traces) collect(t *testing.T) {
	t.Helper()
	var all metricdata.ResourceMetrics
	if err := r.reader.Collect(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	r.s.show("metrics", all)
}

// confess writes a text where telemetry goes.
func (r *traces) confess(ctx context.Context, text string) {
	trace.SpanFromContext(ctx).AddEvent(text)
	if counter, err := r.meters.Meter("canary").Int64Counter("controls"); err == nil {
		counter.Add(ctx, 1, metric.WithAttributes(attribute.String("text", text)))
	}
}

func (r *traces) TagRPC(ctx context.Context, info *stats.RPCTagInfo) context.Context {
	ctx, _ = r.tracer.Start(ctx, info.FullMethodName) //nolint:spancheck // HandleRPC ends it
	return ctx
}

func (r *traces) HandleRPC(ctx context.Context, s stats.RPCStats) {
	if end, ok := s.(*stats.End); ok {
		span := trace.SpanFromContext(ctx)
		span.RecordError(end.Error)
		span.End()
	}
}

func (r *traces) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (r *traces) HandleConn(context.Context, stats.ConnStats)                       {}

func (r *traces) OnStart(context.Context, sdktrace.ReadWriteSpan) {}
func (r *traces) OnEnd(span sdktrace.ReadOnlySpan) {
	stub := tracetest.SpanStubFromReadOnlySpan(span)
	r.s.put("spans", fmt.Sprintf("%s %v %v", stub.Name, stub.Attributes, stub.Status))
	for _, event := range stub.Events {
		r.s.put("spans", fmt.Sprintf("%s %v", event.Name, event.Attributes))
	}
}
func (r *traces) Shutdown(context.Context) error   { return nil }
func (r *traces) ForceFlush(context.Context) error { return nil }
