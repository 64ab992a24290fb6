// SPDX-License-Identifier: Apache-2.0

// Package authotel counts decisions with OpenTelemetry, and tells how full and how useful the memories behind them are.
//
//	name                        kind, unit       attributes
//	grpcauth.decisions          counter          grpcauth.outcome, grpcauth.backend, error.type
//	grpcauth.decision.duration  histogram, s     grpcauth.outcome, grpcauth.remembered
//	grpcauth.streams.ended      counter          error.type
//	grpcauth.throttled          counter          grpcauth.backend
//	grpcauth.cache.hits         counter          grpcauth.backend
//	grpcauth.cache.misses       counter          grpcauth.backend
//	grpcauth.cache.evictions    counter          grpcauth.backend
//	grpcauth.cache.size         up-down counter  grpcauth.backend, grpcauth.outcome (accepted, refused)
//	grpcauth.jwks.age           gauge, s         grpcauth.jwks; not there before the first keys
//	grpcauth.jwks.fetches       counter          grpcauth.jwks
//	grpcauth.jwks.failures      counter          grpcauth.jwks
//	grpcauth.limiter.refused    counter          grpcauth.limiter
//	grpcauth.limiter.entries    up-down counter  grpcauth.limiter
//	grpcauth.limiter.evicted    counter          grpcauth.limiter
//	grpcauth.limiter.outages    counter          grpcauth.limiter
//
// Callers cannot make series: no attribute holds a user, a token, a key, a method or an address. The values are
//
//	grpcauth.outcome     accepted, anonymous (let in without a user), public, refused, undecided, abandoned (the caller gave up), ended (an open stream)
//	error.type           the reason of a refusal, as in its ErrorInfo: CREDENTIALS_INVALID; not there if the call was let in or abandoned
//	grpcauth.backend     the backend that decided; "other" for all but the first 64; not there if none found a credential
//	grpcauth.remembered  true if the verdict came from memory
//	grpcauth.jwks, grpcauth.limiter, and grpcauth.backend of a cache: the names in Options
//
// Only OpenTelemetry's API is used: which SDK it is, and where it sends what it is told, is the program's affair.
package authotel

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/bearer"
	"github.com/grpcauth/grpcauth/internal/values"
	"github.com/grpcauth/grpcauth/jwks"
	"github.com/grpcauth/grpcauth/throttle"
)

// Scope is the name of the meter.
const Scope = "github.com/grpcauth/grpcauth/authotel"

// EventName is the name of the event that Options.Spans adds to spans.
const EventName = "grpcauth.decision"

// Options say where numbers go and what is looked at beside the decisions. MeterProvider is required.
type Options struct {
	// MeterProvider takes the numbers.
	MeterProvider metric.MeterProvider
	// Spans adds an event to the span of each call, if that is recorded, with the attributes of grpcauth.decisions and grpcauth.remembered.
	Spans bool
	// Tokens are backends whose memories are looked at, by the names that WithBackends has for them.
	Tokens map[string]*bearer.Backend
	// Keys are key sets to look at, by names of your own.
	Keys map[string]*jwks.RemoteSet
	// Limiters are limiters to look at, by names of your own.
	Limiters map[string]*throttle.Limiter
	// Now replaces time.Now.
	Now func() time.Time
}

// Telemetry is a [grpcauth.Observer]. It is safe for concurrent use.
type Telemetry struct {
	spans            bool
	decisions        metric.Int64Counter
	duration         metric.Float64Histogram
	ended, throttled metric.Int64Counter
	unregister       func() error

	durations [outcomes][2][]metric.RecordOption // by whether the verdict was remembered
	endings   [reasons][]metric.AddOption
	mu        sync.Mutex                     // held while a backend is added
	backends  atomic.Pointer[backendsByName] // never changed, but replaced
}

var _ grpcauth.Observer = (*Telemetry)(nil)

// New returns a Telemetry. An error names the option that is wrong.
func New(opts Options) (*Telemetry, error) {
	if values.IsNil(opts.MeterProvider) {
		return nil, errors.New("authotel: Options.MeterProvider is nil: write that of the program's SDK")
	}
	if err := errors.Join(checkNames("Tokens", opts.Tokens), checkNames("Keys", opts.Keys), checkNames("Limiters", opts.Limiters)); err != nil {
		return nil, err
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	t := &Telemetry{spans: opts.Spans}
	t.backends.Store(newBackends())
	for o := range outcomes {
		for i, remembered := range []bool{false, true} {
			t.durations[o][i] = []metric.RecordOption{metric.WithAttributeSet(attribute.NewSet(o.attr(), rememberedKey.Bool(remembered)))}
		}
	}
	for r := range reasons {
		t.endings[r] = adding(r.attrs()...)
	}
	i := instruments{meter: opts.MeterProvider.Meter(Scope)}
	t.decisions = i.counter("grpcauth.decisions", "{decision}", "Calls that were judged, and rechecks of streams.")
	t.duration = i.histogram("grpcauth.decision.duration", "How long decisions took.")
	t.ended = i.counter("grpcauth.streams.ended", "{stream}", "Open streams that were ended.")
	t.throttled = i.counter("grpcauth.throttled", "{call}", "Calls that were refused because of too many attempts.")
	t.unregister = i.observe(&opts)
	if err := errors.Join(i.errs...); err != nil {
		return nil, fmt.Errorf("authotel: Options.MeterProvider: %w", err)
	}
	return t, nil
}

func checkNames[V any](field string, byName map[string]*V) error {
	for name, v := range byName {
		switch {
		case strings.TrimSpace(name) == "":
			return fmt.Errorf("authotel: Options.%s has an empty name: write what to call it in metrics", field)
		case v == nil:
			return fmt.Errorf("authotel: Options.%s[%q] is nil: write what to look at, or leave it out", field, name)
		}
	}
	return nil
}

// Close ends looking at Options.Tokens, Keys and Limiters, which are not closed. Decisions are counted as before.
func (t *Telemetry) Close() error { return t.unregister() }

// Observe counts a decision. A MeterProvider or a span that panics changes nothing about the call: what could not be counted was decided all the same.
func (t *Telemetry) Observe(ctx context.Context, e grpcauth.Event) {
	defer func() { _ = recover() }()
	if e.Code > grpcauth.CodeUnavailable {
		e.Code = grpcauth.CodeInternal // as which it is answered
	}
	o := outcomeOf(&e)
	r, b := reasonOf(&e, o), t.backend(e.Backend)
	s, remembered := b.of(o, r), 0
	if e.Remembered {
		remembered = 1
	}
	t.decisions.Add(ctx, 1, s.add...)
	t.duration.Record(ctx, e.Latency.Seconds(), t.durations[o][remembered]...)
	if o == ended {
		t.ended.Add(ctx, 1, t.endings[r]...)
	}
	if e.Err != nil && e.Code == grpcauth.CodeThrottled {
		t.throttled.Add(ctx, 1, b.throttled...)
	}
	if t.spans {
		trace.SpanFromContext(ctx).AddEvent(EventName, s.event[remembered]...)
	}
}
