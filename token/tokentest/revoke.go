// SPDX-License-Identifier: Apache-2.0

package tokentest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/grpcauth/grpcauth/store"
	"github.com/grpcauth/grpcauth/token"
)

func revokesToken(k *kit) {
	r := k.refresher(nil)
	old, g := k.start(r, grant())
	current := k.rotate(r, old)
	other, _ := k.start(r, grant())
	for _, text := range []string{current, current, old} { // again, and with a used one, is no error
		if err := r.Revoke(k.Context(), text); err != nil {
			k.Fatal(err)
		}
	}
	k.refuse(r, current, token.ErrRevoked)
	k.rotate(r, other)
	if !k.denied(g.Family) {
		k.Error("the access tokens of the family are not denied")
	}
	for _, text := range []string{"", "x", g.Family + "." + secrets(other)} {
		if err := r.Revoke(k.Context(), text); !errors.Is(err, token.ErrInvalid) {
			k.Errorf("got %v for %q", err, text)
		}
	}
	old, g = k.start(r, grant())
	current = k.rotate(r, old)
	if err := r.Revoke(k.Context(), old); err != nil {
		k.Fatal(err)
	}
	k.refuse(r, current, token.ErrRevoked)
	if !k.denied(g.Family) {
		k.Error("the access tokens of a family that was ended by a used token are not denied")
	}
}

func revokesFamily(k *kit) {
	r := k.refresher(nil)
	text, g := k.start(r, grant())
	other, _ := k.start(r, grant())
	for range 2 {
		if err := r.RevokeFamily(k.Context(), g.Family); err != nil {
			k.Fatal(err)
		}
	}
	k.refuse(r, text, token.ErrRevoked)
	k.rotate(r, other)
	for _, id := range []string{"", "x", strings.Repeat("A", 22), text} {
		if err := r.RevokeFamily(k.Context(), id); !errors.Is(err, token.ErrInvalid) {
			k.Errorf("got %v for %q", err, id)
		}
	}
}

func revokesUser(k *kit) {
	r := k.refresher(nil)
	var texts []string
	var families []string
	for range 3 {
		text, g := k.start(r, grant())
		texts, families = append(texts, text), append(families, g.Family)
	}
	g := grant()
	g.Subject = "alice2"
	other, _ := k.start(r, g)
	if err := r.RevokeFamily(k.Context(), families[0]); err != nil {
		k.Fatal(err)
	}
	for _, want := range []int{2, 0} {
		if n, err := r.RevokeUser(k.Context(), subject); n != want || err != nil {
			k.Errorf("ended %d families and %v, want %d", n, err, want)
		}
	}
	for i := range texts {
		k.refuse(r, texts[i], token.ErrRevoked)
		if !k.denied(families[i]) {
			k.Error("the access tokens of the family are not denied")
		}
	}
	if _, _, err := r.Rotate(k.Context(), other, by); err != nil {
		k.Errorf("another user's token: %v", err)
	}
	text, again := k.start(r, grant()) // a new login in the same moment works
	k.rotate(r, text)
	if k.denied(again.Family) {
		k.Error("the access tokens of a new login are denied")
	}
}

func revokeWins(k *kit) {
	r := k.refresher(nil)
	for range 20 {
		text, g := k.start(r, grant())
		var group sync.WaitGroup
		last := text
		begin := make(chan struct{})
		group.Go(func() {
			<-begin
			for {
				next, _, err := r.Rotate(k.Context(), last, by)
				if err != nil {
					return
				}
				last = next
			}
		})
		group.Go(func() {
			<-begin
			if err := r.RevokeFamily(k.Context(), g.Family); err != nil {
				k.Error(err)
			}
		})
		close(begin)
		group.Wait()
		if next, _, err := r.Rotate(k.Context(), last, by); err == nil || next != "" {
			k.Fatal("a token was rotated after its family was revoked")
		}
		if !k.denied(g.Family) {
			k.Error("the access tokens of the family are not denied")
		}
	}

	// Others get in the way of every attempt.
	text, g := k.start(r, grant())
	inner := token.RefreshOptions{Store: k.faults.Store, Now: k.clock.Now}
	quick, err := token.NewRefresher(inner)
	if err != nil {
		k.Fatal(err)
	}
	k.faults.beforePut(func(ctx context.Context, rec store.Record) {
		if rec.Key != "refresh/"+g.Family {
			return
		}
		next, _, err := quick.Rotate(ctx, text, by)
		if err != nil {
			k.Errorf("the quicker one: %v", err)
		}
		text = next
	})
	if err := r.RevokeFamily(k.Context(), g.Family); err != nil {
		k.Error(err)
	}
	k.faults.beforePut(nil)
	if _, _, err := r.Rotate(k.Context(), text, by); !errors.Is(err, token.ErrInvalid) {
		k.Errorf("got %v of a family that could only be deleted", err)
	}
}

