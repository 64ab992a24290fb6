// SPDX-License-Identifier: Apache-2.0

// Package sessiontest tests that sessions hold what they promise on a store: the stores' own tests call [Test].
package sessiontest

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/session"
	"github.com/grpcauth/grpcauth/store"
)

// Test runs all scenarios, each with a store from open, which has no record of theirs yet and lives by the clock that is given to it.
func Test(t *testing.T, open func(t *testing.T, now func() time.Time) store.Store) { //nolint:tparallel // the caller knows whether t is parallel
	t.Helper()
	for what, scenario := range scenarios {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			k := &kit{T: t, clock: &clock{now: time.Date(2026, 3, 4, 5, 6, 7, 890_000_000, time.UTC)}}
			k.faults = &faults{Store: open(t, k.clock.storeNow)}
			scenario(k)
		})
	}
}

var scenarios = map[string]func(*kit){
	"a login is found again":                             findsLogin,
	"the store sees no id":                               hidesID,
	"an id that a client chose is never adopted":         ignoresChosen,
	"a malformed id costs no look into the store":        ignoresMalformed,
	"a login ends the session before it":                 loginReplaces,
	"a login ends another user's session before it":      loginReplacesOther,
	"a rise keeps the end":                               riseKeepsEnd,
	"a rise needs a session that is alive":               riseNeedsLife,
	"a rise never outlives a revocation":                 riseLosesToRevoke,
	"of a session that is replaced at once none is left": replaceOfMany,
	"a logout counts on every node at once":              revokesOne,
	"others end and the current stays":                   revokesOthers,
	"all end and nobody else's":                          revokesAll,
	"a list tells device and time":                       lists,
	"use keeps a session alive until its absolute end":   renews,
	"an idle session expires whatever the store says":    idles,
	"no use passes the absolute end":                     absolute,
	"the clock goes an hour back and forth":              clockJumps,
	"revoking wins over renewing":                        revokeWins,
	"revoking between reading and renewing wins":         revokeBetween,
	"a renewal by another call is as good":               renewedByOther,
	"beyond the cap the oldest goes":                     capEndsOldest,
	"beyond the cap a login is refused":                  capRefuses,
	"of logins at once the cap leaves the newest":        capOfMany,
	"of logins at once the cap refuses what is too many": capRefusesMany,
	"a swapped answer is believed by nobody":             swapped,
	"a damaged record decides nothing":                   damaged,
	"each step of a call fails once":                     callFaults,
	"each step of a login fails once":                    loginFaults,
	"each step of a revocation fails once":               revokeFaults,
	"a client of the store that repeats itself is right": repeats,
	"a caller that gave up decides nothing":              cancelled,
}

const (
	name   = "alice"
	cookie = "__Host-session"
	header = "x-session-id"
	idle   = 30 * time.Minute
	length = 12 * time.Hour
)

// errDown is what a store says that is down.
var errDown = errors.New("the store is down")

// clock is a movable one. The store's may be late.
type clock struct {
	mu  sync.Mutex
	now time.Time
	lag time.Duration
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) storeNow() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now.Add(-c.lag)
}

func (c *clock) Add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// AddWithoutStore lets the clock of the store stand still while the other one goes on.
func (c *clock) AddWithoutStore(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now, c.lag = c.now.Add(d), c.lag+d
}

// kit is what a scenario works with.
type kit struct {
	*testing.T

	clock  *clock
	faults *faults
}

// node is a server among several that share the store.
func (k *kit) node(change func(*session.Options)) *session.Backend {
	k.Helper()
	opts := session.Options{Store: k.faults, MetadataKey: header, Idle: idle, Absolute: length, Now: k.clock.Now}
	if change != nil {
		change(&opts)
	}
	b, err := session.New(opts)
	if err != nil {
		k.Fatal(err)
	}
	return b
}

func alice() *grpcauth.User {
	return &grpcauth.User{
		ID: name, Issuer: "https://login.example.com", Name: "Alice \"A\" Ä", Scopes: []string{"orders.read", "orders.write"}, Permissions: []string{"orders.*"},
		ACR: "pwd", AuthTime: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC), RawClaims: []byte(`{"tenant":"acme","n":[1,{"a":null}]}`),
	}
}

// with is the context of a call with that id.
func (k *kit) with(id string) context.Context {
	ctx := peer.NewContext(k.Context(), &peer.Peer{Addr: &net.UnixAddr{Name: "sessiontest", Net: "unix"}})
	md := metadata.MD{}
	if id != "" {
		md.Set("cookie", cookie+"="+id)
	}
	return metadata.NewIncomingContext(ctx, md)
}

func (k *kit) try(b *session.Backend, id string) (*grpcauth.User, error) {
	ctx := k.with(id)
	return b.Authenticate(ctx, grpcauth.NewRequest(ctx, "/shop.v1.Orders/Get"))
}

func (k *kit) accept(b *session.Backend, id string) *grpcauth.User {
	k.Helper()
	user, err := k.try(b, id)
	if err != nil || user == nil || user.ID == "" {
		k.Fatalf("a good session got %v and %v", user, err)
	}
	return user
}

// refuse demands an error of that code and no user.
func (k *kit) refuse(b *session.Backend, id string, want grpcauth.Code) {
	k.Helper()
	user, err := k.try(b, id)
	if user != nil || err == nil || grpcauth.CodeOf(err) != want {
		k.Errorf("got a user: %t, and %v; want %v", user != nil, err, want)
	}
}

// login demands success. The call comes with an id, which may be empty.
func (k *kit) login(b *session.Backend, with string, user *grpcauth.User) (string, *session.Session) {
	k.Helper()
	id, s, err := b.Replace(k.with(with), user, session.Device{Name: "laptop"})
	if err != nil || id == "" || id == with || s == nil {
		k.Fatalf("a login got an id: %t, a session: %t, and %v", id != "", s != nil, err)
	}
	return id, s
}

func (k *kit) handles(b *session.Backend, user *grpcauth.User) (handles []string) {
	k.Helper()
	list, err := b.List(k.Context(), user)
	if err != nil {
		k.Fatal(err)
	}
	for _, s := range list {
		handles = append(handles, s.Handle)
	}
	return handles
}
