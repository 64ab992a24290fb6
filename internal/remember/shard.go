// SPDX-License-Identifier: Apache-2.0

package remember

import (
	"sync"
	"sync/atomic"
)

// minSlots is how many slots a shard starts with.
const minSlots = 8

// shard is one part of a cache: slots linked by age in a ring, and a table that finds the slot of a key.
type shard[V any] struct {
	mu sync.RWMutex // guards all below; slot.visited is also set by readers, atomically

	// Readers count atomically. The lock beside has just brought the cache line to their core.
	hits, misses atomic.Uint64
	evictions    uint64

	capacity int
	count    int
	// slots[0] is no entry but the seam of the ring: its next is the youngest entry, its prev the oldest. An index of
	// zero thus means "none", and the zero shard is an empty one.
	slots []slot[V]
	// table finds slots by open addressing with linear steps; at least half of its places are always free.
	table []place
	free  uint32 // first of the vacant slots, linked by next
	hand  uint32 // where the search for a victim goes on, towards the younger; zero: at the oldest

	_ [64]byte // keeps the neighbour's lock off this one's cache line
}

// place is one place of a table; an index of zero makes it a free one. The hash beside the index saves fetching slots
// from memory only to see that they hold another key.
type place struct{ hash, index uint32 }

type slot[V any] struct {
	key            Key
	value          V
	stored, expiry int64  // wall clock, nanoseconds
	prev, next     uint32 // the younger, the older
	visited        uint32 // 1: asked for since the hand last passed
}

// dead reports whether the entry must not be returned at this time.
func (e *slot[V]) dead(now int64) bool {
	return e.expiry <= now || e.stored > now && e.stored-clockSlack > now
}

func (s *shard[V]) get(h uint64, k *Key, now int64) (v V, ok bool) {
	s.mu.RLock()

	i, _ := s.find(h, k)
	if i == 0 {
		s.misses.Add(1)
		s.mu.RUnlock()

		return v, false
	}

	e := &s.slots[i]
	if e.dead(now) {
		s.misses.Add(1)
		s.mu.RUnlock()
		s.drop(h, k, now)

		return v, false
	}

	v = e.value
	// Looking first leaves the cache line shared between cores once the bit is set.
	if atomic.LoadUint32(&e.visited) == 0 {
		atomic.StoreUint32(&e.visited, 1)
	}

	s.hits.Add(1)
	s.mu.RUnlock()

	return v, true
}

// drop removes the entry if it is still a dead one: between the two locks it may have been replaced.
func (s *shard[V]) drop(h uint64, k *Key, now int64) {
	s.mu.Lock()
	defer s.mu.Unlock()

	if i, at := s.find(h, k); i != 0 && s.slots[i].dead(now) {
		s.remove(i, at)
	}
}

func (s *shard[V]) put(h uint64, k *Key, v V, now, expiry int64) {
	s.mu.Lock()
	defer s.mu.Unlock()

	i, at := s.find(h, k)

	switch {
	case expiry <= now:
		if i != 0 {
			s.remove(i, at)
		}
	case i != 0:
		e := &s.slots[i]
		e.value, e.stored, e.expiry, e.visited = v, now, expiry, 1
	case s.capacity > 0:
		s.add(h, k, v, now, expiry)
	}
}

func (s *shard[V]) delete(h uint64, k *Key) {
	s.mu.Lock()
	defer s.mu.Unlock()

	if i, at := s.find(h, k); i != 0 {
		s.remove(i, at)
	}
}

func (s *shard[V]) deleteFunc(forget func(Key, V) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()

	if s.count == 0 {
		return
	}

	for i := s.slots[0].next; i != 0; {
		e := &s.slots[i]
		next := e.next

		if forget(e.key, e.value) {
			s.evict(i)
		}

		i = next
	}
}

func (s *shard[V]) purge() {
	s.mu.Lock()
	defer s.mu.Unlock()

	s.slots, s.table = nil, nil
	s.count, s.free, s.hand = 0, 0, 0
}

func (s *shard[V]) len() int {
	s.mu.RLock()
	defer s.mu.RUnlock()

	return s.count
}

