// SPDX-License-Identifier: Apache-2.0

package benchmarks

import (
	"context"
	"net"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/bearer"
	"github.com/grpcauth/grpcauth/backends/jwt"
	"github.com/grpcauth/grpcauth/grpcauthtest"
	echov1 "github.com/grpcauth/grpcauth/internal/gen/echo/v1"
	"github.com/grpcauth/grpcauth/jwks"
)

const (
	issuerURL = "https://idp.example.com/realms/shop"
	audience  = "orders"
	method    = echov1.EchoService_Echo_FullMethodName
)

// world is a test or benchmark with an identity provider.
type world struct {
	testing.TB
	*provider
}

type provider struct {
	issuer *grpcauthtest.Issuer
	keys   map[string]jwks.Key // by algorithm
	tokens map[string]string   // by algorithm, one that everyone accepts
	many   []string            // with HMAC, as others take a minute to sign

	floodOnce sync.Once
	flood     *flood

	tb        testing.TB // at whose end the databases are stopped
	databases databases
}

func newWorld(tb testing.TB) *world {
	tb.Helper()
	p := &provider{tb: tb, issuer: grpcauthtest.NewIssuer(tb, issuerURL, audience), keys: map[string]jwks.Key{}, tokens: map[string]string{}}
	for _, alg := range []string{"RS256", "ES256", "HS256"} {
		p.tokens[alg] = p.token(alg, 0)
		kid := p.issuer.KeyID(alg)
		published := p.issuer.Published()
		p.keys[alg] = published[slices.IndexFunc(published, func(k jwks.Key) bool { return k.ID == kid })]
	}
	return &world{tb, p}
}

// token is of the size that identity providers issue.
func (p *provider) token(alg string, n int) string {
	return p.issuer.Token(alg, "user-1234567890", map[string]any{
		"aud": []string{audience, "account"}, "exp": time.Now().Add(time.Hour).Unix(), "jti": "b2c6a1c4-9a0c-4b9f-8df1-" + strconv.Itoa(1e11+n),
		"scope": "orders.read orders.write profile email", "email": "someone@example.com", "roles": []string{"admin", "ops"}, "tenant": "acme",
	})
}

// distinct returns so many different tokens.
func (p *provider) distinct(n int) []string {
	for len(p.many) < n {
		p.many = append(p.many, p.token("HS256", len(p.many)))
	}
	return p.many[:n]
}

// at is the same provider in another test or benchmark.
func (w *world) at(tb testing.TB) *world { return &world{tb, w.provider} }

// scope is a test whose cleanups do not wait for its end.
type scope struct {
	testing.TB
	cleanups []func()
}

func (s *scope) Cleanup(f func()) { s.cleanups = append(s.cleanups, f) }

// scoped runs f with a world at whose end the servers made in it are stopped.
func (w *world) scoped(f func(*world)) {
	s := &scope{TB: w.TB}
	defer func() {
		for _, cleanup := range slices.Backward(s.cleanups) {
			cleanup()
		}
	}()
	f(w.at(s))
}

// jwtOptions accept the tokens of one algorithm. The keys do not change, like those of the peers.
func (w *world) jwtOptions(alg string, opts bearer.Options) jwt.Options {
	w.Helper()
	set, err := jwks.Static(w.keys[alg])
	if err != nil {
		w.Fatal(err)
	}
	return jwt.Options{Issuers: []jwt.Issuer{{URL: issuerURL, Audiences: []string{audience}, Algorithms: []string{alg}, Keys: set}}, Bearer: opts}
}

func (w *world) backend(opts jwt.Options) *bearer.Backend {
	w.Helper()
	b, err := jwt.New(opts)
	if err != nil {
		w.Fatal(err)
	}
	return b
}

func (w *world) guard(alg string, opts ...grpcauth.Option) *grpcauth.Interceptor {
	w.Helper()
	return grpcauth.New(w.backend(w.jwtOptions(alg, bearer.Options{})), opts...)
}

// transport is what gRPC's own server puts into the context of a call.
type transport struct{ method string }

func (t *transport) Method() string             { return t.method }
func (*transport) SetHeader(metadata.MD) error  { return nil }
func (*transport) SendHeader(metadata.MD) error { return nil }
func (*transport) SetTrailer(metadata.MD) error { return nil }

// incoming is the context of a call as interceptors are given it, and the call's metadata.
func (w *world) incoming(authorization string) (context.Context, metadata.MD) {
	md := metadata.Pairs(":authority", "orders.example.com", "content-type", "application/grpc", "user-agent", "grpc-go/1.85.0",
		"traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "authorization", authorization)
	ctx := peer.NewContext(w.Context(), &peer.Peer{
		Addr:     &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 50051},
		AuthInfo: credentials.TLSInfo{CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity}},
	})
	ctx = metadata.NewIncomingContext(ctx, md)
	return grpc.NewContextWithServerTransportStream(ctx, &transport{method}), md
}

// alone calls an interceptor without a server.
func (w *world) alone(interceptor grpc.UnaryServerInterceptor, authorization string) op {
	ctx, _ := w.incoming(authorization)
	info := &grpc.UnaryServerInfo{FullMethod: method}
	req := &echov1.EchoRequest{}
	return opFunc(func() error {
		_, err := interceptor(ctx, req, info, nothing)
		return err
	})
}

func nothing(context.Context, any) (any, error) { return nil, nil }

// echo is what is called.
type echo struct {
	echov1.UnimplementedEchoServiceServer
}

func (echo) Echo(_ context.Context, req *echov1.EchoRequest) (*echov1.EchoResponse, error) {
	return &echov1.EchoResponse{Text: req.GetText()}, nil
}

func (echo) Converse(stream grpc.BidiStreamingServer[echov1.ConverseRequest, echov1.ConverseResponse]) error {
	for {
		req, err := stream.Recv()
		if err != nil {
			return err // the connection goes, and the stream with it
		}
		if err := stream.Send(&echov1.ConverseResponse{Text: req.GetText()}); err != nil {
			return err
		}
	}
}

// serve starts a server in memory, its services registered through the guard if there is one.
func (w *world) serve(guard *grpcauth.Interceptor, opts ...grpc.ServerOption) echov1.EchoServiceClient {
	w.Helper()
	srv := grpc.NewServer(opts...)
	var server grpcauth.Server = srv
	if guard != nil {
		server = guard.Registrar(srv)
	}
	echov1.RegisterEchoServiceServer(server, echo{})
	return echov1.NewEchoServiceClient(grpcauthtest.Dial(w, srv, nil))
}

// call is a whole unary call.
func (w *world) call(client echov1.EchoServiceClient, authorization string) op {
	ctx := metadata.AppendToOutgoingContext(w.Context(), "authorization", authorization)
	req := &echov1.EchoRequest{Text: "x"}
	return opFunc(func() error {
		_, err := client.Echo(ctx, req)
		return err
	})
}
