// SPDX-License-Identifier: Apache-2.0

package sqlstore

import (
	"context"
	"database/sql"
)

// statement is a prepared one, or one that is sent in full each time.
type statement struct {
	db       *sql.DB
	text     string
	prepared *sql.Stmt // nil if it is not
}

// prepare sets the statement, and prepares it if it is to be kept. Then it fails where the tables are missing.
func (s *statement) prepare(ctx context.Context, db *sql.DB, text string, keep bool) (err error) {
	s.db, s.text = db, text
	if keep {
		s.prepared, err = db.PrepareContext(ctx, text)
	}
	return err
}

func (s *statement) close() error {
	if s.prepared == nil {
		return nil
	}
	return s.prepared.Close()
}

func (s *statement) exec(ctx context.Context, args ...any) (sql.Result, error) {
	if s.prepared == nil {
		return s.db.ExecContext(ctx, s.text, args...)
	}
	return s.prepared.ExecContext(ctx, args...)
}

func (s *statement) rows(ctx context.Context, args ...any) (*sql.Rows, error) {
	if s.prepared == nil {
		return s.db.QueryContext(ctx, s.text, args...)
	}
	return s.prepared.QueryContext(ctx, args...)
}

func (s *statement) row(ctx context.Context, args ...any) *sql.Row {
	if s.prepared == nil {
		return s.db.QueryRowContext(ctx, s.text, args...)
	}
	return s.prepared.QueryRowContext(ctx, args...)
}
