// SPDX-License-Identifier: Apache-2.0

package authservice_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/authservice"
	"github.com/grpcauth/grpcauth/backends/basic"
	"github.com/grpcauth/grpcauth/backends/session"
	grpcauthv1 "github.com/grpcauth/grpcauth/proto/grpcauth/v1"
)

func TestChangedPasswordEndsAllOtherLogins(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	mine, other, bobs := s.session(t, "alice"), s.session(t, "alice"), s.session(t, "bob")
	tokens := s.login(t, "alice", byTokens).GetTokens()
	resp, err := s.ChangePassword(mine, changeRequest())
	if err != nil {
		t.Fatal(err)
	}
	for name, ctx := range map[string]context.Context{"own session of before": mine, "other session": other} {
		if got := s.who(ctx); got != "CREDENTIALS_INVALID" {
			t.Errorf("%s: got %s", name, got)
		}
	}
	_, err = s.Refresh(t.Context(), &grpcauthv1.RefreshRequest{RefreshToken: tokens.GetRefreshToken(), ClientId: client})
	if status.Code(err) != codes.Unauthenticated {
		t.Errorf("refresh token: got %v", err)
	}
	if got := s.who(withID(t.Context(), resp.GetIssued().GetSessionId())); got != "alice" {
		t.Errorf("new session: got %s", got)
	}
	if got := s.who(bobs); got != "bob" {
		t.Errorf("somebody else's session: got %s", got)
	}
	_, err = s.Login(t.Context(), loginRequest("alice", byID))
	expect(t, err, "CREDENTIALS_INVALID")
	if _, err = s.Login(t.Context(), &grpcauthv1.LoginRequest{Username: "alice", Password: changeRequest().GetNewPassword()}); err != nil {
		t.Errorf("the new password: got %v", err)
	}
}

func TestChangedPasswordGivesWhatTheCallCameWith(t *testing.T) {
	t.Parallel()
	for credential, client := range map[grpcauthv1.Credential]string{byCookie: "", byID: "", byTokens: client} {
		t.Run(credential.String(), func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			var header metadata.MD
			login, err := s.Login(t.Context(), loginRequest("alice", credential), grpc.Header(&header))
			if err != nil {
				t.Fatal(err)
			}
			ctx := t.Context()
			switch credential {
			case byCookie:
				ctx = withCookie(ctx, header.Get("set-cookie")[0])
			case byID:
				ctx = withID(ctx, login.GetIssued().GetSessionId())
			default:
				ctx = withTokens(ctx, login.GetIssued().GetTokens())
			}
			req := changeRequest()
			req.Credential, req.ClientId = grpcauthv1.Credential_CREDENTIAL_UNSPECIFIED, client
			header = nil
			resp, err := s.ChangePassword(ctx, req, grpc.Header(&header))
			if err != nil {
				t.Fatal(err)
			}
			issued := resp.GetIssued()
			if len(header.Get("set-cookie")) > 0 != (credential == byCookie) || issued.GetSessionId() != "" != (credential == byID) || issued.GetTokens() != nil != (credential == byTokens) {
				t.Errorf("got %v, %v", issued, header)
			}
			if credential == byTokens {
				if got := s.who(withTokens(t.Context(), issued.GetTokens())); got != "alice" {
					t.Errorf("got %s", got)
				}
			}
		})
	}
}

