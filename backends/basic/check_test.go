// SPDX-License-Identifier: Apache-2.0

package basic_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/basic"
	"github.com/grpcauth/grpcauth/grpcauthtest"
	"github.com/grpcauth/grpcauth/password"
)

// strangers are an account for each reason to refuse, beside the wrong password.
func strangers(tb testing.TB, h *password.Hasher) *users {
	tb.Helper()
	u := newUsers(tb, h, "alice")
	good := u.accounts["alice"]
	ofBcrypt, err := bcrypt.GenerateFromPassword([]byte("alice!"), bcrypt.MinCost)
	if err != nil {
		tb.Fatal(err)
	}
	u.accounts["disabled"] = basic.Account{User: good.User, PasswordHash: good.PasswordHash, Disabled: true}
	u.accounts["nobody's"] = basic.Account{PasswordHash: good.PasswordHash}
	u.accounts["old"] = basic.Account{User: good.User, PasswordHash: string(ofBcrypt)}
	for name, hash := range map[string]string{"hashless": "", "null": "null", "star": "*", "plain": "alice!", "unknown": "$9$abc", "huge": "$argon2id$v=19$m=4194304,t=1,p=1$MDEyMzQ1Njc$MDEyMzQ1Njc4OTAxMjM0NQ"} {
		u.accounts[name] = basic.Account{User: good.User, PasswordHash: hash}
	}
	return u
}

// refusals are credentials that get one and the same answer, after one and the same work.
var refusals = []string{
	"alice:wrong", "mallory:alice!", "disabled:alice!", "disabled:wrong", "nobody's:alice!", "hashless:alice!", "hashless:", "null:null", "star:*",
	"plain:alice!", "unknown:alice!", "huge:alice!", "old:alice!\u00a0" + strings.Repeat("x", 72),
	"alice:" + strings.Repeat("x", 1025), "mallory:" + strings.Repeat("x", 1025),
}

func TestStrangersGetOneAnswer(t *testing.T) {
	t.Parallel()
	h := newHasher(t)
	auth := grpcauth.New(newBackend(t, basic.Options{Lookup: strangers(t, h).byName, Hasher: h}))
	var want string
	for _, refusal := range refusals {
		ctx := incoming(t.Context(), refusal)
		_, err := auth.Authenticate(ctx, method)
		got := status.Convert(err).Proto().String()
		if want == "" {
			want = got
		}
		if got != want || grpcauth.CodeOf(err) != grpcauth.CodeInvalid || status.Code(err) != codes.Unauthenticated {
			t.Errorf("%.20s: got %s, want %s", refusal, got, want)
		}
	}
}

func TestStrangersCostOneComputation(t *testing.T) {
	t.Parallel()
	h := newHasher(t)
	b := newBackend(t, basic.Options{Lookup: strangers(t, h).byName, Hasher: h})
	for _, refusal := range refusals {
		for range 2 { // a wrong password is not remembered, so the second time costs the same
			before := h.Computations()
			expect(t, b, refusal, "CREDENTIALS_INVALID")
			if got := h.Computations() - before; got != 1 {
				t.Errorf("%.20s: %d hashes were computed, want 1", refusal, got)
			}
		}
	}
}

// Callers with one credential share a computation, whether there is such a user or not: else the sharing would tell the two apart.
func TestConcurrentStrangersShareOneComputation(t *testing.T) {
	t.Parallel()
	for name, namePassword := range map[string]string{"wrong password": "alice:wrong", "unknown user": "mallory:wrong", "disabled": "disabled:wrong"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, err := password.New(password.Options{Memory: 64, Time: 1, MaxMemory: 64, MaxWait: time.Hour})
			if err != nil {
				t.Fatal(err)
			}
			b := newBackend(t, basic.Options{Hasher: h, Lookup: strangers(t, h).byName})
			const callers = 8
			for range 100 {
				var began, ended sync.WaitGroup
				began.Add(callers)
				before := h.Computations()
				err := whileBusy(t, h, func() error {
					for range callers {
						ended.Go(func() {
							began.Done()
							expect(t, b, namePassword, "CREDENTIALS_INVALID")
						})
					}
					began.Wait()
					return nil
				})
				ended.Wait()
				if err == nil && h.Computations()-before < callers {
					return
				}
			}
			t.Error("the work was never shared")
		})
	}
}

