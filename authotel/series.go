// SPDX-License-Identifier: Apache-2.0

package authotel

import (
	"maps"
	"slices"
	"strings"
	"sync/atomic"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/codes"

	"github.com/grpcauth/grpcauth"
)

const (
	outcomeKey    = attribute.Key("grpcauth.outcome")
	backendKey    = attribute.Key("grpcauth.backend")
	rememberedKey = attribute.Key("grpcauth.remembered")
	errorKey      = attribute.Key("error.type")
)

// outcome is what became of a call.
type outcome uint8

const (
	accepted outcome = iota
	anonymous
	public
	refused
	undecided
	abandoned
	ended
	outcomes // how many there are
)

var outcomeNames = [outcomes]string{"accepted", "anonymous", "public", "refused", "undecided", "abandoned", "ended"}

func (o outcome) attr() attribute.KeyValue { return outcomeKey.String(outcomeNames[o]) }

func outcomeOf(e *grpcauth.Event) outcome {
	switch {
	case e.Err == nil && e.Access == grpcauth.Public:
		return public
	case e.Err == nil && e.User == nil:
		return anonymous
	case e.Err == nil:
		return accepted
	case e.Recheck:
		return ended
	case e.Status == codes.Canceled || e.Status == codes.DeadlineExceeded:
		return abandoned
	case e.Code == grpcauth.CodeUnavailable || e.Code == grpcauth.CodeInternal:
		return undecided
	}
	return refused
}

// reason is a code, or none.
type reason uint8

const (
	none    = reason(grpcauth.CodeUnavailable) + 1 // the call was let in, or abandoned
	reasons = none + 1                             // how many there are
)

func reasonOf(e *grpcauth.Event, o outcome) reason {
	if e.Err == nil || o == abandoned {
		return none
	}
	return reason(e.Code)
}

func (r reason) attrs() []attribute.KeyValue {
	if r == none {
		return nil
	}
	return []attribute.KeyValue{errorKey.String(grpcauth.Code(r).String())}
}

// series are attributes, in the forms that the API takes.
type series struct {
	add   []metric.AddOption
	event [2][]trace.EventOption // by whether the verdict was remembered
}

// backendSeries are all series of a backend, each made when it is first needed.
type backendSeries struct {
	attrs     []attribute.KeyValue
	throttled []metric.AddOption
	made      [outcomes][reasons]atomic.Pointer[series]
}

const (
	maxBackends = 64
	others      = "other"
)

// backendsByName has the backends that are known, and two more: that of no name, and that of all others.
type backendsByName map[string]*backendSeries

func newBackends() *backendsByName {
	return &backendsByName{"": newBackendSeries(""), others: newBackendSeries(others)}
}

func (known backendsByName) full() bool { return len(known) >= maxBackends+2 }

// backend returns the series of a backend. The first names have their own, all others share one.
func (t *Telemetry) backend(name string) *backendSeries {
	known := *t.backends.Load()
	if b := known[name]; b != nil {
		return b
	}
	if known.full() {
		return known[others]
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	known = *t.backends.Load()
	if b := known[name]; b != nil {
		return b
	}
	if known.full() {
		return known[others]
	}
	b := newBackendSeries(name)
	known = maps.Clone(known)
	known[name] = b
	t.backends.Store(&known)
	return b
}

func newBackendSeries(name string) *backendSeries {
	b := &backendSeries{}
	if name != "" {
		b.attrs = []attribute.KeyValue{backendKey.String(strings.ToValidUTF8(name, "\uFFFD"))}
	}
	b.throttled = adding(b.attrs...)
	return b
}

// of returns the series of an outcome. If two callers make it at once, that of one is as good as that of the other.
func (b *backendSeries) of(o outcome, r reason) *series {
	if s := b.made[o][r].Load(); s != nil {
		return s
	}
	attrs := slices.Concat([]attribute.KeyValue{o.attr()}, b.attrs, r.attrs())
	s := &series{add: adding(attrs...)}
	for i, remembered := range []bool{false, true} {
		s.event[i] = []trace.EventOption{trace.WithAttributes(append(slices.Clip(attrs), rememberedKey.Bool(remembered))...)}
	}
	b.made[o][r].Store(s)
	return s
}

// adding is made beforehand as a list, because a list made for the call would be allocated.
func adding(attrs ...attribute.KeyValue) []metric.AddOption {
	return []metric.AddOption{metric.WithAttributeSet(attribute.NewSet(attrs...))}
}