func TestPasswordIsChangedOnlyByWhoKnowsIt(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change func(*grpcauthv1.ChangePasswordRequest)
		want   string
		hashes uint64
	}{
		"wrong password":     {func(r *grpcauthv1.ChangePasswordRequest) { r.OldPassword = "wrong" }, "CREDENTIALS_INVALID", 1},
		"no password":        {func(r *grpcauthv1.ChangePasswordRequest) { r.OldPassword = "" }, "CREDENTIALS_INVALID", 1},
		"malformed password": {func(r *grpcauthv1.ChangePasswordRequest) { r.OldPassword = "\x00" }, "CREDENTIALS_MALFORMED", 0},
		"too short":          {func(r *grpcauthv1.ChangePasswordRequest) { r.NewPassword = "1234567" }, "InvalidArgument", 0},
		"too few characters": {func(r *grpcauthv1.ChangePasswordRequest) { r.NewPassword = "ääääääö" }, "InvalidArgument", 0},
		"too long":           {func(r *grpcauthv1.ChangePasswordRequest) { r.NewPassword = strings.Repeat("x", 1025) }, "InvalidArgument", 1},
		"much too long":      {func(r *grpcauthv1.ChangePasswordRequest) { r.NewPassword = strings.Repeat("x", 8<<10+1) }, "InvalidArgument", 0},
		"control characters": {func(r *grpcauthv1.ChangePasswordRequest) { r.NewPassword = "1234567\x00" }, "InvalidArgument", 0},
		"the same":           {func(r *grpcauthv1.ChangePasswordRequest) { r.NewPassword = r.GetOldPassword() }, "InvalidArgument", 1},
		"blocked":            {func(r *grpcauthv1.ChangePasswordRequest) { r.NewPassword = "password1" }, "InvalidArgument", 1},
		"bad credential":     {func(r *grpcauthv1.ChangePasswordRequest) { r.Credential = 99 }, "InvalidArgument", 0},
		"no client":          {func(r *grpcauthv1.ChangePasswordRequest) { r.Credential = byTokens }, "InvalidArgument", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, settings{options: func(o *authservice.Options) {
				o.Blocked = func(_ context.Context, p string) (bool, error) { return p == "password1", nil }
			}})
			mine, other := s.session(t, "alice"), s.session(t, "alice")
			req := changeRequest()
			test.change(req)
			before := s.hasher.Computations()
			_, err := s.ChangePassword(mine, req)
			expect(t, err, test.want)
			if n := s.hasher.Computations() - before; n != test.hashes {
				t.Errorf("%d hashes were computed, want %d", n, test.hashes)
			}
			if s.who(mine) != "alice" || s.who(other) != "alice" {
				t.Error("a session has ended")
			}
			s.login(t, "alice", byID) // with the password of before
		})
	}
}

func TestOutageOfTheBlocklistChangesNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t, settings{options: func(o *authservice.Options) {
		o.Blocked = func(context.Context, string) (bool, error) { return false, errDown }
	}})
	mine := s.session(t, "alice")
	_, err := s.ChangePassword(mine, changeRequest())
	expect(t, err, "AUTHENTICATION_UNAVAILABLE")
	s.login(t, "alice", byID)
}

func TestEightCharactersOfAnyLengthAreEnough(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	req := changeRequest()
	req.NewPassword = "ääääääöö"
	if _, err := s.ChangePassword(s.session(t, "alice"), req); err != nil {
		t.Error(err)
	}
}

func TestDisabledUserCannotChangeThePassword(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	mine := s.session(t, "alice")
	var answers []string
	for _, change := range []func(*basic.Account){
		func(a *basic.Account) { a.PasswordHash = "" },
		func(a *basic.Account) { a.Disabled = true },
		func(a *basic.Account) { *a = basic.Account{} },
	} {
		s.accounts.change("alice", change)
		before := s.hasher.Computations()
		_, err := s.ChangePassword(mine, changeRequest())
		answers = append(answers, status.Convert(err).Proto().String())
		if n := s.hasher.Computations() - before; n != 1 || codeOf(err) != "CREDENTIALS_INVALID" {
			t.Errorf("%d hashes were computed, and got %v", n, err)
		}
	}
	if answers = slices.Compact(answers); len(answers) != 1 {
		t.Errorf("got %q", answers)
	}
}

