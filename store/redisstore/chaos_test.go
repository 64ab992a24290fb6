// SPDX-License-Identifier: Apache-2.0

package redisstore_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/grpcauth/grpcauth/internal/chaos"
	"github.com/grpcauth/grpcauth/internal/servertest"
	"github.com/grpcauth/grpcauth/store"
	"github.com/grpcauth/grpcauth/store/redisstore"
)

// bench is a server that is reached through a proxy, and directly to learn what is true.
type bench struct {
	*chaos.Proxy

	t      *testing.T
	store  *redisstore.Store
	direct *redisstore.Store
	client *redis.Client
}

func newBench(t *testing.T, addr string) *bench {
	t.Helper()
	b := &bench{Proxy: chaos.New(t, addr), t: t, direct: newStore(t, newClient(t, addr), nil)}
	b.client = newClient(t, b.Addr())
	b.store = newStore(t, b.client, nil)
	return b
}

// prepare stores what operate expects: a record in version 1 and a counter at 1, under a name of their own. Its calls through the proxy
// leave behind a connection that works.
func (b *bench) prepare(name string) {
	b.t.Helper()
	put(b.t, b.store, store.Record{Key: name, Owner: name, Value: []byte(name)})
	if n, err := b.store.Add(b.t.Context(), name, 1, time.Hour); err != nil || n != 1 {
		b.t.Fatal(n, err)
	}
}

// operate does each thing in trouble, within the deadline, and checks that what is said is true or that nothing is said. It returns how
// many of them were done. Those that wait in vain, late, are to say that it was the deadline.
func (b *bench) operate(name string, patience time.Duration, late bool) (done int) {
	b.t.Helper()
	check := func(doing string, err error, right bool) {
		b.t.Helper()
		switch {
		case err == nil && right:
			done++
		case err == nil:
			b.t.Errorf("%s: %s says what is not so", name, doing)
		default:
			unknown(b.t, name+": "+doing, err)
			if late && !errors.Is(err, context.DeadlineExceeded) {
				b.t.Errorf("%s: %s took until the deadline, but the error is %v", name, doing, err)
			}
		}
	}
	limited := func(f func(ctx context.Context)) {
		ctx, cancel := context.WithTimeout(b.t.Context(), patience)
		defer cancel()
		f(ctx)
	}
	limited(func(ctx context.Context) {
		rec, err := store.Get(ctx, b.store, name)
		check("Get", err, rec.Version == 1 && string(rec.Value) == name)
	})
	limited(func(ctx context.Context) {
		recs, err := store.List(ctx, b.store, name)
		check("List", err, len(recs) == 1)
	})
	limited(func(ctx context.Context) {
		_, err := b.store.Get(ctx, "nothing")
		if !errors.Is(err, store.ErrNotFound) {
			check("Get of nothing", err, false)
		}
	})
	limited(func(ctx context.Context) {
		err := b.store.Put(ctx, store.Record{Key: name, Owner: name, Value: []byte(name), Version: 1})
		rec, truth := b.direct.Get(b.t.Context(), name)
		check("Put", err, truth == nil && rec.Version == 2)
		if truth != nil || rec.Version > 2 {
			b.t.Errorf("%s: Put left version %d, %v", name, rec.Version, truth)
		}
	})
	limited(func(ctx context.Context) {
		err := b.store.Put(ctx, store.Record{Key: name + " new", Owner: name})
		rec, truth := b.direct.Get(b.t.Context(), name+" new")
		check("Put of a new one", err, truth == nil && rec.Version == 1)
	})
	limited(func(ctx context.Context) {
		err := b.store.Put(ctx, store.Record{Key: name, Version: 7})
		if !errors.Is(err, store.ErrConflict) {
			check("Put over another", err, false)
		}
	})
	limited(func(ctx context.Context) {
		n, err := b.store.Add(ctx, name, 1, time.Hour)
		check("Add", err, n == 2)
	})
	limited(func(ctx context.Context) {
		err := b.store.Delete(ctx, name)
		_, truth := b.direct.Get(b.t.Context(), name)
		check("Delete", err, errors.Is(truth, store.ErrNotFound))
	})
	return done
}

const operations = 6 // that operate can see done

