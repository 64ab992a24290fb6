// SPDX-License-Identifier: Apache-2.0

package authotel_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"go.opentelemetry.io/otel/attribute"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/authotel"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var start = time.Date(2026, time.March, 4, 5, 6, 7, 0, time.UTC)

// meters is a provider whose numbers are read by hand.
type meters struct {
	*sdk.MeterProvider
	reader *sdk.ManualReader
}

func newMeters() *meters {
	reader := sdk.NewManualReader()
	return &meters{sdk.NewMeterProvider(sdk.WithReader(reader)), reader}
}

// series are all numbers by "name{key=value,key=value}"; of a histogram, how many values it has.
func (m *meters) series(t testing.TB) map[string]float64 {
	t.Helper()
	var all metricdata.ResourceMetrics
	if err := m.reader.Collect(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, scope := range all.ScopeMetrics {
		if scope.Scope.Name != authotel.Scope {
			t.Errorf("numbers under %q", scope.Scope.Name)
		}
		for _, metric := range scope.Metrics {
			add := func(attrs attribute.Set, value float64) {
				for _, a := range attrs.ToSlice() {
					if !utf8.ValidString(a.Value.AsString()) {
						t.Errorf("%s: %q is no text, and exporters fail", a.Key, a.Value.AsString())
					}
				}
				got[metric.Name+"{"+attrs.Encoded(attribute.DefaultEncoder())+"}"] = value
			}
			switch data := metric.Data.(type) {
			case metricdata.Sum[int64]:
				for _, p := range data.DataPoints {
					add(p.Attributes, float64(p.Value))
				}
			case metricdata.Gauge[float64]:
				for _, p := range data.DataPoints {
					add(p.Attributes, p.Value)
				}
			case metricdata.Histogram[float64]:
				for _, p := range data.DataPoints {
					add(p.Attributes, float64(p.Count))
				}
			default:
				t.Errorf("%s: %T", metric.Name, data)
			}
		}
	}
	return got
}

func expectSeries(t testing.TB, m *meters, want map[string]float64) {
	t.Helper()
	got := m.series(t)
	if !maps.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", lines(got), lines(want))
	}
}

func lines(series map[string]float64) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(series)) {
		fmt.Fprintf(&b, "%s %v\n", name, series[name])
	}
	return b.String()
}

func newTelemetry(t testing.TB, opts authotel.Options) *authotel.Telemetry {
	t.Helper()
	telemetry, err := authotel.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := telemetry.Close(); err != nil {
			t.Error(err)
		}
	})
	return telemetry
}

// users accepts a token as the user of that name, but for some.
var users = grpcauth.BackendFunc(func(ctx context.Context, req *grpcauth.Request) (*grpcauth.User, error) {
	token, err := req.Authorization("Bearer")
	switch {
	case err != nil:
		return nil, err
	case token == "bad":
		return nil, grpcauth.Errorf(grpcauth.CodeInvalid, "nobody has this token")
	case token == "often":
		return nil, grpcauth.Errorf(grpcauth.CodeThrottled, "too many of them")
	case token == "down":
		return nil, errors.Join(errors.New("the database is down"), ctx.Err())
	case token == "known":
		req.Remembered()
	}
	return &grpcauth.User{ID: token}, nil
})

var policy = grpcauth.Policy{
	"/shop.v1.Orders/*":       {Backends: []string{"tokens"}},
	"/shop.v1.Orders/Delete":  {Backends: []string{"tokens"}, Permissions: []string{"orders.delete"}},
	"/shop.v1.Catalog/List":   {Access: grpcauth.Public},
	"/shop.v1.Catalog/Search": {Access: grpcauth.Optional},
}

// bearing is a call from this machine with a token, or without one if it is empty.
func bearing(ctx context.Context, token string) context.Context {
	header := metadata.MD{}
	if token != "" {
		header.Set("authorization", "Bearer "+token)
	}
	return metadata.NewIncomingContext(peer.NewContext(ctx, &peer.Peer{Addr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 41234}}), header)
}

func newInterceptor(t testing.TB, o grpcauth.Observer) *grpcauth.Interceptor {
	t.Helper()
	return grpcauth.New(users, grpcauth.WithBackends(map[string]grpcauth.Backend{"tokens": users}), grpcauth.WithPolicy(policy), grpcauth.WithObserver(o))
}

