// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/grpcauth/grpcauth/store"
)

// swapping answers with records of another question.
type swapping struct {
	store.Store
	recs []store.Record
	err  error
}

func (s swapping) Get(context.Context, string) (store.Record, error)    { return s.recs[0], s.err }
func (s swapping) List(context.Context, string) ([]store.Record, error) { return s.recs, s.err }

func TestSwappedAnswersAreNobodys(t *testing.T) {
	t.Parallel()
	own, other := store.Record{Key: "a", Owner: "alice"}, store.Record{Key: "b", Owner: "bob"}
	down := errors.New("down")
	for _, test := range []struct {
		name          string
		s             swapping
		getErr, liErr error
	}{
		{"the own", swapping{recs: []store.Record{own}}, nil, nil},
		{"another's", swapping{recs: []store.Record{other}}, store.ErrSwapped, store.ErrSwapped},
		{"another's among the own", swapping{recs: []store.Record{own, other}}, nil, store.ErrSwapped},
		{"none", swapping{recs: []store.Record{{}}}, store.ErrSwapped, store.ErrSwapped},
		{"an outage", swapping{recs: []store.Record{own}, err: down}, down, down},
	} {
		rec, err := store.Get(t.Context(), test.s, "a")
		if !errors.Is(err, test.getErr) || err != nil && rec.Key != "" {
			t.Errorf("%s: Get returned %q and %v, want %v", test.name, rec.Key, err, test.getErr)
		}
		recs, err := store.List(t.Context(), test.s, "alice")
		if !errors.Is(err, test.liErr) || err != nil && recs != nil {
			t.Errorf("%s: List returned %d records and %v, want %v", test.name, len(recs), err, test.liErr)
		}
	}
}

func TestBoundsSayWhatIsTooLarge(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", store.MaxKey+1)
	for want, rec := range map[string]store.Record{
		"a key of 0 bytes":       {},
		"a key of 513 bytes":     {Key: long},
		"an owner of 513 bytes":  {Key: "a", Owner: long},
		"a value of 65537 bytes": {Key: "a", Value: make([]byte, store.MaxValue+1)},
	} {
		if err := store.CheckRecord(&rec); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	if err := store.CheckRecord(&store.Record{Key: long[1:], Owner: long[1:], Value: make([]byte, store.MaxValue)}); err != nil {
		t.Error(err)
	}
}
