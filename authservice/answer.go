// SPDX-License-Identifier: Apache-2.0

package authservice

import (
	"context"
	"errors"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/internal/origin"
	"github.com/grpcauth/grpcauth/internal/panics"
)

// plain is an answer that is about the request and not about a credential. Its text is constant.
type plain struct{ st *status.Status }

func (p plain) Error() string              { return p.st.Err().Error() }
func (p plain) GRPCStatus() *status.Status { return p.st }

func answerOf(code codes.Code, message string) error { return plain{status.New(code, message)} }

// invalid is the answer to a request with a field that no caller could mean.
func invalid(field, description string) error {
	st := status.New(codes.InvalidArgument, field+": "+description)
	with, err := st.WithDetails(&errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{{Field: field, Description: description}}})
	if err != nil {
		return plain{st}
	}
	return plain{with}
}

// serve runs a method. Whatever its hooks and stores return or do, the caller gets one of the answers that this package or the status table of
// grpcauth knows: an error that is none of them means that nothing was decided.
func serve[Req, Resp any](ctx context.Context, req Req, method func(context.Context, Req) (Resp, error)) (resp Resp, err error) {
	returned := false
	defer func() {
		if !returned {
			err = grpcauth.Errorf(grpcauth.CodeInternal, "authservice: %s", panics.Describe(recover()))
		}
		if err != nil {
			var none Resp
			resp, err = none, answer(ctx, err)
		}
	}()
	resp, err = method(ctx, req)
	returned = true
	return resp, err
}

func answer(ctx context.Context, err error) error {
	var ours plain
	var refusal *grpcauth.AuthenticationError
	switch {
	case errors.As(err, &ours):
		return ours
	case errors.As(err, &refusal) && refusal != nil:
		return refusal
	case errors.Is(err, grpcauth.ErrNoCredentials): // of a hook: not for it to say
		return grpcauth.Errorf(grpcauth.CodeInternal, "authservice: %w", errors.New(err.Error()))
	case ctx.Err() != nil:
		return status.FromContextError(ctx.Err()).Err()
	}
	return grpcauth.Errorf(grpcauth.CodeUnavailable, "authservice: %w", err)
}

// secure refuses secrets in the message of a public method over a connection that interceptors take none over: on public methods they do not look.
func (s *Server) secure(ctx context.Context) error {
	if s.opts.InsecureAllowPlaintext || origin.Confidential(ctx) || s.private(ctx) {
		return nil
	}
	return grpcauth.Errorf(grpcauth.CodeInsecure, "authservice: the connection is not encrypted and its peer not local")
}

func (s *Server) private(ctx context.Context) bool {
	p, ok := peer.FromContext(ctx)
	return ok && s.opts.TransportSecurity != nil && s.opts.TransportSecurity(p)
}

// The names of the schemes of our own backends.
const (
	apiKeyMethod  = "apikey"
	sessionMethod = "session"
)

// caller is who makes the call; the method's rule saw to it that there is one.
func caller(ctx context.Context) (*grpcauth.User, error) {
	user, ok := grpcauth.FromContext(ctx)
	if !ok {
		return nil, grpcauth.Errorf(grpcauth.CodeMissing, "authservice: the call has no user: add Policy to the interceptor")
	}
	return user, nil
}

// manager is a caller who may manage credentials: not one who is known by an API key, which would outlive its own revocation by the keys it makes.
func (s *Server) manager(ctx context.Context) (*grpcauth.User, error) {
	user, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	if user.Method == apiKeyMethod && !s.opts.APIKeysManage {
		return nil, grpcauth.Errorf(grpcauth.CodeForbidden, "authservice: the caller is known by an API key")
	}
	return user, nil
}
