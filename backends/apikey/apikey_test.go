// SPDX-License-Identifier: Apache-2.0

package apikey_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/apikey"
	"github.com/grpcauth/grpcauth/backends/apikey/apikeytest"
	"github.com/grpcauth/grpcauth/backends/backendtest"
	"github.com/grpcauth/grpcauth/grpcauthtest"
	"github.com/grpcauth/grpcauth/store"
	"github.com/grpcauth/grpcauth/store/memstore"
)

const method = "/shop.v1.Orders/Get"

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newStore(tb testing.TB, now func() time.Time) store.Store {
	tb.Helper()
	s, err := memstore.New(memstore.Options{Now: now})
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func TestKeysKeepTheirPromises(t *testing.T) {
	t.Parallel()
	apikeytest.Test(t, func(t *testing.T, now func() time.Time) store.Store { return newStore(t, now) })
}

// watched counts what a store is asked, and may be down.
type watched struct {
	store.Store

	asked atomic.Int64
	wrote atomic.Int64
	down  atomic.Bool
}

func (w *watched) Get(ctx context.Context, key string) (store.Record, error) {
	w.asked.Add(1)
	if w.down.Load() {
		return store.Record{}, errors.New("down")
	}
	return w.Store.Get(ctx, key)
}

func (w *watched) Put(ctx context.Context, rec store.Record) error {
	w.wrote.Add(1)
	return w.Store.Put(ctx, rec)
}

// world is a backend with its store and its clock.
type world struct {
	*apikey.Backend

	store  *watched
	clock  *grpcauthtest.Clock
	limits *grpcauthtest.Clock // of the limiter, if there is one
}

func newWorld(tb testing.TB, opts apikey.Options) *world {
	tb.Helper()
	w := &world{clock: grpcauthtest.NewClock(start)}
	opts.Now = w.clock.Now
	w.store = &watched{Store: newStore(tb, w.clock.Now)}
	opts.Store = w.store
	if opts.Prefix == "" {
		opts.Prefix = "orders_live"
	}
	b, err := apikey.New(opts)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := b.Close(); err != nil {
			tb.Errorf("Close: %v", err)
		}
	})
	w.Backend = b
	return w
}

func (w *world) create(tb testing.TB, key apikey.Key) (text, id string) {
	tb.Helper()
	if key.Owner == "" {
		key.Owner = "alice"
	}
	text, made, err := w.Create(tb.Context(), key)
	if err != nil {
		tb.Fatal(err)
	}
	return text, made.ID
}

func (w *world) call(ctx context.Context, text string) (*grpcauth.User, error) {
	return w.Authenticate(ctx, grpcauthtest.Request(ctx, method, "x-api-key", text))
}

// look is one call; the answer is the user's ID or the code of the refusal.
func (w *world) look(ctx context.Context, text string) string {
	user, err := w.call(ctx, text)
	switch {
	case err != nil && user != nil:
		return "a user and an error"
	case err != nil:
		return grpcauth.CodeOf(err).String()
	}
	return user.ID
}

func (w *world) expect(t *testing.T, text, want string) {
	t.Helper()
	if got := w.look(t.Context(), text); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// incoming is the context of a call over memory.
func incoming(ctx context.Context, text string) context.Context {
	ctx = peer.NewContext(ctx, &peer.Peer{Addr: &net.UnixAddr{Name: "test", Net: "unix"}})
	return metadata.NewIncomingContext(ctx, metadata.Pairs("x-api-key", text))
}

// refused are keys that differ in why they are no good and in nothing that a caller may see.
func (w *world) refused(t *testing.T) map[string]string {
	t.Helper()
	disabled, _ := w.create(t, apikey.Key{Disabled: true})
	wrong, id := w.create(t, apikey.Key{})
	if _, err := w.Rotate(t.Context(), id, 0); err != nil {
		t.Fatal(err)
	}
	revoked, id := w.create(t, apikey.Key{})
	if err := w.Revoke(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	orphan, _ := w.create(t, apikey.Key{Owner: "gone"})
	return map[string]string{"disabled": disabled, "wrong": wrong, "unknown": revoked, "orphan": orphan}
}

// ownerOnly says that everybody is there but the one who is gone.
func ownerOnly(_ context.Context, key *apikey.Key) (*grpcauth.User, error) {
	if key.Owner == "gone" {
		return nil, nil
	}
	return &grpcauth.User{ID: key.Owner}, nil
}

func TestConformance(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string]apikey.Options{"asking": {Owner: ownerOnly}, "remembering": {Owner: ownerOnly, RememberFor: time.Minute}} {
		w := newWorld(t, opts)
		text, _ := w.create(t, apikey.Key{Scopes: []string{"a", "b"}, Permissions: []string{"c"}})
		suite := backendtest.Suite{Backend: w.Backend, Good: metadata.Pairs("x-api-key", text), Secrets: []string{secretOf(text)}, Now: w.clock.Now}
		for _, bad := range w.refused(t) {
			suite.Bad = append(suite.Bad, metadata.Pairs("x-api-key", bad))
			suite.Secrets = append(suite.Secrets, secretOf(bad))
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			backendtest.Run(t, suite)
		})
	}
}

