// SPDX-License-Identifier: Apache-2.0

package sqlstore_test

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/grpcauth/grpcauth/store"
	"github.com/grpcauth/grpcauth/store/sqlstore"
)

var (
	errBroken = errors.New("broken")
	alices    = store.Record{Key: "a", Owner: "alice", Value: []byte("value")}
)

func row(key, owner string) []driver.Value {
	return []driver.Value{[]byte(key), []byte(owner), []byte("value"), int64(math.MaxInt64), int64(1)}
}

// operations are all that a store can be asked, with the statements that each makes.
var operations = map[string]struct {
	statements int
	do         func(ctx context.Context, s *sqlstore.Store) error
}{
	"Get":     {1, func(ctx context.Context, s *sqlstore.Store) error { _, err := s.Get(ctx, "a"); return err }},
	"List":    {1, func(ctx context.Context, s *sqlstore.Store) error { _, err := s.List(ctx, "alice"); return err }},
	"create":  {1, func(ctx context.Context, s *sqlstore.Store) error { return s.Put(ctx, alices) }},
	"replace": {1, func(ctx context.Context, s *sqlstore.Store) error { r := alices; r.Version = 1; return s.Put(ctx, r) }},
	"Delete":  {1, func(ctx context.Context, s *sqlstore.Store) error { return s.Delete(ctx, "a") }},
	"Add": {1, func(ctx context.Context, s *sqlstore.Store) error {
		_, err := s.Add(ctx, "a", 1, time.Minute)
		return err
	}},
	"Add less": {1, func(ctx context.Context, s *sqlstore.Store) error {
		_, err := s.Add(ctx, "a", -1, time.Minute)
		return err
	}},
	"DeleteExpired": {2, func(ctx context.Context, s *sqlstore.Store) error { _, err := s.DeleteExpired(ctx, 1); return err }},
}

// newFakeFor returns a database whose answer suits the operation.
func newFakeFor(operation string) *fake {
	if strings.HasPrefix(operation, "Add") {
		f := newFake([]driver.Value{int64(1)})
		f.columns = []string{"total"}
		return f
	}
	return newFake(row("a", "alice"))
}

func TestOperationIsOneStatement(t *testing.T) {
	t.Parallel()
	for name, op := range operations {
		for _, unprepared := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/unprepared=%t", name, unprepared), func(t *testing.T) {
				t.Parallel()
				f := newFakeFor(name)
				s := f.open(t, sqlstore.Options{Unprepared: unprepared})
				if _, prepared := f.take(); (prepared > 0) == unprepared {
					t.Errorf("prepared %d statements at the start", prepared)
				}
				for range 3 {
					if err := op.do(t.Context(), s); err != nil {
						t.Fatal(err)
					}
					asked, prepared := f.take()
					if len(asked) != op.statements || prepared != 0 {
						t.Errorf("asked %d statements and prepared %d, want %d and none: %q", len(asked), prepared, op.statements, asked)
					}
				}
			})
		}
	}
}

func TestTableIsTheOneThatWasNamed(t *testing.T) {
	t.Parallel()
	for name, op := range operations {
		f := newFakeFor(name)
		s := f.open(t, sqlstore.Options{Table: "mine", SkipSchema: true})
		if err := op.do(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		asked, _ := f.take()
		for _, query := range asked {
			if !strings.Contains(query, " mine_") || strings.Contains(query, "grpcauth") || strings.Contains(query, "{{") {
				t.Errorf("%s: asked %q", name, query)
			}
		}
	}
}

func TestDatabaseThatFailsDecidesNothingAndIsAskedAgain(t *testing.T) {
	t.Parallel()
	for name, op := range operations {
		for _, failure := range []error{errBroken, driver.ErrBadConn} {
			t.Run(name+"/"+failure.Error(), func(t *testing.T) {
				t.Parallel()
				f := newFakeFor(name)
				s := f.open(t, sqlstore.Options{})
				f.fail(failure)
				if err := op.do(t.Context(), s); !errors.Is(err, failure) || errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrConflict) {
					t.Errorf("got %v, want %v", err, failure)
				}
				f.fail(nil)
				if err := op.do(t.Context(), s); err != nil {
					t.Errorf("got %v once it worked again", err)
				}
			})
		}
	}
}