func TestCauseIsThereForTheServersLog(t *testing.T) {
	t.Parallel()
	h := newHasher(t)
	b := newBackend(t, basic.Options{Lookup: strangers(t, h).byName, Hasher: h})
	for namePassword, want := range map[string]string{
		"mallory:x": "no such user", "disabled:alice!": "disabled", "hashless:x": "corrupt", "plain:alice!": "corrupt", "alice:wrong": "does not match",
	} {
		_, err := b.Authenticate(t.Context(), grpcauthtest.Request(t.Context(), method, "authorization", credential(namePassword)))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q in it", namePassword, err, want)
		}
		if want == "corrupt" && !errors.Is(err, password.ErrCorrupt) {
			t.Errorf("%s: got %v, want %v", namePassword, err, password.ErrCorrupt)
		}
	}
}

func TestRightPasswordIsRemembered(t *testing.T) {
	t.Parallel()
	h := newHasher(t)
	u := newUsers(t, h, "alice", "bob")
	clock := grpcauthtest.NewClock(start)
	b := newBackend(t, basic.Options{Lookup: u.byName, Hasher: h, Now: clock.Now, RememberFor: time.Minute})
	computed(t, h, 1, func() {
		for range 5 {
			expect(t, b, "alice:alice!", "alice")
		}
	})
	computed(t, h, 1, func() { expect(t, b, "alice:bob!", "CREDENTIALS_INVALID") })
	computed(t, h, 1, func() { expect(t, b, "bob:alice!", "CREDENTIALS_INVALID") })
	clock.Advance(time.Minute - 1)
	computed(t, h, 0, func() { expect(t, b, "alice:alice!", "alice") })
	clock.Advance(1)
	computed(t, h, 1, func() { expect(t, b, "alice:alice!", "alice") })

	never := newBackend(t, basic.Options{Lookup: u.byName, Hasher: h, MaxRemembered: -1})
	computed(t, h, 2, func() {
		expect(t, never, "alice:alice!", "alice")
		expect(t, never, "alice:alice!", "alice")
	})
}

func TestObserverIsToldOfARememberedPassword(t *testing.T) {
	t.Parallel()
	h := newHasher(t)
	var remembered []bool
	auth := grpcauth.New(newBackend(t, basic.Options{Lookup: newUsers(t, h, "alice").byName, Hasher: h}),
		grpcauth.WithObserver(grpcauth.ObserverFunc(func(_ context.Context, e grpcauth.Event) { remembered = append(remembered, e.Remembered) })))
	for _, pass := range []string{"wrong", "alice!", "alice!", "wrong"} {
		_, _ = auth.Authenticate(incoming(t.Context(), "alice:"+pass), method)
	}
	if want := []bool{false, false, true, false}; !slices.Equal(remembered, want) {
		t.Errorf("got %t, want %t", remembered, want)
	}
}

// Neither another user nor another hash of the same password gains by what was found right before.
func TestRememberedPasswordIsOfOneUserAndOneHash(t *testing.T) {
	t.Parallel()
	h := newHasher(t)
	u := newUsers(t, h, "alice", "bob")
	u.change("bob", func(a *basic.Account) { a.PasswordHash = u.accounts["alice"].PasswordHash })
	b := newBackend(t, basic.Options{Lookup: u.byName, Hasher: h})
	again := hashOf(t, h, "alice!")
	computed(t, h, 3, func() {
		expect(t, b, "alice:alice!", "alice")
		expect(t, b, "bob:alice!", "bob")
		u.change("alice", func(a *basic.Account) { a.PasswordHash = again })
		expect(t, b, "alice:alice!", "alice")
		expect(t, b, "alice:alice!", "alice")
	})
}

func TestNoMorePasswordsAreRememberedThanAsked(t *testing.T) {
	t.Parallel()
	h := newHasher(t)
	b := newBackend(t, basic.Options{Lookup: newUsers(t, h, "alice", "bob").byName, Hasher: h, MaxRemembered: 1})
	computed(t, h, 4, func() {
		for range 2 {
			expect(t, b, "alice:alice!", "alice")
			expect(t, b, "bob:bob!", "bob")
		}
	})
}

