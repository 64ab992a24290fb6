// SPDX-License-Identifier: Apache-2.0

package redisstore_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/grpcauth/grpcauth/internal/servertest"
	"github.com/grpcauth/grpcauth/store"
	"github.com/grpcauth/grpcauth/store/redisstore"
	"github.com/grpcauth/grpcauth/store/storetest"
)

func TestMain(m *testing.M) {
	redis.SetLogger(silence{}) // It tells of each server that is down.
	goleak.VerifyTestMain(m)
}

type silence struct{}

func (silence) Printf(context.Context, string, ...any) {}

var start = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

// clock is moved by hand.
type clock struct{ passed atomic.Int64 }

func (c *clock) now() time.Time          { return start.Add(time.Duration(c.passed.Load())) }
func (c *clock) advance(d time.Duration) { c.passed.Add(int64(d)) }

// newClient is a client as New wants it, which gives up quickly.
func newClient(t *testing.T, addr string, more ...func(*redis.Options)) *redis.Client {
	t.Helper()
	opts := &redis.Options{Addr: addr, ContextTimeoutEnabled: true, MinRetryBackoff: -1, DialerRetries: 1}
	for _, change := range more {
		change(opts)
	}
	client := redis.NewClient(opts)
	t.Cleanup(func() { client.Close() })
	return client
}

func newStore(t *testing.T, client redis.UniversalClient, now func() time.Time) *redisstore.Store {
	t.Helper()
	s, err := redisstore.New(redisstore.Options{Client: client, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// open is a store on a server of its own, with the client and the clock behind it.
func open(t *testing.T) (*redisstore.Store, *redis.Client, *clock) {
	t.Helper()
	client, c := newClient(t, servertest.Redis(t)), &clock{}
	return newStore(t, client, c.now), client, c
}

func put(t *testing.T, s store.Store, rec store.Record) {
	t.Helper()
	if err := s.Put(t.Context(), rec); err != nil {
		t.Fatal(err)
	}
}

// keys are those of the records in a list.
func keys(t *testing.T, s store.Store, owner string) string {
	t.Helper()
	recs, err := store.List(t.Context(), s, owner)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, rec := range recs {
		all = append(all, rec.Key)
	}
	return strings.Join(all, " ")
}

// unknown checks that an error says that nothing is known.
func unknown(t *testing.T, doing string, err error) {
	t.Helper()
	if err == nil || errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrConflict) {
		t.Errorf("%s: the error is %v, want one that says that nothing is known", doing, err)
	}
}

func TestRefusesOptionsThatWouldNotWork(t *testing.T) {
	t.Parallel()
	client := func(change func(*redis.Options)) redis.UniversalClient {
		return newClient(t, "127.0.0.1:1", change)
	}
	cluster := func(opts redis.ClusterOptions) redis.UniversalClient {
		opts.Addrs, opts.ContextTimeoutEnabled = []string{"127.0.0.1:1"}, true
		c := redis.NewClusterClient(&opts)
		t.Cleanup(func() { c.Close() })
		return c
	}
	ring := redis.NewRing(&redis.RingOptions{ContextTimeoutEnabled: true})
	t.Cleanup(func() { ring.Close() })
	for want, opts := range map[string]redisstore.Options{
		"Client: is a <nil>: make it with redis.NewClient": {},
		"Client: is a *redis.Ring":                         {Client: ring},
		"set ContextTimeoutEnabled to true":                {Client: client(func(o *redis.Options) { o.ContextTimeoutEnabled = false })},
		"leave ReadTimeout":                                {Client: client(func(o *redis.Options) { o.ReadTimeout = -1 })},
		"and WriteTimeout unset":                           {Client: client(func(o *redis.Options) { o.WriteTimeout = -1 })},
		"leave ClientSideCache":                            {Client: client(func(o *redis.Options) { o.ClientSideCacheConfig = &redis.ClientSideCacheConfig{} })},
		"leave ReadOnly":                                   {Client: cluster(redis.ClusterOptions{ReadOnly: true})},
		"RouteByLatency":                                   {Client: cluster(redis.ClusterOptions{RouteByLatency: true})},
		"RouteRandomly unset":                              {Client: cluster(redis.ClusterOptions{RouteRandomly: true})},
		"Prefix: has a brace":                              {Client: client(func(*redis.Options) {}), Prefix: "{auth}:"},
	} {
		if _, err := redisstore.New(opts); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error is %v, want one with %q", err, want)
		}
	}
	if _, err := redisstore.New(redisstore.Options{Client: cluster(redis.ClusterOptions{})}); err != nil {
		t.Error(err)
	}
}

// counting counts the writes on all connections: a round trip is one, however many commands it has.
func counting(trips *atomic.Int64) func(*redis.Options) {
	return func(o *redis.Options) {
		o.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
			return countedConn{conn, trips}, err
		}
	}
}

type countedConn struct {
	net.Conn

	trips *atomic.Int64
}

