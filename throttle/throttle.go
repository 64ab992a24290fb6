// SPDX-License-Identifier: Apache-2.0

// Package throttle slows down whoever guesses passwords and tokens.
//
// An attempt is paid for before a secret is compared, and given back when the secret was right or was never compared; whoever hangs up
// has paid. In the memory of the process a limit is a GCRA, which needs one step that reads, compares and writes; over a [store.Counter],
// which can only add, it is a leaky bucket over two aligned windows: what was counted in this one, and as much of what was counted in the last one as
// a window that ends now would still overlap. Both let a Limit's Attempts pass at once and never sustain more of them than that in a Window, on all nodes together.
package throttle

import (
	"cmp"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/grpcauth/grpcauth/internal/values"
	"github.com/grpcauth/grpcauth/store"
)

// Outcome is what became of an attempt.
type Outcome uint8

const (
	// Failed is a wrong secret, and whatever is not known to be one of the others. The attempt stays counted.
	Failed Outcome = iota
	// Succeeded is a right secret. The attempt is given back, and the address is trusted with the account for Options.TrustFor.
	Succeeded
	// NotJudged means that no secret was compared. The attempt is given back.
	NotJudged
)

// Limit is how many attempts may fail within a window of time. Once they have, one more is let in as often as a Window has room for
// Attempts.
type Limit struct {
	// Attempts is from 1 to 1,000,000; zero is the default.
	Attempts int
	// Window is from a second to a day; a minute by default.
	Window time.Duration
}

// Outage is what happens to an attempt when the Counter cannot be asked.
type Outage uint8

const (
	// Refuse answers that nothing could be decided: nobody logs in until the Counter is back.
	Refuse Outage = iota
	// CountLocally counts in the memory of this process: a guesser has as many attempts as there are processes.
	CountLocally
)

// Options configure a [Limiter]. The zero value is a good choice for one process.
type Options struct {
	// Counter is shared by all processes that are to count together, with the same Limits. Their clocks should agree to a small part of a Window. Without
	// one, attempts are counted in the memory of this process.
	Counter store.Counter
	// Account limits the attempts on an account, from wherever they come; 5 in a minute by default.
	Account Limit
	// Address limits the attempts from a client's address, on whatever account; 5 in a minute by default. Raise it where many people
	// share an address.
	Address Limit
	// Tokens limits the wrong tokens from an address; 60 in a minute by default.
	Tokens Limit
	// Concurrent is how many attempts from an address may be under way in this process at a time; 4 by default.
	Concurrent int
	// TrustFor is how long an address that logged in to an account is let in while others attack the account, by limits of its own; 24
	// hours by default, never if it is negative. Processes that know of it through the Counter alone may forget it up to a quarter earlier.
	TrustFor time.Duration
	// Proxies are the peers whose x-forwarded-for is believed.
	Proxies []netip.Prefix
	// MaxMemory is how many bytes are used at the most; 64 MiB by default. It is taken as it is needed. When there is no room for another name, it
	// takes the place of one that has the least attempts to its account, with these: nobody's attempts are forgotten.
	MaxMemory int64
	// Outage says what happens to an attempt when the Counter cannot be asked. Tokens are counted in this process then, in any case.
	Outage Outage
	// Now is time.Now by default.
	Now func() time.Time
}

// Error means that there were too many attempts. Every other error of [Limiter.Reserve] means that it could not be decided. It is shared: do
// not change it.
type Error struct {
	// RetryAfter is when the next attempt can be let in, if there are no others until then.
	RetryAfter time.Duration
}

func (*Error) Error() string { return "too many attempts" }

// Stats is what a [Limiter] did so far.
type Stats struct {
	// Throttled counts what was refused: attempts, and tokens that were not looked at.
	Throttled uint64
	// Entries is how many places of the memory are taken. One whose attempts have passed is used again, but stays taken.
	Entries int
	// Evicted counts names that had to leave their attempts to another one.
	Evicted uint64
	// Outages counts the times that the Counter could not be asked. Each is one attempt, or some that were to be given back.
	Outages uint64
}

// Limiter counts attempts. It is safe for concurrent use. With a Counter it has goroutines while there is something to be given back;
// it needs no Close.
type Limiter struct {
	opts Options

	seeds  [4]maphash.Seed // two for accounts, two for addresses
	origin time.Time       // of the clock of this process

	accounts, addresses, tokens, trust *table
	underWay                           *underWay
	refusals                           *refusals    // nil without a Counter
	counter                            *counter     // nil without one
	down                               atomic.Int64 // until then the Counter is not asked, if Outage is CountLocally

	tickets   sync.Pool
	blocked   [steps]Error // after 1, 2, ... steps
	throttled atomic.Uint64
	outages   atomic.Uint64
}

