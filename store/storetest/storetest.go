// SPDX-License-Identifier: Apache-2.0

// Package storetest checks that an implementation keeps the contracts of [store.Store] and [store.Counter].
//
// Each failure says why the rule is one. A store of one's own is tested by one call of [Test].
package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/grpcauth/grpcauth/store"
)

// Tested is what every store of this module is.
type Tested interface {
	store.Store
	store.Counter
}

// Test runs all checks. open gives each of them a store whose clock is now, empty or with records whose keys do not begin with "storetest".
func Test(t *testing.T, open func(t *testing.T, now func() time.Time) Tested) { //nolint:tparallel // the caller knows whether t is parallel
	t.Helper()
	for name, check := range map[string]func(*world){
		"a record is what was put":              returnsWhatWasPut,
		"a record is created once":              createsOnce,
		"a record is replaced by version":       replacesTheVersion,
		"one of many writers replaces it":       oneWriterWins,
		"one of many creators creates it":       oneCreatorWins,
		"what was deleted is not brought back":  deletedStaysDeleted,
		"deleting is idempotent":                deletesTwice,
		"a record expires":                      expires,
		"an expired record can be created anew": createsAfterExpiry,
		"a clock may be set":                    clockMayBeSet,
		"expiry is kept to the millisecond":     keepsMilliseconds,
		"keys and owners have any bytes":        takesAnyBytes,
		"values have up to 64 KiB":              takesLargeValues,
		"what is beyond the bounds is refused":  refusesBeyondBounds,
		"records share no memory":               sharesNoMemory,
		"a list is the owner's":                 listsTheOwners,
		"a list has nothing that expired":       listsNothingExpired,
		"a list has nothing that moved":         listsNothingMoved,
		"nobody's records are in no list":       listsNobody,
		"contexts are honoured":                 honoursContexts,
		"a counter counts":                      counts,
		"a counter counts all that is added":    countsConcurrently,
		"a counter ends with its window":        endsWithTheWindow,
		"a counter is never below zero":         countsNothingBelowZero,
		"nothing begins no counter":             beginsNoCounter,
		"counters and records are apart":        countersAreApart,
		"additions go together":                 addsTogether,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := &clock{now: time.Date(2100, 1, 2, 3, 4, 5, 0, time.UTC)} // after that of every real server, whose own expiry is then never early
			check(&world{T: t, clock: c, s: open(t, c.Now), prefix: fmt.Sprintf("storetest/%d/", runs.Add(1))})
		})
	}
}

// runs tells the keys of checks apart that share a store.
var runs atomic.Int64

