// SPDX-License-Identifier: Apache-2.0

package authlog_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/authlog"
	"github.com/grpcauth/grpcauth/backends/apikey"
	"github.com/grpcauth/grpcauth/store/memstore"
)

var start = time.Date(2026, time.March, 4, 5, 6, 7, 0, time.UTC)

// book keeps what is written. It is safe for concurrent use.
type book struct {
	mu   sync.Mutex
	text bytes.Buffer // guarded by mu
}

func (b *book) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

// records are the lines that were written since the last time.
func (b *book) records(t *testing.T) (all []map[string]any) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for line := range strings.Lines(b.text.String()) {
		var record map[string]any
		if err := json.Unmarshal([]byte(line), &record); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		all = append(all, record)
	}
	b.text.Reset()
	return all
}

func newLogger(t *testing.T, opts authlog.Options) *authlog.Logger {
	t.Helper()
	if opts.Now == nil {
		opts.Now = func() time.Time { return start }
	}
	l, err := authlog.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// users accepts a token as the user of that name, but for some.
var users = grpcauth.BackendFunc(func(ctx context.Context, req *grpcauth.Request) (*grpcauth.User, error) {
	token, err := req.Authorization("Bearer")
	switch {
	case err != nil:
		return nil, err
	case token == "bad":
		return nil, grpcauth.Errorf(grpcauth.CodeInvalid, "nobody has this token")
	case token == "down":
		return nil, errors.Join(errors.New("the database is down"), ctx.Err())
	}
	return &grpcauth.User{ID: token, Issuer: "https://idp.example.com", Method: "jwt"}, nil
})

var policy = grpcauth.Policy{
	"/shop.v1.Orders/*":       {},
	"/shop.v1.Orders/Delete":  {Permissions: []string{"orders.delete"}},
	"/shop.v1.Catalog/List":   {Access: grpcauth.Public},
	"/shop.v1.Catalog/Search": {Access: grpcauth.Optional},
}

func from(ctx context.Context, address net.Addr, pairs ...string) context.Context {
	return metadata.NewIncomingContext(peer.NewContext(ctx, &peer.Peer{Addr: address}), metadata.Pairs(pairs...))
}

var local = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 41234}

