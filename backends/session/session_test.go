// SPDX-License-Identifier: Apache-2.0

package session_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/backendtest"
	"github.com/grpcauth/grpcauth/backends/session"
	"github.com/grpcauth/grpcauth/backends/session/sessiontest"
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

func TestSessionsKeepTheirPromises(t *testing.T) {
	t.Parallel()
	sessiontest.Test(t, func(t *testing.T, now func() time.Time) store.Store { return newStore(t, now) })
}

// watched counts what a store is asked, and may be down.
type watched struct {
	store.Store

	asked atomic.Int64
	wrote atomic.Int64
	down  atomic.Bool
	after func() // called when a record was read
}

func (w *watched) Get(ctx context.Context, key string) (store.Record, error) {
	w.asked.Add(1)
	if w.down.Load() {
		return store.Record{}, errors.New("down")
	}
	rec, err := w.Store.Get(ctx, key)
	if w.after != nil {
		w.after()
	}
	return rec, err
}

func (w *watched) Put(ctx context.Context, rec store.Record) error {
	w.wrote.Add(1)
	return w.Store.Put(ctx, rec)
}

// world is a backend with its store and its clock.
type world struct {
	*session.Backend

	store *watched
	clock *grpcauthtest.Clock
}

func newWorld(tb testing.TB, opts session.Options) *world {
	tb.Helper()
	clock := grpcauthtest.NewClock(start)
	w := &world{store: &watched{Store: newStore(tb, clock.Now)}, clock: clock}
	opts.Store, opts.Now = w.store, clock.Now
	b, err := session.New(opts)
	if err != nil {
		tb.Fatal(err)
	}
	w.Backend = b
	return w
}

func (w *world) create(tb testing.TB, user *grpcauth.User) (string, *session.Session) {
	tb.Helper()
	id, s, err := w.Create(tb.Context(), user, session.Device{})
	if err != nil {
		tb.Fatal(err)
	}
	return id, s
}

// look is who makes a call with this metadata, or the code of the refusal.
func (w *world) look(ctx context.Context, md metadata.MD) string {
	req := grpcauthtest.RequestMD(ctx, method, md)
	user, err := w.Authenticate(ctx, req)
	switch {
	case err == nil && user == nil || err != nil && user != nil:
		return "both or neither"
	case err != nil:
		return grpcauth.CodeOf(err).String()
	}
	return user.ID
}

func cookie(id string) metadata.MD { return metadata.Pairs("cookie", "__Host-session="+id) }

func (w *world) expect(tb testing.TB, md metadata.MD, want string) {
	tb.Helper()
	if got := w.look(tb.Context(), md); got != want {
		tb.Errorf("got %s, want %s", got, want)
	}
}

func TestOptionsThatAreWrongAreNamed(t *testing.T) {
	t.Parallel()
	s := newStore(t, time.Now)
	for want, opts := range map[string]session.Options{
		"Options.Store":         {},
		"Options.Idle":          {Store: s, Idle: -1},
		"Options.Absolute":      {Store: s, Absolute: time.Millisecond},
		"Options.RenewEvery":    {Store: s, Idle: time.Minute, RenewEvery: time.Minute},
		"Options.MaxPerUser":    {Store: s, MaxPerUser: -1},
		"Options.MaxPerUser is": {Store: s, MaxPerUser: 1001},
		"Options.RememberFor":   {Store: s, RememberFor: -1},
		"Options.MaxRemembered": {Store: s, MaxRemembered: -1},
		"Options.Cookie":        {Store: s, Cookie: "a b"},
		"Options.Cookie is":     {Store: s, Cookie: "a=b"},
		"Options.Cookie is \"-": {Store: s, Cookie: "-"},
		"Options.MetadataKey":   {Store: s, MetadataKey: "authorization"},
	} {
		if b, err := session.New(opts); b != nil || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", want, err)
		}
	}
	for _, key := range []string{"cookie", "X-Session", "x session", "grpc-session", "x-session-bin", ":path", "x-forwarded-for", "te"} {
		if _, err := session.New(session.Options{Store: s, MetadataKey: key}); err == nil {
			t.Errorf("the key %q was taken", key)
		}
	}
}

