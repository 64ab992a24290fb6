// SPDX-License-Identifier: Apache-2.0

package throttle

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/grpcauth/grpcauth/store"
)

// ticket is a reservation that can be used once. Tickets are used again, for other reservations: uses tells them apart.
type ticket struct {
	uses atomic.Uint64
	reservation
}

// reservation is an attempt that was paid for.
type reservation struct {
	account, address key
	who              key     // whose attempts were counted: the account's, or those of the account from this address
	at               int64   // when they were, by the clock of this process
	paid             []claim // what was added to the Counter; nothing, if it was counted in this process
	mark             string  // under which the Counter knows that the address is trusted with the account
}

func (r *reservation) pair() key { return r.account.pair(r.address) }

// claim is an attempt that is to be counted by the Counter.
type claim struct {
	moment

	key   key
	name  string
	limit int64
}

// Reserve pays for an attempt on an account from an address, before a secret is compared. It returns an *[Error] if there were too many,
// and any other error if that could not be found out: the secret must not be compared then.
//
// The account is its canonical name, so that all spellings count together, and counts though it does not exist. The address is that of [Limiter.Address].
//
// What became of the attempt is told with done, which must be called, best deferred; further calls do nothing. The attempt is given
// back if it [Succeeded] or was [NotJudged], and nothing else is: a success does not excuse what failed before. Until done is called the attempt is one of
// Options.Concurrent of its address. When the context ends after Reserve, nothing is given back by that.
func (l *Limiter) Reserve(ctx context.Context, account, address string) (done func(Outcome), err error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("throttle: %w", err)
	}
	r := reservation{account: l.accountKey(account), address: l.addressKey(address)}
	fromAddress := l.underWay.begin(r.address, l.opts.Concurrent)
	if fromAddress == 0 {
		return nil, l.refused(soon)
	}
	reserved := false
	defer func() {
		if !reserved {
			l.underWay.end(r.address)
		}
	}()
	onAccount := l.underWay.begin(r.account, math.MaxInt)
	if onAccount == 0 {
		return nil, l.refused(soon)
	}
	defer func() {
		if !reserved {
			l.underWay.end(r.account)
		}
	}()
	wait, err := l.reserve(ctx, &r, account, address)
	if err != nil {
		return nil, err
	}
	if wait > 0 && (fromAddress > 1 || onAccount > 1) { // Others are being judged, and may be given back.
		wait = min(wait, soon)
	}
	if wait > 0 {
		return nil, l.refused(wait)
	}
	reserved = true
	t := l.tickets.Get().(*ticket) //nolint:errcheck,forcetypeassert // the pool has nothing else
	t.reservation = r
	use := t.uses.Load()
	return func(o Outcome) { //nolint:contextcheck // what is given back later does not end with the call
		if t.uses.CompareAndSwap(use, use+1) {
			l.done(t, o)
		}
	}, nil
}

// done ends a reservation, and its ticket.
func (l *Limiter) done(t *ticket, o Outcome) {
	r := t.reservation
	t.reservation = reservation{}
	l.tickets.Put(t)
	l.underWay.end(r.account)
	l.underWay.end(r.address)
	if o != Succeeded && o != NotJudged {
		return
	}
	now := l.opts.Now()
	var adds []store.Addition
	for _, c := range r.paid {
		adds = append(adds, c.add(c.name, 0, -1))
	}
	if len(r.paid) == 0 {
		l.accounts.giveBack(r.who, r.at, l.since(now))
		l.addresses.giveBack(r.address, r.at, l.since(now))
	}
	if o == Succeeded && l.opts.TrustFor > 0 {
		l.trust.until(r.pair(), l.since(now)+int64(l.opts.TrustFor), l.since(now))
		if r.mark != "" {
			adds = append(adds, store.Addition{Key: l.mark(r.mark, now, 0), N: 1, Window: l.opts.TrustFor + slack})
		}
	}
	if len(adds) > 0 {
		l.counter.later(job{adds: adds})
	}
}

// mark is under what the Counter knows that an address was trusted with an account, a number of quarters of Options.TrustFor ago.
func (l *Limiter) mark(name string, t time.Time, ago int64) string {
	return name + strconv.FormatInt(t.UnixMilli()/(l.opts.TrustFor.Milliseconds()/quarters)-ago, 10)
}

// reserve returns how long the attempt has to wait, and counts it if that is not at all.
func (l *Limiter) reserve(ctx context.Context, r *reservation, account, address string) (time.Duration, error) {
	t := l.opts.Now()
	r.at = l.since(t)
	if l.counter == nil || r.at < l.down.Load() {
		return l.reserveHere(r), nil
	}
	wait, err := l.reserveThere(ctx, t, r, account, address)
	if err != nil && l.opts.Outage == CountLocally && ctx.Err() == nil {
		r.at = l.since(l.opts.Now()) // It was waited for.
		l.down.Store(r.at + int64(soon))
		return l.reserveHere(r), nil
	}
	return wait, err
}

