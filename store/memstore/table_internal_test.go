// SPDX-License-Identifier: Apache-2.0

package memstore

import (
	"math/rand/v2"
	"strconv"
	"testing"
	"unsafe"
)

func TestSlotsAreHalfALineOfMemory(t *testing.T) {
	t.Parallel()
	if size := unsafe.Sizeof(slot{}); size > 32 {
		t.Errorf("a slot has %d bytes", size)
	}
}

// An index agrees with a map, whatever was added and removed, also where the hashes are few and their places at its end.
func TestIndexAgreesWithAMap(t *testing.T) {
	t.Parallel()
	for _, hashes := range []uint64{1, 3, 1 << 10, 1 << 40} {
		random := rand.New(rand.NewPCG(1, hashes)) //nolint:gosec // the same each time
		var x index
		model := map[string]*entry{}
		hashOf := func(key int) uint64 { return ^uint64(0) - uint64(key)*0x9e3779b97f4a7c15%hashes*shards }
		for step := range 20_000 {
			key := random.IntN(200)
			name := strconv.Itoa(key)
			switch _, there := model[name]; {
			case !there:
				e := &entry{text: newText(name, "", nil, 0, int64(step))}
				x.add(slot{hashOf(key), e.text, e})
				model[name] = e
			case random.IntN(2) == 0:
				x.remove(name, hashOf(key))
				delete(model, name)
			}
			other := random.IntN(200)
			found := x.find(strconv.Itoa(other), hashOf(other))
			if want := model[strconv.Itoa(other)]; (found == nil) != (want == nil) || want != nil && (found.entry != want || found.text != want.text) {
				t.Fatalf("%d hashes, step %d: found %v, want %v", hashes, step, found, want)
			}
			if x.taken != len(model) {
				t.Fatalf("%d hashes, step %d: %d taken, want %d", hashes, step, x.taken, len(model))
			}
		}
	}
}

// Keys of one hash do not occur in tests by themselves.
func TestKeysOfOneHashAreToldApart(t *testing.T) {
	t.Parallel()
	keys := []string{"a", "b", "c"}
	for _, removed := range keys {
		table := newTable(10)
		s := &table.shards[7]
		for _, key := range keys {
			s.create(key, "alice", []byte(key), 7, never, 1, 0)
		}
		for _, key := range keys {
			if e := s.find(key, 7); e == nil || string(e.text.record().Value) != key {
				t.Fatalf("%q: found %v", key, e)
			}
		}
		if e := s.find("d", 7); e != nil {
			t.Errorf("found %q under another key", e.text.key())
		}
		s.byKey.remove(removed, 7)
		for _, key := range keys {
			if e := s.find(key, 7); (e == nil) != (key == removed) || e != nil && e.text.key() != key {
				t.Errorf("without %q: found %v under %q", removed, e, key)
			}
		}
	}
}
