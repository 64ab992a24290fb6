// SPDX-License-Identifier: Apache-2.0

package redisstore_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/grpcauth/grpcauth/internal/servertest"
	"github.com/grpcauth/grpcauth/store"
	"github.com/grpcauth/grpcauth/store/redisstore"
)

// hook stands between a client and its connections.
type hook struct {
	process  func(ctx context.Context, cmd redis.Cmder, next redis.ProcessHook) error
	pipeline func(ctx context.Context, cmds []redis.Cmder, next redis.ProcessPipelineHook) error
}

func (hook) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h hook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	if h.process == nil {
		return next
	}
	return func(ctx context.Context, cmd redis.Cmder) error { return h.process(ctx, cmd, next) }
}

func (h hook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	if h.pipeline == nil {
		return next
	}
	return func(ctx context.Context, cmds []redis.Cmder) error { return h.pipeline(ctx, cmds, next) }
}

// everything does each thing that a store does, and returns the errors.
func everything(ctx context.Context, s *redisstore.Store) map[string]error {
	errs := map[string]error{}
	_, errs["Get"] = s.Get(ctx, "k")
	errs["Put"] = s.Put(ctx, store.Record{Key: "k", Owner: "o"})
	errs["Put without an owner"] = s.Put(ctx, store.Record{Key: "k"})
	errs["Put over another"] = s.Put(ctx, store.Record{Key: "k", Owner: "o", Version: 1})
	errs["Delete"] = s.Delete(ctx, "k")
	_, errs["List"] = s.List(ctx, "o")
	_, errs["Add"] = s.Add(ctx, "k", 1, time.Minute)
	_, errs["AddAll"] = s.AddAll(ctx, store.Addition{Key: "k", N: 1, Window: time.Minute}, store.Addition{Key: "k", Window: time.Minute})
	return errs
}

func TestErrorsOfRedisAreUnknown(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"LOADING Redis is loading the dataset in memory", "OOM command not allowed", "NOAUTH Authentication required.", "BUSY", "CLUSTERDOWN Hash slot not served", "NOSCRIPT not yet"} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			server := miniredis.RunT(t)
			client := newClient(t, server.Addr())
			s := newStore(t, client, nil)
			put(t, s, store.Record{Key: "k", Owner: "o"})
			server.SetError(text)
			for doing, err := range everything(t.Context(), s) {
				unknown(t, doing, err)
				if err == nil || !strings.Contains(err.Error(), text) {
					t.Errorf("%s: the error is %v", doing, err)
				}
			}
			server.SetError("")
			if got := keys(t, s, "o"); got != "k" {
				t.Errorf("the list is %q", got)
			}
		})
	}
}

func TestWrongTypeIsUnknown(t *testing.T) {
	t.Parallel()
	s, client, _ := open(t)
	ctx := t.Context()
	for _, key := range []string{"grpcauth:record:k", "grpcauth:owner:o", "grpcauth:counter:k"} {
		if err := client.RPush(ctx, key, "x").Err(); err != nil {
			t.Fatal(err)
		}
	}
	for doing, err := range everything(ctx, s) {
		unknown(t, doing, err)
	}
	s, client, _ = open(t)
	put(t, s, store.Record{Key: "a", Owner: "o"})
	put(t, s, store.Record{Key: "b", Owner: "o"})
	client.Del(ctx, "grpcauth:record:b")
	client.RPush(ctx, "grpcauth:record:b", "x")
	_, err := s.List(ctx, "o")
	unknown(t, "List with one record of a wrong type", err)
	client.HSet(ctx, "grpcauth:counter:c", "end", "soon", "sum", "many")
	_, err = s.Add(ctx, "c", 1, time.Minute)
	unknown(t, "Add to what is no counter", err)
}

func TestEnvelopeThatIsCutIsUnknown(t *testing.T) {
	t.Parallel()
	s, client, _ := open(t)
	ctx := t.Context()
	put(t, s, store.Record{Key: "k", Owner: "o", Value: []byte("value")})
	whole, err := client.Get(ctx, "grpcauth:record:k").Result()
	if err != nil {
		t.Fatal(err)
	}
	for n := range whole {
		client.Set(ctx, "grpcauth:record:k", whole[:n], 0)
		_, err := s.Get(ctx, "k")
		unknown(t, "Get", err)
		_, err = s.List(ctx, "o")
		unknown(t, "List", err)
		if n < 25 {
			unknown(t, "Put", s.Put(ctx, store.Record{Key: "k", Owner: "o"}))
			unknown(t, "Put over another", s.Put(ctx, store.Record{Key: "k", Owner: "o", Version: 1}))
		}
	}
	client.Set(ctx, "grpcauth:record:k", whole, 0)
	if _, err := s.Get(ctx, "k"); err != nil {
		t.Error(err)
	}
}

