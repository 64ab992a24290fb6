// SPDX-License-Identifier: Apache-2.0

package authotel

import (
	"context"
	"math"
	"sync"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// instruments makes instruments, and keeps what the provider says of that.
type instruments struct {
	meter metric.Meter
	all   []metric.Observable
	errs  []error
}

func (i *instruments) counter(name, unit, what string) metric.Int64Counter {
	c, err := i.meter.Int64Counter(name, metric.WithUnit(unit), metric.WithDescription(what))
	i.failed(err)
	return c
}

// boundaries reach from a remembered verdict to a provider that does not answer.
var boundaries = []float64{1e-6, 2.5e-6, 5e-6, 1e-5, 5e-5, 1e-4, 5e-4, 1e-3, 5e-3, 1e-2, 5e-2, .1, .5, 1, 5, 10}

func (i *instruments) histogram(name, what string) metric.Float64Histogram {
	h, err := i.meter.Float64Histogram(name, metric.WithUnit("s"), metric.WithDescription(what), metric.WithExplicitBucketBoundaries(boundaries...))
	i.failed(err)
	return h
}

func (i *instruments) sum(name, unit, what string) metric.Int64Observable {
	c, err := i.meter.Int64ObservableCounter(name, metric.WithUnit(unit), metric.WithDescription(what))
	return look(i, c, err)
}

func (i *instruments) level(name, unit, what string) metric.Int64Observable {
	c, err := i.meter.Int64ObservableUpDownCounter(name, metric.WithUnit(unit), metric.WithDescription(what))
	return look(i, c, err)
}

func (i *instruments) age(name, what string) metric.Float64Observable {
	g, err := i.meter.Float64ObservableGauge(name, metric.WithUnit("s"), metric.WithDescription(what))
	return look(i, g, err)
}

// look adds what is looked at when numbers are collected.
func look[O metric.Observable](i *instruments, o O, err error) O {
	i.failed(err)
	i.all = append(i.all, o)
	return o
}

func (i *instruments) failed(err error) {
	if err != nil {
		i.errs = append(i.errs, err)
	}
}

// observe has the provider ask for the numbers of what is looked at. The function that it returns ends that.
func (i *instruments) observe(opts *Options) (end func() error) {
	end = func() error { return nil }
	var looks []metric.Callback
	if len(opts.Tokens) > 0 {
		looks = append(looks, i.caches(opts))
	}
	if len(opts.Keys) > 0 {
		looks = append(looks, i.keys(opts))
	}
	if len(opts.Limiters) > 0 {
		looks = append(looks, i.limiters(opts))
	}
	if len(looks) == 0 || len(i.errs) > 0 {
		return end
	}
	registration, err := i.meter.RegisterCallback(func(ctx context.Context, to metric.Observer) error {
		for _, look := range looks {
			_ = look(ctx, to) // none fails
		}
		return nil
	}, i.all...)
	if err != nil {
		i.failed(err)
		return end
	}
	return sync.OnceValue(registration.Unregister)
}

// caches looks at what backends for tokens remember.
func (i *instruments) caches(opts *Options) metric.Callback {
	hits := i.sum("grpcauth.cache.hits", "{token}", "Tokens that were remembered.")
	misses := i.sum("grpcauth.cache.misses", "{token}", "Tokens that had to be judged.")
	evictions := i.sum("grpcauth.cache.evictions", "{token}", "Tokens that were forgotten for want of room.")
	size := i.level("grpcauth.cache.size", "{token}", "Tokens that are remembered now.")
	tokens := named(backendKey, opts.Tokens)
	return func(_ context.Context, to metric.Observer) error {
		for _, n := range tokens {
			s := n.value.Stats()
			to.ObserveInt64(hits, whole(s.Hits), n.attr)
			to.ObserveInt64(misses, whole(s.Misses), n.attr)
			to.ObserveInt64(evictions, whole(s.Evictions), n.attr)
			to.ObserveInt64(size, int64(s.Remembered), n.attr, metric.WithAttributes(accepted.attr()))
			to.ObserveInt64(size, int64(s.Refused), n.attr, metric.WithAttributes(refused.attr()))
		}
		return nil
	}
}

// keys looks at key sets.
func (i *instruments) keys(opts *Options) metric.Callback {
	age := i.age("grpcauth.jwks.age", "How long ago the keys came.")
	fetches := i.sum("grpcauth.jwks.fetches", "{fetch}", "Fetches of keys that have ended.")
	failures := i.sum("grpcauth.jwks.failures", "{fetch}", "Fetches that brought no keys.")
	sets, now := named("grpcauth.jwks", opts.Keys), opts.Now
	return func(_ context.Context, to metric.Observer) error {
		for _, n := range sets {
			s := n.value.Stats()
			to.ObserveInt64(fetches, whole(s.Fetches), n.attr)
			to.ObserveInt64(failures, whole(s.Failures), n.attr)
			if !s.Fetched.IsZero() {
				to.ObserveFloat64(age, max(now().Sub(s.Fetched).Seconds(), 0), n.attr)
			}
		}
		return nil
	}
}

// limiters looks at limiters.
func (i *instruments) limiters(opts *Options) metric.Callback {
	turned := i.sum("grpcauth.limiter.refused", "{attempt}", "Attempts that were refused.")
	entries := i.level("grpcauth.limiter.entries", "{entry}", "Places of the memory that are taken.")
	evicted := i.sum("grpcauth.limiter.evicted", "{entry}", "Names that had to leave their attempts to another one.")
	outages := i.sum("grpcauth.limiter.outages", "{outage}", "Times that the counter could not be asked.")
	limiters := named("grpcauth.limiter", opts.Limiters)
	return func(_ context.Context, to metric.Observer) error {
		for _, n := range limiters {
			s := n.value.Stats()
			to.ObserveInt64(turned, whole(s.Throttled), n.attr)
			to.ObserveInt64(entries, int64(s.Entries), n.attr)
			to.ObserveInt64(evicted, whole(s.Evicted), n.attr)
			to.ObserveInt64(outages, whole(s.Outages), n.attr)
		}
		return nil
	}
}

// subject is what is looked at, with its name as an attribute.
type subject[V any] struct {
	value *V
	attr  metric.MeasurementOption
}

func named[V any](key attribute.Key, byName map[string]*V) (all []subject[V]) {
	for name, v := range byName {
		all = append(all, subject[V]{v, metric.WithAttributeSet(attribute.NewSet(key.String(name)))})
	}
	return all
}

func whole(n uint64) int64 { return int64(min(n, math.MaxInt64)) }
