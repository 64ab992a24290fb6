// SPDX-License-Identifier: Apache-2.0

package memstore

import (
	"testing"
	"unsafe"
)

func TestEntryIsOneLineOfMemory(t *testing.T) {
	t.Parallel()
	if size := unsafe.Sizeof(entry{}); size > 64 {
		t.Errorf("an entry has %d bytes", size)
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
			s.create(key, "alice", []byte(key), 7, never, 0)
		}
		for _, key := range keys {
			if e := s.find(key, 7); e == nil || string(e.record().Value) != key {
				t.Fatalf("%q: found %v", key, e)
			}
		}
		if e := s.find("d", 7); e != nil {
			t.Errorf("found %q under another key", e.key())
		}
		s.drop(s.find(removed, 7), 7)
		for _, key := range keys {
			if e := s.find(key, 7); (e == nil) != (key == removed) || e != nil && e.key() != key {
				t.Errorf("without %q: found %v under %q", removed, e, key)
			}
		}
	}
}
