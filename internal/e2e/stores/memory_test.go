// SPDX-License-Identifier: Apache-2.0

package stores_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/grpcauth/grpcauth/store"
	"github.com/grpcauth/grpcauth/store/sqlstore"
	"github.com/grpcauth/grpcauth/store/storetest"
)

// openMemory opens a SQLite that is as old as its only connection.
func openMemory(t *testing.T, now func() time.Time) *sqlstore.Store {
	t.Helper()
	db := openDB(t, "sqlite", ":memory:")
	db.SetMaxOpenConns(1)
	return openSQL(t, db, sqlstore.SQLite, "", now)
}

func TestConformanceInMemory(t *testing.T) {
	t.Parallel()
	storetest.Test(t, func(t *testing.T, now func() time.Time) storetest.Tested {
		t.Helper()
		return openMemory(t, now)
	})
}

// A driver that gave up the connection with the question would lose everything.
func TestMemoryOutlivesCallsThatAreGivenUp(t *testing.T) {
	t.Parallel()
	s := openMemory(t, time.Now)
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
		_, err := s.List(ctx, "alice")
		cancel()
		if err == nil {
			break
		}
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
	}
	if recs, err := s.List(t.Context(), "alice"); err != nil || len(recs) != 100 {
		t.Errorf("%d records and %v are left, want 100", len(recs), err)
	}
}
