// SPDX-License-Identifier: Apache-2.0

package canary_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/logging"
	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/recovery"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/authlog"
	"github.com/grpcauth/grpcauth/authservice"
	"github.com/grpcauth/grpcauth/backends/apikey"
	"github.com/grpcauth/grpcauth/backends/basic"
	"github.com/grpcauth/grpcauth/backends/bearer"
	"github.com/grpcauth/grpcauth/backends/introspect"
	"github.com/grpcauth/grpcauth/backends/jwt"
	"github.com/grpcauth/grpcauth/backends/mtls"
	"github.com/grpcauth/grpcauth/backends/oidc"
	"github.com/grpcauth/grpcauth/backends/session"
	"github.com/grpcauth/grpcauth/grpcauthtest"
	echov1 "github.com/grpcauth/grpcauth/internal/gen/echo/v1"
	"github.com/grpcauth/grpcauth/jwks"
	"github.com/grpcauth/grpcauth/password"
	grpcauthv1 "github.com/grpcauth/grpcauth/proto/grpcauth/v1"
	"github.com/grpcauth/grpcauth/throttle"
	"github.com/grpcauth/grpcauth/token"
)

const (
	issuerURL  = "https://auth.example.com"
	sharedURL  = "https://shared.example.com"
	audience   = "shop"
	origin     = "https://server.test"
	sessionKey = "x-session-id"
	workload   = "spiffe://example.org/workload"
)

// site is a server with everything, and those who call it.
type site struct {
	*sinks

	book     *book
	store    *ledger
	provider *provider
	accounts *accounts
	traces   *traces

	// The secrets that can be chosen. A name that nobody has may be a password that was typed into the wrong field.
	password, renewed, wrong, stranger, hmac, clientSecret string

	hasher       *password.Hasher
	ring         *token.Ring
	tokens       *token.Issuer
	key          *ecdsa.PrivateKey // of a caller, who proves that she has it
	introspected introspect.Options

	plain, mutual *grpc.ClientConn // without and with a client certificate
	values        []any            // what was made, to be printed
}

// newKey makes a private key that is one of the secrets.
func (w *site) newKey(t *testing.T, kind string) *ecdsa.PrivateKey {
	t.Helper()
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	w.book.key(t, kind, key)
	return key
}