func TestScriptsThatAreFlushedAreSentAgain(t *testing.T) {
	t.Parallel()
	s, client, _ := open(t)
	ctx := t.Context()
	for version := range int64(5) {
		for _, step := range []func() error{
			func() error { return s.Put(ctx, store.Record{Key: "k", Owner: "o", Version: version}) },
			func() error { return s.Put(ctx, store.Record{Key: "free", Version: version}) },
			func() error { _, err := s.Add(ctx, "c", 1, time.Minute); return err },
		} {
			if err := client.ScriptFlush(ctx).Err(); err != nil {
				t.Fatal(err)
			}
			if err := step(); err != nil {
				t.Fatal(err)
			}
		}
	}
	// One script is known, the other is not.
	client.ScriptFlush(ctx)
	put(t, s, store.Record{Key: "free", Version: 5})
	put(t, s, store.Record{Key: "late", Owner: "o"})
	if got := keys(t, s, "o"); got != "k late" {
		t.Errorf("the list is %q", got)
	}
	if rec, err := s.Get(ctx, "k"); err != nil || rec.Version != 5 {
		t.Errorf("the version is %d, %v, want 5", rec.Version, err)
	}
	if n, err := s.Add(ctx, "c", 1, time.Minute); err != nil || n != 6 {
		t.Errorf("the sum is %d, %v, want 6", n, err)
	}
}

func TestReplicaIsReadAndNotWritten(t *testing.T) {
	t.Parallel()
	s, client, _ := open(t)
	ctx := t.Context()
	put(t, s, store.Record{Key: "k", Owner: "o"})
	put(t, s, store.Record{Key: "gone", Owner: "o"})
	if err := s.Delete(ctx, "gone"); err != nil {
		t.Fatal(err)
	}
	host, port, _ := net.SplitHostPort(servertest.Redis(t))
	if err := client.Do(ctx, "replicaof", host, port).Err(); err != nil {
		t.Fatal(err)
	}
	for doing, err := range everything(ctx, s) {
		switch doing {
		case "Get", "List":
		default:
			unknown(t, doing, err)
		}
	}
	_, err := s.Add(ctx, "unknown", 0, time.Minute)
	unknown(t, "Add of nothing", err)
	unknown(t, "Put over nothing", s.Put(ctx, store.Record{Key: "nothing", Version: 1}))
	if err := client.Do(ctx, "replicaof", "no", "one").Err(); err != nil {
		t.Fatal(err)
	}
	put(t, s, store.Record{Key: "after", Owner: "o"})
}

func TestServerThatIsKilledIsFoundAgain(t *testing.T) {
	t.Parallel()
	server := servertest.Start(t, servertest.StartRedis)
	client := newClient(t, server.Addr)
	if err := client.ConfigSet(t.Context(), "appendfsync", "always").Err(); err != nil {
		t.Fatal(err)
	}
	s := newStore(t, client, nil)
	put(t, s, store.Record{Key: "before", Owner: "o"})
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	for doing, err := range everything(t.Context(), s) {
		unknown(t, doing, err)
	}
	if err := server.Restart(); err != nil {
		t.Fatal(err)
	}
	put(t, s, store.Record{Key: "after", Owner: "o"})
	if got := keys(t, s, "o"); got != "after before" {
		t.Errorf("the list is %q", got)
	}
}

func TestPoolThatIsExhaustedIsUnknown(t *testing.T) {
	t.Parallel()
	client := newClient(t, servertest.Redis(t), func(o *redis.Options) { o.PoolSize, o.PoolTimeout = 1, time.Millisecond })
	s := newStore(t, client, nil)
	taken := client.Conn()
	if err := taken.Ping(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	for doing, err := range everything(t.Context(), s) {
		unknown(t, doing, err)
	}
	taken.Close()
	put(t, s, store.Record{Key: "k", Owner: "o"})
}

func TestContextThatHasEndedIsTheError(t *testing.T) {
	t.Parallel()
	s, _, _ := open(t)
	put(t, s, store.Record{Key: "k", Owner: "o"})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for doing, err := range everything(ctx, s) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: the error is %v", doing, err)
		}
	}
}