func TestPassesTheConformanceSuite(t *testing.T) {
	t.Parallel()
	for _, opts := range []session.Options{{}, {RememberFor: time.Minute}, {MetadataKey: "x-session-id"}, {Cookie: "-", MetadataKey: "x-session-id"}} {
		w := newWorld(t, opts)
		user := &grpcauth.User{ID: "alice", Scopes: []string{"a"}, Permissions: []string{"b"}, RawClaims: []byte(`{"c":"vvvvvvvv"}`)}
		id, s := w.create(t, user)
		ended, gone := w.create(t, user)
		if err := w.Revoke(t.Context(), user, gone.Handle); err != nil {
			t.Fatal(err)
		}
		of := cookie
		if opts.Cookie == "-" {
			of = func(id string) metadata.MD { return metadata.Pairs("x-session-id", id) }
		}
		backendtest.Run(t, backendtest.Suite{
			Backend: w.Backend, Good: of(id), Now: w.clock.Now, Secrets: []string{id, ended},
			Bad: []metadata.MD{of(ended), of(s.Handle), of(strings.Repeat("A", len(id))), of(id[1:])},
		})
	}
}

func TestIDComesFromOnePlaceOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, session.Options{MetadataKey: "x-session-id"})
	id, _ := w.create(t, &grpcauth.User{ID: "alice"})
	other, _ := w.create(t, &grpcauth.User{ID: "bob"})
	for _, test := range []struct {
		name, want string
		md         metadata.MD
	}{
		{"one", "alice", cookie(id)},
		{"a key", "alice", metadata.Pairs("x-session-id", id)},
		{"among others", "alice", metadata.Pairs("cookie", "a=b; __Host-session="+id+"; session="+other)},
		{"in fields that are one list", "alice", metadata.Pairs("cookie", "a=b", "cookie", "__Host-session="+id, "cookie", "c=d")},
		{"two in one field", "CREDENTIALS_AMBIGUOUS", metadata.Pairs("cookie", "__Host-session="+id+"; __Host-session="+other)},
		{"two in two fields", "CREDENTIALS_AMBIGUOUS", metadata.Pairs("cookie", "__Host-session="+id, "cookie", "__Host-session="+id)},
		{"two keys", "CREDENTIALS_AMBIGUOUS", metadata.Pairs("x-session-id", id, "x-session-id", id)},
		{"both", "CREDENTIALS_AMBIGUOUS", metadata.Pairs("cookie", "__Host-session="+id, "x-session-id", id)},
		{"both, one empty", "CREDENTIALS_AMBIGUOUS", metadata.Pairs("cookie", "__Host-session=", "x-session-id", id)},
		{"both, one malformed", "CREDENTIALS_AMBIGUOUS", metadata.Pairs("cookie", "__Host-session="+id, "x-session-id", "")},
		{"of another case", "CREDENTIALS_MISSING", metadata.Pairs("cookie", "__host-session="+id)},
		{"quoted", "CREDENTIALS_MALFORMED", metadata.Pairs("cookie", `__Host-session="`+id+`"`)},
		{"empty", "CREDENTIALS_MALFORMED", cookie("")},
		{"lost among too many", "CREDENTIALS_MALFORMED", metadata.Pairs("cookie", "a="+strings.Repeat("b", 16<<10), "cookie", "__Host-session="+id)},
		{"as a bearer token", "CREDENTIALS_MISSING", metadata.Pairs("authorization", "Bearer "+id)},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w.expect(t, test.md, test.want)
			ctx := metadata.NewIncomingContext(t.Context(), test.md)
			if handle, ok := w.Current(ctx); ok != (test.want == "alice") || ok == (handle == "") {
				t.Errorf("got the current session %q, %t", handle, ok)
			}
		})
	}
}

