// SPDX-License-Identifier: Apache-2.0

package authservice_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	grpcauthv1 "github.com/grpcauth/grpcauth/proto/grpcauth/v1"
)

func (s *site) logout(ctx context.Context, refresh string) (cookies []string, err error) {
	var header metadata.MD
	_, err = s.Logout(ctx, &grpcauthv1.LogoutRequest{RefreshToken: refresh}, grpc.Header(&header))
	return header.Get("set-cookie"), err
}

func cleared(cookies []string) bool {
	return len(cookies) > 0 && strings.HasPrefix(cookies[len(cookies)-1], "__Host-session=;") && strings.Contains(cookies[len(cookies)-1], "Max-Age=0")
}

func TestLogoutEndsTheSessionAtTheNextCall(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	mine, other := s.session(t, "alice"), s.session(t, "alice")
	cookies, err := s.logout(mine, "")
	if err != nil || !cleared(cookies) {
		t.Errorf("got %q, %v", cookies, err)
	}
	if got := s.who(mine); got != "CREDENTIALS_INVALID" {
		t.Errorf("got %s", got)
	}
	if got := s.who(other); got != "alice" {
		t.Errorf("the other session: got %s", got)
	}
}

func TestLogoutOfWhatIsGoneIsNoError(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	ended, expired := s.session(t, "alice"), s.session(t, "alice")
	tokens := s.login(t, "alice", byTokens).GetTokens()
	if _, err := s.logout(ended, tokens.GetRefreshToken()); err != nil {
		t.Fatal(err)
	}
	s.clock.Advance(24 * time.Hour)
	for name, ctx := range map[string]context.Context{
		"nothing": t.Context(), "ended": ended, "expired": expired, "of no form": withID(t.Context(), "!"),
		"unknown": withCookie(t.Context(), "__Host-session="+strings.Repeat("A", 43)),
	} {
		for _, refresh := range []string{"", tokens.GetRefreshToken(), "no-refresh-token", strings.Repeat("A", 100)} {
			if cookies, err := s.logout(ctx, refresh); err != nil || !cleared(cookies) {
				t.Errorf("%s, %.10q: got %q, %v", name, refresh, cookies, err)
			}
		}
	}
}

func TestLogoutEndsTheLoginOfARefreshToken(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	tokens := s.login(t, "alice", byTokens).GetTokens()
	other := s.login(t, "alice", byTokens).GetTokens()
	if _, err := s.logout(t.Context(), tokens.GetRefreshToken()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Refresh(t.Context(), refreshRequest(tokens)); status.Code(err) != codes.Unauthenticated {
		t.Errorf("got %v", err)
	}
	if _, err := s.Refresh(t.Context(), refreshRequest(other)); err != nil {
		t.Errorf("the other login: got %v", err)
	}
}

// Success would let the caller believe that the token is of no use any more.
func TestLogoutWithAnAccessTokenAloneIsRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	tokens := s.login(t, "alice", byTokens).GetTokens()
	_, err := s.logout(withTokens(t.Context(), tokens), "")
	expect(t, err, "InvalidArgument")
	if _, err := s.logout(withTokens(t.Context(), tokens), tokens.GetRefreshToken()); err != nil {
		t.Errorf("got %v", err)
	}
}

func TestLogoutOfAnyOfTwoSessionsIsRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	ids := []string{s.login(t, "alice", byID).GetSessionId(), s.login(t, "bob", byID).GetSessionId()}
	_, err := s.logout(metadata.NewOutgoingContext(t.Context(), metadata.Pairs(idKey, ids[0], idKey, ids[1])), "")
	expect(t, err, "CREDENTIALS_AMBIGUOUS")
	for i, name := range []string{"alice", "bob"} {
		if got := s.who(withID(t.Context(), ids[i])); got != name {
			t.Errorf("got %s", got)
		}
	}
}

