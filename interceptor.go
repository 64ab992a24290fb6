// SPDX-License-Identifier: Apache-2.0

package grpcauth

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	middleware "github.com/grpc-ecosystem/go-grpc-middleware/v2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/grpcauth/grpcauth/internal/origin"
	"github.com/grpcauth/grpcauth/internal/panics"
	"github.com/grpcauth/grpcauth/internal/values"
)

// Interceptor judges the calls of a server. Make it with [New]; it is safe for concurrent use.
type Interceptor struct {
	config
	rules  rules
	places []Scheme

	unary, stream atomic.Bool // whether the interceptors were asked for
	guarded       sync.Map    // of guard: services registered through Registrar
}

// New returns an interceptor that asks backend about every call, or the backends that the policy names for its method.
//
// It panics if backend is nil or an option is wrong, with a text that says what to write: a server must not start half protected.
func New(backend Backend, opts ...Option) *Interceptor {
	i := &Interceptor{config: config{policy: Policy{}, backends: map[string]Backend{}, observers: append([]Observer(nil), watchers...), domain: defaultDomain, now: time.Now}}
	if values.IsNil(backend) {
		panic("grpcauth: New: the backend is nil")
	}
	for _, o := range opts {
		if o == nil {
			panic("grpcauth: New: an option is nil")
		}
		o.apply(&i.config)
	}
	i.rules, i.places = i.compile(backend)
	if err := errors.Join(i.errs...); err != nil {
		panic("grpcauth: New: " + err.Error())
	}
	return i
}

// Unary returns the interceptor for unary calls. gRPC reads a call's message before it; [Interceptor.Registrar] judges before that.
func (i *Interceptor) Unary() grpc.UnaryServerInterceptor {
	i.unary.Store(true)
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		r := i.rules.of(info.FullMethod)
		ctx, _, err := i.enter(ctx, info.FullMethod, r)
		if err != nil {
			return nil, err
		}
		resp, err := handler(ctx, req)
		return resp, i.leave(ctx, info.FullMethod, r, err)
	}
}

// Stream returns the interceptor for streaming calls. It judges before the first message and ends a stream when its credential expires.
//
// A handler that ignores its context and neither receives nor sends outlives the end of its stream, though the caller has its answer.
func (i *Interceptor) Stream() grpc.StreamServerInterceptor {
	i.stream.Store(true)
	return func(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		return i.serveStream(srv, ss, info.FullMethod, i.rules.of(info.FullMethod), handler)
	}
}

// ServerOptions returns all options that a server needs: for unary calls, for streams, and for methods that the server does not know,
// which are then answered with UNIMPLEMENTED only to those who may call them.
func (i *Interceptor) ServerOptions() []grpc.ServerOption {
	unknown := func(any, grpc.ServerStream) error {
		return status.Error(codes.Unimplemented, "unknown service or method")
	}
	return []grpc.ServerOption{
		grpc.ChainUnaryInterceptor(i.Unary()),
		grpc.ChainStreamInterceptor(i.Stream()),
		grpc.UnknownServiceHandler(unknown),
	}
}

// Authenticate is the one decision that all interceptors share: it returns the context with the user, or the error to answer with.
//
// It is for servers that gRPC's own interceptors do not reach. The peer and the metadata of the call are taken from ctx.
func (i *Interceptor) Authenticate(ctx context.Context, fullMethod string) (context.Context, error) {
	ctx, _, err := i.enter(ctx, fullMethod, i.rules.of(fullMethod))
	if err != nil {
		return nil, err
	}
	return ctx, nil
}

// Rule returns the rule of a method and the policy's key for it, "/package.Service/Method" or "/package.Service/*"; an empty pattern and the zero
// [Rule] if no rule names it. It shares the policy's memory and is not changed.
func (i *Interceptor) Rule(fullMethod string) (pattern string, rule Rule) {
	r := i.rules.of(fullMethod)
	return r.pattern, r.Rule
}

// Allows applies the rule of a method to a user, as if one of its backends had accepted her just now. The error is the refusal of the call.
//
// It is for tests and for showing callers what they may do. No loader is called, and nothing is decided by it.
func (i *Interceptor) Allows(fullMethod string, user *User) error {
	r := i.rules.of(fullMethod)
	switch {
	case r.Access == Public, r.Access == Optional && user == nil:
		return nil
	case user == nil:
		return Errorf(CodeMissing, "the method needs a user")
	}
	return r.allows(user, i.now())
}

