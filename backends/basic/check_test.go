// SPDX-License-Identifier: Apache-2.0

package basic_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
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

	req := grpcauthtest.Request(t.Context(), method, "authorization", credential("alice:alice!"))
	if _, err := b.Authenticate(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	never := newBackend(t, basic.Options{Lookup: u.byName, Hasher: h, MaxRemembered: -1})
	computed(t, h, 2, func() {
		expect(t, never, "alice:alice!", "alice")
		expect(t, never, "alice:alice!", "alice")
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
	b := newBackend(t, basic.Options{Lookup: u.byName, Hasher: h, MaxRemembered: -1, StoreHash: func(_ context.Context, name, hash string) error {
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

func TestStrongerHashIsNotReplaced(t *testing.T) {
	t.Parallel()
	h := newHasher(t)
	strong, err := password.New(password.Options{Memory: 256, Time: 2})
	if err != nil {
		t.Fatal(err)
	}
	u := newUsers(t, strong, "alice")
	b := newBackend(t, basic.Options{Lookup: u.byName, Hasher: h, StoreHash: func(context.Context, string, string) error {
		t.Error("the hash was replaced by a weaker one")
		return nil
	}})
	expect(t, b, "alice:alice!", "alice")
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

// whileBusy returns what look finds while another computation holds all memory of the hasher.
func whileBusy(t *testing.T, h *password.Hasher, look func() error) error {
	t.Helper()
	const heavy = "$argon2id$v=19$m=32768,t=8,p=1$MDEyMzQ1Njc$MDEyMzQ1Njc4OTAxMjM0NQ"
	for {
		before, ended := h.Computations(), make(chan struct{})
		go func() {
			defer close(ended)
			_ = h.Verify(context.WithoutCancel(t.Context()), heavy, "x")
		}()
		for h.Computations() == before {
			runtime.Gosched()
		}
		err := look()
		select {
		case <-ended: // perhaps before look began
		default:
			<-ended
			return err
		}
	}
}

func TestBusyHasherThrottles(t *testing.T) {
	t.Parallel()
	h, err := password.New(password.Options{Memory: 64, Time: 1, MaxMemory: 64, MaxWait: 1})
	if err != nil {
		t.Fatal(err)
	}
	auth := grpcauth.New(newBackend(t, basic.Options{Lookup: newUsers(t, h, "alice").byName, Hasher: h}))
	err = whileBusy(t, h, func() error {
		_, err := auth.Authenticate(incoming(t.Context(), "alice:alice!"), method)
		return err
	})
	if status.Code(err) != codes.ResourceExhausted || grpcauth.CodeOf(err) != grpcauth.CodeThrottled {
		t.Errorf("got %v, want RESOURCE_EXHAUSTED", err)
	}
}

func TestWaitForMemoryEndsWithTheDeadline(t *testing.T) {
	t.Parallel()
	h, err := password.New(password.Options{Memory: 64, Time: 1, MaxMemory: 64, MaxWait: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	auth := grpcauth.New(newBackend(t, basic.Options{Lookup: newUsers(t, h, "alice").byName, Hasher: h}))
	err = whileBusy(t, h, func() error {
		ctx, cancel := context.WithTimeout(incoming(t.Context(), "alice:alice!"), time.Millisecond)
		defer cancel()
		_, err := auth.Authenticate(ctx, method)
		return err
	})
	if status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("got %v, want DEADLINE_EXCEEDED", err)
	}
	if _, err := auth.Authenticate(incoming(t.Context(), "alice:alice!"), method); err != nil {
		t.Errorf("once there is memory: got %v", err)
	}
}

func TestCallerThatGaveUpCostsNothing(t *testing.T) {
	t.Parallel()
	h := newHasher(t)
	auth := grpcauth.New(newBackend(t, basic.Options{Lookup: newUsers(t, h, "alice").byName, Hasher: h}))
	ctx, cancel := context.WithCancel(incoming(t.Context(), "alice:alice!"))
	cancel()
	computed(t, h, 0, func() {
		if _, err := auth.Authenticate(ctx, method); status.Code(err) != codes.Canceled {
			t.Errorf("got %v, want CANCELED", err)
		}
	})
	if _, err := auth.Authenticate(incoming(t.Context(), "alice:alice!"), method); err != nil {
		t.Errorf("the next caller: got %v", err)
	}
}

// Those who share a judgement that panics wait for an answer too.
func TestHookThatPanicsIsInternalForAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHasher(t)
		weak, err := bcrypt.GenerateFromPassword([]byte("alice!"), bcrypt.MinCost)
		if err != nil {
			t.Fatal(err)
		}
		u := &users{accounts: map[string]basic.Account{"alice": {User: &grpcauth.User{ID: "alice"}, PasswordHash: string(weak)}}}
		gate := make(chan struct{})
		auth := grpcauth.New(newBackend(t, basic.Options{Lookup: u.byName, Hasher: h, MaxRemembered: -1, StoreHash: func(context.Context, string, string) error {
			<-gate
			panic("canary")
		}}))
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				if _, err := auth.Authenticate(incoming(t.Context(), "alice:alice!"), method); status.Code(err) != codes.Internal || strings.Contains(err.Error(), "canary") {
					t.Errorf("got %v, want INTERNAL", err)
				}
			})
		}
		synctest.Wait()
		close(gate)
		wg.Wait()
	})
}