func lists(k *kit) {
	r := k.refresher(func(o *token.RefreshOptions) { o.Idle = time.Hour })
	_, idle := k.start(r, grant())
	k.clock.Add(30 * time.Minute)
	text, used := k.start(r, grant())
	_, ended := k.start(r, grant())
	if err := r.RevokeFamily(k.Context(), ended.Family); err != nil {
		k.Fatal(err)
	}
	k.rotate(r, text)
	want := func(families ...string) {
		k.Helper()
		grants, err := r.List(k.Context(), subject)
		var got []string
		for i := range grants {
			got = append(got, grants[i].Family)
			if grants[i].Subject != subject || !slices.Equal(grants[i].Scopes, grant().Scopes) {
				k.Errorf("got %+v", grants[i])
			}
		}
		slices.Sort(families)
		if err != nil || !slices.Equal(got, families) {
			k.Errorf("got %q and %v, want %q", got, err, families)
		}
	}
	want(idle.Family, used.Family)
	k.clock.Add(30 * time.Minute)
	want(used.Family)
	k.clock.Add(time.Hour)
	want()
	if grants, err := r.List(k.Context(), "nobody"); len(grants) > 0 || err != nil {
		k.Errorf("got %v and %v", grants, err)
	}
}

// steps runs a scenario for each mode of failing, and within it for each step that the call takes.
func (k *kit) steps(scenario func(n int, m mode) (fired bool)) {
	k.Helper()
	for _, m := range modes {
		n := 1
		for scenario(n, m) {
			n++
			if n > 100 {
				k.Fatal("it takes no end of steps")
			}
		}
		if n == 1 {
			k.Errorf("%s: no step was made to fail", m.name)
		}
		if k.Failed() {
			k.Fatalf("%s, step %d", m.name, n)
		}
	}
}

func startFaults(k *kit) {
	r := k.refresher(nil)
	k.steps(func(n int, m mode) bool {
		k.faults.arm(n, m)
		text, g, err := r.Start(k.Context(), grant())
		fired := k.faults.heal()
		if err == nil {
			k.rotate(r, text)
			return fired
		}
		k.undecided(err)
		if text != "" || g != nil {
			k.Error("got a token with the error")
		}
		return fired
	})
}

func rotateFaults(k *kit) {
	r := k.refresher(nil)
	k.steps(func(n int, m mode) bool {
		text, g := k.start(r, grant())
		k.faults.arm(n, m)
		next, _, err := r.Rotate(k.Context(), text, by)
		fired := k.faults.heal()
		if err == nil {
			k.rotate(r, next)
			return fired
		}
		if next != "" {
			k.Error("got a token with the error")
		}
		k.undecided(err)
		next, _, err = r.Rotate(k.Context(), text, by)
		switch {
		case err == nil:
			k.rotate(r, next)
		case !m.applied || !m.lasting || !errors.Is(err, token.ErrReused):
			k.Errorf("%s: tried again: %v", m.name, err)
		case !k.denied(g.Family):
			k.Error("it is taken for a second use, and the access tokens are not denied")
		}
		return fired
	})
}

