// SPDX-License-Identifier: Apache-2.0

package throttle

import (
	"hash/maphash"
	"sync"
	"time"
	"unsafe"
)

// key is a hash of a name under seeds of this process. Two names of one key are one name; with as many as fit into the memory, that
// happens with a chance of less than one in a billion.
type key struct{ stripe, tag uint64 }

func (l *Limiter) accountKey(name string) key {
	return key{maphash.String(l.seeds[0], name), maphash.String(l.seeds[1], name)}
}

func (l *Limiter) addressKey(name string) key {
	return key{maphash.String(l.seeds[2], name), maphash.String(l.seeds[3], name)}
}

// pair is the key of two names together.
func (k key) pair(other key) key {
	return key{k.stripe ^ (other.stripe<<32 | other.stripe>>32), k.tag ^ (other.tag<<32 | other.tag>>32)}
}

// pace is a Limit as a GCRA: a name has a time at which it has no attempts to its account, each attempt moves it by an interval, and it is
// never further away than the burst.
type pace struct{ interval, burst int64 }

func newPace(l Limit) pace {
	interval := int64(l.Window) / int64(l.Attempts)
	return pace{interval, interval * int64(l.Attempts)}
}

// wait is how long a name has to wait that has no attempts to its account at a time.
func (p pace) wait(at, now int64) time.Duration {
	return time.Duration(max(0, at+p.interval-p.burst-now))
}

const (
	stripes = 64
	ways    = 8
)

// entry is a name, and when it has no attempts to its account, or is no longer trusted. The zero entry is that of nobody.
type entry struct {
	tag uint64
	at  int64
}

type set [ways]entry

// table keeps a time for each name in bounded memory. A name belongs to a set. When another name takes an entry that is in use, it is that of the
// earliest time, and the other name inherits it: the earliest time of a set never becomes earlier by that, so a name that comes back finds at least what it left.
type table struct {
	pace    pace
	most    int // sets in a stripe
	stripes [stripes]stripe
}

type stripe struct {
	mu      sync.Mutex // guards what follows
	sets    []set      // a power of two of them, or none
	taken   int
	evicted uint64
}

func newTable(p pace, memory int64) *table {
	t := &table{pace: p, most: 1}
	for int64(2*t.most*stripes)*int64(unsafe.Sizeof(set{})) <= memory {
		t.most *= 2
	}
	return t
}

// lock returns the stripe of a key. Whoever needs stripes of two tables locks the one of accounts first.
func (t *table) lock(k key) *stripe {
	s := &t.stripes[k.stripe%stripes]
	s.mu.Lock()
	return s
}

// of returns the set that a key belongs to. There is one.
func (s *stripe) of(k key) *set { return &s.sets[k.tag&uint64(len(s.sets)-1)] } //nolint:gosec // a length is not negative

// find returns the entry of a key, or nil. No time is later than the burst allows, unless the clock was set back since.
func (t *table) find(s *stripe, k key, now int64) *entry {
	if len(s.sets) == 0 {
		return nil
	}
	in := s.of(k)
	for i := range in {
		if e := &in[i]; e.tag == k.tag && e.at != 0 {
			if t.pace.burst > 0 {
				e.at = min(e.at, now+t.pace.burst)
			}
			return e
		}
	}
	return nil
}

// place returns the entry of a key, or else the one that it may take, of the earliest time.
func (t *table) place(s *stripe, k key, now int64) *entry {
	for {
		if e := t.find(s, k, now); e != nil {
			return e
		}
		if len(s.sets) == 0 {
			s.sets = make([]set, 1)
		}
		in := s.of(k)
		least := &in[0]
		for i := range in {
			if in[i].at < least.at {
				least = &in[i]
			}
		}
		if least.at <= now || len(s.sets) >= t.most {
			return least
		}
		s.grow()
	}
}

// grow doubles the sets. Those whose key has another bit set move to the other half.
func (s *stripe) grow() {
	n := len(s.sets)
	sets := make([]set, 2*n)
	for i := range s.sets {
		low, high := 0, 0
		for _, e := range s.sets[i] {
			if e.tag&uint64(n) == 0 {
				sets[i][low] = e
				low++
			} else {
				sets[i+n][high] = e
				high++
			}
		}
	}
	s.sets = sets
}

// put gives an entry that place returned to a key.
func (s *stripe) put(e *entry, k key, at, now int64) {
	switch {
	case e.at == 0:
		s.taken++
	case e.tag != k.tag && e.at > now:
		s.evicted++
	}
	*e = entry{k.tag, at}
}

// charge counts an attempt, which is not more than the burst.
func (t *table) charge(k key, now int64) {
	s := t.lock(k)
	defer s.mu.Unlock()
	e := t.place(s, k, now)
	at := max(e.at, now)
	s.put(e, k, max(at, min(at+t.pace.interval, now+t.pace.burst)), now)
}

// raise sees to it that there are at least n attempts to a key's account.
func (t *table) raise(k key, n, now int64) {
	s := t.lock(k)
	defer s.mu.Unlock()
	e := t.place(s, k, now)
	s.put(e, k, max(e.at, now+min(n*t.pace.interval, t.pace.burst)), now)
}

// giveBack takes back an attempt that was counted a while ago. Of that, as much as passes in that while has passed.
func (t *table) giveBack(k key, counted, now int64) {
	s := t.lock(k)
	defer s.mu.Unlock()
	if e := t.find(s, k, now); e != nil {
		e.at -= max(0, t.pace.interval-max(0, now-counted))
	}
}

// wait returns how long a key has to wait for its next attempt.
func (t *table) wait(k key, now int64) time.Duration {
	s := t.lock(k)
	defer s.mu.Unlock()
	if e := t.find(s, k, now); e != nil {
		return t.pace.wait(e.at, now)
	}
	return 0
}

// until lets a key be found until a time.
func (t *table) until(k key, at, now int64) {
	s := t.lock(k)
	defer s.mu.Unlock()
	s.put(t.place(s, k, now), k, at, now)
}

// has reports whether a key is to be found.
func (t *table) has(k key, now int64) bool {
	s := t.lock(k)
	defer s.mu.Unlock()
	e := t.find(s, k, now)
	return e != nil && e.at > now
}

func (t *table) stats() (taken int, evicted uint64) {
	for i := range t.stripes {
		s := &t.stripes[i]
		s.mu.Lock()
		taken += s.taken
		evicted += s.evicted
		s.mu.Unlock()
	}
	return taken, evicted
}

// charge counts an attempt of two keys in one step, or of neither if one of them has to wait.
func charge(accounts *table, who key, addresses *table, address key, now int64) time.Duration {
	a, b := accounts.lock(who), addresses.lock(address)
	defer a.mu.Unlock()
	defer b.mu.Unlock()
	ea, eb := accounts.place(a, who, now), addresses.place(b, address, now)
	atA, atB := max(ea.at, now), max(eb.at, now)
	if wait := max(accounts.pace.wait(atA, now), addresses.pace.wait(atB, now)); wait > 0 {
		return wait
	}
	a.put(ea, who, atA+accounts.pace.interval, now)
	b.put(eb, address, atB+addresses.pace.interval, now)
	return 0
}
