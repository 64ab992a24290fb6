// SPDX-License-Identifier: Apache-2.0

package benchmarks

import (
	"context"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/crypto/bcrypt"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/basic"
	"github.com/grpcauth/grpcauth/backends/bearer"
	"github.com/grpcauth/grpcauth/backends/jwt"
	echov1 "github.com/grpcauth/grpcauth/internal/gen/echo/v1"
)

const (
	userName     = "alice"
	userPassword = "correct horse battery staple"
)

// remembered is our interceptor alone, with a token it has seen, beside the peer's, which looks at each token anew.
func remembered(alg string) contest {
	return contest{ready: func(w *world) (ours, peer op) {
		authorization := "Bearer " + w.tokens[alg]
		return w.alone(w.guard(alg).Unary(), authorization), w.alone(w.middleware(alg), authorization)
	}}
}

func BenchmarkRememberedToken(b *testing.B) {
	for _, alg := range []string{"RS256", "ES256"} {
		b.Run(alg, func(b *testing.B) { benchmark(b, remembered(alg)) })
	}
}

// placements are the ways to put a server behind an interceptor.
var placements = []string{"Unary", "ServerOptions", "Registrar"}

func (w *world) guarded(alg, placement string) echov1.EchoServiceClient {
	w.Helper()
	guard := w.guard(alg)
	switch placement {
	case "Unary":
		return w.serve(nil, grpc.ChainUnaryInterceptor(guard.Unary()))
	case "ServerOptions":
		return w.serve(nil, guard.ServerOptions()...)
	default:
		return w.serve(guard)
	}
}

// overhead is a whole call, beside the same one to a server that takes no notice of the token.
func overhead(placement string, callers int) contest {
	return contest{callers: callers, ready: func(w *world) (ours, peer op) {
		authorization := "Bearer " + w.tokens["RS256"]
		return w.call(w.guarded("RS256", placement), authorization), w.call(w.serve(nil), authorization)
	}}
}

// same is a whole call beside itself. What its ratio differs from one is the noise of the figures around it.
func same() contest {
	return contest{ready: func(w *world) (ours, peer op) {
		authorization := "Bearer " + w.tokens["RS256"]
		return w.call(w.serve(nil), authorization), w.call(w.serve(nil), authorization)
	}}
}

// idle is a whole call through an interceptor that does nothing, beside the same without one: what gRPC itself adds.
func idle() contest {
	return contest{ready: func(w *world) (ours, peer op) {
		authorization := "Bearer " + w.tokens["RS256"]
		pass := func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
			return handler(ctx, req)
		}
		return w.call(w.serve(nil, grpc.ChainUnaryInterceptor(pass)), authorization), w.call(w.serve(nil), authorization)
	}}
}

func BenchmarkOverhead(b *testing.B) {
	for _, placement := range placements {
		b.Run(placement, func(b *testing.B) { benchmark(b, overhead(placement, 1)) })
	}
}

// wholeCall is a whole call, beside the same one to the peer's server.
func wholeCall(alg string, callers int) contest {
	return contest{callers: callers, ready: func(w *world) (ours, peer op) {
		authorization := "Bearer " + w.tokens[alg]
		return w.call(w.guarded(alg, "Unary"), authorization), w.call(w.serve(nil, grpc.ChainUnaryInterceptor(w.middleware(alg))), authorization)
	}}
}

func BenchmarkCall(b *testing.B) {
	for _, alg := range []string{"RS256", "ES256"} {
		b.Run(alg, func(b *testing.B) { benchmark(b, wholeCall(alg, 1)) })
	}
}

func BenchmarkCallParallel(b *testing.B) { benchmark(b, wholeCall("RS256", 2)) }

// firstLook is what a token costs that nobody has seen yet, beside somebody else's look at it.
func firstLook(alg string, peer func(w *world, alg string) op) contest {
	return contest{ready: func(w *world) (ours, theirs op) {
		verifier, err := jwt.NewVerifier(w.jwtOptions(alg, bearer.Options{}))
		if err != nil {
			w.Fatal(err)
		}
		token, ctx := w.tokens[alg], w.Context()
		return opFunc(func() error {
			_, err := verifier.Verify(ctx, token)
			return err
		}), peer(w, alg)
	}}
}