func TestRecordsSayWhoCalledWhatAndWhy(t *testing.T) {
	t.Parallel()
	keys := must(apikey.New(apikey.Options{Store: must(memstore.New(memstore.Options{}))(t), Prefix: "shop_test", FlushEvery: -1}))(t)
	key, made, err := keys.Create(t.Context(), apikey.Key{Owner: "ci"})
	if err != nil {
		t.Fatal(err)
	}
	out := &book{}
	logger := newLogger(t, authlog.Options{Handler: slog.NewJSONHandler(out, nil)})
	auth := grpcauth.New(grpcauth.Chain(users, keys), grpcauth.WithPolicy(policy), grpcauth.WithObserver(logger), grpcauth.WithClock(func() time.Time { return start }))
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for name, c := range map[string]struct {
		ctx    context.Context
		method string
		want   map[string]any
	}{
		"accepted": {from(t.Context(), local, "authorization", "Bearer alice"), "/shop.v1.Orders/Get", map[string]any{
			"level": "INFO", "grpcauth.outcome": "accepted", "rpc.response.status_code": "OK", "grpcauth.rule": "/shop.v1.Orders/*",
			"user.id": "alice", "grpcauth.issuer": "https://idp.example.com",
		}},
		"key": {from(t.Context(), local, "x-api-key", key), "/shop.v1.Orders/Get", map[string]any{
			"level": "INFO", "grpcauth.outcome": "accepted", "rpc.response.status_code": "OK", "grpcauth.rule": "/shop.v1.Orders/*", "grpcauth.backend": "apikey",
			"user.id": "ci", "grpcauth.key.hash": authlog.KeyHash(made.ID),
		}},
		"public": {from(t.Context(), local), "/shop.v1.Catalog/List", map[string]any{
			"level": "INFO", "grpcauth.outcome": "public", "rpc.response.status_code": "OK", "grpcauth.rule": "/shop.v1.Catalog/List",
		}},
		"anonymous": {from(t.Context(), local), "/shop.v1.Catalog/Search", map[string]any{
			"level": "INFO", "grpcauth.outcome": "anonymous", "rpc.response.status_code": "OK", "grpcauth.rule": "/shop.v1.Catalog/Search",
		}},
		"missing": {from(t.Context(), local), "/shop.v1.Orders/Get", map[string]any{
			"level": "WARN", "grpcauth.outcome": "refused", "rpc.response.status_code": "UNAUTHENTICATED", "error.type": "CREDENTIALS_MISSING", "grpcauth.rule": "/shop.v1.Orders/*",
		}},
		"refused": {from(t.Context(), local, "authorization", "Bearer bad"), "/shop.v1.Users/Get", map[string]any{
			"level": "WARN", "grpcauth.outcome": "refused", "rpc.response.status_code": "UNAUTHENTICATED", "error.type": "CREDENTIALS_INVALID",
		}},
		"forbidden": {from(t.Context(), local, "authorization", "Bearer alice"), "/shop.v1.Orders/Delete", map[string]any{
			"level": "WARN", "grpcauth.outcome": "refused", "rpc.response.status_code": "PERMISSION_DENIED", "error.type": "PERMISSION_DENIED", "grpcauth.rule": "/shop.v1.Orders/Delete",
		}},
		"outage": {from(t.Context(), local, "authorization", "Bearer down"), "/shop.v1.Orders/Get", map[string]any{
			"level": "ERROR", "grpcauth.outcome": "undecided", "rpc.response.status_code": "UNAVAILABLE", "error.type": "AUTHENTICATION_UNAVAILABLE", "grpcauth.rule": "/shop.v1.Orders/*",
		}},
		"abandoned": {from(gone, local, "authorization", "Bearer down"), "/shop.v1.Orders/Get", map[string]any{
			"level": "WARN", "grpcauth.outcome": "abandoned", "rpc.response.status_code": "CANCELLED", "grpcauth.rule": "/shop.v1.Orders/*",
		}},
	} {
		_, _ = auth.Authenticate(c.ctx, c.method)
		records := out.records(t)
		if len(records) != 1 {
			t.Errorf("%s: %d records", name, len(records))
			continue
		}
		c.want["time"], c.want["msg"], c.want["rpc.method"] = start.Format(time.RFC3339), authlog.Message, c.method[1:]
		c.want["network.peer.address"], c.want["grpcauth.duration"] = "127.0.0.1", 0.0
		if !reflect.DeepEqual(records[0], c.want) {
			t.Errorf("%s:\n got %v\nwant %v", name, records[0], c.want)
		}
	}
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

func TestRecordsTellMemoryAndRechecksApart(t *testing.T) {
	t.Parallel()
	out := &book{}
	l := newLogger(t, authlog.Options{Handler: slog.NewJSONHandler(out, nil)})
	user := &grpcauth.User{ID: "alice"}
	for _, c := range []struct {
		event grpcauth.Event
		want  map[string]any
	}{
		{grpcauth.Event{User: user, Remembered: true, Latency: time.Millisecond}, map[string]any{"grpcauth.outcome": "accepted", "grpcauth.remembered": true, "grpcauth.duration": 1e6}},
		{grpcauth.Event{User: user, Recheck: true}, map[string]any{"grpcauth.outcome": "accepted", "grpcauth.recheck": true, "level": "INFO"}},
		{grpcauth.Event{Err: errors.New("x"), Code: grpcauth.CodeRevoked, Status: codes.Unauthenticated, Recheck: true}, map[string]any{"grpcauth.outcome": "ended", "error.type": "CREDENTIALS_REVOKED", "level": "WARN"}},
		{grpcauth.Event{Err: errors.New("x"), Code: grpcauth.CodeInternal, Status: codes.Internal}, map[string]any{"grpcauth.outcome": "undecided", "error.type": "AUTHENTICATION_FAILED", "level": "ERROR"}},
		{grpcauth.Event{Err: errors.New("x"), Code: grpcauth.CodeThrottled, Status: codes.ResourceExhausted}, map[string]any{"grpcauth.outcome": "refused", "rpc.response.status_code": "RESOURCE_EXHAUSTED"}},
		{grpcauth.Event{Err: errors.New("x"), Code: grpcauth.CodeUnavailable, Status: codes.DeadlineExceeded}, map[string]any{"grpcauth.outcome": "abandoned", "rpc.response.status_code": "DEADLINE_EXCEEDED"}},
		{grpcauth.Event{Err: errors.New("x"), Code: grpcauth.CodeUnavailable, Status: codes.Canceled, Recheck: true}, map[string]any{"grpcauth.outcome": "abandoned", "level": "WARN", "error.type": nil}},
		{grpcauth.Event{Err: errors.New("x"), Code: grpcauth.CodeUnavailable, Status: codes.Unavailable, Recheck: true}, map[string]any{"grpcauth.outcome": "ended", "error.type": "AUTHENTICATION_UNAVAILABLE", "level": "ERROR"}},
		{grpcauth.Event{Err: errors.New("x"), Code: grpcauth.CodeInternal, Status: codes.Internal, Recheck: true}, map[string]any{"grpcauth.outcome": "ended", "level": "ERROR"}},
	} {
		l.Observe(t.Context(), c.event)
		record := out.records(t)[0]
		for key, want := range c.want {
			if record[key] != want {
				t.Errorf("%+v: %s: got %v, want %v", c.event, key, record[key], want)
			}
		}
	}
}

func TestPeersAreShownWithoutTheirPorts(t *testing.T) {
	t.Parallel()
	out := &book{}
	l := newLogger(t, authlog.Options{Handler: slog.NewJSONHandler(out, nil)})
	for want, addr := range map[string]net.Addr{
		"192.0.2.1": &net.TCPAddr{IP: net.ParseIP("192.0.2.1"), Port: 1}, "2001:db8::1": &net.TCPAddr{IP: net.ParseIP("2001:db8::1"), Port: 1}, "@sock": &net.UnixAddr{Name: "@sock"},
		"192.0.2.9": textAddr("192.0.2.9:80"),
	} {
		l.Observe(t.Context(), grpcauth.Event{Peer: addr})
		if got := out.records(t)[0]["network.peer.address"]; got != want {
			t.Errorf("%v: got %v, want %s", addr, got, want)
		}
	}
}

type textAddr string

func (textAddr) Network() string  { return "tcp" }
func (a textAddr) String() string { return string(a) }

// Everything that was not let in is written, and one of each hundred that was.
func TestSamplingSparesFailures(t *testing.T) {
	t.Parallel()
	out := &book{}
	l := newLogger(t, authlog.Options{Handler: slog.NewJSONHandler(out, nil), Sample: 100})
	refusal := grpcauth.Errorf(grpcauth.CodeInvalid, "no")
	for range 1000 {
		l.Observe(t.Context(), grpcauth.Event{User: &grpcauth.User{ID: "alice"}})
		l.Observe(t.Context(), grpcauth.Event{Err: refusal, Code: grpcauth.CodeInvalid, Status: codes.Unauthenticated})
		l.Observe(t.Context(), grpcauth.Event{Err: refusal, Code: grpcauth.CodeExpired, Recheck: true})
	}
	counts := map[any]int{}
	for i, record := range out.records(t) {
		counts[record["grpcauth.outcome"]]++
		if i == 0 && record["grpcauth.outcome"] != "accepted" {
			t.Error("the first one is not written")
		}
		if sampled := record["grpcauth.sampled"]; (record["grpcauth.outcome"] == "accepted") != (sampled == 100.0) {
			t.Fatalf("stands for %v: %v", sampled, record)
		}
	}
	if want := map[any]int{"accepted": 10, "refused": 1000, "ended": 1000}; !reflect.DeepEqual(counts, want) {
		t.Errorf("got %v, want %v", counts, want)
	}
}

// A probe before each call, or a recheck after it, does not keep the calls out of the log.
func TestEachOutcomeIsSampledByItself(t *testing.T) {
	t.Parallel()
	out := &book{}
	l := newLogger(t, authlog.Options{Handler: slog.NewJSONHandler(out, nil), Sample: 4})
	user := &grpcauth.User{ID: "alice"}
	for range 8 {
		l.Observe(t.Context(), grpcauth.Event{Access: grpcauth.Public})
		l.Observe(t.Context(), grpcauth.Event{Access: grpcauth.Optional})
		l.Observe(t.Context(), grpcauth.Event{User: user})
		l.Observe(t.Context(), grpcauth.Event{User: user, Recheck: true})
	}
	counts := map[string]int{}
	for _, record := range out.records(t) {
		counts[fmt.Sprint(record["grpcauth.outcome"], " ", record["grpcauth.recheck"])]++
	}
	if want := map[string]int{"public <nil>": 2, "anonymous <nil>": 2, "accepted <nil>": 2, "accepted true": 2}; !reflect.DeepEqual(counts, want) {
		t.Errorf("got %v, want %v", counts, want)
	}
}

// broken is a handler that fails.
type broken struct{ slog.Handler }

func (broken) Enabled(context.Context, slog.Level) bool { return true }

func (broken) Handle(context.Context, slog.Record) error { return errors.New("the disk is full") }

func TestDecisionThatCannotBeWrittenIsNotCarriedOut(t *testing.T) {
	t.Parallel()
	handler := broken{slog.DiscardHandler}
	var told error
	for name, c := range map[string]struct {
		onError func(context.Context, error) error
		want    codes.Code
	}{
		"by default": {nil, codes.Internal},
		"forgiven":   {func(_ context.Context, err error) error { told = err; return nil }, codes.OK},
		"passed on":  {func(_ context.Context, err error) error { return err }, codes.Internal},
	} {
		auth := grpcauth.New(users, grpcauth.WithObserver(newLogger(t, authlog.Options{Handler: handler, OnError: c.onError})))
		_, err := auth.Authenticate(from(t.Context(), local, "authorization", "Bearer alice"), "/shop.v1.Orders/Get")
		if status.Code(err) != c.want {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
	if told == nil || told.Error() != "the disk is full" {
		t.Errorf("told of %v", told)
	}
}

// bursting is a handler that panics.
type bursting struct{ broken }

func (bursting) Handle(context.Context, slog.Record) error { panic("the sink is gone: Bearer alice") }

func TestHandlerThatPanicsStopsTheCall(t *testing.T) {
	t.Parallel()
	forgive := func(context.Context, error) error { return nil }
	auth := grpcauth.New(users, grpcauth.WithObserver(newLogger(t, authlog.Options{Handler: bursting{broken{slog.DiscardHandler}}, OnError: forgive})))
	ctx, err := auth.Authenticate(from(t.Context(), local, "authorization", "Bearer alice"), "/shop.v1.Orders/Get")
	if ctx != nil || status.Code(err) != codes.Internal || strings.Contains(status.Convert(err).Message(), "sink") {
		t.Errorf("got %v, %v, want INTERNAL and none of the panic's text", ctx, err)
	}
}

func TestFailureOfAHandlerIsNotRepeated(t *testing.T) {
	t.Parallel()
	defer func() {
		if v := fmt.Sprint(recover()); v != "authlog: the record of a decision could not be written" {
			t.Errorf("panicked with %q", v)
		}
	}()
	newLogger(t, authlog.Options{Handler: broken{slog.DiscardHandler}}).Observe(t.Context(), grpcauth.Event{})
}

func TestLevelsThatAreOffAreNotWritten(t *testing.T) {
	t.Parallel()
	out := &book{}
	l := newLogger(t, authlog.Options{Handler: slog.NewJSONHandler(out, &slog.HandlerOptions{Level: slog.LevelWarn})})
	l.Observe(t.Context(), grpcauth.Event{User: &grpcauth.User{ID: "alice"}})
	l.Observe(t.Context(), grpcauth.Event{Err: errors.New("x"), Code: grpcauth.CodeInvalid})
	if records := out.records(t); len(records) != 1 || records[0]["level"] != "WARN" {
		t.Errorf("got %v", records)
	}
}

// contexts is a handler that keeps the contexts that it is given.
type contexts struct {
	slog.Handler
	seen *[]context.Context
}

func (contexts) Enabled(context.Context, slog.Level) bool { return true }

func (c contexts) Handle(ctx context.Context, _ slog.Record) error {
	*c.seen = append(*c.seen, ctx)
	return nil
}

func TestHandlerGetsTheContextOfTheCall(t *testing.T) {
	t.Parallel()
	type trace struct{}
	var seen []context.Context
	l := newLogger(t, authlog.Options{Handler: contexts{slog.DiscardHandler, &seen}})
	l.Observe(context.WithValue(t.Context(), trace{}, "4bf92f35"), grpcauth.Event{})
	if len(seen) != 1 || seen[0].Value(trace{}) != "4bf92f35" {
		t.Errorf("got %v", seen)
	}
}

func TestCausesAreWrittenOnRequestAlone(t *testing.T) {
	t.Parallel()
	event := grpcauth.Event{Err: grpcauth.Errorf(grpcauth.CodeInvalid, "the key %q\nis gone", "k1"), Code: grpcauth.CodeInvalid}
	for _, causes := range []bool{false, true} {
		out := &book{}
		newLogger(t, authlog.Options{Handler: slog.NewJSONHandler(out, nil), Causes: causes}).Observe(t.Context(), event)
		cause, there := out.records(t)[0]["grpcauth.cause"]
		if there != causes || causes && cause != `CREDENTIALS_INVALID: the key "k1"\nis gone` {
			t.Errorf("Causes %t: got %q", causes, cause)
		}
	}
}

// What attackers choose is one line in every handler, also in those that write text as it is.
func TestTextOfCallersIsOneBoundedLine(t *testing.T) {
	t.Parallel()
	hostile := []string{
		"a\r\nb", "\x1b[31mred", "\u202ereversed", "line\u2028break", "\xff\xfe", "nul\x00", strings.Repeat("x", 10_000), "\u0085", `back\slash`, "\u00ad\u200b", "\x7f", "\ufffd",
	}
	for name, handler := range map[string]func(io.Writer) slog.Handler{
		"raw":  func(w io.Writer) slog.Handler { return naive{w} },
		"text": func(w io.Writer) slog.Handler { return slog.NewTextHandler(w, nil) },
		"JSON": func(w io.Writer) slog.Handler { return slog.NewJSONHandler(w, nil) },
	} {
		for _, text := range hostile {
			var raw strings.Builder
			l := newLogger(t, authlog.Options{Handler: handler(&raw), Causes: true})
			l.Observe(t.Context(), grpcauth.Event{
				Method: "/" + text, Rule: text, Backend: text, User: &grpcauth.User{ID: text, Issuer: text}, Peer: textAddr(text),
			})
			l.Observe(t.Context(), grpcauth.Event{Method: "/" + text, Err: errors.New(text), Peer: textAddr(text)})
			for line := range strings.Lines(raw.String()) {
				if strings.ContainsFunc(strings.TrimSuffix(line, "\n"), func(r rune) bool {
					return r < ' ' || r == 0x7f || r == '\u202e' || r == '\u2028' || r == '\u0085' || r == '\ufffd'
				}) {
					t.Errorf("%s, %.20q: wrote %q", name, text, line)
				}
				if len(line) > 4_000 {
					t.Errorf("%s, %.20q: wrote %d bytes", name, text, len(line))
				}
			}
			if got := strings.Count(raw.String(), "\n"); got != 2 {
				t.Errorf("%s, %.20q: %d lines", name, text, got)
			}
		}
	}
}

// naive writes text as it is.
type naive struct{ out io.Writer }

func (naive) Enabled(context.Context, slog.Level) bool { return true }
func (n naive) WithAttrs([]slog.Attr) slog.Handler     { return n }
func (n naive) WithGroup(string) slog.Handler          { return n }
func (n naive) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		_, _ = fmt.Fprintf(n.out, "%s=%s ", a.Key, a.Value)
		return true
	})
	_, err := fmt.Fprintln(n.out)
	return err
}

