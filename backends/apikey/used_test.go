// SPDX-License-Identifier: Apache-2.0

package apikey_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grpcauth/grpcauth/backends/apikey"
	"github.com/grpcauth/grpcauth/store"
)

// gate is a store whose Puts do what a test wants.
type gate struct {
	store.Store

	mu  sync.Mutex
	put func(ctx context.Context) error // guarded by mu; nil: as usual
}

func (g *gate) set(put func(ctx context.Context) error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.put = put
}

func (g *gate) Put(ctx context.Context, rec store.Record) error {
	g.mu.Lock()
	put := g.put
	g.mu.Unlock()
	if put != nil {
		if err := put(ctx); err != nil {
			return err
		}
	}
	return g.Store.Put(ctx, rec)
}

// gated is a backend in a bubble of synctest, whose timers run by the bubble's clock.
func gated(t *testing.T, opts apikey.Options) (*apikey.Backend, *gate) {
	t.Helper()
	g := &gate{Store: newStore(t, time.Now)}
	opts.Store, opts.Prefix = g, "orders_live"
	b, err := apikey.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	return b, g
}

func made(t *testing.T, b *apikey.Backend) (text, id string) {
	t.Helper()
	text, key, err := b.Create(t.Context(), apikey.Key{Owner: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	return text, key.ID
}

func use(t *testing.T, b *apikey.Backend, text string) {
	t.Helper()
	w := &world{Backend: b}
	w.expect(t, text, "alice")
}

func lastUsed(t *testing.T, b *apikey.Backend, id string) time.Time {
	t.Helper()
	key, err := b.Get(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return key.LastUsed
}

func TestLastUseIsWrittenByItself(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, _ := gated(t, apikey.Options{FlushEvery: time.Second})
		text, id := made(t, b)
		first := time.Now().UTC()
		use(t, b, text)
		time.Sleep(time.Second - time.Nanosecond)
		synctest.Wait()
		if got := lastUsed(t, b, id); !got.IsZero() {
			t.Errorf("written before its time: %v", got)
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if got := lastUsed(t, b, id); !got.Equal(first) {
			t.Errorf("got %v, want %v", got, first)
		}
		time.Sleep(time.Hour)
		use(t, b, text)
		time.Sleep(time.Second)
		synctest.Wait()
		if got := lastUsed(t, b, id); !got.Equal(first.Add(time.Hour + time.Second)) {
			t.Errorf("got %v", got)
		}
	}) // the bubble ends only when no goroutine is left, without Close
}

func TestSlowStoreIsInNoCallsWay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, g := gated(t, apikey.Options{FlushEvery: time.Second})
		text, id := made(t, b)
		other, otherID := made(t, b)
		writing := 0
		g.set(func(ctx context.Context) error {
			writing++
			<-ctx.Done()
			return ctx.Err()
		})
		use(t, b, text)
		time.Sleep(time.Second)
		synctest.Wait()
		time.Sleep(time.Second / 2) // so that no two timers end together
		for range 5 {               // none waits, and no second writer begins
			use(t, b, text)
			use(t, b, other)
			time.Sleep(time.Second)
		}
		synctest.Wait()
		if writing != 1 {
			t.Errorf("%d writers, want 1", writing)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := b.Flush(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Flush meanwhile: got %v", err)
		}
		g.set(nil)
		time.Sleep(4 * time.Second) // the writer's time is over, a second ago
		synctest.Wait()
		if lastUsed(t, b, otherID).IsZero() {
			t.Error("a use that was noted meanwhile was not written afterwards")
		}
		if err := b.Close(); err != nil {
			t.Errorf("Close: got %v", err)
		}
		if lastUsed(t, b, id).IsZero() {
			t.Error("what could not be written was lost")
		}
	})
}

func TestCloseEndsTheWritingWithinItsTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, g := gated(t, apikey.Options{FlushEvery: time.Second})
		text, id := made(t, b)
		use(t, b, text)
		begun := time.Now()
		g.set(func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		})
		time.Sleep(time.Second)
		synctest.Wait()
		if err := b.Close(); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		if took := time.Since(begun); took > 21*time.Second {
			t.Errorf("took %v", took)
		}
		g.set(func(context.Context) error {
			t.Error("written after Close")
			return nil
		})
		use(t, b, text) // answered as before
		time.Sleep(time.Hour)
		synctest.Wait()
		if got := lastUsed(t, b, id); !got.IsZero() {
			t.Errorf("got %v", got)
		}
		g.set(nil)
		if err := b.Close(); err != nil { // once more, now that the store is back
			t.Error(err)
		}
		if got := lastUsed(t, b, id); !got.Equal(begun) {
			t.Errorf("got %v, want %v", got, begun)
		}
	})
}

func TestStoreThatPanicsEndsNoProcess(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func(){"panic": func() { panic("canary") }, "Goexit": runtime.Goexit} {
		synctest.Test(t, func(t *testing.T) {
			b, g := gated(t, apikey.Options{FlushEvery: time.Second})
			text, id := made(t, b)
			g.set(func(context.Context) error {
				fail()
				return nil
			})
			used := time.Now()
			use(t, b, text)
			time.Sleep(1500 * time.Millisecond)
			synctest.Wait()
			if name == "panic" {
				if err := b.Flush(t.Context()); err == nil || fmt.Sprintf("%v", err) == "canary" {
					t.Errorf("Flush: got %v", err)
				}
			}
			g.set(nil)
			time.Sleep(2 * time.Second)
			synctest.Wait()
			if got := lastUsed(t, b, id); !got.Equal(used) {
				t.Errorf("%s: got %v, want %v", name, got, used)
			}
		})
	}
}

func TestPendingUsesAreBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, apikey.Options{MaxPerOwner: -1})
	const bound = 10_000
	texts := make([]string, bound+5)
	for i := range texts {
		texts[i], _ = w.create(t, apikey.Key{Owner: fmt.Sprint("owner", i%100)})
	}
	for range 2 {
		for _, text := range texts {
			w.look(t.Context(), text)
		}
	}
	before := w.store.wrote.Load()
	if err := w.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if wrote := w.store.wrote.Load() - before; wrote != bound {
		t.Errorf("%d were written, want %d", wrote, bound)
	}
}

func TestFlushTellsOfADamagedRecordAndGoesOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, apikey.Options{})
	texts, ids := make([]string, 5), make([]string, 5)
	for i := range texts {
		texts[i], ids[i] = w.create(t, apikey.Key{})
		w.expect(t, texts[i], "alice")
	}
	key := "apikey/orders_live/" + ids[2]
	rec, err := w.store.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	rec.Value = rec.Value[:len(rec.Value)-1]
	if err := w.store.Put(t.Context(), rec); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(t.Context()); err == nil {
		t.Error("no error")
	}
	for i, id := range ids {
		if i != 2 {
			if key, err := w.Get(t.Context(), id); err != nil || key.LastUsed.IsZero() {
				t.Errorf("key %d: got %+v, %v", i, key, err)
			}
		}
	}
	if err := w.Flush(t.Context()); err != nil { // nothing is left
		t.Error(err)
	}
}

func TestKeyThatAlwaysChangesIsGivenUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t, apikey.Options{})
	_, id := w.create(t, apikey.Key{})
	tries := 0
	w.store.Store = &gate{Store: w.store.Store, put: func(context.Context) error {
		tries++
		return store.ErrConflict
	}}
	if err := w.SetDisabled(t.Context(), id, true); !errors.Is(err, store.ErrConflict) || tries > 100 {
		t.Errorf("got %v after %d tries", err, tries)
	}
}
