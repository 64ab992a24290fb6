// SPDX-License-Identifier: Apache-2.0

// Package canary_test runs one server with everything that the library has, makes right and wrong calls of every kind, and looks for their secrets wherever
// something was written.
package canary_test

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/logging"
	"github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/authlog"
	"github.com/grpcauth/grpcauth/authotel"
	"github.com/grpcauth/grpcauth/authservice"
	"github.com/grpcauth/grpcauth/backends/apikey"
	"github.com/grpcauth/grpcauth/backends/basic"
	"github.com/grpcauth/grpcauth/backends/bearer"
	"github.com/grpcauth/grpcauth/backends/introspect"
	"github.com/grpcauth/grpcauth/backends/jwt"
	"github.com/grpcauth/grpcauth/backends/session"
	"github.com/grpcauth/grpcauth/grpcauthtest"
	"github.com/grpcauth/grpcauth/internal/canary"
	"github.com/grpcauth/grpcauth/internal/servertest"
	"github.com/grpcauth/grpcauth/jwks"
	"github.com/grpcauth/grpcauth/password"
	grpcauthv1 "github.com/grpcauth/grpcauth/proto/grpcauth/v1"
	"github.com/grpcauth/grpcauth/store"
	"github.com/grpcauth/grpcauth/store/memstore"
	"github.com/grpcauth/grpcauth/store/redisstore"
	"github.com/grpcauth/grpcauth/store/sqlstore"
	"github.com/grpcauth/grpcauth/throttle"
	"github.com/grpcauth/grpcauth/token"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The secrets that can be chosen. A name that nobody has may be a password that was typed into the wrong field.
const (
	right        = "canary-right-83b0c"
	renewed      = "canary-renewed-9d41e"
	wrong        = "canary-wrong-5f1d7"
	stranger     = "canary-stranger-77e2a"
	hmacSecret   = "canary-secret-of-at-least-32-bytes-19c4"
	clientSecret = "canary-client-secret-c0ffee"
	opaque       = "canary-opaque-token-4b825d"
)

const (
	issuerURL  = "https://auth.example.com"
	sessionKey = "x-session-id"
)

// sink is everything that is written anywhere, each piece with where it stood.
type sink struct {
	mu      sync.Mutex
	written map[string]*strings.Builder // guarded by mu
}

func (s *sink) put(where, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.written == nil {
		s.written = map[string]*strings.Builder{}
	}
	if s.written[where] == nil {
		s.written[where] = &strings.Builder{}
	}
	s.written[where].WriteString(text)
}

// writer is the sink's part under a name.
type writer struct {
	s     *sink
	where string
}

func (w writer) Write(p []byte) (int, error) {
	w.s.put(w.where, string(p))
	return len(p), nil
}

// secrets are what must be found nowhere, by what they are.
type secrets struct {
	mu  sync.Mutex
	all map[string]string // guarded by mu: the kind of each
}

func (s *secrets) add(kind string, texts ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, text := range texts {
		if len(text) >= 8 {
			s.all[text] = kind
		}
	}
}

// stored is a store that shows what it is given, and fails when it is told to. What it shows is what a database would keep.
type stored struct {
	store.Store
	store.Counter
	s    *sink
	down atomic.Bool
}

var errDown = errors.New("the store is down")

func (s *stored) Get(ctx context.Context, key string) (store.Record, error) {
	s.s.put("store", key+"\n")
	if s.down.Load() {
		return store.Record{}, errDown
	}
	return s.Store.Get(ctx, key)
}

func (s *stored) Put(ctx context.Context, rec store.Record) error {
	s.s.put("store", fmt.Sprintf("%s %s %s\n", rec.Key, rec.Owner, rec.Value))
	if s.down.Load() {
		return errDown
	}
	return s.Store.Put(ctx, rec)
}

func (s *stored) Add(ctx context.Context, key string, n int64, window time.Duration) (int64, error) {
	s.s.put("store", key+"\n")
	if s.down.Load() {
		return 0, errDown
	}
	return s.Counter.Add(ctx, key, n, window)
}