func TestOneOfTwoChangesAtOnceWins(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	var wg sync.WaitGroup
	var mu sync.Mutex
	changed := map[string]bool{}
	passwords := []string{"the first password", "the second password", "the third password"}
	ids := make([]string, len(passwords))
	for i := range passwords {
		ids[i] = s.login(t, "alice", byID).GetSessionId()
	}
	for i, pass := range passwords {
		ctx := withID(t.Context(), ids[i])
		wg.Go(func() {
			req := changeRequest()
			req.NewPassword = pass
			_, err := s.ChangePassword(ctx, req)
			mu.Lock()
			defer mu.Unlock()
			changed[pass] = err == nil
			switch codeOf(err) {
			case "OK", "CREDENTIALS_INVALID", "Aborted":
			default:
				t.Errorf("got %v", err)
			}
		})
	}
	wg.Wait()
	wins := 0
	for pass, won := range changed {
		_, err := s.Login(t.Context(), &grpcauthv1.LoginRequest{Username: "alice", Password: pass})
		if (err == nil) != won {
			t.Errorf("%s: changed %t, login %v", pass, won, err)
		}
		if won {
			wins++
		}
	}
	if wins != 1 {
		t.Errorf("%d changes were successful", wins)
	}
}

// Each session that a login with the old password gave while it was changed has ended, or was never given.
func TestNoSessionOfTheOldPasswordOutlivesItsChange(t *testing.T) {
	t.Parallel()
	s := newSite(t, settings{sessions: func(o *session.Options) { o.MaxPerUser = 100 }}) // else they would end without the change
	mine := s.session(t, "alice")
	var mu sync.Mutex
	var ids []string
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if resp, err := s.Login(t.Context(), loginRequest("alice", byID)); err == nil {
				mu.Lock()
				defer mu.Unlock()
				ids = append(ids, resp.GetIssued().GetSessionId())
			}
		})
	}
	if _, err := s.ChangePassword(mine, changeRequest()); err != nil {
		t.Error(err)
	}
	wg.Wait()
	for _, id := range ids {
		if got := s.who(withID(t.Context(), id)); got != "CREDENTIALS_INVALID" {
			t.Errorf("got %s", got)
		}
	}
}

// So a store that is down changes nothing, and who logs in with the old password at the last moment is not forgotten.
func TestLoginsEndBeforeThePasswordIsSetAndAfter(t *testing.T) {
	t.Parallel()
	var s *site
	var other context.Context
	var between *grpcauthv1.LoginResponse
	s = newSite(t, settings{options: func(o *authservice.Options) {
		set := o.SetPassword
		o.SetPassword = func(ctx context.Context, user *grpcauth.User, old, hash string) error {
			if got := s.who(other); got != "CREDENTIALS_INVALID" {
				t.Errorf("another session, when the password is set: got %s", got)
			}
			var err error
			if between, err = s.Login(t.Context(), loginRequest("alice", byID)); err != nil {
				t.Error(err)
			}
			return set(ctx, user, old, hash)
		}
	}})
	mine := s.session(t, "alice")
	other = s.session(t, "alice")
	if _, err := s.ChangePassword(mine, changeRequest()); err != nil {
		t.Fatal(err)
	}
	if got := s.who(withID(t.Context(), between.GetIssued().GetSessionId())); got != "CREDENTIALS_INVALID" {
		t.Errorf("a session of between: got %s", got)
	}
}

func TestChangeIsToldOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	mine := s.session(t, "alice")
	req := changeRequest()
	req.OldPassword = "wrong"
	s.told()
	_, _ = s.ChangePassword(mine, req)
	_, _ = s.ChangePassword(mine, changeRequest())
	if got := s.told(); !slices.Equal(got, []string{"PasswordChanged alice failed", "PasswordChanged alice"}) {
		t.Errorf("got %q", got)
	}
}

func TestAccountOfAnotherUserIsNotBelieved(t *testing.T) {
	t.Parallel()
	s := newSite(t, settings{options: func(o *authservice.Options) {
		find := o.AccountOf
		o.AccountOf = func(ctx context.Context, _ *grpcauth.User) (basic.Account, error) {
			return find(ctx, &grpcauth.User{ID: "alice"})
		}
	}})
	_, err := s.ChangePassword(s.session(t, "bob"), changeRequest())
	expect(t, err, "AUTHENTICATION_FAILED")
	s.login(t, "alice", byID)
}
