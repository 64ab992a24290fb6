// SPDX-License-Identifier: Apache-2.0

package redisstore

import (
	"cmp"
	"context"
	"errors"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/grpcauth/grpcauth/store"
)

// The index of an owner is a sorted set of keys. It is believed in nothing: List reads the records that it names. It must only never
// miss one that is there.
//
// The score of a key is when its record expires, in milliseconds, or infinite. Delete does not know the owner, so an index names records
// that are gone. List cannot drop these at once: they may be about to be written. It makes their score the time at which they were first
// missed, negative, and drops those that are missed again much later. Putting a record sets the score right, and so does List.
//
// An index lives as long as any record that was put lives, and is never made to live shorter.
const (
	// patience is how long a record is missed before its key is dropped: longer than any Put takes, though clocks are two hours apart.
	patience = slack
	// maxIndex is how many keys an index has at the most. Put refuses more, since a record must not be in no list.
	maxIndex = 2 * store.MaxList
	// batch is how many records are read at once: 8 MiB at the most.
	batch = 128
)

var errFull = errors.New("the owner has too many records")

// entry is what an index says of a record.
type entry struct {
	key   string
	score float64
}

func score(rec store.Record) float64 {
	if rec.Expiry.IsZero() {
		return math.Inf(1)
	}
	return float64(millis(rec.Expiry))
}

// scoreText writes a score as Redis does.
func scoreText(score float64) string {
	if math.IsInf(score, 1) {
		return "inf"
	}
	return strconv.FormatInt(int64(score), 10)
}

// List implements [store.Store].
func (s *Store) List(ctx context.Context, owner string) ([]store.Record, error) {
	if owner == "" {
		return nil, nil
	}
	if err := checkOwner(owner); err != nil {
		return nil, err
	}
	return s.list(ctx, owner, store.MaxList)
}

// list returns up to limit records of the owner, and sets the index right as far as it reads for them.
func (s *Store) list(ctx context.Context, owner string, limit int) ([]store.Record, error) {
	members, err := s.client.ZRangeWithScores(ctx, s.indexKey(owner), 0, -1).Result()
	if err != nil {
		return nil, failed(ctx, err)
	}
	index := make([]entry, len(members))
	for i, z := range members {
		index[i].score = z.Score
		index[i].key, _ = z.Member.(string) // It is one.
	}
	slices.SortFunc(index, func(a, b entry) int { return cmp.Compare(a.key, b.key) })
	now := s.now()
	var recs []store.Record
	for named := range slices.Chunk(index, batch) {
		found, err := s.read(ctx, named)
		if err != nil {
			return nil, err
		}
		var changes []any // key, score and new score of each
		for i, e := range named {
			rec := found[i]
			if is, ok := rescore(e.score, rec, owner, now); ok {
				changes = append(changes, e.key, scoreText(e.score), is)
			}
			if rec.Owner == owner && !expired(rec.Expiry, now) && len(recs) < limit {
				recs = append(recs, rec)
			}
		}
		if len(changes) > 0 {
			// The list is right whether this can be done or not, as it cannot on a replica.
			_, _ = s.run(ctx, newCall(tidyScript, s.indexKey(owner), changes...))
		}
		if len(recs) == limit {
			break
		}
	}
	return recs, nil
}

// read returns the records that are named, zero ones where there are none.
func (s *Store) read(ctx context.Context, named []entry) ([]store.Record, error) {
	pipe := s.client.Pipeline()
	cmds := make([]*redis.StringCmd, len(named))
	for i, e := range named {
		cmds[i] = pipe.Get(ctx, s.recordKey(e.key))
	}
	_, _ = pipe.Exec(ctx) // Each command has its own error.
	recs := make([]store.Record, len(named))
	for i, e := range named {
		data, err := cmds[i].Result()
		if errors.Is(err, redis.Nil) {
			continue
		}
		if err != nil {
			return nil, failed(ctx, err)
		}
		if recs[i], err = decode(data); err != nil {
			return nil, err
		}
		if recs[i].Key != e.key {
			return nil, store.ErrSwapped
		}
	}
	return recs, nil
}

// rescore returns the score that a key should have, and whether it has another. The record is zero if there is none.
func rescore(was float64, rec store.Record, owner string, now time.Time) (is string, ok bool) {
	switch missed := time.Duration(now.UnixMilli()+int64(was)) * time.Millisecond; {
	case rec.Owner == owner:
		return scoreText(score(rec)), was < score(rec)
	case was >= 0:
		return scoreText(-float64(now.UnixMilli())), true
	default:
		return "gone", missed >= patience
	}
}
