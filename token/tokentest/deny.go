// SPDX-License-Identifier: Apache-2.0

package tokentest

import (
	"strings"
	"time"

	"github.com/grpcauth/grpcauth/store"
	"github.com/grpcauth/grpcauth/token"
)

// wantRevoked asks for a token of alice's.
func (k *kit) wantRevoked(d *token.Denylist, id string, issued time.Time, want bool) {
	k.Helper()
	got, err := d.Revoked(k.Context(), issuer, subject, id, issued)
	if err != nil || got != want {
		k.Errorf("token %q of %v: revoked is %t with %v, want %t", id, issued, got, err, want)
	}
}

func deniesToken(k *kit) {
	d, now := k.denylist(0), k.clock.Now()
	k.wantRevoked(d, "one", now, false)
	if err := d.RevokeToken(k.Context(), "one", now.Add(time.Minute)); err != nil {
		k.Fatal(err)
	}
	k.wantRevoked(d, "one", now, true)
	k.wantRevoked(k.denylist(0), "one", time.Time{}, true)
	for _, other := range []string{"", "on", "One", "one.", "one\x00"} {
		k.wantRevoked(d, other, now, false)
	}
	if got, err := d.Revoked(k.Context(), "https://other.example.com", subject, "one", now); got || err != nil {
		k.Errorf("another issuer's token: got %t and %v", got, err)
	}
	if err := d.RevokeToken(k.Context(), "", now); err == nil {
		k.Error("a token without an ID was revoked")
	}
	long := strings.Repeat("\xff", 4096)
	if err := d.RevokeToken(k.Context(), long, now); err != nil {
		k.Error(err)
	}
	k.wantRevoked(d, long, now, true)
}

func deniesFamily(k *kit) {
	d, now := k.denylist(0), k.clock.Now()
	family, other := strings.Repeat("A", 22), strings.Repeat("A", 20)+"BA"
	if err := d.RevokeFamily(k.Context(), family); err != nil {
		k.Fatal(err)
	}
	k.wantRevoked(d, family+".one", now, true)
	k.wantRevoked(d, family+".two", now.Add(5*time.Minute), true)
	k.wantRevoked(d, other+".one", now, false)
	k.wantRevoked(d, "one."+family, now, false)
}

func deniesUser(k *kit) {
	d, now := k.denylist(0), k.clock.Now()
	second := now.Truncate(time.Second)
	if err := d.RevokeBefore(k.Context(), subject, now); err != nil {
		k.Fatal(err)
	}
	for issued, want := range map[time.Time]bool{
		{}: true, second.Add(-time.Hour): true, second.Add(-time.Second): true, second: true, second.Add(time.Second): false, second.Add(time.Hour): false,
	} {
		k.wantRevoked(d, "one", issued, want)
		k.wantRevoked(d, "", issued, want)
	}
	if got, err := d.Revoked(k.Context(), issuer, "bob", "one", second); got || err != nil {
		k.Errorf("another user's token: got %t and %v", got, err)
	}
	if err := d.RevokeBefore(k.Context(), subject, time.Time{}); err == nil {
		k.Error("the beginning of time was taken for a time")
	}
}

func denialStays(k *kit) {
	d, now := k.denylist(0), k.clock.Now()
	for _, t := range []time.Time{now, now.Add(-time.Hour), now.Add(-time.Minute)} {
		if err := d.RevokeBefore(k.Context(), subject, t); err != nil {
			k.Fatal(err)
		}
		k.clock.Add(time.Second) // so that the entry must live for longer each time
	}
	k.wantRevoked(d, "one", now.Truncate(time.Second), true)
	for _, expiry := range []time.Time{now.Add(5 * time.Minute), now.Add(time.Minute), now.Add(-time.Hour)} {
		if err := d.RevokeToken(k.Context(), "two", expiry); err != nil {
			k.Fatal(err)
		}
	}
	k.clock.Add(4 * time.Minute)
	k.wantRevoked(d, "two", now.Add(time.Minute), true)
	if err := d.RevokeBefore(k.Context(), subject, now.Add(4*time.Minute)); err != nil {
		k.Fatal(err)
	}
	k.wantRevoked(d, "three", now.Add(4*time.Minute).Truncate(time.Second), true)
	if _, errs := k.many(func() (string, error) { return "", d.RevokeBefore(k.Context(), "bob", k.clock.Now()) }); len(errs) > 0 {
		k.Errorf("%d of 100 at once failed, as by %v", len(errs), errs[0])
	}
}

