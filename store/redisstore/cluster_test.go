// SPDX-License-Identifier: Apache-2.0

package redisstore_test

import (
	"context"
	"errors"
	"net"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/grpcauth/grpcauth/internal/servertest"
	"github.com/grpcauth/grpcauth/store"
	"github.com/grpcauth/grpcauth/store/storetest"
)

// startCluster starts three nodes that share the slots, and returns their addresses. What is missing for it is for servertest to say.
func startCluster(t *testing.T) []string {
	t.Helper()
	servertest.Redis(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	addrs := make([]string, 3)
	nodes := make([]*redis.Client, len(addrs))
	ports := freePorts(t, 6) // three for clients, three for the nodes among themselves
	for i := range addrs {
		addrs[i] = "127.0.0.1:" + ports[i]
		server := exec.Command("redis-server", "--port", ports[i], "--cluster-port", ports[i+3], "--bind", "127.0.0.1", "--dir", t.TempDir(),
			"--save", "", "--cluster-enabled", "yes", "--cluster-node-timeout", "15000")
		if err := server.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { server.Process.Kill(); server.Wait() })
		nodes[i] = newClient(t, addrs[i])
		eventually(ctx, t, func() bool { return nodes[i].Ping(ctx).Err() == nil })
		from, to := i*16384/3, (i+1)*16384/3-1
		if err := nodes[i].Do(ctx, "cluster", "addslotsrange", from, to).Err(); err != nil {
			t.Fatal(err)
		}
		if err := nodes[0].Do(ctx, "cluster", "meet", "127.0.0.1", ports[i], ports[i+3]).Err(); err != nil {
			t.Fatal(err)
		}
	}
	for _, node := range nodes {
		eventually(ctx, t, func() bool { return strings.Contains(node.ClusterInfo(ctx).Val(), "cluster_state:ok") })
	}
	return addrs
}

// freePorts are ports that nobody had a moment ago.
func freePorts(t *testing.T, n int) []string {
	t.Helper()
	listeners, ports := make([]net.Listener, n), make([]string, n)
	for i := range listeners {
		var err error
		if listeners[i], err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		_, ports[i], _ = net.SplitHostPort(listeners[i].Addr().String())
	}
	for _, l := range listeners {
		l.Close()
	}
	return ports
}

// eventually asks until something is so.
func eventually(ctx context.Context, t *testing.T, so func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !so() {
		select {
		case <-ctx.Done():
			t.Fatal(ctx.Err())
		case <-tick.C:
		}
	}
}

func TestCluster(t *testing.T) {
	t.Parallel()
	addrs := startCluster(t)
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs, ContextTimeoutEnabled: true})
	t.Cleanup(func() { client.Close() })
	client.OnNewNode(func(node *redis.Client) {
		node.AddHook(hook{process: func(ctx context.Context, cmd redis.Cmder, next redis.ProcessHook) error {
			if !cmd.NoRetry() && slices.Contains([]string{"evalsha", "eval", "getdel", "del"}, cmd.Name()) {
				t.Errorf("%s may be sent again", cmd.Name())
			}
			return next(ctx, cmd)
		}})
	})
	storetest.Test(t, func(t *testing.T, now func() time.Time) storetest.Tested { return newStore(t, client, now) })
	ctx := t.Context()
	s := newStore(t, client, (&clock{}).now)
	const n = 200 // enough for each node to have some of an owner's records
	for i := range n {
		put(t, s, store.Record{Key: strconv.Itoa(i), Owner: "o", Expiry: start.Add(time.Hour)})
	}
	for i := range n {
		rec := store.Record{Key: strconv.Itoa(i), Owner: "o", Version: 1}
		put(t, s, rec)
		if err := s.Put(ctx, rec); !errors.Is(err, store.ErrConflict) {
			t.Fatal(err)
		}
		if i%2 == 0 {
			if err := s.Delete(ctx, rec.Key); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := store.Get(ctx, s, rec.Key); (err == nil) != (i%2 != 0) {
			t.Fatal(err)
		}
		if n, err := s.Add(ctx, rec.Key, 2, time.Minute); err != nil || n != 2 {
			t.Fatal(n, err)
		}
	}
	if recs, err := store.List(ctx, s, "o"); err != nil || len(recs) != n/2 {
		t.Errorf("%d records, %v", len(recs), err)
	}
	for _, addr := range addrs {
		if n := newClient(t, addr).DBSize(ctx).Val(); n < 50 {
			t.Errorf("%s has %d keys", addr, n)
		}
	}

	// An index that cannot be written keeps the record from being written.
	if err := client.RPush(ctx, "grpcauth:owner:broken", "x").Err(); err != nil {
		t.Fatal(err)
	}
	unknown(t, "Put", s.Put(ctx, store.Record{Key: "unlisted", Owner: "broken"}))
	if _, err := s.Get(ctx, "unlisted"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the error is %v", err)
	}

	// Writes are sent once, but follow a slot that has moved.
	for key, step := range map[string]func(key string) error{
		"moved":      func(key string) error { return s.Put(ctx, store.Record{Key: key}) },
		"moved, too": func(key string) error { return s.Delete(ctx, key) },
	} {
		moveSlot(t, addrs, keySlot("grpcauth:record:"+key))
		if err := step(key); err != nil {
			t.Error(err)
		}
	}
}

// moveSlot gives an empty slot to another node.
func moveSlot(t *testing.T, addrs []string, slot int64) {
	t.Helper()
	from := slot * 3 / 16384
	to := addrs[(from+1)%3]
	id := newClient(t, to).Do(t.Context(), "cluster", "myid").Val()
	for _, addr := range []string{to, addrs[from], addrs[(from+2)%3]} {
		if err := newClient(t, addr).Do(t.Context(), "cluster", "setslot", slot, "node", id).Err(); err != nil {
			t.Fatal(err)
		}
	}
}
