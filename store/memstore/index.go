// SPDX-License-Identifier: Apache-2.0

package memstore

// index finds the text and the entry of a key. It is a table with open addressing: where there are a million keys, what is read of it for one is one
// line of memory that no cache has, and a map would cost two.
type index struct {
	slots []slot // a power of two of them, or none; never all taken
	taken int
}

// slot is an entry with what reading needs of it. The zero slot is free.
type slot struct {
	hash  uint64
	text  text
	entry *entry
}

// start is where the slots of a hash begin. Its lowest bits are those of the shard.
func (x *index) start(hash uint64) int { return int(hash/shards) & (len(x.slots) - 1) } //nolint:gosec // cut to the length

// find returns the slot of a key, or nil.
func (x *index) find(key string, hash uint64) *slot {
	if i := x.at(key, hash); i >= 0 {
		return &x.slots[i]
	}
	return nil
}

func (x *index) at(key string, hash uint64) int {
	if x.taken == 0 {
		return -1
	}
	for i := x.start(hash); x.slots[i].entry != nil; i = (i + 1) & (len(x.slots) - 1) {
		if s := &x.slots[i]; s.hash == hash && s.text.key() == key {
			return i
		}
	}
	return -1
}

// add takes a slot for a key that has none. A quarter of the slots stays free, so that searches are short.
func (x *index) add(s slot) {
	if 4*(x.taken+1) > 3*len(x.slots) {
		old := x.slots
		x.slots = make([]slot, max(8, 2*len(old)))
		for i := range old {
			if old[i].entry != nil {
				x.put(old[i])
			}
		}
	}
	x.put(s)
	x.taken++
}

func (x *index) put(s slot) {
	i := x.start(s.hash)
	for x.slots[i].entry != nil {
		i = (i + 1) & (len(x.slots) - 1)
	}
	x.slots[i] = s
}

// remove frees the slot of a key, and moves those that follow to where they are found without it.
func (x *index) remove(key string, hash uint64) {
	free := x.at(key, hash)
	if free < 0 {
		return
	}
	mask := len(x.slots) - 1
	for i := (free + 1) & mask; x.slots[i].entry != nil; i = (i + 1) & mask {
		if home := x.start(x.slots[i].hash); (i-home)&mask >= (i-free)&mask {
			x.slots[free] = x.slots[i]
			free = i
		}
	}
	x.slots[free] = slot{}
	x.taken--
}
