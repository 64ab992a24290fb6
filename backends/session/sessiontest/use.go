// SPDX-License-Identifier: Apache-2.0

package sessiontest

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/metadata"

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

func swapped(k *kit) {
	b := k.node(nil)
	id, s := k.login(b, "", alice())
	_, bobs := k.login(b, "", &grpcauth.User{ID: "bob"})
	rec, err := k.faults.Get(k.Context(), "session/"+bobs.Handle)
	if err != nil {
		k.Fatal(err)
	}
	for what, replace := range map[string]func(store.Record) store.Record{
		"another record": func(store.Record) store.Record { return rec },
		"another value":  func(mine store.Record) store.Record { mine.Value = bytes.Clone(rec.Value); return mine },
		"another owner":  func(mine store.Record) store.Record { mine.Owner = rec.Owner; return mine },
	} {
		k.faults.answer(replace)
		k.refuse(b, id, grpcauth.CodeInternal)
		if _, err := b.List(k.Context(), alice()); grpcauth.CodeOf(err) != grpcauth.CodeInternal {
			k.Errorf("%s: the list got %v", what, err)
		}
		if id, _, err := b.Replace(k.with(id), alice(), session.Device{}); id != "" || grpcauth.CodeOf(err) != grpcauth.CodeInternal {
			k.Errorf("%s: a login got an id: %t, and %v", what, id != "", err)
		}
		k.faults.answer(nil)
		k.accept(b, id)
	}
	k.faults.answer(func(store.Record) store.Record { return rec })
	if err := b.Revoke(k.Context(), alice(), s.Handle); grpcauth.CodeOf(err) != grpcauth.CodeInternal {
		k.Errorf("revoking got %v", err)
	}
	if n, err := b.RevokeAll(k.Context(), alice()); n != 0 || grpcauth.CodeOf(err) != grpcauth.CodeInternal {
		k.Errorf("revoking all got %d and %v", n, err)
	}
	k.faults.answer(nil)
	k.accept(b, id)
}

func damaged(k *kit) {
	b := k.node(func(o *session.Options) { o.MaxPerUser = 2 })
	id, _ := k.login(b, "", alice())
	for what, damage := range map[string]func([]byte) []byte{
		"nothing":          func([]byte) []byte { return nil },
		"half of it":       func(v []byte) []byte { return v[:len(v)/2] },
		"all but the last": func(v []byte) []byte { return v[:len(v)-1] },
		"more":             func(v []byte) []byte { return append(bytes.Clone(v), ' ') },
		"another version":  func(v []byte) []byte { return bytes.Replace(v, []byte(`"v":1`), []byte(`"v":2`), 1) },
		"another type":     func(v []byte) []byte { return bytes.Replace(v, []byte(`"id":"alice"`), []byte(`"id":["alice"]`), 1) },
		"no id":            func(v []byte) []byte { return bytes.Replace(v, []byte(`"id":"alice",`), nil, 1) },
		"null":             func([]byte) []byte { return []byte("null") },
		"a member more":    func(v []byte) []byte { return bytes.Replace(v, []byte(`}}`), []byte(`},"x":1}`), 1) },
		"a member twice":   func(v []byte) []byte { return bytes.Replace(v, []byte(`"n":`), []byte(`"v":1,"n":`), 1) },
		"no time": func(v []byte) []byte {
			return bytes.Replace(v, []byte(`"seen":`), []byte(`"seen":9999999999999999999`), 1)
		},
		"no text": func(v []byte) []byte { return bytes.Replace(v, []byte(`Alice`), []byte("\xff\xfe\xfd"), 1) },
	} {
		k.faults.answer(func(rec store.Record) store.Record {
			value := damage(rec.Value)
			if bytes.Equal(value, rec.Value) {
				k.Errorf("%s: nothing was damaged", what)
			}
			rec.Value = value
			return rec
		})
		k.refuse(b, id, grpcauth.CodeUnavailable)
		if _, err := b.List(k.Context(), alice()); err == nil || grpcauth.CodeOf(err) != grpcauth.CodeUnavailable || strings.Contains(err.Error(), name) {
			k.Errorf("%s: the list got %v", what, err)
		}
	}
	k.faults.answer(nil)
	k.accept(b, id)

	// A record that is damaged for good keeps nobody from logging in, nor from ending all sessions.
	spoil := func(id string) {
		handle, _ := b.Current(k.with(id))
		rec, err := k.faults.Get(k.Context(), "session/"+handle)
		if err != nil {
			k.Fatal(err)
		}
		rec.Value = rec.Value[1:]
		if err := k.faults.Put(k.Context(), rec); err != nil {
			k.Fatal(err)
		}
	}
	spoil(id)
	second, _ := k.login(b, "", alice())
	third, _ := k.login(b, "", alice())
	k.accept(b, second)
	k.refuse(b, id, grpcauth.CodeInvalid)
	spoil(second)
	k.refuse(b, second, grpcauth.CodeUnavailable)
	k.login(b, second, alice())
	k.refuse(b, second, grpcauth.CodeInvalid)
	spoil(third)
	if n, err := b.RevokeAll(k.Context(), alice()); n != 2 || err != nil {
		k.Errorf("got %d and %v", n, err)
	}
	k.refuse(b, third, grpcauth.CodeInvalid)
}

