// SPDX-License-Identifier: Apache-2.0

package password_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grpcauth/grpcauth/password"
)

// Each computation takes all memory, so the second one waits for the first.
func TestMemoryBoundsComputationsAndWaitsEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHasher(t, password.Options{Memory: 64, Time: 1, MaxMemory: 64, MaxWait: time.Second})
		release := h.Reserve(t, 64)

		cancelled, cancel := context.WithCancel(t.Context())
		hurried, stop := context.WithTimeout(t.Context(), time.Millisecond)
		defer stop()
		patient, abandoned, late := make(chan error, 1), make(chan error, 1), make(chan error, 1)
		verify := func(ctx context.Context, done chan<- error) { done <- h.Verify(ctx, h.Dummy(), "secret") }
		go verify(t.Context(), patient)
		go verify(cancelled, abandoned)
		go verify(hurried, late)
		synctest.Wait()
		if n := h.Computations(); n != 0 {
			t.Errorf("%d computations began without memory", n)
		}
		cancel()
		if err := <-abandoned; !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: got %v", err)
		}
		if err := <-late; !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, password.ErrBusy) {
			t.Errorf("deadline: got %v", err)
		}
		if err := <-patient; !errors.Is(err, password.ErrBusy) {
			t.Errorf("after MaxWait: got %v, want %v", err, password.ErrBusy)
		}
		if _, err := h.Hash(t.Context(), "secret"); !errors.Is(err, password.ErrBusy) {
			t.Errorf("Hash: got %v, want %v", err, password.ErrBusy)
		}
		go verify(t.Context(), patient)
		synctest.Wait()
		release()
		if err := <-patient; !errors.Is(err, password.ErrMismatch) {
			t.Errorf("once there is memory: got %v, want %v", err, password.ErrMismatch)
		}
	})
}

// A hash of before may take more memory than there is for all; it then runs alone instead of never.
func TestHashLargerThanAllMemoryRunsAlone(t *testing.T) {
	t.Parallel()
	h := newHasher(t, password.Options{Memory: 64, Time: 1, MaxMemory: 64})
	if err := h.Verify(t.Context(), phc("secret", "0123456789abcdef", 1024, 1, 1, 32), "secret"); err != nil {
		t.Errorf("got %v", err)
	}
}

// What a computation takes is what its own hash says, not what a new hash would take.
func TestComputationTakesTheMemoryThatItsHashSays(t *testing.T) {
	t.Parallel()
	const room = 20 << 10
	for name, test := range map[string]struct {
		hash string
		need int64
	}{
		"a new hash":     {phc("secret", "0123456789abcdef", 64, 1, 1, 32), 64},
		"a greater hash": {phc("secret", "0123456789abcdef", 1024, 1, 1, 32), 1024},
		"more passes":    {phc("secret", "0123456789abcdef", 64, 4, 1, 32), 64},
		"bcrypt":         {bcryptOf(t, "secret"), 19 << 10},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := newHasher(t, password.Options{Memory: 64, Time: 1, MaxMemory: room})
				release := h.Reserve(t, room-test.need)
				if err := h.Verify(t.Context(), test.hash, "secret"); err != nil {
					t.Errorf("in just enough memory: got %v", err)
				}
				release()
				defer h.Reserve(t, room-test.need+1)()
				if err := h.Verify(t.Context(), test.hash, "secret"); !errors.Is(err, password.ErrBusy) {
					t.Errorf("in too little memory: got %v, want %v", err, password.ErrBusy)
				}
			})
		})
	}
}

func TestMemoryIsFreeAgainHoweverAComputationEnds(t *testing.T) {
	t.Parallel()
	const room = 64
	ofArgon, ofBcrypt := phc("secret", "0123456789abcdef", room, 1, 1, 32), bcryptOf(t, "secret")
	for name, compute := range map[string]func(ctx context.Context, h *password.Hasher) error{
		"right":        func(ctx context.Context, h *password.Hasher) error { return h.Verify(ctx, ofArgon, "secret") },
		"wrong":        func(ctx context.Context, h *password.Hasher) error { return h.Verify(ctx, ofArgon, "Secret") },
		"bcrypt":       func(ctx context.Context, h *password.Hasher) error { return h.Verify(ctx, ofBcrypt, "secret") },
		"wrong bcrypt": func(ctx context.Context, h *password.Hasher) error { return h.Verify(ctx, ofBcrypt, "Secret") },
		"corrupt":      func(ctx context.Context, h *password.Hasher) error { return h.Verify(ctx, "$2a$", "secret") },
		"unusable": func(ctx context.Context, h *password.Hasher) error {
			return h.Verify(ctx, ofBcrypt, strings.Repeat("x", 73))
		},
		"new": func(ctx context.Context, h *password.Hasher) error { _, err := h.Hash(ctx, "secret"); return err },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHasher(t, password.Options{Memory: room, Time: 1, MaxMemory: room})
			_ = compute(t.Context(), h)
			h.Reserve(t, room)()
		})
	}
}

func TestCallerThatGaveUpGetsNoComputation(t *testing.T) {
	t.Parallel()
	h := newHasher(t, cheap)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := h.Hash(ctx, "secret")
	for name, err := range map[string]error{"Hash": err, "argon2id": h.Verify(ctx, h.Dummy(), "x"), "bcrypt": h.Verify(ctx, bcryptOf(t, "x"), "x")} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: got %v, want %v", name, err, context.Canceled)
		}
	}
	if n := h.Computations(); n != 0 {
		t.Errorf("%d computations", n)
	}
}

func TestManyCallersAtOnceGetTheirAnswerInLittleMemory(t *testing.T) {
	t.Parallel()
	const callers, room = 200, 3 * 64
	h := newHasher(t, password.Options{Memory: 64, Time: 1, MaxMemory: room, MaxWait: time.Hour})
	hash := phc("secret", "0123456789abcdef", 64, 1, 1, 32)
	var wg sync.WaitGroup
	for i := range callers {
		pass, want := "secret", error(nil)
		if i%2 == 1 {
			pass, want = "Secret", password.ErrMismatch
		}
		wg.Go(func() {
			if err := h.Verify(t.Context(), hash, pass); !errors.Is(err, want) {
				t.Errorf("got %v, want %v", err, want)
			}
		})
	}
	wg.Wait()
	if n := h.Computations(); n != callers {
		t.Errorf("%d computations, want %d", n, callers)
	}
	h.Reserve(t, room)()
}