func golangJWT(w *world, alg string) op {
	parse, token := w.golangJWT(alg), w.tokens[alg]
	return opFunc(func() error {
		_, err := parse(token)
		return err
	})
}

func BenchmarkFirstLook(b *testing.B) {
	for _, alg := range []string{"RS256", "ES256"} {
		b.Run(alg+"/bare", func(b *testing.B) { benchmark(b, firstLook(alg, (*world).bare)) })
		b.Run(alg+"/golang-jwt", func(b *testing.B) { benchmark(b, firstLook(alg, golangJWT)) })
		b.Run(alg+"/go-jose", func(b *testing.B) { benchmark(b, firstLook(alg, (*world).goJose)) })
		b.Run(alg+"/jwx", func(b *testing.B) { benchmark(b, firstLook(alg, (*world).jwx)) })
	}
}

// refusal is a call with a message of 3 MiB and no credential.
func refusal() contest {
	return contest{heavy: true, ready: func(w *world) (ours, peer op) {
		large := &echov1.EchoRequest{Text: strings.Repeat("x", 3<<20)}
		refused := func(client echov1.EchoServiceClient) op {
			ctx := w.Context()
			return opFunc(func() error {
				if _, err := client.Echo(ctx, large); status.Code(err) != codes.Unauthenticated {
					return fmt.Errorf("got %w, want UNAUTHENTICATED", err)
				}
				return nil
			})
		}
		return refused(w.guarded("RS256", "Registrar")), refused(w.serve(nil, grpc.ChainUnaryInterceptor(w.middleware("RS256"))))
	}}
}

func BenchmarkRefusal(b *testing.B) { benchmark(b, refusal()) }

// crowd is the interceptor alone, with many remembered tokens in turn, beside the same with few.
func crowd(many, few int) contest {
	return contest{ready: func(w *world) (ours, peer op) { return w.round(many), w.round(few) }}
}

// round shows the interceptor one token after the other, in no order.
type round struct {
	interceptor    grpc.UnaryServerInterceptor
	ctx            context.Context
	value          []string // of the header, in the metadata of ctx
	authorizations []string
	next           int
	read           byte
}

// round returns a round of so many tokens, all remembered.
func (w *world) round(n int) *round {
	w.Helper()
	var judged atomic.Int64
	opts := w.jwtOptions("HS256", bearer.Options{MaxRemembered: n + n/4})
	opts.Issuers[0].Map = func(*grpcauth.User) error {
		judged.Add(1)
		return nil
	}
	r := &round{interceptor: grpcauth.New(w.backend(opts)).Unary(), authorizations: make([]string, n)}
	for k, token := range w.distinct(n) {
		r.authorizations[k] = "Bearer " + token
	}
	rand.Shuffle(n, func(i, j int) { //nolint:gosec // an order is no secret
		r.authorizations[i], r.authorizations[j] = r.authorizations[j], r.authorizations[i]
	})
	ctx, md := w.incoming("")
	r.ctx, r.value = ctx, md["authorization"]
	if err := repeat(r, 2*n, 1); err != nil || judged.Load() != int64(n) {
		w.Fatalf("%d tokens were judged %d times, with error %v", n, judged.Load(), err)
	}
	return r
}

func (r *round) do() error {
	r.value[0] = r.authorizations[r.next]
	r.next = (r.next + 1) % len(r.authorizations)
	_, err := r.interceptor(r.ctx, nil, &grpc.UnaryServerInfo{FullMethod: method}, nothing)
	return err
}

// warm reads the tokens that come next: a call's metadata has just been decoded, so it is the remembered verdicts that lie far away.
func (r *round) warm(next int) {
	for k := range next {
		for _, c := range []byte(r.authorizations[(r.next+k)%len(r.authorizations)]) {
			r.read += c
		}
	}
}

func BenchmarkManyTokens(b *testing.B) { benchmark(b, crowd(100_000, 1_000)) }