// secretOf is the secret within the text of a key.
func secretOf(text string) string {
	parts := strings.Split(text, "_")
	return parts[len(parts)-2]
}

func TestRefusalsAreAlikeOnTheWireAfterTheSameWork(t *testing.T) {
	t.Parallel()
	w := newWorld(t, apikey.Options{Owner: ownerOnly})
	auth := grpcauth.New(w, grpcauth.WithClock(w.clock.Now))
	first := ""
	for name, text := range w.refused(t) {
		before := w.store.asked.Load()
		_, err := auth.Authenticate(incoming(t.Context(), text), method)
		st := status.Convert(err).Proto().String()
		if first == "" {
			first = st
		}
		if status.Code(err) != codes.Unauthenticated || st != first || !strings.Contains(st, `ApiKey realm=`) {
			t.Errorf("%s: got %s, want %s", name, st, first)
		}
		if asked := w.store.asked.Load() - before; asked != 1 {
			t.Errorf("%s: the store was asked %d times", name, asked)
		}
	}
}

func TestKeyIsReadFromItsHeaderAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, apikey.Options{})
	text, _ := w.create(t, apikey.Key{})
	for name, req := range map[string]*grpcauth.Request{
		"in the method's query": grpcauthtest.Request(t.Context(), method+"?x-api-key="+text),
		"in the path":           grpcauthtest.Request(t.Context(), method, ":path", method+"?x-api-key="+text, "x-original-uri", "/?api_key="+text),
		"as a bearer token":     grpcauthtest.Request(t.Context(), method, "authorization", "Bearer "+text),
		"as an API key scheme":  grpcauthtest.Request(t.Context(), method, "authorization", "ApiKey "+text),
		"in a cookie":           grpcauthtest.Request(t.Context(), method, "cookie", "x-api-key="+text),
		"as binary metadata":    grpcauthtest.Request(t.Context(), method, "x-api-key-bin", text),
		"through a gateway":     grpcauthtest.Request(t.Context(), method, "grpcgateway-x-api-key", text, "grpc-metadata-x-api-key", text),
		"with underscores":      grpcauthtest.Request(t.Context(), method, "x_api_key", text, "api-key", text, "apikey", text),
	} {
		if user, err := w.Authenticate(t.Context(), req); user != nil || grpcauth.CodeOf(err) != grpcauth.CodeMissing {
			t.Errorf("%s: got %v, %v", name, user, err)
		}
	}
	if w.store.asked.Load() != 0 {
		t.Error("the store was asked")
	}
}

func TestHeaderIsTheOneThatWasChosen(t *testing.T) {
	t.Parallel()
	w := newWorld(t, apikey.Options{Header: "x-orders-key", Realm: "shop"})
	text, _ := w.create(t, apikey.Key{})
	w.expect(t, text, "CREDENTIALS_MISSING")
	user, err := w.Authenticate(t.Context(), grpcauthtest.Request(t.Context(), method, "x-orders-key", text))
	if err != nil || user.ID != "alice" {
		t.Errorf("got %v, %v", user, err)
	}
	schemes := w.Schemes()
	if len(schemes) != 1 || schemes[0].Name != "apikey" || schemes[0].Header != "x-orders-key" || schemes[0].Params["header"] != "x-orders-key" || schemes[0].Params["realm"] != "shop" {
		t.Errorf("got %+v", schemes)
	}
}