// clock is one that tests set.
type clock struct {
	mu  sync.Mutex
	now time.Time // guarded by mu
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// world is a store with its clock.
type world struct {
	*testing.T

	clock  *clock
	s      Tested
	prefix string
}

// rec is a record of alice's that ends in an hour.
func (w *world) rec(key, value string) store.Record {
	return store.Record{Key: w.prefix + key, Owner: w.prefix + "alice", Value: []byte(value), Expiry: w.clock.Now().Add(time.Hour)}
}

// put puts a record and returns it as it must be stored.
func (w *world) put(rec store.Record) store.Record {
	w.Helper()
	if err := w.s.Put(w.Context(), rec); err != nil {
		w.Fatalf("Put: %v", err)
	}
	rec.Version++
	return rec
}

func (w *world) wantPut(rec store.Record, want error, why string) {
	w.Helper()
	if err := w.s.Put(w.Context(), rec); !errors.Is(err, want) {
		w.Errorf("Put of version %d: got %v, want %v: %s", rec.Version, err, want, why)
	}
}

func (w *world) want(rec store.Record, why string) {
	w.Helper()
	got, err := w.s.Get(w.Context(), rec.Key)
	if err != nil {
		w.Errorf("Get: %v: %s", err, why)
		return
	}
	if !same(got, rec) {
		w.Errorf("Get: got %s, want %s: %s", text(got), text(rec), why)
	}
}

func (w *world) wantNone(key, why string) {
	w.Helper()
	if got, err := w.s.Get(w.Context(), key); !errors.Is(err, store.ErrNotFound) {
		w.Errorf("Get: got %s and %v, want ErrNotFound: %s", text(got), err, why)
	}
}

func (w *world) wantList(owner, why string, want ...store.Record) {
	w.Helper()
	got, err := w.s.List(w.Context(), owner)
	if err != nil {
		w.Errorf("List: %v: %s", err, why)
		return
	}
	if !slices.EqualFunc(got, want, same) {
		w.Errorf("List: got %s, want %s: %s", texts(got), texts(want), why)
	}
}

func (w *world) wantCount(key string, n int64, window time.Duration, want int64, why string) {
	w.Helper()
	if got, err := w.s.Add(w.Context(), key, n, window); err != nil || got != want {
		w.Errorf("Add of %d: got %d and %v, want %d: %s", n, got, err, want, why)
	}
}

func same(a, b store.Record) bool {
	return a.Key == b.Key && a.Owner == b.Owner && bytes.Equal(a.Value, b.Value) && a.Expiry.Equal(b.Expiry) && a.Version == b.Version
}

func text(rec store.Record) string {
	value := rec.Value
	if len(value) > 32 {
		value = value[:32]
	}
	return fmt.Sprintf("{%q of %q: %q until %v, version %d}", rec.Key, rec.Owner, value, rec.Expiry, rec.Version)
}

func texts(recs []store.Record) string {
	all := make([]string, len(recs))
	for i, rec := range recs {
		all[i] = text(rec)
	}
	return "[" + strings.Join(all, " ") + "]"
}

func returnsWhatWasPut(w *world) {
	w.wantNone(w.prefix+"a", "nothing was put")
	rec := w.put(w.rec("a", "one"))
	w.want(rec, "it was created")
	rec.Value, rec.Expiry = []byte("two"), time.Time{}
	rec = w.put(rec)
	w.want(rec, "it was replaced by one that never ends")
	rec.Value = nil
	w.want(w.put(rec), "an empty value is a value")
}

func createsOnce(w *world) {
	rec := w.put(w.rec("a", "one"))
	w.wantPut(w.rec("a", "two"), store.ErrConflict, "who creates what is there would take it over")
	w.want(rec, "a conflict changes nothing")
}

func replacesTheVersion(w *world) {
	first := w.put(w.rec("a", "one"))
	second := first
	second.Value = []byte("two")
	second = w.put(second)
	for _, version := range []int64{1, 3, math.MaxInt64, -1} {
		other := first
		other.Version = version
		w.wantPut(other, store.ErrConflict, "the record is at version 2")
	}
	w.want(second, "a conflict changes nothing")
	other := w.rec("b", "one")
	other.Version = 1
	w.wantPut(other, store.ErrConflict, "there is nothing to replace")
	w.wantNone(other.Key, "a conflict creates nothing")
}

// race runs something many times at once and returns how many times it succeeded; all others must conflict.
func (w *world) race(put func(i int) error) int {
	w.Helper()
	var wins atomic.Int64
	var all sync.WaitGroup
	for i := range 100 {
		all.Go(func() {
			switch err := put(i); {
			case err == nil:
				wins.Add(1)
			case !errors.Is(err, store.ErrConflict):
				w.Errorf("Put: got %v, want success or ErrConflict", err)
			}
		})
	}
	all.Wait()
	return int(wins.Load())
}

func oneWriterWins(w *world) {
	rec := w.put(w.rec("a", "start"))
	for range 3 {
		n := w.race(func(i int) error {
			mine := rec
			mine.Value = fmt.Append(nil, i)
			return w.s.Put(w.Context(), mine)
		})
		if n != 1 {
			w.Fatalf("%d of 100 writers replaced one version: a refresh token would have worked %d times", n, n)
		}
		rec.Version++
		got, err := w.s.Get(w.Context(), rec.Key)
		if err != nil || got.Version != rec.Version {
			w.Fatalf("Get: got version %d and %v, want version %d", got.Version, err, rec.Version)
		}
	}
}

func oneCreatorWins(w *world) {
	if n := w.race(func(i int) error { return w.s.Put(w.Context(), w.rec("a", strconv.Itoa(i))) }); n != 1 {
		w.Errorf("%d of 100 creators created one record: two users would have one session", n)
	}
}

func deletedStaysDeleted(w *world) {
	rec := w.put(w.rec("a", "one"))
	if err := w.s.Delete(w.Context(), rec.Key); err != nil {
		w.Fatal(err)
	}
	w.wantNone(rec.Key, "it was deleted")
	w.wantList(rec.Owner, "it was deleted")
	w.wantPut(rec, store.ErrConflict, "whoever renews what was revoked meanwhile must not bring it back")
	w.wantNone(rec.Key, "a conflict creates nothing")
	w.want(w.put(w.rec("a", "two")), "it may be created anew")
}

func deletesTwice(w *world) {
	rec := w.put(w.rec("a", "one"))
	for range 2 {
		if err := w.s.Delete(w.Context(), rec.Key); err != nil {
			w.Errorf("Delete: %v: whoever revokes twice has revoked", err)
		}
	}
}

func expires(w *world) {
	rec := w.put(w.rec("a", "one"))
	never := w.rec("b", "one")
	never.Expiry = time.Time{}
	never = w.put(never)
	w.clock.advance(time.Hour - time.Millisecond)
	w.want(rec, "it ends in a millisecond")
	w.clock.advance(time.Millisecond)
	w.wantNone(rec.Key, "it has ended, whether the store has it or not")
	rec.Expiry = rec.Expiry.Add(time.Hour)
	w.wantPut(rec, store.ErrConflict, "what has ended cannot be prolonged")
	w.clock.advance(200 * 365 * 24 * time.Hour)
	w.want(never, "it never ends")
	past := w.rec("c", "one")
	past.Expiry = w.clock.Now()
	if err := w.s.Put(w.Context(), past); err == nil {
		w.wantNone(past.Key, "it had ended before it was put")
	}
}

func createsAfterExpiry(w *world) {
	old := w.put(w.rec("a", "one"))
	w.clock.advance(2 * time.Hour)
	rec := w.rec("a", "two")
	rec.Owner = w.prefix + "bob"
	rec = w.put(rec)
	w.want(rec, "the one before has expired")
	w.wantList(old.Owner, "the one before has expired")
	w.wantList(rec.Owner, "it is another owner's now", rec)
}

func clockMayBeSet(w *world) {
	rec := w.put(w.rec("a", "one"))
	w.clock.advance(-time.Hour)
	w.want(rec, "a clock that is set back makes nothing expire")
	w.clock.advance(2*time.Hour + 30*time.Minute)
	w.wantNone(rec.Key, "it has ended by this clock")
	w.wantList(rec.Owner, "it has ended by this clock")
	w.put(w.rec("b", "one"))
	w.clock.advance(-time.Hour)
	w.want(rec, "what must not be forgotten, as that a token was revoked, outlasts a clock that was an hour fast for a moment")
}

func keepsMilliseconds(w *world) {
	rec := w.rec("a", "one")
	rec.Expiry = rec.Expiry.Add(5*time.Millisecond + 999*time.Microsecond)
	w.put(rec)
	rec.Version, rec.Expiry = 1, rec.Expiry.Truncate(time.Millisecond)
	w.want(rec, "whoever reads an expiry and writes it again must not change it")
	w.clock.advance(time.Hour + 5*time.Millisecond)
	w.wantNone(rec.Key, "it is rounded down, so that nothing lives too long")
}

// odd are texts that an index, a statement or a command might take for something else.
var odd = []string{"\x00", "a\x00b", "\xff\xfe", "'", `"`, "%", "_", "{a}", "}", "*", "?", "[a]", "\\", " a ", "a\r\nb", "ä", "a\u0308", "A", "a", "a ", "\x00\x00", "--", ";"}

func takesAnyBytes(w *world) {
	var recs []store.Record
	for _, key := range odd {
		rec := w.rec("x"+key, key)
		recs = append(recs, w.put(rec))
	}
	for _, rec := range recs {
		w.want(rec, "keys differ in every byte")
	}
	slices.SortFunc(recs, func(a, b store.Record) int { return strings.Compare(a.Key, b.Key) })
	w.wantList(recs[0].Owner, "a list is in the order of its keys' bytes", recs...)
	for _, owner := range odd {
		rec := w.rec("y"+owner, owner)
		rec.Owner = w.prefix + owner
		rec = w.put(rec)
		w.wantList(rec.Owner, "owners differ in every byte", rec)
	}
	rec := w.rec("z", strings.Join(odd, ""))
	rec.Key += strings.Repeat("z", store.MaxKey-len(rec.Key))
	rec.Owner = strings.Repeat("z", store.MaxKey-len(w.prefix)) + w.prefix
	rec = w.put(rec)
	w.want(rec, "a key may be long")
	w.wantList(rec.Owner, "an owner may be long", rec)
	w.wantCount(rec.Key, 1, time.Minute, 1, "the key of a counter may be long")
}

func takesLargeValues(w *world) {
	value := make([]byte, store.MaxValue)
	for i := range value {
		value[i] = byte(i * 7)
	}
	rec := w.put(w.rec("a", string(value)))
	w.want(rec, "a value may have 64 KiB")
	w.wantList(rec.Owner, "a value may have 64 KiB", rec)
}

func refusesBeyondBounds(w *world) {
	long := strings.Repeat("k", store.MaxKey+1)
	for name, rec := range map[string]store.Record{
		"no key":     {Value: []byte("v")},
		"long key":   {Key: long},
		"long owner": {Key: w.prefix + "a", Owner: long},
		"long value": {Key: w.prefix + "a", Value: make([]byte, store.MaxValue+1)},
	} {
		if err := w.s.Put(w.Context(), rec); !undecided(err) {
			w.Errorf("Put, %s: got %v, want another error than ErrNotFound and ErrConflict", name, err)
		}
	}
	for _, key := range []string{"", long} {
		_, err := w.s.Get(w.Context(), key)
		_, countErr := w.s.Add(w.Context(), key, 1, time.Minute)
		for _, err := range []error{err, countErr, w.s.Delete(w.Context(), key)} {
			if !undecided(err) {
				w.Errorf("a key of %d bytes: got %v, want another error than ErrNotFound and ErrConflict", len(key), err)
			}
		}
	}
	if _, err := w.s.Add(w.Context(), w.prefix+"a", 1, time.Microsecond); !undecided(err) {
		w.Errorf("Add: got %v for a window of a microsecond, want an error", err)
	}
}

// undecided reports whether an error says that nothing is known.
func undecided(err error) bool {
	return err != nil && !errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrConflict)
}

