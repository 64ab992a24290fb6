// SPDX-License-Identifier: Apache-2.0

package sqlstore_test

import (
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"io"
	"sync"
	"testing"

	"github.com/grpcauth/grpcauth/store/sqlstore"
)

// fake is a database that answers every question in one way, and notes what it is asked.
type fake struct {
	columns  []string
	rows     [][]driver.Value
	affected driver.Result
	err      error  // of each question, instead of an answer
	endless  bool   // the last row comes again and again
	cut      error  // instead of the end of the rows
	onRow    func() // called before each row
	onAsk    func() // called by each question

	connect func() error // called by each connection that is opened

	mu       sync.Mutex
	asked    []string // the questions, guarded by mu
	prepared int      // statements that were, guarded by mu
}

func newFake(rows ...[]driver.Value) *fake {
	return &fake{columns: []string{"key", "owner", "value", "expiry", "version"}, rows: rows, affected: driver.RowsAffected(1)}
}

// open returns a store on the database.
func (f *fake) open(t *testing.T, opts sqlstore.Options) *sqlstore.Store {
	t.Helper()
	opts.DB = sql.OpenDB(f)
	t.Cleanup(func() { _ = opts.DB.Close() })
	opts.DB.SetMaxOpenConns(1)
	opts.Dialect = sqlstore.PostgreSQL
	s, err := sqlstore.New(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// take returns what was asked since the last time, and how many statements were prepared.
func (f *fake) take() (asked []string, prepared int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	asked, prepared = f.asked, f.prepared
	f.asked, f.prepared = nil, 0
	return asked, prepared
}

func (f *fake) ask(query string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, query)
	if f.onAsk != nil {
		f.onAsk()
	}
	return f.err
}

// fail makes all questions fail from now on, or none if err is nil.
func (f *fake) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

func (f *fake) Driver() driver.Driver { return nil }

func (f *fake) Connect(context.Context) (driver.Conn, error) {
	if f.connect != nil {
		if err := f.connect(); err != nil {
			return nil, err
		}
	}
	return &fakeConn{f}, nil
}

type fakeConn struct{ *fake }

func (c *fakeConn) Prepare(query string) (driver.Stmt, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.prepared++
	return &fakeStmt{c, query}, nil
}

func (c *fakeConn) Close() error              { return nil }
func (c *fakeConn) Begin() (driver.Tx, error) { return fakeTx{}, nil }

func (c *fakeConn) ExecContext(_ context.Context, query string, _ []driver.NamedValue) (driver.Result, error) {
	if err := c.ask(query); err != nil {
		return nil, err
	}
	return c.affected, nil
}

func (c *fakeConn) QueryContext(_ context.Context, query string, _ []driver.NamedValue) (driver.Rows, error) {
	if err := c.ask(query); err != nil {
		return nil, err
	}
	return &fakeRows{fake: c.fake, left: c.rows}, nil
}

type fakeTx struct{}

func (fakeTx) Commit() error   { return nil }
func (fakeTx) Rollback() error { return nil }

type fakeStmt struct {
	conn  *fakeConn
	query string
}

func (s *fakeStmt) Close() error  { return nil }
func (s *fakeStmt) NumInput() int { return -1 }

func (s *fakeStmt) Exec([]driver.Value) (driver.Result, error) {
	return s.conn.ExecContext(context.Background(), s.query, nil)
}

func (s *fakeStmt) Query([]driver.Value) (driver.Rows, error) {
	return s.conn.QueryContext(context.Background(), s.query, nil)
}

type fakeRows struct {
	*fake

	left [][]driver.Value
}

func (r *fakeRows) Columns() []string { return r.columns }
func (r *fakeRows) Close() error      { return nil }

func (r *fakeRows) Next(dest []driver.Value) error {
	if len(r.left) == 0 {
		return cmp.Or(r.cut, io.EOF)
	}
	if r.onRow != nil {
		r.onRow()
	}
	copy(dest, r.left[0])
	if len(r.left) > 1 || !r.endless {
		r.left = r.left[1:]
	}
	return nil
}
