// SPDX-License-Identifier: Apache-2.0

package authotel_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/authotel"
	"github.com/grpcauth/grpcauth/backends/bearer"
	"github.com/grpcauth/grpcauth/grpcauthtest"
	"github.com/grpcauth/grpcauth/jwks"
	"github.com/grpcauth/grpcauth/throttle"
)

// desk is a verifier that knows everybody but "bad".
type desk struct{}

func (desk) Verify(_ context.Context, token string) (*grpcauth.User, error) {
	if token == "bad" {
		return nil, grpcauth.Errorf(grpcauth.CodeInvalid, "nobody has this token")
	}
	return &grpcauth.User{ID: token}, nil
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(tb testing.TB) T {
		tb.Helper()
		if err != nil {
			tb.Fatal(err)
		}
		return v
	}
}

func newTokens(t testing.TB) *bearer.Backend {
	t.Helper()
	return must(bearer.New(desk{}, bearer.Options{MaxRemembered: 2, Now: func() time.Time { return start }}))(t)
}

func TestMemoriesOfTokensAreLookedAt(t *testing.T) {
	t.Parallel()
	m, tokens := newMeters(), newTokens(t)
	newTelemetry(t, authotel.Options{MeterProvider: m, Tokens: map[string]*bearer.Backend{"jwt": tokens, "idle": newTokens(t)}})
	auth := grpcauth.New(tokens)
	for _, token := range []string{"a", "a", "a", "b", "bad", "bad", "c", "d"} {
		_, _ = auth.Authenticate(bearing(t.Context(), token), "/shop.v1.Orders/Get")
	}
	expectSeries(t, m, map[string]float64{
		"grpcauth.cache.hits{grpcauth.backend=jwt}":                            3,
		"grpcauth.cache.misses{grpcauth.backend=jwt}":                          5,
		"grpcauth.cache.evictions{grpcauth.backend=jwt}":                       2,
		"grpcauth.cache.size{grpcauth.backend=jwt,grpcauth.outcome=accepted}":  2,
		"grpcauth.cache.size{grpcauth.backend=jwt,grpcauth.outcome=refused}":   1,
		"grpcauth.cache.hits{grpcauth.backend=idle}":                           0,
		"grpcauth.cache.misses{grpcauth.backend=idle}":                         0,
		"grpcauth.cache.evictions{grpcauth.backend=idle}":                      0,
		"grpcauth.cache.size{grpcauth.backend=idle,grpcauth.outcome=accepted}": 0,
		"grpcauth.cache.size{grpcauth.backend=idle,grpcauth.outcome=refused}":  0,
	})
}

func TestKeySetsAreLookedAt(t *testing.T) {
	t.Parallel()
	clock := grpcauthtest.NewClock(start)
	provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprint(w, `{"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "1", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`)
	}))
	t.Cleanup(provider.Close)
	opts := jwks.Options{Client: provider.Client(), Now: clock.Now}
	up := must(jwks.Remote(provider.URL, opts))(t)
	down := must(jwks.Located("nowhere", func(context.Context, bool) (string, error) { return "", errors.New("it is down") }, opts))(t)
	m := newMeters()
	newTelemetry(t, authotel.Options{MeterProvider: m, Keys: map[string]*jwks.RemoteSet{"up": up, "down": down}, Now: clock.Now})
	if _, err := up.Keys(t.Context(), "1"); err != nil {
		t.Fatal(err)
	}
	_, _ = down.Keys(t.Context(), "1")
	clock.Advance(90 * time.Second)
	want := map[string]float64{
		"grpcauth.jwks.age{grpcauth.jwks=up}":        90,
		"grpcauth.jwks.fetches{grpcauth.jwks=up}":    1,
		"grpcauth.jwks.failures{grpcauth.jwks=up}":   0,
		"grpcauth.jwks.fetches{grpcauth.jwks=down}":  1,
		"grpcauth.jwks.failures{grpcauth.jwks=down}": 1,
	}
	expectSeries(t, m, want)
	clock.Advance(-time.Hour)
	want["grpcauth.jwks.age{grpcauth.jwks=up}"] = 0
	expectSeries(t, m, want)
}

func TestLimitersAreLookedAt(t *testing.T) {
	t.Parallel()
	limiter := must(throttle.New(throttle.Options{Now: func() time.Time { return start }, Account: throttle.Limit{Attempts: 1, Window: time.Minute}}))(t)
	m := newMeters()
	newTelemetry(t, authotel.Options{MeterProvider: m, Limiters: map[string]*throttle.Limiter{"logins": limiter}})
	for range 3 {
		if done, err := limiter.Reserve(t.Context(), "alice", "192.0.2.1"); err == nil {
			done(throttle.Failed)
		}
	}
	stats := limiter.Stats()
	if stats.Throttled == 0 || stats.Entries == 0 {
		t.Fatalf("the limiter did nothing: %+v", stats)
	}
	expectSeries(t, m, map[string]float64{
		"grpcauth.limiter.refused{grpcauth.limiter=logins}": float64(stats.Throttled),
		"grpcauth.limiter.entries{grpcauth.limiter=logins}": float64(stats.Entries),
		"grpcauth.limiter.evicted{grpcauth.limiter=logins}": 0,
		"grpcauth.limiter.outages{grpcauth.limiter=logins}": 0,
	})
}