func TestTroubleIsNeverSuccess(t *testing.T) {
	t.Parallel()
	addr := servertest.Redis(t)
	for name, trouble := range map[string]struct {
		mode     chaos.Mode
		patience time.Duration
		late     bool
		done     int
	}{
		"passing":    {chaos.Pass, time.Minute, false, operations},
		"slow":       {chaos.Latency(time.Millisecond), time.Minute, false, operations},
		"too slow":   {chaos.Latency(time.Hour), 50 * time.Millisecond, true, 0},
		"reset":      {chaos.Reset, 50 * time.Millisecond, false, 0},
		"half-open":  {chaos.HalfOpen, 50 * time.Millisecond, true, 0},
		"black hole": {chaos.BlackHole, 50 * time.Millisecond, true, 0},
		"cut":        {chaos.Cut(0), 50 * time.Millisecond, false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, addr)
			b.prepare(name)
			b.Set(trouble.mode)
			if done := b.operate(name, trouble.patience, trouble.late); done != trouble.done {
				t.Errorf("%d of %d were done, want %d", done, operations, trouble.done)
			}
			b.Set(chaos.Pass)
			b.prepare(name + " again")
			if done := b.operate(name+" again", time.Minute, false); done != operations {
				t.Errorf("afterwards %d of %d were done", done, operations)
			}
		})
	}
}

// Each answer is cut at each of its bytes.
func TestAnswersThatAreCutAreNeverSuccess(t *testing.T) {
	t.Parallel()
	b := newBench(t, servertest.Redis(t))
	for n := range 60 {
		name := fmt.Sprintf("cut at %d", n)
		b.Set(chaos.Pass)
		b.prepare(name)
		b.Set(chaos.Cut(n))
		b.operate(name, 20*time.Millisecond, false)
	}
	b.Set(chaos.Pass)
	b.prepare("afterwards")
	if done := b.operate("afterwards", time.Minute, false); done != operations {
		t.Errorf("afterwards %d of %d were done", done, operations)
	}
}

// A client that would send a write again, once its answer is lost, would meet what it wrote itself.
func TestWritesAreSentOnce(t *testing.T) {
	t.Parallel()
	addr := servertest.Redis(t)
	direct := newStore(t, newClient(t, addr), nil)
	proxy := chaos.New(t, addr)
	var dials atomic.Int64
	client := newClient(t, "", func(o *redis.Options) {
		o.MaxRetries = 3
		o.Dialer = func(ctx context.Context, _, _ string) (net.Conn, error) {
			if dials.Add(1) > 1 {
				proxy.Set(chaos.Pass) // The way is clear for whoever tries again.
			}
			return (&net.Dialer{}).DialContext(ctx, "tcp", proxy.Addr())
		}
	})
	s := newStore(t, client, nil)
	ctx := t.Context()
	lose := func() {
		t.Helper()
		ping := func(p redis.Pipeliner) error { return p.Ping(ctx).Err() }
		if _, err := client.Pipelined(ctx, ping); err != nil {
			t.Fatal(err)
		}
		if err := client.Ping(ctx).Err(); err != nil { // There is a pool for each kind.
			t.Fatal(err)
		}
		dials.Store(1)
		proxy.Set(chaos.Cut(0))
	}
	version := func(key string, want int64) {
		t.Helper()
		if rec, err := direct.Get(ctx, key); err != nil || rec.Version != want {
			t.Errorf("%q is in version %d, %v, want %d", key, rec.Version, err, want)
		}
	}
	put(t, direct, store.Record{Key: "so that scripts are known", Owner: "first"})
	if _, err := direct.Add(ctx, "first", 1, time.Hour); err != nil {
		t.Fatal(err)
	}
	for _, owner := range []string{"", "owner"} {
		key := "of " + owner
		lose()
		unknown(t, "Put of a new one", s.Put(ctx, store.Record{Key: key, Owner: owner}))
		version(key, 1)
		lose()
		unknown(t, "Put", s.Put(ctx, store.Record{Key: key, Owner: owner, Version: 1}))
		version(key, 2)
		if err := s.Put(ctx, store.Record{Key: key, Owner: owner, Version: 1}); !errors.Is(err, store.ErrConflict) {
			t.Errorf("Put over another: the error is %v", err)
		}
	}
	lose()
	_, err := s.Add(ctx, "counter", 1, time.Hour)
	unknown(t, "Add", err)
	if n, err := s.Add(ctx, "counter", 1, time.Hour); err != nil || n != 2 {
		t.Errorf("the sum is %d, %v, want 2", n, err)
	}
	lose()
	unknown(t, "Delete", s.Delete(ctx, "of owner"))
	if _, err := direct.Get(ctx, "of owner"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the error is %v", err)
	}
	lose()
	if _, err := s.Get(ctx, "of "); err != nil {
		t.Errorf("Get was not tried again: %v", err)
	}
}
