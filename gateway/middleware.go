// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"

	"google.golang.org/grpc"

	"github.com/grpcauth/grpcauth"
)

// MiddlewareOptions configure what [NewMiddleware] makes. The zero value is that of [Middleware].
type MiddlewareOptions struct {
	Options

	// Method names the rule that a request is judged by, "/package.Service/Method". By default it is "/http.Handler/" and the request's method, such as
	// "/http.Handler/POST".
	Method func(*http.Request) string
	// Endless is for handlers that stay, of server-sent events and web sockets: as a stream of gRPC, the context of a request ends with its
	// credential, and with grpcauth.WithStreamRecheck when that is not accepted any more. context.Cause says why.
	Endless bool
}

// Middleware protects handlers that are no gRPC by the same backends and rules, and puts the same user into their requests' contexts.
//
// A request is judged before its body is read, by the rule "/http.Handler/" and its method: "/http.Handler/*" stands for all. Without a rule it
// requires a user. A refusal is answered as by a gateway, and closes an HTTP/1 connection whose body is still to come.
func Middleware(interceptor *grpcauth.Interceptor) func(http.Handler) http.Handler {
	middleware, err := NewMiddleware(interceptor, MiddlewareOptions{})
	if err != nil {
		panic(err) // only of a nil interceptor, which protects nothing
	}
	return middleware
}

// NewMiddleware is [Middleware] with options. An error names the field that is wrong.
func NewMiddleware(interceptor *grpcauth.Interceptor, opts MiddlewareOptions) (func(http.Handler) http.Handler, error) {
	if interceptor == nil {
		return nil, errors.New("gateway: the interceptor is nil: write one that grpcauth.New made")
	}
	c, err := configure(&opts.Options)
	if err != nil {
		return nil, err
	}
	if opts.Method == nil {
		opts.Method = handlerMethod
	}
	m := &middleware{config: c, interceptor: interceptor, method: opts.Method}
	serve := m.serve
	if opts.Endless {
		m.gate.registrar = interceptor.Registrar(&m.gate)
		serve = m.serveEndless
	}
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { serve(next, w, r) })
	}, nil
}

type middleware struct {
	*config

	interceptor *grpcauth.Interceptor
	method      func(*http.Request) string
	gate        gate
}

// handlerMethods are made once, so that they cost a request nothing.
var handlerMethods = map[string]string{
	http.MethodGet: "/http.Handler/GET", http.MethodHead: "/http.Handler/HEAD", http.MethodPost: "/http.Handler/POST", http.MethodPut: "/http.Handler/PUT",
	http.MethodPatch: "/http.Handler/PATCH", http.MethodDelete: "/http.Handler/DELETE", http.MethodOptions: "/http.Handler/OPTIONS",
}

func handlerMethod(r *http.Request) string {
	if method, ok := handlerMethods[r.Method]; ok {
		return method
	}
	return "/http.Handler/" + r.Method
}

func (m *middleware) serve(next http.Handler, w http.ResponseWriter, r *http.Request) {
	judged, err := m.request(w, r, false)
	if err != nil {
		m.refuse(w, r, err)
		return
	}
	ctx, err := m.interceptor.Authenticate(judged, m.method(r))
	judged.sealed.Store(true)
	if err != nil {
		m.refuse(w, r, err)
		return
	}
	next.ServeHTTP(w, r.WithContext(ctx))
}

// serveEndless has the request judged and ended as a stream is.
func (m *middleware) serveEndless(next http.Handler, w http.ResponseWriter, r *http.Request) {
	judged, err := m.request(w, r, true)
	if err != nil {
		m.refuse(w, r, err)
		return
	}
	entered := false
	err = m.gate.serve(m.method(r), &stream{ctx: judged}, func(_ any, ss grpc.ServerStream) error {
		entered = true
		judged.handOver()
		next.ServeHTTP(w, r.WithContext(ss.Context()))
		return nil
	})
	if !entered {
		m.refuse(w, r, err)
	}
}

func (m *middleware) refuse(w http.ResponseWriter, r *http.Request, err error) {
	if r.ProtoMajor == 1 && r.ContentLength != 0 {
		w.Header().Set("Connection", "close") // or net/http reads of what is still to come before it answers
	}
	m.write(r.Context(), w, err)
}

// gate is how a request passes for a stream of gRPC: a server whose one service has the method that the request is judged by.
type gate struct {
	registrar grpcauth.Server

	mu   sync.Mutex
	desc *grpc.ServiceDesc // guarded by mu: what was registered last
}

// RegisterService implements [grpc.ServiceRegistrar].
func (g *gate) RegisterService(desc *grpc.ServiceDesc, _ any) { g.desc = desc }

// GetServiceInfo implements [grpcauth.Server].
func (*gate) GetServiceInfo() map[string]grpc.ServiceInfo { return nil }

func (g *gate) serve(method string, ss grpc.ServerStream, handler grpc.StreamHandler) error {
	last := strings.LastIndexByte(method, '/')
	if last < 1 || method[0] != '/' {
		return grpcauth.Errorf(grpcauth.CodeInternal, "gateway: MiddlewareOptions.Method returned what is no method")
	}
	g.mu.Lock()
	g.registrar.RegisterService(&grpc.ServiceDesc{
		ServiceName: method[1:last], Streams: []grpc.StreamDesc{{StreamName: method[last+1:], Handler: handler, ServerStreams: true}},
	}, nil)
	handler = g.desc.Streams[0].Handler
	g.mu.Unlock()
	return handler(nil, ss)
}

// stream is the part of a stream that interceptors use.
type stream struct {
	grpc.ServerStream

	ctx context.Context //nolint:containedctx // it stands for the call
}

// Context implements [grpc.ServerStream].
func (s *stream) Context() context.Context { return s.ctx }
