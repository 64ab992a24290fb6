// SPDX-License-Identifier: Apache-2.0

package stores_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/grpcauth/grpcauth/internal/servertest"
	"github.com/grpcauth/grpcauth/store"
	"github.com/grpcauth/grpcauth/store/sqlstore"
)

// databases are new ones of each dialect. Each call of the function opens the same one again, as another process would.
var databases = map[sqlstore.Dialect]func(t *testing.T) func() *sql.DB{
	sqlstore.SQLite: func(t *testing.T) func() *sql.DB {
		dsn := sqliteDSN(filepath.Join(t.TempDir(), "test.db"))
		return func() *sql.DB { return openDB(t, "sqlite", dsn) }
	},
	sqlstore.PostgreSQL: func(t *testing.T) func() *sql.DB {
		url := servertest.Postgres(t)
		return func() *sql.DB { return openDB(t, "pgx", url) }
	},
}

func onEachDialect(t *testing.T, test func(t *testing.T, dialect sqlstore.Dialect, open func() *sql.DB)) {
	t.Helper()
	for dialect, database := range databases {
		t.Run(dialect.String(), func(t *testing.T) {
			t.Parallel()
			test(t, dialect, database(t))
		})
	}
}

func rec(key string) store.Record {
	return store.Record{Key: key, Owner: "alice", Value: []byte("value"), Expiry: time.Now().Add(time.Hour)}
}