func TestEvictionsAndOutagesOfLimiters(t *testing.T) {
	t.Parallel()
	limiter := must(throttle.New(throttle.Options{Counter: broken{}, Outage: throttle.CountLocally, MaxMemory: 1 << 20}))(t)
	m := newMeters()
	newTelemetry(t, authotel.Options{MeterProvider: m, Limiters: map[string]*throttle.Limiter{"logins": limiter}})
	for i := range 20_000 {
		if done, err := limiter.Reserve(t.Context(), fmt.Sprint("user", i), fmt.Sprint("place", i)); err == nil {
			done(throttle.Failed)
		}
	}
	stats, got := limiter.Stats(), m.series(t)
	if evicted := got["grpcauth.limiter.evicted{grpcauth.limiter=logins}"]; evicted == 0 || evicted != float64(stats.Evicted) {
		t.Errorf("%v evicted, want %d and more than none", evicted, stats.Evicted)
	}
	if outages := got["grpcauth.limiter.outages{grpcauth.limiter=logins}"]; outages == 0 || outages != float64(stats.Outages) {
		t.Errorf("%v outages, want %d and more than none", outages, stats.Outages)
	}
}

// broken is a counter that cannot be asked.
type broken struct{}

func (broken) Add(context.Context, string, int64, time.Duration) (int64, error) {
	return 0, errors.New("it is down")
}

func TestCloseEndsLookingAndCountsOn(t *testing.T) {
	t.Parallel()
	m := newMeters()
	telemetry := newTelemetry(t, authotel.Options{MeterProvider: m, Tokens: map[string]*bearer.Backend{"jwt": newTokens(t)}})
	if got := m.series(t); len(got) != 5 {
		t.Fatalf("got\n%s", lines(got))
	}
	for range 2 {
		if err := telemetry.Close(); err != nil {
			t.Fatal(err)
		}
	}
	telemetry.Observe(t.Context(), grpcauth.Event{User: &grpcauth.User{ID: "alice"}})
	expectSeries(t, m, map[string]float64{
		"grpcauth.decisions{grpcauth.outcome=accepted}":                                   1,
		"grpcauth.decision.duration{grpcauth.outcome=accepted,grpcauth.remembered=false}": 1,
	})
}

func TestNewNamesTheOptionThatIsWrong(t *testing.T) {
	t.Parallel()
	tokens := newTokens(t)
	for want, opts := range map[string]authotel.Options{
		"Options.MeterProvider is nil":      {},
		"MeterProvider is nil: write that":  {MeterProvider: (*meters)(nil)},
		`Options.Tokens["jwt"] is nil`:      {MeterProvider: noop.NewMeterProvider(), Tokens: map[string]*bearer.Backend{"jwt": nil}},
		"Options.Tokens has an empty name":  {MeterProvider: noop.NewMeterProvider(), Tokens: map[string]*bearer.Backend{" ": tokens}},
		`Options.Keys["idp"] is nil`:        {MeterProvider: noop.NewMeterProvider(), Keys: map[string]*jwks.RemoteSet{"idp": nil}},
		`Options.Limiters["logins"] is nil`: {MeterProvider: noop.NewMeterProvider(), Limiters: map[string]*throttle.Limiter{"logins": nil}},
		"Options.MeterProvider: no room":    {MeterProvider: failing{make: errors.New("no room")}},
		"Options.MeterProvider: no looking": {MeterProvider: failing{register: errors.New("no looking")}, Tokens: map[string]*bearer.Backend{"jwt": tokens}},
	} {
		telemetry, err := authotel.New(opts)
		if telemetry != nil || err == nil || !strings.HasPrefix(err.Error(), "authotel: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, %v, want an error with %q", telemetry, err, want)
		}
	}
}

// failing is a provider that fails to make what is looked at, or to look at it.
type failing struct {
	noop.MeterProvider
	make, register error
}

func (f failing) Meter(string, ...metric.MeterOption) metric.Meter {
	return failingMeter{make: f.make, register: f.register}
}

type failingMeter struct {
	noop.Meter
	make, register error
}

func (m failingMeter) Int64Counter(string, ...metric.Int64CounterOption) (metric.Int64Counter, error) {
	return noop.Int64Counter{}, m.make
}

func (m failingMeter) RegisterCallback(metric.Callback, ...metric.Observable) (metric.Registration, error) {
	return noop.Registration{}, m.register
}