func TestLoginDoesNotLoseTheOldSessionAmongTooManyCookies(t *testing.T) {
	t.Parallel()
	w := newWorld(t, session.Options{})
	user := &grpcauth.User{ID: "alice"}
	old, _ := w.create(t, user)
	ctx := metadata.NewIncomingContext(t.Context(), metadata.Pairs("cookie", "a="+strings.Repeat("b", 16<<10), "cookie", "__Host-session="+old))
	if id, _, err := w.Replace(ctx, user, session.Device{}); id != "" || grpcauth.CodeOf(err) != grpcauth.CodeMalformed {
		t.Errorf("got an id: %t, and %v", id != "", err)
	}
	for _, none := range []string{"", "x"} { // which no session can have, so a login need not fail
		if _, _, err := w.Replace(metadata.NewIncomingContext(t.Context(), cookie(none)), user, session.Device{}); err != nil {
			t.Error(err)
		}
	}
}

func TestOneKindIsRead(t *testing.T) {
	t.Parallel()
	cookies, keys := newWorld(t, session.Options{}), newWorld(t, session.Options{Cookie: "-", MetadataKey: "x-session-id"})
	id, _ := cookies.create(t, &grpcauth.User{ID: "alice"})
	cookies.expect(t, metadata.Pairs("x-session-id", id), "CREDENTIALS_MISSING")
	id, s := keys.create(t, &grpcauth.User{ID: "alice"})
	keys.expect(t, cookie(id), "CREDENTIALS_MISSING")
	keys.expect(t, metadata.Pairs("x-session-id", id, "cookie", "__Host-session="+id), "alice")
	if keys.Cookie(id, s) != "" || keys.ClearCookie() != "" || cookies.Cookie(id, nil) != "" {
		t.Error("a cookie that nobody would read")
	}
}

func TestChainRefusesASessionBesideAnotherCredential(t *testing.T) {
	t.Parallel()
	w := newWorld(t, session.Options{MetadataKey: "x-session-id", Realm: "shop"})
	id, _ := w.create(t, &grpcauth.User{ID: "alice"})
	keys := describing{grpcauth.BackendFunc(func(_ context.Context, req *grpcauth.Request) (*grpcauth.User, error) {
		if _, err := req.Value("x-api-key"); err != nil {
			return nil, err
		}
		return &grpcauth.User{ID: "robot", Method: "apikey"}, nil
	})}
	auth := grpcauth.New(grpcauth.Chain(keys, w), grpcauth.InsecureAllowPlaintext(), grpcauth.WithClock(w.clock.Now))
	for _, test := range []struct {
		md   metadata.MD
		want grpcauth.Code
	}{
		{metadata.Pairs("cookie", "__Host-session="+id, "x-api-key", "k"), grpcauth.CodeAmbiguous},
		{metadata.Pairs("x-session-id", id, "x-api-key", "k"), grpcauth.CodeAmbiguous},
		{metadata.Pairs("x-session-id", id, "cookie", "__Host-session="+id), grpcauth.CodeAmbiguous},
		{nil, grpcauth.CodeMissing},
	} {
		_, err := auth.Authenticate(metadata.NewIncomingContext(t.Context(), test.md), method)
		if got := grpcauth.CodeOf(err); err == nil || got != test.want {
			t.Errorf("got %v, want %v", err, test.want)
		}
	}
	stream := &headers{}
	ctx := grpc.NewContextWithServerTransportStream(metadata.NewIncomingContext(t.Context(), nil), stream)
	if _, err := auth.Authenticate(ctx, method); err == nil {
		t.Fatal("nobody was let in")
	}
	want := []string{`Session realm="shop", cookie="__Host-session"`, `Session realm="shop", header="x-session-id"`}
	if got := stream.md["www-authenticate"]; !slices.Equal(got, want) {
		t.Errorf("got the challenges %q", got)
	}
}

type describing struct{ grpcauth.Backend }

func (describing) Schemes() []grpcauth.Scheme {
	return []grpcauth.Scheme{{Name: "apikey", Header: "x-api-key"}}
}

// headers are what a call answers with.
type headers struct{ md metadata.MD }

func (*headers) Method() string                   { return method }
func (h *headers) SetHeader(md metadata.MD) error { h.md = metadata.Join(h.md, md); return nil }
func (*headers) SendHeader(metadata.MD) error     { return nil }
func (*headers) SetTrailer(metadata.MD) error     { return nil }

