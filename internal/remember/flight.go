// SPDX-License-Identifier: Apache-2.0

package remember

import (
	"context"
	"errors"
	"sync"
)

// flightShards is the number of locks of a Flight; a power of two. They are held for the time of a map access only.
const flightShards = 32

// ErrAborted is what callers get who waited for a judgement that panicked or called runtime.Goexit. The panic itself
// goes on in the caller that ran it. Those who waited do not try again, because what made one judgement panic would
// most likely do so in each of them, one after the other.
var ErrAborted = errors.New("the shared judgement did not return")

// Flight lets concurrent callers with one key share one judgement, which runs in the first of them, the leader.
// It is safe for concurrent use, starts no goroutine and holds nothing beyond the judgements that are under way, of
// which there are never more than callers. It remembers nothing: who comes after the end of a judgement judges anew.
type Flight[V any] struct {
	shareable func(error) bool
	shards    [flightShards]flightShard[V]
}

type flightShard[V any] struct {
	mu    sync.Mutex // guards calls and each call's done until the call has left calls
	calls map[Key]*call[V]

	_ [48]byte // keeps the neighbour's lock off this one's cache line
}

// call is one judgement under way.
type call[V any] struct {
	done     chan struct{} // made by the first that waits, closed by the leader
	value    V             // this and below: written by the leader before done is closed
	err      error
	returned bool
}

// NewFlight returns a Flight. Errors for which shareable returns false belong to the leader alone, so that each caller
// that waited tries again; they must depend on the caller, such as the end of its context, or else the callers judge
// one after the other. The function must be safe for concurrent use. If it is nil, every error is shared but one that
// wraps context.Canceled or context.DeadlineExceeded.
func NewFlight[V any](shareable func(error) bool) *Flight[V] {
	if shareable == nil {
		shareable = func(err error) bool {
			return !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded)
		}
	}

	return &Flight[V]{shareable: shareable}
}

// Do returns what judge returns, run in this caller or in another one that is at it for the same key; shared reports
// the latter. A caller whose own context ends gets its ctx.Err() instead of starting or awaiting a judgement (the cause
// is still to be had from the context). When the leader's error is not shareable, those who waited try again, one of
// them as the new leader, so that the end of one caller's context fails nobody else. When judge panics or calls
// runtime.Goexit, those who waited get [ErrAborted].
//
// The value goes to several callers and must not be changed by any. A judge must not call Do with its own key.
func (f *Flight[V]) Do(ctx context.Context, k Key, judge func() (V, error)) (v V, shared bool, err error) {
	s := &f.shards[k[len(k)-1]%flightShards]

	for {
		if err := ctx.Err(); err != nil {
			return v, false, err
		}

		c, leads := s.join(k)
		if leads {
			v, err = s.lead(k, c, judge)

			return v, false, err
		}

		select {
		case <-c.done:
		case <-ctx.Done():
			return v, false, ctx.Err()
		}

		switch {
		case !c.returned:
			return v, true, ErrAborted
		case c.err == nil || f.shareable(c.err):
			return c.value, true, c.err
		}
	}
}

// join returns the call of the key that is under way, or a new one that the caller leads.
func (s *flightShard[V]) join(k Key) (c *call[V], leads bool) {
	s.mu.Lock()
	defer s.mu.Unlock()

	if c, ok := s.calls[k]; ok {
		if c.done == nil {
			c.done = make(chan struct{})
		}

		return c, false
	}

	if s.calls == nil {
		s.calls = make(map[Key]*call[V])
	}

	c = new(call[V])
	s.calls[k] = c

	return c, true
}

// lead judges and wakes those who wait, however judge ends.
func (s *flightShard[V]) lead(k Key, c *call[V], judge func() (V, error)) (V, error) {
	defer s.finish(k, c)

	c.value, c.err = judge()
	c.returned = true

	return c.value, c.err
}

func (s *flightShard[V]) finish(k Key, c *call[V]) {
	s.mu.Lock()
	delete(s.calls, k)
	done := c.done // nobody joins any more, so nobody makes it any more
	s.mu.Unlock()

	if done != nil {
		close(done)
	}
}