func TestEveryOutcomeHasItsSeries(t *testing.T) {
	t.Parallel()
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for name, c := range map[string]struct {
		ctx           context.Context
		token, method string
		want          []string
	}{
		"accepted": {t.Context(), "alice", "/shop.v1.Orders/Get", []string{
			"grpcauth.decisions{grpcauth.backend=tokens,grpcauth.outcome=accepted}",
			"grpcauth.decision.duration{grpcauth.outcome=accepted,grpcauth.remembered=false}",
		}},
		"remembered": {t.Context(), "known", "/shop.v1.Orders/Get", []string{
			"grpcauth.decisions{grpcauth.backend=tokens,grpcauth.outcome=accepted}",
			"grpcauth.decision.duration{grpcauth.outcome=accepted,grpcauth.remembered=true}",
		}},
		"public": {t.Context(), "", "/shop.v1.Catalog/List", []string{
			"grpcauth.decisions{grpcauth.outcome=public}",
			"grpcauth.decision.duration{grpcauth.outcome=public,grpcauth.remembered=false}",
		}},
		"anonymous": {t.Context(), "", "/shop.v1.Catalog/Search", []string{
			"grpcauth.decisions{grpcauth.outcome=anonymous}",
			"grpcauth.decision.duration{grpcauth.outcome=anonymous,grpcauth.remembered=false}",
		}},
		"missing": {t.Context(), "", "/shop.v1.Orders/Get", []string{
			"grpcauth.decisions{error.type=CREDENTIALS_MISSING,grpcauth.outcome=refused}",
			"grpcauth.decision.duration{grpcauth.outcome=refused,grpcauth.remembered=false}",
		}},
		"refused": {t.Context(), "bad", "/shop.v1.Orders/Get", []string{
			"grpcauth.decisions{error.type=CREDENTIALS_INVALID,grpcauth.backend=tokens,grpcauth.outcome=refused}",
			"grpcauth.decision.duration{grpcauth.outcome=refused,grpcauth.remembered=false}",
		}},
		"forbidden": {t.Context(), "alice", "/shop.v1.Orders/Delete", []string{
			"grpcauth.decisions{error.type=PERMISSION_DENIED,grpcauth.backend=tokens,grpcauth.outcome=refused}",
			"grpcauth.decision.duration{grpcauth.outcome=refused,grpcauth.remembered=false}",
		}},
		"throttled": {t.Context(), "often", "/shop.v1.Orders/Get", []string{
			"grpcauth.decisions{error.type=TOO_MANY_ATTEMPTS,grpcauth.backend=tokens,grpcauth.outcome=refused}",
			"grpcauth.decision.duration{grpcauth.outcome=refused,grpcauth.remembered=false}",
			"grpcauth.throttled{grpcauth.backend=tokens}",
		}},
		"undecided": {t.Context(), "down", "/shop.v1.Orders/Get", []string{
			"grpcauth.decisions{error.type=AUTHENTICATION_UNAVAILABLE,grpcauth.backend=tokens,grpcauth.outcome=undecided}",
			"grpcauth.decision.duration{grpcauth.outcome=undecided,grpcauth.remembered=false}",
		}},
		"abandoned": {gone, "down", "/shop.v1.Orders/Get", []string{
			"grpcauth.decisions{grpcauth.backend=tokens,grpcauth.outcome=abandoned}",
			"grpcauth.decision.duration{grpcauth.outcome=abandoned,grpcauth.remembered=false}",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMeters()
			auth := newInterceptor(t, newTelemetry(t, authotel.Options{MeterProvider: m}))
			want := map[string]float64{}
			for range 3 {
				_, _ = auth.Authenticate(bearing(c.ctx, c.token), c.method)
			}
			for _, series := range c.want {
				want[series] = 3
			}
			expectSeries(t, m, want)
		})
	}
}