func TestListShowsTheUsersLoginsAlone(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	mine := s.session(t, "alice")
	s.clock.Advance(time.Minute)
	tokens := s.login(t, "alice", byTokens).GetTokens()
	s.clock.Advance(time.Minute)
	s.session(t, "alice")
	s.session(t, "bob")
	s.login(t, "bob", byTokens)
	for name, test := range map[string]struct {
		ctx     context.Context
		current int
	}{"by session": {mine, 2}, "by token": {withTokens(t.Context(), tokens), 1}} {
		list, err := s.ListSessions(test.ctx, &grpcauthv1.ListSessionsRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if len(list.GetSessions()) != 3 {
			t.Fatalf("%s: got %d, want the newest session, the tokens, the first session", name, len(list.GetSessions()))
		}
		for i, l := range list.GetSessions() {
			if l.GetCurrent() != (i == test.current) || l.GetTokens() != (i == 1) || l.GetDeviceName() != "alice's phone" || l.GetEnd() == nil {
				t.Errorf("%s: %d is %v", name, i, l)
			}
		}
	}
}

func TestHandleIsNoCredential(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	issued := s.login(t, "alice", byID)
	handle := issued.GetSession().GetHandle()
	if handle == issued.GetSessionId() {
		t.Error("the handle is the id")
	}
	if got := s.who(withID(t.Context(), handle)); got == "alice" {
		t.Error("the handle logs in")
	}
	family := s.login(t, "alice", byTokens).GetSession().GetHandle()
	if _, err := s.Refresh(t.Context(), &grpcauthv1.RefreshRequest{RefreshToken: family, ClientId: client}); err == nil {
		t.Error("the handle refreshes")
	}
}

func TestOneLoginIsRevokedByItsHandle(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	mine := s.session(t, "alice")
	session, family := s.login(t, "alice", byID), s.login(t, "alice", byTokens)
	for _, issued := range []*grpcauthv1.Issued{session, family} {
		req := &grpcauthv1.RevokeSessionRequest{Scope: grpcauthv1.SessionScope_SESSION_SCOPE_ONE, Handle: issued.GetSession().GetHandle()}
		resp, err := s.RevokeSession(mine, req)
		if err != nil || resp.GetRevoked() != 1 {
			t.Errorf("got %v, %v", resp, err)
		}
		_, err = s.RevokeSession(mine, req)
		expect(t, err, "NotFound")
	}
	if got := s.who(withID(t.Context(), session.GetSessionId())); got != "CREDENTIALS_INVALID" {
		t.Errorf("got %s", got)
	}
	if _, err := s.Refresh(t.Context(), refreshRequest(family.GetTokens())); status.Code(err) != codes.Unauthenticated {
		t.Errorf("got %v", err)
	}
	if got := s.who(mine); got != "alice" {
		t.Errorf("got %s", got)
	}
}

// Whether a handle is somebody else's or nobody's cannot be told apart.
func TestAnothersLoginCannotBeRevoked(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	mine := s.session(t, "alice")
	session, family := s.login(t, "bob", byID), s.login(t, "bob", byTokens)
	var answers []string
	for _, handle := range []string{session.GetSession().GetHandle(), family.GetSession().GetHandle(), strings.Repeat("A", 43), "x"} {
		_, err := s.RevokeSession(mine, &grpcauthv1.RevokeSessionRequest{Scope: grpcauthv1.SessionScope_SESSION_SCOPE_ONE, Handle: handle})
		expect(t, err, "NotFound")
		answers = append(answers, status.Convert(err).Proto().String())
	}
	if answers = slices.Compact(answers); len(answers) != 1 {
		t.Errorf("got %q", answers)
	}
	if got := s.who(withID(t.Context(), session.GetSessionId())); got != "bob" {
		t.Errorf("got %s", got)
	}
	if _, err := s.Refresh(t.Context(), refreshRequest(family.GetTokens())); err != nil {
		t.Errorf("got %v", err)
	}
}

func TestOthersOrAllAreRevoked(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		scope    grpcauthv1.SessionScope
		byTokens bool
		revoked  int32
		stays    bool
	}{
		"others, by session": {grpcauthv1.SessionScope_SESSION_SCOPE_OTHERS, false, 3, true},
		"others, by token":   {grpcauthv1.SessionScope_SESSION_SCOPE_OTHERS, true, 3, true},
		"all, by session":    {grpcauthv1.SessionScope_SESSION_SCOPE_ALL, false, 4, false},
		"all, by token":      {grpcauthv1.SessionScope_SESSION_SCOPE_ALL, true, 4, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			ids := []string{s.login(t, "alice", byID).GetSessionId(), s.login(t, "alice", byID).GetSessionId()}
			tokens := []*grpcauthv1.Tokens{s.login(t, "alice", byTokens).GetTokens(), s.login(t, "alice", byTokens).GetTokens()}
			bobs := s.session(t, "bob")
			ctx := withID(t.Context(), ids[0])
			if test.byTokens {
				ctx = withTokens(t.Context(), tokens[0])
			}
			var header metadata.MD
			resp, err := s.RevokeSession(ctx, &grpcauthv1.RevokeSessionRequest{Scope: test.scope}, grpc.Header(&header))
			if err != nil || resp.GetRevoked() != test.revoked {
				t.Errorf("got %v, %v", resp, err)
			}
			if cleared(header.Get("set-cookie")) == test.stays {
				t.Errorf("got the cookies %q", header.Get("set-cookie"))
			}
			for i, id := range ids {
				stays := test.stays && !test.byTokens && i == 0
				if got := s.who(withID(t.Context(), id)); (got == "alice") != stays {
					t.Errorf("session %d: got %s", i, got)
				}
			}
			for i, pair := range tokens {
				stays := test.stays && test.byTokens && i == 0
				if _, err := s.Refresh(t.Context(), refreshRequest(pair)); (err == nil) != stays {
					t.Errorf("tokens %d: got %v", i, err)
				}
			}
			if got := s.who(bobs); got != "bob" {
				t.Errorf("got %s", got)
			}
		})
	}
}

func TestWhatToRevokeIsSaidClearly(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	mine := s.session(t, "alice")
	for _, req := range []*grpcauthv1.RevokeSessionRequest{
		{},
		{Handle: "x"},
		{Scope: 99},
		{Scope: -1},
		{Scope: grpcauthv1.SessionScope_SESSION_SCOPE_ONE},
		{Scope: grpcauthv1.SessionScope_SESSION_SCOPE_ONE, Handle: strings.Repeat("x", 129)},
		{Scope: grpcauthv1.SessionScope_SESSION_SCOPE_ONE, Handle: "a\x00b"},
		{Scope: grpcauthv1.SessionScope_SESSION_SCOPE_ALL, Handle: "x"},
		{Scope: grpcauthv1.SessionScope_SESSION_SCOPE_OTHERS, Handle: "x"},
	} {
		_, err := s.RevokeSession(mine, req)
		expect(t, err, "InvalidArgument")
	}
	if got := s.who(mine); got != "alice" {
		t.Errorf("got %s", got)
	}
}

func TestEndsOfLoginsAreTold(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	mine, other := s.session(t, "alice"), s.session(t, "alice")
	s.told()
	_, _ = s.logout(mine, "")
	_, _ = s.logout(mine, "")
	_, _ = s.RevokeSession(other, &grpcauthv1.RevokeSessionRequest{Scope: grpcauthv1.SessionScope_SESSION_SCOPE_ALL})
	if got := s.told(); !slices.Equal(got, []string{"LoggedOut alice", "SessionsRevoked alice"}) {
		t.Errorf("got %q", got)
	}
}
