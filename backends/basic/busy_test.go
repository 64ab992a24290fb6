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
	"github.com/grpcauth/grpcauth/password"
)

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

// allWhileBusy makes all refused calls, and a good one, while another computation holds all memory. It returns the statuses in the same order.
func allWhileBusy(t *testing.T, wait time.Duration, call func(auth *grpcauth.Interceptor, namePassword string) error) []*status.Status {
	t.Helper()
	h, err := password.New(password.Options{Memory: 64, Time: 1, MaxMemory: 64, MaxWait: wait})
	if err != nil {
		t.Fatal(err)
	}
	auth := grpcauth.New(newBackend(t, basic.Options{Lookup: strangers(t, h).byName, Hasher: h, MaxRemembered: -1}))
	calls := append([]string{"alice:alice!"}, refusals...)
	statuses := make([]*status.Status, len(calls))
	_ = whileBusy(t, h, func() error {
		var wg sync.WaitGroup
		for i, namePassword := range calls {
			wg.Go(func() { statuses[i] = status.Convert(call(auth, namePassword)) })
		}
		wg.Wait()
		return nil
	})
	return statuses
}

// Also a server with too much to do does not tell a stranger from a user.
func TestBusyHasherThrottlesAllAlike(t *testing.T) {
	t.Parallel()
	statuses := allWhileBusy(t, 1, func(auth *grpcauth.Interceptor, namePassword string) error {
		_, err := auth.Authenticate(incoming(t.Context(), namePassword), method)
		return err
	})
	for i, st := range statuses {
		if st.Code() != codes.ResourceExhausted || st.Proto().String() != statuses[0].Proto().String() || !strings.Contains(fmt.Sprint(st.Details()), "retry_delay:{seconds:1}") {
			t.Errorf("call %d: got %v, want %v after a second", i, st.Proto(), codes.ResourceExhausted)
		}
	}
}

// What was not computed is no refusal, whatever is wrong with the account: else the end of a deadline would tell which it is.
func TestCallersThatGiveUpMeanwhileAreToldAlike(t *testing.T) {
	t.Parallel()
	statuses := allWhileBusy(t, time.Hour, func(auth *grpcauth.Interceptor, namePassword string) error {
		ctx, cancel := context.WithTimeout(incoming(t.Context(), namePassword), time.Millisecond)
		defer cancel()
		_, err := auth.Authenticate(ctx, method)
		return err
	})
	for i, st := range statuses {
		if st.Code() != codes.DeadlineExceeded {
			t.Errorf("call %d: got %v, want %v", i, st.Code(), codes.DeadlineExceeded)
		}
	}
}

// The caller that computes for others may give up; they do not.
func TestCallerThatGivesUpFailsNobodyElse(t *testing.T) {
	t.Parallel()
	h, err := password.New(password.Options{Memory: 64, Time: 1, MaxMemory: 64, MaxWait: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	arrived := make(chan struct{})
	u := newUsers(t, h, "alice")
	auth := grpcauth.New(newBackend(t, basic.Options{Hasher: h, MaxRemembered: -1, Lookup: func(ctx context.Context, name string) (basic.Account, error) {
		arrived <- struct{}{}
		return u.byName(ctx, name)
	}}))
	var others sync.WaitGroup
	err = whileBusy(t, h, func() error {
		ctx, cancel := context.WithCancel(incoming(t.Context(), "alice:alice!"))
		first := make(chan error)
		go func() {
			_, err := auth.Authenticate(ctx, method)
			first <- err
		}()
		<-arrived
		for range 4 {
			others.Go(func() {
				if _, err := auth.Authenticate(incoming(t.Context(), "alice:alice!"), method); err != nil {
					t.Errorf("another caller: got %v", err)
				}
			})
			<-arrived
		}
		cancel()
		return <-first
	})
	others.Wait()
	if status.Code(err) != codes.Canceled {
		t.Errorf("got %v, want CANCELED", err)
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

func TestLookupHasTheCallersContext(t *testing.T) {
	t.Parallel()
	type key struct{}
	h := newHasher(t)
	for name, test := range map[string]struct {
		err  error
		ends bool
		want codes.Code
	}{
		"caller cancels":               {context.Canceled, true, codes.Canceled},
		"caller cancels a query":       {errors.New("query was interrupted"), true, codes.Canceled},
		"store's own deadline":         {context.DeadlineExceeded, false, codes.Unavailable},
		"store is shut down meanwhile": {context.Canceled, false, codes.Unavailable},
	} {
		ctx, cancel := context.WithCancel(context.WithValue(incoming(t.Context(), "alice:alice!"), key{}, name))
		auth := grpcauth.New(newBackend(t, basic.Options{Hasher: h, Lookup: func(ctx context.Context, _ string) (basic.Account, error) {
			if ctx.Value(key{}) != name {
				t.Errorf("%s: the context is another", name)
			}
			if test.ends {
				cancel()
			}
			return basic.Account{}, test.err
		}}))
		if _, err := auth.Authenticate(ctx, method); status.Code(err) != test.want {
			t.Errorf("%s: got %v, want %v", name, err, test.want)
		}
		cancel()
	}
}

func TestFunctionThatPanicsIsInternal(t *testing.T) {
	t.Parallel()
	h := newHasher(t)
	u := newUsers(t, h, "alice")
	for name, opts := range map[string]basic.Options{
		"Lookup":    {Lookup: func(context.Context, string) (basic.Account, error) { panic("canary") }},
		"Canonical": {Lookup: u.byName, Canonical: func(string) (string, error) { panic("canary") }},
	} {
		opts.Hasher = h
		if _, err := grpcauth.New(newBackend(t, opts)).Authenticate(incoming(t.Context(), "alice:alice!"), method); status.Code(err) != codes.Internal || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: got %v, want INTERNAL", name, err)
		}
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
		auth := grpcauth.New(newBackend(t, basic.Options{Lookup: u.byName, Hasher: h, MaxRemembered: -1, StoreHash: func(context.Context, string, string, string) error {
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