func TestNoSecretReachesAnySink(t *testing.T) {
	for name, open := range map[string]func(t *testing.T) interface {
		store.Store
		store.Counter
	}{
		"memory": func(t *testing.T) interface {
			store.Store
			store.Counter
		} {
			t.Helper()
			return must(memstore.New(memstore.Options{}))(t)
		},
		"sqlite": func(t *testing.T) interface {
			store.Store
			store.Counter
		} {
			t.Helper()
			db := must(sql.Open("sqlite", "file:"+filepath.Join(t.TempDir(), "canary.db")+"?_txlock=immediate&_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)"))(t)
			t.Cleanup(func() { _ = db.Close() })
			s := must(sqlstore.New(t.Context(), sqlstore.Options{DB: db, Dialect: sqlstore.SQLite}))(t)
			t.Cleanup(func() { _ = s.Close() })
			return s
		},
		"redis": func(t *testing.T) interface {
			store.Store
			store.Counter
		} {
			t.Helper()
			client := redis.NewClient(&redis.Options{Addr: servertest.Redis(t), ContextTimeoutEnabled: true})
			t.Cleanup(func() { _ = client.Close() })
			return must(redisstore.New(redisstore.Options{Client: client}))(t)
		},
	} {
		t.Run(name, func(t *testing.T) {
			backing := open(t)
			w := newWorld(t, &stored{Store: backing, Counter: backing, s: &sink{}})
			w.live(t)
			w.search(t)
		})
	}
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(tb testing.TB) T {
		tb.Helper()
		if err != nil {
			tb.Fatal(err)
		}
		return v
	}
}

// world is a server with everything, and what was written by it and by those who call it.
type world struct {
	*sink

	secrets  *secrets
	store    *stored
	metrics  *metric.ManualReader
	conn     *grpc.ClientConn
	auth     grpcauthv1.AuthServiceClient
	health   healthpb.HealthClient
	sessions *session.Backend
	keys     *apikey.Backend
	key      string
}

