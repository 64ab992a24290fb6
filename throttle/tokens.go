// SPDX-License-Identifier: Apache-2.0

package throttle

import (
	"context"
	"time"

	"github.com/grpcauth/grpcauth/store"
)

// steps are how finely Blocked tells how long to wait, which is never longer than the time for one attempt.
const steps = 60

// Blocked returns an *[Error] if too many tokens from an address were wrong, and nil otherwise. It asks nobody: of what other processes
// count, it knows what the Counter said when a token was wrong here.
func (l *Limiter) Blocked(address string) error {
	wait := l.tokens.wait(l.addressKey(address), l.since(l.opts.Now()))
	if wait == 0 {
		return nil
	}
	l.throttled.Add(1)
	interval := time.Duration(l.tokens.pace.interval)
	return &l.blocked[min(steps, (wait*steps+interval-1)/interval)-1]
}

// Fail counts a wrong token of an address: in this process at once, and in the Counter as soon as it can be done, whether the call goes
// on until then or not.
func (l *Limiter) Fail(_ context.Context, address string) {
	t := l.opts.Now()
	k := l.addressKey(address)
	l.tokens.charge(k, l.since(t))
	if l.counter == nil {
		return
	}
	m, n := newMoment(t, l.opts.Tokens.Window), int64(l.opts.Tokens.Attempts)
	name := hashed("tokens", address)
	l.counter.later(job{[]store.Addition{m.add(name, 0, 1), m.add(name, 1, 0)}, func(sums []int64) { //nolint:contextcheck // it does not end with the call
		l.tokens.raise(k, m.level(n, sums[0], sums[1]), l.since(l.opts.Now()))
	}})
}
