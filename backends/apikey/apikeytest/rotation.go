// SPDX-License-Identifier: Apache-2.0

package apikeytest

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/grpcauth/grpcauth/backends/apikey"
)

func rotationOverlaps(w *world) {
	first, id := w.create(apikey.Key{Expiry: w.clock.Now().Add(240 * time.Hour)})
	second := w.rotate(id, time.Hour)
	if key := w.get(id); first == second || key.Secrets != 2 {
		w.Fatalf("%d secrets are live, want two that differ", key.Secrets)
	}
	for text, want := range map[string]time.Time{first: w.clock.Now().Add(time.Hour), second: w.clock.Now().Add(240 * time.Hour)} {
		if user, err := call(w.Context(), w.keys, text); err != nil || !user.Expiry.Equal(want) {
			w.Errorf("got %v, %v, want a user until %v", user, err, want)
		}
	}
	if _, err := w.keys.Rotate(w.Context(), id, time.Hour); !errors.Is(err, apikey.ErrRotating) {
		w.Errorf("got %v, want ErrRotating", err)
	}
	w.clock.advance(time.Hour - time.Millisecond)
	w.expect(w.keys, first, alice)
	w.clock.advance(time.Millisecond)
	w.expect(w.keys, first, "CREDENTIALS_EXPIRED")
	w.expect(w.keys, second, alice)
	if key := w.get(id); key.Secrets != 1 {
		w.Errorf("%d secrets are live, want 1", key.Secrets)
	}
	w.must(w.keys.SetDisabled(w.Context(), id, true))
	w.expect(w.keys, first, "CREDENTIALS_INVALID")
	w.expect(w.keys, second, "CREDENTIALS_INVALID")
	w.must(w.keys.SetDisabled(w.Context(), id, false))

	third := w.rotate(id, time.Hour) // the one before the last is nobody's now
	w.expect(w.keys, first, "CREDENTIALS_INVALID")
	w.expect(w.keys, second, alice)
	w.expect(w.keys, third, alice)
	w.must(w.keys.Revoke(w.Context(), id))
	w.expect(w.keys, second, "CREDENTIALS_INVALID")
	w.expect(w.keys, third, "CREDENTIALS_INVALID")
}

func rotationWithoutOverlap(w *world) {
	first, id := w.create(apikey.Key{})
	second := w.rotate(id, time.Hour)
	third := w.rotate(id, 0) // also while two are live: it is what ends a secret that leaked
	w.expect(w.keys, first, "CREDENTIALS_INVALID")
	w.expect(w.keys, second, "CREDENTIALS_INVALID")
	w.expect(w.keys, third, alice)
	if key := w.get(id); key.Secrets != 1 {
		w.Errorf("%d secrets are live, want 1", key.Secrets)
	}
	if _, err := w.keys.Rotate(w.Context(), id, -time.Second); err == nil {
		w.Error("a negative overlap was taken")
	}
	w.expect(w.keys, third, alice)
}

func rotationsRace(w *world) {
	first, id := w.create(apikey.Key{})
	nodes := []*apikey.Backend{w.keys, w.backend(apikey.Options{}), w.backend(apikey.Options{})}
	texts, errs := make([]string, 30), make([]error, 30)
	var wg sync.WaitGroup
	for i := range texts {
		wg.Go(func() { texts[i], errs[i] = nodes[i%len(nodes)].Rotate(w.Context(), id, time.Hour) })
	}
	wg.Wait()
	successes := 0
	for i, err := range errs {
		switch {
		case err == nil:
			successes++
			w.expect(w.keys, texts[i], alice)
		case !errors.Is(err, apikey.ErrRotating):
			w.Errorf("got %v, want ErrRotating", err)
		}
	}
	if successes != 1 {
		w.Errorf("%d rotations happened, want 1", successes)
	}
	w.expect(w.keys, first, alice)
}

// Each step fails once, before it happened or after. Whatever is reported, the secret in use lives on until the end of the overlap, and a
// secret that is reported works.
func rotationStepsFail(w *world) {
	for _, happened := range []bool{false, true} {
		for failing := 1; ; failing++ {
			first, id := w.create(apikey.Key{})
			step, lost := 0, errors.New("the answer was lost")
			w.store.intercept(func(_ op, _ string, run func() error) error {
				step++
				if step != failing {
					return run()
				}
				if happened {
					_ = run()
				}
				return lost
			})
			second, err := w.keys.Rotate(w.Context(), id, time.Hour)
			w.store.intercept(nil)
			name := fmt.Sprintf("step %d fails, happened: %t", failing, happened)
			if got := look(w.Context(), w.keys, first); got != alice {
				w.Errorf("%s: the first secret got %s", name, got)
			}
			if err == nil {
				w.expect(w.keys, second, alice)
				if step < failing {
					break // there are no more steps
				}
			} else if !errors.Is(err, lost) || second != "" {
				w.Errorf("%s: got a text %t and %v", name, second != "", err)
			}
			if step > 10 {
				w.Fatalf("%s: %d steps", name, step)
			}
		}
	}
}