func newWorld(t *testing.T, kept *stored) *world {
	t.Helper()
	w := &world{sink: kept.s, secrets: &secrets{all: map[string]string{}}, store: kept}
	w.secrets.add("a chosen secret", right, renewed, wrong, stranger, hmacSecret, clientSecret, opaque)
	hasher := must(password.New(password.Options{Memory: 64, Time: 1}))(t)
	var mu sync.Mutex
	account := basic.Account{User: &grpcauth.User{ID: "alice", Scopes: []string{"read"}}, PasswordHash: must(hasher.Hash(t.Context(), right))(t)}
	w.secrets.add("a hash", account.PasswordHash, account.PasswordHash[strings.LastIndexByte(account.PasswordHash, '$'):])
	byName := func(_ context.Context, name string) (basic.Account, error) {
		mu.Lock()
		defer mu.Unlock()
		if name != "alice" {
			return basic.Account{}, nil
		}
		return account, nil
	}
	limiter := must(throttle.New(throttle.Options{Counter: kept, Account: throttle.Limit{Attempts: 40}, Address: throttle.Limit{Attempts: 1000}, Tokens: throttle.Limit{Attempts: 1000}}))(t)
	passwords := must(basic.New(basic.Options{Lookup: byName, Hasher: hasher, Limiter: limiter}))(t)

	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	der := must(x509.MarshalPKCS8PrivateKey(private))(t)
	w.secrets.add("the private key", base64.RawURLEncoding.EncodeToString(private.Seed()), string(private.Seed()), string(der))
	ring := must(token.NewRing(token.RingOptions{Keys: []token.SigningKey{{ID: "1", Algorithm: "EdDSA", Key: private}}}))(t)
	issuer := must(token.New(token.Options{Issuer: issuerURL, Audiences: []string{"shop"}, Ring: ring}))(t)
	denylist := must(token.NewDenylist(token.DenyOptions{Store: kept, Issuer: issuerURL, MaxLifetime: time.Hour}))(t)
	secret := jwks.Key{ID: "a", Algorithm: "HS256", Secret: []byte(hmacSecret)}
	shared := must(jwks.Static(secret))(t)
	tokens := must(jwt.New(jwt.Options{Denylist: denylist, Bearer: bearer.Options{Limiter: limiter}, Issuers: []jwt.Issuer{
		{URL: issuerURL, Audiences: []string{"shop"}, Algorithms: []string{"EdDSA"}, Keys: ring, AccessTokenProfile: true},
		{URL: "https://idp.example.com", Audiences: []string{"shop"}, Algorithms: []string{"HS256"}, Keys: shared},
	}}))(t)
	w.sessions = must(session.New(session.Options{Store: kept, MetadataKey: sessionKey}))(t)
	w.keys = must(apikey.New(apikey.Options{Store: kept, Prefix: "shop_test", Limiter: limiter}))(t)
	t.Cleanup(func() { _ = w.keys.Close() })

	// An authorization server that repeats what it is asked in its refusals.
	provider := httptest.NewTLSServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		asked := r.FormValue("token")
		if asked == opaque {
			_ = json.NewEncoder(rw).Encode(map[string]any{"active": true, "sub": "alice", "aud": "shop", "exp": time.Now().Add(time.Hour).Unix()})
			return
		}
		rw.WriteHeader(http.StatusInternalServerError)
		_, _ = fmt.Fprintf(rw, "cannot judge %s of %s", asked, r.Header.Get("Authorization"))
	}))
	t.Cleanup(provider.Close)
	introspectOptions := introspect.Options{
		URL: provider.URL, ClientID: "shop", ClientSecret: clientSecret, Audiences: []string{"shop"}, Client: provider.Client(), Bearer: bearer.Options{RefuseFor: 1},
	}
	introspected := must(introspect.New(introspectOptions))(t)
	w.secrets.add("the introspection credential", base64.StdEncoding.EncodeToString([]byte("shop:"+clientSecret)))

	service := must(authservice.New(authservice.Options{
		Account: byName, Hasher: hasher, Sessions: w.sessions, Keys: w.keys, Limiter: limiter,
		AccountOf: func(ctx context.Context, u *grpcauth.User) (basic.Account, error) { return byName(ctx, u.ID) },
		SetPassword: func(_ context.Context, _ *grpcauth.User, _, hash string) error {
			mu.Lock()
			defer mu.Unlock()
			account.PasswordHash = hash
			w.secrets.add("a hash", hash)
			return nil
		},
		Tokens: &authservice.Tokens{Issuer: issuer, Name: issuerURL, Refresh: token.RefreshOptions{Store: kept}},
		After:  func(_ context.Context, e authservice.Event) { w.put("events of logins", canary.Show(e, e.Err, e.User)) },
	}))(t)

	w.metrics = metric.NewManualReader()
	telemetry := must(authotel.New(authotel.Options{
		MeterProvider: metric.NewMeterProvider(metric.WithReader(w.metrics)), Tokens: map[string]*bearer.Backend{"jwt": tokens, "opaque": introspected},
		Limiters: map[string]*throttle.Limiter{"all": limiter},
	}))(t)
	panicking := grpcauth.BackendFunc(func(_ context.Context, req *grpcauth.Request) (*grpcauth.User, error) {
		if v, err := req.Value("x-panic"); err == nil {
			panic(v)
		}
		w.put("requests", canary.Show(req, *req))
		return nil, grpcauth.ErrNoCredentials
	})
	auth := grpcauth.New(grpcauth.Chain(panicking, passwords, tokens, w.sessions, w.keys),
		grpcauth.WithBackends(map[string]grpcauth.Backend{"opaque": introspected}),
		grpcauth.WithPolicy(service.Policy()),
		grpcauth.WithPolicy(grpcauth.Policy{"/grpc.health.v1.Health/List": {Backends: []string{"opaque"}}}),
		grpcauth.WithObserver(grpcauth.ObserverFunc(func(_ context.Context, e grpcauth.Event) { w.put("events", canary.Show(e, e.Err, e.User)) })),
		grpcauth.WithObserver(telemetry),
		grpcauth.WithObserver(must(authlog.New(authlog.Options{Handler: slog.NewJSONHandler(writer{w.sink, "audit log"}, nil), Causes: true}))(t)),
		grpcauth.WithObserver(must(authlog.New(authlog.Options{Handler: slog.NewTextHandler(writer{w.sink, "audit log"}, nil), Causes: true}))(t)),
	)
	logger := logging.LoggerFunc(func(_ context.Context, _ logging.Level, msg string, fields ...any) {
		w.put("call log", fmt.Sprintln(append(fields, msg)...))
	})
	ca := grpcauthtest.NewCA(t)
	srv := grpc.NewServer(append(auth.ServerOptions(), grpc.Creds(credentials.NewTLS(ca.ServerTLS())), grpc.ChainUnaryInterceptor(logging.UnaryServerInterceptor(logger)))...)
	registrar := auth.Registrar(srv)
	grpcauthv1.RegisterAuthServiceServer(registrar, service)
	healthpb.RegisterHealthServer(registrar, health.NewServer())
	w.conn = grpcauthtest.Dial(t, srv, credentials.NewTLS(ca.ClientTLS()))
	w.auth, w.health = grpcauthv1.NewAuthServiceClient(w.conn), healthpb.NewHealthClient(w.conn)

	w.put("values", canary.Show(hasher, passwords, tokens, shared, secret, &secret, ring, issuer, denylist, w.sessions, w.keys, introspected, introspectOptions, &introspectOptions,
		limiter, service, auth, account, &account, map[string]any{"a": account, "k": secret}, struct{ A, B any }{account, secret}))
	slog.New(slog.NewJSONHandler(writer{w.sink, "values"}, nil)).Info("values", "hasher", hasher, "key", secret, "account", account, "ring", ring, "limiter", limiter)
	return w
}

