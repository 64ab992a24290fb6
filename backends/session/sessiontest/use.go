// SPDX-License-Identifier: Apache-2.0

package sessiontest

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/session"
	"github.com/grpcauth/grpcauth/store"
)

func renews(k *kit) {
	b, other := k.node(nil), k.node(nil)
	id, _ := k.login(b, "", alice())
	began, writes := k.clock.Now(), len(k.faults.puts())
	for range 100 {
		k.clock.Add(20 * time.Second)
		k.accept(b, id)
		k.accept(other, id)
	}
	if n := len(k.faults.puts()) - writes; n != 33 {
		k.Errorf("%d writes in 2000 seconds of use, want 33", n)
	}
	for k.clock.Now().Add(idle-time.Minute).Sub(began) < length {
		k.clock.Add(idle - time.Minute)
		user := k.accept(b, id)
		if want := earlier(k.clock.Now().Add(idle), began.Add(length)); !user.Expiry.Equal(want) {
			k.Fatalf("got the expiry %v, want %v", user.Expiry, want)
		}
	}
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func idles(k *kit) {
	b := k.node(nil)
	id, _ := k.login(b, "", alice())
	used, s := k.login(b, "", alice())
	k.clock.AddWithoutStore(idle - time.Millisecond)
	k.accept(b, used)
	k.clock.AddWithoutStore(time.Millisecond)
	k.refuse(b, id, grpcauth.CodeExpired)
	k.accept(b, used)
	if got := k.handles(b, alice()); !slices.Equal(got, []string{s.Handle}) {
		k.Errorf("got the sessions %v", got)
	}
	k.clock.Add(24 * time.Hour)
	k.refuse(b, id, grpcauth.CodeInvalid) // the store has forgotten it
}

func absolute(k *kit) {
	b := k.node(nil)
	id, s := k.login(b, "", alice())
	for !k.clock.Now().Add(idle / 2).After(s.End.Add(-time.Millisecond)) {
		k.clock.Add(idle / 2)
		if user := k.accept(b, id); user.Expiry.After(s.End) {
			k.Fatalf("the expiry %v is after the end %v", user.Expiry, s.End)
		}
	}
	k.clock.AddWithoutStore(s.End.Sub(k.clock.Now()) - time.Millisecond)
	k.accept(b, id)
	k.clock.AddWithoutStore(time.Millisecond)
	k.refuse(b, id, grpcauth.CodeExpired)
	for _, rec := range k.faults.puts() {
		if rec.Expiry.After(s.End.Add(time.Hour)) {
			k.Errorf("the store was to keep a session until %v, which ends at %v", rec.Expiry, s.End)
		}
	}
	short := alice()
	short.Expiry = k.clock.Now().Add(time.Minute)
	id, s = k.login(b, "", short)
	if !s.End.Equal(short.Expiry) || !k.accept(b, id).Expiry.Equal(short.Expiry) {
		k.Errorf("the user's own end %v became %v", short.Expiry, s.End)
	}
	k.clock.AddWithoutStore(time.Minute)
	k.refuse(b, id, grpcauth.CodeExpired)
}

func clockJumps(k *kit) {
	b := k.node(nil)
	id, s := k.login(b, "", alice())
	k.clock.AddWithoutStore(-time.Hour)
	if user := k.accept(b, id); user.Expiry.After(s.Expiry) {
		k.Errorf("a clock that went back made the expiry %v of %v", user.Expiry, s.Expiry)
	}
	k.login(b, "", alice())
	k.clock.AddWithoutStore(time.Hour)
	k.accept(b, id)
	k.clock.AddWithoutStore(time.Hour)
	k.refuse(b, id, grpcauth.CodeExpired)
	k.clock.AddWithoutStore(-time.Hour)
	if user := k.accept(b, id); user.Expiry.After(s.Expiry) {
		k.Errorf("a clock that went forth and back made the expiry %v of %v", user.Expiry, s.Expiry)
	}
}

func revokesOne(k *kit) {
	a, b := k.node(nil), k.node(nil)
	first, s := k.login(a, "", alice())
	second, _ := k.login(a, "", alice())
	k.accept(b, first)
	for _, user := range []*grpcauth.User{{ID: "bob"}, {ID: name}, {ID: name, Issuer: "https://other.example.com"}, {}, nil} {
		if err := a.Revoke(k.Context(), user, s.Handle); !errors.Is(err, session.ErrNotFound) {
			k.Errorf("%v: got %v", user, err)
		}
	}
	k.accept(b, first)
	handle, ok := a.Current(k.with(first))
	if !ok || handle != s.Handle {
		k.Fatalf("got the handle %q of %q", handle, s.Handle)
	}
	if err := a.Revoke(k.Context(), alice(), handle); err != nil {
		k.Fatal(err)
	}
	k.refuse(b, first, grpcauth.CodeInvalid)
	k.accept(b, second)
	for _, handle := range []string{handle, "", "x", second, strings.Repeat("A", len(handle)), handle + "A"} {
		if err := a.Revoke(k.Context(), alice(), handle); !errors.Is(err, session.ErrNotFound) {
			k.Errorf("%q: got %v", handle, err)
		}
	}
}

func revokesOthers(k *kit) {
	b := k.node(nil)
	mine, s := k.login(b, "", alice())
	var others []string
	for range 5 {
		id, _ := k.login(b, "", alice())
		others = append(others, id)
	}
	bobs, _ := k.login(b, "", &grpcauth.User{ID: "bob"})
	n, err := b.RevokeOthers(k.with(mine), alice())
	if n != 5 || err != nil {
		k.Errorf("got %d and %v", n, err)
	}
	k.accept(b, mine)
	k.accept(b, bobs)
	for _, id := range others {
		k.refuse(b, id, grpcauth.CodeInvalid)
	}
	if got := k.handles(b, alice()); !slices.Equal(got, []string{s.Handle}) {
		k.Errorf("got the sessions %v", got)
	}
}

func revokesAll(k *kit) {
	b := k.node(nil)
	var ids []string
	for range 5 {
		id, _ := k.login(b, "", alice())
		ids = append(ids, id)
	}
	bobs, _ := k.login(b, "", &grpcauth.User{ID: "bob"})
	if n, err := b.RevokeAll(k.with(bobs), alice()); n != 5 || err != nil {
		k.Errorf("got %d and %v", n, err)
	}
	for _, id := range ids {
		k.refuse(b, id, grpcauth.CodeInvalid)
	}
	k.accept(b, bobs)
	if n, err := b.RevokeAll(k.Context(), alice()); n != 0 || err != nil {
		k.Errorf("again: got %d and %v", n, err)
	}
	for _, user := range []*grpcauth.User{nil, {}} {
		if _, err := b.RevokeAll(k.Context(), user); err == nil {
			k.Error("nobody's sessions ended")
		}
	}
}

func lists(k *kit) {
	b := k.node(nil)
	began := k.clock.Now()
	first, _, err := b.Create(k.Context(), alice(), session.Device{Name: "a\x00b\n\u202ec" + strings.Repeat("ä", 100), UserAgent: strings.Repeat("u", 1000), Address: "192.0.2.1\r\n"})
	if err != nil {
		k.Fatal(err)
	}
	k.clock.Add(time.Minute)
	second, _ := k.login(b, "", alice())
	k.clock.Add(time.Minute)
	k.accept(b, first)
	ctx := k.with(second)
	list, err := b.List(ctx, alice())
	if err != nil || len(list) != 2 {
		k.Fatalf("got %d sessions and %v", len(list), err)
	}
	seen, current := list[0], list[1]
	if !seen.Created.Equal(began) || !seen.Seen.Equal(k.clock.Now()) || !seen.Expiry.Equal(k.clock.Now().Add(idle)) || !seen.End.Equal(began.Add(length)) || seen.Current {
		k.Errorf("got %+v", seen)
	}
	if d := seen.Device; len(d.Name) > 64 || !strings.HasPrefix(d.Name, "abcä") || strings.Trim(d.Name, "abcä") != "" || len(d.UserAgent) != 256 || d.Address != "192.0.2.1" {
		k.Errorf("got the device %+q", d)
	}
	if !current.Current || current.Device.Name != "laptop" || current.User.ID != name || current.User.Method != "session" {
		k.Errorf("got %+v", current)
	}
	if got, err := b.List(ctx, &grpcauth.User{ID: name}); err != nil || len(got) != 0 {
		k.Errorf("another issuer's alice has %d sessions, %v", len(got), err)
	}
	if _, err := b.List(ctx, nil); err == nil {
		k.Error("nobody has a list")
	}
}

// revokeWins lets 100 callers renew a session that is revoked meanwhile.
func revokeWins(k *kit) {
	b := k.node(nil)
	for range 3 {
		id, s := k.login(b, "", alice())
		k.clock.Add(2 * time.Minute)
		var wg sync.WaitGroup
		var accepted atomic.Int64
		begin := make(chan struct{})
		for i := range 100 {
			wg.Go(func() {
				<-begin
				if i == 50 {
					if err := k.node(nil).Revoke(k.Context(), alice(), s.Handle); err != nil {
						k.Error(err)
					}
					return
				}
				user, err := k.try(b, id)
				switch {
				case user != nil && err == nil:
					accepted.Add(1)
				case user != nil || grpcauth.CodeOf(err) != grpcauth.CodeInvalid:
					k.Errorf("got a user: %t, and %v", user != nil, err)
				}
			})
		}
		close(begin)
		wg.Wait()
		k.refuse(b, id, grpcauth.CodeInvalid)
		if got := k.handles(b, alice()); len(got) != 0 {
			k.Fatalf("%d accepted, and the session is back: %v", accepted.Load(), got)
		}
	}
}

// revokeBetween revokes at the only moment that matters.
func revokeBetween(k *kit) {
	b := k.node(nil)
	id, s := k.login(b, "", alice())
	k.clock.Add(2 * time.Minute)
	k.faults.beforePut(func(store.Record) {
		if err := k.node(nil).Revoke(k.Context(), alice(), s.Handle); err != nil {
			k.Error(err)
		}
	})
	k.refuse(b, id, grpcauth.CodeInvalid)
	k.faults.beforePut(nil)
	k.refuse(b, id, grpcauth.CodeInvalid)
}

func renewedByOther(k *kit) {
	b := k.node(nil)
	id, _ := k.login(b, "", alice())
	k.clock.Add(2 * time.Minute)
	k.faults.beforePut(func(store.Record) {
		k.faults.beforePut(nil)
		k.accept(k.node(nil), id)
	})
	if user := k.accept(b, id); !user.Expiry.Equal(k.clock.Now().Add(idle)) {
		k.Errorf("got the expiry %v", user.Expiry)
	}
}
