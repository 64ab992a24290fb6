// SPDX-License-Identifier: Apache-2.0

package canary_test

import (
	"context"
	"database/sql"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
	"github.com/redis/go-redis/v9"
	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/grpcauth/grpcauth/internal/servertest"
	"github.com/grpcauth/grpcauth/store"
	"github.com/grpcauth/grpcauth/store/memstore"
	"github.com/grpcauth/grpcauth/store/redisstore"
	"github.com/grpcauth/grpcauth/store/sqlstore"
)

// database is what all stores are.
type database interface {
	store.Store
	store.Counter
}

// place is where a server keeps its state: a store that can fail, and that shows all that is in it.
type place struct {
	database

	fail, mend func(t *testing.T)
	dump       func(t *testing.T, w *site)
	files      func(t *testing.T) string // the directory of what it wrote to the disk; it may be nil
}

// places make a place each.
var places = map[string]func(t *testing.T) *place{
	"memory": func(t *testing.T) *place {
		t.Helper()
		s := &failing{database: must(memstore.New(memstore.Options{}))(t)}
		return &place{
			database: s, fail: func(*testing.T) { s.down.Store(true) }, mend: func(*testing.T) { s.down.Store(false) },
			dump: func(t *testing.T, w *site) { t.Helper(); w.store.dump(t) },
		}
	},
	"sqlite": func(t *testing.T) *place {
		t.Helper()
		path := filepath.Join(t.TempDir(), "canary.db")
		db := openDB(t, "sqlite", "file:"+path+"?_txlock=immediate&_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)")
		p := openSQL(t, db, sqlstore.SQLite)
		rename := func(from, to string) func(*testing.T) {
			return func(t *testing.T) {
				t.Helper()
				for _, table := range []string{"records", "counters"} {
					must(db.ExecContext(t.Context(), "ALTER TABLE "+from+table+" RENAME TO "+to+table))(t)
				}
			}
		}
		p.fail, p.mend = rename("grpcauth_", "gone_"), rename("gone_", "grpcauth_")
		p.files = func(*testing.T) string { return filepath.Dir(path) }
		return p
	},
	"postgres": func(t *testing.T) *place {
		t.Helper()
		server := servertest.Start(t, servertest.StartPostgres)
		p := openSQL(t, openDB(t, "pgx", server.URL), sqlstore.PostgreSQL)
		p.fail, p.mend = killing(server)
		return p
	},
	"redis": func(t *testing.T) *place {
		t.Helper()
		server := servertest.Start(t, servertest.StartRedis)
		client := redis.NewClient(&redis.Options{Addr: server.Addr, ContextTimeoutEnabled: true, MaxRetries: -1})
		t.Cleanup(func() { _ = client.Close() })
		p := &place{database: must(redisstore.New(redisstore.Options{Client: client}))(t)}
		fail, restart := killing(server)
		p.fail, p.mend = fail, func(t *testing.T) {
			t.Helper()
			restart(t)
			// After many failures go-redis answers with the last of them, and looks for the server only once in a second.
			for client.Ping(t.Context()).Err() != nil {
				select {
				case <-t.Context().Done():
					t.Fatal("redis is not back")
				case <-time.After(10 * time.Millisecond):
				}
			}
		}
		p.dump = func(t *testing.T, w *site) {
			t.Helper()
			dumpRedis(t, w, client)
		}
		p.files = func(t *testing.T) string {
			t.Helper()
			return must(client.ConfigGet(t.Context(), "dir").Result())(t)["dir"] // with all commands that ever changed something
		}
		return p
	},
}

func killing(server *servertest.Server) (fail, mend func(*testing.T)) {
	do := func(what func() error) func(*testing.T) {
		return func(t *testing.T) {
			t.Helper()
			if err := what(); err != nil {
				t.Fatal(err)
			}
		}
	}
	return do(server.Kill), do(server.Restart)
}

