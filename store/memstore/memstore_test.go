// SPDX-License-Identifier: Apache-2.0

package memstore_test

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/grpcauth/grpcauth/grpcauthtest"
	"github.com/grpcauth/grpcauth/store"
	"github.com/grpcauth/grpcauth/store/memstore"
	"github.com/grpcauth/grpcauth/store/storetest"
)

func open(t testing.TB, opts memstore.Options) *memstore.Store {
	t.Helper()
	s, err := memstore.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestConformance(t *testing.T) {
	t.Parallel()
	storetest.Test(t, func(t *testing.T, now func() time.Time) storetest.Tested { return open(t, memstore.Options{Now: now}) })
}

func TestNewNamesTheOptionThatIsWrong(t *testing.T) {
	t.Parallel()
	for want, opts := range map[string]memstore.Options{"MaxRecords": {MaxRecords: -1}, "MaxCounters": {MaxCounters: math.MaxInt32 + 1}} {
		if _, err := memstore.New(opts); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error that names %s", err, want)
		}
	}
}

func TestPrintingAStoreShowsNothing(t *testing.T) {
	t.Parallel()
	s := open(t, memstore.Options{})
	if err := s.Put(t.Context(), store.Record{Key: "canary", Value: []byte("canary")}); err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d"} {
		if got := fmt.Sprintf(verb, s); got != "memstore.Store" {
			t.Errorf("%s: got %q", verb, got)
		}
	}
}

// fill creates n records that end after a time.
func fill(t *testing.T, s *memstore.Store, from, n int, end time.Time) {
	t.Helper()
	for i := range n {
		if err := s.Put(t.Context(), store.Record{Key: fmt.Sprint("k", from+i), Owner: "alice", Expiry: end}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFullStorePushesNothingOut(t *testing.T) {
	t.Parallel()
	clock := grpcauthtest.NewClock(time.Unix(1e9, 0))
	s := open(t, memstore.Options{MaxRecords: 100, MaxCounters: 10, Now: clock.Now})
	fill(t, s, 0, 60, clock.Now().Add(time.Minute))
	fill(t, s, 60, 40, time.Time{})
	err := s.Put(t.Context(), store.Record{Key: "one more"})
	if !errors.Is(err, memstore.ErrFull) || errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrNotFound) {
		t.Errorf("got %v, want ErrFull", err)
	}
	if all, err := s.List(t.Context(), "alice"); err != nil || len(all) != 100 {
		t.Errorf("there are %d records and %v, want 100", len(all), err)
	}
	if err := s.Put(t.Context(), store.Record{Key: "k0", Version: 1, Expiry: clock.Now().Add(time.Minute)}); err != nil {
		t.Errorf("replacing a record: %v", err)
	}
	clock.Advance(time.Minute)
	fill(t, s, 100, 60, clock.Now().Add(time.Minute)) // in the place of what has expired
	if err := s.Put(t.Context(), store.Record{Key: "one more"}); !errors.Is(err, memstore.ErrFull) {
		t.Errorf("got %v, want ErrFull", err)
	}
	if err := s.Delete(t.Context(), "k60"); err != nil {
		t.Fatal(err)
	}
	fill(t, s, 200, 1, time.Time{})
}

func TestFullCountersPushNothingOut(t *testing.T) {
	t.Parallel()
	clock := grpcauthtest.NewClock(time.Unix(1e9, 0))
	s := open(t, memstore.Options{MaxCounters: 10, Now: clock.Now})
	for i := range 10 {
		if _, err := s.Add(t.Context(), fmt.Sprint(i), 5, time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Add(t.Context(), "one more", 1, time.Minute); !errors.Is(err, memstore.ErrFull) {
		t.Errorf("got %v, want ErrFull", err)
	}
	if n, err := s.Add(t.Context(), "3", 1, time.Minute); err != nil || n != 6 {
		t.Errorf("got %d and %v, want 6", n, err)
	}
	clock.Advance(time.Minute)
	if n, err := s.Add(t.Context(), "one more", 1, time.Minute); err != nil || n != 1 {
		t.Errorf("got %d and %v, want 1", n, err)
	}
}

func TestSumsStayWithinTheirRange(t *testing.T) {
	t.Parallel()
	s := open(t, memstore.Options{})
	for _, want := range []int64{math.MaxInt64 - 1, math.MaxInt64} {
		if n, err := s.Add(t.Context(), "a", math.MaxInt64-1, time.Minute); err != nil || n != want {
			t.Errorf("got %d and %v, want %d", n, err, want)
		}
	}
}

// What has expired goes as other records are written, so that a store that is never full does not grow for ever.
func TestExpiredRecordsGo(t *testing.T) {
	t.Parallel()
	clock := grpcauthtest.NewClock(time.Unix(1e9, 0))
	s := open(t, memstore.Options{Now: clock.Now})
	for round := range 20 {
		fill(t, s, 1_000*round, 1_000, clock.Now().Add(time.Minute))
		clock.Advance(2 * time.Hour)
	}
	clock.Advance(-100 * time.Hour) // brings to light what is still there
	if all, err := s.List(t.Context(), "alice"); err != nil || len(all) > 3_000 {
		t.Errorf("%d of 20,000 expired records are there still (%v)", len(all), err)
	}
}

// A clock that is fast for a moment makes nothing forgotten, such as that a token was revoked.
func TestExpiredRecordsAreKeptForAnHour(t *testing.T) {
	t.Parallel()
	clock := grpcauthtest.NewClock(time.Unix(1e9, 0))
	s := open(t, memstore.Options{Now: clock.Now})
	fill(t, s, 0, 300, clock.Now().Add(time.Minute))
	clock.Advance(time.Hour)
	fill(t, s, 300, 1_000, time.Time{})
	clock.Advance(-time.Hour)
	if all, err := s.List(t.Context(), "alice"); err != nil || len(all) != 1_300 {
		t.Errorf("%d records and %v are there, want 1,300", len(all), err)
	}
}

func TestConcurrentUseKeepsOwnersAndRecordsInStep(t *testing.T) {
	t.Parallel()
	s := open(t, memstore.Options{MaxRecords: 50})
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for n := range 2_000 {
				key, owner := fmt.Sprint((i+n)%70), fmt.Sprint(n%3)
				rec, err := s.Get(t.Context(), key)
				if err != nil {
					rec = store.Record{Key: key}
				}
				if rec.Owner = owner; n%5 == 0 {
					_ = s.Delete(t.Context(), key)
				} else if n%5 == 1 {
					recs, err := s.List(t.Context(), owner)
					if err != nil || slices.ContainsFunc(recs, func(rec store.Record) bool { return rec.Owner != owner }) {
						t.Errorf("the list of %s has another's record (%v)", owner, err)
					}
				} else if err := s.Put(t.Context(), rec); err != nil && !errors.Is(err, store.ErrConflict) && !errors.Is(err, memstore.ErrFull) {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	listed := 0
	for _, owner := range []string{"0", "1", "2"} {
		recs, err := s.List(t.Context(), owner)
		if err != nil {
			t.Fatal(err)
		}
		listed += len(recs)
	}
	there := 0
	for key := range 70 {
		if _, err := s.Get(t.Context(), fmt.Sprint(key)); err == nil {
			there++
		}
	}
	if listed != there || there > 50 {
		t.Errorf("%d records are listed and %d are there, of 50 at the most", listed, there)
	}
}