func (s *shard[V]) addTo(total *Stats) {
	s.mu.RLock()
	defer s.mu.RUnlock()

	total.Hits += s.hits.Load()
	total.Misses += s.misses.Load()
	total.Evictions += s.evictions
	total.Entries += s.count
}

// find returns the slot of the key and its place in the table, or zero and the place where it would go.
func (s *shard[V]) find(h uint64, k *Key) (index uint32, at int) {
	if len(s.table) == 0 {
		return 0, 0
	}

	mask, low := len(s.table)-1, uint32(h)
	for at = int(low) & mask; ; at = (at + 1) & mask {
		p := s.table[at]
		if p.index == 0 || p.hash == low && s.slots[p.index].key == *k {
			return p.index, at
		}
	}
}

// add makes room if there is none and writes a new entry as the youngest.
func (s *shard[V]) add(h uint64, k *Key, v V, now, expiry int64) {
	if s.count == s.capacity {
		i := s.victim(now)
		if !s.slots[i].dead(now) {
			s.evictions++
		}

		s.evict(i)
	}

	i := s.vacancy()
	_, at := s.find(h, k) // only now: both calls above move entries in the table
	s.table[at] = place{hash: uint32(h), index: i}
	s.count++

	seam := &s.slots[0]
	s.slots[i] = slot[V]{key: *k, value: v, stored: now, expiry: expiry, next: seam.next}
	s.slots[seam.next].prev = i
	seam.next = i
}

// victim walks from the oldest towards the youngest and returns the first entry that is dead or was not asked for
// since the last walk; entries that were asked for are spared once. It ends within two rounds.
func (s *shard[V]) victim(now int64) uint32 {
	i := s.hand
	for {
		if i == 0 {
			i = s.slots[0].prev
		}

		e := &s.slots[i]
		if e.visited == 0 || e.dead(now) {
			s.hand = i // evict moves it on

			return i
		}

		e.visited = 0
		i = e.prev
	}
}

// vacancy returns an unused slot, growing slots and table by doubling but never past the capacity.
func (s *shard[V]) vacancy() uint32 {
	if i := s.free; i != 0 {
		s.free = s.slots[i].next

		return i
	}

	if len(s.slots) == cap(s.slots) {
		s.grow()
	}

	s.slots = s.slots[:len(s.slots)+1]

	return uint32(len(s.slots) - 1)
}

func (s *shard[V]) grow() {
	size := min(max(2*cap(s.slots), minSlots), s.capacity+1)
	slots := make([]slot[V], max(len(s.slots), 1), size)
	copy(slots, s.slots)
	s.slots = slots

	places := minSlots
	for places < 2*size {
		places *= 2
	}

	if places == len(s.table) {
		return
	}

	old := s.table
	s.table = make([]place, places)

	for _, p := range old {
		if p.index == 0 {
			continue
		}

		at := int(p.hash) & (places - 1)
		for s.table[at].index != 0 {
			at = (at + 1) & (places - 1)
		}

		s.table[at] = p
	}
}

// evict removes the entry in a slot of which the place in the table is not known.
func (s *shard[V]) evict(i uint32) {
	k := &s.slots[i].key
	_, at := s.find(spread(k), k)
	s.remove(i, at)
}

// remove forgets the entry in slot i, to which the table points at place at. The slot is zeroed, so that neither the
// value nor the key is kept alive by it.
func (s *shard[V]) remove(i uint32, at int) {
	s.vacate(at)

	e := &s.slots[i]
	if s.hand == i {
		s.hand = e.prev
	}

	s.slots[e.prev].next = e.next
	s.slots[e.next].prev = e.prev

	*e = slot[V]{next: s.free}
	s.free = i
	s.count--
}

// vacate frees a place of the table and moves those behind it up, as far as that brings them nearer to where their
// search begins, so that no search meets a gap before its key.
func (s *shard[V]) vacate(at int) {
	mask := len(s.table) - 1

	for next := (at + 1) & mask; s.table[next].index != 0; next = (next + 1) & mask {
		begin := int(s.table[next].hash) & mask
		if (next-begin)&mask >= (next-at)&mask {
			s.table[at] = s.table[next]
			at = next
		}
	}

	s.table[at] = place{}
}
