// SPDX-License-Identifier: Apache-2.0

// Package sqlstore keeps records and counters in SQLite or PostgreSQL, by way of database/sql.
//
// It brings no driver: the program opens the database. Records outlive the process, and servers that share a database share their sessions. Every
// operation is one statement.
package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/grpcauth/grpcauth/store"
)

// Options say where records are kept. DB and Dialect are required.
type Options struct {
	// DB is the database; who opened it closes it. SQLite has one writer at a time, for which others must wait instead of failing: open it
	// with a busy timeout and with transactions that begin as writers, as docs/stores.md shows. In memory it needs SetMaxOpenConns(1).
	DB *sql.DB
	// Dialect is its kind.
	Dialect Dialect
	// Table begins the names of the tables; "grpcauth" by default.
	Table string
	// SkipSchema leaves the making of the tables to somebody else, who applies [Schema].
	SkipSchema bool
	// Unprepared keeps no prepared statements, which are lost or mixed up by a pooler that gives each transaction another connection. The
	// driver must not keep them either: for pgx write default_query_exec_mode=exec. With SkipSchema, tables that are missing are then noticed by
	// the first call.
	Unprepared bool
	// Now replaces time.Now.
	Now func() time.Time
}

// Store is a [store.Store] and a [store.Counter]. It is safe for concurrent use.
//
// What has expired is not returned any more, and stays until it is overwritten or [Store.DeleteExpired] is called.
type Store struct {
	now                                       func() time.Time
	get, list, create, replace, remove, count statement
	peek, expiredRecords, expiredCounters     statement
	dialect                                   Dialect
}

var (
	_ store.Store   = (*Store)(nil)
	_ store.Counter = (*Store)(nil)
)

// New returns a store, once its tables are there. An error names the option that is wrong, or is the database's.
func New(ctx context.Context, opts Options) (*Store, error) {
	if opts.DB == nil {
		return nil, errors.New("sqlstore: Options.DB is nil: write the database that sql.Open returned")
	}
	schema, err := Schema(opts.Dialect, opts.Table)
	if err != nil {
		return nil, fmt.Errorf("sqlstore: Options.Dialect or Table: %w", err)
	}
	if opts.Table == "" {
		opts.Table = defaultTable
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if !opts.SkipSchema {
		if err := apply(ctx, opts.DB, opts.Dialect, schema); err != nil {
			return nil, fmt.Errorf("sqlstore: the tables cannot be made: %w", err)
		}
	}
	s := &Store{now: opts.Now, dialect: opts.Dialect}
	for _, p := range []struct {
		stmt *statement
		text string
	}{
		{&s.get, "SELECT key, owner, value, expiry, version FROM {{table}}_records WHERE key = $1"},
		{&s.list, fmt.Sprintf("SELECT key, owner, value, expiry, version FROM {{table}}_records WHERE owner = $1 AND expiry > $2 ORDER BY key LIMIT %d", store.MaxList)},
		{&s.create, "INSERT INTO {{table}}_records (key, owner, value, expiry, version) VALUES ($1, $2, $3, $4, 1) ON CONFLICT (key) DO UPDATE " +
			"SET owner = excluded.owner, value = excluded.value, expiry = excluded.expiry, version = 1 WHERE {{table}}_records.expiry <= $5"},
		{&s.replace, "UPDATE {{table}}_records SET owner = $1, value = $2, expiry = $3, version = version + 1 WHERE key = $4 AND version = $5 AND expiry > $6"},
		{&s.remove, "DELETE FROM {{table}}_records WHERE key = $1"},
		{&s.count, "INSERT INTO {{table}}_counters (key, total, expiry) VALUES ($1, $2, $3) ON CONFLICT (key) DO UPDATE SET " +
			"total = CASE WHEN {{table}}_counters.expiry <= $4 THEN $2 WHEN {{table}}_counters.total > {{max}} - $2 THEN {{max}} ELSE {{table}}_counters.total + $2 END, " +
			"expiry = CASE WHEN {{table}}_counters.expiry <= $4 THEN $3 ELSE {{table}}_counters.expiry END RETURNING total"},
		{&s.peek, "UPDATE {{table}}_counters SET total = CASE WHEN total + $1 < 0 THEN 0 ELSE total + $1 END WHERE key = $2 AND expiry > $3 RETURNING total"},
		// The outer condition is judged again, on the row as it is by then, if somebody has made one anew that was found to have expired.
		{&s.expiredRecords, "DELETE FROM {{table}}_records WHERE expiry <= $1 AND key IN (SELECT key FROM {{table}}_records WHERE expiry <= $1 ORDER BY expiry LIMIT $2)"},
		{&s.expiredCounters, "DELETE FROM {{table}}_counters WHERE expiry <= $1 AND key IN (SELECT key FROM {{table}}_counters WHERE expiry <= $1 ORDER BY expiry LIMIT $2)"},
	} {
		text := strings.NewReplacer("{{table}}", opts.Table, "{{max}}", strconv.FormatInt(math.MaxInt64, 10)).Replace(p.text)
		if opts.Dialect == SQLite {
			text = strings.ReplaceAll(text, "$", "?") // numbered parameters of its own
		}
		if err := patiently(ctx, func() error { return p.stmt.prepare(ctx, opts.DB, text, !opts.Unprepared) }); err != nil {
			return nil, errors.Join(fmt.Errorf("sqlstore: the tables are not as they should be: %w", err), s.Close())
		}
	}
	return s, nil
}

// Close closes the prepared statements. The database stays open.
func (s *Store) Close() error {
	var errs []error
	for _, stmt := range []statement{s.get, s.list, s.create, s.replace, s.remove, s.count, s.peek, s.expiredRecords, s.expiredCounters} {
		errs = append(errs, stmt.close())
	}
	return errors.Join(errs...)
}

// Format prints the kind of the database, whatever the verb.
func (s *Store) Format(f fmt.State, _ rune) {
	if s == nil {
		_, _ = io.WriteString(f, "<nil>")
		return
	}
	_, _ = fmt.Fprintf(f, "sqlstore.Store(%s)", s.dialect)
}

// Get implements [store.Store].
func (s *Store) Get(ctx context.Context, key string) (store.Record, error) {
	if err := store.CheckKey(key); err != nil {
		return store.Record{}, err
	}
	var f found
	err := s.get.row(ctx, []byte(key)).Scan(f.columns()...)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return store.Record{}, store.ErrNotFound
	case err != nil:
		return store.Record{}, failed(ctx, err)
	case f.expiry <= s.now().UnixMilli():
		return store.Record{}, store.ErrNotFound
	}
	return f.record(), nil
}

