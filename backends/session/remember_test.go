// SPDX-License-Identifier: Apache-2.0

package session_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/metadata"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/session"
)

func (w *world) expectAsked(t *testing.T, want int64) {
	t.Helper()
	if got := w.store.asked.Swap(0); got != want {
		t.Errorf("the store was asked %d times, want %d", got, want)
	}
}

func TestNothingIsRememberedUnlessAskedFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t, session.Options{})
	id, _ := w.create(t, &grpcauth.User{ID: "alice"})
	for range 3 {
		w.expect(t, cookie(id), "alice")
		w.expect(t, cookie(strings.Repeat("A", len(id))), "CREDENTIALS_INVALID")
	}
	w.expectAsked(t, 6)
}

func TestSessionIsRememberedForAWhile(t *testing.T) {
	t.Parallel()
	w := newWorld(t, session.Options{RememberFor: 10 * time.Second})
	id, _ := w.create(t, &grpcauth.User{ID: "alice"})
	w.expect(t, cookie(id), "alice")
	w.clock.Advance(10*time.Second - 1)
	w.expect(t, cookie(id), "alice")
	w.expectAsked(t, 1)
	w.clock.Advance(1)
	w.expect(t, cookie(id), "alice")
	w.expectAsked(t, 1)
	w.store.down.Store(true)
	w.expect(t, cookie(id), "alice")
	w.clock.Advance(10 * time.Second)
	w.expect(t, cookie(id), "AUTHENTICATION_UNAVAILABLE")
	w.store.down.Store(false)
	w.expect(t, cookie(id), "alice")
}

func TestRememberedSessionEndsInTime(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string]session.Options{
		"idle":     {Idle: time.Minute, RenewEvery: 50 * time.Second},
		"absolute": {Absolute: 40 * time.Second},
		"user":     {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			opts.RememberFor = time.Hour
			w := newWorld(t, opts)
			user := &grpcauth.User{ID: "alice"}
			if name == "user" {
				user.Expiry = start.Add(40 * time.Second)
			}
			id, s := w.create(t, user)
			w.expect(t, cookie(id), "alice")
			w.clock.Advance(s.Expiry.Sub(start) - time.Millisecond)
			if name != "idle" {
				w.expect(t, cookie(id), "alice")
			}
			w.clock.Advance(time.Millisecond)
			for range 2 {
				w.expect(t, cookie(id), "CREDENTIALS_EXPIRED")
			}
		})
	}
}

func TestRememberedSessionIsRenewedInTime(t *testing.T) {
	t.Parallel()
	w := newWorld(t, session.Options{RememberFor: time.Hour})
	id, _ := w.create(t, &grpcauth.User{ID: "alice"})
	w.store.wrote.Store(0)
	for range 12 * 10 {
		w.clock.Advance(30 * time.Second)
		w.expect(t, cookie(id), "alice")
	}
	if n := w.store.wrote.Load(); n != 60 {
		t.Errorf("%d writes in an hour of use, want 60", n)
	}
	w.expectAsked(t, 61)
}

func TestRememberedSessionThatIsRevokedHereEndsAtOnce(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*world, metadata.MD, *session.Session) error{
		"revoked": func(w *world, _ metadata.MD, s *session.Session) error {
			return w.Revoke(t.Context(), s.User, s.Handle)
		},
		"all": func(w *world, _ metadata.MD, s *session.Session) error {
			_, err := w.RevokeAll(t.Context(), s.User)
			return err
		},
		"others": func(w *world, _ metadata.MD, s *session.Session) error {
			_, err := w.RevokeOthers(t.Context(), s.User)
			return err
		},
		"replaced": func(w *world, md metadata.MD, s *session.Session) error {
			_, _, err := w.Replace(metadata.NewIncomingContext(t.Context(), md), s.User, session.Device{})
			return err
		},
		"pushed out": func(w *world, _ metadata.MD, s *session.Session) error {
			_, _, err := w.Create(t.Context(), &grpcauth.User{ID: "alice"}, session.Device{})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, session.Options{RememberFor: time.Hour, MaxPerUser: 1})
			id, s := w.create(t, &grpcauth.User{ID: "alice"})
			w.expect(t, cookie(id), "alice")
			if err := end(w, cookie(id), s); err != nil {
				t.Fatal(err)
			}
			w.expect(t, cookie(id), "CREDENTIALS_INVALID")
		})
	}
}

