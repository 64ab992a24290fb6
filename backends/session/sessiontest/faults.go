// SPDX-License-Identifier: Apache-2.0

package sessiontest

import (
	"context"
	"slices"
	"sync"

	"github.com/grpcauth/grpcauth/store"
)

// mode is how a store fails.
type mode struct {
	name    string
	applied bool // the step that fails is done nonetheless
	lasting bool // all that follow fail too, and are not done
}

var modes = []mode{
	{name: "once, before"},
	{name: "once, after", applied: true},
	{name: "from then on, before", lasting: true},
	{name: "from then on, after", applied: true, lasting: true},
}

// faults is a store that fails at a step, and that keeps what it was given to see.
type faults struct {
	store.Store

	mu      sync.Mutex
	mode    mode // guarded by mu, as all below
	in      int  // the step that fails, from 1; 0: none
	fired   bool // it has
	asked   int
	seen    []store.Record                  // all that was put
	replace func(store.Record) store.Record // what Get makes of an answer
	before  func(store.Record)              // called before a Put
	leaving func()                          // called before a Delete, once
	listing func()                          // called during a List, once
	twice   bool                            // each Put is done twice, as by a client that lost the first answer
}

// arm lets the nth step from now fail.
func (f *faults) arm(n int, m mode) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.in, f.mode, f.fired = n, m, false
}

// heal ends all faults and reports whether there was one.
func (f *faults) heal() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.in = 0
	return f.fired
}

// step reports whether the step that begins fails, and whether it is done nonetheless.
func (f *faults) step() (fails, done bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked++
	switch {
	case f.in == 0:
		return false, true
	case f.in > 1:
		f.in--
		return false, true
	case f.fired && !f.mode.lasting:
		return false, true
	case f.fired:
		return true, false
	}
	f.fired = true
	return true, f.mode.applied
}

// Get fails, or answers something else, if it was told to.
func (f *faults) Get(ctx context.Context, key string) (store.Record, error) {
	if fails, _ := f.step(); fails {
		return store.Record{}, errDown
	}
	rec, err := f.Store.Get(ctx, key)
	f.mu.Lock()
	replace := f.replace
	f.mu.Unlock()
	if replace != nil && err == nil {
		return replace(rec), nil
	}
	return rec, err
}

// Put fails if it was told to.
func (f *faults) Put(ctx context.Context, rec store.Record) error {
	f.mu.Lock()
	f.seen = append(f.seen, rec)
	before, twice := f.before, f.twice
	f.mu.Unlock()
	if before != nil {
		before(rec)
	}
	fails, done := f.step()
	var err error
	if done {
		err = f.Store.Put(ctx, rec)
	}
	if done && twice {
		err = f.Store.Put(ctx, rec)
	}
	if fails {
		return errDown
	}
	return err
}

// Delete fails if it was told to.
func (f *faults) Delete(ctx context.Context, key string) error {
	f.mu.Lock()
	leaving := f.leaving
	f.leaving = nil
	f.mu.Unlock()
	if leaving != nil {
		leaving()
	}
	fails, done := f.step()
	var err error
	if done {
		err = f.Store.Delete(ctx, key)
	}
	if fails {
		return errDown
	}
	return err
}

// List fails, or answers something else, if it was told to.
func (f *faults) List(ctx context.Context, owner string) ([]store.Record, error) {
	if fails, _ := f.step(); fails {
		return nil, errDown
	}
	recs, err := f.Store.List(ctx, owner)
	f.mu.Lock()
	replace, listing := f.replace, f.listing
	f.listing = nil
	f.mu.Unlock()
	if listing != nil && err == nil {
		listing()
		recs, err = f.overlap(ctx, owner, recs)
	}
	if replace != nil {
		for i := range recs {
			recs[i] = replace(recs[i])
		}
	}
	return recs, err
}

// overlap leaves out what was put or deleted since a list began, as a store may.
func (f *faults) overlap(ctx context.Context, owner string, before []store.Record) ([]store.Record, error) {
	after, err := f.Store.List(ctx, owner)
	return slices.DeleteFunc(after, func(a store.Record) bool {
		return !slices.ContainsFunc(before, func(b store.Record) bool { return a.Key == b.Key })
	}), err
}

func (f *faults) duringList(listing func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.listing = listing
}

func (f *faults) answer(replace func(store.Record) store.Record) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.replace = replace
}

func (f *faults) beforePut(before func(store.Record)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.before = before
}

func (f *faults) beforeDelete(leaving func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.leaving = leaving
}

func (f *faults) repeat(twice bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.twice = twice
}

func (f *faults) puts() []store.Record {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.seen)
}

func (f *faults) steps() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked
}
