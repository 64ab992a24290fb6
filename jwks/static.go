// SPDX-License-Identifier: Apache-2.0

package jwks

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// StaticSet is a [Set] that never changes. It is safe for concurrent use, and printing it shows no key material.
type StaticSet struct {
	keys []Key
	byID map[string][]Key
	rest []Key // those without an ID
}

var _ Set = (*StaticSet)(nil)

// Static returns a set of these keys, of which it makes copies.
//
// An error names the key and says what is wrong with it. Two keys of one ID are refused, and so are two keys without an ID of which a token's algorithm
// does not tell which one is meant.
func Static(keys ...Key) (*StaticSet, error) {
	if len(keys) == 0 {
		return nil, errors.New("jwks: no keys: a set without keys refuses every token")
	}
	s := &StaticSet{byID: map[string][]Key{}}
	for i, k := range keys {
		if err := k.Validate(); err != nil {
			return nil, fmt.Errorf("jwks: key %d (ID %q): %w", i, shorten(k.ID), err)
		}
		k = k.clone()
		if k.ID != "" && s.byID[k.ID] != nil {
			return nil, fmt.Errorf("jwks: key %d: the ID %q is that of another key too", i, k.ID)
		}
		if k.ID == "" && slices.ContainsFunc(s.rest, k.overlaps) {
			return nil, fmt.Errorf("jwks: key %d: another key without an ID serves the same algorithm: give them IDs", i)
		}
		s.keys = append(s.keys, k)
		if k.ID == "" {
			s.rest = append(s.rest, k)
		} else {
			s.byID[k.ID] = []Key{k}
		}
	}
	s.keys, s.rest = slices.Clip(s.keys), slices.Clip(s.rest) // what a caller appends to them is the caller's own
	return s, nil
}

func shorten(id string) string { return id[:min(len(id), 64)] }

// overlaps reports whether some algorithm fits both keys.
func (k Key) overlaps(o Key) bool {
	return k.family() == o.family() && (k.Algorithm == "" || o.Algorithm == "" || k.Supports(o.Algorithm))
}

// Keys returns the key with that ID or, if there is none, the keys without an ID. It never fails.
func (s *StaticSet) Keys(_ context.Context, kid string) ([]Key, error) {
	keys, _ := s.lookup(kid)
	return keys, nil
}

// lookup also reports whether the keys are known to be meant, and not just those without an ID.
func (s *StaticSet) lookup(kid string) (keys []Key, known bool) {
	if kid == "" {
		return s.keys, true
	}
	if keys, ok := s.byID[kid]; ok {
		return keys, true
	}
	return s.rest, false
}

// All returns copies of all keys.
func (s *StaticSet) All() []Key {
	all := make([]Key, len(s.keys))
	for i, k := range s.keys {
		all[i] = k.clone()
	}
	return all
}

// Format prints how many keys there are, whatever the verb.
func (s *StaticSet) Format(f fmt.State, _ rune) {
	n := 0
	if s != nil {
		n = len(s.keys)
	}
	_, _ = fmt.Fprintf(f, "StaticSet(%d keys)", n)
}
