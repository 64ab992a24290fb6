// SPDX-License-Identifier: Apache-2.0

package sessiontest

import (
	"encoding/base64"
	"errors"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/session"
	"github.com/grpcauth/grpcauth/store"
)

func findsLogin(k *kit) {
	a, b := k.node(nil), k.node(nil)
	id, s := k.login(a, "", alice())
	before := k.faults.steps()
	user := k.accept(b, id)
	if asked := k.faults.steps() - before; asked != 1 {
		k.Errorf("the store was asked %d times, want once", asked)
	}
	want := alice()
	want.Method, want.Expiry = "session", user.Expiry
	if !user.AuthTime.Equal(want.AuthTime) {
		k.Errorf("got the time of authentication %v", user.AuthTime)
	}
	user.AuthTime = want.AuthTime
	if !reflect.DeepEqual(user, want) {
		k.Errorf("got %+v, want %+v", user, want)
	}
	if !user.Expiry.Equal(k.clock.Now().Add(idle)) || !s.Expiry.Equal(user.Expiry) || !s.End.Equal(k.clock.Now().Add(length)) {
		k.Errorf("got the ends %v, %v and %v", user.Expiry, s.Expiry, s.End)
	}
}

func hidesID(k *kit) {
	b := k.node(nil)
	ids := map[string]bool{}
	for range 100 {
		id, s, err := b.Create(k.Context(), &grpcauth.User{ID: "bob"}, session.Device{})
		if err != nil {
			k.Fatal(err)
		}
		bits, err := base64.RawURLEncoding.DecodeString(id)
		if err != nil || len(bits)*8 < 128 || ids[id] {
			k.Fatalf("an id of %d bits, seen before: %t, %v", len(bits)*8, ids[id], err)
		}
		ids[id] = true
		k.clock.Add(2 * time.Minute)
		k.accept(b, id)
		if s.Handle == id {
			k.Error("the handle is the id")
		}
		if user, err := k.try(b, s.Handle); user != nil || err == nil {
			k.Error("a handle logs in")
		}
	}
	for _, rec := range k.faults.puts() {
		for id := range ids {
			if text := rec.Key + rec.Owner + string(rec.Value); strings.Contains(text, id) {
				k.Fatal("the store sees an id")
			}
		}
	}
}

func ignoresChosen(k *kit) {
	b := k.node(nil)
	chosen, _ := k.login(k.node(nil), "", alice())
	chosen = strings.Repeat("A", len(chosen))
	k.refuse(b, chosen, grpcauth.CodeInvalid)
	id, _ := k.login(b, chosen, alice())
	k.accept(b, id)
	k.refuse(b, chosen, grpcauth.CodeInvalid)
}

func ignoresMalformed(k *kit) {
	b := k.node(nil)
	id, _ := k.login(b, "", alice())
	before := k.faults.steps()
	for _, bad := range []string{"x", id + "A", id[1:], id + "=", id[1:] + "!", id[1:] + "+", id[1:] + "\x00", `"` + id + `"`, strings.Repeat("A", 8000), "../" + id[3:], id[1:] + " A"} {
		k.refuse(b, bad, grpcauth.CodeMalformed)
	}
	k.refuse(b, id+"; "+cookie+"="+id, grpcauth.CodeAmbiguous)
	if asked := k.faults.steps() - before; asked != 0 {
		k.Errorf("the store was asked %d times", asked)
	}
}

func loginReplaces(k *kit) {
	b := k.node(nil)
	first, _ := k.login(b, "", alice())
	second, s := k.login(b, first, alice())
	k.refuse(b, first, grpcauth.CodeInvalid)
	k.accept(b, second)
	if got := k.handles(b, alice()); !slices.Equal(got, []string{s.Handle}) {
		k.Errorf("got the sessions %v", got)
	}
	handle, _ := b.Current(k.with(first))
	if err := b.Revoke(k.Context(), alice(), handle); !errors.Is(err, session.ErrNotFound) {
		k.Errorf("the old handle got %v", err)
	}
	k.clock.Add(idle)
	third, _ := k.login(b, second, alice()) // of an expired one
	k.clock.Add(-idle)
	k.refuse(b, second, grpcauth.CodeInvalid)
	k.accept(b, third)
	for _, with := range []string{"x", strings.Repeat("A", len(third))} {
		k.login(b, with, alice())
	}
	if id, _, err := b.Replace(k.with(third+"; "+cookie+"="+third), alice(), session.Device{}); id != "" || grpcauth.CodeOf(err) != grpcauth.CodeAmbiguous {
		k.Errorf("with two ids: got an id: %t, and %v", id != "", err)
	}
	k.accept(b, third)
}

func loginReplacesOther(k *kit) {
	b := k.node(nil)
	bobs, _ := k.login(b, "", &grpcauth.User{ID: "bob"})
	id, _ := k.login(b, bobs, alice())
	k.refuse(b, bobs, grpcauth.CodeInvalid)
	if user := k.accept(b, id); user.ID != name {
		k.Errorf("got %v", user)
	}
}