func newSite(t *testing.T, place *place) *site {
	t.Helper()
	s := newSinks()
	b := newBook(s)
	w := &site{
		sinks: s, book: b, store: &ledger{database: place.database, s: s}, provider: newProvider(t, b), traces: newTraces(t, s),
		password: b.mark("right"), renewed: b.mark("renewed"), wrong: b.mark("wrong"), stranger: b.mark("stranger"),
		hmac: b.mark("secret-of-at-least-32-bytes"), clientSecret: b.mark("client-secret"),
	}
	w.hasher = must(password.New(password.Options{Memory: 64, Time: 1}))(t)
	w.accounts = newAccounts(t, w)
	limiter := must(throttle.New(throttle.Options{
		Counter: w.store, Account: throttle.Limit{Attempts: 40}, Address: throttle.Limit{Attempts: 10_000}, Tokens: throttle.Limit{Attempts: 10_000},
		Concurrent: 100, Outage: throttle.CountLocally, Proxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
	}))(t)
	passwords := must(basic.New(basic.Options{Lookup: w.accounts.byName, Hasher: w.hasher, Limiter: limiter}))(t)
	accepted, denylist, found := w.newTokens(t, limiter)
	w.introspected = w.provider.options()
	w.introspected.ClientSecret, w.introspected.Bearer = w.clientSecret, bearer.Options{Limiter: limiter}
	opaque := must(introspect.New(w.introspected))(t)
	sessions := must(session.New(session.Options{
		Store: w.store, MetadataKey: sessionKey, RememberFor: time.Millisecond,
		Check: func(_ context.Context, u *grpcauth.User) error { w.show("hooks", u); return nil },
	}))(t)
	keys := must(apikey.New(apikey.Options{Store: w.store, Prefix: "canary_test", Limiter: limiter, Owner: func(_ context.Context, k *apikey.Key) (*grpcauth.User, error) {
		w.show("hooks", k, *k)
		return &grpcauth.User{}, nil
	}}))(t)
	t.Cleanup(func() { _ = keys.Close() })
	ca := grpcauthtest.NewCA(t)
	pool := ca.Pool()
	workloads := must(mtls.New(mtls.Options{Roots: func() *x509.CertPool { return pool }}))(t)
	service := must(authservice.New(authservice.Options{
		Account: w.accounts.byName, AccountOf: w.accounts.of, SetPassword: w.accounts.set, Hasher: w.hasher, Limiter: limiter, Sessions: sessions, Keys: keys,
		Tokens: &authservice.Tokens{Issuer: w.tokens, Name: issuerURL, BindCertificate: true, Refresh: token.RefreshOptions{
			Store: w.store, Denylist: denylist, Grace: time.Nanosecond,
			Check:   func(_ context.Context, g *token.Grant) error { w.show("hooks", g, *g); return nil },
			OnReuse: func(_ context.Context, r token.Reuse) { w.show("hooks", r, &r) },
		}},
		After: func(_ context.Context, e authservice.Event) { w.show("events of logins", e, &e, e.Err, e.User) },
	}))(t)

	opts := []grpcauth.Option{
		grpcauth.WithBackends(map[string]grpcauth.Backend{"opaque": opaque, "tokens": accepted, "workload": workloads}),
		grpcauth.WithPolicy(service.Policy()),
		grpcauth.WithPolicy(grpcauth.Policy{
			"/echo.v1.EchoService/*":                   {},
			echov1.EchoService_Collect_FullMethodName:  {AllBackends: []string{"tokens", "workload"}},
			echov1.EchoService_Expand_FullMethodName:   {Backends: []string{"opaque"}},
			echov1.EchoService_Converse_FullMethodName: {Scopes: []string{"write"}, RequireBound: true},
			healthpb.Health_Check_FullMethodName:       {Access: grpcauth.Optional},
			healthpb.Health_List_FullMethodName:        {MaxAge: time.Nanosecond, ACR: "gold"},
		}),
		grpcauth.WithLoader(w.load),
		grpcauth.WithStreamRecheck(time.Hour),
	}
	for _, o := range append(w.observers(t, accepted, limiter), grpcauth.ObserverFunc(w.observe)) {
		opts = append(opts, grpcauth.WithObserver(o))
	}
	auth := grpcauth.New(grpcauth.Chain(grpcauth.BackendFunc(w.strange), passwords, accepted, sessions, keys, workloads), opts...)
	w.serve(t, ca, auth, service)
	w.values = []any{w.hasher, passwords, accepted, found, w.ring, w.tokens, denylist, opaque, w.introspected, &w.introspected, sessions, keys, workloads, service, auth, limiter, w.store.database}
	return w
}

// newTokens makes what accepts tokens: of our own ring, of a secret that is shared, and of a provider that is discovered; bound to keys and certificates, or not.
func (w *site) newTokens(t *testing.T, limiter *throttle.Limiter) (*bearer.Backend, *token.Denylist, *oidc.Provider) {
	t.Helper()
	var err error
	if w.ring, err = token.NewRing(token.RingOptions{Keys: []token.SigningKey{{ID: "1", Key: w.newKey(t, "the key that signs")}}}); err != nil {
		t.Fatal(err)
	}
	w.tokens = must(token.New(token.Options{Issuer: issuerURL, Audiences: []string{audience}, Ring: w.ring}))(t)
	denylist := must(token.NewDenylist(token.DenyOptions{Store: w.store, Issuer: issuerURL, MaxLifetime: time.Hour}))(t)
	shared := must(jwks.Static(jwks.Key{ID: "a", Algorithm: "HS256", Secret: []byte(w.hmac)}))(t)
	found := must(oidc.New(jwt.Issuer{URL: w.provider.URL, Audiences: []string{audience}, Algorithms: []string{"RS256"}}, oidc.Options{Keys: jwks.Options{Client: w.provider.Client()}}))(t)
	t.Cleanup(func() { _ = found.Close() })
	w.key = w.newKey(t, "the key of a caller")
	return must(jwt.New(jwt.Options{Denylist: denylist, Issuers: []jwt.Issuer{
		{URL: issuerURL, Audiences: []string{audience}, Algorithms: []string{"ES256"}, Keys: w.ring, AccessTokenProfile: true},
		{URL: sharedURL, Audiences: []string{audience}, Algorithms: []string{"HS256"}, Keys: shared},
		found.Issuer(),
	}, Bearer: bearer.Options{Limiter: limiter, DPoP: &bearer.DPoP{Origins: []string{origin}, RequireNonce: true, NonceSecret: []byte(w.book.mark("nonce-secret-of-32-bytes-at-least"))}}}))(t), denylist, found
}

