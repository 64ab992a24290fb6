// SPDX-License-Identifier: Apache-2.0

package stores_test

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/grpcauth/grpcauth/internal/servertest"
	"github.com/grpcauth/grpcauth/store/sqlstore"
)

// Whoever was shut out long ago, and is again just as the old record is being deleted, stays shut out.
func TestCleaningSparesWhatIsMadeAnewMeanwhile(t *testing.T) {
	t.Parallel()
	url := servertest.Postgres(t)
	for _, table := range []string{"records", "counters"} {
		t.Run(table, func(t *testing.T) {
			t.Parallel()
			db := openDB(t, "pgx", url)
			now := time.Now()
			name := "clean_" + table
			s := openSQL(t, db, sqlstore.PostgreSQL, name, func() time.Time { return now })
			old := rec("a")
			old.Expiry = now.Add(time.Minute)
			if err := s.Put(t.Context(), old); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Add(t.Context(), "a", 1, time.Minute); err != nil {
				t.Fatal(err)
			}
			now = now.Add(2 * time.Hour)
			tx, err := db.BeginTx(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer tx.Rollback()
			if _, err := tx.ExecContext(t.Context(), fmt.Sprintf("UPDATE %s_%s SET expiry = %d", name, table, now.Add(time.Hour).UnixMilli())); err != nil {
				t.Fatal(err)
			}
			deleted := make(chan int, 1)
			go func() {
				n, err := s.DeleteExpired(t.Context(), 10)
				if err != nil {
					t.Error(err)
				}
				deleted <- n
			}()
			waitUntilBlocked(t, db, name)
			if err := tx.Commit(); err != nil {
				t.Fatal(err)
			}
			if n := <-deleted; n != 1 {
				t.Errorf("deleted %d, want the one of the other table alone", n)
			}
			var left int
			if err := db.QueryRowContext(t.Context(), "SELECT count(*) FROM "+name+"_"+table).Scan(&left); err != nil || left != 1 {
				t.Errorf("%d and %v are left of what was made anew, want 1", left, err)
			}
		})
	}
}

// waitUntilBlocked returns when a statement about the tables waits for a row that another transaction has changed.
func waitUntilBlocked(t *testing.T, db *sql.DB, table string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for blocked := 0; blocked == 0; {
		err := db.QueryRowContext(ctx, "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE $1", "DELETE FROM "+table+"%").Scan(&blocked)
		if err != nil {
			t.Fatal(err)
		}
	}
}

// Whoever asks again until less than the limit was deleted would never be done with a limit of nothing.
func TestCleaningWithoutALimitIsRefused(t *testing.T) {
	t.Parallel()
	onEachDialect(t, func(t *testing.T, dialect sqlstore.Dialect, open func() *sql.DB) {
		s := openSQL(t, open(), dialect, "", time.Now)
		for _, limit := range []int{0, -1} {
			if _, err := s.DeleteExpired(t.Context(), limit); err == nil {
				t.Errorf("a limit of %d: no error", limit)
			}
		}
	})
}

// An overflow must neither forgive an attacker nor damage the counter.
func TestCounterThatIsFullStaysFull(t *testing.T) {
	t.Parallel()
	onEachDialect(t, func(t *testing.T, dialect sqlstore.Dialect, open func() *sql.DB) {
		s := openSQL(t, open(), dialect, "", time.Now)
		for _, step := range []struct{ add, want int64 }{
			{math.MaxInt64 - 1, math.MaxInt64 - 1},
			{math.MaxInt64 - 1, math.MaxInt64},
			{1, math.MaxInt64},
			{-1, math.MaxInt64 - 1},
			{math.MinInt64, 0},
		} {
			if got, err := s.Add(t.Context(), "n", step.add, time.Hour); err != nil || got != step.want {
				t.Errorf("Add of %d: got %d and %v, want %d", step.add, got, err, step.want)
			}
		}
	})
}