func TestNewNamesTheOptionThatIsWrong(t *testing.T) {
	t.Parallel()
	good := apikey.Options{Store: newStore(t, time.Now), Prefix: "orders_live"}
	type change = func(*apikey.Options)
	cases := map[string][]change{
		"Store": {func(o *apikey.Options) { o.Store = nil }}, "RememberFor": {func(o *apikey.Options) { o.RememberFor = -1 }},
		"MaxRemembered": {func(o *apikey.Options) { o.MaxRemembered = -1 }},
	}
	for _, prefix := range []string{
		"", "x", "Orders", "orders_", "_orders", "orders__live", "1orders", "orders-live", "orders live", "ordérs", "orders.live", "orders\n", strings.Repeat("x", 33),
	} {
		cases["Prefix"] = append(cases["Prefix"], func(o *apikey.Options) { o.Prefix = prefix })
	}
	for _, header := range []string{
		"X-Api-Key", "x-api-key-bin", "-bin", "grpc-key", "grpc-", ":path", ":authority", "authorization", "cookie", "content-type", "user-agent", "te", "host", "connection",
		"x api key", "x-api-key\n", "clé", "x-forwarded-for", "proxy-authorization",
	} {
		cases["Header"] = append(cases["Header"], func(o *apikey.Options) { o.Header = header })
	}
	for want, changes := range cases {
		for i, change := range changes {
			opts := good
			change(&opts)
			if b, err := apikey.New(opts); b != nil || err == nil || !strings.Contains(err.Error(), "Options."+want) {
				t.Errorf("%s %d: got %v, want an error about it", want, i, err)
			}
		}
	}
	for _, prefix := range []string{"ab", "orders", "a_b", "o1_2", strings.Repeat("x", 32)} {
		opts := good
		opts.Prefix = prefix
		if _, err := apikey.New(opts); err != nil {
			t.Errorf("%s: got %v", prefix, err)
		}
	}
}

func TestCreateNamesTheFieldThatIsWrong(t *testing.T) {
	t.Parallel()
	w := newWorld(t, apikey.Options{})
	long := strings.Repeat("x", 201)
	for i, test := range []struct {
		field string
		key   apikey.Key
	}{
		{"Owner", apikey.Key{}},
		{"Owner", apikey.Key{Owner: long}},
		{"Owner", apikey.Key{Owner: "alice\x00bob"}},
		{"Issuer", apikey.Key{Owner: "alice", Issuer: "https://a\x00"}},
		{"Name", apikey.Key{Owner: "alice", Name: "\xff"}},
		{"Name", apikey.Key{Owner: "alice", Name: "a\nb"}},
		{"Scopes", apikey.Key{Owner: "alice", Scopes: []string{"read", ""}}},
		{"Permissions", apikey.Key{Owner: "alice", Permissions: []string{long}}},
		{"Expiry", apikey.Key{Owner: "alice", Expiry: start}},
		{"Expiry", apikey.Key{Owner: "alice", Expiry: start.Add(time.Microsecond)}}, // which stores round down
		{"fewer scopes", apikey.Key{Owner: "alice", Scopes: slices.Repeat([]string{long[:200]}, 100)}},
	} {
		if text, key, err := w.Create(t.Context(), test.key); text != "" || key != nil || err == nil || !strings.Contains(err.Error(), test.field) {
			t.Errorf("case %d: got %v, want an error about %s", i, err, test.field)
		}
	}
	if w.store.wrote.Load() != 0 {
		t.Error("a key was stored")
	}
}

func TestNothingShowsASecret(t *testing.T) {
	t.Parallel()
	w := newWorld(t, apikey.Options{Owner: ownerOnly, RememberFor: time.Minute})
	text, id := w.create(t, apikey.Key{Name: "nightly"})
	second, err := w.Rotate(t.Context(), id, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	w.expect(t, text, "alice")
	w.expect(t, second, "alice")
	rec, err := w.store.Store.Get(t.Context(), "apikey/orders_live/"+id)
	if err != nil {
		t.Fatal(err)
	}
	key, err := w.Get(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, "%s %s %s", rec.Key, rec.Owner, rec.Value)
	for _, value := range []any{w.Backend, *key, key, (*apikey.Backend)(nil)} {
		fmt.Fprintf(&out, "%v %+v %#v %s %q\n", value, value, value, value, value)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("", "value", value)
	}
	texts := []string{text, second}
	for _, bad := range w.refused(t) {
		texts = append(texts, bad, bad[:len(bad)-1]+"0", mended("orders_work"+bad[len("orders_live"):]))
	}
	for _, bad := range texts[2:] {
		_, err := w.call(t.Context(), bad)
		fmt.Fprintf(&out, "%v %+v %#v\n", err, err, err)
	}
	for _, text := range texts {
		secret := secretOf(text)
		hash := sha256.Sum256([]byte(secret))
		for _, canary := range []string{
			text, secret, secret[:20], base64.StdEncoding.EncodeToString([]byte(secret)), hex.EncodeToString([]byte(secret)),
		} {
			if strings.Contains(out.String(), canary) {
				t.Error("a secret is shown")
			}
		}
		if strings.Contains(strings.TrimPrefix(out.String(), rec.Key+" "+rec.Owner+" "+string(rec.Value)), hex.EncodeToString(hash[:])) {
			t.Error("a hash is shown")
		}
	}
}