// strange is a backend that prints whatever it can, and panics when it is asked to, with what it was asked by.
func (w *site) strange(ctx context.Context, req *grpcauth.Request) (*grpcauth.User, error) {
	w.show("requests", req, *req, ctx)
	if v, err := req.Value("x-panic"); err == nil {
		md, _ := metadata.FromIncomingContext(ctx)
		switch len(v) % 3 {
		case 0:
			panic(v)
		case 1:
			panic(fmt.Errorf("the call came with %v", map[string][]string(md)))
		}
		panic(struct{ MD metadata.MD }{md})
	}
	if v, err := req.Value("x-misplaced"); err == nil && v != "" {
		return nil, errOwn
	}
	if v, err := req.Value("x-control"); err == nil {
		w.show("requests", context.WithValue(ctx, errOwn, v))
		return nil, grpcauth.Errorf(grpcauth.CodeInvalid, "the control %s", v)
	}
	return nil, grpcauth.ErrNoCredentials
}

// load is a loader that panics with what the call came with, or fails, as the call asks for.
func (w *site) load(ctx context.Context, u *grpcauth.User) (string, error) {
	w.show("hooks", u, ctx)
	md, _ := metadata.FromIncomingContext(ctx)
	switch strings.Join(md["x-load"], "") {
	case "panic":
		panic(md)
	case "fail":
		return "", errOwn
	default:
		w.show("hooks", md["x-load"])
	}
	return "a record", nil
}

// observe is an observer that prints what it sees. It panics with what the call came with, if that is asked for.
func (w *site) observe(ctx context.Context, e grpcauth.Event) {
	e.Latency = 0 // so that what is the same looks the same
	user := e.User
	w.show("events", user, e.Err)
	if e.User = nil; w.fresh("events", fmt.Sprintf("%v %+v", e, e)) {
		e.User = user
		w.show("events", e, &e)
	}
	for _, h := range w.handlers("events by slog") {
		slog.New(h).InfoContext(ctx, "event", "event", e, "err", e.Err, "user", user)
	}
	slog.InfoContext(ctx, "event", "event", e, "err", e.Err)
	log.Printf("%v %+v %v", e, e.Err, ctx)
	if md, _ := metadata.FromIncomingContext(ctx); len(md["x-observe"]) > 0 {
		panic(md)
	}
}

// observers are those that write down decisions.
func (w *site) observers(t *testing.T, accepted *bearer.Backend, limiter *throttle.Limiter) []grpcauth.Observer {
	t.Helper()
	all := []grpcauth.Observer{w.traces.observer(t, accepted, limiter)}
	for _, h := range w.handlers("audit log") {
		for _, causes := range []bool{false, true} {
			all = append(all, must(authlog.New(authlog.Options{Handler: h, Causes: causes}))(t))
		}
	}
	return all
}

