// SPDX-License-Identifier: Apache-2.0

package redisstore_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/grpcauth/grpcauth/store"
)

const index = "grpcauth:owner:o"

// scores are what an index says.
func scores(t *testing.T, client *redis.Client) string {
	t.Helper()
	members, err := client.ZRangeWithScores(t.Context(), index, 0, -1).Result()
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, z := range members {
		score := "inf"
		if !math.IsInf(z.Score, 1) {
			score = (time.Duration(z.Score)*time.Millisecond - time.Duration(start.UnixNano())).String()
			if z.Score < 0 {
				score = "missed at " + (time.Duration(-z.Score)*time.Millisecond - time.Duration(start.UnixNano())).String()
			}
		}
		all = append(all, fmt.Sprintf("%v: %s", z.Member, score))
	}
	return strings.Join(all, ", ")
}

func wantScores(t *testing.T, client *redis.Client, want string) {
	t.Helper()
	if got := scores(t, client); got != want {
		t.Errorf("the index is %q, want %q", got, want)
	}
}

func TestListDropsWhatIsGoneOnlyAfterHours(t *testing.T) {
	t.Parallel()
	s, client, c := open(t)
	put(t, s, store.Record{Key: "kept", Owner: "o"})
	put(t, s, store.Record{Key: "gone", Owner: "o"})
	if err := s.Delete(t.Context(), "gone"); err != nil {
		t.Fatal(err)
	}
	wantScores(t, client, "gone: inf, kept: inf")
	list := func() {
		t.Helper()
		if got := keys(t, s, "o"); got != "kept" {
			t.Errorf("the list is %q", got)
		}
	}
	list()
	wantScores(t, client, "gone: missed at 0s, kept: inf")
	c.advance(2*time.Hour - time.Millisecond)
	list()
	wantScores(t, client, "gone: missed at 0s, kept: inf")
	c.advance(time.Millisecond)
	list()
	wantScores(t, client, "kept: inf")
}

func TestRecordThatComesBackIsListed(t *testing.T) {
	t.Parallel()
	s, client, c := open(t)
	rec := store.Record{Key: "k", Owner: "o", Expiry: start.Add(24 * time.Hour)}
	put(t, s, rec)
	if err := s.Delete(t.Context(), "k"); err != nil {
		t.Fatal(err)
	}
	keys(t, s, "o")
	wantScores(t, client, "k: missed at 0s")
	c.advance(2 * time.Hour)
	put(t, s, rec)
	wantScores(t, client, "k: 24h0m0s")
	if got := keys(t, s, "o"); got != "k" {
		t.Errorf("the list is %q", got)
	}
}

// A Put writes the index, then the record. A List in between misses the record, and says so after the record was written.
func TestListThatRacesWithPutLosesNothing(t *testing.T) {
	t.Parallel()
	s, client, c := open(t)
	put(t, s, store.Record{Key: "k", Owner: "o", Expiry: start.Add(24 * time.Hour)})
	client.ZAdd(t.Context(), index, redis.Z{Score: -float64(start.UnixMilli()), Member: "k"})
	c.advance(4 * time.Hour)
	put(t, s, store.Record{Key: "other", Owner: "o", Expiry: start.Add(5 * time.Hour)})
	if got := keys(t, s, "o"); got != "k other" {
		t.Errorf("the list is %q", got)
	}
	wantScores(t, client, "other: 5h0m0s, k: 24h0m0s")
}

func TestTidyingLeavesAloneWhatWasPutMeanwhile(t *testing.T) {
	t.Parallel()
	s, client, c := open(t)
	rec := store.Record{Key: "k", Owner: "o"}
	put(t, s, rec)
	if err := s.Delete(t.Context(), "k"); err != nil {
		t.Fatal(err)
	}
	keys(t, s, "o")
	c.advance(3 * time.Hour)
	slow := newClient(t, client.Options().Addr)
	slow.AddHook(hook{pipeline: func(ctx context.Context, cmds []redis.Cmder, next redis.ProcessPipelineHook) error {
		err := next(ctx, cmds)
		if cmds[0].Name() == "get" {
			put(t, s, rec) // after it was missed, before the index is tidied
		}
		return err
	}})
	if got := keys(t, newStore(t, slow, c.now), "o"); got != "" {
		t.Errorf("the list is %q", got)
	}
	wantScores(t, client, "k: inf")
	if got := keys(t, s, "o"); got != "k" {
		t.Errorf("the list is %q", got)
	}
}

func TestPutDropsWhatExpiredLongAgo(t *testing.T) {
	t.Parallel()
	s, client, c := open(t)
	put(t, s, store.Record{Key: "a", Owner: "o", Expiry: start.Add(time.Hour)})
	put(t, s, store.Record{Key: "b", Owner: "o", Expiry: start.Add(2 * time.Hour)})
	c.advance(3 * time.Hour)
	put(t, s, store.Record{Key: "c", Owner: "o", Expiry: start.Add(6 * time.Hour)})
	wantScores(t, client, "b: 2h0m0s, c: 6h0m0s")
}

