// SPDX-License-Identifier: Apache-2.0

package grpcauth

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"google.golang.org/grpc"

	"github.com/grpcauth/grpcauth/internal/values"
	"github.com/grpcauth/grpcauth/internal/wire"
)

// Server is where services are registered. *grpc.Server is one.
type Server interface {
	grpc.ServiceRegistrar
	GetServiceInfo() map[string]grpc.ServiceInfo
}

// Registrar returns a server that wraps the handlers of every service registered through it, so that a unary call is judged before its
// message is decompressed or decoded.
//
// A call that is refused there is not seen by the server's other interceptors. An interceptor of the same [Interceptor] on the server does not
// judge a call again. Unknown methods are not covered: [Interceptor.ServerOptions] covers them.
func (i *Interceptor) Registrar(server Server) Server {
	if values.IsNil(server) {
		panic("grpcauth: Registrar: the server is nil")
	}
	return &registrar{Server: server, interceptor: i}
}

type registrar struct {
	Server
	interceptor *Interceptor
}

// RegisterService registers a copy of the description: generated ones are package variables.
func (g *registrar) RegisterService(desc *grpc.ServiceDesc, impl any) {
	copied := *desc
	copied.Methods = slices.Clone(desc.Methods)
	for k := range copied.Methods {
		m := &copied.Methods[k]
		m.Handler = g.interceptor.gate("/"+desc.ServiceName+"/"+m.MethodName, m.Handler)
	}
	copied.Streams = slices.Clone(desc.Streams)
	for k := range copied.Streams {
		s := &copied.Streams[k]
		s.Handler = g.interceptor.streamGate("/"+desc.ServiceName+"/"+s.StreamName, s.Handler)
	}
	g.Server.RegisterService(&copied, impl)
	g.interceptor.guarded.Store(guard{serverOf(g), desc.ServiceName}, true)
}

// guard is a service of one server: the same one on another server may be open.
type guard struct {
	server  any
	service string
}

// serverOf finds the server below all registrars. One that cannot be compared is found nowhere again, and so counts as open.
func serverOf(s Server) any {
	for g, ok := s.(*registrar); ok; g, ok = s.(*registrar) {
		s = g.Server
	}
	return values.Identity(s)
}

func (i *Interceptor) gate(method string, handler grpc.MethodHandler) grpc.MethodHandler {
	r := i.rules.of(method)
	return func(srv any, ctx context.Context, decode func(any) error, next grpc.UnaryServerInterceptor) (any, error) {
		ctx, _, err := i.enter(ctx, method, r)
		if err != nil {
			return nil, err
		}
		resp, err := handler(srv, ctx, decode, next)
		return resp, i.leave(ctx, method, r, err)
	}
}

func (i *Interceptor) streamGate(method string, handler grpc.StreamHandler) grpc.StreamHandler {
	r := i.rules.of(method)
	return func(srv any, ss grpc.ServerStream) error { return i.serveStream(srv, ss, method, r, handler) }
}

// Check compares the interceptor with what is registered on a server; call it before Serve.
//
// It reports every rule for a service or method that the server lacks, and every service that is neither registered through
// [Interceptor.Registrar] nor covered by the interceptors that were asked for: streams although Stream was never called. With
// [WithExplicitRules] it also reports every method that no rule names.
func (i *Interceptor) Check(server Server) error {
	var errs []error
	services := server.GetServiceInfo()
	for _, method := range sortedKeys(i.policy) {
		service, name, _ := wire.SplitMethod(method)
		info, ok := services[service]
		if !ok {
			errs = append(errs, fmt.Errorf("policy for %q: the server has no service %q", method, service))
		} else if name != "*" && !slices.ContainsFunc(info.Methods, func(m grpc.MethodInfo) bool { return m.Name == name }) {
			errs = append(errs, fmt.Errorf("policy for %q: the service has no method %q", method, name))
		}
	}
	for _, service := range sortedKeys(services) {
		_, guarded := i.guarded.Load(guard{serverOf(server), service})
		for _, m := range services[service].Methods {
			method := "/" + service + "/" + m.Name
			if stream := m.IsClientStream || m.IsServerStream; stream && !guarded && !i.stream.Load() {
				errs = append(errs, fmt.Errorf("the stream %q is open: pass Stream(), or ServerOptions(), to grpc.NewServer", method))
			} else if !stream && !guarded && !i.unary.Load() {
				errs = append(errs, fmt.Errorf("the method %q is open: pass Unary(), or ServerOptions(), to grpc.NewServer", method))
			}
			if i.explicit && i.rules.of(method).pattern == "" {
				errs = append(errs, fmt.Errorf("no rule names %q: add one to the policy, if only with access Required", method))
			}
		}
	}
	return errors.Join(errs...)
}
