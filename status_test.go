// SPDX-License-Identifier: Apache-2.0

package grpcauth_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/grpcauth/grpcauth"
)

// info is the ErrorInfo of an error; empty if it has none.
func info(err error) *errdetails.ErrorInfo {
	for _, d := range status.Convert(err).Details() {
		if i, ok := d.(*errdetails.ErrorInfo); ok {
			return i
		}
	}
	return &errdetails.ErrorInfo{}
}

func retryDelay(err error) time.Duration {
	for _, d := range status.Convert(err).Details() {
		if r, ok := d.(*errdetails.RetryInfo); ok {
			return r.GetRetryDelay().AsDuration()
		}
	}
	return 0
}

func TestStatusTable(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		code   grpcauth.Code
		grpc   codes.Code
		http   int
		reason string
		retry  bool
	}{
		{grpcauth.CodeMissing, codes.Unauthenticated, 401, "CREDENTIALS_MISSING", false},
		{grpcauth.CodeMalformed, codes.Unauthenticated, 401, "CREDENTIALS_MALFORMED", false},
		{grpcauth.CodeAmbiguous, codes.Unauthenticated, 401, "CREDENTIALS_AMBIGUOUS", false},
		{grpcauth.CodeInvalid, codes.Unauthenticated, 401, "CREDENTIALS_INVALID", false},
		{grpcauth.CodeExpired, codes.Unauthenticated, 401, "CREDENTIALS_EXPIRED", false},
		{grpcauth.CodeRevoked, codes.Unauthenticated, 401, "CREDENTIALS_REVOKED", false},
		{grpcauth.CodeStepUp, codes.Unauthenticated, 401, "STEP_UP_REQUIRED", false},
		{grpcauth.CodeForbidden, codes.PermissionDenied, 403, "PERMISSION_DENIED", false},
		{grpcauth.CodeInsecure, codes.PermissionDenied, 403, "TRANSPORT_INSECURE", false},
		{grpcauth.CodeThrottled, codes.ResourceExhausted, 429, "TOO_MANY_ATTEMPTS", true},
		{grpcauth.CodeUnavailable, codes.Unavailable, 503, "AUTHENTICATION_UNAVAILABLE", true},
		{grpcauth.CodeInternal, codes.Internal, 500, "AUTHENTICATION_FAILED", false},
		{grpcauth.Code(200), codes.Internal, 500, "AUTHENTICATION_FAILED", false},
	} {
		if c.code.GRPC() != c.grpc || c.code.HTTP() != c.http || c.code.String() != c.reason {
			t.Errorf("%v: got %v %d, want %v %d %s", c.code, c.code.GRPC(), c.code.HTTP(), c.grpc, c.http, c.reason)
		}
		err := grpcauth.Errorf(c.code, "cause")
		if status.Code(err) != c.grpc || info(err).GetReason() != c.reason || (retryDelay(err) > 0) != c.retry {
			t.Errorf("%v: the status is %v", c.code, status.Convert(err).Proto())
		}
	}
	if new(grpcauth.AuthenticationError).Code() != grpcauth.CodeInternal || (*grpcauth.AuthenticationError)(nil).Code() != grpcauth.CodeInternal {
		t.Error("the zero refusal is not INTERNAL")
	}
}