func TestStreamsThatEndAreCountedByReason(t *testing.T) {
	t.Parallel()
	m := newMeters()
	telemetry := newTelemetry(t, authotel.Options{MeterProvider: m})
	recheck := grpcauth.Event{Method: "/shop.v1.Orders/Watch", Backend: "jwt", Recheck: true, User: &grpcauth.User{ID: "alice"}}
	telemetry.Observe(t.Context(), recheck)
	recheck.Err, recheck.Code, recheck.User = errors.New("expired"), grpcauth.CodeExpired, nil
	telemetry.Observe(t.Context(), recheck)
	recheck.Code, recheck.Status = grpcauth.CodeRevoked, codes.Canceled
	telemetry.Observe(t.Context(), recheck)
	expectSeries(t, m, map[string]float64{
		"grpcauth.decisions{grpcauth.backend=jwt,grpcauth.outcome=accepted}":                             1,
		"grpcauth.decisions{error.type=CREDENTIALS_EXPIRED,grpcauth.backend=jwt,grpcauth.outcome=ended}": 1,
		"grpcauth.decisions{error.type=CREDENTIALS_REVOKED,grpcauth.backend=jwt,grpcauth.outcome=ended}": 1,
		"grpcauth.decision.duration{grpcauth.outcome=accepted,grpcauth.remembered=false}":                1,
		"grpcauth.decision.duration{grpcauth.outcome=ended,grpcauth.remembered=false}":                   2,
		"grpcauth.streams.ended{error.type=CREDENTIALS_EXPIRED}":                                         1,
		"grpcauth.streams.ended{error.type=CREDENTIALS_REVOKED}":                                         1,
	})
}

