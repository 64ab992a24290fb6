// SPDX-License-Identifier: Apache-2.0

// Package apikeytest checks that API keys keep their promises on a store.
package apikeytest

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/apikey"
	"github.com/grpcauth/grpcauth/store"
)

const (
	method = "/apikeytest.Service/Method"
	prefix = "test_live"
	alice  = "alice"
	issuer = "https://a"
	scope  = "read"
)

// Test runs all scenarios. open gives each of them a store whose clock is now, empty or with records whose keys do not collide.
func Test(t *testing.T, open func(t *testing.T, now func() time.Time) store.Store) { //nolint:tparallel // the caller knows whether t is parallel
	t.Helper()
	for name, scenario := range map[string]func(*world){
		"a key is its owner with what it was made for":    keyIsItsOwner,
		"a key works after a restart":                     keySurvivesRestart,
		"a key in disguise is refused":                    disguiseIsRefused,
		"unknown and wrong and disabled are one answer":   refusalsAreOne,
		"a key of another environment is refused":         environmentsAreApart,
		"a key ends at its expiry":                        keyEnds,
		"disabling and revoking count at once everywhere": changesCountAtOnce,
		"lists show the owner's keys alone":               listsAreTheOwners,
		"an owner has so many keys":                       ownersAreBounded,
		"two secrets are live while a rotation lasts":     rotationOverlaps,
		"a rotation without overlap ends the secret":      rotationWithoutOverlap,
		"one of many concurrent rotations happens":        rotationsRace,
		"no step that fails ends a secret":                rotationStepsFail,
		"a call asks the store once":                      callAsksOnce,
		"the last use is written in batches":              lastUseIsWritten,
		"the last use never goes back":                    lastUseGoesForward,
		"the last use revives no revoked key":             lastUseRevivesNothing,
		"the last use enables no disabled key":            lastUseEnablesNothing,
		"changes and uses race":                           changesAndUsesRace,
		"a store that fails decides nothing":              failingStoreDecidesNothing,
		"a store that swaps answers reveals nobody":       swappedAnswers,
		"a record that was damaged decides nothing":       damagedRecords,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := &clock{now: time.Date(2100, 1, 2, 3, 4, 5, 0, time.UTC)} // after that of every real server, whose own expiry is then never early
			w := &world{T: t, clock: c, store: &layer{Store: open(t, c.Now)}}
			w.keys = w.backend(apikey.Options{})
			scenario(w)
		})
	}
}

// world is a store, its clock, and a backend on it.
type world struct {
	*testing.T

	clock *clock
	store *layer
	keys  *apikey.Backend
}

// backend returns another backend on the store, as another process would have it.
func (w *world) backend(opts apikey.Options) *apikey.Backend {
	w.Helper()
	if opts.Prefix == "" {
		opts.Prefix = prefix
	}
	opts.Store, opts.Now = w.store, w.clock.Now
	b, err := apikey.New(opts)
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() {
		w.store.intercept(nil)
		if err := b.Close(); err != nil {
			w.Errorf("Close: %v", err)
		}
	})
	return b
}

// create makes a key of alice; the fields given count.
func (w *world) create(key apikey.Key) (text, id string) {
	w.Helper()
	if key.Owner == "" {
		key.Owner = alice
	}
	text, made, err := w.keys.Create(w.Context(), key)
	if err != nil {
		w.Fatal(err)
	}
	return text, made.ID
}

func (w *world) get(id string) *apikey.Key {
	w.Helper()
	key, err := w.keys.Get(w.Context(), id)
	if err != nil {
		w.Fatal(err)
	}
	return key
}

func (w *world) rotate(id string, overlap time.Duration) string {
	w.Helper()
	text, err := w.keys.Rotate(w.Context(), id, overlap)
	if err != nil {
		w.Fatal(err)
	}
	return text
}

// must fails the scenario at an error of what is no more than its preparation.
func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// expect makes a call; want is the ID of the user or the code of the refusal.
func (w *world) expect(b *apikey.Backend, text, want string) {
	w.Helper()
	if got := look(w.Context(), b, text); got != want {
		w.Errorf("got %s, want %s", got, want)
	}
}

func look(ctx context.Context, b *apikey.Backend, text string) string {
	user, err := call(ctx, b, text)
	switch {
	case err != nil && user != nil:
		return "a user and an error"
	case err != nil:
		return grpcauth.CodeOf(err).String()
	}
	return user.ID
}

func call(ctx context.Context, b *apikey.Backend, text string) (*grpcauth.User, error) {
	ctx = peer.NewContext(ctx, &peer.Peer{Addr: &net.UnixAddr{Name: "apikeytest", Net: "unix"}})
	ctx = metadata.NewIncomingContext(ctx, metadata.Pairs("x-api-key", text))
	return b.Authenticate(ctx, grpcauth.NewRequest(ctx, method))
}

// clock stands still until it is moved.
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

// op is a method of a store.
type op string

const (
	opGet    op = "Get"
	opPut    op = "Put"
	opDelete op = "Delete"
	opList   op = "List"
)

// layer lies between the backend and the store, so that a scenario may count, delay, fail or swap.
type layer struct {
	store.Store

	mu     sync.Mutex
	around func(op op, key string, run func() error) error // guarded by mu; nil: nothing lies between
	swap   func(store.Record) store.Record                 // guarded by mu; changes what Get and List return
	asked  map[op]int                                      // guarded by mu
}

// intercept has f decide what happens around each later step; run does it.
func (l *layer) intercept(f func(op op, key string, run func() error) error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.around = f
}

// swapping has f change each record that is read later.
func (l *layer) swapping(f func(store.Record) store.Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.swap = f
}

// counted returns how often each method is called while f runs.
func (l *layer) counted(f func()) map[op]int {
	l.mu.Lock()
	l.asked = map[op]int{}
	l.mu.Unlock()
	f()
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.asked
}

func (l *layer) step(op op, key string, run func() error) error {
	l.mu.Lock()
	around := l.around
	if l.asked != nil {
		l.asked[op]++
	}
	l.mu.Unlock()
	if around == nil {
		return run()
	}
	return around(op, key, run)
}

func (l *layer) read(rec store.Record) store.Record {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.swap != nil {
		rec = l.swap(rec)
	}
	return rec
}

func (l *layer) Get(ctx context.Context, key string) (rec store.Record, err error) {
	err = l.step(opGet, key, func() (err error) {
		rec, err = l.Store.Get(ctx, key)
		return err
	})
	return l.read(rec), err
}

func (l *layer) Put(ctx context.Context, rec store.Record) error {
	return l.step(opPut, rec.Key, func() error { return l.Store.Put(ctx, rec) })
}

func (l *layer) Delete(ctx context.Context, key string) error {
	return l.step(opDelete, key, func() error { return l.Store.Delete(ctx, key) })
}

func (l *layer) List(ctx context.Context, owner string) (recs []store.Record, err error) {
	err = l.step(opList, owner, func() (err error) {
		recs, err = l.Store.List(ctx, owner)
		return err
	})
	for i := range recs {
		recs[i] = l.read(recs[i])
	}
	return recs, err
}