// callFaults lets each step of a call fail that renews its session.
func callFaults(k *kit) {
	for _, m := range modes {
		for at := 1; ; at++ {
			b := k.node(nil)
			id, s := k.login(b, "", alice())
			k.clock.Add(2 * time.Minute)
			k.faults.arm(at, m)
			user, err := k.try(b, id)
			if !k.faults.heal() {
				break
			}
			switch {
			case at == 1 && (user != nil || grpcauth.CodeOf(err) != grpcauth.CodeUnavailable):
				k.Errorf("%s: reading failed, and the call got %v and %v", m.name, user, err)
			case at == 2 && (err != nil || !user.Expiry.Equal(s.Expiry)):
				k.Errorf("%s: renewing failed, and the call got %v and %v; want the session as it was", m.name, user, err)
			}
			k.accept(b, id)
		}
	}
}

// loginFaults lets each step of a login fail. Either it succeeds and the old session is dead, or nobody has an id, and nothing but the old one is alive.
func loginFaults(k *kit) {
	for _, m := range modes {
		for at := 1; ; at++ {
			b := k.node(nil)
			old, _ := k.login(b, "", alice())
			k.faults.arm(at, m)
			id, s, err := b.Replace(k.with(old), alice(), session.Device{})
			fired := k.faults.heal()
			user, oldErr := k.try(b, old)
			switch {
			case err == nil:
				k.accept(b, id)
				if user != nil || oldErr == nil {
					k.Errorf("%s at %d: the login succeeded, and the old session lives", m.name, at)
				}
			case id != "" || s != nil || grpcauth.CodeOf(err) != grpcauth.CodeUnavailable:
				k.Errorf("%s at %d: got an id: %t, a session: %t, and %v", m.name, at, id != "", s != nil, err)
			}
			if !m.lasting && !m.applied && len(k.handles(b, alice())) > 1 {
				k.Errorf("%s at %d: there is more than one session", m.name, at)
			}
			if _, err := b.RevokeAll(k.Context(), alice()); err != nil {
				k.Fatal(err)
			}
			if !fired {
				break
			}
		}
	}
}

func revokeFaults(k *kit) {
	for _, m := range modes {
		for at := 1; ; at++ {
			b := k.node(nil)
			id, s := k.login(b, "", alice())
			other, _ := k.login(b, "", alice())
			k.faults.arm(at, m)
			err := b.Revoke(k.Context(), alice(), s.Handle)
			fired := k.faults.heal()
			if err == nil {
				k.refuse(b, id, grpcauth.CodeInvalid)
			} else if grpcauth.CodeOf(err) != grpcauth.CodeUnavailable || errors.Is(err, session.ErrNotFound) {
				k.Errorf("%s at %d: got %v", m.name, at, err)
			}
			k.faults.arm(at, m)
			_, err = b.RevokeAll(k.Context(), alice())
			fired = k.faults.heal() || fired
			if err == nil {
				k.refuse(b, id, grpcauth.CodeInvalid)
				k.refuse(b, other, grpcauth.CodeInvalid)
			} else if grpcauth.CodeOf(err) != grpcauth.CodeUnavailable {
				k.Errorf("%s at %d: got %v", m.name, at, err)
			}
			if _, err := b.RevokeAll(k.Context(), alice()); err != nil {
				k.Fatal(err)
			}
			k.refuse(b, id, grpcauth.CodeInvalid)
			k.refuse(b, other, grpcauth.CodeInvalid)
			if !fired {
				break
			}
		}
	}
}

// repeats writes everything twice: the second answer is a conflict with the first one.
func repeats(k *kit) {
	b := k.node(nil)
	id, _ := k.login(b, "", alice())
	k.clock.Add(2 * time.Minute)
	k.faults.repeat(true)
	k.accept(b, id)
	if next, _, err := b.Replace(k.with(id), alice(), session.Device{}); next != "" || err == nil {
		k.Error("a login whose id may be taken succeeded")
	}
	k.faults.repeat(false)
	k.accept(b, id)
	puts := len(k.faults.puts())
	k.faults.beforePut(func(store.Record) { k.faults.repeat(len(k.faults.puts()) == puts+2) }) // when the old one is to end
	next, _ := k.login(b, id, alice())
	k.faults.beforePut(nil)
	k.faults.repeat(false)
	k.refuse(b, id, grpcauth.CodeInvalid)
	k.accept(b, next)
}

func cancelled(k *kit) {
	b := k.node(nil)
	id, s := k.login(b, "", alice())
	k.clock.Add(2 * time.Minute)
	ctx, cancel := context.WithCancel(k.with(id))
	cancel()
	if user, err := b.Authenticate(ctx, grpcauth.NewRequest(ctx, "/shop.v1.Orders/Get")); user != nil || !errors.Is(err, context.Canceled) {
		k.Errorf("got %v and %v", user, err)
	}
	if next, _, err := b.Replace(ctx, alice(), session.Device{}); next != "" || !errors.Is(err, context.Canceled) {
		k.Errorf("got an id: %t, and %v", next != "", err)
	}
	if err := b.Revoke(ctx, alice(), s.Handle); !errors.Is(err, context.Canceled) {
		k.Errorf("got %v", err)
	}
	k.accept(b, id)
	if md, ok := metadata.FromIncomingContext(ctx); !ok || len(md) != 1 {
		k.Errorf("got %v", md)
	}
}
