// SPDX-License-Identifier: Apache-2.0

package authotel_test

import (
	"context"
	"errors"
	"maps"
	"testing"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/authotel"
)

// events are the attributes of the events that a call with this token puts into its span.
func events(t *testing.T, opts authotel.Options, sampler trace.Sampler, token string) (all []map[string]string) {
	t.Helper()
	spans := tracetest.NewSpanRecorder()
	tracer := trace.NewTracerProvider(trace.WithSpanProcessor(spans), trace.WithSampler(sampler)).Tracer("test")
	opts.MeterProvider = newMeters()
	ctx, span := tracer.Start(t.Context(), "call")
	_, _ = newInterceptor(t, newTelemetry(t, opts)).Authenticate(bearing(ctx, token), "/shop.v1.Orders/Get")
	span.End()
	for _, s := range spans.Ended() {
		for _, e := range s.Events() {
			if e.Name != authotel.EventName {
				t.Errorf("got an event %q", e.Name)
			}
			attrs := map[string]string{}
			for _, a := range e.Attributes {
				attrs[string(a.Key)] = a.Value.String()
			}
			all = append(all, attrs)
		}
	}
	return all
}

func TestDecisionIsAnEventOfTheCallsSpan(t *testing.T) {
	t.Parallel()
	for token, want := range map[string]map[string]string{
		"alice": {"grpcauth.outcome": "accepted", "grpcauth.backend": "tokens", "grpcauth.remembered": "false"},
		"known": {"grpcauth.outcome": "accepted", "grpcauth.backend": "tokens", "grpcauth.remembered": "true"},
		"bad":   {"grpcauth.outcome": "refused", "grpcauth.backend": "tokens", "error.type": "CREDENTIALS_INVALID", "grpcauth.remembered": "false"},
		"":      {"grpcauth.outcome": "refused", "error.type": "CREDENTIALS_MISSING", "grpcauth.remembered": "false"},
	} {
		got := events(t, authotel.Options{Spans: true}, trace.AlwaysSample(), token)
		if len(got) != 1 || !maps.Equal(got[0], want) {
			t.Errorf("%q: got %v, want %v", token, got, want)
		}
	}
}

func TestSpansAreLeftAloneUnlessTheyAreAskedFor(t *testing.T) {
	t.Parallel()
	if got := events(t, authotel.Options{}, trace.AlwaysSample(), "alice"); len(got) != 0 {
		t.Errorf("got %v", got)
	}
	if got := events(t, authotel.Options{Spans: true}, trace.NeverSample(), "alice"); len(got) != 0 {
		t.Errorf("got %v in a span that is not recorded", got)
	}
}

// Numbers are no reason to refuse a call.
func TestCallDoesNotSufferFromAProviderThatPanics(t *testing.T) {
	t.Parallel()
	telemetry := newTelemetry(t, authotel.Options{MeterProvider: panicking{}})
	if _, err := newInterceptor(t, telemetry).Authenticate(bearing(t.Context(), "alice"), "/shop.v1.Orders/Get"); err != nil {
		t.Errorf("got %v", err)
	}
	if _, err := newInterceptor(t, telemetry).Authenticate(bearing(t.Context(), "bad"), "/shop.v1.Orders/Get"); grpcauth.CodeOf(err) != grpcauth.CodeInvalid {
		t.Errorf("got %v, want the refusal", err)
	}
}

type panicking struct{ noop.MeterProvider }

func (panicking) Meter(string, ...metric.MeterOption) metric.Meter { return panickingMeter{} }

type panickingMeter struct{ noop.Meter }

func (panickingMeter) Int64Counter(string, ...metric.Int64CounterOption) (metric.Int64Counter, error) {
	return panickingCounter{}, nil
}

type panickingCounter struct{ noop.Int64Counter }

func (panickingCounter) Add(context.Context, int64, ...metric.AddOption) { panic(errors.New("a bug")) }
