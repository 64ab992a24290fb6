// SPDX-License-Identifier: Apache-2.0

// Package redisstore keeps records and counters in Redis 7.0 or later: on one server, behind sentinels or in a Cluster.
//
// Get, Put, Delete, Add and AddAll make one round trip each. In a Cluster a Put with an owner makes two: the list of an owner's records may lie
// on another node, and is written before the record is. What has expired is judged by Options.Now; Redis forgets it some hours later.
//
// Redis answers before its replicas know, so a failover may forget what was written last, a revocation too. Where that matters let it
// wait for them (min-replicas-to-write). It must not evict anything (maxmemory-policy noeviction).
package redisstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/grpcauth/grpcauth/store"
)

// Options configure a [Store].
type Options struct {
	// Client is a *redis.Client or a *redis.ClusterClient, required. ContextTimeoutEnabled must be set, so that calls end with their
	// context's deadline; one that is cancelled earlier ends at the latest with ReadTimeout. Whoever made it closes it.
	//
	// Reads are tried again as often as its MaxRetries says. Writes are sent once, since the second would come after the first.
	Client redis.UniversalClient
	// Prefix begins all keys in Redis, "grpcauth:" by default.
	Prefix string
	// Now is time.Now by default.
	Now func() time.Time
}

const (
	// slack is how much longer than its expiry a record is kept. Servers agree on what there is though one's clock is an hour fast and
	// another's an hour slow, and what was denied stays denied when a clock is set back.
	slack = 2 * time.Hour
	// counterSlack is the same for counters, which are many, and do less harm when they are forgotten.
	counterSlack = time.Minute
)

// Store is a [store.Store] and a [store.Counter].
type Store struct {
	client  redis.UniversalClient
	ordered bool // commands that are sent together are done in their order
	prefix  string
	now     func() time.Time
}

var (
	_ store.Store   = (*Store)(nil)
	_ store.Counter = (*Store)(nil)
)

// New returns a store. It asks Redis nothing.
func New(opts Options) (*Store, error) {
	s := &Store{client: opts.Client, prefix: opts.Prefix, now: opts.Now}
	if s.prefix == "" {
		s.prefix = "grpcauth:"
	}
	if s.now == nil {
		s.now = time.Now
	}
	if strings.ContainsAny(s.prefix, "{}") {
		return nil, errors.New(`Prefix: has a brace, which would put all keys on one node of a Cluster: write one like "grpcauth:"`)
	}
	var deadlines bool
	var read, write time.Duration
	switch client := opts.Client.(type) {
	case *redis.Client:
		o := client.Options()
		if o.ClientSideCache != nil || o.ClientSideCacheConfig != nil {
			return nil, errors.New("Client: its cache would show records after they were deleted: leave ClientSideCache and ClientSideCacheConfig unset")
		}
		deadlines, read, write = o.ContextTimeoutEnabled, o.ReadTimeout, o.WriteTimeout
		s.ordered = true
	case *redis.ClusterClient:
		o := client.Options()
		if o.ReadOnly || o.RouteByLatency || o.RouteRandomly {
			return nil, errors.New("Client: replicas would show records after they were deleted: leave ReadOnly, RouteByLatency and RouteRandomly unset")
		}
		deadlines, read, write = o.ContextTimeoutEnabled, o.ReadTimeout, o.WriteTimeout
	default:
		return nil, fmt.Errorf("Client: is a %T: make it with redis.NewClient, NewFailoverClient or NewClusterClient", opts.Client)
	}
	if !deadlines {
		return nil, errors.New("Client: would not obey deadlines: set ContextTimeoutEnabled to true")
	}
	if read <= 0 || write <= 0 {
		return nil, errors.New("Client: would wait forever: leave ReadTimeout and WriteTimeout unset, or give them a duration")
	}
	return s, nil
}

// Get implements [store.Store].
func (s *Store) Get(ctx context.Context, key string) (store.Record, error) {
	if err := checkKey(key); err != nil {
		return store.Record{}, err
	}
	data, err := s.client.Get(ctx, s.recordKey(key)).Result()
	if errors.Is(err, redis.Nil) {
		return store.Record{}, store.ErrNotFound
	}
	if err != nil {
		return store.Record{}, failed(ctx, err)
	}
	rec, err := decode(data)
	if err != nil {
		return store.Record{}, err
	}
	if rec.Key == key && expired(rec.Expiry, s.now()) { // Of another record, it would say nothing of this one.
		return store.Record{}, store.ErrNotFound
	}
	return rec, nil
}

