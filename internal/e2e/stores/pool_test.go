// SPDX-License-Identifier: Apache-2.0

package stores_test

import (
	"context"
	"database/sql"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/grpcauth/grpcauth/internal/servertest"
	"github.com/grpcauth/grpcauth/store"
	"github.com/grpcauth/grpcauth/store/sqlstore"
	"github.com/grpcauth/grpcauth/store/storetest"
)

func TestConformanceWithoutPreparedStatements(t *testing.T) {
	t.Parallel()
	db := openDB(t, "pgx", servertest.Postgres(t)+"&default_query_exec_mode=exec")
	storetest.Test(t, func(t *testing.T, now func() time.Time) storetest.Tested {
		t.Helper()
		s, err := sqlstore.New(t.Context(), sqlstore.Options{DB: db, Dialect: sqlstore.PostgreSQL, Unprepared: true, Now: now})
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}

// A pooler that gives each transaction another connection of its own loses what one of them has prepared.
func TestUnpreparedLeavesNothingOnItsConnection(t *testing.T) {
	t.Parallel()
	url := servertest.Postgres(t) + "&default_query_exec_mode=exec"
	for name, test := range map[string]struct{ unprepared, want bool }{"unprepared": {true, false}, "prepared": {false, true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := openDB(t, "pgx", url)
			db.SetMaxOpenConns(1)
			s, err := sqlstore.New(t.Context(), sqlstore.Options{DB: db, Dialect: sqlstore.PostgreSQL, Table: name, Unprepared: test.unprepared})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			r := rec("a")
			if err := s.Put(t.Context(), r); err != nil {
				t.Error(err)
			}
			r.Version = 1
			_, getErr := s.Get(t.Context(), "a")
			_, listErr := s.List(t.Context(), "alice")
			_, addErr := s.Add(t.Context(), "n", 1, time.Minute)
			_, lessErr := s.Add(t.Context(), "n", -1, time.Minute)
			_, cleanErr := s.DeleteExpired(t.Context(), 1)
			if err := errors.Join(s.Put(t.Context(), r), getErr, listErr, addErr, lessErr, cleanErr, s.Delete(t.Context(), "a")); err != nil {
				t.Error(err)
			}
			var left bool
			if err := db.QueryRowContext(t.Context(), "SELECT EXISTS (SELECT FROM pg_prepared_statements)").Scan(&left); err != nil || left != test.want {
				t.Errorf("statements are left: %t and %v, want %t", left, err, test.want)
			}
		})
	}
}

func TestPoolThatIsExhaustedDecidesNothing(t *testing.T) {
	t.Parallel()
	onEachDialect(t, func(t *testing.T, dialect sqlstore.Dialect, open func() *sql.DB) {
		db := open()
		s := openSQL(t, db, dialect, "", time.Now)
		if err := s.Put(t.Context(), rec("a")); err != nil {
			t.Fatal(err)
		}
		db.SetMaxOpenConns(1)
		conn, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		_, getErr := s.Get(ctx, "a")
		_, listErr := s.List(ctx, "alice")
		_, addErr := s.Add(ctx, "n", 1, time.Minute)
		for i, err := range []error{getErr, listErr, addErr, s.Put(ctx, rec("b")), s.Delete(ctx, "a")} {
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("call %d: got %v, want the end of the context", i, err)
			}
		}
		closeAll(t, conn)
		if _, err := s.Get(t.Context(), "a"); err != nil {
			t.Errorf("got %v once there was a connection again", err)
		}
	})
}

func TestServersSeeWhatOthersDidAtOnce(t *testing.T) {
	t.Parallel()
	onEachDialect(t, func(t *testing.T, dialect sqlstore.Dialect, open func() *sql.DB) {
		one, other := openSQL(t, open(), dialect, "", time.Now), openSQL(t, open(), dialect, "", time.Now)
		if err := one.Put(t.Context(), rec("a")); err != nil {
			t.Fatal(err)
		}
		got, err := other.Get(t.Context(), "a")
		if err != nil {
			t.Fatalf("got %v for what another server has put", err)
		}
		if err := one.Delete(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		if _, err := other.Get(t.Context(), "a"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("got %v for what another server has deleted", err)
		}
		if err := other.Put(t.Context(), got); !errors.Is(err, store.ErrConflict) {
			t.Errorf("got %v from the renewal of what another server has deleted", err)
		}
		for i, s := range []*sqlstore.Store{one, other, one} {
			if n, err := s.Add(t.Context(), "n", 1, time.Minute); err != nil || n != int64(i+1) {
				t.Errorf("got %d and %v, want %d", n, err, i+1)
			}
		}
	})
}

// Another process may hold SQLite's lock, as a backup does, for longer than the busy timeout.
func TestLockThatIsHeldDecidesNothing(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "test.db")
	s := openSQL(t, openDB(t, "sqlite", "file:"+path+"?_txlock=immediate&_pragma=busy_timeout(1)&_pragma=journal_mode(WAL)"), sqlstore.SQLite, "", time.Now)
	if err := s.Put(t.Context(), rec("a")); err != nil {
		t.Fatal(err)
	}
	tx, err := openDB(t, "sqlite", sqliteDSN(path)).BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	wantUndecided(t, s, true)
	if _, err := s.Get(t.Context(), "a"); err != nil {
		t.Errorf("got %v: readers do not wait for a writer", err)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(t.Context(), rec("b")); err != nil {
		t.Errorf("got %v once the lock was free", err)
	}
}

func TestColumnOfAnotherTypeDecidesNothing(t *testing.T) {
	t.Parallel()
	url := servertest.Postgres(t)
	for _, column := range []string{"expiry", "version"} {
		t.Run(column, func(t *testing.T) {
			t.Parallel()
			db := openDB(t, "pgx", url)
			s := openSQL(t, db, sqlstore.PostgreSQL, "of_"+column, time.Now)
			if err := s.Put(t.Context(), rec("a")); err != nil {
				t.Fatal(err)
			}
			execute(t, db, "ALTER TABLE of_"+column+"_records ALTER "+column+" TYPE TEXT USING 'soon'")
			next := rec("a")
			next.Version = 1
			_, getErr := s.Get(t.Context(), "a")
			_, listErr := s.List(t.Context(), "alice")
			for name, err := range map[string]error{"Get": getErr, "List": listErr, "Put": s.Put(t.Context(), next)} {
				if err == nil || errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrConflict) {
					t.Errorf("%s: got %v, want an error that decides nothing", name, err)
				}
			}
		})
	}
}