// serve runs the server. AuthService and Health are judged before their messages are read, EchoService by the interceptors.
func (w *site) serve(t *testing.T, ca *grpcauthtest.CA, auth *grpcauth.Interceptor, service *authservice.Server) {
	t.Helper()
	logger := logging.LoggerFunc(func(ctx context.Context, _ logging.Level, msg string, fields ...any) {
		fields = slices.Clone(fields)
		for i, field := range fields {
			if m, ok := field.(proto.Message); ok {
				fields[i] = withoutNames(m)
			}
		}
		w.put("call log", fmt.Sprintln(append(slices.Clone(fields), msg)...))
		slog.New(w.handlers("call log")[1]).InfoContext(ctx, msg, fields...)
	})
	events := logging.WithLogOnEvents(logging.StartCall, logging.FinishCall, logging.PayloadReceived, logging.PayloadSent)
	recovered := recovery.WithRecoveryHandlerContext(func(ctx context.Context, p any) error {
		w.show("recovered panics", p, ctx)
		slog.New(w.handlers("recovered panics")[1]).ErrorContext(ctx, "panic", "value", p, "stack", string(debug.Stack()))
		return status.Error(codes.Internal, "a panic")
	})
	srv := grpc.NewServer(slices.Concat([]grpc.ServerOption{
		grpc.Creds(credentials.NewTLS(ca.ServerTLS())), grpc.StatsHandler(w.traces), grpc.StatsHandler(w.book),
		grpc.ChainUnaryInterceptor(logging.UnaryServerInterceptor(logger, events), recovery.UnaryServerInterceptor(recovered)),
		grpc.ChainStreamInterceptor(logging.StreamServerInterceptor(logger, events), recovery.StreamServerInterceptor(recovered)),
	}, auth.ServerOptions())...)
	guarded := auth.Registrar(srv)
	grpcauthv1.RegisterAuthServiceServer(guarded, service)
	healthpb.RegisterHealthServer(guarded, health.NewServer())
	echov1.RegisterEchoServiceServer(srv, &echo{w: w})
	if err := auth.Check(srv); err != nil {
		t.Fatal(err)
	}
	listener := must(new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0"))(t)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(listener) }()
	dial := func(creds credentials.TransportCredentials) *grpc.ClientConn {
		conn := must(grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(creds), grpc.WithDisableRetry()))(t)
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
	w.plain = dial(credentials.NewTLS(ca.ClientTLS()))
	id := must(url.Parse(workload))(t)
	certificate := ca.Issue(x509.Certificate{URIs: []*url.URL{id}})
	w.book.key(t, "the key of a client certificate", certificate.PrivateKey)
	w.mutual = dial(credentials.NewTLS(ca.ClientTLS(certificate)))
	t.Cleanup(func() {
		srv.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}

// echo prints what handlers have, and fails as it is asked to.
type echo struct {
	echov1.UnimplementedEchoServiceServer

	w *site
}

func (e *echo) handle(ctx context.Context, text string) error {
	user, _ := grpcauth.FromContext(ctx)
	e.w.show("handlers", ctx, context.WithValue(ctx, errOwn, user), user)
	slog.New(slog.NewJSONHandler(e.w.writer("handlers"), nil)).InfoContext(ctx, "called", "ctx", ctx, "user", user)
	log.Printf("%v %+v called %s", ctx, user, text)
	switch {
	case text == "panic":
		panic(fmt.Errorf("the context %v of the user %+v", ctx, user))
	case text == "refuse":
		return fmt.Errorf("wrapped: %w", grpcauth.Errorf(grpcauth.CodeForbidden, "not you: %v %v", ctx, user))
	case strings.HasPrefix(text, "control"):
		return e.w.confess(ctx, text)
	}
	return nil
}

func (e *echo) Echo(ctx context.Context, req *echov1.EchoRequest) (*echov1.EchoResponse, error) {
	return &echov1.EchoResponse{Text: "said"}, e.handle(ctx, req.GetText())
}

func (e *echo) Expand(req *echov1.ExpandRequest, s grpc.ServerStreamingServer[echov1.ExpandResponse]) error {
	if err := e.handle(s.Context(), req.GetText()); err != nil {
		return err
	}
	return s.Send(&echov1.ExpandResponse{Text: "said"})
}

func (e *echo) Collect(s grpc.ClientStreamingServer[echov1.CollectRequest, echov1.CollectResponse]) error {
	req, err := s.Recv()
	if err != nil {
		return err
	}
	if err := e.handle(s.Context(), req.GetText()); err != nil {
		return err
	}
	return s.SendAndClose(&echov1.CollectResponse{Text: "said"})
}

func (e *echo) Converse(s grpc.BidiStreamingServer[echov1.ConverseRequest, echov1.ConverseResponse]) error {
	return e.handle(s.Context(), "")
}

// accounts are the application's users. It, and nobody else, keeps hashes.
type accounts struct {
	w *site

	mu   sync.Mutex
	hash string // guarded by mu
}

func newAccounts(t *testing.T, w *site) *accounts {
	t.Helper()
	a := &accounts{w: w, hash: must(w.hasher.Hash(t.Context(), w.password))(t)}
	w.book.hash(a.hash)
	return a
}

func (a *accounts) byName(_ context.Context, name string) (basic.Account, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	account := basic.Account{User: &grpcauth.User{ID: name, Name: "A. " + name, Scopes: []string{"read"}}, PasswordHash: a.hash}
	switch name {
	case "alice":
	case "disabled":
		account.Disabled = true
	case "corrupt":
		account.PasswordHash = "$argon2id$" + a.hash
	case "broken":
		return basic.Account{}, errOwn
	default:
		if strings.HasPrefix(name, "control-") {
			return basic.Account{}, fmt.Errorf("the control %s", name)
		}
		return basic.Account{}, nil
	}
	return account, nil
}

func (a *accounts) of(ctx context.Context, u *grpcauth.User) (basic.Account, error) {
	return a.byName(ctx, u.ID)
}

func (a *accounts) set(_ context.Context, _ *grpcauth.User, old, hash string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.hash != old {
		return authservice.ErrChanged
	}
	a.hash = hash
	a.w.book.hash(hash)
	return nil
}