func TestContextThatEndsDuringListIsTheError(t *testing.T) {
	t.Parallel()
	s, client, _ := open(t)
	put(t, s, store.Record{Key: "k", Owner: "o"})
	ctx, cancel := context.WithCancel(t.Context())
	client.AddHook(hook{pipeline: func(ctx context.Context, cmds []redis.Cmder, next redis.ProcessPipelineHook) error {
		cancel()
		return next(ctx, cmds)
	}})
	if recs, err := s.List(ctx, "o"); !errors.Is(err, context.Canceled) || recs != nil {
		t.Errorf("%d records, %v", len(recs), err)
	}
}

// A pool that lost count of its replies gives each command the reply to the one before.
func TestSwappedRepliesAreNoticed(t *testing.T) {
	t.Parallel()
	s, client, c := open(t)
	ctx := t.Context()
	put(t, s, store.Record{Key: "alice", Owner: "a"})
	put(t, s, store.Record{Key: "bob", Owner: "b"})
	put(t, s, store.Record{Key: "bert", Owner: "b"})
	broken := newClient(t, client.Options().Addr)
	var last any
	swap := func(cmd redis.Cmder) {
		switch cmd := cmd.(type) {
		case *redis.StringCmd:
			cmd.SetErr(nil)
			was := cmd.Val()
			if last, ok := last.(string); ok {
				cmd.SetVal(last)
			}
			last = was
		case interface {
			redis.Cmder
			Val() any
			SetVal(val any)
		}:
			was := cmd.Val()
			cmd.SetErr(nil)
			cmd.SetVal(last)
			last = was
		}
	}
	broken.AddHook(hook{
		process: func(ctx context.Context, cmd redis.Cmder, next redis.ProcessHook) error {
			_ = next(ctx, cmd)
			swap(cmd)
			return cmd.Err()
		},
		pipeline: func(ctx context.Context, cmds []redis.Cmder, next redis.ProcessPipelineHook) error {
			err := next(ctx, cmds)
			for _, cmd := range cmds {
				swap(cmd)
			}
			return err
		},
	})
	b := newStore(t, broken, c.now)
	wantSwapped := func(doing string, err error) {
		t.Helper()
		if !errors.Is(err, store.ErrSwapped) {
			t.Errorf("%s: the error is %v", doing, err)
		}
	}
	if _, err := store.Get(ctx, b, "alice"); err != nil {
		t.Fatal(err) // the first reply is the right one
	}
	put(t, s, store.Record{Key: "old", Owner: "a", Expiry: start})
	_, err := store.Get(ctx, b, "old")
	wantSwapped("Get", err)
	_, err = store.Get(ctx, b, "bob")
	wantSwapped("Get", err)
	_, err = store.List(ctx, b, "b")
	wantSwapped("List", err)
	if err := s.Put(ctx, store.Record{Key: "alice", Owner: "a", Version: 7}); !errors.Is(err, store.ErrConflict) {
		t.Fatal(err)
	}
	for _, owner := range []string{"", "a"} {
		unknown(t, "Put", b.Put(ctx, store.Record{Key: "alice", Owner: owner, Version: 7}))
		wantSwapped("second Put", b.Put(ctx, store.Record{Key: "alice", Owner: owner, Version: 7}))
	}
	_, err = b.Add(ctx, "c", 1, time.Minute)
	wantSwapped("Add", err)
	_, err = b.Add(ctx, "c", 1, time.Minute)
	unknown(t, "second Add", err)
}

func TestErrorsKeepKeysToThemselves(t *testing.T) {
	t.Parallel()
	s, client, _ := open(t)
	ctx := t.Context()
	for _, key := range []string{"grpcauth:record:sesame", "grpcauth:owner:sesame", "grpcauth:counter:sesame"} {
		client.RPush(ctx, key, "x")
	}
	_, err := s.Get(ctx, "sesame")
	errs := []error{err, s.Put(ctx, store.Record{Key: "sesame"}), s.Put(ctx, store.Record{Key: "a", Owner: "sesame"}), s.Put(ctx, store.Record{Key: strings.Repeat("sesame", 100)})}
	_, err = s.List(ctx, "sesame")
	errs = append(errs, err)
	_, err = s.Add(ctx, "sesame", 1, time.Minute)
	for i, err := range append(errs, err) {
		if err == nil || strings.Contains(err.Error(), "sesame") {
			t.Errorf("error %d is %v", i, err)
		}
	}
}
