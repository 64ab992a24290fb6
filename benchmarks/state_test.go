// SPDX-License-Identifier: Apache-2.0

package benchmarks

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
	"github.com/redis/go-redis/v9"
	"google.golang.org/grpc"
	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/apikey"
	"github.com/grpcauth/grpcauth/backends/session"
	"github.com/grpcauth/grpcauth/internal/servertest"
	"github.com/grpcauth/grpcauth/store"
	"github.com/grpcauth/grpcauth/store/memstore"
	"github.com/grpcauth/grpcauth/store/redisstore"
	"github.com/grpcauth/grpcauth/store/sqlstore"
)

const (
	sessionHeader = "x-session-id"
	keyHeader     = "x-api-key"
)

// holding calls an interceptor without a server, with a credential in a header of its own.
func (w *world) holding(b grpcauth.Backend, header, value string) op {
	interceptor := grpcauth.New(b).Unary()
	ctx, md := w.incoming("")
	delete(md, "authorization")
	md.Set(header, value)
	info := &grpc.UnaryServerInfo{FullMethod: method}
	return opFunc(func() error {
		_, err := interceptor(ctx, nil, info, nothing)
		return err
	})
}

// sessions are logins of different users, kept in a store.
func (w *world) sessions(s store.Store, n int) (b *session.Backend, ids []string) {
	w.Helper()
	b, err := session.New(session.Options{Store: s, Cookie: "-", MetadataKey: sessionHeader})
	if err != nil {
		w.Fatal(err)
	}
	ids = make([]string, n)
	for i := range ids {
		user := &grpcauth.User{ID: "user-" + strconv.Itoa(i), Name: "Alice Example", Scopes: []string{"orders.read", "orders.write"}, AuthTime: time.Now()}
		if ids[i], _, err = b.Create(w.Context(), user, session.Device{Name: "laptop", Address: "192.0.2.1"}); err != nil {
			w.Fatal(err)
		}
	}
	return b, ids
}

func (w *world) memory(records int) *memstore.Store {
	w.Helper()
	s, err := memstore.New(memstore.Options{MaxRecords: records})
	if err != nil {
		w.Fatal(err)
	}
	return s
}

// inMemory is our interceptor alone with a session in memory, beside one whose backend lets everybody in.
func inMemory() contest {
	return contest{ready: func(w *world) (ours, peer op) {
		b, ids := w.sessions(w.memory(1_000), 1)
		everybody := grpcauth.BackendFunc(func(context.Context, *grpcauth.Request) (*grpcauth.User, error) {
			return &grpcauth.User{ID: userName}, nil
		})
		return w.holding(b, sessionHeader, ids[0]), w.holding(everybody, "x-nothing", "")
	}}
}

func BenchmarkSessionInMemory(b *testing.B) { benchmark(b, inMemory()) }

// adds measures how much longer ours takes.
func adds(c contest) func(*world, effort) reading {
	return func(w *world, e effort) reading {
		w.Helper()
		t := compare(w, c, e)
		return reading{duration(t.ours), duration(t.peer), "", t.ours - t.peer}
	}
}

// manySessions is a check of one of many sessions in memory after the other, in no order, beside the same with few.
func manySessions(many, few int) contest {
	return contest{ready: func(w *world) (ours, peer op) {
		pick := func(n int) op {
			b, ids := w.sessions(w.memory(n+1), n)
			rand.Shuffle(n, func(i, j int) { ids[i], ids[j] = ids[j], ids[i] }) //nolint:gosec // an order is no secret
			ctx, md := w.incoming("")
			delete(md, "authorization")
			md.Set(sessionHeader, "")
			return &round{interceptor: grpcauth.New(b).Unary(), ctx: ctx, value: md[sessionHeader], authorizations: ids}
		}
		return pick(many), pick(few)
	}}
}

// weighed counts the bytes of values.
type weighed struct {
	*memstore.Store
	bytes atomic.Int64
}

func (s *weighed) Put(ctx context.Context, rec store.Record) error {
	s.bytes.Add(int64(len(rec.Value)))
	return s.Store.Put(ctx, rec)
}

// sessionMemory measures the heap that each session in memory takes beyond its value.
func sessionMemory(w *world, e effort) reading {
	w.Helper()
	n := 10 * e.tokens
	before := heap()
	s := &weighed{Store: w.memory(n)}
	_, ids := w.sessions(s, n)
	runtime.KeepAlive(ids)
	ids = nil //nolint:ineffassign,wastedassign // they are the callers', not the store's
	each := (heap() - before - float64(s.bytes.Load())) / float64(n)
	runtime.KeepAlive(s)
	return reading{size(each), "", "", each}
}

// databases are started once for all figures, as they take seconds.
type databases struct {
	once            sync.Once
	redis, postgres string
}

func (p *provider) started() *databases {
	p.databases.once.Do(func() {
		p.databases.redis, p.databases.postgres = servertest.Redis(p.tb), servertest.Postgres(p.tb)
	})
	return &p.databases
}