func denialEnds(k *kit) {
	d, now := k.denylist(0), k.clock.Now()
	if err := d.RevokeToken(k.Context(), "one", time.Time{}); err != nil {
		k.Fatal(err)
	}
	if err := d.RevokeBefore(k.Context(), subject, now); err != nil {
		k.Fatal(err)
	}
	k.clock.Add(15 * time.Minute) // the longest lifetime, and five minutes for a verifier's clock
	k.wantRevoked(d, "one", now.Add(time.Second), true)
	k.wantRevoked(d, "two", now.Truncate(time.Second), true)
	k.clock.Add(time.Hour)
	k.wantRevoked(d, "one", now.Add(time.Second), false)
	k.wantRevoked(d, "two", now.Truncate(time.Second), false)
}

func damagedDenial(k *kit) {
	d, now := k.denylist(0), k.clock.Now()
	if err := d.RevokeToken(k.Context(), "one", now); err != nil {
		k.Fatal(err)
	}
	if err := d.RevokeBefore(k.Context(), subject, now.Add(-time.Hour)); err != nil {
		k.Fatal(err)
	}
	for _, value := range []string{"", "{", "null", "{}", "[]", `{"v":2}`, `{"v":"1"}`, `{"v":1,"w":1}`, `{"v":1}x`, `{"v":1,"before":1}`} {
		k.faults.answer(func(rec store.Record) (store.Record, error) {
			rec.Value = []byte(value)
			return rec, nil
		})
		for _, id := range []string{"one", "two"} {
			if got, err := d.Revoked(k.Context(), issuer, subject, id, now); got || err == nil {
				k.Errorf("%s, token %s: got %t and %v", value, id, got, err)
			}
		}
		k.undecided(d.RevokeBefore(k.Context(), subject, now))
	}
	for kind, value := range map[string]string{"deny/user/": `{"v":1}`, "deny/id/": `{"v":1,"before":"2026-01-01T00:00:00Z"}`} {
		k.faults.answer(func(rec store.Record) (store.Record, error) {
			if strings.HasPrefix(rec.Key, kind) {
				rec.Value = []byte(value)
			}
			return rec, nil
		})
		id := map[string]string{"deny/user/": "two", "deny/id/": "one"}[kind]
		if got, err := d.Revoked(k.Context(), issuer, subject, id, now); got || err == nil {
			k.Errorf("%s: got %t and %v", value, got, err)
		}
	}
}

func denyFaults(k *kit) {
	d := k.denylist(0)
	for name, revoke := range map[string]func() error{
		"token": func() error { return d.RevokeToken(k.Context(), "one", time.Time{}) },
		"user":  func() error { return d.RevokeBefore(k.Context(), subject, k.clock.Now()) },
	} {
		k.steps(func(n int, m mode) bool {
			k.clock.Add(time.Hour)
			k.faults.arm(n, m)
			err := revoke()
			fired := k.faults.heal()
			if err != nil {
				k.undecided(err)
				if err := revoke(); err != nil {
					k.Errorf("%s: %s, step %d: tried again: %v", name, m.name, n, err)
				}
			}
			k.wantRevoked(d, "one", k.clock.Now().Truncate(time.Second), true)
			return fired
		})
	}
	k.clock.Add(time.Hour)
	k.steps(func(n int, m mode) bool {
		k.faults.arm(n, m)
		revoked, err := d.Revoked(k.Context(), issuer, subject, strings.Repeat("A", 22)+".x", k.clock.Now())
		fired := k.faults.heal()
		if revoked || fired != (err != nil) {
			k.Errorf("%s, step %d: got %t and %v", m.name, n, revoked, err)
		}
		return fired
	})
}

func denialRemembered(k *kit) {
	const bound = 5 * time.Second
	near, far, now := k.denylist(bound), k.denylist(bound), k.clock.Now()
	k.wantRevoked(near, "one", now, false)
	k.wantRevoked(far, "one", now, false)
	k.wantRevoked(far, "two", now, false)
	k.faults.arm(1, mode{lasting: true})
	k.wantRevoked(far, "one", now, false) // no question asked
	k.faults.heal()
	if err := near.RevokeToken(k.Context(), "one", time.Time{}); err != nil {
		k.Fatal(err)
	}
	k.wantRevoked(near, "one", now, true)
	k.clock.Add(bound)
	k.wantRevoked(far, "one", now, true)
	k.wantRevoked(far, "two", now, false)
	if err := near.RevokeBefore(k.Context(), subject, k.clock.Now()); err != nil {
		k.Fatal(err)
	}
	k.clock.Add(bound)
	k.wantRevoked(far, "two", now, true)
}
