// SPDX-License-Identifier: Apache-2.0

package grpcauth

import (
	"context"
	"sync"
	"time"

	middleware "github.com/grpc-ecosystem/go-grpc-middleware/v2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	"github.com/grpcauth/grpcauth/internal/panics"
)

// longestWait bounds how long a stream relies on the monotonic clock: expiry is wall-clock time, which may be set meanwhile.
const longestWait = time.Minute

// statusWriter is what gRPC's own transport streams have and [grpc.ServerTransportStream] does not name. Writing the status is what
// unblocks a handler in Recv or Send with the right answer; cancelling its context alone is answered with CANCELED, or not at all.
type statusWriter interface{ WriteStatus(*status.Status) error }

// lifetime ends an open stream when its credential does.
type lifetime struct {
	i      *Interceptor
	r      *rule
	call   *call
	ctx    context.Context //nolint:containedctx // the stream's, for rechecks
	cancel context.CancelCauseFunc
	ended  chan struct{} // closed with the end of the credential, before the handler's context is cancelled

	mu       sync.Mutex
	timer    *time.Timer // guarded by mu, like all below
	expiry   time.Time
	recheck  time.Time // when to judge again; zero: never
	err      error     // the answer, once the credential has ended
	finished bool      // the handler has returned
}

// serveLimited runs a handler whose stream must not outlive its credential.
func (i *Interceptor) serveLimited(c *call, r *rule, srv any, ss grpc.ServerStream, handler grpc.StreamHandler) error {
	ctx, cancel := context.WithCancelCause(c)
	defer cancel(nil)
	l := &lifetime{i: i, r: r, call: c, ctx: ctx, cancel: cancel, ended: make(chan struct{}), expiry: c.user.Expiry}
	l.mu.Lock()
	l.schedule(i.now())
	l.mu.Unlock()
	wrapped := &middleware.WrappedServerStream{ServerStream: ss, WrappedContext: ctx}
	if _, ok := c.stream.(statusWriter); ok {
		defer func() { _ = l.finish(nil) }() // also if the handler panics
		return l.finish(handler(srv, wrapped))
	}
	return l.serveApart(func() error { return handler(srv, wrapped) })
}

// schedule sets the timer to the next moment at which something is due.
func (l *lifetime) schedule(now time.Time) {
	wait := longestWait
	if !l.expiry.IsZero() {
		wait = min(wait, l.expiry.Sub(now))
	}
	if every := l.i.recheck; every > 0 {
		if l.recheck.IsZero() {
			l.recheck = now.Add(every)
		}
		wait = min(wait, l.recheck.Sub(now), every)
	}
	if l.timer == nil {
		l.timer = time.AfterFunc(wait, l.due)
	} else {
		l.timer.Reset(max(wait, 0))
	}
}

// due runs when the timer fires, in a goroutine of its own.
func (l *lifetime) due() {
	l.mu.Lock()
	now := l.i.now()
	expired := !l.expiry.IsZero() && !now.Before(l.expiry)
	again := !expired && !l.recheck.IsZero() && !now.Before(l.recheck)
	if l.finished || !expired && !again {
		if !l.finished {
			l.schedule(now)
		}
		l.mu.Unlock()
		return
	}
	l.mu.Unlock()

	var err error = Errorf(CodeExpired, "the credential of the stream has expired")
	var expiry time.Time
	if again {
		c := l.i.newCall(l.ctx, l.call.req.method, l.call.stream, true)
		if err = l.i.judge(c, l.r); err == nil && c.user == nil {
			err = Errorf(CodeInternal, "nobody on a recheck")
		}
		if err == nil {
			expiry = c.user.Expiry
		}
	} else if len(l.i.observers) > 0 {
		// The end of a stream is a decision too.
		c := l.i.newCall(l.ctx, l.call.req.method, l.call.stream, true)
		_ = l.i.guard(c, l.r, func(c *call, r *rule) error { l.i.observe(c, r, now, err); return nil })
	}
	if err != nil {
		l.end(err)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.finished {
		l.expiry, l.recheck = expiry, time.Time{}
		l.schedule(l.i.now())
	}
}

// end answers the call. The order counts: headers, the mark, the handler's context, and the status, which unblocks Recv and Send.
func (l *lifetime) end(err error) {
	l.mu.Lock()
	if l.finished {
		l.mu.Unlock()
		return
	}
	answered := l.i.answer(l.call.Context, l.call.req.method, l.r, err)
	l.err = answered
	l.mu.Unlock()
	close(l.ended)
	l.cancel(answered)
	if s, ok := l.call.stream.(statusWriter); ok {
		_ = s.WriteStatus(status.Convert(answered)) // fails if the connection is gone, and the stream with it
	}
}

// finish returns the end of the credential in place of what the handler returned, even of nil: the caller has that answer already.
func (l *lifetime) finish(err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.finished = true
	l.timer.Stop()
	l.cancel(nil)
	if l.err != nil {
		return l.err
	}
	return err
}

// serveApart runs the handler in a goroutine of its own, where the transport has no way to write a status from outside. The answer then does
// not wait for a handler that ignores its context.
func (l *lifetime) serveApart(handler func() error) error {
	select {
	case <-l.ended:
		return l.finish(nil)
	case o := <-panics.Apart(handler):
		defer o.Repanic() // for the server's own recovery, as if the handler had run here
		return l.finish(o.Err)
	}
}