// inRedis is a check of a session in Redis, beside a GET of its size.
func inRedis() contest {
	return contest{ready: func(w *world) (ours, peer op) {
		o, client, _ := w.redisSession()
		value := make([]byte, 400)
		if err := client.Set(w.Context(), "bare", value, 0).Err(); err != nil {
			w.Fatal(err)
		}
		ctx := w.Context()
		return o, opFunc(func() error { return client.Get(ctx, "bare").Err() })
	}}
}

// trips counts what is sent to Redis.
type trips struct{ n atomic.Int64 }

func (t *trips) DialHook(next redis.DialHook) redis.DialHook { return next }

func (t *trips) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		t.n.Add(1)
		return next(ctx, cmd)
	}
}

func (t *trips) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		t.n.Add(1)
		return next(ctx, cmds)
	}
}

func (w *world) redisSession() (op, *redis.Client, *trips) {
	w.Helper()
	client := redis.NewClient(&redis.Options{Addr: w.started().redis, ContextTimeoutEnabled: true})
	w.Cleanup(func() { _ = client.Close() })
	t := &trips{}
	s, err := redisstore.New(redisstore.Options{Client: client})
	if err != nil {
		w.Fatal(err)
	}
	b, ids := w.sessions(s, 1)
	client.AddHook(t)
	return w.holding(b, sessionHeader, ids[0]), client, t
}

// redisTrips counts the round trips of a check.
func redisTrips(w *world, e effort) reading {
	w.Helper()
	var each float64
	w.scoped(func(w *world) {
		o, _, t := w.redisSession()
		if err := repeat(o, e.batch, 1); err != nil {
			w.Fatal(err)
		}
		each = float64(t.n.Load()) / float64(e.batch)
	})
	return reading{number(each), "", "", each}
}

// inSQL is a check of a session in a database, beside a prepared SELECT of the same columns.
func inSQL(open func(w *world) (*sql.DB, sqlstore.Dialect)) contest {
	return contest{ready: func(w *world) (ours, peer op) {
		db, dialect := open(w)
		w.Cleanup(func() { _ = db.Close() })
		s, err := sqlstore.New(w.Context(), sqlstore.Options{DB: db, Dialect: dialect})
		if err != nil {
			w.Fatal(err)
		}
		w.Cleanup(func() { _ = s.Close() })
		b, ids := w.sessions(s, 1)
		mark := map[sqlstore.Dialect]string{sqlstore.SQLite: "?", sqlstore.PostgreSQL: "$1"}[dialect]
		stmt, err := db.PrepareContext(w.Context(), "SELECT key, owner, value, expiry, version FROM grpcauth_records WHERE key = "+mark) //nolint:gosec // ours
		if err != nil {
			w.Fatal(err)
		}
		w.Cleanup(func() { _ = stmt.Close() })
		var key []byte
		if err := db.QueryRowContext(w.Context(), "SELECT key FROM grpcauth_records LIMIT 1").Scan(&key); err != nil {
			w.Fatal(err)
		}
		ctx := w.Context()
		return w.holding(b, sessionHeader, ids[0]), opFunc(func() error {
			var found, owner, value []byte
			var expiry, version int64
			return stmt.QueryRowContext(ctx, key).Scan(&found, &owner, &value, &expiry, &version)
		})
	}}
}

func sqlite(w *world) (*sql.DB, sqlstore.Dialect) {
	w.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(w.TempDir(), "bench.db")+"?_txlock=immediate&_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)")
	if err != nil {
		w.Fatal(err)
	}
	return db, sqlstore.SQLite
}

func postgres(w *world) (*sql.DB, sqlstore.Dialect) {
	w.Helper()
	db, err := sql.Open("pgx", w.started().postgres)
	if err != nil {
		w.Fatal(err)
	}
	return db, sqlstore.PostgreSQL
}

func BenchmarkSessionInSQLite(b *testing.B) { benchmark(b, inSQL(sqlite)) }

// strangers is a refused API key of an ID that is unknown, beside one whose ID is known and whose secret is wrong.
func strangers() contest {
	return contest{ready: func(w *world) (ours, peer op) {
		s := w.memory(1_000)
		b, err := apikey.New(apikey.Options{Store: s, Prefix: "orders_live"})
		if err != nil {
			w.Fatal(err)
		}
		w.Cleanup(func() { _ = b.Close() })
		create := func() (string, *apikey.Key) {
			text, key, err := b.Create(w.Context(), apikey.Key{Name: "ci", Owner: userName})
			if err != nil {
				w.Fatal(err)
			}
			return text, key
		}
		gone, key := create()
		if err := b.Revoke(w.Context(), key.ID); err != nil {
			w.Fatal(err)
		}
		known, key := create()
		if _, err := b.Rotate(w.Context(), key.ID, 0); err != nil { // known has the secret of before
			w.Fatal(err)
		}
		refused := func(text string) op {
			o := w.holding(b, keyHeader, text)
			return opFunc(func() error {
				if err := o.do(); grpcauth.CodeOf(err) != grpcauth.CodeInvalid {
					return fmt.Errorf("got %w, want a refusal", err)
				}
				return nil
			})
		}
		return refused(gone), refused(known)
	}}
}