// serveStream judges a stream and runs its handler. The wrapper is a fresh one: reusing an outer interceptor's would change its context.
func (i *Interceptor) serveStream(srv any, ss grpc.ServerStream, method string, r *rule, handler grpc.StreamHandler) error {
	ctx, c, err := i.enter(ss.Context(), method, r)
	switch {
	case err != nil:
		return err
	case c == nil:
		return handler(srv, ss)
	case c.user == nil || c.user.Expiry.IsZero() && i.recheck == 0:
		err = handler(srv, &middleware.WrappedServerStream{ServerStream: ss, WrappedContext: ctx})
	default:
		err = i.serveLimited(c, r, srv, ss, handler)
	}
	return i.leave(ctx, method, r, err)
}

// enter judges a call unless this interceptor already did, and makes its context. The call is nil if it was judged before.
func (i *Interceptor) enter(ctx context.Context, method string, r *rule) (context.Context, *call, error) {
	stream := grpc.ServerTransportStreamFromContext(ctx)
	if i.judged(ctx, method, stream) {
		return ctx, nil, nil
	}
	c := i.newCall(ctx, method, stream, false)
	err := i.judge(c, r)
	setHeader(ctx, c.req.header)
	if err != nil {
		return nil, nil, i.answer(ctx, method, r, err)
	}
	c.shareLogFields()
	return c, c, nil
}

// leave re-wraps a refusal that a handler returns, so that it is answered like ours and no wrapper's text reaches the wire.
func (i *Interceptor) leave(ctx context.Context, method string, r *rule, err error) error {
	if err == nil {
		return nil
	}
	var refusal *AuthenticationError
	if _, done := err.(*answer); done || !errors.As(err, &refusal) { //nolint:errorlint // only the outermost counts
		return err
	}
	return i.answer(ctx, method, r, err)
}

var errGoexit = Errorf(CodeInternal, "the goroutine was ended")

// judge decides and puts the decision on record. After an error the call has no user.
func (i *Interceptor) judge(c *call, r *rule) (err error) {
	if len(i.observers) > 0 {
		start := i.now()
		err = errGoexit // stands if the goroutine is ended
		defer func() {
			if unseen := i.guard(c, r, func(c *call, r *rule) error { i.observe(c, r, start, err); return nil }); unseen != nil {
				err = unseen
			}
		}()
	}
	return i.guard(c, r, i.decide)
}

// guard makes a panic INTERNAL. After runtime.Goexit no code is left to answer, so the status is written here and now.
func (i *Interceptor) guard(c *call, r *rule, step func(*call, *rule) error) (err error) {
	returned := false
	defer func() {
		if !returned {
			v := recover()
			err = Errorf(CodeInternal, "%s", panics.Describe(v))
			if v == nil {
				if s, ok := c.stream.(statusWriter); ok {
					_ = s.WriteStatus(status.Convert(i.answer(c.Context, c.req.method, r, err)))
				}
			}
		}
		if err != nil {
			c.user, c.loaded = nil, nil
		}
	}()
	err = step(c, r)
	returned = true
	return err
}

// decide is the whole of a judgement.
func (i *Interceptor) decide(c *call, r *rule) error {
	if r.Access == Public {
		return nil
	}
	if !i.plaintext && !origin.Confidential(c.Context) && (i.secure == nil || c.req.Peer() == nil || !i.secure(c.req.Peer())) {
		return Errorf(CodeInsecure, "the connection is not encrypted and its peer not local")
	}
	user, err := r.backend.Authenticate(c.Context, &c.req)
	if err == nil || notMine(err) {
		if c.req.headerErr != nil {
			return Errorf(CodeInternal, "%w", c.req.headerErr)
		}
		if c.req.unread() {
			if c.req.read != 0 {
				return Errorf(CodeAmbiguous, "beside the credential that was read there is another")
			}
			return Errorf(CodeInvalid, "no backend claims the credential")
		}
	}
	switch {
	case notMine(err) && r.Access == Optional:
		return nil
	case err != nil:
		return err
	}
	return i.adopt(c, r, user)
}

// adopt makes an accepted user the call's, if the rule and the application take it.
func (i *Interceptor) adopt(c *call, r *rule, user *User) (err error) {
	if user != &c.req.user {
		user = user.Clone()
	}
	now := i.now()
	if user.ID == "" {
		return Errorf(CodeInternal, "the backend accepted a user without an ID")
	}
	if !user.Expiry.IsZero() && !now.Before(user.Expiry) {
		return Errorf(CodeExpired, "the user of the backend had expired")
	}
	if i.load != nil {
		if c.loaded, err = i.load(c.Context, user); err != nil {
			if notMine(err) {
				return Errorf(CodeInternal, "the loader returned: %w", err)
			}
			return err
		}
	}
	if err := r.allows(user, now); err != nil {
		return err
	}
	c.user = user
	return nil
}

func setHeader(ctx context.Context, md metadata.MD) {
	if len(md) > 0 {
		_ = grpc.SetHeader(ctx, md) // fails once headers were sent, and where there is no gRPC call
	}
}
