// SPDX-License-Identifier: Apache-2.0

package memstore

import (
	"container/heap"
	"hash/maphash"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	shards = 64
	// slack is how long what has expired is kept while there is room: a clock that is an hour fast for a moment must not make what was denied
	// for good forgotten.
	slack = int64(time.Hour / time.Millisecond)
)

// entry is a record or a counter, as far as only writing and expiring need to know of it. A record is read from its text alone.
type entry struct {
	text       text
	place      int32  // in its shard's heap
	expiry     int64  // in milliseconds, or never
	number     int64  // the version of a record, the sum of a counter
	prev, next *entry // of the same owner; guarded by the owners' lock
}

func (e *entry) expired(now int64) bool { return e.expiry <= now }

// table is a bounded set of entries, in shards by their keys and, to list them, by their owners.
type table struct {
	seed   maphash.Seed
	most   int64
	count  atomic.Int64
	shards [shards]shard
	owners [shards]owners
}

// shard has the entries of some keys. Its lock is taken before that of owners, never after.
type shard struct {
	t        *table
	mu       sync.Mutex
	byKey    index // guarded by mu, like byExpiry
	byExpiry expiries
}

type owners struct {
	mu    sync.Mutex
	first map[string]*entry // guarded by mu
}

func newTable(most int) *table {
	t := &table{seed: maphash.MakeSeed(), most: int64(most)}
	for i := range shards {
		t.shards[i].t, t.owners[i].first = t, map[string]*entry{}
	}
	return t
}

// shard returns the shard of a key, and the key's hash.
func (t *table) shard(key string) (s *shard, hash uint64) {
	hash = maphash.String(t.seed, key)
	return &t.shards[hash%shards], hash
}

// find returns the entry of a key, or nil. The shard's lock is held.
func (s *shard) find(key string, hash uint64) *entry {
	if slot := s.byKey.find(key, hash); slot != nil {
		return slot.entry
	}
	return nil
}

func (t *table) ownersOf(owner string) *owners {
	return &t.owners[maphash.String(t.seed, owner)%shards]
}

// owned returns the keys of an owner's entries.
func (t *table) owned(owner string) (keys []string) {
	o := t.ownersOf(owner)
	o.mu.Lock()
	defer o.mu.Unlock()
	for e := o.first[owner]; e != nil; e = e.next {
		keys = append(keys, e.text.key())
	}
	return keys
}

// create adds an entry, or returns nil if there is no room. The shard's lock is held.
func (s *shard) create(key, owner string, value []byte, hash uint64, expiry, number, now int64) *entry {
	s.sweep(now-slack, 2) // more than one, so that what has expired becomes less
	if s.t.count.Add(1) > s.t.most {
		s.sweep(now, 2)
		if s.t.count.Load() > s.t.most && !s.t.sweepOthers(s, now) {
			s.t.count.Add(-1)
			return nil
		}
	}
	e := &entry{text: newText(key, owner, value, expiry, number), expiry: expiry, number: number}
	s.byKey.add(slot{hash, e.text, e})
	heap.Push(&s.byExpiry, e)
	s.t.link(e)
	return e
}

// sweepOthers looks for something in other shards that has expired. A shard that is busy is passed over: waiting for it could be for ever, since who has
// its lock may be waiting for ours.
func (t *table) sweepOthers(own *shard, now int64) (room bool) {
	for i := range t.shards {
		s := &t.shards[i]
		if s == own || !s.mu.TryLock() {
			continue
		}
		s.sweep(now, 16)
		s.mu.Unlock()
		if t.count.Load() <= t.most {
			return true
		}
	}
	return false
}

// change gives the entry of a slot other contents. The shard's lock is held.
func (s *shard) change(at *slot, owner string, value []byte, expiry, number int64) {
	e := at.entry
	moves := e.text.owner() != owner
	if moves {
		s.t.unlink(e)
	}
	at.text = newText(e.text.key(), owner, value, expiry, number)
	s.t.rewrite(e, at.text)
	if moves {
		s.t.link(e)
	}
	e.number = number
	if e.expiry != expiry {
		e.expiry = expiry
		heap.Fix(&s.byExpiry, int(e.place))
	}
}

// rewrite replaces the text of an entry, which those who list its owner's read.
func (t *table) rewrite(e *entry, to text) {
	o := t.ownersOf(to.owner())
	o.mu.Lock()
	defer o.mu.Unlock()
	e.text = to
}

// remove forgets an entry. The shard's lock is held.
func (s *shard) remove(e *entry) {
	s.byKey.remove(e.text.key(), maphash.String(s.t.seed, e.text.key()))
	heap.Remove(&s.byExpiry, int(e.place))
	s.t.unlink(e)
	s.t.count.Add(-1)
}

// sweep forgets up to n entries that have expired by a time. The shard's lock is held.
func (s *shard) sweep(now int64, n int) {
	for ; n > 0 && len(s.byExpiry) > 0 && s.byExpiry[0].expired(now); n-- {
		s.remove(s.byExpiry[0])
	}
}

func (t *table) link(e *entry) {
	owner := e.text.owner()
	if owner == "" {
		return
	}
	o := t.ownersOf(owner)
	o.mu.Lock()
	defer o.mu.Unlock()
	if e.next = o.first[owner]; e.next != nil {
		e.next.prev = e
	}
	o.first[strings.Clone(owner)] = e // a clone, or the index would keep the rest of the entry's text
}

func (t *table) unlink(e *entry) {
	owner := e.text.owner()
	if owner == "" {
		return
	}
	o := t.ownersOf(owner)
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case e.prev != nil:
		e.prev.next = e.next
	case e.next != nil:
		o.first[strings.Clone(owner)] = e.next
	default:
		delete(o.first, owner)
	}
	if e.next != nil {
		e.next.prev = e.prev
	}
	e.prev, e.next = nil, nil
}

// expiries is a heap: what ends first is first.
type expiries []*entry //nolint:recvcheck // package heap wants it so

func (h expiries) Len() int           { return len(h) }
func (h expiries) Less(i, j int) bool { return h[i].expiry < h[j].expiry }

func (h expiries) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = int32(i), int32(j) //nolint:gosec // there are fewer
}

// Push is called by package heap.
func (h *expiries) Push(x any) {
	e := x.(*entry)          //nolint:errcheck,forcetypeassert // nothing else is pushed
	e.place = int32(len(*h)) //nolint:gosec // there are fewer
	*h = append(*h, e)
}

// Pop is called by package heap.
func (h *expiries) Pop() any {
	last := len(*h) - 1
	e := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return e
}