func TestDurationIsInSecondsAndItsBucketsFitMemoryAndOutages(t *testing.T) {
	t.Parallel()
	m := newMeters()
	telemetry := newTelemetry(t, authotel.Options{MeterProvider: m})
	for _, latency := range []time.Duration{2 * time.Microsecond, 300 * time.Microsecond, 2 * time.Second} {
		telemetry.Observe(t.Context(), grpcauth.Event{Latency: latency, User: &grpcauth.User{}})
	}
	var all metricdata.ResourceMetrics
	if err := m.reader.Collect(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	for _, metric := range all.ScopeMetrics[0].Metrics {
		h, ok := metric.Data.(metricdata.Histogram[float64])
		if !ok {
			continue
		}
		p := h.DataPoints[0]
		if metric.Unit != "s" || p.Sum < 2.0003 || p.Sum > 2.0004 {
			t.Errorf("sum %v %s", p.Sum, metric.Unit)
		}
		if slices.Max(p.BucketCounts) != 1 || p.BucketCounts[0]+p.BucketCounts[len(p.BucketCounts)-1] != 0 {
			t.Errorf("buckets %v: got %v, want each in one of its own, and none outside", p.Bounds, p.BucketCounts)
		}
		return
	}
	t.Error("no histogram")
}

// Whatever callers and backends come up with, the series stay few, and nothing of theirs is in one.
func TestSeriesStayFewUnderAFlood(t *testing.T) {
	t.Parallel()
	m := newMeters()
	telemetry := newTelemetry(t, authotel.Options{MeterProvider: m, Spans: true})
	for i := range 20_000 {
		e := grpcauth.Event{
			Method: fmt.Sprintf("/flood.Method/M%d", i), Rule: fmt.Sprintf("flood-rule-%d", i), Backend: fmt.Sprintf("backend-%d", i),
			User: &grpcauth.User{ID: fmt.Sprintf("flood-user-%d", i), Issuer: fmt.Sprintf("flood-issuer-%d", i)}, Remembered: i%2 == 0, Recheck: i%3 == 0,
		}
		if i%5 != 0 {
			e.Err, e.Code = fmt.Errorf("flood-cause-%d", i), grpcauth.Code(i)
		}
		telemetry.Observe(t.Context(), e)
	}
	got := m.series(t)
	for name := range got {
		if strings.Contains(name, "flood") {
			t.Fatalf("a series has what a caller chose: %s", name)
		}
	}
	total, backends := decisions(got)
	if len(backends) != 65 || !backends["other"] || !backends["backend-0"] || !backends["backend-63"] {
		t.Errorf("got %d backends, %v, want the first 64 and others", len(backends), slices.Sorted(maps.Keys(backends)))
	}
	if total != 20_000 {
		t.Errorf("got %v decisions", total)
	}
	if len(got) > 1_000 {
		t.Errorf("got %d series", len(got))
	}
	telemetry.Observe(t.Context(), grpcauth.Event{Backend: "backend-7", User: &grpcauth.User{}})
	telemetry.Observe(t.Context(), grpcauth.Event{User: &grpcauth.User{}})
	after := m.series(t)
	for _, name := range []string{"grpcauth.decisions{grpcauth.backend=backend-7,grpcauth.outcome=accepted}", "grpcauth.decisions{grpcauth.outcome=accepted}"} {
		if after[name] != got[name]+1 {
			t.Errorf("%s is not counted any more", name)
		}
	}
}

func TestCodeThatIsNoneIsInternal(t *testing.T) {
	t.Parallel()
	if got := (grpcauth.CodeUnavailable + 1).String(); got != grpcauth.CodeInternal.String() {
		t.Errorf("there is a code %s, for which there is no series", got)
	}
	m := newMeters()
	newTelemetry(t, authotel.Options{MeterProvider: m}).Observe(t.Context(), grpcauth.Event{Err: errors.New("odd"), Code: 200, Status: codes.Internal})
	got := m.series(t)
	if got["grpcauth.decisions{error.type="+grpcauth.CodeInternal.String()+",grpcauth.outcome=undecided}"] != 1 {
		t.Errorf("got\n%s", lines(got))
	}
}

func TestBackendsNameIsMadeText(t *testing.T) {
	t.Parallel()
	m := newMeters()
	newTelemetry(t, authotel.Options{MeterProvider: m}).Observe(t.Context(), grpcauth.Event{Backend: "a\xffb", User: &grpcauth.User{}})
	if got := m.series(t); got["grpcauth.decisions{grpcauth.backend=a\uFFFDb,grpcauth.outcome=accepted}"] != 1 {
		t.Errorf("got\n%s", lines(got))
	}
}

func TestManyCallersAreAllCounted(t *testing.T) {
	t.Parallel()
	const rounds, callers, calls = 30, 8, 200
	for range rounds { // in each all backends are new
		m := newMeters()
		telemetry := newTelemetry(t, authotel.Options{MeterProvider: m, Spans: true})
		begin := make(chan struct{})
		var wg sync.WaitGroup
		for caller := range callers {
			wg.Go(func() {
				<-begin
				for i := range calls {
					e := grpcauth.Event{Backend: fmt.Sprintf("backend-%d-%d", caller%2, i%100), User: &grpcauth.User{}}
					if i%2 == 0 {
						e.Err, e.Code = errors.New("no"), grpcauth.Code(i%13)
					}
					telemetry.Observe(t.Context(), e)
					if i%100 == 99 {
						m.series(t)
					}
				}
			})
		}
		close(begin)
		wg.Wait()
		if total, backends := decisions(m.series(t)); total != callers*calls || len(backends) != 65 {
			t.Fatalf("got %v decisions of %d backends, want %d of 65", total, len(backends), callers*calls)
		}
	}
}

// decisions are how many were counted, and of which backends.
func decisions(series map[string]float64) (total float64, backends map[string]bool) {
	backends = map[string]bool{}
	for name, value := range series {
		attrs, ok := strings.CutPrefix(strings.TrimSuffix(name, "}"), "grpcauth.decisions{")
		if !ok {
			continue
		}
		total += value
		_, backend, _ := strings.Cut(attrs, "grpcauth.backend=")
		backend, _, _ = strings.Cut(backend, ",")
		backends[backend] = true
	}
	return total, backends
}

// The root package of OpenTelemetry brings global state, logging and propagation; an SDK would be the program's choice taken away.
func TestOnlyTheAPIIsImported(t *testing.T) {
	t.Parallel()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for pkg := range strings.FieldsSeq(string(out)) {
		rest, ok := strings.CutPrefix(pkg, "go.opentelemetry.io/")
		if !ok {
			continue
		}
		found++
		if rest == "otel" || strings.HasPrefix(rest, "otel/sdk") || strings.HasPrefix(rest, "otel/propagation") || strings.HasPrefix(rest, "otel/baggage") {
			t.Errorf("%s is imported", pkg)
		}
	}
	if found < 3 {
		t.Errorf("only %d packages were found", found)
	}
}