func graceFaults(k *kit) {
	r := k.refresher(withGrace(1))
	for _, second := range []bool{false, true} {
		k.steps(func(n int, m mode) bool {
			text, _ := k.start(r, grant())
			want := ""
			if second {
				want = k.rotate(r, text)
			}
			k.faults.arm(n, m)
			next, _, err := r.Rotate(k.Context(), text, by)
			fired := k.faults.heal()
			if err != nil {
				k.undecided(err)
				next, _, err = r.Rotate(k.Context(), text, by)
				if second && m.applied && m.lasting && errors.Is(err, token.ErrReused) {
					return fired // the only repetition that it had was the one that failed
				}
			}
			if err != nil || want != "" && next != want {
				k.Fatalf("%s, step %d: tried again: %v", m.name, n, err)
			}
			k.rotate(r, next)
			return fired
		})
	}
	if len(k.events()) > len(modes) {
		k.Errorf("%d second uses were told of", len(k.events()))
	}
}

func revokeFaults(k *kit) {
	r := k.refresher(nil)
	for name, revoke := range map[string]func(text string, g *token.Grant) error{
		"token":  func(text string, _ *token.Grant) error { return r.Revoke(k.Context(), text) },
		"family": func(_ string, g *token.Grant) error { return r.RevokeFamily(k.Context(), g.Family) },
		"user": func(_ string, g *token.Grant) error {
			_, err := r.RevokeUser(k.Context(), g.Subject)
			return err
		},
	} {
		k.steps(func(n int, m mode) bool {
			text, g := k.start(r, grant())
			k.faults.arm(n, m)
			err := revoke(text, g)
			fired := k.faults.heal()
			if err != nil {
				k.undecided(err)
				if err := revoke(text, g); err != nil {
					k.Errorf("%s: %s, step %d: tried again: %v", name, m.name, n, err)
				}
			}
			k.refuse(r, text, token.ErrRevoked)
			if !k.denied(g.Family) {
				k.Errorf("%s: %s, step %d: the access tokens are not denied", name, m.name, n)
			}
			return fired
		})
	}
}

func reuseFaults(k *kit) {
	r := k.refresher(nil)
	k.steps(func(n int, m mode) bool {
		text, g := k.start(r, grant())
		current := k.rotate(r, text)
		before := len(k.events())
		k.faults.arm(n, m)
		next, _, err := r.Rotate(k.Context(), text, by)
		fired := k.faults.heal()
		if next != "" || err == nil {
			k.Error("got a token for one that was used")
		}
		if !errors.Is(err, token.ErrReused) {
			k.undecided(err)
			k.refuse(r, text, token.ErrReused)
		}
		k.refuse(r, current, token.ErrRevoked)
		if !k.denied(g.Family) {
			k.Errorf("%s, step %d: the access tokens are not denied", m.name, n)
		}
		if events := k.events(); len(events) == before || !events[len(events)-1].Ended {
			k.Errorf("%s, step %d: got the events %+v", m.name, n, events[before:])
		}
		return fired
	})
}

// repeats has the store's client try again by itself: the second try finds the first one's record.
func repeats(k *kit) {
	r := k.refresher(nil)
	k.faults.beforePut(func(ctx context.Context, rec store.Record) {
		if err := k.faults.Store.Put(ctx, rec); err != nil && !errors.Is(err, store.ErrConflict) {
			k.Error(err)
		}
	})
	text, g := k.start(r, grant())
	text = k.rotate(r, k.rotate(r, text))
	if err := r.Revoke(k.Context(), text); err != nil {
		k.Error(err)
	}
	k.refuse(r, text, token.ErrRevoked)
	if !k.denied(g.Family) || len(k.events()) > 0 {
		k.Errorf("denied: %t, events: %v", k.denied(g.Family), k.events())
	}

	k.faults.beforePut(nil)
	text, _ = k.start(r, grant())
	k.faults.beforePut(func(ctx context.Context, rec store.Record) {
		if err := k.faults.Store.Put(ctx, rec); err != nil {
			k.Error(err)
		}
		k.faults.arm(2, mode{}) // and to look what became of it fails
	})
	next := k.rotate(r, text)
	k.faults.beforePut(nil)
	k.rotate(r, next)
}