func TestSessionThatIsRevokedElsewhereEndsWithinTheBound(t *testing.T) {
	t.Parallel()
	w := newWorld(t, session.Options{RememberFor: 5 * time.Second})
	other, err := session.New(session.Options{Store: w.store, Now: w.clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	id, s := w.create(t, &grpcauth.User{ID: "alice"})
	w.expect(t, cookie(id), "alice")
	if err := other.Revoke(t.Context(), s.User, s.Handle); err != nil {
		t.Fatal(err)
	}
	w.expect(t, cookie(id), "alice")
	w.clock.Advance(5 * time.Second)
	w.expect(t, cookie(id), "CREDENTIALS_INVALID")
}

func TestUnknownIDIsRememberedBrieflyAndApart(t *testing.T) {
	t.Parallel()
	w := newWorld(t, session.Options{RememberFor: time.Hour})
	id, _ := w.create(t, &grpcauth.User{ID: "alice"})
	w.expect(t, cookie(id), "alice")
	w.expectAsked(t, 1)
	for i := range 3000 { // which push out one another and nobody else
		w.expect(t, cookie(fmt.Sprintf("%032d", i)), "CREDENTIALS_INVALID")
	}
	w.expectAsked(t, 3000)
	w.expect(t, cookie(fmt.Sprintf("%032d", 2999)), "CREDENTIALS_INVALID")
	w.expect(t, cookie(id), "alice")
	w.expectAsked(t, 0)
	w.clock.Advance(10 * time.Second)
	w.expect(t, cookie(fmt.Sprintf("%032d", 2999)), "CREDENTIALS_INVALID")
	w.expectAsked(t, 1)
}

func TestErrorsAreNotRemembered(t *testing.T) {
	t.Parallel()
	w := newWorld(t, session.Options{RememberFor: time.Hour})
	id, _ := w.create(t, &grpcauth.User{ID: "alice"})
	w.store.down.Store(true)
	w.expect(t, cookie(id), "AUTHENTICATION_UNAVAILABLE")
	w.store.down.Store(false)
	w.expect(t, cookie(id), "alice")
}

func TestClockThatJumpsKeepsNoRememberedSessionTooLong(t *testing.T) {
	t.Parallel()
	w := newWorld(t, session.Options{RememberFor: 10 * time.Second})
	id, _ := w.create(t, &grpcauth.User{ID: "alice"})
	w.expect(t, cookie(id), "alice")
	w.clock.Advance(-time.Hour)
	w.expect(t, cookie(id), "alice")
	w.expectAsked(t, 2) // what was remembered is of the future
	w.clock.Advance(time.Hour + 35*time.Minute)
	w.expect(t, cookie(id), "CREDENTIALS_EXPIRED")
	w.expectAsked(t, 1)
}

// A call that read its session before it was revoked must not have it remembered after that.
func TestRevokingWinsOverRemembering(t *testing.T) {
	t.Parallel()
	w := newWorld(t, session.Options{RememberFor: time.Hour})
	id, s := w.create(t, &grpcauth.User{ID: "alice"})
	w.store.after = func() {
		w.store.after = nil
		if err := w.Revoke(t.Context(), s.User, s.Handle); err != nil {
			t.Error(err)
		}
	}
	w.expect(t, cookie(id), "alice") // it was, when it was read
	w.expect(t, cookie(id), "CREDENTIALS_INVALID")
	for range 50 {
		id, s := w.create(t, &grpcauth.User{ID: "alice"})
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() { w.look(t.Context(), cookie(id)) })
		}
		wg.Go(func() {
			if err := w.Revoke(t.Context(), s.User, s.Handle); err != nil {
				t.Error(err)
			}
		})
		wg.Wait()
		w.expect(t, cookie(id), "CREDENTIALS_INVALID")
	}
}
