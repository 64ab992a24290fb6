// SPDX-License-Identifier: Apache-2.0

// Package stores_test runs what is promised of stores, and of what stands on them, against SQLite, PostgreSQL and Redis.
package stores_test

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
	"github.com/redis/go-redis/v9"
	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/grpcauth/grpcauth/backends/apikey/apikeytest"
	"github.com/grpcauth/grpcauth/backends/session/sessiontest"
	"github.com/grpcauth/grpcauth/internal/servertest"
	"github.com/grpcauth/grpcauth/store"
	"github.com/grpcauth/grpcauth/store/redisstore"
	"github.com/grpcauth/grpcauth/store/sqlstore"
	"github.com/grpcauth/grpcauth/store/storetest"
	"github.com/grpcauth/grpcauth/token/tokentest"
)

// openers open an empty store for each call, on a server that they share.
var openers = map[string]func(t *testing.T) func(t *testing.T, now func() time.Time) storetest.Tested{
	"sqlite": func(*testing.T) func(*testing.T, func() time.Time) storetest.Tested {
		return func(t *testing.T, now func() time.Time) storetest.Tested {
			return openSQL(t, openSQLite(t), sqlstore.SQLite, "", now)
		}
	},
	"postgres": func(t *testing.T) func(*testing.T, func() time.Time) storetest.Tested {
		db := openDB(t, "pgx", servertest.Postgres(t))
		var tables atomic.Int64
		return func(t *testing.T, now func() time.Time) storetest.Tested {
			return openSQL(t, db, sqlstore.PostgreSQL, fmt.Sprint("t", tables.Add(1)), now)
		}
	},
	"redis": func(t *testing.T) func(*testing.T, func() time.Time) storetest.Tested {
		client := redis.NewClient(&redis.Options{Addr: servertest.Redis(t), ContextTimeoutEnabled: true})
		t.Cleanup(func() { closeAll(t, client) })
		var prefixes atomic.Int64
		return func(t *testing.T, now func() time.Time) storetest.Tested {
			s, err := redisstore.New(redisstore.Options{Client: client, Prefix: fmt.Sprint("t", prefixes.Add(1), ":"), Now: now})
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
	},
}

func closeAll(t *testing.T, closers ...interface{ Close() error }) {
	t.Helper()
	for _, c := range closers {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}

func openDB(t *testing.T, driver, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeAll(t, db) })
	return db
}

// openSQLite opens a new database as docs/stores.md says.
func openSQLite(t *testing.T) *sql.DB {
	t.Helper()
	return openDB(t, "sqlite", sqliteDSN(filepath.Join(t.TempDir(), "test.db")))
}

func sqliteDSN(path string) string {
	return "file:" + path + "?_txlock=immediate&_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)"
}

func openSQL(t *testing.T, db *sql.DB, dialect sqlstore.Dialect, table string, now func() time.Time) *sqlstore.Store {
	t.Helper()
	s, err := sqlstore.New(t.Context(), sqlstore.Options{DB: db, Dialect: dialect, Table: table, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeAll(t, s) })
	return s
}

// onEach runs a suite on each store.
func onEach(t *testing.T, suite func(*testing.T, func(*testing.T, func() time.Time) store.Store)) {
	t.Helper()
	for name, opener := range openers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			open := opener(t)
			suite(t, func(t *testing.T, now func() time.Time) store.Store { return open(t, now) })
		})
	}
}

func TestConformance(t *testing.T) {
	t.Parallel()
	for name, opener := range openers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			storetest.Test(t, opener(t))
		})
	}
}

func TestAPIKeys(t *testing.T) {
	t.Parallel()
	onEach(t, apikeytest.Test)
}

func TestSessions(t *testing.T) {
	t.Parallel()
	onEach(t, sessiontest.Test)
}

func TestTokens(t *testing.T) {
	t.Parallel()
	onEach(t, tokentest.Test)
}