func (c countedConn) Write(b []byte) (int, error) {
	c.trips.Add(1)
	return c.Conn.Write(b)
}

func TestMakesOneRoundTrip(t *testing.T) {
	t.Parallel()
	var trips atomic.Int64
	s := newStore(t, newClient(t, servertest.Redis(t), counting(&trips)), (&clock{}).now)
	ctx := t.Context()
	rec := store.Record{Key: "key", Owner: "owner", Value: []byte("value"), Expiry: start.Add(time.Hour)}
	steps := []struct {
		name string
		do   func() error
		want int64
	}{
		{"Get of nothing", func() error { _, err := s.Get(ctx, "other"); return err }, 1},
		{"Put", func() error { return s.Put(ctx, rec) }, 1},
		{"Put without an owner", func() error { return s.Put(ctx, store.Record{Key: "free"}) }, 1},
		{"Put that is refused", func() error { return s.Put(ctx, rec) }, 1},
		{"Get", func() error { _, err := s.Get(ctx, "key"); return err }, 1},
		{"Add", func() error { _, err := s.Add(ctx, "counter", 1, time.Minute); return err }, 1},
		{"AddAll", func() error {
			sums, err := s.AddAll(ctx, store.Addition{Key: "counter", N: 1, Window: time.Minute}, store.Addition{Key: "none", Window: time.Minute}, store.Addition{Key: "new", N: 3, Window: time.Minute})
			if err == nil && !slices.Equal(sums, []int64{2, 0, 3}) {
				t.Errorf("AddAll: the sums are %v", sums)
			}
			return err
		}, 1},
		{"AddAll of nothing", func() error { _, err := s.AddAll(ctx); return err }, 0},
		{"List", func() error { _, err := s.List(ctx, "owner"); return err }, 2},
		{"Delete", func() error { return s.Delete(ctx, "key") }, 1},
		{"Delete of nothing", func() error { return s.Delete(ctx, "other") }, 1},
	}
	// The first call makes the connection, and scripts are sent in full once.
	put(t, s, store.Record{Key: "first", Owner: "first"})
	if _, err := s.Add(ctx, "first", 1, time.Minute); err != nil {
		t.Fatal(err)
	}
	for _, step := range steps {
		before := trips.Load()
		if err := step.do(); err != nil && !errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrConflict) {
			t.Errorf("%s: %v", step.name, err)
		}
		if n := trips.Load() - before; n != step.want {
			t.Errorf("%s makes %d round trips, want %d", step.name, n, step.want)
		}
	}
}

func TestExpiryFollowsTheClockAndNotRedis(t *testing.T) {
	t.Parallel()
	s, client, c := open(t)
	ctx := t.Context()
	put(t, s, store.Record{Key: "short", Owner: "o", Expiry: c.now().Add(time.Millisecond)})
	put(t, s, store.Record{Key: "long", Owner: "o", Expiry: c.now().Add(24 * time.Hour)})
	if got := keys(t, s, "o"); got != "long short" {
		t.Errorf("the list is %q", got)
	}
	for key, want := range map[string]time.Duration{"record:short": 2 * time.Hour, "record:long": 26 * time.Hour, "owner:o": 26 * time.Hour} {
		if ttl, err := client.PTTL(ctx, "grpcauth:"+key).Result(); err != nil || ttl < want-time.Minute || ttl > want+time.Millisecond {
			t.Errorf("Redis keeps %s for %v, %v, want %v", key, ttl, err, want)
		}
	}
	c.advance(time.Millisecond)
	if _, err := s.Get(ctx, "short"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the error is %v", err)
	}
	if got := keys(t, s, "o"); got != "long" {
		t.Errorf("the list is %q", got)
	}
	c.advance(-time.Hour)
	if _, err := s.Get(ctx, "short"); err != nil {
		t.Errorf("an hour earlier it is gone: %v", err)
	}
	put(t, s, store.Record{Key: "past", Expiry: c.now().Add(-24 * time.Hour)})
	if ttl := client.PTTL(ctx, "grpcauth:record:past").Val(); ttl > time.Millisecond {
		t.Errorf("Redis keeps what is over since yesterday for %v", ttl)
	}
}

func TestExpiryOfAllTimes(t *testing.T) {
	t.Parallel()
	s, _, _ := open(t)
	for name, expiry := range map[string]time.Time{
		"never":       {},
		"far":         start.AddDate(200, 0, 0),
		"millisecond": start.Add(time.Second + 123*time.Millisecond),
	} {
		put(t, s, store.Record{Key: name, Owner: "o", Expiry: expiry})
		if rec, err := s.Get(t.Context(), name); err != nil || !rec.Expiry.Equal(expiry) {
			t.Errorf("%s: the expiry is %v, %v", name, rec.Expiry, err)
		}
	}
	for name, expiry := range map[string]time.Time{
		"before 1970":        time.Unix(-1, 0),
		"1970":               time.Unix(0, 0),
		"before all":         time.Unix(-1<<60, 0),
		"after what can be":  time.Unix(1<<60, 0),
		"after what is kept": time.UnixMilli(1 << 60),
	} {
		put(t, s, store.Record{Key: name, Owner: "o", Expiry: expiry})
		if _, err := s.Get(t.Context(), name); (err == nil) != expiry.After(start) {
			t.Errorf("%s: the error is %v", name, err)
		}
	}
}

