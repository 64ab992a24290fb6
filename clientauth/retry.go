// SPDX-License-Identifier: Apache-2.0

package clientauth

import (
	"context"
	"sync/atomic"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// used is what the credentials of a call note of it for the interceptor around it.
type used struct {
	generation atomic.Uint64          // of the token; zero: none was sent
	authority  atomic.Pointer[string] // that a proof was made for; nil: none was
}

type usedKey struct{}

// noting returns a context in which the credentials note what they used. Interceptors around one another share it.
func noting(ctx context.Context) (context.Context, *used) {
	if u, ok := ctx.Value(usedKey{}).(*used); ok {
		return ctx, u
	}
	u := &used{}
	return context.WithValue(ctx, usedKey{}, u), u
}

// isExpired reports whether a server called the credential of a call expired.
func isExpired(err error) bool {
	st, ok := status.FromError(err)
	if !ok || st.Code() != codes.Unauthenticated {
		return false
	}
	for _, d := range st.Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok && info.GetReason() == "CREDENTIALS_EXPIRED" {
			return true
		}
	}
	return false
}

// Unary returns an interceptor that makes a call once more, with another token, if the server called its token expired. For that, a token is fetched once for all
// calls that were refused, and not more often than Options.MinInterval.
//
// The first refusal is returned if no other token can be had.
func (r *Refreshing) Unary() grpc.UnaryClientInterceptor {
	return func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		ctx, u := noting(ctx)
		refusal := invoke(ctx, method, req, reply, cc, opts...)
		if !isExpired(refusal) || !r.expire(u.generation.Load()) {
			return refusal
		}
		if _, _, err := r.current(ctx); err != nil {
			return refusal
		}
		return invoke(ctx, method, req, reply, cc, opts...)
	}
}

// Stream returns an interceptor that has the next call fetch another token if the server called that of a stream expired. The stream itself is not opened again,
// since only the program knows which of its messages were heard.
func (r *Refreshing) Stream() grpc.StreamClientInterceptor {
	return func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
		ctx, u := noting(ctx)
		stream, err := open(ctx, desc, cc, method, opts...)
		if err != nil {
			if isExpired(err) {
				r.expire(u.generation.Load())
			}
			return nil, err
		}
		return &refreshingStream{stream, r, u}, nil
	}
}

type refreshingStream struct {
	grpc.ClientStream
	r *Refreshing
	u *used
}

func (s *refreshingStream) RecvMsg(message any) error {
	err := s.ClientStream.RecvMsg(message)
	if err != nil && isExpired(err) {
		s.r.expire(s.u.generation.Load())
	}
	return err
}
