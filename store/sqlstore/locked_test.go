// SPDX-License-Identifier: Apache-2.0

package sqlstore_test

import (
	"context"
	"database/sql"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grpcauth/grpcauth/store/sqlstore"
)

var errLocked = errors.New("database is locked (5) (SQLITE_BUSY)")

// newOn makes a store on a database that cannot be opened before it was tried some times.
func newOn(ctx context.Context, t *testing.T, failures int, err error, skip bool) (tries int, got error) {
	t.Helper()
	f := newFake()
	f.connect = func() error {
		tries++
		if tries <= failures {
			return err
		}
		return nil
	}
	db := sql.OpenDB(f)
	defer db.Close()
	s, got := sqlstore.New(ctx, sqlstore.Options{DB: db, Dialect: sqlstore.SQLite, SkipSchema: skip})
	if got == nil {
		got = s.Close()
	}
	return tries, got
}

func TestNewIsPatientWithADatabaseThatOthersOpen(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		failures  int
		failure   error
		wantTries int
		wantErr   error
	}{
		"locked for a moment": {3, errLocked, 4, nil},
		"locked for good":     {1 << 30, errLocked, 0, errLocked},
		"broken":              {1, errBroken, 1, errBroken},
	} {
		for _, skip := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					start := time.Now()
					tries, err := newOn(t.Context(), t, test.failures, test.failure, skip)
					if !errors.Is(err, test.wantErr) || test.wantTries > 0 && tries != test.wantTries {
						t.Errorf("SkipSchema %t: got %v after %d tries, want %v after %d", skip, err, tries, test.wantErr, test.wantTries)
					}
					if d := time.Since(start); d > 6*time.Second {
						t.Errorf("it took %v", d)
					}
				})
			})
		}
	}
}

func TestNewIsNotMorePatientThanItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const timeout = 1005 * time.Millisecond // ends while it waits
		ctx, cancel := context.WithTimeout(t.Context(), timeout)
		defer cancel()
		start := time.Now()
		if _, err := newOn(ctx, t, 1<<30, errLocked, false); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != timeout {
			t.Errorf("got %v after %v, want the end of the context after %v", err, time.Since(start), timeout)
		}
	})
}
