// SPDX-License-Identifier: Apache-2.0

package authservice

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/session"
	grpcauthv1 "github.com/grpcauth/grpcauth/proto/grpcauth/v1"
)

var (
	errNotOffered = answerOf(codes.Unimplemented, "not offered by this server")
	errNoSession  = answerOf(codes.NotFound, "no such session")
	errNoKey      = answerOf(codes.NotFound, "no such key")
)

// Logout ends the session that the call came with, and the login of a refresh token.
func (s *Server) Logout(ctx context.Context, req *grpcauthv1.LogoutRequest) (*grpcauthv1.LogoutResponse, error) {
	return serve(ctx, req, s.logout)
}

func (s *Server) logout(ctx context.Context, req *grpcauthv1.LogoutRequest) (*grpcauthv1.LogoutResponse, error) {
	if err := s.secure(ctx); err != nil {
		return nil, err
	}
	refresh := req.GetRefreshToken()
	switch {
	case refresh != "" && s.tokens == nil:
		return nil, errNotOffered
	case len(refresh) > maxSecret:
		return nil, grpcauth.Errorf(grpcauth.CodeMalformed, "authservice: the refresh token is too long")
	case refresh == "" && len(metadata.ValueFromIncomingContext(ctx, "authorization")) > 0:
		// Who shows a token wants its login to end; success would let her believe that it has.
		return nil, invalid("refresh_token", "empty, and an access token alone cannot be logged out")
	}
	if refresh != "" {
		switch err := s.tokens.refresher.Revoke(ctx, refresh); {
		case err == nil:
			s.tell(ctx, Event{Kind: LoggedOut})
		case grpcauth.CodeOf(refused(err)) == grpcauth.CodeUnavailable:
			return nil, fmt.Errorf("the login could not be ended: %w", err)
		}
	}
	if s.opts.Sessions != nil {
		if err := s.endSession(ctx); err != nil {
			return nil, err
		}
	}
	return &grpcauthv1.LogoutResponse{}, nil
}

// endSession ends the session that the call came with, if it did, and takes its cookie away.
func (s *Server) endSession(ctx context.Context) error {
	user, err := s.opts.Sessions.Authenticate(ctx, grpcauth.NewRequest(ctx, grpcauthv1.AuthService_Logout_FullMethodName))
	switch grpcauth.CodeOf(err) {
	case grpcauth.CodeMissing, grpcauth.CodeMalformed, grpcauth.CodeInvalid, grpcauth.CodeExpired, grpcauth.CodeRevoked:
	default:
		if err != nil {
			return err // it may still be there
		}
		handle, _ := s.opts.Sessions.Current(ctx)
		if err := s.opts.Sessions.Revoke(ctx, user, handle); err != nil && !errors.Is(err, session.ErrNotFound) {
			return err
		}
		s.tell(ctx, Event{Kind: LoggedOut, User: user, Handle: handle})
	}
	s.clearCookie(ctx)
	return nil
}

func (s *Server) clearCookie(ctx context.Context) {
	if slices.Contains(s.offers, grpcauthv1.Credential_CREDENTIAL_COOKIE) {
		_ = grpc.SetHeader(ctx, metadata.Pairs("set-cookie", s.opts.Sessions.ClearCookie())) // what it names is gone, whether it is sent again or not
	}
}

// family is the login that an access token of this service belongs to; empty for other credentials.
func (s *Server) family(user *grpcauth.User) string {
	var claims struct {
		SID string `json:"sid"`
	}
	if s.tokens == nil || user.Issuer != s.tokens.Name || user.Method == sessionMethod || user.Claims(&claims) != nil {
		return ""
	}
	return claims.SID
}

// families are the user's logins with tokens.
func (s *Server) families(ctx context.Context, user *grpcauth.User) ([]*grpcauthv1.Session, error) {
	if s.tokens == nil || user.Issuer != s.tokens.Name {
		return nil, nil
	}
	grants, err := s.tokens.refresher.List(ctx, user.ID)
	if err != nil {
		return nil, err
	}
	current := s.family(user)
	var list []*grpcauthv1.Session
	for i := range grants {
		f := familyOf(&grants[i])
		f.Current = f.GetHandle() == current
		list = append(list, f)
	}
	return list, nil
}

// ListSessions lists where the user is logged in.
func (s *Server) ListSessions(ctx context.Context, req *grpcauthv1.ListSessionsRequest) (*grpcauthv1.ListSessionsResponse, error) {
	return serve(ctx, req, s.listSessions)
}

