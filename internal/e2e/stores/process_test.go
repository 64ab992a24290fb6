// SPDX-License-Identifier: Apache-2.0

package stores_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/grpcauth/grpcauth/internal/servertest"
	"github.com/grpcauth/grpcauth/store/sqlstore"
)

// processEnv tells a process that it is one of those below, and its driver.
const processEnv = "GRPCAUTH_STORES_DRIVER"

// Locks between processes are others than those within one: SQLite's are the operating system's.
func TestManyProcessesMakeTheTablesAtOnce(t *testing.T) {
	t.Parallel()
	if driver := os.Getenv(processEnv); driver != "" {
		beOneOfMany(t, driver)
		return
	}
	for driver, database := range map[string]struct {
		dialect sqlstore.Dialect
		dsn     func(t *testing.T) string
	}{
		"sqlite": {sqlstore.SQLite, func(t *testing.T) string { return sqliteDSN(filepath.Join(t.TempDir(), "test.db")) }},
		"pgx":    {sqlstore.PostgreSQL, func(t *testing.T) string { return servertest.Postgres(t) }},
	} {
		t.Run(driver, func(t *testing.T) {
			t.Parallel()
			dsn := database.dsn(t)
			const processes, each = 8, 10
			start, all := []func(){}, []func(){}
			for i := range processes {
				begin, end := startOne(t, driver, dsn, i)
				start, all = append(start, begin), append(all, end)
			}
			for _, f := range append(start, all...) {
				f()
			}
			s := openSQL(t, openDB(t, driver, dsn), database.dialect, "", time.Now)
			if recs, err := s.List(t.Context(), "alice"); err != nil || len(recs) != processes*each {
				t.Errorf("got %d records and %v, want %d", len(recs), err, processes*each)
			}
			if n, err := s.Add(t.Context(), "n", 1, time.Hour); err != nil || n != processes*each+1 {
				t.Errorf("counted %d and %v, want %d", n, err, processes*each+1)
			}
		})
	}
}

// startOne starts a process, which is ready then. The functions let it begin, and wait for its end.
func startOne(t *testing.T, driver, dsn string, i int) (begin, end func()) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestManyProcessesMakeTheTablesAtOnce$", dsn, fmt.Sprint(i)) //nolint:gosec // this very program
	cmd.Env = append(os.Environ(), processEnv+"="+driver)
	var output bytes.Buffer
	cmd.Stdout = &output
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(stderr, make([]byte, 1)); err != nil {
		t.Errorf("process %d is not ready: %v", i, err)
	}
	return func() { _ = stdin.Close() }, func() {
		said, _ := io.ReadAll(stderr)
		if err := cmd.Wait(); err != nil {
			t.Errorf("process %d: %v\n%s%s", i, err, said, &output)
		}
	}
}

func beOneOfMany(t *testing.T, driver string) {
	t.Helper()
	args := os.Args[len(os.Args)-2:]
	dialect := sqlstore.SQLite
	if driver == "pgx" {
		dialect = sqlstore.PostgreSQL
	}
	db := openDB(t, driver, args[0])
	_, _ = os.Stderr.WriteString(".")
	_, _ = io.ReadAll(os.Stdin)
	s := openSQL(t, db, dialect, "", time.Now)
	for i := range 10 {
		if err := s.Put(t.Context(), rec(args[1]+"/"+fmt.Sprint(i))); err != nil {
			t.Error(err)
		}
		if _, err := s.Add(t.Context(), "n", 1, time.Hour); err != nil {
			t.Error(err)
		}
	}
}
