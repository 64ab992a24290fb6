// SPDX-License-Identifier: Apache-2.0

package authservice_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"

	"github.com/grpcauth/grpcauth/authservice"
	"github.com/grpcauth/grpcauth/grpcauthtest"
	grpcauthv1 "github.com/grpcauth/grpcauth/proto/grpcauth/v1"
	"github.com/grpcauth/grpcauth/throttle"
)

const throttled = "TOO_MANY_ATTEMPTS"

// limited is a site that takes three failures a minute.
func limited(t *testing.T, limits throttle.Options, change ...settings) (*site, *grpcauthtest.Clock) {
	t.Helper()
	clock := grpcauthtest.NewClock(start)
	limits.Account, limits.Now = throttle.Limit{Attempts: 3, Window: time.Minute}, clock.Now
	if limits.Address.Attempts == 0 {
		limits.Address = throttle.Limit{Attempts: 1000, Window: time.Minute}
	}
	limiter, err := throttle.New(limits)
	if err != nil {
		t.Fatal(err)
	}
	return newSite(t, append(change, settings{options: func(o *authservice.Options) { o.Limiter = limiter }})...), clock
}

func (s *site) guess(t *testing.T, name string) error {
	t.Helper()
	_, err := s.Login(t.Context(), &grpcauthv1.LoginRequest{Username: name, Password: "guess", Credential: byID})
	return err
}

func TestGuessesAtLoginAreRefusedBeforeAHashIsComputed(t *testing.T) {
	t.Parallel()
	answers := map[string]string{}
	for _, name := range []string{"alice", "nobody", "eve"} {
		s, clock := limited(t, throttle.Options{TrustFor: -1})
		for range 3 {
			expect(t, s.guess(t, name), "CREDENTIALS_INVALID")
		}
		before := s.hasher.Computations()
		err := s.guess(t, name)
		expect(t, err, throttled)
		_, right := s.Login(t.Context(), loginRequest(name, byID))
		expect(t, right, throttled)
		if got := s.hasher.Computations() - before; got != 0 {
			t.Errorf("%s: %d hashes were computed", name, got)
		}
		answers[status.Convert(err).Proto().String()] = name
		var delay time.Duration
		for _, detail := range status.Convert(err).Details() {
			if info, ok := detail.(*errdetails.RetryInfo); ok {
				delay = info.GetRetryDelay().AsDuration()
			}
		}
		if delay <= 0 || delay > 2*time.Minute {
			t.Fatalf("%s: told to wait for %v", name, delay)
		}
		clock.Advance(delay)
		expect(t, s.guess(t, name), "CREDENTIALS_INVALID")
	}
	if len(answers) != 1 {
		t.Errorf("the answers differ: %v", answers)
	}
}

func TestRightLoginsAreGivenBack(t *testing.T) {
	t.Parallel()
	s, _ := limited(t, throttle.Options{TrustFor: -1})
	for range 10 {
		s.login(t, "alice", byID)
	}
}

func TestRightLoginDoesNotForgiveGuesses(t *testing.T) {
	t.Parallel()
	s, _ := limited(t, throttle.Options{TrustFor: -1})
	for range 2 {
		expect(t, s.guess(t, "alice"), "CREDENTIALS_INVALID")
	}
	s.login(t, "alice", byID)
	expect(t, s.guess(t, "alice"), "CREDENTIALS_INVALID")
	expect(t, s.guess(t, "alice"), throttled)
}

func TestOutageOfAccountsIsNoFailedLogin(t *testing.T) {
	t.Parallel()
	s, _ := limited(t, throttle.Options{TrustFor: -1})
	s.accounts.mu.Lock()
	s.accounts.err = errors.New("down")
	s.accounts.mu.Unlock()
	for range 10 {
		expect(t, s.guess(t, "alice"), "AUTHENTICATION_UNAVAILABLE")
	}
	s.accounts.mu.Lock()
	s.accounts.err = nil
	s.accounts.mu.Unlock()
	s.login(t, "alice", byID)
}

func TestGuessesAtTheOldPasswordAreThrottled(t *testing.T) {
	t.Parallel()
	s, _ := limited(t, throttle.Options{TrustFor: -1})
	ctx := s.session(t, "alice")
	try := func() error {
		req := changeRequest()
		req.OldPassword = "guess"
		_, err := s.ChangePassword(ctx, req)
		return err
	}
	for range 3 {
		expect(t, try(), "CREDENTIALS_INVALID")
	}
	expect(t, try(), throttled)
	s.login(t, "alice", byID) // who is logged in cannot lock the owner out
}

// broken is a counter that cannot be asked.
type broken struct{}

func (broken) Add(context.Context, string, int64, time.Duration) (int64, error) {
	return 0, errors.New("the counter is down")
}

func TestLoginThatCannotBeCountedIsNotJudged(t *testing.T) {
	t.Parallel()
	s, _ := limited(t, throttle.Options{Counter: broken{}})
	before := s.hasher.Computations()
	_, err := s.Login(t.Context(), loginRequest("alice", byID))
	expect(t, err, "AUTHENTICATION_UNAVAILABLE")
	if s.hasher.Computations() != before {
		t.Error("a hash was computed")
	}
}

func TestPasswordThatWasNotComparedIsNoAttempt(t *testing.T) {
	t.Parallel()
	busy := newBusyHasher(t)
	var s *site
	var answers []string
	whileBusy(t, busy, func() {
		s, _ = limited(t, throttle.Options{TrustFor: -1}, settings{options: func(o *authservice.Options) { o.Hasher = busy }})
		answers = nil
		for range 4 {
			answers = append(answers, codeOf(s.guess(t, "alice")))
		}
	})
	if answers = slices.Compact(answers); !slices.Equal(answers, []string{throttled}) { // there is no memory
		t.Fatalf("got %q", answers)
	}
	expect(t, s.guess(t, "alice"), "CREDENTIALS_INVALID")
}