// Put implements [store.Store].
//
// The owner's index is written first. If that is all that is done, it names a record that is not there, and List passes over it. If only
// the record is done, as by one server that refuses the index alone, the error says that nothing is known: a record that was created
// has a key that nobody was told, and one that was replaced is in the index since it was created.
func (s *Store) Put(ctx context.Context, rec store.Record) error {
	if err := checkRecord(rec); err != nil {
		return err
	}
	if rec.Version < 0 || rec.Version == maxVersion {
		return store.ErrConflict // No record is ever there in such a version.
	}
	now := s.now()
	expected := appendNumber(nil, rec.Version, 8)
	rec.Version++
	ttl := ""
	if !rec.Expiry.IsZero() {
		ttl = strconv.FormatInt(max(1, millis(rec.Expiry)-now.UnixMilli()+slack.Milliseconds()), 10)
	}
	calls := []call{newCall(putScript, s.recordKey(rec.Key), expected, now.UnixMilli(), encode(rec), ttl)}
	if rec.Owner != "" {
		index := newCall(indexScript, s.indexKey(rec.Owner), rec.Key, scoreText(score(rec)), now.Add(-slack).UnixMilli(), ttl, maxIndex)
		calls = slices.Insert(calls, 0, index)
	}
	answers, err := s.run(ctx, calls...)
	if errors.Is(err, errFull) {
		_, _ = s.list(ctx, rec.Owner, maxIndex) // It makes room for the next, if there is any.
	}
	if err != nil {
		return err
	}
	switch answers[len(answers)-1] {
	case "ok":
		return nil
	case "conflict":
		return store.ErrConflict
	default:
		return store.ErrSwapped
	}
}

// Delete implements [store.Store].
func (s *Store) Delete(ctx context.Context, key string) error {
	if err := checkKey(key); err != nil {
		return err
	}
	// DEL takes many keys, so that a client of a Cluster makes commands of its own from it, which it may send again.
	err := s.client.Process(ctx, once{redis.NewCmd(ctx, "getdel", s.recordKey(key))})
	if errors.Is(err, redis.Nil) {
		return nil
	}
	return failed(ctx, err)
}

// Add implements [store.Counter].
func (s *Store) Add(ctx context.Context, key string, n int64, window time.Duration) (int64, error) {
	totals, err := s.AddAll(ctx, store.Addition{Key: key, N: n, Window: window})
	if err != nil {
		return 0, err
	}
	return totals[0], nil
}

// AddAll is called by [store.AddAll]. It makes one round trip, to all nodes of a Cluster at once.
func (s *Store) AddAll(ctx context.Context, adds ...store.Addition) ([]int64, error) {
	now := s.now()
	calls := make([]call, len(adds))
	for i, add := range adds {
		if err := checkKey(add.Key); err != nil {
			return nil, err
		}
		if add.Window < time.Millisecond {
			return nil, fmt.Errorf("window: is %v: write at least a millisecond", add.Window)
		}
		calls[i] = newCall(addScript, s.counterKey(add.Key), add.N, now.UnixMilli(), now.Add(add.Window).UnixMilli(), (add.Window + counterSlack).Milliseconds())
	}
	answers, err := s.runTogether(ctx, calls...)
	if err != nil {
		return nil, err
	}
	totals := make([]int64, len(adds))
	for i, answer := range answers {
		if totals[i], err = strconv.ParseInt(answer, 10, 64); err != nil || totals[i] < 0 {
			return nil, store.ErrSwapped
		}
	}
	return totals, nil
}

// The kinds of keys. What stands in braces chooses the node of a Cluster, so keys are stored without any that open.
func (s *Store) recordKey(key string) string  { return s.prefix + "record:" + braces.Replace(key) }
func (s *Store) indexKey(owner string) string { return s.prefix + "owner:" + braces.Replace(owner) }
func (s *Store) counterKey(key string) string { return s.prefix + "counter:" + braces.Replace(key) }

// It is undone by nobody, but two keys must not become one.
var braces = strings.NewReplacer("%", "%25", "{", "%7b")

// failed says what went wrong. Once the context has ended, that is the reason; a connection may notice it before the context does.
func failed(ctx context.Context, err error) error {
	deadline, limited := ctx.Deadline()
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		err = ctx.Err()
	case limited && !time.Now().Before(deadline):
		err = context.DeadlineExceeded
	}
	return fmt.Errorf("redis: %w", err)
}
