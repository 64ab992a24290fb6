// SPDX-License-Identifier: Apache-2.0

package throttle

import (
	"sync"
	"time"
	"unsafe"
)

// underWay counts the attempts that are being judged in this process, by account and by address. There are as many names in it as there
// are such attempts, up to a bound.
type underWay struct {
	most    int // names in a part
	stripes [stripes]struct {
		mu    sync.Mutex // guards count
		count map[key]int
	}
}

// nameUnderWay is what a name takes in a map, at the most.
const nameUnderWay = 128

func newUnderWay(memory int64) *underWay {
	return &underWay{most: int(memory / nameUnderWay / stripes)}
}

// begin counts one more under a key and returns how many there are; none, if there are as many as most already, or too many names.
func (u *underWay) begin(k key, most int) int {
	s := &u.stripes[k.stripe%stripes]
	s.mu.Lock()
	defer s.mu.Unlock()
	n, there := s.count[k]
	if n >= most || !there && len(s.count) >= u.most {
		return 0
	}
	if s.count == nil {
		s.count = map[key]int{}
	}
	s.count[k] = n + 1
	return n + 1
}

func (u *underWay) end(k key) {
	s := &u.stripes[k.stripe%stripes]
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.count[k]; n > 1 {
		s.count[k] = n - 1
	} else {
		delete(s.count, k)
	}
}

// refusals remembers for a second what a Counter said of names that have to wait, so that whoever does not wait asks nobody. One that is
// forgotten costs a question.
type refusals struct {
	most    uint64 // refusals in a part
	stripes [stripes]struct {
		mu   sync.Mutex // guards said
		said []refusal
	}
}

type refusal struct {
	key   key
	until int64 // when the name can be let in
	fresh int64 // when the Counter is asked again, since attempts may have been given back
}

func newRefusals(memory int64) *refusals {
	return &refusals{most: uint64(memory) / stripes / uint64(unsafe.Sizeof(refusal{}))} //nolint:gosec // it is not negative
}

func (r *refusals) put(k key, wait time.Duration, now int64) {
	s := &r.stripes[k.stripe%stripes]
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.said == nil {
		s.said = make([]refusal, r.most)
	}
	s.said[k.tag%r.most] = refusal{k, now + int64(wait), now + int64(min(wait, soon))}
}

// wait returns how long a name has to wait, as far as it is known.
func (r *refusals) wait(k key, now int64) time.Duration {
	s := &r.stripes[k.stripe%stripes]
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.said == nil {
		return 0
	}
	said := &s.said[k.tag%r.most]
	if said.key != k || now >= said.fresh || now < said.fresh-int64(soon) {
		return 0
	}
	return time.Duration(said.until - now)
}
