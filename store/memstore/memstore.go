// SPDX-License-Identifier: Apache-2.0

// Package memstore keeps records and counters in the memory of the process, which they do not outlive.
//
// It is for tests, for services on one machine whose users may have to log in again after a restart, and for counters that need not be shared.
package memstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/grpcauth/grpcauth/store"
)

// ErrFull means that a record or counter cannot be created, since there are as many as there may be and none has expired. What is there is
// never pushed out: it may be somebody's session, or the count of an attacker's attempts.
var ErrFull = errors.New("memstore: full")

// Options bound a [Store]. The zero value is a good choice.
type Options struct {
	// MaxRecords is how many records there may be; 1,000,000 by default. Each takes about 400 bytes beyond its value.
	MaxRecords int
	// MaxCounters is how many counters there may be; 1,000,000 by default. Each takes about 250 bytes.
	MaxCounters int
	// Now replaces time.Now.
	Now func() time.Time
}

// Store is a [store.Store] and a [store.Counter]. It is safe for concurrent use and has no goroutine: what has expired is not returned any more, and goes
// for good as others are written, an hour later or when its place is needed.
type Store struct {
	now      func() time.Time
	records  *table
	counters *table
}

var (
	_ store.Store   = (*Store)(nil)
	_ store.Counter = (*Store)(nil)
)

// New returns an empty store. An error names the option that is wrong.
func New(opts Options) (*Store, error) {
	for name, n := range map[string]*int{"MaxRecords": &opts.MaxRecords, "MaxCounters": &opts.MaxCounters} {
		switch {
		case *n < 0 || *n > math.MaxInt32:
			return nil, fmt.Errorf("memstore: Options.%s is out of bounds: write a number of up to %d, or zero for the default", name, math.MaxInt32)
		case *n == 0:
			*n = 1_000_000
		}
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	return &Store{now: opts.Now, records: newTable(opts.MaxRecords), counters: newTable(opts.MaxCounters)}, nil
}

// Format prints the type alone, whatever the verb.
func (*Store) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "memstore.Store") }

// Get implements [store.Store].
func (s *Store) Get(ctx context.Context, key string) (store.Record, error) {
	if err := cmp.Or(ctx.Err(), store.CheckKey(key)); err != nil {
		return store.Record{}, err
	}
	now := millis(s.now())
	sh, hash := s.records.shard(key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	at := sh.byKey.find(key, hash)
	if at == nil || at.text.expiry() <= now {
		return store.Record{}, store.ErrNotFound
	}
	return at.text.record(), nil
}

// Put implements [store.Store]. It returns [ErrFull] if there is no room for another record.
func (s *Store) Put(ctx context.Context, rec store.Record) error {
	if err := cmp.Or(ctx.Err(), store.CheckRecord(&rec)); err != nil {
		return err
	}
	now, expiry := millis(s.now()), millis(rec.Expiry)
	sh, hash := s.records.shard(rec.Key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	at := sh.byKey.find(rec.Key, hash)
	there := at != nil && !at.entry.expired(now)
	switch {
	case there != (rec.Version > 0), there && at.entry.number != rec.Version:
		return store.ErrConflict
	case there:
		sh.change(at, rec.Owner, rec.Value, expiry, rec.Version+1)
		return nil
	case at != nil:
		sh.remove(at.entry)
	}
	if sh.create(rec.Key, rec.Owner, rec.Value, hash, expiry, 1, now) == nil {
		return ErrFull
	}
	return nil
}

// Delete implements [store.Store].
func (s *Store) Delete(ctx context.Context, key string) error {
	if err := cmp.Or(ctx.Err(), store.CheckKey(key)); err != nil {
		return err
	}
	sh, hash := s.records.shard(key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if e := sh.find(key, hash); e != nil {
		sh.remove(e)
	}
	return nil
}

// List implements [store.Store].
func (s *Store) List(ctx context.Context, owner string) ([]store.Record, error) {
	if owner == "" {
		return nil, ctx.Err()
	}
	var recs []store.Record
	for _, key := range s.records.owned(owner) {
		rec, err := s.Get(ctx, key)
		switch {
		case errors.Is(err, store.ErrNotFound) || err == nil && rec.Owner != owner:
		case err != nil:
			return nil, err
		default:
			recs = append(recs, rec)
		}
	}
	slices.SortFunc(recs, func(a, b store.Record) int { return strings.Compare(a.Key, b.Key) })
	return recs[:min(len(recs), store.MaxList)], ctx.Err()
}

// Add implements [store.Counter]. It returns [ErrFull] if there is no room for another counter.
func (s *Store) Add(ctx context.Context, key string, n int64, window time.Duration) (int64, error) {
	if err := cmp.Or(ctx.Err(), store.CheckKey(key)); err != nil {
		return 0, err
	}
	if window < time.Millisecond {
		return 0, errors.New("memstore: the window is shorter than a millisecond")
	}
	at := s.now()
	now := millis(at)
	sh, hash := s.counters.shard(key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	e := sh.find(key, hash)
	if e != nil && e.expired(now) {
		sh.remove(e)
		e = nil
	}
	if e == nil {
		if n <= 0 {
			return 0, nil
		}
		if e = sh.create(key, "", nil, hash, millis(at.Add(window)), 0, now); e == nil {
			return 0, ErrFull
		}
	}
	switch {
	case n > math.MaxInt64-e.number && n > 0:
		e.number = math.MaxInt64
	default:
		e.number = max(0, e.number+n)
	}
	return e.number, nil
}

// never is later than every time.
const never = math.MaxInt64

// millis is a time in milliseconds, rounded down.
func millis(t time.Time) int64 {
	if t.IsZero() {
		return never
	}
	return t.UnixMilli()
}
