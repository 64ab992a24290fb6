// SPDX-License-Identifier: Apache-2.0

package remember

import (
	"encoding/binary"
	"math"
	"math/bits"
	"time"
)

const (
	// entriesPerShard keeps small caches in one piece and the shards of larger ones evenly filled: keys fall on shards
	// by chance, and of 512 the usual deviation is 4 %.
	entriesPerShard = 512
	maxShards       = 64
	// clockSlack is how far a caller's reading of the clock may lie behind the reading under which an entry was stored.
	// Callers read the clock first and look second, so one that was held up between the two is a little behind.
	clockSlack = int64(time.Second)
)

// Cache remembers values up to a number of entries and each of them up to an absolute time.
// It is safe for concurrent use and has no goroutine: what has expired goes when it is met or when its place is needed.
// When it is full, an entry that nobody asked for since the last round makes room (SIEVE).
//
// Time is the wall clock of the caller, passed to each call. When that clock steps back by a second or more, entries
// from the future of the new time are forgotten, because they would live for longer than was meant; a smaller step
// goes unnoticed and lengthens a life by less than a second. No value is returned at or after its expiry by that clock.
type Cache[V any] struct {
	shards []shard[V]
	mask   uint64
}

// New returns a cache of at most capacity entries; with a capacity below one it remembers nothing. Larger caches are
// split into shards, each with its part of the capacity, so that an entry may have to go shortly before the whole is
// full. Memory is taken as entries come, not beforehand.
func New[V any](capacity int) *Cache[V] {
	capacity = min(max(capacity, 0), math.MaxInt32)

	count := 1
	for count < maxShards && capacity/(2*count) >= entriesPerShard {
		count *= 2
	}

	c := &Cache[V]{shards: make([]shard[V], count), mask: uint64(count - 1)}
	for i := range c.shards {
		c.shards[i].capacity = capacity / count
		if i < capacity%count {
			c.shards[i].capacity++
		}
	}

	return c
}

// Get returns the value remembered under the key, and false if there is none, if its expiry is not after now, or if it
// was stored more than a second after now (the clock has stepped back). What cannot be returned is forgotten.
func (c *Cache[V]) Get(k Key, now time.Time) (V, bool) {
	h := spread(&k)

	return c.shard(h).get(h, &k, wall(now))
}

// Put remembers the value until expiry, in place of what was there. If expiry is not after now the key is forgotten
// instead: the newest verdict counts, and a lifetime of zero or less never means for ever.
func (c *Cache[V]) Put(k Key, v V, now, expiry time.Time) {
	h := spread(&k)
	c.shard(h).put(h, &k, v, wall(now), wall(expiry))
}

// Delete forgets the key.
func (c *Cache[V]) Delete(k Key) {
	h := spread(&k)
	c.shard(h).delete(h, &k)
}

// DeleteFunc forgets every entry for which forget returns true. It looks at all entries, one shard at a time, so one
// that another caller puts meanwhile may escape it. The function must not use the cache.
func (c *Cache[V]) DeleteFunc(forget func(Key, V) bool) {
	for i := range c.shards {
		c.shards[i].deleteFunc(forget)
	}
}

// Purge forgets everything and gives the memory back.
func (c *Cache[V]) Purge() {
	for i := range c.shards {
		c.shards[i].purge()
	}
}

// Len returns the number of entries held, expired ones that nobody has met yet included; it never exceeds the capacity.
func (c *Cache[V]) Len() int {
	n := 0
	for i := range c.shards {
		n += c.shards[i].len()
	}

	return n
}

// Stats are counts since the cache was made, and the entries of now.
type Stats struct {
	// Hits is how many calls of Get returned a value, and Misses how many did not.
	Hits, Misses uint64
	// Evictions is how many entries made room before they expired.
	Evictions uint64
	// Entries is what Len returns.
	Entries int
}

// Stats returns what the cache did so far. No count ever decreases.
func (c *Cache[V]) Stats() (total Stats) {
	for i := range c.shards {
		c.shards[i].addTo(&total)
	}

	return total
}

// shard picks by the upper half of the hash; places within a shard are picked by the lower one.
func (c *Cache[V]) shard(h uint64) *shard[V] { return &c.shards[h>>32&c.mask] }

// spread hashes a key. Keys of a Keyer are random already; folding in every byte keeps others apart as well.
func spread(k *Key) uint64 {
	h := binary.LittleEndian.Uint64(k[0:]) ^ bits.RotateLeft64(binary.LittleEndian.Uint64(k[8:]), 17) ^
		bits.RotateLeft64(binary.LittleEndian.Uint64(k[16:]), 31) ^ bits.RotateLeft64(binary.LittleEndian.Uint64(k[24:]), 47)
	hi, lo := bits.Mul64(h, 0x9e3779b97f4a7c15)

	return hi ^ lo
}

// wall is the time as nanoseconds since 1970, held at the ends of what they can say: years 1678 and 2262. UnixNano alone
// would wrap around, and a token that is good until the year 9999 would be taken for one of the past or of any other day.
func wall(t time.Time) int64 {
	const last = math.MaxInt64 / int64(time.Second)

	switch s := t.Unix(); {
	case s >= last:
		return math.MaxInt64
	case s <= -last:
		return math.MinInt64
	default:
		return t.UnixNano()
	}
}
