// SPDX-License-Identifier: Apache-2.0

package storetest_test

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/grpcauth/grpcauth/store"
	"github.com/grpcauth/grpcauth/store/memstore"
	"github.com/grpcauth/grpcauth/store/storetest"
)

// fake is a sound store, any of whose methods may be replaced.
type fake struct {
	*memstore.Store

	now  func() time.Time
	get  func(ctx context.Context, key string) (store.Record, error)
	put  func(ctx context.Context, rec store.Record) error
	del  func(ctx context.Context, key string) error
	list func(ctx context.Context, owner string) ([]store.Record, error)
	add  func(ctx context.Context, key string, n int64, window time.Duration) (int64, error)
	all  func(ctx context.Context, adds ...store.Addition) ([]int64, error)
}

func (f *fake) Get(ctx context.Context, key string) (store.Record, error) { return f.get(ctx, key) }
func (f *fake) Put(ctx context.Context, rec store.Record) error           { return f.put(ctx, rec) }
func (f *fake) Delete(ctx context.Context, key string) error              { return f.del(ctx, key) }

func (f *fake) List(ctx context.Context, owner string) ([]store.Record, error) {
	return f.list(ctx, owner)
}

func (f *fake) Add(ctx context.Context, key string, n int64, window time.Duration) (int64, error) {
	return f.add(ctx, key, n, window)
}

func (f *fake) AddAll(ctx context.Context, adds ...store.Addition) ([]int64, error) {
	if f.all != nil {
		return f.all(ctx, adds...)
	}
	var sums []int64
	for _, add := range adds {
		sum, err := f.add(ctx, add.Key, add.N, add.Window)
		if err != nil {
			return nil, err
		}
		sums = append(sums, sum)
	}
	return sums, nil
}

func sound(now func() time.Time) *fake {
	s, err := memstore.New(memstore.Options{Now: now})
	if err != nil {
		panic(err)
	}
	return &fake{s, now, s.Get, s.Put, s.Delete, s.List, s.Add, nil}
}

// eternal has the records of another store, whose clock stands still.
func eternal(now func() time.Time) *fake {
	start := now()
	f := sound(func() time.Time { return start })
	f.now = now
	return f
}