func TestWrongPasswordIsNeverRemembered(t *testing.T) {
	t.Parallel()
	h := newHasher(t)
	u := newUsers(t, h, "alice")
	b := newBackend(t, basic.Options{Lookup: u.byName, Hasher: h})
	expect(t, b, "alice:new!", "CREDENTIALS_INVALID")
	u.change("alice", func(a *basic.Account) { a.PasswordHash = hashOf(t, h, "new!") })
	expect(t, b, "alice:new!", "alice")
	expect(t, b, "mallory:mallory!", "CREDENTIALS_INVALID")
	u.change("mallory", func(a *basic.Account) {
		*a = basic.Account{User: &grpcauth.User{ID: "mallory"}, PasswordHash: hashOf(t, h, "mallory!")}
	})
	expect(t, b, "mallory:mallory!", "mallory")
}

func TestChangedAccountCountsAtOnce(t *testing.T) {
	t.Parallel()
	h := newHasher(t)
	u := newUsers(t, h, "alice")
	b := newBackend(t, basic.Options{Lookup: u.byName, Hasher: h})
	for name, change := range map[string]func(*basic.Account){
		"password":  func(a *basic.Account) { a.PasswordHash = hashOf(t, h, "other") },
		"no hash":   func(a *basic.Account) { a.PasswordHash = "" },
		"disabled":  func(a *basic.Account) { a.Disabled = true },
		"deleted":   func(a *basic.Account) { *a = basic.Account{} },
		"not there": func(a *basic.Account) { a.User = nil },
	} {
		before := u.accounts["alice"]
		expect(t, b, "alice:alice!", "alice")
		u.change("alice", change)
		if got := look(t.Context(), b, credential("alice:alice!")); got != "CREDENTIALS_INVALID" {
			t.Errorf("%s: got %s", name, got)
		}
		u.change("alice", func(a *basic.Account) { *a = before })
	}
	u.change("alice", func(a *basic.Account) { a.User = &grpcauth.User{ID: "alice", Scopes: []string{"c"}} })
	user, err := b.Authenticate(t.Context(), grpcauthtest.Request(t.Context(), method, "authorization", credential("alice:alice!")))
	if err != nil || strings.Join(user.Scopes, " ") != "c" {
		t.Errorf("got %v, %v, want the scopes of now", user, err)
	}
}

func TestEachCallHasItsOwnUser(t *testing.T) {
	t.Parallel()
	h := newHasher(t)
	u := newUsers(t, h, "alice")
	b := newBackend(t, basic.Options{Lookup: u.byName, Hasher: h})
	for range 3 {
		user, err := b.Authenticate(t.Context(), grpcauthtest.Request(t.Context(), method, "authorization", credential("alice:alice!")))
		if err != nil || user.ID != "alice" || user.Scopes[0] != "a" || user.Method != "basic" {
			t.Fatalf("got %v, %v", user, err)
		}
		user.ID, user.Scopes[0], user.Method = "root", "admin", ""
	}
	if stored := u.accounts["alice"].User; stored.ID != "alice" || stored.Scopes[0] != "a" || stored.Method != "" {
		t.Errorf("the store's user became %+v", stored)
	}
}

