// SPDX-License-Identifier: Apache-2.0

// Package tokentest tests that refresh tokens and denylists hold what they promise on a store: the stores' own tests call [Test].
package tokentest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/grpcauth/grpcauth/store"
	"github.com/grpcauth/grpcauth/token"
)

// Test runs all scenarios, each with a store from open, which has no record yet and lives by the clock that is given to it.
//
//nolint:tparallel // whether stores are tested at the same time, the caller knows
func Test(t *testing.T, open func(t *testing.T, now func() time.Time) store.Store) {
	t.Helper()
	for name, scenario := range scenarios {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := &kit{T: t, clock: &clock{now: time.Date(2026, 3, 4, 5, 6, 7, 890_000_000, time.UTC)}}
			k.faults = &faults{Store: open(t, k.clock.Now)}
			scenario(k)
		})
	}
}

var scenarios = map[string]func(*kit){
	"a rotation replaces the token":                      rotates,
	"a restart loses nothing":                            restarts,
	"a used token ends the family":                       endsOnReuse,
	"an invented secret does not end the family":         ignoresInvented,
	"of 100 at once one succeeds":                        oneOfMany,
	"with grace, all of 100 at once get one successor":   graceOfMany,
	"grace gives the same successor":                     graceRepeats,
	"grace is limited in time":                           graceEnds,
	"grace is limited in count":                          graceCounts,
	"grace is limited in count, also in a race":          graceRaces,
	"grace is over once the successor is used":           graceUntilUse,
	"grace is none for what has ended":                   graceNotForEnded,
	"another client does not end the family":             otherClient,
	"another certificate does not end the family":        otherCertificate,
	"an idle family expires":                             idles,
	"no use outlives the absolute end":                   absolute,
	"the clock goes an hour back and forth":              clockJumps,
	"a check refuses":                                    checkRefuses,
	"a check narrows for good":                           checkNarrows,
	"a check cannot widen":                               checkCannotWiden,
	"revoking a token ends its family":                   revokesToken,
	"revoking a family ends it alone":                    revokesFamily,
	"revoking a user ends all of that user":              revokesUser,
	"revoking wins over rotating":                        revokeWins,
	"a list has the families that are alive":             lists,
	"the store sees no secret":                           noSecrets,
	"a swapped answer is believed by nobody":             swapped,
	"a damaged record decides nothing":                   damaged,
	"a caller that gave up changes nothing":              cancelled,
	"a thief that hangs up ends the family nonetheless":  hangsUp,
	"each step of a start fails once":                    startFaults,
	"each step of a rotation fails once":                 rotateFaults,
	"each step of a rotation with grace fails once":      graceFaults,
	"each step of each revocation fails once":            revokeFaults,
	"each step of ending a used token's family fails":    reuseFaults,
	"each step of a denial fails once":                   denyFaults,
	"a client of the store that repeats itself is right": repeats,
	"a denied token is denied, and only that":            deniesToken,
	"a denied family's tokens are denied":                deniesFamily,
	"a denied user's tokens are denied up to a second":   deniesUser,
	"a denial never becomes weaker":                      denialStays,
	"a denial ends after the last token":                 denialEnds,
	"a damaged denial decides nothing":                   damagedDenial,
	"a remembered answer is late by its bound at most":   denialRemembered,
}

const (
	issuer  = "https://login.example.com"
	subject = "alice"
	client  = "shop"
)

var by = token.Client{ID: client}

// errDown is what a store says that is down.
var errDown = errors.New("the store is down")

// clock is a movable one.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// kit is what a scenario works with.
type kit struct {
	*testing.T
	clock  *clock
	faults *faults

	mu     sync.Mutex
	reuses []token.Reuse // guarded by mu
}

func (k *kit) refresher(change func(*token.RefreshOptions)) *token.Refresher {
	k.Helper()
	opts := token.RefreshOptions{Store: k.faults, Now: k.clock.Now, Denylist: k.denylist(0), OnReuse: func(_ context.Context, r token.Reuse) {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.reuses = append(k.reuses, r)
	}}
	if change != nil {
		change(&opts)
	}
	r, err := token.NewRefresher(opts)
	if err != nil {
		k.Fatal(err)
	}
	return r
}

func withGrace(uses int) func(*token.RefreshOptions) {
	return func(o *token.RefreshOptions) { o.Grace, o.GraceUses = 10*time.Second, uses }
}

func (k *kit) denylist(rememberFor time.Duration) *token.Denylist {
	k.Helper()
	d, err := token.NewDenylist(token.DenyOptions{Store: k.faults, Issuer: issuer, MaxLifetime: 10 * time.Minute, RememberFor: rememberFor, Now: k.clock.Now})
	if err != nil {
		k.Fatal(err)
	}
	return d
}

func grant() token.Grant {
	return token.Grant{Subject: subject, ClientID: client, Scopes: []string{"orders.read", "orders.write"}, Audiences: []string{"orders", "invoices"}, ACR: "pwd", Data: []byte("phone")}
}

func (k *kit) start(r *token.Refresher, g token.Grant) (string, *token.Grant) {
	k.Helper()
	text, started, err := r.Start(k.Context(), g)
	if err != nil {
		k.Fatal(err)
	}
	return text, started
}

// rotate demands success.
func (k *kit) rotate(r *token.Refresher, text string) string {
	k.Helper()
	next, g, err := r.Rotate(k.Context(), text, by)
	if err != nil {
		k.Fatalf("a good token was refused: %v", err)
	}
	if g == nil || g.Subject != subject || next == "" || next == text {
		k.Fatalf("got the token %q and the grant %v", next, g)
	}
	return next
}

// refuse demands an error of that kind and nothing beside it.
func (k *kit) refuse(r *token.Refresher, text string, want error) {
	k.Helper()
	next, g, err := r.Rotate(k.Context(), text, by)
	if !errors.Is(err, want) || next != "" || g != nil {
		k.Errorf("got a token: %t, a grant: %t, and the error %v; want the error %q alone", next != "", g != nil, err, want)
	}
}

// undecided demands an error that refuses nobody.
func (k *kit) undecided(err error) {
	k.Helper()
	if err == nil {
		k.Error("got success")
	}
	for _, refusal := range []error{token.ErrInvalid, token.ErrExpired, token.ErrReused, token.ErrRevoked, token.ErrOtherClient} {
		if errors.Is(err, refusal) {
			k.Errorf("got the refusal %v, and nothing could be decided", err)
		}
	}
}

// denied reports whether an access token of the family is denied.
func (k *kit) denied(family string) bool {
	k.Helper()
	revoked, err := k.denylist(0).Revoked(k.Context(), issuer, subject, family+".AAAAAAAAAAAAAAAAAAAAAA", k.clock.Now())
	if err != nil {
		k.Fatal(err)
	}
	return revoked
}

func (k *kit) events() []token.Reuse {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.reuses)
}

// many runs a call 100 times at once and returns the texts of those that succeeded.
func (k *kit) many(call func() (string, error)) (texts []string, errs []error) {
	var mu sync.Mutex
	var group sync.WaitGroup
	begin := make(chan struct{})
	for range 100 {
		group.Go(func() {
			<-begin
			text, err := call()
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs = append(errs, err)
				return
			}
			texts = append(texts, text)
		})
	}
	close(begin)
	group.Wait()
	return texts, errs
}

// secrets is the part of a token that opens something.
func secrets(text string) string {
	_, rest, _ := strings.Cut(text, ".")
	return rest
}