func sharesNoMemory(w *world) {
	rec := w.rec("a", "one")
	want := rec
	want.Value, want.Version = []byte("one"), 1
	w.put(rec)
	rec.Value[0] = 'X'
	w.want(want, "a caller may change what it put")
	got, err := w.s.Get(w.Context(), rec.Key)
	if err != nil {
		w.Fatal(err)
	}
	got.Value[0] = 'X'
	list, err := w.s.List(w.Context(), rec.Owner)
	if err != nil || len(list) != 1 {
		w.Fatalf("List: got %d records and %v, want one", len(list), err)
	}
	list[0].Value[0] = 'X'
	w.want(want, "a caller may change what it got")
}

func listsTheOwners(w *world) {
	alice := w.prefix + "alice"
	w.wantList(alice, "nothing was put")
	var want []store.Record
	for i := range 30 {
		want = append(want, w.put(w.rec(fmt.Sprintf("a%02d", i), "v")))
		other := w.rec(fmt.Sprintf("b%02d", i), "v")
		other.Owner = alice + strconv.Itoa(i)
		w.put(other)
	}
	w.wantList(alice, "the records of others are not alice's", want...)
	if err := w.s.Delete(w.Context(), want[3].Key); err != nil {
		w.Fatal(err)
	}
	w.wantList(alice, "one was deleted", slices.Delete(want, 3, 4)...)
}