func TestCodeOf(t *testing.T) {
	t.Parallel()
	refusal := grpcauth.Errorf(grpcauth.CodeRevoked, "cause")
	for name, c := range map[string]struct {
		err  error
		want grpcauth.Code
	}{
		"nothing":                       {nil, grpcauth.CodeInternal},
		"not mine":                      {grpcauth.ErrNoCredentials, grpcauth.CodeMissing},
		"not mine, wrapped":             {fmt.Errorf("x: %w", grpcauth.ErrNoCredentials), grpcauth.CodeMissing},
		"not mine, joined to a failure": {errors.Join(grpcauth.ErrNoCredentials, io.EOF), grpcauth.CodeUnavailable},
		"a refusal":                     {refusal, grpcauth.CodeRevoked},
		"a wrapped refusal":             {fmt.Errorf("x: %w", refusal), grpcauth.CodeRevoked},
		"a refusal because of no creds": {grpcauth.Errorf(grpcauth.CodeInvalid, "x: %w", grpcauth.ErrNoCredentials), grpcauth.CodeInvalid},
		"an outage":                     {io.ErrUnexpectedEOF, grpcauth.CodeUnavailable},
		"a foreign status":              {status.Error(codes.PermissionDenied, "x"), grpcauth.CodeUnavailable},
	} {
		if got := grpcauth.CodeOf(c.err); got != c.want {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
}

func TestCauseStaysOnTheServer(t *testing.T) {
	t.Parallel()
	err := grpcauth.Errorf(grpcauth.CodeInvalid, "user 42 in db-7: %w", io.EOF)
	if !errors.Is(err, io.EOF) || !strings.Contains(err.Error(), "db-7") {
		t.Errorf("%v hides its cause from the server", err)
	}
	if text := status.Convert(err).Proto().String(); strings.Contains(text, "db-7") || strings.Contains(text, "EOF") {
		t.Errorf("%s shows the cause", text)
	}
}

func TestAuthenticationErrorIsImmutable(t *testing.T) {
	t.Parallel()
	base := grpcauth.Errorf(grpcauth.CodeThrottled, "cause")
	_ = base.WithHeader("x-a", "1").WithPublicMessage("wait a little").WithRetryDelay(time.Minute)
	if status.Convert(base).Message() != "too many attempts" || retryDelay(base) != time.Second {
		t.Errorf("changed to %v", status.Convert(base).Proto())
	}
	changed := base.WithPublicMessage("wait a little").WithRetryDelay(time.Minute)
	if status.Convert(changed).Message() != "wait a little" || retryDelay(changed) != time.Minute {
		t.Errorf("got %v, want the message and the delay", status.Convert(changed).Proto())
	}
	if got := base.WithHeader("x-a", "1\r\nx-b: 2").Code(); got != grpcauth.CodeInternal {
		t.Errorf("a header with a line break: got %v, want INTERNAL", got)
	}
}

func TestFromHTTPStatus(t *testing.T) {
	t.Parallel()
	for httpStatus, want := range map[int]grpcauth.Code{
		400: grpcauth.CodeMalformed, 401: grpcauth.CodeInvalid, 403: grpcauth.CodeForbidden, 429: grpcauth.CodeThrottled,
		503: grpcauth.CodeUnavailable, 500: grpcauth.CodeInternal, 200: grpcauth.CodeInternal, 0: grpcauth.CodeInternal,
	} {
		if got := grpcauth.FromHTTPStatus(httpStatus, "db-7 said no"); got.Code() != want || strings.Contains(status.Convert(got).Proto().String(), "db-7") {
			t.Errorf("%d: got %v, want %v and no cause on the wire", httpStatus, status.Convert(got).Proto(), want)
		}
	}
}

// keyed returns a backend that accepts a value of a metadata key as the user of that name, and refuses "bad".
func keyed(key, name string) grpcauth.Backend {
	return describing{grpcauth.BackendFunc(func(_ context.Context, req *grpcauth.Request) (*grpcauth.User, error) {
		v, err := req.Value(key)
		switch {
		case err != nil:
			return nil, err
		case v == "bad":
			return nil, grpcauth.Errorf(grpcauth.CodeInvalid, "bad")
		case v == "down":
			return nil, errors.New("the store is down")
		}
		return &grpcauth.User{ID: v, Method: name}, nil
	}), []grpcauth.Scheme{{Name: name, Header: key}}}
}

// describing is a backend that describes its schemes.
type describing struct {
	grpcauth.Backend
	schemes []grpcauth.Scheme
}

func (d describing) Schemes() []grpcauth.Scheme { return d.schemes }

// scheme returns a backend that accepts the credential of an authentication scheme as the user of that name, and refuses "bad".
func scheme(name string) grpcauth.Backend {
	return describing{grpcauth.BackendFunc(func(_ context.Context, req *grpcauth.Request) (*grpcauth.User, error) {
		v, err := req.Authorization(name)
		if err == nil && v == "bad" {
			err = grpcauth.Errorf(grpcauth.CodeInvalid, "bad")
		}
		if err != nil {
			return nil, err
		}
		return &grpcauth.User{ID: v, Method: name}, nil
	}), []grpcauth.Scheme{{Name: name, Header: "authorization", AuthScheme: name}}}
}