// broken are stores that break a rule, and a check that must fail for it.
var broken = map[string]struct {
	check string
	fake  func(now func() time.Time) *fake
}{
	"creates what is there": {"a record is created once", func(now func() time.Time) *fake {
		f := sound(now)
		f.put = func(ctx context.Context, rec store.Record) error {
			if rec.Version == 0 {
				_ = f.Store.Delete(ctx, rec.Key)
			}
			return f.Store.Put(ctx, rec)
		}
		return f
	}},
	"ignores versions": {"a record is replaced by version", func(now func() time.Time) *fake {
		f := sound(now)
		f.put = func(ctx context.Context, rec store.Record) error {
			if old, err := f.Store.Get(ctx, rec.Key); err == nil && rec.Version > 0 {
				rec.Version = old.Version
			}
			return f.Store.Put(ctx, rec)
		}
		return f
	}},
	"reads, then writes": {"one of many writers replaces it", func(now func() time.Time) *fake {
		f := sound(now)
		f.put = func(ctx context.Context, rec store.Record) error {
			old, err := f.Store.Get(ctx, rec.Key)
			if rec.Version > 0 && err == nil && old.Version != rec.Version {
				return store.ErrConflict
			}
			<-time.After(time.Millisecond) // a race is what this is about
			if err := f.Store.Put(ctx, rec); err == nil || rec.Version == 0 {
				return err
			}
			return nil
		}
		return f
	}},
	"brings back what was deleted": {"what was deleted is not brought back", func(now func() time.Time) *fake {
		f := sound(now)
		f.put = func(ctx context.Context, rec store.Record) error {
			if _, err := f.Store.Get(ctx, rec.Key); errors.Is(err, store.ErrNotFound) {
				rec.Version = 0
			}
			return f.Store.Put(ctx, rec)
		}
		return f
	}},
	"complains of what is gone": {"deleting is idempotent", func(now func() time.Time) *fake {
		f := sound(now)
		f.del = func(ctx context.Context, key string) error {
			if _, err := f.Store.Get(ctx, key); err != nil {
				return err
			}
			return f.Store.Delete(ctx, key)
		}
		return f
	}},
	"never expires": {"a record expires", eternal},
	"rounds up": {"expiry is kept to the millisecond", func(now func() time.Time) *fake {
		f := sound(now)
		f.put = func(ctx context.Context, rec store.Record) error {
			if !rec.Expiry.IsZero() {
				rec.Expiry = rec.Expiry.Add(time.Millisecond - time.Nanosecond)
			}
			return f.Store.Put(ctx, rec)
		}
		return f
	}},
	"ends keys at NUL": {"keys and owners have any bytes", func(now func() time.Time) *fake {
		f := sound(now)
		f.get = func(ctx context.Context, key string) (store.Record, error) {
			key, _, _ = strings.Cut(key, "\x00")
			return f.Store.Get(ctx, key)
		}
		return f
	}},
	"takes small values": {"values have up to 64 KiB", func(now func() time.Time) *fake {
		f := sound(now)
		f.put = func(ctx context.Context, rec store.Record) error {
			rec.Value = rec.Value[:min(len(rec.Value), store.MaxValue-1)]
			return f.Store.Put(ctx, rec)
		}
		return f
	}},
	"cuts what is too large": {"what is beyond the bounds is refused", func(now func() time.Time) *fake {
		f := sound(now)
		f.put = func(ctx context.Context, rec store.Record) error {
			rec.Value = rec.Value[:min(len(rec.Value), store.MaxValue)]
			return f.Store.Put(ctx, rec)
		}
		return f
	}},
	"shares memory": {"records share no memory", func(now func() time.Time) *fake {
		f := sound(now)
		var mu sync.Mutex
		kept := map[string][]byte{}
		f.get = func(ctx context.Context, key string) (store.Record, error) {
			rec, err := f.Store.Get(ctx, key)
			mu.Lock()
			defer mu.Unlock()
			if bytes.Equal(kept[key], rec.Value) {
				rec.Value = kept[key]
			}
			if kept[key] == nil || rec.Version != 1 {
				kept[key] = rec.Value
			}
			rec.Value = kept[key]
			return rec, err
		}
		return f
	}},
	"lists in disorder": {"a list is the owner's", func(now func() time.Time) *fake {
		f := sound(now)
		f.list = func(ctx context.Context, owner string) ([]store.Record, error) {
			recs, err := f.Store.List(ctx, owner)
			slices.Reverse(recs)
			return recs, err
		}
		return f
	}},
	"lists what has expired": {"a list has nothing that expired", func(now func() time.Time) *fake {
		f := eternal(now)
		f.get = func(ctx context.Context, key string) (store.Record, error) {
			rec, err := f.Store.Get(ctx, key)
			if err == nil && !rec.Expiry.IsZero() && !now().Before(rec.Expiry) {
				return store.Record{}, store.ErrNotFound
			}
			return rec, err
		}
		return f
	}},
	"believes its index": {"a list has nothing that moved", func(now func() time.Time) *fake {
		f := sound(now)
		var mu sync.Mutex
		index := map[string][]string{}
		f.put = func(ctx context.Context, rec store.Record) error {
			mu.Lock()
			if rec.Owner != "" && !slices.Contains(index[rec.Owner], rec.Key) {
				index[rec.Owner] = append(index[rec.Owner], rec.Key)
			}
			mu.Unlock()
			return f.Store.Put(ctx, rec)
		}
		f.list = func(ctx context.Context, owner string) (recs []store.Record, err error) {
			mu.Lock()
			defer mu.Unlock()
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			slices.Sort(index[owner])
			for _, key := range index[owner] {
				if rec, err := f.Store.Get(ctx, key); err == nil {
					recs = append(recs, rec)
				}
			}
			return recs, nil
		}
		return f
	}},
	"lists nobody's": {"nobody's records are in no list", func(now func() time.Time) *fake {
		f := sound(now)
		f.list = func(ctx context.Context, owner string) ([]store.Record, error) {
			if owner == "" {
				return []store.Record{{}}, ctx.Err()
			}
			return f.Store.List(ctx, owner)
		}
		return f
	}},
	"knows nothing in time": {"contexts are honoured", func(now func() time.Time) *fake {
		f := sound(now)
		f.get = func(ctx context.Context, key string) (store.Record, error) {
			if ctx.Err() != nil {
				return store.Record{}, store.ErrNotFound
			}
			return f.Store.Get(ctx, key)
		}
		return f
	}},
	"counts without a lock": {"a counter counts all that is added", func(now func() time.Time) *fake {
		f := sound(now)
		f.add = func(ctx context.Context, key string, n int64, window time.Duration) (int64, error) {
			sum, err := f.Store.Add(ctx, key, 0, window)
			if err != nil || n <= 0 {
				return max(0, sum+n), err
			}
			<-time.After(time.Millisecond) // a race is what this is about
			_, err = f.Store.Add(ctx, key, n, window)
			return sum + n, err
		}
		return f
	}},
	"lengthens windows": {"a counter ends with its window", func(now func() time.Time) *fake {
		f := sound(now)
		f.add = func(ctx context.Context, key string, n int64, window time.Duration) (int64, error) {
			sum, err := f.Store.Add(ctx, key, 0, window)
			if err == nil && n > 0 {
				_, _ = f.Store.Add(ctx, key+"'", 1, window)
			}
			if sum > 0 && n > 0 {
				window = max(window, time.Hour)
				sum, err = f.Store.Add(ctx, key+"long", sum+n, window)
				return sum, err
			}
			return f.Store.Add(ctx, key, n, window)
		}
		return f
	}},
	"counts below zero": {"a counter is never below zero", func(now func() time.Time) *fake {
		f := sound(now)
		f.add = func(ctx context.Context, key string, n int64, window time.Duration) (int64, error) {
			sum, err := f.Store.Add(ctx, key, 0, window)
			if err == nil && sum > 0 && sum+n < 0 {
				_, err = f.Store.Add(ctx, key, n, window)
				return sum + n, err
			}
			return f.Store.Add(ctx, key, n, window)
		}
		return f
	}},
	"begins counters with nothing": {"nothing begins no counter", func(now func() time.Time) *fake {
		f := sound(now)
		f.add = func(ctx context.Context, key string, n int64, window time.Duration) (int64, error) {
			if sum, err := f.Store.Add(ctx, key, 0, window); err == nil && sum == 0 && n <= 0 {
				_, err = f.Store.Add(ctx, key, 1, window)
				return 0, err
			}
			return f.Store.Add(ctx, key, n, window)
		}
		return f
	}},
	"answers in its own order": {"additions go together", func(now func() time.Time) *fake {
		f := sound(now)
		f.all = func(ctx context.Context, adds ...store.Addition) ([]int64, error) {
			slices.SortFunc(adds, func(a, b store.Addition) int { return strings.Compare(a.Key, b.Key) })
			return store.AddAll(ctx, f.Store, adds...)
		}
		return f
	}},
	"deletes counters": {"counters and records are apart", func(now func() time.Time) *fake {
		f := sound(now)
		f.del = func(ctx context.Context, key string) error {
			_, _ = f.Store.Add(ctx, key, -1<<40, time.Minute)
			return f.Store.Delete(ctx, key)
		}
		return f
	}},
}

const chosen = "STORETEST_FAKE"

// TestFake is run by TestBrokenRuleFailsItsCheck, in a process of its own.
func TestFake(t *testing.T) { //nolint:paralleltest // one fake after the other
	name, ok := os.LookupEnv(chosen)
	open := sound
	if ok {
		open = broken[name].fake
	}
	storetest.Test(t, func(_ *testing.T, now func() time.Time) storetest.Tested { return open(now) })
}

var failure = regexp.MustCompile(`--- FAIL: TestFake/([^ ]+)`)

func TestBrokenRuleFailsItsCheck(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range slices.Sorted(maps.Keys(broken)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestFake$")
			cmd.Env = append(os.Environ(), chosen+"="+name)
			output, err := cmd.CombinedOutput()
			if err == nil {
				t.Fatal("all checks passed")
			}
			var failed []string
			for _, match := range failure.FindAllStringSubmatch(string(output), -1) {
				failed = append(failed, strings.ReplaceAll(match[1], "_", " "))
			}
			if want := broken[name].check; !slices.Contains(failed, want) {
				t.Errorf("%q should fail, got %q\n%s", want, failed, output)
			}
		})
	}
}