// reserveHere counts in the memory of this process.
func (l *Limiter) reserveHere(r *reservation) time.Duration {
	r.who = r.account
	wait := charge(l.accounts, r.who, l.addresses, r.address, r.at)
	if wait == 0 || !l.trust.has(r.pair(), r.at) {
		return wait
	}
	r.who = r.pair()
	return min(wait, charge(l.accounts, r.who, l.addresses, r.address, r.at))
}

// reserveThere counts in the Counter.
func (l *Limiter) reserveThere(ctx context.Context, t time.Time, r *reservation, account, address string) (time.Duration, error) {
	if wait := l.refusals.wait(r.address, r.at); wait > 0 {
		return wait, nil
	}
	byAccount := claim{newMoment(t, l.opts.Account.Window), r.account, hashed("account", account), int64(l.opts.Account.Attempts)}
	byAddress := claim{newMoment(t, l.opts.Address.Window), r.address, hashed("address", address), int64(l.opts.Address.Attempts)}
	pair := byAccount.name + byAddress.name
	r.mark = hashed("trusted", pair)

	var paid []claim
	accountWait := l.refusals.wait(r.account, r.at)
	if accountWait == 0 {
		waits, err := l.count(ctx, r.at, byAddress, byAccount)
		if err != nil {
			return 0, err
		}
		switch {
		case waits[0] > 0:
			l.giveBack(byAddress, byAccount) //nolint:contextcheck // it does not end with the call
			return max(waits[0], waits[1]), nil
		case waits[1] == 0:
			r.paid = []claim{byAddress, byAccount}
			return 0, nil
		}
		l.giveBack(byAccount) //nolint:contextcheck // it does not end with the call
		paid, accountWait = []claim{byAddress}, waits[1]
	}

	// There were too many attempts on the account. Its owner may be let in from where she logged in before.
	byPair := byAccount
	byPair.key, byPair.name = r.pair(), hashed("pair", pair)
	wait, err := l.reservePair(ctx, t, r, byAddress, byPair, accountWait, len(paid) > 0)
	if wait > 0 || err != nil {
		l.giveBack(paid...) //nolint:contextcheck // it does not end with the call
	}
	return wait, err
}

// reservePair counts an attempt on an account that has had too many, from an address that is trusted with it.
func (l *Limiter) reservePair(ctx context.Context, t time.Time, r *reservation, byAddress, byPair claim, accountWait time.Duration, addressPaid bool) (time.Duration, error) {
	if wait := l.refusals.wait(byPair.key, r.at); wait > 0 {
		return min(wait, accountWait), nil
	}
	trusted, err := l.trusted(ctx, t, r)
	if err != nil {
		return 0, err
	}
	if !trusted {
		l.refusals.put(byPair.key, accountWait, r.at)
		return accountWait, nil
	}
	claims := []claim{byPair, byAddress}
	if addressPaid {
		claims = claims[:1]
	}
	waits, err := l.count(ctx, r.at, claims...)
	if err != nil {
		return 0, err
	}
	if wait := max(min(waits[0], accountWait), waits[1]); wait > 0 {
		l.giveBack(claims...) //nolint:contextcheck // it does not end with the call
		return wait, nil
	}
	r.paid = []claim{byPair, byAddress}
	return 0, nil
}

// trusted reports whether the address logged in to the account lately.
func (l *Limiter) trusted(ctx context.Context, t time.Time, r *reservation) (bool, error) {
	if l.opts.TrustFor < 0 {
		return false, nil
	}
	if l.trust.has(r.pair(), r.at) {
		return true, nil
	}
	adds := make([]store.Addition, quarters)
	for i := range adds {
		adds[i] = store.Addition{Key: l.mark(r.mark, t, int64(i)), Window: l.opts.TrustFor + slack}
	}
	sums, err := l.counter.ask(ctx, adds)
	return slices.ContainsFunc(sums, func(n int64) bool { return n > 0 }), err
}

// count counts an attempt for one or two claims, in one round trip, and returns how long each of them has to wait.
func (l *Limiter) count(ctx context.Context, now int64, claims ...claim) (waits [2]time.Duration, err error) {
	adds := make([]store.Addition, 0, 4)
	for _, c := range claims {
		adds = append(adds, c.add(c.name, 0, 1), c.add(c.name, 1, 0))
	}
	sums, err := l.counter.ask(ctx, adds)
	if err != nil {
		return waits, err
	}
	for i, c := range claims {
		if waits[i] = c.wait(c.limit, sums[2*i], sums[2*i+1]); waits[i] > 0 {
			l.refusals.put(c.key, waits[i], now)
		}
	}
	return waits, nil
}

// giveBack takes back what was counted for claims, when there is time for it.
func (l *Limiter) giveBack(claims ...claim) {
	var adds []store.Addition
	for _, c := range claims {
		adds = append(adds, c.add(c.name, 0, -1))
	}
	if len(adds) > 0 {
		l.counter.later(job{adds: adds})
	}
}