const (
	minMemory   = 1 << 20
	maxAttempts = 1_000_000
	// soon is when to try again where attempts are being judged that may be given back.
	soon = time.Second
)

// New returns a Limiter. An error names the option that is wrong.
func New(opts Options) (*Limiter, error) {
	if err := opts.complete(); err != nil {
		return nil, err
	}
	l := &Limiter{opts: opts, origin: opts.Now()}
	for i := range l.seeds {
		l.seeds[i] = maphash.MakeSeed()
	}
	l.tickets.New = func() any { return new(ticket) }
	m := opts.MaxMemory
	l.accounts = newTable(newPace(opts.Account), m/2)
	l.addresses = newTable(newPace(opts.Address), m/8)
	l.tokens = newTable(newPace(opts.Tokens), m/8)
	l.trust = newTable(pace{}, m/16)
	l.underWay = newUnderWay(m / 16)
	if opts.Counter != nil {
		l.refusals = newRefusals(m / 16)
		l.counter = newCounter(opts.Counter, m/16, &l.outages)
	}
	for i := range l.blocked {
		l.blocked[i] = Error{RetryAfter: time.Duration(l.tokens.pace.interval) * time.Duration(i+1) / steps}
	}
	return l, nil
}

// complete checks the options and fills in the defaults.
func (o *Options) complete() error {
	for _, l := range []struct {
		name     string
		limit    *Limit
		attempts int
	}{{"Account", &o.Account, 5}, {"Address", &o.Address, 5}, {"Tokens", &o.Tokens, 60}} {
		l.limit.Attempts, l.limit.Window = cmp.Or(l.limit.Attempts, l.attempts), cmp.Or(l.limit.Window, time.Minute)
		if l.limit.Attempts < 1 || l.limit.Attempts > maxAttempts {
			return fmt.Errorf("throttle: Options.%s.Attempts is %d: write a number from 1 to 1,000,000", l.name, l.limit.Attempts)
		}
		if l.limit.Window < time.Second || l.limit.Window > 24*time.Hour {
			return fmt.Errorf("throttle: Options.%s.Window is %v: write a time from a second to a day", l.name, l.limit.Window)
		}
	}
	switch {
	case o.Counter != nil && values.IsNil(o.Counter):
		return errors.New("throttle: Options.Counter is a nil pointer: leave it unset to count in this process")
	case o.Concurrent < 0:
		return fmt.Errorf("throttle: Options.Concurrent is %d: write how many attempts an address may have under way, or nothing for 4", o.Concurrent)
	case o.TrustFor > 0 && o.TrustFor < time.Minute || o.TrustFor > 366*24*time.Hour:
		return fmt.Errorf("throttle: Options.TrustFor is %v: write a time from a minute to a year, nothing for a day, or -1 for never", o.TrustFor)
	case o.MaxMemory != 0 && o.MaxMemory < minMemory:
		return fmt.Errorf("throttle: Options.MaxMemory is %d bytes: write at least %d, or nothing for 64 MiB", o.MaxMemory, minMemory)
	case o.Outage > CountLocally:
		return fmt.Errorf("throttle: Options.Outage is %d: write Refuse or CountLocally", o.Outage)
	}
	if o.Concurrent == 0 {
		o.Concurrent = 4
	}
	if o.TrustFor == 0 {
		o.TrustFor = 24 * time.Hour
	}
	if o.MaxMemory == 0 {
		o.MaxMemory = 64 << 20
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	proxies, err := checkProxies(o.Proxies)
	o.Proxies = proxies
	return err
}

// Stats returns what the Limiter did so far.
func (l *Limiter) Stats() Stats {
	s := Stats{Throttled: l.throttled.Load(), Outages: l.outages.Load()}
	for _, t := range []*table{l.accounts, l.addresses, l.tokens, l.trust} {
		entries, evicted := t.stats()
		s.Entries += entries
		s.Evicted += evicted
	}
	return s
}

// Format prints the type alone, whatever the verb.
func (*Limiter) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "throttle.Limiter") }

// refused is the error for an attempt that has to wait.
func (l *Limiter) refused(wait time.Duration) error {
	l.throttled.Add(1)
	return &Error{RetryAfter: wait}
}

// The clock of this process does not jump with the wall clock, if Now is time.Now. It begins where nothing has happened for years.
func (l *Limiter) since(t time.Time) int64 { return int64(t.Sub(l.origin)) + beginning }

const beginning = int64(1) << 60
