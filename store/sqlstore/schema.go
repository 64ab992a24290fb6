// SPDX-License-Identifier: Apache-2.0

package sqlstore

import (
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// Dialect is the kind of a database.
type Dialect uint8

// The kinds of databases. There is no default.
const (
	// SQLite is SQLite 3.35 or later.
	SQLite Dialect = iota + 1
	// PostgreSQL is PostgreSQL 12 or later.
	PostgreSQL
)

// String is the name of the database.
func (d Dialect) String() string {
	switch d {
	case SQLite:
		return "SQLite"
	case PostgreSQL:
		return "PostgreSQL"
	default:
		return fmt.Sprintf("Dialect(%d)", uint8(d))
	}
}

var (
	//go:embed sqlite.sql
	sqliteSchema string
	//go:embed postgresql.sql
	postgresqlSchema string
)

const defaultTable = "grpcauth"

// identifier is what needs no quotes in either dialect. The names of indexes are longer and must not be cut off at PostgreSQL's 63 bytes.
var identifier = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,39}$`)

// Schema returns the statements that make the tables, for those who apply their schemas themselves. They do nothing where the tables are there. The tables' names begin with
// table, "grpcauth" if it is empty.
func Schema(dialect Dialect, table string) (string, error) {
	if table == "" {
		table = defaultTable
	}
	if !identifier.MatchString(table) {
		return "", errors.New(`sqlstore: the table's name is none: write up to 40 lower-case letters, digits and underscores, such as "grpcauth"`)
	}
	switch dialect {
	case SQLite:
		return strings.ReplaceAll(sqliteSchema, "{{table}}", table), nil
	case PostgreSQL:
		return strings.ReplaceAll(postgresqlSchema, "{{table}}", table), nil
	default:
		return "", errors.New("sqlstore: the dialect is unknown: write sqlstore.SQLite or sqlstore.PostgreSQL")
	}
}

// lock is an arbitrary number that all processes which make these tables agree on.
const lock = 0x67727063_61757468

// apply makes the tables. Processes that do so at once wait for each other.
func apply(ctx context.Context, db *sql.DB, dialect Dialect, schema string) error {
	if dialect == SQLite {
		return patiently(ctx, func() error {
			return execute(ctx, db, schema) // each statement waits for a writer; in a transaction that begins as a reader they would not
		})
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // it is over, or has failed already
	// "IF NOT EXISTS" alone fails when two transactions make a table at once.
	if _, err := tx.ExecContext(ctx, fmt.Sprintf("SELECT pg_advisory_xact_lock(%d)", lock)); err != nil {
		return err
	}
	if err := execute(ctx, tx, schema); err != nil {
		return err
	}
	return tx.Commit()
}

// patience is how long SQLite may be locked while it is opened.
const patience = 5 * time.Second

// patiently tries again while SQLite is locked. Of processes that open a new file at once, one changes its journal to WAL, and others are
// told at once that it is locked, whatever their busy timeout is.
func patiently(ctx context.Context, try func() error) error {
	end := time.After(patience)
	for {
		err := try()
		if err == nil || !strings.Contains(err.Error(), "database is locked") {
			return err
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-end:
			return err
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		}
	}
}

type executor interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

func execute(ctx context.Context, db executor, schema string) error {
	for statement := range strings.SplitSeq(schema, ";\n") {
		if statement == "" {
			continue
		}
		if _, err := db.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}
