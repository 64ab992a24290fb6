// SPDX-License-Identifier: Apache-2.0

package authservice

import (
	"context"
	"errors"
	"slices"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/apikey"
	grpcauthv1 "github.com/grpcauth/grpcauth/proto/grpcauth/v1"
)

// CreateAPIKey makes an API key that may do at most what the caller may do.
func (s *Server) CreateAPIKey(ctx context.Context, req *grpcauthv1.CreateAPIKeyRequest) (*grpcauthv1.CreateAPIKeyResponse, error) {
	return serve(ctx, req, s.createAPIKey)
}

func (s *Server) createAPIKey(ctx context.Context, req *grpcauthv1.CreateAPIKeyRequest) (*grpcauthv1.CreateAPIKeyResponse, error) {
	user, err := s.keyManager(ctx)
	if err != nil {
		return nil, err
	}
	var expiry time.Time
	if t := req.GetExpiry(); t != nil {
		if expiry = t.AsTime(); t.CheckValid() != nil || !expiry.After(s.opts.Now()) || expiry.Year() > 9999 {
			return nil, invalid("expiry", "not in the future")
		}
	}
	notWord := func(text string) bool { return !word(text) }
	switch {
	case !label(req.GetName()):
		return nil, invalid("name", "longer than 128 bytes or not printable")
	case len(req.GetScopes()) > maxScopes || slices.ContainsFunc(req.GetScopes(), notWord):
		return nil, invalid("scopes", "too many, or not printable ASCII without spaces")
	case len(req.GetPermissions()) > maxScopes || slices.ContainsFunc(req.GetPermissions(), notWord):
		return nil, invalid("permissions", "too many, or not printable ASCII without spaces")
	case !within(req.GetScopes(), user.Scopes), slices.ContainsFunc(req.GetPermissions(), func(p string) bool { return !user.HasPermission(p) }):
		return nil, grpcauth.Errorf(grpcauth.CodeForbidden, "authservice: the key would be allowed what its maker is not")
	}
	text, key, err := s.opts.Keys.Create(ctx, apikey.Key{
		Name: req.GetName(), Issuer: user.Issuer, Owner: user.ID, Scopes: req.GetScopes(), Permissions: req.GetPermissions(), Expiry: expiry,
	})
	switch {
	case errors.Is(err, apikey.ErrTooMany):
		return nil, answerOf(codes.FailedPrecondition, "too many keys")
	case err != nil:
		return nil, err
	}
	s.tell(ctx, Event{Kind: APIKeyCreated, User: user, Handle: key.ID})
	return &grpcauthv1.CreateAPIKeyResponse{Secret: text, Key: keyOf(key)}, nil
}

// ListAPIKeys lists the user's API keys.
func (s *Server) ListAPIKeys(ctx context.Context, req *grpcauthv1.ListAPIKeysRequest) (*grpcauthv1.ListAPIKeysResponse, error) {
	return serve(ctx, req, s.listAPIKeys)
}

func (s *Server) listAPIKeys(ctx context.Context, _ *grpcauthv1.ListAPIKeysRequest) (*grpcauthv1.ListAPIKeysResponse, error) {
	user, err := s.keyManager(ctx)
	if err != nil {
		return nil, err
	}
	keys, err := s.opts.Keys.List(ctx, user.Issuer, user.ID)
	if err != nil {
		return nil, err
	}
	resp := &grpcauthv1.ListAPIKeysResponse{}
	for i := range slices.Backward(keys) {
		resp.Keys = append(resp.Keys, keyOf(&keys[i]))
	}
	return resp, nil
}

// RevokeAPIKey ends one of the user's API keys.
func (s *Server) RevokeAPIKey(ctx context.Context, req *grpcauthv1.RevokeAPIKeyRequest) (*grpcauthv1.RevokeAPIKeyResponse, error) {
	return serve(ctx, req, s.revokeAPIKey)
}

func (s *Server) revokeAPIKey(ctx context.Context, req *grpcauthv1.RevokeAPIKeyRequest) (*grpcauthv1.RevokeAPIKeyResponse, error) {
	user, err := s.keyManager(ctx)
	if err != nil {
		return nil, err
	}
	if !word(req.GetId()) {
		return nil, invalid("id", "empty or not one")
	}
	key, err := s.opts.Keys.Get(ctx, req.GetId())
	switch {
	case errors.Is(err, apikey.ErrNotFound):
		return nil, errNoKey
	case err != nil:
		return nil, err
	case key.Issuer != user.Issuer || key.Owner != user.ID:
		return nil, errNoKey
	}
	if err := s.opts.Keys.Revoke(ctx, key.ID); err != nil {
		return nil, err
	}
	s.tell(ctx, Event{Kind: APIKeyRevoked, User: user, Handle: key.ID})
	return &grpcauthv1.RevokeAPIKeyResponse{}, nil
}

// keyManager is a manager where there are keys to manage.
func (s *Server) keyManager(ctx context.Context) (*grpcauth.User, error) {
	if s.opts.Keys == nil {
		return nil, errNotOffered
	}
	return s.manager(ctx)
}