func listsNothingExpired(w *world) {
	short, long := w.rec("a", "v"), w.rec("b", "v")
	short.Expiry = w.clock.Now().Add(time.Minute)
	w.put(short)
	long = w.put(long)
	w.clock.advance(time.Minute)
	w.wantList(long.Owner, "whoever lists sessions must not see those that have ended", long)
}

func listsNothingMoved(w *world) {
	rec := w.put(w.rec("a", "v"))
	from := rec.Owner
	rec.Owner = w.prefix + "bob"
	rec = w.put(rec)
	w.wantList(from, "it is another's now")
	w.wantList(rec.Owner, "it is bob's now", rec)
	rec.Owner = ""
	rec = w.put(rec)
	w.wantList(w.prefix+"bob", "it is nobody's now")
	rec.Owner = from
	w.wantList(from, "it is alice's again", w.put(rec))
}

func listsNobody(w *world) {
	rec := w.rec("a", "v")
	rec.Owner = ""
	w.put(rec)
	w.wantList("", "those who belong to nobody would be everybody's")
}

func honoursContexts(w *world) {
	rec := w.put(w.rec("a", "v"))
	cancelled, cancel := context.WithCancel(w.Context())
	cancel()
	late, cancelLate := context.WithDeadline(w.Context(), time.Unix(1, 0))
	defer cancelLate()
	for want, ctx := range map[error]context.Context{context.Canceled: cancelled, context.DeadlineExceeded: late} {
		_, getErr := w.s.Get(ctx, rec.Key)
		_, listErr := w.s.List(ctx, rec.Owner)
		_, addErr := w.s.Add(ctx, w.prefix+"n", 1, time.Minute)
		other := w.rec("b", "v")
		for name, err := range map[string]error{
			"Get": getErr, "List": listErr, "Add": addErr, "Put": w.s.Put(ctx, other), "Delete": w.s.Delete(ctx, rec.Key),
		} {
			if !undecided(err) || !errors.Is(err, want) {
				w.Errorf("%s: got %v, want %v: a caller that gave up must not be told that it has no session", name, err, want)
			}
		}
		w.wantNone(other.Key, "its context had ended before")
	}
	w.want(rec, "the context of Delete had ended before")
	w.wantCount(w.prefix+"n", 1, time.Minute, 1, "the context of Add had ended before")
}

