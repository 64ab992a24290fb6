// SPDX-License-Identifier: Apache-2.0

package grpcauth

import (
	"context"
	"fmt"
	"sync"

	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/logging"
	"google.golang.org/grpc"

	"github.com/grpcauth/grpcauth/internal/values"
)

// logUserID is the field under which go-grpc-middleware's logging interceptor shows the user.
const logUserID = "auth.user"

// call is the one context value of a judged call. It is the context itself, and holds the request, to cost one allocation.
type call struct {
	context.Context //nolint:containedctx // it is a context

	interceptor *Interceptor // nil: made by NewContext
	stream      grpc.ServerTransportStream
	req         Request
	user        *User // nil: nobody
	loaded      any

	logOnce   sync.Once
	logFields any
}

type callKey struct{}

func (i *Interceptor) newCall(ctx context.Context, method string, stream grpc.ServerTransportStream, recheck bool) *call {
	c := &call{Context: ctx, interceptor: i, stream: stream}
	c.req.ctx, c.req.method, c.req.places, c.req.recheck = ctx, method, i.places, recheck //nolint:fatcontext // one call, one context
	return c
}

// Format prints the type alone, whatever the verb: a context is soon printed, and this one holds credentials.
func (c *call) Format(f fmt.State, _ rune) { _, _ = fmt.Fprint(f, "grpcauth.call") }

// Value finds the call itself, and makes the log fields only when somebody asks for them.
func (c *call) Value(key any) any {
	switch key {
	case callKey{}:
		return c
	case logKey:
		if c.user == nil {
			break
		}
		c.logOnce.Do(func() {
			if c.logFields = c.Context.Value(key); c.logFields == nil {
				c.logFields = logging.InjectFields(c.Context, logging.Fields{logUserID, c.user.ID}).Value(key)
			}
		})
		return c.logFields
	}
	return c.Context.Value(key)
}

// shareLogFields adds the user to the line that a logging interceptor outside of ours will write.
func (c *call) shareLogFields() {
	if c.user != nil && logKey != nil && c.Context.Value(logKey) != nil {
		logging.AddFields(c.Context, logging.Fields{logUserID, c.user.ID})
	}
}

// logKey is the context key of logging's fields, learnt by listening to what the package asks a context for. Adding the fields to
// every context, used or not, would cost more than the rest of a remembered call.
var logKey = values.KeyAskedFor(func(ctx context.Context) { logging.ExtractFields(ctx) })

// judged reports whether the interceptor has let this very call in before. A context that is reused, for another method or from
// another call, does not count.
func (i *Interceptor) judged(ctx context.Context, method string, stream grpc.ServerTransportStream) bool { //nolint:contextcheck // it walks the parents of ctx
	if !values.Comparable(stream) {
		return false
	}
	for {
		c, ok := ctx.Value(callKey{}).(*call)
		if !ok {
			return false
		}
		if c.interceptor == i && c.req.method == method && c.stream == stream {
			return true
		}
		ctx = c.Context //nolint:fatcontext // it goes outwards
	}
}