func openDB(t *testing.T, driver, dsn string) *sql.DB {
	t.Helper()
	db := must(sql.Open(driver, dsn))(t)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func openSQL(t *testing.T, db *sql.DB, dialect sqlstore.Dialect) *place {
	t.Helper()
	s := must(sqlstore.New(t.Context(), sqlstore.Options{DB: db, Dialect: dialect}))(t)
	t.Cleanup(func() { _ = s.Close() })
	return &place{database: s, dump: func(t *testing.T, w *site) {
		t.Helper()
		for _, table := range []string{"grpcauth_records", "grpcauth_counters"} {
			dumpTable(t, w, db, table)
		}
	}}
}

// dumpTable shows all rows, as they are.
func dumpTable(t *testing.T, w *site, db *sql.DB, table string) {
	t.Helper()
	rows := must(db.QueryContext(t.Context(), "SELECT * FROM "+table))(t) //nolint:unqueryvet // all that there is
	defer rows.Close()
	columns := must(rows.Columns())(t)
	for rows.Next() {
		row := make([]any, len(columns))
		into := make([]any, len(columns))
		for i := range row {
			into[i] = &row[i]
		}
		if err := rows.Scan(into...); err != nil {
			t.Fatal(err)
		}
		w.put("the store itself", fmt.Sprintf("%s %s", row, row))
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
}

// dumpFiles shows what a database wrote to the disk, also of what it deleted later.
func (p *place) dumpFiles(t *testing.T, w *site) {
	t.Helper()
	if p.files == nil {
		return
	}
	root := os.DirFS(p.files(t))
	files := 0
	err := fs.WalkDir(root, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		files++
		text, err := fs.ReadFile(root, path)
		w.put("the store itself", string(text))
		return err
	})
	if err != nil || files == 0 {
		t.Errorf("%d files and %v", files, err)
	}
}

// dumpRedis shows all keys and values.
func dumpRedis(t *testing.T, w *site, client *redis.Client) {
	t.Helper()
	keys := must(client.Keys(t.Context(), "*").Result())(t)
	for _, key := range keys {
		w.put("the store itself", key)
		var value any
		var err error
		switch kind := must(client.Type(t.Context(), key).Result())(t); kind {
		case "string":
			value, err = client.Get(t.Context(), key).Result()
		case "set":
			value, err = client.SMembers(t.Context(), key).Result()
		case "zset":
			value, err = client.ZRangeWithScores(t.Context(), key, 0, -1).Result()
		case "hash":
			value, err = client.HGetAll(t.Context(), key).Result()
		default:
			t.Errorf("%s is a %s", key, kind)
		}
		if err != nil {
			t.Fatal(err)
		}
		w.put("the store itself", fmt.Sprint(value))
	}
}

// failing is a store that fails when it is told to.
type failing struct {
	database

	down atomic.Bool
}

func (f *failing) err() error {
	if f.down.Load() {
		return errOwn
	}
	return nil
}

func (f *failing) Get(ctx context.Context, key string) (store.Record, error) {
	if err := f.err(); err != nil {
		return store.Record{}, err
	}
	return f.database.Get(ctx, key)
}

func (f *failing) Put(ctx context.Context, rec store.Record) error {
	if err := f.err(); err != nil {
		return err
	}
	return f.database.Put(ctx, rec)
}

func (f *failing) List(ctx context.Context, owner string) ([]store.Record, error) {
	if err := f.err(); err != nil {
		return nil, err
	}
	return f.database.List(ctx, owner)
}

func (f *failing) Add(ctx context.Context, key string, n int64, window time.Duration) (int64, error) {
	if err := f.err(); err != nil {
		return 0, err
	}
	return f.database.Add(ctx, key, n, window)
}

// ledger shows all that a store is told, also what is deleted a moment later, and what it says when it fails.
type ledger struct {
	database

	s *sinks

	mu           sync.Mutex
	keys, owners map[string]bool // guarded by mu: all that there were
}

func (l *ledger) note(key, owner string, value []byte) {
	l.s.put("store", fmt.Sprintf("%s %s %s", key, owner, value))
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.keys == nil {
		l.keys, l.owners = map[string]bool{}, map[string]bool{}
	}
	l.keys[key], l.owners[owner] = true, true
}

func (l *ledger) failed(err error) {
	if err != nil {
		l.s.show("errors of the store", err)
	}
}

func (l *ledger) Get(ctx context.Context, key string) (store.Record, error) {
	l.note(key, "", nil)
	rec, err := l.database.Get(ctx, key)
	l.failed(err)
	return rec, err
}

func (l *ledger) Put(ctx context.Context, rec store.Record) error {
	l.note(rec.Key, rec.Owner, rec.Value)
	err := l.database.Put(ctx, rec)
	l.failed(err)
	return err
}

func (l *ledger) Delete(ctx context.Context, key string) error {
	l.note(key, "", nil)
	err := l.database.Delete(ctx, key)
	l.failed(err)
	return err
}

func (l *ledger) List(ctx context.Context, owner string) ([]store.Record, error) {
	l.note("", owner, nil)
	recs, err := l.database.List(ctx, owner)
	l.failed(err)
	return recs, err
}

func (l *ledger) Add(ctx context.Context, key string, n int64, window time.Duration) (int64, error) {
	l.note(key, "", nil)
	total, err := l.database.Add(ctx, key, n, window)
	l.failed(err)
	return total, err
}

func (l *ledger) AddAll(ctx context.Context, adds ...store.Addition) ([]int64, error) {
	for _, add := range adds {
		l.note(add.Key, "", nil)
	}
	totals, err := store.AddAll(ctx, l.database, adds...)
	l.failed(err)
	return totals, err
}

// dump shows all records through the store's own methods.
func (l *ledger) dump(t *testing.T) {
	t.Helper()
	l.mu.Lock()
	keys, owners := slices.Collect(maps.Keys(l.keys)), slices.Collect(maps.Keys(l.owners))
	l.mu.Unlock()
	for _, key := range keys {
		if rec, err := l.database.Get(t.Context(), key); err == nil {
			l.s.put("the store itself", fmt.Sprintf("%s %s %s", rec.Key, rec.Owner, rec.Value))
		}
	}
	for _, owner := range owners {
		for _, rec := range must(l.database.List(t.Context(), owner))(t) {
			l.s.put("the store itself", fmt.Sprintf("%s %s %s", rec.Key, rec.Owner, rec.Value))
		}
	}
}