func riseKeepsEnd(k *kit) {
	b := k.node(nil)
	id, s := k.login(b, "", alice())
	end := s.End
	for range 30 {
		k.clock.Add(idle - 10*time.Minute)
		user := k.accept(b, id)
		user.Permissions = append(user.Permissions, "admin")
		id, s = k.login(b, id, user)
		if !s.End.Equal(end) {
			k.Fatalf("got the end %v, want %v", s.End, end)
		}
	}
	if user := k.accept(b, id); !user.HasPermission("admin") || len(user.Permissions) != 31 {
		k.Errorf("got %v", user.Permissions)
	}
}

func riseNeedsLife(k *kit) {
	b := k.node(nil)
	id, s := k.login(b, "", alice())
	user := k.accept(b, id)
	other, _ := k.login(b, "", &grpcauth.User{ID: "bob", Issuer: user.Issuer})
	namesake, _ := k.login(b, "", &grpcauth.User{ID: name})
	for what, with := range map[string]string{"no session": "", "another user's": other, "another issuer's": namesake, "an unknown one": strings.Repeat("A", len(id))} {
		if got, _, err := b.Replace(k.with(with), user, session.Device{}); got != "" || !errors.Is(err, session.ErrNotFound) {
			k.Errorf("%s: got an id: %t, and %v", what, got != "", err)
		}
	}
	k.accept(b, other)
	k.accept(b, namesake)
	if err := b.Revoke(k.Context(), user, s.Handle); err != nil {
		k.Fatal(err)
	}
	if got, _, err := b.Replace(k.with(id), user, session.Device{}); got != "" || !errors.Is(err, session.ErrNotFound) {
		k.Errorf("a revoked one: got an id: %t, and %v", got != "", err)
	}
	id, _ = k.login(b, "", alice())
	k.clock.Add(idle)
	if got, _, err := b.Replace(k.with(id), &grpcauth.User{ID: name, Issuer: user.Issuer, Method: "session"}, session.Device{}); got != "" || !errors.Is(err, session.ErrNotFound) {
		k.Errorf("an expired one: got an id: %t, and %v", got != "", err)
	}
	if got := k.handles(b, alice()); len(got) != 0 {
		k.Errorf("got the sessions %v", got)
	}
}

// riseLosesToRevoke ends all sessions at each moment of a rise.
func riseLosesToRevoke(k *kit) {
	b := k.node(nil)
	for at := 1; ; at++ {
		id, _ := k.login(b, "", alice())
		user := k.accept(b, id)
		n := 0
		k.faults.beforePut(func(store.Record) {
			n++
			if n == at {
				if _, err := k.node(nil).RevokeAll(k.Context(), user); err != nil {
					k.Error(err)
				}
			}
		})
		got, _, err := b.Replace(k.with(id), user, session.Device{})
		k.faults.beforePut(nil)
		if n < at {
			break
		}
		if got != "" || !errors.Is(err, session.ErrNotFound) {
			k.Errorf("revoked before write %d: got an id: %t, and %v", at, got != "", err)
		}
		if left := k.handles(b, alice()); len(left) != 0 {
			k.Errorf("revoked before write %d: left are %v", at, left)
		}
	}
	for what, when := range map[string]func(func()){"before it was deleted": k.faults.beforeDelete, "while it was listed": k.faults.duringList} {
		if _, err := b.RevokeAll(k.Context(), alice()); err != nil {
			k.Fatal(err)
		}
		id, _ := k.login(b, "", alice())
		user := k.accept(b, id)
		next := ""
		when(func() { next, _, _ = b.Replace(k.with(id), user, session.Device{}) })
		if n, err := k.node(nil).RevokeAll(k.Context(), user); n == 0 || next == "" || err != nil {
			k.Errorf("a session was replaced %s: %d ended, %v", what, n, err)
		}
		k.refuse(b, next, grpcauth.CodeInvalid)
	}
	var wg sync.WaitGroup
	for range 20 {
		id, _ := k.login(b, "", alice())
		user := k.accept(b, id)
		got := ""
		wg.Go(func() { got, _, _ = b.Replace(k.with(id), user, session.Device{}) })
		wg.Go(func() {
			if _, err := k.node(nil).RevokeAll(k.Context(), user); err != nil {
				k.Error(err)
			}
		})
		wg.Wait()
		for _, id := range []string{id, got} {
			if user, err := k.try(b, id); user != nil || err == nil {
				k.Fatal("a session outlives the revocation of all")
			}
		}
	}
}