// policies is the interceptor alone with so many rules, beside the same with one.
func policies(n int) contest {
	return contest{ready: func(w *world) (ours, peer op) {
		authorization := "Bearer " + w.tokens["RS256"]
		with := func(n int) op {
			policy := grpcauth.Policy{method: {Scopes: []string{"orders.read"}}}
			for k := 1; k < n; k++ {
				policy[fmt.Sprintf("/shop.v%d.Orders/Get%d", k/10, k)] = grpcauth.Rule{Scopes: []string{"orders.write"}}
			}
			return w.alone(w.guard("RS256", grpcauth.WithPolicy(policy)).Unary(), authorization)
		}
		return with(n), with(1)
	}}
}

func BenchmarkRules(b *testing.B) { benchmark(b, policies(1_000)) }

// forever accepts every call, as a user that does not expire.
var forever = grpcauth.BackendFunc(func(context.Context, *grpcauth.Request) (*grpcauth.User, error) {
	return &grpcauth.User{ID: userName}, nil
})

// messages is one message to and fro on an open stream, beside the same on a stream of a server without authentication.
func messages() contest {
	return contest{ready: func(w *world) (ours, peer op) {
		talk := func(client echov1.EchoServiceClient) op {
			stream, err := client.Converse(w.Context())
			if err != nil {
				w.Fatal(err)
			}
			req := &echov1.ConverseRequest{Text: "x"}
			return opFunc(func() error {
				if err := stream.Send(req); err != nil {
					return err
				}
				_, err := stream.Recv()
				return err
			})
		}
		guard := grpcauth.New(forever)
		return talk(w.serve(guard, guard.ServerOptions()...)), talk(w.serve(nil))
	}}
}

func BenchmarkMessage(b *testing.B) { benchmark(b, messages()) }

// wire is a stream whose messages cost nothing.
type wire struct {
	grpc.ServerStream
	ctx context.Context
}

func (s *wire) Context() context.Context { return s.ctx }
func (*wire) SendMsg(any) error          { return nil }
func (*wire) RecvMsg(any) error          { return nil }

// messagesAlone is the same without gRPC: what stands between a handler and its stream.
func messagesAlone() contest {
	return contest{ready: func(w *world) (ours, peer op) {
		talk := func(stream grpc.ServerStream) op {
			message := &echov1.ConverseRequest{}
			return opFunc(func() error {
				if err := stream.RecvMsg(message); err != nil {
					return err
				}
				return stream.SendMsg(message)
			})
		}
		ctx, md := w.incoming("")
		delete(md, "authorization") // nobody would read it
		var bare grpc.ServerStream = &wire{ctx: ctx}
		var wrapped grpc.ServerStream
		err := grpcauth.New(forever).Stream()(nil, bare, &grpc.StreamServerInfo{FullMethod: echov1.EchoService_Converse_FullMethodName},
			func(_ any, stream grpc.ServerStream) error {
				wrapped = stream
				return nil
			})
		if err != nil {
			w.Fatal(err)
		}
		return talk(wrapped), talk(bare)
	}}
}

func BenchmarkMessageAlone(b *testing.B) { benchmark(b, messagesAlone()) }

// password is our interceptor alone with a password it has seen, beside the peer's, which hashes it on each call.
func password(check func(*world) func(password []byte) error) contest {
	return contest{ready: func(w *world) (ours, peer op) {
		hash, err := bcrypt.GenerateFromPassword([]byte(userPassword), bcrypt.MinCost)
		if err != nil {
			w.Fatal(err)
		}
		account := basic.Account{User: &grpcauth.User{ID: userName}, PasswordHash: string(hash)}
		backend, err := basic.New(basic.Options{Lookup: func(context.Context, string) (basic.Account, error) { return account, nil }})
		if err != nil {
			w.Fatal(err)
		}
		authorization := "Basic " + base64.StdEncoding.EncodeToString([]byte(userName+":"+userPassword))
		return w.alone(grpcauth.New(backend).Unary(), authorization), w.alone(basicMiddleware(check(w)), authorization)
	}}
}

func BenchmarkRememberedPassword(b *testing.B) {
	b.Run("bcrypt", func(b *testing.B) { benchmark(b, password((*world).bcryptCheck)) })
	b.Run("argon2id", func(b *testing.B) { benchmark(b, password((*world).argonCheck)) })
}
