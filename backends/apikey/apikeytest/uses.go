// SPDX-License-Identifier: Apache-2.0

package apikeytest

import (
	"errors"
	"sync"
	"time"

	"github.com/grpcauth/grpcauth/backends/apikey"
)

func callAsksOnce(w *world) {
	text, id := w.create(apikey.Key{})
	wrong, rotated := w.create(apikey.Key{})
	w.rotate(rotated, 0)
	for name, text := range map[string]string{"a right key": text, "a wrong secret": wrong, "an unknown ID": w.stranger()} {
		asked := w.store.counted(func() { look(w.Context(), w.keys, text) })
		if len(asked) != 1 || asked[opGet] != 1 {
			w.Errorf("%s: the store was asked %v, want one Get", name, asked)
		}
	}
	if key := w.get(id); !key.LastUsed.IsZero() {
		w.Error("the last use was written by the call")
	}
}

func lastUseIsWritten(w *world) {
	text, id := w.create(apikey.Key{Scopes: []string{scope}})
	other, otherID := w.create(apikey.Key{Owner: "bob"})
	refused, disabledID := w.create(apikey.Key{Disabled: true})
	for range 3 {
		w.expect(w.keys, text, alice)
		w.clock.advance(time.Second)
	}
	w.expect(w.keys, other, "bob")
	w.expect(w.keys, refused, "CREDENTIALS_INVALID")
	if asked := w.store.counted(func() { w.must(w.keys.Flush(w.Context())) }); asked[opPut] != 2 {
		w.Errorf("got %v, want a Put for each key", asked)
	}
	for id, want := range map[string]time.Time{id: w.clock.Now().Add(-time.Second), otherID: w.clock.Now(), disabledID: {}} {
		if key := w.get(id); !key.LastUsed.Equal(want) {
			w.Errorf("the last use was %v, want %v", key.LastUsed, want)
		}
	}
	w.expect(w.keys, text, alice) // within a minute, so exact enough
	if asked := w.store.counted(func() { w.must(w.keys.Flush(w.Context())) }); len(asked) > 0 {
		w.Errorf("got %v, want nothing to be written", asked)
	}
	w.clock.advance(time.Minute)
	w.expect(w.keys, text, alice)
	w.must(w.keys.Close()) // writes what is left
	if key := w.get(id); !key.LastUsed.Equal(w.clock.Now()) || len(key.Scopes) != 1 || key.Secrets != 1 {
		w.Errorf("got %+v", key)
	}
}

func lastUseGoesForward(w *world) {
	text, id := w.create(apikey.Key{})
	behind, never := w.backend(apikey.Options{}), w.backend(apikey.Options{FlushEvery: -1})
	w.expect(behind, text, alice)
	w.clock.advance(time.Minute)
	now := w.clock.Now()
	w.expect(w.keys, text, alice)
	w.must(w.keys.Flush(w.Context()))
	w.must(behind.Flush(w.Context()))
	w.clock.advance(-time.Hour)
	w.expect(w.keys, text, alice)
	w.must(w.keys.Flush(w.Context()))
	w.clock.advance(2 * time.Hour)
	w.expect(never, text, alice)
	w.must(never.Flush(w.Context()))
	if key := w.get(id); !key.LastUsed.Equal(now) {
		w.Errorf("the last use was %v, want %v", key.LastUsed, now)
	}
}

// between runs f once, after the time of last use was read to be written and before it is.
func (w *world) between(f func()) {
	done := false
	w.store.intercept(func(op op, _ string, run func() error) error {
		if op == opPut && !done {
			done = true
			w.store.intercept(nil)
			f()
		}
		return run()
	})
}

func lastUseRevivesNothing(w *world) {
	text, id := w.create(apikey.Key{})
	w.expect(w.keys, text, alice)
	w.between(func() { w.must(w.keys.Revoke(w.Context(), id)) })
	w.must(w.keys.Flush(w.Context()))
	w.expect(w.keys, text, "CREDENTIALS_INVALID")
	if _, err := w.keys.Get(w.Context(), id); !errors.Is(err, apikey.ErrNotFound) {
		w.Errorf("got %v, want ErrNotFound", err)
	}
	if keys, err := w.keys.List(w.Context(), "", alice); err != nil || len(keys) > 0 {
		w.Errorf("got %v, %v, want no keys", keys, err)
	}
}

func lastUseEnablesNothing(w *world) {
	text, id := w.create(apikey.Key{})
	w.expect(w.keys, text, alice)
	used := w.clock.Now()
	w.clock.advance(time.Second)
	second := ""
	w.between(func() {
		w.must(w.keys.SetDisabled(w.Context(), id, true))
		second = w.rotate(id, time.Hour)
	})
	w.must(w.keys.Flush(w.Context()))
	w.expect(w.keys, text, "CREDENTIALS_INVALID")
	key := w.get(id)
	if !key.Disabled || !key.LastUsed.Equal(used) || key.Secrets != 2 {
		w.Errorf("got %+v, want it disabled, used and rotated", key)
	}
	w.must(w.keys.SetDisabled(w.Context(), id, false))
	w.expect(w.keys, text, alice)
	w.expect(w.keys, second, alice)
}

// What was done last to a key holds, however many use it at the same time.
func changesAndUsesRace(w *world) {
	nodes := []*apikey.Backend{w.keys, w.backend(apikey.Options{}), w.backend(apikey.Options{})}
	disabled, disabledID := w.create(apikey.Key{})
	revoked, revokedID := w.create(apikey.Key{})
	var wg sync.WaitGroup
	for _, node := range nodes {
		wg.Go(func() {
			for range 20 {
				look(w.Context(), node, disabled)
				look(w.Context(), node, revoked)
				w.clock.advance(time.Minute)
				if err := node.Flush(w.Context()); err != nil {
					w.Errorf("Flush: %v", err)
				}
			}
		})
	}
	wg.Go(func() {
		if err := nodes[0].SetDisabled(w.Context(), disabledID, true); err != nil {
			w.Errorf("SetDisabled: %v", err)
		}
		if err := nodes[1].Revoke(w.Context(), revokedID); err != nil {
			w.Errorf("Revoke: %v", err)
		}
		for _, node := range nodes {
			w.expect(node, disabled, "CREDENTIALS_INVALID")
			w.expect(node, revoked, "CREDENTIALS_INVALID")
		}
	})
	wg.Wait()
	if key := w.get(disabledID); !key.Disabled {
		w.Error("a key that was disabled is enabled")
	}
	if _, err := w.keys.Get(w.Context(), revokedID); !errors.Is(err, apikey.ErrNotFound) {
		w.Errorf("got %v, want ErrNotFound", err)
	}
}
