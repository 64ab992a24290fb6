// SPDX-License-Identifier: Apache-2.0

package authservice_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	grpcauthv1 "github.com/grpcauth/grpcauth/proto/grpcauth/v1"
)

// prepare makes a site on which a call of the method is good: its context, what it is about, and what must hold once it was answered.
func prepare(t *testing.T, method string) (s *site, ctx context.Context, what string, check func(err error) error) {
	t.Helper()
	s = newSite(t)
	id := s.login(t, "alice", byID).GetSessionId()
	ctx = withID(t.Context(), id)
	check = func(error) error { return nil }
	switch method {
	case "Refresh":
		tokens := s.login(t, "alice", byTokens).GetTokens()
		what = tokens.GetRefreshToken()
	case "Logout":
		check = func(err error) error {
			if err == nil && s.who(ctx) == "alice" {
				return errors.New("logged out, and still in")
			}
			return nil
		}
	case "RevokeSession":
		issued := s.login(t, "alice", byTokens)
		what = issued.GetSession().GetHandle()
		check = func(err error) error {
			if _, again := s.Refresh(t.Context(), refreshRequest(issued.GetTokens())); err == nil && again == nil {
				return errors.New("revoked, and still good")
			}
			return nil
		}
	case "RevokeAPIKey":
		key := s.key(t, ctx, &grpcauthv1.CreateAPIKeyRequest{})
		what = key.GetKey().GetId()
		check = func(err error) error {
			if err == nil && s.who(withKey(t.Context(), key.GetSecret())) == "alice" {
				return errors.New("revoked, and still good")
			}
			return nil
		}
	case "ChangePassword":
		other := s.session(t, "alice")
		check = func(err error) error {
			_, before := s.Login(t.Context(), loginRequest("alice", byID))
			_, after := s.Login(t.Context(), &grpcauthv1.LoginRequest{Username: "alice", Password: changeRequest().GetNewPassword()})
			if (before == nil) == (after == nil) || err == nil && after != nil {
				return fmt.Errorf("the old password: %w, the new one: %w", before, after)
			}
			if err == nil && s.who(other) == "alice" {
				return errors.New("changed, and another session is still good")
			}
			return nil
		}
	}
	return s, ctx, what, check
}

// A store that fails at any one of the steps of a method is an outage, unless the step did not matter; never is it another refusal, nor a
// success that is none. What was not done can be done once the store is back.
func TestOutageAtEachStepOfEachMethod(t *testing.T) {
	t.Parallel()
	for method, call := range calls {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			s, ctx, what, check := prepare(t, method)
			before := s.store.calls.Load()
			err := call(ctx, s, what)
			steps := s.store.calls.Load() - before
			if err := errors.Join(err, check(err)); err != nil {
				t.Fatal(err)
			}
			for step := range steps {
				s, ctx, what, check := prepare(t, method)
				s.store.fail.Store(s.store.calls.Load() + step + 1)
				err := call(ctx, s, what)
				if err != nil && codeOf(err) != "AUTHENTICATION_UNAVAILABLE" {
					t.Errorf("step %d of %d: got %v", step+1, steps, err)
				}
				s.store.fail.Store(0)
				if err := check(err); err != nil {
					t.Errorf("step %d of %d: %v", step+1, steps, err)
				}
				if method == "Refresh" && err != nil {
					if err := call(ctx, s, what); err != nil {
						t.Errorf("step %d of %d: the login is lost: %v", step+1, steps, err)
					}
				}
			}
		})
	}
}

func TestOutageOfTheStoreIsToldAsOne(t *testing.T) {
	t.Parallel()
	for method, call := range calls {
		s, ctx, what, check := prepare(t, method)
		s.store.fail.Store(-1)
		err := call(ctx, s, what)
		expect(t, err, "AUTHENTICATION_UNAVAILABLE")
		s.store.fail.Store(0)
		if err := check(err); err != nil {
			t.Errorf("%s: %v", method, err)
		}
	}
}

func TestOutageOfTheAccountsIsToldAsOne(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"Login", "Refresh", "ChangePassword"} {
		s, ctx, what, check := prepare(t, method)
		s.accounts.err = errDown
		err := calls[method](ctx, s, what)
		expect(t, err, "AUTHENTICATION_UNAVAILABLE")
		s.accounts.err = nil
		if err := check(err); err != nil {
			t.Errorf("%s: %v", method, err)
		}
	}
}

func TestOutageIsNoLogout(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	tokens := s.login(t, "alice", byTokens).GetTokens()
	s.store.fail.Store(-1)
	_, err := s.logout(t.Context(), tokens.GetRefreshToken())
	expect(t, err, "AUTHENTICATION_UNAVAILABLE")
	s.store.fail.Store(0)
	if _, err := s.logout(t.Context(), tokens.GetRefreshToken()); err != nil {
		t.Error(err)
	}
}
