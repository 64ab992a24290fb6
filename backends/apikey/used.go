// SPDX-License-Identifier: Apache-2.0

package apikey

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/grpcauth/grpcauth/internal/panics"
	"github.com/grpcauth/grpcauth/store"
)

const (
	maxPending   = 10_000           // keys whose last use is not written yet; that of others is forgotten
	flushTimeout = 10 * time.Second // of a batch that nobody waits for
)

// used holds the times of last use that are not written yet. The first of a batch winds a timer, which writes the batch; there is no goroutine otherwise.
type used struct {
	b       *Backend
	writing chan struct{} // holds a token while a batch is written: one at a time

	mu      sync.Mutex // guards what follows, but fired
	pending map[string]int64
	timer   *time.Timer // nil: not wound
	wound   uint64      // how often a timer was
	closed  bool
	fired   sync.WaitGroup // timers that are wound or whose goroutine runs
}

func newUsed(b *Backend) *used {
	return &used{b: b, writing: make(chan struct{}, 1), pending: map[string]int64{}}
}

// note remembers that a key was used now, unless that is known well enough.
func (u *used) note(key *Key) {
	every, now := u.b.opts.FlushEvery, u.b.opts.Now()
	if every < 0 || now.Sub(key.LastUsed) < every {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.closed {
		u.keep(key.ID, millis(now))
	}
}

// keep holds a time to be written. The caller holds mu.
func (u *used) keep(id string, at int64) {
	if before, ok := u.pending[id]; !ok && len(u.pending) >= maxPending || before >= at {
		return
	}
	u.pending[id] = at
	if u.timer == nil && !u.closed {
		u.wind()
	}
}

// wind has what is pending written after a while. The caller holds mu.
func (u *used) wind() {
	u.wound++
	this := u.wound
	u.fired.Add(1)
	u.timer = time.AfterFunc(u.b.opts.FlushEvery, func() {
		defer u.fired.Done()
		u.expire(this)
	})
}

// expire writes a batch whose time has come, in the goroutine of the timer, or later if another is being written still. Nobody is told when it fails: what
// was not written is kept for the next one.
func (u *used) expire(this uint64) {
	select {
	case u.writing <- struct{}{}:
		ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
		defer cancel()
		_ = u.write(ctx)
	default:
		u.mu.Lock()
		defer u.mu.Unlock()
		if u.timer != nil && u.wound == this && !u.closed {
			u.wind()
		}
	}
}

// take empties what is pending and lets the next use wind the timer again.
func (u *used) take() map[string]int64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.timer != nil {
		if u.timer.Stop() {
			u.fired.Done()
		}
		u.timer = nil
	}
	batch := u.pending
	u.pending = map[string]int64{}
	return batch
}

// flush writes all that is pending, after the batch that is being written.
func (u *used) flush(ctx context.Context) error {
	select {
	case u.writing <- struct{}{}:
		return u.write(ctx)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// write writes all that is pending, and lets the next one write. After an error what is left stays pending.
func (u *used) write(ctx context.Context) (err error) {
	batch := u.take()
	returned := false
	defer func() { //nolint:contextcheck // the next batch is not this one's
		if !returned { // a panic of a store must not end the process, nor may it lose the batch
			err = fmt.Errorf("apikey: the store failed by %s", panics.Describe(recover()))
		}
		u.mu.Lock()
		for id, at := range batch {
			u.keep(id, at)
		}
		u.mu.Unlock()
		<-u.writing
	}()
	for id, at := range batch {
		failed := u.put(ctx, id, at)
		err = cmp.Or(err, failed)
		if failed != nil && !errors.Is(failed, errRecord) && !errors.Is(failed, store.ErrConflict) {
			break // the store; those two are about this key alone, whose next use is soon enough
		}
		delete(batch, id)
	}
	returned = true
	return err
}

// put stores one time, unless the key is gone or was used later.
func (u *used) put(ctx context.Context, id string, at int64) error {
	err := u.b.change(ctx, id, func(r *record, _ time.Time) (bool, error) {
		later := at > r.Used
		r.Used = max(at, r.Used)
		return later, nil
	})
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

func (u *used) close() error {
	u.mu.Lock()
	u.closed = true
	u.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
	defer cancel()
	err := u.flush(ctx)
	u.fired.Wait() // a batch of the timer that was under way began earlier, so it ends earlier
	return err
}
