// SPDX-License-Identifier: Apache-2.0

package sessiontest

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"time"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/session"
	"github.com/grpcauth/grpcauth/store"
)

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
}