func TestIndexLivesAsLongAsTheLongestRecord(t *testing.T) {
	t.Parallel()
	s, client, c := open(t)
	lives := func(want time.Duration) {
		t.Helper()
		ttl, err := client.PTTL(t.Context(), index).Result()
		if off := want - ttl; err != nil || off < 0 || off > time.Minute {
			t.Errorf("Redis keeps the index for %v, %v, want %v", ttl, err, want)
		}
	}
	put(t, s, store.Record{Key: "a", Owner: "o", Expiry: start.Add(time.Hour)})
	lives(3 * time.Hour)
	put(t, s, store.Record{Key: "b", Owner: "o", Expiry: start.Add(48 * time.Hour)})
	lives(50 * time.Hour)
	put(t, s, store.Record{Key: "c", Owner: "o", Expiry: start.Add(time.Hour)})
	lives(50 * time.Hour)
	c.advance(time.Hour / 2)
	put(t, s, store.Record{Key: "a", Owner: "o", Version: 1, Expiry: start.Add(100 * time.Hour)})
	lives(101*time.Hour + time.Hour/2)
	wantScores(t, client, "c: 1h0m0s, b: 48h0m0s, a: 100h0m0s")
	put(t, s, store.Record{Key: "d", Owner: "o"})
	lives(-1)
	put(t, s, store.Record{Key: "e", Owner: "o", Expiry: start.Add(time.Hour)})
	lives(-1)
}

func TestShorterExpiryKeepsTheIndexEntry(t *testing.T) {
	t.Parallel()
	s, client, _ := open(t)
	put(t, s, store.Record{Key: "k", Owner: "o", Expiry: start.Add(48 * time.Hour)})
	put(t, s, store.Record{Key: "k", Owner: "o", Expiry: start.Add(time.Hour), Version: 1})
	wantScores(t, client, "k: 48h0m0s")
}

func TestListNeverBelievesTheIndex(t *testing.T) {
	t.Parallel()
	s, client, _ := open(t)
	ctx := t.Context()
	put(t, s, store.Record{Key: "mine", Owner: "o"})
	put(t, s, store.Record{Key: "sold", Owner: "o"})
	put(t, s, store.Record{Key: "sold", Owner: "p", Version: 1})
	put(t, s, store.Record{Key: "free"})
	client.ZAdd(ctx, index, redis.Z{Score: math.Inf(1), Member: "free"}, redis.Z{Score: math.Inf(1), Member: "nothing"})
	if got := keys(t, s, "o"); got != "mine" {
		t.Errorf("the list is %q", got)
	}
	if got := keys(t, s, "p"); got != "sold" {
		t.Errorf("the list of the new owner is %q", got)
	}
	if recs, err := s.List(ctx, ""); err != nil || len(recs) != 0 {
		t.Errorf("nobody has %d records, %v", len(recs), err)
	}
}

func TestPutThatConflictsLeavesTheListRight(t *testing.T) {
	t.Parallel()
	s, _, _ := open(t)
	put(t, s, store.Record{Key: "k", Owner: "o"})
	if err := s.Put(t.Context(), store.Record{Key: "k", Owner: "p"}); !errors.Is(err, store.ErrConflict) {
		t.Errorf("the error is %v", err)
	}
	if keys(t, s, "p") != "" || keys(t, s, "o") != "k" {
		t.Error("the lists are wrong")
	}
}

func TestIndexIsBounded(t *testing.T) {
	t.Parallel()
	s, client, c := open(t)
	ctx := t.Context()
	fill := redis.NewScript(`for i = 1, ARGV[1] do redis.call('ZADD', KEYS[1], 'inf', i) end`)
	put(t, s, store.Record{Key: "mine", Owner: "o"})
	if err := fill.Run(ctx, client, []string{index}, 2*store.MaxList-1).Err(); err != nil && !errors.Is(err, redis.Nil) {
		t.Fatal(err)
	}
	put(t, s, store.Record{Key: "mine", Owner: "o", Version: 1})
	unknown(t, "Put", s.Put(ctx, store.Record{Key: "new", Owner: "o"}))
	c.advance(2 * time.Hour)
	unknown(t, "Put", s.Put(ctx, store.Record{Key: "new", Owner: "o"}))
	if err := s.Delete(ctx, "new"); err != nil {
		t.Fatal(err)
	}
	put(t, s, store.Record{Key: "new", Owner: "o"})
	if n := client.ZCard(ctx, index).Val(); n != 2 {
		t.Errorf("the index has %d keys, want 2", n)
	}
}

func TestListReturnsSoManyInOrder(t *testing.T) {
	t.Parallel()
	s, _, _ := open(t)
	const n = 300 // more than are read at once
	for i := range n {
		put(t, s, store.Record{Key: strconv.Itoa(i), Owner: "o", Expiry: start.Add(time.Duration(n-i) * time.Hour)})
	}
	recs, err := store.List(t.Context(), s, "o")
	if err != nil || len(recs) != n {
		t.Fatalf("%d records, %v", len(recs), err)
	}
	for i := 1; i < n; i++ {
		if recs[i-1].Key >= recs[i].Key {
			t.Fatalf("%q comes before %q", recs[i-1].Key, recs[i].Key)
		}
	}
}