// Servers that start at the same time make the tables together, and find each other's records.
func TestManyServersMakeTheTablesAtOnce(t *testing.T) {
	t.Parallel()
	onEachDialect(t, func(t *testing.T, dialect sqlstore.Dialect, open func() *sql.DB) {
		var all sync.WaitGroup
		for i := range 16 {
			db := open()
			all.Go(func() {
				s, err := sqlstore.New(t.Context(), sqlstore.Options{DB: db, Dialect: dialect})
				if err != nil {
					t.Error(err)
					return
				}
				defer s.Close()
				if err := s.Put(t.Context(), rec(fmt.Sprint("k", i))); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		s := openSQL(t, open(), dialect, "", time.Now)
		if recs, err := s.List(t.Context(), "alice"); err != nil || len(recs) != 16 {
			t.Errorf("got %d records and %v, want 16", len(recs), err)
		}
	})
}

func TestSchemaMayBeAppliedByOthers(t *testing.T) {
	t.Parallel()
	onEachDialect(t, func(t *testing.T, dialect sqlstore.Dialect, open func() *sql.DB) {
		db := open()
		opts := sqlstore.Options{DB: db, Dialect: dialect, Table: "mine", SkipSchema: true}
		if _, err := sqlstore.New(t.Context(), opts); err == nil {
			t.Error("got a store without tables")
		}
		schema, err := sqlstore.Schema(dialect, "mine")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := db.ExecContext(t.Context(), schema); err != nil {
			t.Fatal(err)
		}
		s, err := sqlstore.New(t.Context(), opts)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if err := s.Put(t.Context(), rec("a")); err != nil {
			t.Error(err)
		}
	})
}

// wantUndecided asks everything of a store that cannot answer.
func wantUndecided(t *testing.T, s *sqlstore.Store, writesAlone bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, countErr := s.Add(ctx, "n", 1, time.Minute)
	errs := map[string]error{"Put": s.Put(ctx, rec("new")), "Delete": s.Delete(ctx, "a"), "Add": countErr}
	if !writesAlone {
		_, errs["Get"] = s.Get(ctx, "a")
		_, errs["List"] = s.List(ctx, "alice")
	}
	for name, err := range errs {
		if err == nil || errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrConflict) {
			t.Errorf("%s: got %v, want an error that decides nothing", name, err)
		}
	}
}

func TestDatabaseThatCannotAnswerDecidesNothing(t *testing.T) {
	t.Parallel()
	for name, trouble := range map[string]struct {
		cause       func(t *testing.T, dialect sqlstore.Dialect, db *sql.DB)
		writesAlone bool
	}{
		"closed": {cause: func(t *testing.T, _ sqlstore.Dialect, db *sql.DB) { closeAll(t, db) }},
		"without its tables": {cause: func(t *testing.T, _ sqlstore.Dialect, db *sql.DB) {
			execute(t, db, "DROP TABLE grpcauth_records")
			execute(t, db, "DROP TABLE grpcauth_counters")
		}},
		"read-only": {writesAlone: true, cause: func(t *testing.T, dialect sqlstore.Dialect, db *sql.DB) {
			if dialect == sqlstore.SQLite {
				db.SetMaxOpenConns(1)
				execute(t, db, "PRAGMA query_only = ON")
				return
			}
			execute(t, db, "ALTER DATABASE postgres SET default_transaction_read_only = on")
			db.SetMaxIdleConns(0) // connections that are made from now on have it
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			onEachDialect(t, func(t *testing.T, dialect sqlstore.Dialect, open func() *sql.DB) {
				db := open()
				s, err := sqlstore.New(t.Context(), sqlstore.Options{DB: db, Dialect: dialect})
				if err != nil {
					t.Fatal(err)
				}
				if err := s.Put(t.Context(), rec("a")); err != nil {
					t.Fatal(err)
				}
				trouble.cause(t, dialect, db)
				wantUndecided(t, s, trouble.writesAlone)
			})
		})
	}
}

func execute(t *testing.T, db *sql.DB, statement string) {
	t.Helper()
	if _, err := db.ExecContext(t.Context(), statement); err != nil {
		t.Fatal(err)
	}
}

// SQLite keeps what it is given, whatever a column is declared to hold.
func TestValueOfAnotherTypeDecidesNothing(t *testing.T) {
	t.Parallel()
	db := openSQLite(t)
	s := openSQL(t, db, sqlstore.SQLite, "", time.Now)
	for _, column := range []string{"expiry", "version"} {
		if err := s.Put(t.Context(), rec(column)); err != nil {
			t.Fatal(err)
		}
		execute(t, db, "UPDATE grpcauth_records SET "+column+" = 'soon' WHERE key = CAST('"+column+"' AS BLOB)")
		if _, err := s.Get(t.Context(), column); err == nil || errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s: Get: got %v, want an error that decides nothing", column, err)
		}
		if _, err := s.List(t.Context(), "alice"); err == nil {
			t.Errorf("%s: List: got no error", column)
		}
		if err := s.Delete(t.Context(), column); err != nil {
			t.Fatal(err)
		}
	}
}

func TestServerThatIsKilledIsFoundAgain(t *testing.T) {
	t.Parallel()
	server := servertest.Start(t, servertest.StartPostgres)
	s := openSQL(t, openDB(t, "pgx", server.URL), sqlstore.PostgreSQL, "", time.Now)
	if err := s.Put(t.Context(), rec("a")); err != nil {
		t.Fatal(err)
	}
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	wantUndecided(t, s, false)
	if err := server.Restart(); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Get(t.Context(), "a"); err != nil || string(got.Value) != "value" {
		t.Errorf("got %q and %v after the restart", got.Value, err)
	}
	if err := s.Put(t.Context(), rec("b")); err != nil {
		t.Errorf("Put after the restart: %v", err)
	}
}

func TestRecordsOutliveTheProcess(t *testing.T) {
	t.Parallel()
	onEachDialect(t, func(t *testing.T, dialect sqlstore.Dialect, open func() *sql.DB) {
		db := open()
		s, err := sqlstore.New(t.Context(), sqlstore.Options{DB: db, Dialect: dialect})
		if err != nil {
			t.Fatal(err)
		}
		want := rec("a")
		if err := s.Put(t.Context(), want); err != nil {
			t.Fatal(err)
		}
		closeAll(t, s, db)
		got, err := openSQL(t, open(), dialect, "", time.Now).Get(t.Context(), "a")
		if err != nil || !got.Expiry.Equal(want.Expiry.Truncate(time.Millisecond)) || got.Version != 1 {
			t.Errorf("got %v and %v", got, err)
		}
	})
}

func TestContextThatEndsDuringListIsTheError(t *testing.T) {
	t.Parallel()
	onEachDialect(t, func(t *testing.T, dialect sqlstore.Dialect, open func() *sql.DB) {
		s := openSQL(t, open(), dialect, "", time.Now)
		large := make([]byte, store.MaxValue)
		for i := range 100 {
			r := rec(fmt.Sprint("k", i))
			r.Value = large
			if err := s.Put(t.Context(), r); err != nil {
				t.Fatal(err)
			}
		}
		for patience := time.Duration(0); ; patience += 200 * time.Microsecond { // from before the question until after the answer
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			recs, err := s.List(ctx, "alice")
			cancel()
			if err == nil {
				if len(recs) != 100 {
					t.Errorf("got %d of 100 records, and no error", len(recs))
				}
				return
			}
			if !errors.Is(err, context.DeadlineExceeded) || recs != nil {
				t.Errorf("after %v: got %d records and %v, want the end of the context", patience, len(recs), err)
			}
		}
	})
}

func TestExpiredRecordsAreDeletedOnDemand(t *testing.T) {
	t.Parallel()
	onEachDialect(t, func(t *testing.T, dialect sqlstore.Dialect, open func() *sql.DB) {
		now := time.Now()
		s := openSQL(t, open(), dialect, "", func() time.Time { return now })
		for i := range 30 {
			r := rec(fmt.Sprint("k", i))
			r.Expiry = now.Add(time.Duration(i+1) * time.Minute)
			if err := s.Put(t.Context(), r); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.Add(t.Context(), "n", 1, time.Minute); err != nil {
			t.Fatal(err)
		}
		now = now.Add(20*time.Minute + time.Hour) // 20 records and a counter expired an hour ago or earlier
		for _, want := range []int{9, 8, 4, 0} {
			if n, err := s.DeleteExpired(t.Context(), 8); err != nil || n != want {
				t.Errorf("got %d and %v, want %d", n, err, want)
			}
		}
		now = now.Add(-time.Hour)
		if recs, err := s.List(t.Context(), "alice"); err != nil || len(recs) != 10 {
			t.Errorf("%d records and %v are left, want 10", len(recs), err)
		}
	})
}
