// SPDX-License-Identifier: Apache-2.0

package throttle

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/grpcauth/grpcauth/store"
)

const (
	// patience is how long a Counter is waited for at the most, when the caller would wait longer.
	patience = 3 * time.Second
	// slack is how much longer than it is needed a counter is kept, for clocks that do not agree.
	slack = 10 * time.Second
	// quarters are the parts of Options.TrustFor: a mark belongs to the part in which it was made.
	quarters = 4

	maxWorkers = 2
	maxBatch   = 64
	jobSize    = 512 // bytes, at the most
)

// counter asks a store.Counter, and adds to it later what nobody needs to wait for. What cannot be added then is dropped.
type counter struct {
	store   store.Counter
	outages *atomic.Uint64
	most    int // jobs in the queue

	mu      sync.Mutex // guards what follows
	queue   []job
	workers int // goroutines, which end when there is nothing to do
}

// job is what is to be added, and who wants to know the sums.
type job struct {
	adds  []store.Addition
	learn func(sums []int64)
}

func newCounter(s store.Counter, memory int64, outages *atomic.Uint64) *counter {
	return &counter{store: s, outages: outages, most: int(memory / jobSize)}
}

// hashed is a name as others may see it: it may be a password that was typed into the wrong field. NUL ends what tells kinds of names apart.
func hashed(kind, name string) string {
	sum := sha256.Sum256([]byte(kind + "\x00" + name))
	return "throttle/" + base64.RawURLEncoding.EncodeToString(sum[:]) + "/"
}

// moment is a time among aligned windows.
type moment struct {
	window  int64         // its number
	elapsed int64         // milliseconds of it
	length  int64         // in milliseconds
	rest    time.Duration // since the last millisecond
}

func newMoment(t time.Time, window time.Duration) moment {
	now, length := t.UnixMilli(), window.Milliseconds()
	return moment{now / length, now % length, length, t.Sub(time.UnixMilli(now))}
}

// add is an addition to the window that is a number of windows ago.
func (m moment) add(name string, ago, n int64) store.Addition {
	life := time.Duration(2*m.length)*time.Millisecond + slack // until it is not the last one any more
	return store.Addition{Key: name + strconv.FormatInt(m.window-ago, 10), N: n, Window: life}
}

// wait is how long an attempt has to wait that was counted already, from the sums of both windows with it. No window lets more than n
// in, so what is counted beyond that was refused, and is given back or should have been.
func (m moment) wait(n, current, last int64) time.Duration {
	last = min(last, n)
	room := n - current // for what the last window leaves of its own
	var millis int64
	switch {
	case room < 0: // The next window begins with n in the last one. One of them must have passed.
		millis = m.length - m.elapsed + m.length - (n-1)*m.length/n
	case last*(m.length-m.elapsed) > room*m.length:
		millis = m.length - room*m.length/last - m.elapsed
	default:
		return 0
	}
	return time.Duration(millis)*time.Millisecond - m.rest
}

// level is how many of n attempts are used up.
func (m moment) level(n, current, last int64) int64 {
	return min(n, min(current, n)+min(last, n)*(m.length-m.elapsed)/m.length)
}

// ask adds and returns the sums. No sum is believed that cannot be.
func (c *counter) ask(ctx context.Context, adds []store.Addition) ([]int64, error) {
	patient, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	sums, err := store.AddAll(patient, c.store, adds...)
	if err == nil && len(sums) != len(adds) {
		err = store.ErrSwapped
	}
	for i := range sums {
		if err == nil && sums[i] < max(0, adds[i].N) {
			err = store.ErrSwapped
		}
	}
	switch {
	case err == nil:
		return sums, nil
	case ctx.Err() != nil: // The caller gave up, or her time was over: the Counter did nothing wrong.
		return nil, fmt.Errorf("throttle: %w", ctx.Err())
	}
	c.outages.Add(1)
	return nil, fmt.Errorf("throttle: the attempt cannot be counted: %w", err)
}

// later adds when there is time for it, however the call goes on. If too much is waiting already, it is dropped.
func (c *counter) later(j job) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.queue) >= c.most {
		c.outages.Add(1)
		return
	}
	c.queue = append(c.queue, j)
	if c.workers < maxWorkers {
		c.workers++
		go c.work()
	}
}

func (c *counter) work() {
	for {
		c.mu.Lock()
		n := min(len(c.queue), maxBatch)
		if n == 0 {
			c.queue = nil
			c.workers--
			c.mu.Unlock()
			return
		}
		batch := c.queue[:n:n]
		c.queue = c.queue[n:]
		c.mu.Unlock()
		c.deliver(batch)
	}
}

// deliver makes one round trip for many jobs. A Counter that panics is one that cannot be asked.
func (c *counter) deliver(batch []job) {
	defer func() {
		if recover() != nil {
			c.outages.Add(1)
		}
	}()
	var adds []store.Addition
	for _, j := range batch {
		adds = append(adds, j.adds...)
	}
	sums, err := c.ask(context.Background(), adds)
	if err != nil {
		return
	}
	for _, j := range batch {
		n := len(j.adds)
		if j.learn != nil {
			j.learn(sums[:n])
		}
		sums = sums[n:]
	}
}
