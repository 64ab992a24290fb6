// SPDX-License-Identifier: Apache-2.0

// Package store holds the state of sessions, API keys and refresh tokens: small records under keys that are hashes, and counters.
//
// The interfaces are all that the rest of the module knows of a database. memstore, sqlstore and redisstore implement both, and
// storetest tests any implementation.
package store

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"
)

// The bounds of a [Record]. Stores refuse what is beyond them with an error that is neither [ErrNotFound] nor [ErrConflict].
const (
	// MaxKey is the size of the longest key and of the longest owner in bytes; keys have at least one.
	MaxKey = 512
	// MaxValue is the size of the longest value in bytes.
	MaxValue = 64 << 10
	// MaxList is how many records List returns at the most.
	MaxList = 10_000
)

var (
	// ErrNotFound means that there is no record under the key, or that it has expired.
	ErrNotFound = errors.New("no such record")
	// ErrConflict means that the record is not the one that was to be replaced: it was changed, deleted, or has expired meanwhile, or one
	// that was to be created is there already.
	ErrConflict = errors.New("the record was changed meanwhile")
	// ErrSwapped means that a store answered with another record than the one that was asked for, as a pool of connections does that
	// lost track of its replies. Nothing that it says can be believed.
	ErrSwapped = errors.New("the store answered with a record that was not asked for")
)

// Record is a value under a key. What it says is the application's; stores see only hashes of secrets.
type Record struct {
	// Key and Owner may hold any bytes. The owner is whose record it is, for List; a record with an empty one is in no list.
	Key, Owner string
	// Value may be empty; no difference is made between an empty value and nil.
	Value []byte
	// Expiry is when the record ends; never, if it is zero. Stores keep it to the millisecond, rounded down.
	Expiry time.Time
	// Version counts the times that the record was put, from 1.
	Version int64
}

// Store keeps records. It is safe for concurrent use.
//
// Every error but ErrNotFound and ErrConflict, returned or wrapped, means that nothing is known: the store could not be asked, or a write
// may have happened or not. Methods return when their context ends. Records do not share memory with their callers.
type Store interface {
	// Get returns the record under the key, with the key as it is stored. The error is ErrNotFound if there is none, also once its Expiry has
	// come by the store's clock.
	Get(ctx context.Context, key string) (Record, error)
	// Put stores a record. With Version 0 it creates one; otherwise it replaces the record of that version. What is stored has Version+1.
	// The error is ErrConflict if there is one to be created already, or if the one to be replaced is not there in that version. A record that
	// has expired is not there.
	Put(ctx context.Context, rec Record) error
	// Delete removes the record under the key, if there is one.
	Delete(ctx context.Context, key string) error
	// List returns the records of an owner that have not expired, in the order of their keys. A record that is put or deleted meanwhile may be
	// in the list or not; one that belongs to another owner never is.
	List(ctx context.Context, owner string) ([]Record, error)
}

// Counter counts within windows of time. It is safe for concurrent use.
type Counter interface {
	// Add adds n to the counter under the key and returns the sum, in one atomic step. A counter begins at 0 and ends, whatever is added to
	// it, when the window that it was begun with is over, which is at least a millisecond and is ignored later. Its sum is never below 0. Adding nothing, or less
	// than nothing, begins no counter.
	Add(ctx context.Context, key string, n int64, window time.Duration) (total int64, err error)
}

// CheckKey returns an error if a key is beyond the bounds. It is for implementations, as is [CheckRecord].
func CheckKey(key string) error {
	if key == "" || len(key) > MaxKey {
		return fmt.Errorf("store: a key of %d bytes: it must have 1 to %d", len(key), MaxKey)
	}
	return nil
}

// CheckRecord returns an error if a record is beyond the bounds: ErrConflict if its version is one that no record ever has.
func CheckRecord(rec *Record) error {
	switch {
	case len(rec.Owner) > MaxKey:
		return fmt.Errorf("store: an owner of %d bytes: it must have at most %d", len(rec.Owner), MaxKey)
	case len(rec.Value) > MaxValue:
		return fmt.Errorf("store: a value of %d bytes: it must have at most %d", len(rec.Value), MaxValue)
	case rec.Version < 0 || rec.Version == math.MaxInt64:
		return ErrConflict
	}
	return CheckKey(rec.Key)
}

// Get returns the record under the key, and ErrSwapped if the store returns another: nobody must get what is another's.
func Get(ctx context.Context, s Store, key string) (Record, error) {
	rec, err := s.Get(ctx, key)
	if err != nil {
		return Record{}, err
	}
	if rec.Key != key {
		return Record{}, ErrSwapped
	}
	return rec, nil
}

// List returns the records of an owner, and ErrSwapped if the store returns one of another.
func List(ctx context.Context, s Store, owner string) ([]Record, error) {
	recs, err := s.List(ctx, owner)
	if err != nil {
		return nil, err
	}
	for i := range recs {
		if recs[i].Owner != owner {
			return nil, ErrSwapped
		}
	}
	return recs, nil
}
