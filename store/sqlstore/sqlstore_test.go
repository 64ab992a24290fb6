// SPDX-License-Identifier: Apache-2.0

package sqlstore_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"strings"
	"testing"

	"github.com/grpcauth/grpcauth/store/sqlstore"
)

// down is a database that cannot be reached.
type down struct{}

var errDown = errors.New("down")

func (down) Connect(context.Context) (driver.Conn, error) { return nil, errDown }
func (down) Driver() driver.Driver                        { return nil }

// The rest is tested against real databases, by the module internal/e2e.

func TestNewNamesTheOptionThatIsWrong(t *testing.T) {
	t.Parallel()
	db := sql.OpenDB(down{})
	defer db.Close()
	for _, test := range []struct {
		opts sqlstore.Options
		want string
	}{
		{sqlstore.Options{Dialect: sqlstore.SQLite}, "Options.DB"},
		{sqlstore.Options{DB: db}, "sqlstore.SQLite or sqlstore.PostgreSQL"},
		{sqlstore.Options{DB: db, Dialect: 3}, "sqlstore.SQLite or sqlstore.PostgreSQL"},
		{sqlstore.Options{DB: db, Dialect: sqlstore.SQLite, Table: "x; DROP TABLE users"}, "the table's name"},
		{sqlstore.Options{DB: db, Dialect: sqlstore.SQLite, Table: "Users"}, "the table's name"},
		{sqlstore.Options{DB: db, Dialect: sqlstore.SQLite, Table: strings.Repeat("x", 41)}, "the table's name"},
	} {
		if _, err := sqlstore.New(t.Context(), test.opts); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("got %v, want an error with %q", err, test.want)
		}
	}
}

func TestDatabaseThatIsDownIsAnErrorAtTheStart(t *testing.T) {
	t.Parallel()
	db := sql.OpenDB(down{})
	defer db.Close()
	for _, skip := range []bool{false, true} {
		if _, err := sqlstore.New(t.Context(), sqlstore.Options{DB: db, Dialect: sqlstore.PostgreSQL, SkipSchema: skip}); !errors.Is(err, errDown) {
			t.Errorf("SkipSchema %t: got %v, want %v", skip, err, errDown)
		}
	}
}

func TestSchemaIsThatOfItsDialect(t *testing.T) {
	t.Parallel()
	for dialect, want := range map[sqlstore.Dialect]string{sqlstore.SQLite: "BLOB", sqlstore.PostgreSQL: "BYTEA"} {
		schema, err := sqlstore.Schema(dialect, "")
		if err != nil || !strings.Contains(schema, want) || !strings.Contains(schema, "grpcauth_records") || strings.Contains(schema, "{{") {
			t.Errorf("%v: got %v and\n%s", dialect, err, schema)
		}
	}
}