func (s *Server) listSessions(ctx context.Context, _ *grpcauthv1.ListSessionsRequest) (*grpcauthv1.ListSessionsResponse, error) {
	user, err := s.manager(ctx)
	if err != nil {
		return nil, err
	}
	list, err := s.families(ctx, user)
	if err != nil {
		return nil, err
	}
	if s.opts.Sessions != nil {
		sessions, err := s.opts.Sessions.List(ctx, user)
		if err != nil {
			return nil, err
		}
		for i := range sessions {
			list = append(list, sessionOf(&sessions[i]))
		}
	}
	slices.SortStableFunc(list, func(a, b *grpcauthv1.Session) int { return b.GetCreated().AsTime().Compare(a.GetCreated().AsTime()) })
	return &grpcauthv1.ListSessionsResponse{Sessions: list}, nil
}

// RevokeSession ends one of the user's logins, all others, or all.
func (s *Server) RevokeSession(ctx context.Context, req *grpcauthv1.RevokeSessionRequest) (*grpcauthv1.RevokeSessionResponse, error) {
	return serve(ctx, req, s.revokeSession)
}

func (s *Server) revokeSession(ctx context.Context, req *grpcauthv1.RevokeSessionRequest) (*grpcauthv1.RevokeSessionResponse, error) {
	user, err := s.manager(ctx)
	if err != nil {
		return nil, err
	}
	var n int
	switch scope, handle := req.GetScope(), req.GetHandle(); {
	case scope == grpcauthv1.SessionScope_SESSION_SCOPE_ONE:
		if !word(handle) {
			return nil, invalid("handle", "empty or not one")
		}
		n, err = 1, s.revokeOne(ctx, user, handle)
	case handle != "":
		return nil, invalid("handle", "given beside another scope than SESSION_SCOPE_ONE")
	case scope == grpcauthv1.SessionScope_SESSION_SCOPE_OTHERS:
		n, err = s.revokeOthers(ctx, user)
	case scope == grpcauthv1.SessionScope_SESSION_SCOPE_ALL:
		n, err = s.revokeAll(ctx, user)
	default:
		return nil, invalid("scope", "not said")
	}
	if err != nil {
		return nil, err
	}
	if scope := req.GetScope(); scope == grpcauthv1.SessionScope_SESSION_SCOPE_ALL || s.isCurrent(ctx, req.GetHandle()) {
		s.clearCookie(ctx)
	}
	s.tell(ctx, Event{Kind: SessionsRevoked, User: user, Handle: req.GetHandle()})
	return &grpcauthv1.RevokeSessionResponse{Revoked: int32(min(n, 1<<30))}, nil
}

func (s *Server) isCurrent(ctx context.Context, handle string) bool {
	if s.opts.Sessions == nil {
		return false
	}
	current, ok := s.opts.Sessions.Current(ctx)
	return ok && current == handle
}

// revokeOne ends the login of a handle if it is the user's.
func (s *Server) revokeOne(ctx context.Context, user *grpcauth.User, handle string) error {
	if s.opts.Sessions != nil {
		if err := s.opts.Sessions.Revoke(ctx, user, handle); !errors.Is(err, session.ErrNotFound) {
			return err
		}
	}
	families, err := s.families(ctx, user)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(families, func(f *grpcauthv1.Session) bool { return f.GetHandle() == handle }) {
		return errNoSession
	}
	return s.tokens.refresher.RevokeFamily(ctx, handle)
}

// revokeOthers ends all logins of a user but the one that the call came with.
func (s *Server) revokeOthers(ctx context.Context, user *grpcauth.User) (n int, err error) {
	if s.opts.Sessions != nil {
		if n, err = s.opts.Sessions.RevokeOthers(ctx, user); err != nil {
			return n, err
		}
	}
	families, err := s.families(ctx, user)
	if err != nil {
		return n, err
	}
	for _, f := range families {
		if f.GetCurrent() {
			continue
		}
		if err := s.tokens.refresher.RevokeFamily(ctx, f.GetHandle()); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// revokeAll ends all logins of a user.
func (s *Server) revokeAll(ctx context.Context, user *grpcauth.User) (n int, err error) {
	if s.opts.Sessions != nil {
		if n, err = s.opts.Sessions.RevokeAll(ctx, user); err != nil {
			return n, err
		}
	}
	if s.tokens == nil || user.Issuer != s.tokens.Name {
		return n, nil
	}
	families, err := s.tokens.refresher.RevokeUser(ctx, user.ID)
	return n + families, err
}