func replaceOfMany(k *kit) {
	b := k.node(nil)
	id, _ := k.login(b, "", alice())
	user := k.accept(b, id)
	var wg sync.WaitGroup
	ids := make([]string, 10)
	for i := range ids {
		wg.Go(func() { ids[i], _, _ = b.Replace(k.with(id), user, session.Device{}) })
	}
	wg.Wait()
	k.refuse(b, id, grpcauth.CodeInvalid)
	alive := 0
	for _, id := range ids {
		if id != "" {
			k.accept(b, id)
			alive++
		}
	}
	if left := k.handles(b, alice()); alive != 1 || len(left) != 1 {
		k.Errorf("one session became %d that were told and %d in the store", alive, len(left))
	}
}

func capEndsOldest(k *kit) {
	b := k.node(func(o *session.Options) { o.MaxPerUser = 3 })
	k.login(b, "", &grpcauth.User{ID: "bob"})
	var ids []string
	for i := range 6 {
		id, _ := k.login(b, "", alice())
		ids = append(ids, id)
		k.clock.Add(time.Minute)
		if i == 3 {
			k.clock.Add(-time.Hour) // the order of logins is not that of the clock
		}
	}
	for _, id := range ids[:3] {
		k.refuse(b, id, grpcauth.CodeInvalid)
	}
	for _, id := range ids[3:] {
		k.accept(b, id)
	}
	if got := k.handles(b, &grpcauth.User{ID: "bob"}); len(got) != 1 {
		k.Errorf("another user has %d sessions", len(got))
	}
}

func capRefuses(k *kit) {
	b := k.node(func(o *session.Options) { o.MaxPerUser, o.RefuseBeyond = 2, true })
	first, s := k.login(b, "", alice())
	second, _ := k.login(b, "", alice())
	writes := len(k.faults.puts())
	if id, _, err := b.Create(k.Context(), alice(), session.Device{}); id != "" || !errors.Is(err, session.ErrTooMany) {
		k.Errorf("got an id: %t, and %v", id != "", err)
	}
	if len(k.faults.puts()) != writes {
		k.Error("a login that is refused was written")
	}
	k.accept(b, first)
	third, _ := k.login(b, second, alice()) // takes the place of one
	k.accept(b, third)
	if err := b.Revoke(k.Context(), alice(), s.Handle); err != nil {
		k.Fatal(err)
	}
	k.login(b, "", alice())
	k.clock.Add(idle)
	k.clock.Add(time.Minute) // the others have expired
	fourth, _ := k.login(b, "", alice())
	fifth := ""
	k.faults.beforePut(func(store.Record) { // between the look at the sessions and the new one
		k.faults.beforePut(nil)
		k.clock.Add(-time.Second)
		fifth, _ = k.login(b, "", alice())
		k.clock.Add(time.Second)
	})
	if id, _, err := b.Create(k.Context(), alice(), session.Device{}); id != "" || !errors.Is(err, session.ErrTooMany) {
		k.Errorf("a login that came second got an id: %t, and %v", id != "", err)
	}
	k.accept(b, fourth)
	k.accept(b, fifth)
	if got := k.handles(b, alice()); len(got) != 2 {
		k.Errorf("got %d sessions, want 2", len(got))
	}
}

func capOfMany(k *kit) {
	b := k.node(func(o *session.Options) { o.MaxPerUser = 5 })
	var wg sync.WaitGroup
	ids := make([]string, 30)
	for i := range ids {
		wg.Go(func() {
			var err error
			if ids[i], _, err = b.Create(k.Context(), alice(), session.Device{}); err != nil && !errors.Is(err, session.ErrTooMany) {
				k.Error(err)
			}
		})
	}
	wg.Wait()
	alive := 0
	for _, id := range ids {
		if id == "" {
			continue
		}
		if user, _ := k.try(b, id); user != nil {
			alive++
		}
	}
	if left := k.handles(b, alice()); len(left) != 5 || alive != 5 {
		k.Errorf("%d sessions in the store, of which %d were told; want 5", len(left), alive)
	}
}

func capRefusesMany(k *kit) {
	b := k.node(func(o *session.Options) { o.MaxPerUser, o.RefuseBeyond = 5, true })
	var wg sync.WaitGroup
	ids := make([]string, 30)
	for i := range ids {
		wg.Go(func() {
			var err error
			if ids[i], _, err = b.Create(k.Context(), alice(), session.Device{}); err != nil && !errors.Is(err, session.ErrTooMany) {
				k.Error(err)
			}
		})
	}
	wg.Wait()
	told := 0
	for _, id := range ids {
		if id != "" {
			k.accept(b, id)
			told++
		}
	}
	if left := k.handles(b, alice()); told != len(left) || told == 0 {
		k.Errorf("%d sessions in the store, of which %d were told", len(left), told)
	}
	if _, _, err := b.Create(k.Context(), alice(), session.Device{}); told >= 5 && !errors.Is(err, session.ErrTooMany) {
		k.Errorf("got %v with %d sessions", err, told)
	}
}