// The key is the one of the row, so that store.Get sees that it is another's.
func TestRowOfAnotherIsNobodys(t *testing.T) {
	t.Parallel()
	s := newFake(row("b", "bob")).open(t, sqlstore.Options{})
	if rec, err := s.Get(t.Context(), "a"); err != nil || rec.Key != "b" {
		t.Errorf("got key %q and %v, want the one that is stored", rec.Key, err)
	}
	if _, err := store.Get(t.Context(), s, "a"); !errors.Is(err, store.ErrSwapped) {
		t.Errorf("store.Get: got %v, want ErrSwapped", err)
	}
	if _, err := store.List(t.Context(), s, "alice"); !errors.Is(err, store.ErrSwapped) {
		t.Errorf("store.List: got %v, want ErrSwapped", err)
	}
}

func TestRowThatCannotBeReadDecidesNothing(t *testing.T) {
	t.Parallel()
	for name, value := range map[string]struct {
		column int
		value  driver.Value
	}{
		"no expiry":         {3, nil},
		"a text as expiry":  {3, "soon"},
		"a time as expiry":  {3, time.Unix(1, 0)},
		"half an expiry":    {3, 1.5},
		"no version":        {4, nil},
		"a text as version": {4, []byte("one")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bad := row("a", "alice")
			bad[value.column] = value.value
			s := newFake(row("0", "alice"), bad).open(t, sqlstore.Options{})
			if recs, err := s.List(t.Context(), "alice"); !undecided(err) || recs != nil {
				t.Errorf("List: got %d records and %v, want an error that decides nothing", len(recs), err)
			}
			s = newFake(bad).open(t, sqlstore.Options{})
			if _, err := s.Get(t.Context(), "a"); !undecided(err) {
				t.Errorf("Get: got %v, want an error that decides nothing", err)
			}
		})
	}
}

func undecided(err error) bool {
	return err != nil && !errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrConflict)
}

// Half a list would leave sessions alive that were to be ended.
func TestListThatBreaksOffDecidesNothing(t *testing.T) {
	t.Parallel()
	f := newFake(row("a", "alice"))
	f.cut = errBroken
	if recs, err := f.open(t, sqlstore.Options{}).List(t.Context(), "alice"); !errors.Is(err, errBroken) || recs != nil {
		t.Errorf("got %d records and %v, want %v", len(recs), err, errBroken)
	}
}

func TestContextThatIsCancelledAmongRowsIsTheError(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	f := newFake(row("a", "alice"), row("b", "alice"))
	f.endless = true // until somebody notices
	rows := 0
	f.onRow = func() {
		rows++
		if rows == 2 {
			cancel()
		}
	}
	if recs, err := f.open(t, sqlstore.Options{}).List(ctx, "alice"); !errors.Is(err, context.Canceled) || recs != nil {
		t.Errorf("got %d records and %v, want the end of the context", len(recs), err)
	}
}

// Drivers say in many ways that they were interrupted.
func TestContextThatEndedIsTheReasonForWhatFailed(t *testing.T) {
	t.Parallel()
	for name, op := range operations {
		f := newFakeFor(name)
		s := f.open(t, sqlstore.Options{})
		ctx, cancel := context.WithCancel(t.Context())
		f.fail(errBroken)
		f.onAsk = cancel
		if err := op.do(ctx, s); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: got %v, want the end of the context", name, err)
		}
	}
}

// lost is the result of a statement of which nobody knows what it did.
type lost struct{}

func (lost) LastInsertId() (int64, error) { return 0, errBroken }
func (lost) RowsAffected() (int64, error) { return 0, errBroken }

func TestWriteOfUnknownEffectDecidesNothing(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"create", "replace", "DeleteExpired"} {
		f := newFake()
		f.affected = lost{}
		if err := operations[name].do(t.Context(), f.open(t, sqlstore.Options{})); !errors.Is(err, errBroken) || !undecided(err) {
			t.Errorf("%s: got %v, want %v", name, err, errBroken)
		}
	}
}

func TestErrorNamesNoKey(t *testing.T) {
	t.Parallel()
	const secret = "session/0123456789"
	f := newFake()
	s := f.open(t, sqlstore.Options{})
	f.fail(errBroken)
	_, getErr := s.Get(t.Context(), secret)
	_, listErr := s.List(t.Context(), secret)
	_, addErr := s.Add(t.Context(), secret, 1, time.Minute)
	putErr := s.Put(t.Context(), store.Record{Key: secret, Owner: secret, Value: []byte(secret)})
	if text := fmt.Sprint(getErr, listErr, addErr, putErr, s.Delete(t.Context(), secret)); strings.Contains(text, secret) || !strings.Contains(text, "broken") {
		t.Errorf("got %s", text)
	}
	if text := fmt.Sprintf("%v %+v %#v %s", s, s, s, s); strings.Count(text, "sqlstore.Store(PostgreSQL)") != 4 {
		t.Errorf("a store prints as %s", text)
	}
}