func TestBracesDoNotChooseTheNode(t *testing.T) {
	t.Parallel()
	s, client, _ := open(t)
	ctx := t.Context()
	for i := range 20 {
		key := fmt.Sprintf("{same}%d", i)
		put(t, s, store.Record{Key: key, Owner: key})
		if _, err := s.Add(ctx, key, 1, time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	names, err := client.Keys(ctx, "*").Result()
	if err != nil || len(names) != 60 {
		t.Fatalf("%d keys, %v", len(names), err)
	}
	slots := map[int64]bool{}
	for _, name := range names {
		slots[keySlot(name)] = true
	}
	if len(slots) < 50 {
		t.Errorf("60 keys lie in %d slots", len(slots))
	}
}

// keySlot is CRC16 (XMODEM) of what is between the first braces, or of all, as Redis Cluster has it.
func keySlot(key string) int64 {
	if _, rest, ok := strings.Cut(key, "{"); ok {
		if tag, _, ok := strings.Cut(rest, "}"); ok && tag != "" {
			key = tag
		}
	}
	var crc uint16
	for _, b := range []byte(key) {
		crc ^= uint16(b) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return int64(crc % 16384)
}

func TestKeysThatLookEscapedAreOthers(t *testing.T) {
	t.Parallel()
	s, _, _ := open(t)
	for _, key := range []string{"{", "%7b", "%257b", "}", "%7d", "%", "%25", "\x00", "a:b", "é\xff"} {
		put(t, s, store.Record{Key: key, Owner: key})
		if rec, err := store.Get(t.Context(), s, key); err != nil || rec.Key != key || rec.Version != 1 {
			t.Errorf("%q: %+v, %v", key, rec, err)
		}
		if got := keys(t, s, key); got != key {
			t.Errorf("the list of %q is %q", key, got)
		}
	}
}

func TestPrefixesAreApart(t *testing.T) {
	t.Parallel()
	client := newClient(t, servertest.Redis(t))
	a, err := redisstore.New(redisstore.Options{Client: client, Prefix: "a:"})
	if err != nil {
		t.Fatal(err)
	}
	b, err := redisstore.New(redisstore.Options{Client: client, Prefix: "b:"})
	if err != nil {
		t.Fatal(err)
	}
	put(t, a, store.Record{Key: "k", Owner: "o"})
	put(t, b, store.Record{Key: "k"})
	if keys(t, a, "o") != "k" || keys(t, b, "o") != "" {
		t.Error("the lists are not apart")
	}
}

func TestCounterIsExactAndKeepsItsWindow(t *testing.T) {
	t.Parallel()
	s, client, c := open(t)
	add := func(n int64, window time.Duration, want int64) {
		t.Helper()
		if got, err := s.Add(t.Context(), "c", n, window); err != nil || got != want {
			t.Errorf("the sum is %d, %v, want %d", got, err, want)
		}
	}
	const big = 1<<60 + 1
	add(0, time.Minute, 0)
	add(-5, time.Minute, 0)
	if n := client.DBSize(t.Context()).Val(); n != 0 {
		t.Errorf("adding nothing begins %d counters", n)
	}
	add(big, time.Minute, big)
	if ttl := client.PTTL(t.Context(), "grpcauth:counter:c").Val(); ttl < time.Minute || ttl > 2*time.Minute {
		t.Errorf("Redis keeps it for %v", ttl)
	}
	c.advance(time.Minute - time.Millisecond)
	add(1, time.Hour, big+1)
	add(-big-5, time.Hour, 0)
	add(3, time.Hour, 3)
	c.advance(time.Millisecond)
	add(-1, time.Minute, 0)
	add(1, time.Minute, 1)
	add(1<<62, time.Minute, 1<<62+1)
	if _, err := s.Add(t.Context(), "c", 1<<62, time.Minute); err == nil {
		t.Error("it counts beyond what can be counted")
	}
}

func TestRedis(t *testing.T) {
	t.Parallel()
	client := newClient(t, servertest.Redis(t))
	storetest.Test(t, func(t *testing.T, now func() time.Time) storetest.Tested { return newStore(t, client, now) })
}

// What is imitated is quicker to test with, and proves less.
func TestMiniredis(t *testing.T) {
	t.Parallel()
	storetest.Test(t, func(t *testing.T, now func() time.Time) storetest.Tested {
		return newStore(t, newClient(t, miniredis.RunT(t).Addr()), now)
	})
}
