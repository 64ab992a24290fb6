// SPDX-License-Identifier: Apache-2.0

package grpcauth

import (
	"context"
	"net"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/grpcauth/grpcauth/internal/wire"
)

// Observer sees every decision, before the handler runs. It is for audit logs and metrics.
//
// Observe is called once for each call that is judged and for each recheck of a stream, by the call's goroutine, so it must be fast and safe
// for concurrent use. One that panics turns the call into INTERNAL: a decision that cannot be put on record is not carried out.
type Observer interface {
	Observe(ctx context.Context, event Event)
}

// ObserverFunc is a function that is an [Observer].
type ObserverFunc func(ctx context.Context, event Event)

// Observe calls f.
func (f ObserverFunc) Observe(ctx context.Context, event Event) { f(ctx, event) }

// Event is one decision. It never holds a credential.
type Event struct {
	// Method is the full method, at most 256 bytes of it. Of an unknown method it is the caller's own text: escape it.
	Method string
	// Rule is the policy's key for the method, "/package.Service/Method" or "/package.Service/*"; empty if no rule names it.
	Rule string
	// Access is what the method's rule says.
	Access Access
	// Backend names the backend that decided, by its name in WithBackends or its scheme; empty if none found a credential.
	Backend string
	// Err is why the call was refused, with its cause; nil if it was let in.
	Err error
	// Code is the code of the refusal. It has a meaning only if Err is not nil.
	Code Code
	// Status is the gRPC status: OK if the call was let in; CANCELED or DEADLINE_EXCEEDED if the caller gave up meanwhile.
	Status codes.Code
	// User is who calls; nil if there is none. It is the handler's own once Observe returns: an observer does not change it, and clones it to keep it.
	User *User
	// Peer is the address of the connection's other end; nil if it is not known.
	Peer net.Addr
	// Latency is how long the decision took.
	Latency time.Duration
	// Remembered tells a verdict from memory from a fresh one.
	Remembered bool
	// Recheck tells that an open stream was judged again.
	Recheck bool
}

// watchers are observers of all interceptors, which only builds for tests have.
var watchers []Observer

// observe tells all observers of a decision.
func (i *Interceptor) observe(c *call, r *rule, start time.Time, err error) {
	e := Event{
		Method: wire.Printable(c.req.method, maxMethod), Rule: r.pattern, Access: r.Access, Backend: c.req.decidedBy, Err: err, User: c.user,
		Latency: i.now().Sub(start), Remembered: c.req.remembered, Recheck: c.req.recheck,
	}
	if p, ok := peer.FromContext(c.Context); ok {
		e.Peer = p.Addr
	}
	if err != nil {
		e.Code, e.Status, e.User = CodeOf(err), CodeOf(err).GRPC(), nil
		if callerGone(c.Context, err) {
			e.Status = status.FromContextError(c.Context.Err()).Code()
		}
	}
	for _, o := range i.observers {
		o.Observe(c.Context, e)
	}
}