func TestWeakHashIsReplacedAtLogin(t *testing.T) {
	t.Parallel()
	h := newHasher(t)
	weak, err := bcrypt.GenerateFromPassword([]byte("alice!"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	u := &users{accounts: map[string]basic.Account{"alice": {User: &grpcauth.User{ID: "alice"}, PasswordHash: string(weak)}}}
	var stored []string
	failure := errors.New("read-only")
	b := newBackend(t, basic.Options{Lookup: u.byName, Hasher: h, MaxRemembered: -1, StoreHash: func(_ context.Context, name, old, hash string) error {
		if old != string(weak) {
			t.Errorf("the hash to replace is %q, want the one that was looked up", old)
		}
		stored = append(stored, hash)
		if failure == nil {
			u.change(name, func(a *basic.Account) { a.PasswordHash = hash })
		}
		return failure
	}})
	expect(t, b, "alice:wrong", "CREDENTIALS_INVALID")
	if len(stored) > 0 {
		t.Fatal("a wrong password was stored")
	}
	expect(t, b, "alice:alice!", "alice") // though the new hash could not be stored
	failure = nil
	expect(t, b, "alice:alice!", "alice")
	expect(t, b, "alice:alice!", "alice")
	if len(stored) != 2 {
		t.Fatalf("%d hashes were stored, want one after the failure", len(stored))
	}
	if h.NeedsRehash(stored[1]) || h.Verify(t.Context(), stored[1], "alice!") != nil {
		t.Errorf("stored %s", stored[1])
	}
	expect(t, b, "alice:wrong", "CREDENTIALS_INVALID")
}

// outrun is the context of a caller that is overtaken by another one after it looked for what is remembered.
type outrun struct {
	context.Context
	by func()
}

func (c *outrun) Err() error {
	if by := c.by; by != nil {
		c.by = nil
		by()
	}
	return c.Context.Err()
}

func TestWeakHashIsReplacedOnceByManyAtOnce(t *testing.T) {
	t.Parallel()
	h := newHasher(t)
	weak, err := bcrypt.GenerateFromPassword([]byte("alice!"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	var stored atomic.Int32
	b := newBackend(t, basic.Options{
		Hasher: h,
		Lookup: func(context.Context, string) (basic.Account, error) { // the store is slow to show the new hash
			return basic.Account{User: &grpcauth.User{ID: "alice"}, PasswordHash: string(weak)}, nil
		},
		StoreHash: func(context.Context, string, string, string) error { stored.Add(1); return nil },
	})
	computed(t, h, 2, func() {
		ctx := &outrun{Context: t.Context(), by: func() {
			var wg sync.WaitGroup
			for range 16 {
				wg.Go(func() { expect(t, b, "alice:alice!", "alice") })
			}
			wg.Wait()
		}}
		if got := look(ctx, b, credential("alice:alice!")); got != "alice" || ctx.by != nil {
			t.Errorf("got %s", got)
		}
	})
	if n := stored.Load(); n != 1 {
		t.Errorf("the hash was replaced %d times", n)
	}
}

func TestStrongerHashIsNotReplaced(t *testing.T) {
	t.Parallel()
	h, err := password.New(password.Options{Memory: 64, Time: 2})
	if err != nil {
		t.Fatal(err)
	}
	strong, err := password.New(password.Options{Memory: 256, Time: 2})
	if err != nil {
		t.Fatal(err)
	}
	other, err := password.New(password.Options{Memory: 256, Time: 1}) // fewer passes than h would make, but over more memory
	if err != nil {
		t.Fatal(err)
	}
	u := newUsers(t, strong, "alice")
	u.accounts["bob"] = basic.Account{User: &grpcauth.User{ID: "bob"}, PasswordHash: hashOf(t, other, "bob!")}
	b := newBackend(t, basic.Options{Lookup: u.byName, Hasher: h, StoreHash: func(context.Context, string, string, string) error {
		t.Error("the hash was replaced by a weaker one")
		return nil
	}})
	expect(t, b, "alice:alice!", "alice")
	expect(t, b, "bob:bob!", "bob")
}

func TestStoreThatCannotBeAskedDecidesNothing(t *testing.T) {
	t.Parallel()
	h := newHasher(t)
	u := newUsers(t, h, "alice")
	b := newBackend(t, basic.Options{Lookup: u.byName, Hasher: h})
	expect(t, b, "alice:alice!", "alice") // remembered, which must not help
	for want, err := range map[string]error{
		"AUTHENTICATION_UNAVAILABLE": errors.New("db-7 is down"),
		"AUTHENTICATION_FAILED":      grpcauth.ErrNoCredentials,
		"TOO_MANY_ATTEMPTS":          grpcauth.Errorf(grpcauth.CodeThrottled, "slow down"),
		"CREDENTIALS_INVALID":        fmt.Errorf("wrapped: %w", grpcauth.Errorf(grpcauth.CodeInvalid, "not here")),
	} {
		u.err = err
		expect(t, b, "alice:alice!", want)
	}
	u.err = nil
	expect(t, b, "alice:alice!", "alice")
}

func TestStrangerOfTheLookupCostsOneComputation(t *testing.T) {
	t.Parallel()
	h := newHasher(t)
	b := newBackend(t, basic.Options{Hasher: h, Lookup: func(context.Context, string) (basic.Account, error) {
		return basic.Account{}, grpcauth.Errorf(grpcauth.CodeInvalid, "not here")
	}})
	computed(t, h, 1, func() { expect(t, b, "alice:alice!", "CREDENTIALS_INVALID") })
}
