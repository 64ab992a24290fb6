// SPDX-License-Identifier: Apache-2.0

package apikey_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/apikey"
	"github.com/grpcauth/grpcauth/grpcauthtest"
	"github.com/grpcauth/grpcauth/store"
)

// asks expects that a call asks the store so many times.
func (w *world) asks(t *testing.T, text, want string, times int64) {
	t.Helper()
	before := w.store.asked.Load()
	w.expect(t, text, want)
	if asked := w.store.asked.Load() - before; asked != times {
		t.Errorf("the store was asked %d times, want %d", asked, times)
	}
}

func TestNothingIsRememberedByDefault(t *testing.T) {
	t.Parallel()
	w := newWorld(t, apikey.Options{MaxRemembered: 10})
	text, _ := w.create(t, apikey.Key{})
	for range 3 {
		w.asks(t, text, "alice", 1)
	}
}

func TestRightKeyIsRememberedForAWhile(t *testing.T) {
	t.Parallel()
	w := newWorld(t, apikey.Options{RememberFor: time.Minute})
	text, _ := w.create(t, apikey.Key{})
	w.asks(t, text, "alice", 1)
	w.clock.Advance(time.Minute - 1)
	w.asks(t, text, "alice", 0)
	w.clock.Advance(1)
	w.asks(t, text, "alice", 1)
	w.clock.Advance(-time.Hour)
	w.asks(t, text, "alice", 1)
}

func TestOnlyTheRightKeyIsRemembered(t *testing.T) {
	t.Parallel()
	w := newWorld(t, apikey.Options{RememberFor: time.Minute})
	text, id := w.create(t, apikey.Key{})
	second, err := w.Rotate(t.Context(), id, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	w.asks(t, second, "alice", 1)
	w.asks(t, text, "alice", 1)
	forged := mended("orders_live_" + id + "_" + secretOf(text)[1:] + "0_000000")
	for range 2 { // a wrong secret asks as a stranger's does, else the answer's time would tell which IDs there are
		w.asks(t, forged, "CREDENTIALS_INVALID", 1)
	}
	w.asks(t, text, "alice", 0)
	w.asks(t, second, "alice", 0)
}

func TestMemoryEndsWithKeyAndSecret(t *testing.T) {
	t.Parallel()
	w := newWorld(t, apikey.Options{RememberFor: time.Hour})
	text, _ := w.create(t, apikey.Key{Expiry: start.Add(time.Minute)})
	old, id := w.create(t, apikey.Key{})
	if _, err := w.Rotate(t.Context(), id, time.Minute); err != nil {
		t.Fatal(err)
	}
	w.asks(t, text, "alice", 1)
	w.asks(t, old, "alice", 1)
	w.clock.Advance(time.Minute - time.Millisecond)
	w.asks(t, text, "alice", 0)
	w.asks(t, old, "alice", 0)
	w.clock.Advance(time.Millisecond)
	w.asks(t, text, "CREDENTIALS_EXPIRED", 1)
	w.asks(t, old, "CREDENTIALS_EXPIRED", 1)
}

func TestChangesHereCountAtOnceInSpiteOfMemory(t *testing.T) {
	t.Parallel()
	w := newWorld(t, apikey.Options{RememberFor: time.Hour})
	other, _ := w.create(t, apikey.Key{Owner: "bob"})
	w.asks(t, other, "bob", 1)
	for name, change := range map[string]func(id string) error{
		"revoke":  func(id string) error { return w.Revoke(t.Context(), id) },
		"disable": func(id string) error { return w.SetDisabled(t.Context(), id, true) },
		"rotate": func(id string) error {
			_, err := w.Rotate(t.Context(), id, 0)
			return err
		},
	} {
		text, id := w.create(t, apikey.Key{})
		w.asks(t, text, "alice", 1)
		w.asks(t, text, "alice", 0)
		if err := change(id); err != nil {
			t.Fatal(err)
		}
		if got := w.look(t.Context(), text); got != "CREDENTIALS_INVALID" {
			t.Errorf("%s: got %s", name, got)
		}
	}
	w.asks(t, other, "bob", 0) // nobody else's business
}

// slow lets a test act between the answer of a store and what is made of it.
type slow struct {
	store.Store

	answered func()
}

func (s *slow) Get(ctx context.Context, key string) (store.Record, error) {
	rec, err := s.Store.Get(ctx, key)
	if f := s.answered; f != nil {
		s.answered = nil
		f()
	}
	return rec, err
}

func TestCallUnderWayRemembersNothingOfBeforeAChange(t *testing.T) {
	t.Parallel()
	w := newWorld(t, apikey.Options{RememberFor: time.Hour})
	text, id := w.create(t, apikey.Key{})
	w.store.Store = &slow{w.store.Store, func() {
		if err := w.Revoke(t.Context(), id); err != nil {
			t.Error(err)
		}
	}}
	w.expect(t, text, "alice") // it asked before
	w.expect(t, text, "CREDENTIALS_INVALID")
}

func TestFailureIsNotRemembered(t *testing.T) {
	t.Parallel()
	w := newWorld(t, apikey.Options{RememberFor: time.Hour})
	text, _ := w.create(t, apikey.Key{})
	w.store.down.Store(true)
	w.asks(t, text, "AUTHENTICATION_UNAVAILABLE", 1)
	w.store.down.Store(false)
	w.asks(t, text, "alice", 1)
	w.store.down.Store(true)
	w.asks(t, text, "alice", 0)
	w.store.down.Store(false)
}

func TestKeyThatWasChangedElsewhereIsRememberedNoLonger(t *testing.T) {
	t.Parallel()
	w := newWorld(t, apikey.Options{RememberFor: time.Hour})
	text, id := w.create(t, apikey.Key{})
	w.asks(t, text, "alice", 1)
	elsewhere(t, w, id)
	w.clock.Advance(time.Hour - 1)
	w.asks(t, text, "alice", 0) // the bound that was asked for
	w.clock.Advance(1)
	w.asks(t, text, "CREDENTIALS_INVALID", 1)
}

// elsewhere disables a key as another node would.
func elsewhere(t *testing.T, w *world, id string) {
	t.Helper()
	other, err := apikey.New(apikey.Options{Store: w.store.Store, Prefix: "orders_live", Now: w.clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	if err := other.SetDisabled(t.Context(), id, true); err != nil {
		t.Fatal(err)
	}
}

// watch opens a stream that is judged again every second.
func watch(t *testing.T, w *world, text string) healthpb.Health_WatchClient {
	t.Helper()
	auth := grpcauth.New(w, grpcauth.WithStreamRecheck(time.Second))
	conn := grpcauthtest.Serve(t, auth, func(s grpcauth.Server) { healthpb.RegisterHealthServer(s, health.NewServer()) })
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(t.Context(), "x-api-key", text), time.Minute)
	t.Cleanup(cancel)
	stream, err := healthpb.NewHealthClient(conn).Watch(ctx, &healthpb.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	return stream
}

func TestOpenStreamIsJudgedAnewWhateverIsRemembered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, apikey.Options{RememberFor: time.Hour})
		text, id := w.create(t, apikey.Key{})
		stream := watch(t, w, text)
		time.Sleep(2500 * time.Millisecond)
		if asked := w.store.asked.Load(); asked != 3 {
			t.Errorf("the store was asked %d times, want 3", asked)
		}
		w.asks(t, text, "alice", 0)
		elsewhere(t, w, id)
		if _, err := stream.Recv(); status.Code(err) != codes.Unauthenticated {
			t.Errorf("got %v, want UNAUTHENTICATED", err)
		}
		w.expect(t, text, "CREDENTIALS_INVALID") // what the recheck found counts for other calls too
	})
}

func TestRecheckThatCannotDecideForgetsNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, apikey.Options{RememberFor: time.Hour})
		text, _ := w.create(t, apikey.Key{})
		stream := watch(t, w, text)
		w.store.down.Store(true)
		if _, err := stream.Recv(); status.Code(err) != codes.Unavailable {
			t.Errorf("got %v, want UNAVAILABLE", err)
		}
		w.asks(t, text, "alice", 0)
		w.store.down.Store(false)
	})
}

func TestMemoryIsReportedAndSharedWithNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t, apikey.Options{RememberFor: time.Hour, Owner: ownerOnly})
	text, _ := w.create(t, apikey.Key{Scopes: []string{"read"}})
	var seen []bool
	auth := grpcauth.New(w, grpcauth.WithClock(w.clock.Now), grpcauth.WithObserver(grpcauth.ObserverFunc(func(_ context.Context, e grpcauth.Event) {
		seen = append(seen, e.Remembered)
	})))
	for range 2 {
		ctx, err := auth.Authenticate(incoming(t.Context(), text), method)
		if err != nil {
			t.Fatal(err)
		}
		user, _ := grpcauth.FromContext(ctx)
		if len(user.Scopes) != 1 || user.Scopes[0] != "read" {
			t.Fatalf("got %v: what a handler changed came back", user.Scopes)
		}
		user.Scopes[0] = "vandal"
	}
	if len(seen) != 2 || seen[0] || !seen[1] {
		t.Errorf("got %v, want the second call to be remembered", seen)
	}
}