// Put implements [store.Store].
func (s *Store) Put(ctx context.Context, rec store.Record) error {
	if err := store.CheckRecord(&rec); err != nil {
		return err
	}
	if rec.Value == nil {
		rec.Value = []byte{} // nil would be NULL
	}
	key, owner, now, expiry := []byte(rec.Key), []byte(rec.Owner), s.now().UnixMilli(), millis(rec.Expiry)
	var result sql.Result
	var err error
	if rec.Version == 0 {
		result, err = s.create.exec(ctx, key, owner, rec.Value, expiry, now)
	} else {
		result, err = s.replace.exec(ctx, owner, rec.Value, expiry, key, rec.Version, now)
	}
	if err != nil {
		return failed(ctx, err)
	}
	switch n, err := result.RowsAffected(); {
	case err != nil:
		return failed(ctx, err)
	case n == 0:
		return store.ErrConflict
	}
	return nil
}

// Delete implements [store.Store].
func (s *Store) Delete(ctx context.Context, key string) error {
	if err := store.CheckKey(key); err != nil {
		return err
	}
	_, err := s.remove.exec(ctx, []byte(key))
	return failed(ctx, err)
}

// List implements [store.Store].
func (s *Store) List(ctx context.Context, owner string) (recs []store.Record, err error) {
	if owner == "" {
		return nil, ctx.Err()
	}
	rows, err := s.list.rows(ctx, []byte(owner), s.now().UnixMilli())
	if err != nil {
		return nil, failed(ctx, err)
	}
	defer rows.Close() //nolint:errcheck // Err has said it
	for rows.Next() {
		var f found
		if err := rows.Scan(f.columns()...); err != nil {
			return nil, failed(ctx, err)
		}
		recs = append(recs, f.record())
	}
	if err := rows.Err(); err != nil {
		return nil, failed(ctx, err)
	}
	return recs, nil
}

// Add implements [store.Counter].
func (s *Store) Add(ctx context.Context, key string, n int64, window time.Duration) (total int64, err error) {
	if err := store.CheckKey(key); err != nil {
		return 0, err
	}
	if window < time.Millisecond {
		return 0, errors.New("sqlstore: the window is shorter than a millisecond")
	}
	now := s.now()
	if n <= 0 { // begins no counter
		err = s.peek.row(ctx, n, []byte(key), now.UnixMilli()).Scan(&total)
		if errors.Is(err, sql.ErrNoRows) {
			return 0, nil
		}
	} else {
		err = s.count.row(ctx, []byte(key), n, now.Add(window).UnixMilli(), now.UnixMilli()).Scan(&total)
	}
	if err != nil {
		return 0, failed(ctx, err)
	}
	return total, nil
}

// DeleteExpired deletes up to limit records and as many counters that expired an hour ago or earlier, so that a clock that is fast for a moment makes nothing forgotten. It
// returns how many it deleted: call it again if they are limit or more. It is for a job that runs now and then.
func (s *Store) DeleteExpired(ctx context.Context, limit int) (int, error) {
	if limit < 1 {
		return 0, fmt.Errorf("sqlstore: a limit of %d: it must be positive", limit)
	}
	before := s.now().Add(-time.Hour).UnixMilli()
	total := 0
	for _, stmt := range []statement{s.expiredRecords, s.expiredCounters} {
		result, err := stmt.exec(ctx, before, limit)
		if err != nil {
			return total, failed(ctx, err)
		}
		n, err := result.RowsAffected()
		if err != nil {
			return total, failed(ctx, err)
		}
		total += int(n)
	}
	return total, nil
}

// found is a record as a statement returns it.
type found struct {
	rec    store.Record
	expiry int64
}

// columns is where a row goes. It is inlined, so that Scan is called with no slice from the heap.
func (f *found) columns() []any {
	return []any{&f.rec.Key, &f.rec.Owner, &f.rec.Value, &f.expiry, &f.rec.Version}
}

func (f *found) record() store.Record {
	if f.expiry != never {
		f.rec.Expiry = time.UnixMilli(f.expiry)
	}
	return f.rec
}

// never is the expiry of what does not expire.
const never = math.MaxInt64

func millis(t time.Time) int64 {
	if t.IsZero() {
		return never
	}
	return t.UnixMilli()
}

// failed says what went wrong. A context that has ended is the reason for whatever came after; drivers may notice its deadline before it does.
func failed(ctx context.Context, err error) error {
	deadline, ok := ctx.Deadline()
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		err = ctx.Err()
	case ok && !time.Now().Before(deadline):
		err = context.DeadlineExceeded
	}
	return fmt.Errorf("sqlstore: %w", err)
}