func counts(w *world) {
	a, b := w.prefix+"a", w.prefix+"b"
	w.wantCount(a, 1, time.Minute, 1, "it begins at 0")
	w.wantCount(a, 5, time.Minute, 6, "it adds")
	w.wantCount(b, 2, time.Minute, 2, "counters are apart")
	w.wantCount(a, -2, time.Minute, 4, "what was reserved may be given back")
	w.wantCount(a, 0, time.Minute, 4, "adding nothing reads")
}

func countsConcurrently(w *world) {
	key := w.prefix + "a"
	seen := make([]int64, 100)
	var all sync.WaitGroup
	for i := range seen {
		all.Go(func() {
			var err error
			if seen[i], err = w.s.Add(w.Context(), key, 1, time.Minute); err != nil {
				w.Errorf("Add: %v", err)
			}
		})
	}
	all.Wait()
	slices.Sort(seen)
	for i, n := range seen {
		if n != int64(i)+1 {
			w.Fatalf("100 callers saw the sums %v: an attacker who tries at once would not be counted", seen)
		}
	}
}

func endsWithTheWindow(w *world) {
	key := w.prefix + "a"
	w.wantCount(key, 5, time.Minute, 5, "it begins at 0")
	w.clock.advance(59 * time.Second)
	w.wantCount(key, 1, time.Hour, 6, "the window is not over")
	w.clock.advance(time.Second)
	w.wantCount(key, 0, time.Minute, 0, "the window that it began with is over: whoever goes on trying must not be locked out for ever")
	w.wantCount(key, 1, time.Minute, 1, "it begins again")
	w.clock.advance(-time.Hour)
	w.wantCount(key, 1, time.Minute, 2, "a clock that is set back ends no window")
}

