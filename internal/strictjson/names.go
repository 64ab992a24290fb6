// SPDX-License-Identifier: Apache-2.0

package strictjson

import (
	"unicode"
	"unicode/utf8"
)

// few is how many members are compared one with another; objects with more get a map, so that no object costs the square of its size.
const few = 16

// names are the member names of one object so far.
type names struct {
	n     int
	first [few]folded
	more  map[string]struct{}
}

// folded is a name: its text, and a hash that is equal for names equal under simple case folding.
type folded struct {
	text []byte
	hash uint64
}

// add adds a name and reports whether it was new.
func (s *names) add(name Value) bool {
	text := name.raw[1 : len(name.raw)-1]
	if !name.bare {
		text = unescape(nil, text)
	}
	if s.more != nil {
		return s.addMore(text)
	}
	f := folded{text, foldHash(text)}
	for i := range s.n {
		if s.first[i].hash == f.hash && equalFold(s.first[i].text, text) {
			return false
		}
	}
	if s.n < few {
		s.first[s.n] = f
		s.n++
		return true
	}
	s.more = make(map[string]struct{}, 2*few)
	for i := range s.first {
		s.addMore(s.first[i].text)
	}
	return s.addMore(text)
}

func (s *names) addMore(text []byte) bool {
	key := make([]byte, 0, len(text))
	for len(text) > 0 {
		r, size := utf8.DecodeRune(text)
		key, text = utf8.AppendRune(key, fold(r)), text[size:]
	}
	if _, known := s.more[string(key)]; known {
		return false
	}
	s.more[string(key)] = struct{}{}
	return true
}

// fold is one rune for all that are equal under simple case folding: the smallest, in lower case if it is a letter of ASCII.
func fold(r rune) rune {
	if r < utf8.RuneSelf {
		if 'A' <= r && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	}
	least := r
	for next := unicode.SimpleFold(r); next != r; next = unicode.SimpleFold(next) {
		least = min(least, next)
	}
	if least < utf8.RuneSelf {
		return fold(least)
	}
	return least
}

func foldHash(text []byte) uint64 {
	const offset, prime = 14695981039346656037, 1099511628211 // FNV-1a; collisions only cost a comparison
	h := uint64(offset)
	for len(text) > 0 {
		r, size := rune(text[0]), 1
		if r >= utf8.RuneSelf {
			r, size = utf8.DecodeRune(text)
		}
		h = (h ^ uint64(fold(r))) * prime //nolint:gosec // runes are not negative
		text = text[size:]
	}
	return h
}

func equalFold(a, b []byte) bool {
	for len(a) > 0 && len(b) > 0 {
		ra, na := utf8.DecodeRune(a)
		rb, nb := utf8.DecodeRune(b)
		if fold(ra) != fold(rb) {
			return false
		}
		a, b = a[na:], b[nb:]
	}
	return len(a) == len(b)
}