// There is no way to hand a credential to a logger: it takes events alone, and writes the keys that it names.
func TestNothingElseCanBeLogged(t *testing.T) {
	t.Parallel()
	for method := range reflect.TypeFor[*authlog.Logger]().Methods() {
		if method.Name != "Observe" {
			t.Errorf("a Logger has a method %s", method.Name)
		}
	}
	kinds := map[string]reflect.Kind{}
	for _, field := range reflect.VisibleFields(reflect.TypeFor[authlog.Options]()) {
		kinds[field.Name] = field.Type.Kind()
	}
	if want := map[string]reflect.Kind{"Handler": reflect.Interface, "Sample": reflect.Int, "Causes": reflect.Bool, "OnError": reflect.Func, "Now": reflect.Func}; !reflect.DeepEqual(kinds, want) {
		t.Errorf("Options has %v, want %v", kinds, want)
	}
	known := []string{
		"time", "level", "msg", "grpcauth.outcome", "rpc.method", "rpc.response.status_code", "error.type", "grpcauth.rule", "grpcauth.backend", "user.id", "grpcauth.issuer",
		"grpcauth.key.hash", "network.peer.address", "grpcauth.duration", "grpcauth.remembered", "grpcauth.recheck", "grpcauth.sampled", "grpcauth.cause",
	}
	out := &book{}
	l := newLogger(t, authlog.Options{Handler: slog.NewJSONHandler(out, nil), Causes: true, Sample: 2})
	full := grpcauth.Event{
		Method: "/a.B/C", Rule: "/a.B/*", Backend: "keys", Peer: local, Remembered: true, Recheck: true,
		User: &grpcauth.User{ID: "u", Issuer: "i", Method: "apikey", RawClaims: []byte(`{"key_id":"k"}`), Name: "secret-name", Scopes: []string{"secret-scope"}},
	}
	l.Observe(t.Context(), full)
	full.Err, full.User = errors.New("x"), nil
	l.Observe(t.Context(), full)
	seen := map[string]bool{}
	for _, record := range out.records(t) {
		for key, value := range record {
			seen[key] = true
			if !slices.Contains(known, key) || strings.Contains(fmt.Sprint(value), "secret") {
				t.Errorf("wrote %s: %v", key, value)
			}
		}
	}
	if len(seen) != len(known) {
		t.Errorf("%d of %d keys were written: %v", len(seen), len(known), seen)
	}
}

func TestManyAtOnceWriteWholeRecords(t *testing.T) {
	t.Parallel()
	out := &book{}
	auth := grpcauth.New(users, grpcauth.WithObserver(newLogger(t, authlog.Options{Handler: slog.NewJSONHandler(out, nil), Sample: 10})))
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			token := []string{"alice", "bad"}[i%2]
			_, _ = auth.Authenticate(from(t.Context(), local, "authorization", "Bearer "+token), "/shop.v1.Orders/Get")
		})
	}
	wg.Wait()
	if got := len(out.records(t)); got != 55 {
		t.Errorf("%d records, want 50 of failures and 5 of successes", got)
	}
}

func TestNewNamesTheOptionThatIsWrong(t *testing.T) {
	t.Parallel()
	for want, opts := range map[string]authlog.Options{
		"Options.Handler": {}, "Options.Sample": {Handler: slog.DiscardHandler, Sample: -1},
	} {
		if l, err := authlog.New(opts); err == nil || l != nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