// call makes a call behind an interceptor and returns the cookies that the answer sets.
func (w *world) call(t *testing.T, md metadata.MD) (cookies []*http.Cookie, err error) {
	t.Helper()
	stream := &headers{}
	ctx := grpc.NewContextWithServerTransportStream(metadata.NewIncomingContext(t.Context(), md), stream)
	_, err = grpcauth.New(w.Backend, grpcauth.InsecureAllowPlaintext(), grpcauth.WithClock(w.clock.Now)).Authenticate(ctx, method)
	for _, line := range stream.md["set-cookie"] {
		c, parseErr := http.ParseSetCookie(line)
		if parseErr != nil {
			t.Fatal(parseErr)
		}
		cookies = append(cookies, c)
	}
	return cookies, err
}

func wantCookie(t *testing.T, line, value string, age int) {
	t.Helper()
	c, err := http.ParseSetCookie(line)
	if err != nil {
		t.Fatal(err)
	}
	if c.Name != "__Host-session" || c.Value != value || !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" || c.MaxAge != age || len(c.Unparsed) != 0 {
		t.Errorf("got a cookie %q of age %d, secure: %t, for HTTP only: %t, same site: %v, path %q, domain %q", c.Name, c.MaxAge, c.Secure, c.HttpOnly, c.SameSite, c.Path, c.Domain)
	}
}

func TestCookieIsForThisHostAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, session.Options{})
	id, s := w.create(t, &grpcauth.User{ID: "alice"})
	wantCookie(t, w.Cookie(id, s), id, 1800)
	wantCookie(t, w.ClearCookie(), "", -1)
	if !strings.Contains(w.ClearCookie(), "Max-Age=0") {
		t.Errorf("got %q", w.ClearCookie())
	}
	w.clock.Advance(s.Expiry.Sub(start) - time.Millisecond)
	wantCookie(t, w.Cookie(id, s), id, 1)
}

func TestRenewalAnswersWithAFreshCookie(t *testing.T) {
	t.Parallel()
	w := newWorld(t, session.Options{Absolute: 45 * time.Minute, MetadataKey: "x-session-id"})
	id, _ := w.create(t, &grpcauth.User{ID: "alice"})
	for _, test := range []struct {
		wait time.Duration
		age  int // 0: no cookie
	}{{59 * time.Second, 0}, {time.Second, 1800}, {59 * time.Second, 0}, {8 * time.Minute, 1800}, {25 * time.Minute, 601}, {9 * time.Minute, 61}} {
		w.clock.Advance(test.wait)
		cookies, err := w.call(t, cookie(id))
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case test.age == 0 && len(cookies) > 0:
			t.Errorf("after %v: a cookie without a renewal", test.wait)
		case test.age > 0 && len(cookies) != 1:
			t.Errorf("after %v: %d cookies, want 1", test.wait, len(cookies))
		case test.age > 0:
			wantCookie(t, cookies[0].String(), id, test.age)
		}
	}
	w.clock.Advance(time.Minute)
	if cookies, err := w.call(t, metadata.Pairs("x-session-id", id)); err != nil || len(cookies) != 0 {
		t.Errorf("an id under a metadata key was answered with %d cookies and %v", len(cookies), err)
	}
	w.clock.Advance(2 * time.Second)
	if cookies, err := w.call(t, cookie(id)); err == nil || len(cookies) != 0 {
		t.Errorf("an expired session was answered with %d cookies and %v", len(cookies), err)
	}
}

func TestRefusalSetsNoCookie(t *testing.T) {
	t.Parallel()
	w := newWorld(t, session.Options{Check: func(context.Context, *grpcauth.User) error { return grpcauth.Errorf(grpcauth.CodeInvalid, "disabled") }})
	id, s := w.create(t, &grpcauth.User{ID: "alice"})
	w.clock.Advance(time.Minute)
	writes := w.store.wrote.Load()
	if cookies, err := w.call(t, cookie(id)); grpcauth.CodeOf(err) != grpcauth.CodeInvalid || len(cookies) != 0 {
		t.Errorf("got %d cookies and %v", len(cookies), err)
	}
	if w.store.wrote.Load() != writes {
		t.Error("the call of a disabled user renewed the session")
	}
	if list, err := w.List(t.Context(), s.User); err != nil || len(list) != 1 {
		t.Errorf("got %d sessions and %v", len(list), err)
	}
}