// call makes a call and keeps what its caller, if it is refused, may see.
func (w *world) call(ctx context.Context, md metadata.MD, do func(context.Context, ...grpc.CallOption) error) error {
	var header, trailer metadata.MD
	for key, values := range md {
		for _, value := range values {
			w.secrets.add("the "+key+" of a call", canary.Secrets(value)...)
		}
	}
	err := do(metadata.NewOutgoingContext(ctx, md), grpc.Header(&header), grpc.Trailer(&trailer))
	if err != nil {
		w.put("refusals", fmt.Sprintln(canary.Show(err), status.Convert(err).Proto(), header, trailer))
	}
	return err
}

// live makes right and wrong calls of every kind, with the store up, down and up again.
func (w *world) live(t *testing.T) {
	t.Helper()
	good := []metadata.MD{metadata.Pairs("authorization", basicOf("alice", right))}
	login := func(name, pass string, credential grpcauthv1.Credential) *grpcauthv1.Issued {
		var issued *grpcauthv1.Issued
		_ = w.call(t.Context(), nil, func(ctx context.Context, opts ...grpc.CallOption) error {
			req := &grpcauthv1.LoginRequest{Username: name, Password: pass, Credential: credential}
			if credential == grpcauthv1.Credential_CREDENTIAL_TOKENS {
				req.ClientId = "app"
			}
			resp, err := w.auth.Login(ctx, req, opts...)
			issued = resp.GetIssued()
			w.put("messages", fmt.Sprintf("%v %+v %v %+v", req, req, resp, resp))
			slog.New(slog.NewJSONHandler(writer{w.sink, "messages"}, nil)).Info("login", "req", req, "resp", resp)
			return err
		})
		return issued
	}
	id := login("alice", right, grpcauthv1.Credential_CREDENTIAL_SESSION_ID).GetSessionId()
	pair := login("alice", right, grpcauthv1.Credential_CREDENTIAL_TOKENS).GetTokens()
	if id == "" || pair.GetRefreshToken() == "" {
		t.Fatal("nobody could log in")
	}
	mine := metadata.Pairs(sessionKey, id)
	good = append(good, mine, metadata.Pairs("authorization", "Bearer "+pair.GetAccessToken()))
	_ = w.call(t.Context(), mine, func(ctx context.Context, opts ...grpc.CallOption) error {
		resp, err := w.auth.CreateAPIKey(ctx, &grpcauthv1.CreateAPIKeyRequest{Name: "ci"}, opts...)
		w.key = resp.GetSecret()
		w.put("messages", fmt.Sprintln("the answer:", resp))
		return err
	})
	good = append(good, metadata.Pairs("x-api-key", w.key))
	w.secrets.add("the secret of an API key", w.key, strings.Split(w.key, "_")[3])
	w.secrets.add("a session id", id)
	w.secrets.add("an access token", canary.Secrets("Bearer "+pair.GetAccessToken())...)
	w.secrets.add("a refresh token", pair.GetRefreshToken(), pair.GetRefreshToken()[len(pair.GetRefreshToken())-30:])

	check := func(ctx context.Context, opts ...grpc.CallOption) error {
		_, err := w.health.Check(ctx, &healthpb.HealthCheckRequest{}, opts...)
		return err
	}
	for i, md := range good {
		if err := w.call(t.Context(), md, check); err != nil {
			t.Fatalf("the good credential %d: %v", i, err)
		}
	}
	if err := w.call(t.Context(), metadata.Pairs("authorization", "Bearer "+opaque), func(ctx context.Context, opts ...grpc.CallOption) error {
		_, err := w.health.List(ctx, &healthpb.HealthListRequest{}, opts...)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	header := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256","kid":"a"}`))
	bad := append([]metadata.MD{
		metadata.Pairs("authorization", basicOf("alice", wrong)), metadata.Pairs("authorization", basicOf(stranger, wrong)), metadata.Pairs("authorization", basicOf("alice", wrong+"\x00")),
		metadata.Pairs("authorization", "Basic "+wrong), metadata.Pairs("authorization", "Bearer "+wrong), metadata.Pairs("authorization", "Bearer "+wrong+"!"), metadata.Pairs("authorization", wrong),
		metadata.Pairs("authorization", wrong, "authorization", "Bearer "+right), metadata.Pairs("authorization", "Bearer "+header+".e30."+wrong), metadata.Pairs("authorization", "Bearer "+wrong+".e30.AAAA"),
		metadata.Pairs("authorization", "Bearer "+pair.GetRefreshToken()), metadata.Pairs("authorization", "Bearer "+pair.GetAccessToken()+"x"), metadata.Pairs("authorization", "Bearer "+id),
		metadata.Pairs(sessionKey, wrong), metadata.Pairs(sessionKey, id, sessionKey, id), metadata.Pairs(sessionKey, w.key), metadata.Pairs(sessionKey, right),
		metadata.Pairs("x-api-key", wrong), metadata.Pairs("x-api-key", w.key[:len(w.key)-1]), metadata.Pairs("x-api-key", id), metadata.Pairs("x-api-key", w.key, "x-api-key", wrong),
		metadata.Pairs("x-api-key", w.key, "authorization", "Bearer "+wrong), metadata.Pairs("cookie", "__Host-session="+wrong), metadata.Pairs("cookie", "__Host-session="+wrong+"; __Host-session="+id),
		metadata.Pairs("x-panic", wrong), metadata.Pairs("authorization", "DPoP "+wrong, "dpop", wrong),
	}, good...)
	for _, down := range []bool{false, true, false} {
		w.store.down.Store(down)
		for _, md := range bad {
			_ = w.call(t.Context(), md, check)
			_ = w.call(t.Context(), md, func(ctx context.Context, opts ...grpc.CallOption) error {
				_, err := w.health.List(ctx, &healthpb.HealthListRequest{}, opts...)
				return err
			})
		}
		login("alice", wrong, 0)
		login(stranger, wrong, 0)
		login(stranger+"\x00", wrong, 0)
		login("alice", right, grpcauthv1.Credential_CREDENTIAL_COOKIE)
		_ = w.call(t.Context(), mine, func(ctx context.Context, opts ...grpc.CallOption) error {
			for _, old := range []string{wrong, right} {
				req := &grpcauthv1.ChangePasswordRequest{OldPassword: old, NewPassword: "short"}
				w.put("messages", fmt.Sprintf("%v %+v", req, req))
				_, err := w.auth.ChangePassword(ctx, req, opts...)
				w.put("refusals", canary.Show(err))
			}
			_, err := w.auth.RevokeAPIKey(ctx, &grpcauthv1.RevokeAPIKeyRequest{Id: w.key}, opts...)
			return err
		})
		for _, refresh := range []string{wrong, pair.GetAccessToken(), pair.GetRefreshToken() + "x", pair.GetRefreshToken(), pair.GetRefreshToken()} {
			_ = w.call(t.Context(), nil, func(ctx context.Context, opts ...grpc.CallOption) error {
				req := &grpcauthv1.RefreshRequest{RefreshToken: refresh, ClientId: "app"}
				resp, err := w.auth.Refresh(ctx, req, opts...)
				if next := resp.GetTokens(); next != nil {
					w.secrets.add("a refresh token", next.GetRefreshToken())
				}
				w.put("messages", fmt.Sprintf("%v %v", req, resp))
				return err
			})
		}
	}
	_ = w.call(t.Context(), mine, func(ctx context.Context, opts ...grpc.CallOption) error {
		resp, err := w.auth.ChangePassword(ctx, &grpcauthv1.ChangePasswordRequest{OldPassword: right, NewPassword: renewed}, opts...)
		w.put("messages", fmt.Sprintln("the answer:", resp))
		w.secrets.add("a session id", resp.GetIssued().GetSessionId())
		return err
	})
	_ = w.call(t.Context(), nil, func(ctx context.Context, opts ...grpc.CallOption) error {
		_, err := w.auth.Logout(ctx, &grpcauthv1.LogoutRequest{RefreshToken: pair.GetRefreshToken()}, opts...)
		return err
	})
}

func basicOf(name, pass string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(name+":"+pass))
}

// search looks for every secret in everything that was written. Each part of the sink must have something in it, or nothing would be proven.
func (w *world) search(t *testing.T) {
	t.Helper()
	var measured metricdata.ResourceMetrics
	if err := w.metrics.Collect(t.Context(), &measured); err != nil {
		t.Fatal(err)
	}
	w.put("metrics", canary.Show(measured))
	w.mu.Lock()
	defer w.mu.Unlock()
	for where, want := range map[string]string{
		"events": "CREDENTIALS_INVALID", "requests": "Request(", "audit log": "error.type", "call log": "grpc.code", "refusals": "CREDENTIALS_MALFORMED", "messages": "alice",
		"events of logins": "alice", "values": "basic.Account", "metrics": "CREDENTIALS_MALFORMED", "store": "session/",
	} {
		if w.written[where] == nil || !strings.Contains(w.written[where].String(), want) {
			t.Errorf("the %s are not connected: no %q in them", where, want)
		}
	}
	found := map[string]bool{}
	for secret, kind := range w.secrets.all {
		for where, text := range w.written {
			if secret == stranger && where == "messages" {
				continue // a name is shown as one
			}
			form := canary.Find(text.String(), secret)
			if what := kind + " as " + form + " in the " + where; form != "" && !found[what] {
				found[what] = true
				i := strings.Index(text.String(), secret)
				t.Errorf("%s: %q …%s…", what, secret, text.String()[max(0, i-200):max(0, min(i+60, text.Len()))])
			}
		}
	}
	if len(w.secrets.all) < 30 {
		t.Errorf("%d secrets were looked for", len(w.secrets.all))
	}
}