func countsNothingBelowZero(w *world) {
	key := w.prefix + "a"
	w.wantCount(key, 2, time.Minute, 2, "it begins at 0")
	w.wantCount(key, -5, time.Minute, 0, "nobody has attempts to spare")
	w.wantCount(key, 1, time.Minute, 1, "nobody has attempts to spare")
}

func beginsNoCounter(w *world) {
	key := w.prefix + "a"
	w.wantCount(key, 0, time.Hour, 0, "there is none")
	w.wantCount(key, -3, time.Hour, 0, "there is none")
	w.wantCount(key, 1, time.Minute, 1, "it begins at 0")
	w.clock.advance(time.Minute)
	w.wantCount(key, 1, time.Minute, 1, "its window is that which began it, and not one of an amount that began nothing")
}

func countersAreApart(w *world) {
	rec := w.put(w.rec("a", "v"))
	w.wantCount(rec.Key, 7, time.Minute, 7, "a record is no counter")
	w.want(rec, "a counter is no record")
	if err := w.s.Delete(w.Context(), rec.Key); err != nil {
		w.Fatal(err)
	}
	w.wantCount(rec.Key, 0, time.Minute, 7, "a counter is not deleted with a record")
}

func addsTogether(w *world) {
	a, b := w.prefix+"a", w.prefix+"b"
	w.wantCount(b, 5, time.Minute, 5, "it begins at 0")
	w.wantSums("each sum is that of its own addition", []int64{1, 3, 0}, store.Addition{Key: a, N: 1, Window: time.Second},
		store.Addition{Key: b, N: -2, Window: time.Minute}, store.Addition{Key: w.prefix + "c", Window: time.Minute})
	w.clock.advance(time.Second)
	w.wantSums("each has a window of its own", []int64{3, 2}, store.Addition{Key: b, Window: time.Second}, store.Addition{Key: a, N: 2, Window: time.Minute})
	w.wantSums("nothing is nothing", nil)
	for i, add := range []store.Addition{{Key: "", N: 1, Window: time.Minute}, {Key: b, N: 1}} {
		if _, err := store.AddAll(w.Context(), w.s, add, store.Addition{Key: a, N: 1, Window: time.Minute}); !undecided(err) {
			w.Errorf("AddAll with a bad addition, number %d: got %v: it would count something else", i, err)
		}
	}
	ctx, cancel := context.WithCancel(w.Context())
	cancel()
	if _, err := store.AddAll(ctx, w.s, store.Addition{Key: a, N: 1, Window: time.Minute}); !errors.Is(err, context.Canceled) {
		w.Errorf("AddAll with a cancelled context: got %v, want %v", err, context.Canceled)
	}

	// Callers at once, each of whom names the counters in another order.
	x, y := store.Addition{Key: w.prefix + "x", N: 1, Window: time.Minute}, store.Addition{Key: w.prefix + "y", N: 1, Window: time.Minute}
	seen := make([]int64, 50)
	var all sync.WaitGroup
	for i := range seen {
		all.Go(func() {
			adds := []store.Addition{x, y}
			if i%2 != 0 {
				slices.Reverse(adds)
			}
			sums, err := store.AddAll(w.Context(), w.s, adds...)
			if err != nil || len(sums) != 2 {
				w.Errorf("AddAll: got %d sums and %v", len(sums), err)
				return
			}
			seen[i] = sums[i%2]
		})
	}
	all.Wait()
	slices.Sort(seen)
	for i, n := range seen {
		if n != int64(i)+1 {
			w.Fatalf("50 callers saw the sums %v: an attacker who tries at once would not be counted", seen)
		}
	}
	w.wantSums("nothing is lost", []int64{50, 50}, store.Addition{Key: x.Key, Window: time.Minute}, store.Addition{Key: y.Key, Window: time.Minute})
}

// wantSums adds together and wants these sums.
func (w *world) wantSums(why string, want []int64, adds ...store.Addition) {
	w.Helper()
	if got, err := store.AddAll(w.Context(), w.s, adds...); err != nil || !slices.Equal(got, want) {
		w.Errorf("AddAll: got %v and %v, want %v: %s", got, err, want, why)
	}
}
