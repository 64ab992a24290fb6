// SPDX-License-Identifier: Apache-2.0

package authservice

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/password"
	grpcauthv1 "github.com/grpcauth/grpcauth/proto/grpcauth/v1"
)

// accountOf finds the account of a user by nothing but her identity.
func (s *Server) accountOf(ctx context.Context, user *grpcauth.User) (Account, error) {
	account, err := s.opts.AccountOf(ctx, &grpcauth.User{ID: user.ID, Issuer: user.Issuer})
	if err != nil {
		return Account{}, fmt.Errorf("the account could not be looked up: %w", err)
	}
	if account.User != nil && account.User.ID != user.ID {
		return Account{}, grpcauth.Errorf(grpcauth.CodeInternal, "authservice: Options.AccountOf found the account of another user")
	}
	return account, nil
}

// ChangePassword sets a new password and ends all logins of the user.
func (s *Server) ChangePassword(ctx context.Context, req *grpcauthv1.ChangePasswordRequest) (*grpcauthv1.ChangePasswordResponse, error) {
	return serve(ctx, req, s.changePassword)
}

func (s *Server) changePassword(ctx context.Context, req *grpcauthv1.ChangePasswordRequest) (resp *grpcauthv1.ChangePasswordResponse, err error) {
	if s.opts.SetPassword == nil {
		return nil, errNotOffered
	}
	user, err := s.manager(ctx)
	if err != nil {
		return nil, err
	}
	e := Event{Kind: PasswordChanged, User: user}
	told := false
	defer func() {
		if e.Err = err; !told {
			s.tell(ctx, e)
		}
	}()
	a, err := s.ask(ctx, req, s.sameAs(ctx, user))
	if err != nil {
		return nil, err
	}
	before, after := req.GetOldPassword(), req.GetNewPassword()
	if err := wellFormed("-", before); err != nil {
		return nil, err
	}
	if utf8.RuneCountInString(after) < s.opts.MinPassword {
		return nil, invalid("new_password", "too short")
	}
	if wellFormed("-", after) != nil {
		return nil, invalid("new_password", "too long, or not printable")
	}
	account, err := s.proven(ctx, user, before)
	if err != nil {
		return nil, err
	}
	hash, err := s.newHash(ctx, before, after)
	if err != nil {
		return nil, err
	}
	// Logins end before the password is set, so that a store that is down changes nothing, and again after it, for those made meanwhile with the old
	// one. Login itself looks whether its password still counts once it has made a login, so none is missed between the two.
	if _, err := s.revokeOthers(ctx, user); err != nil {
		return nil, err
	}
	switch err := s.opts.SetPassword(ctx, account.User.Clone(), account.PasswordHash, hash); {
	case errors.Is(err, ErrChanged):
		return nil, answerOf(codes.Aborted, "the password was changed meanwhile")
	case err != nil:
		return nil, fmt.Errorf("the password could not be set: %w", err)
	}
	told = true
	s.tell(ctx, e)
	// From here on the caller's going away stops nothing.
	rest, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanup)
	defer cancel()
	if _, err := s.revokeAll(rest, user); err != nil {
		return nil, err
	}
	given, err := s.issue(rest, account.User, a)
	if err == nil {
		err = given.deliver(ctx)
	}
	if err != nil {
		return nil, err
	}
	return &grpcauthv1.ChangePasswordResponse{Issued: given.message}, nil
}

// proven finds the account of a caller who knows its password.
func (s *Server) proven(ctx context.Context, user *grpcauth.User, pass string) (Account, error) {
	attempt, err := s.reserve(ctx, user.Issuer+"\x00"+user.ID) // no name of a login has a NUL
	if err != nil {
		return Account{}, err
	}
	defer attempt.end()
	account, err := s.accountOf(ctx, user)
	if err != nil {
		return Account{}, err
	}
	if err := attempt.judge(func() error { return s.compare(ctx, account, unusable(account), pass) }); err != nil {
		return Account{}, err
	}
	account.User = account.User.Clone()
	account.User.Issuer = user.Issuer
	return account, nil
}

// newHash is the hash of a new password, if it may be one.
func (s *Server) newHash(ctx context.Context, before, after string) (string, error) {
	if after == before {
		return "", invalid("new_password", "the same as the old one")
	}
	if s.opts.Blocked != nil {
		blocked, err := s.opts.Blocked(ctx, after)
		if err != nil {
			return "", fmt.Errorf("the list of blocked passwords could not be asked: %w", err)
		}
		if blocked {
			return "", invalid("new_password", "too well known")
		}
	}
	hash, err := s.opts.Hasher.Hash(ctx, after)
	switch {
	case errors.Is(err, password.ErrUnusable):
		return "", invalid("new_password", "too long, or not printable")
	case errors.Is(err, password.ErrBusy):
		return "", busy(err)
	}
	return hash, err
}

// sameAs is the credential that a call came with.
func (s *Server) sameAs(ctx context.Context, user *grpcauth.User) grpcauthv1.Credential {
	switch cookie := len(metadata.ValueFromIncomingContext(ctx, "cookie")) > 0; {
	case s.family(user) != "":
		return grpcauthv1.Credential_CREDENTIAL_TOKENS
	case user.Method == sessionMethod && !cookie && slices.Contains(s.offers, grpcauthv1.Credential_CREDENTIAL_SESSION_ID):
		return grpcauthv1.Credential_CREDENTIAL_SESSION_ID
	}
	return s.offers[0]
}
