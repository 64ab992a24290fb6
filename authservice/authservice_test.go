// SPDX-License-Identifier: Apache-2.0

package authservice_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/authservice"
	"github.com/grpcauth/grpcauth/backends/apikey"
	"github.com/grpcauth/grpcauth/backends/basic"
	"github.com/grpcauth/grpcauth/backends/jwt"
	"github.com/grpcauth/grpcauth/backends/session"
	"github.com/grpcauth/grpcauth/grpcauthtest"
	"github.com/grpcauth/grpcauth/password"
	grpcauthv1 "github.com/grpcauth/grpcauth/proto/grpcauth/v1"
	"github.com/grpcauth/grpcauth/store"
	"github.com/grpcauth/grpcauth/store/memstore"
	"github.com/grpcauth/grpcauth/token"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	issuerURL = "https://auth.example.com"
	client    = "app"
	idKey     = "x-session-id"
)

var (
	start   = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	errDown = errors.New("the store is down")
)

// faulty is a store that fails when it is told to.
type faulty struct {
	store.Store

	calls atomic.Int64
	fail  atomic.Int64 // the number of the call that fails; 0: none, negative: all
}

func (f *faulty) step() error {
	n, fail := f.calls.Add(1), f.fail.Load()
	if fail < 0 || n == fail {
		return errDown
	}
	return nil
}

func (f *faulty) Get(ctx context.Context, key string) (store.Record, error) {
	if err := f.step(); err != nil {
		return store.Record{}, err
	}
	return f.Store.Get(ctx, key)
}

func (f *faulty) Put(ctx context.Context, rec store.Record) error {
	if err := f.step(); err != nil {
		return err
	}
	return f.Store.Put(ctx, rec)
}

func (f *faulty) Delete(ctx context.Context, key string) error {
	if err := f.step(); err != nil {
		return err
	}
	return f.Store.Delete(ctx, key)
}

func (f *faulty) List(ctx context.Context, owner string) ([]store.Record, error) {
	if err := f.step(); err != nil {
		return nil, err
	}
	return f.Store.List(ctx, owner)
}

// accounts are the application's users, whose passwords are their names with "-password".
type accounts struct {
	mu     sync.Mutex
	byName map[string]basic.Account // guarded by mu, like all below
	err    error
	asked  int
	onAsk  func(n int) // called with mu held
}

func (a *accounts) ByName(_ context.Context, name string) (basic.Account, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked++
	if a.onAsk != nil {
		a.onAsk(a.asked)
	}
	return a.byName[name], a.err
}

func (a *accounts) ByUser(ctx context.Context, user *grpcauth.User) (basic.Account, error) {
	return a.ByName(ctx, user.ID)
}

func (a *accounts) SetPassword(_ context.Context, user *grpcauth.User, old, hash string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	account := a.byName[user.ID]
	if a.err != nil {
		return a.err
	}
	if account.PasswordHash != old {
		return authservice.ErrChanged
	}
	account.PasswordHash = hash
	a.byName[user.ID] = account
	return nil
}

// change changes an account as another request would.
func (a *accounts) change(name string, f func(*basic.Account)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	account := a.byName[name]
	f(&account)
	a.byName[name] = account
}

// site is a server with everything that the service can offer.
type site struct {
	grpcauthv1.AuthServiceClient

	clock    *grpcauthtest.Clock
	hasher   *password.Hasher
	accounts *accounts
	store    *faulty
	sessions *session.Backend
	keys     *apikey.Backend
	server   *authservice.Server

	mu     sync.Mutex
	events []authservice.Event // guarded by mu
}

func (s *site) after(_ context.Context, e authservice.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, e)
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

// newHasher makes hashes that cost next to nothing.
func newHasher(tb testing.TB) *password.Hasher {
	tb.Helper()
	return must(password.New(password.Options{Memory: 64, Time: 1}))(tb)
}

// settings are what a test wants otherwise.
type settings struct {
	options  func(*authservice.Options)
	sessions func(*session.Options)
}

func newSite(tb testing.TB, change ...settings) *site {
	tb.Helper()
	s := &site{clock: grpcauthtest.NewClock(start), hasher: newHasher(tb), accounts: &accounts{byName: map[string]basic.Account{}}}
	for _, name := range []string{"alice", "bob", "eve"} {
		s.accounts.byName[name] = basic.Account{
			User:         &grpcauth.User{ID: name, Scopes: []string{"read", "write"}, Permissions: []string{"orders.*"}},
			PasswordHash: must(s.hasher.Hash(tb.Context(), name+"-password"))(tb), Disabled: name == "eve",
		}
	}
	s.store = &faulty{Store: must(memstore.New(memstore.Options{Now: s.clock.Now}))(tb)}
	sessions := session.Options{Store: s.store, MetadataKey: idKey, Now: s.clock.Now}
	for _, c := range change {
		if c.sessions != nil {
			c.sessions(&sessions)
		}
	}
	s.sessions = must(session.New(sessions))(tb)
	s.keys = must(apikey.New(apikey.Options{Store: s.store, Prefix: "shop_test", FlushEvery: -1, Now: s.clock.Now}))(tb)
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	ring := must(token.NewRing(token.RingOptions{Keys: []token.SigningKey{{ID: "1", Algorithm: "EdDSA", Key: private}}, Now: s.clock.Now}))(tb)
	tokens := &authservice.Tokens{
		Issuer: must(token.New(token.Options{Issuer: issuerURL, Audiences: []string{"shop"}, Ring: ring, Now: s.clock.Now}))(tb),
		Name:   issuerURL, Refresh: token.RefreshOptions{Store: s.store},
	}
	opts := authservice.Options{
		Account: s.accounts.ByName, AccountOf: s.accounts.ByUser, SetPassword: s.accounts.SetPassword, Hasher: s.hasher,
		Sessions: s.sessions, Tokens: tokens, Keys: s.keys, After: s.after, Now: s.clock.Now,
	}
	for _, c := range change {
		if c.options != nil {
			c.options(&opts)
		}
	}
	s.server = must(authservice.New(opts))(tb)
	bearer := must(jwt.New(jwt.Options{Now: s.clock.Now, Issuers: []jwt.Issuer{{
		URL: issuerURL, Audiences: []string{"shop"}, Algorithms: []string{"EdDSA"}, Keys: ring, AccessTokenProfile: true, PermissionsClaim: "permissions",
	}}}))(tb)
	auth := grpcauth.New(grpcauth.Chain(s.sessions, bearer, s.keys), grpcauth.WithPolicy(s.server.Policy()), grpcauth.WithClock(s.clock.Now))
	s.AuthServiceClient = grpcauthv1.NewAuthServiceClient(grpcauthtest.Serve(tb, auth, func(srv grpcauth.Server) {
		grpcauthv1.RegisterAuthServiceServer(srv, s.server)
	}))
	return s
}

// login logs a user in with her own password.
func (s *site) login(tb testing.TB, name string, credential grpcauthv1.Credential) *grpcauthv1.Issued {
	tb.Helper()
	resp, err := s.Login(tb.Context(), loginRequest(name, credential))
	if err != nil {
		tb.Fatal(err)
	}
	return resp.GetIssued()
}

func loginRequest(name string, credential grpcauthv1.Credential) *grpcauthv1.LoginRequest {
	req := &grpcauthv1.LoginRequest{Username: name, Password: name + "-password", Credential: credential, DeviceName: name + "'s phone"}
	if credential == grpcauthv1.Credential_CREDENTIAL_TOKENS {
		req.ClientId = client
	}
	return req
}

// session logs a user in and returns the context of her calls.
func (s *site) session(tb testing.TB, name string) context.Context {
	tb.Helper()
	return withID(tb.Context(), s.login(tb, name, byID).GetSessionId())
}

const (
	byCookie = grpcauthv1.Credential_CREDENTIAL_COOKIE
	byID     = grpcauthv1.Credential_CREDENTIAL_SESSION_ID
	byTokens = grpcauthv1.Credential_CREDENTIAL_TOKENS
)

func withID(ctx context.Context, id string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, idKey, id)
}

func withCookie(ctx context.Context, cookie string) context.Context {
	pair, _, _ := strings.Cut(cookie, ";")
	return metadata.AppendToOutgoingContext(ctx, "cookie", pair)
}

func withTokens(ctx context.Context, tokens *grpcauthv1.Tokens) context.Context {
	return grpcauthtest.WithBearer(ctx, tokens.GetAccessToken())
}

// who is the user of a call, or the code of its refusal.
func (s *site) who(ctx context.Context) string {
	resp, err := s.WhoAmI(ctx, &grpcauthv1.WhoAmIRequest{})
	if err != nil {
		return codeOf(err)
	}
	return resp.GetUser().GetId()
}

// codeOf is the reason of a refusal, or else its gRPC code.
func codeOf(err error) string {
	for _, d := range status.Convert(err).Details() {
		if info, ok := d.(interface{ GetReason() string }); ok {
			return info.GetReason()
		}
	}
	return status.Code(err).String()
}

func expect(tb testing.TB, err error, want string) {
	tb.Helper()
	if got := codeOf(err); got != want {
		tb.Errorf("got %s (%v), want %s", got, err, want)
	}
}

// events are what After was told since the last time, in short.
func (s *site) told() (all []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.events {
		text := e.Kind.String()
		if e.User != nil {
			text += " " + e.User.ID
		}
		if e.Err != nil {
			text += " failed"
		}
		all = append(all, text)
	}
	s.events = nil
	return all
}

func TestLoginGivesWhatWasAskedFor(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for name, test := range map[string]struct {
		credential         grpcauthv1.Credential
		cookie, id, tokens bool
		use                func(*grpcauthv1.Issued, string) context.Context
		method             string
	}{
		"nothing said": {grpcauthv1.Credential_CREDENTIAL_UNSPECIFIED, true, false, false, func(_ *grpcauthv1.Issued, cookie string) context.Context {
			return withCookie(t.Context(), cookie)
		}, "session"},
		"a cookie": {byCookie, true, false, false, func(_ *grpcauthv1.Issued, cookie string) context.Context { return withCookie(t.Context(), cookie) }, "session"},
		"an id":    {byID, false, true, false, func(i *grpcauthv1.Issued, _ string) context.Context { return withID(t.Context(), i.GetSessionId()) }, "session"},
		"tokens":   {byTokens, false, false, true, func(i *grpcauthv1.Issued, _ string) context.Context { return withTokens(t.Context(), i.GetTokens()) }, "jwt"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var header metadata.MD
			resp, err := s.Login(t.Context(), loginRequest("alice", test.credential), grpc.Header(&header))
			if err != nil {
				t.Fatal(err)
			}
			issued, cookie := resp.GetIssued(), strings.Join(header.Get("set-cookie"), "\n")
			if got := cookie != ""; got != test.cookie {
				t.Errorf("a cookie: %t", got)
			}
			if got := issued.GetSessionId() != ""; got != test.id {
				t.Errorf("an id: %t", got)
			}
			if got := issued.GetTokens() != nil; got != test.tokens {
				t.Errorf("tokens: %t", got)
			}
			who, err := s.WhoAmI(test.use(issued, cookie), &grpcauthv1.WhoAmIRequest{})
			if err != nil {
				t.Fatal(err)
			}
			user := who.GetUser()
			if user.GetId() != "alice" || user.GetIssuer() != issuerURL || user.GetMethod() != test.method || !slices.Equal(user.GetScopes(), []string{"read", "write"}) || !slices.Equal(user.GetPermissions(), []string{"orders.*"}) || !user.GetAuthTime().AsTime().Equal(start) {
				t.Errorf("got %v", user)
			}
			if listed := issued.GetSession(); listed.GetHandle() == "" || listed.GetDeviceName() != "alice's phone" || !strings.HasPrefix(listed.GetUserAgent(), "grpc-go/") || listed.GetTokens() != test.tokens {
				t.Errorf("got %v", listed)
			}
		})
	}
}

func TestCookieIsForBrowsersAlone(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	var header metadata.MD
	if _, err := s.Login(t.Context(), loginRequest("alice", byCookie), grpc.Header(&header)); err != nil {
		t.Fatal(err)
	}
	got := header.Get("set-cookie")
	if len(got) != 1 || !strings.HasPrefix(got[0], "__Host-session=") {
		t.Fatalf("got %q", got)
	}
	for _, want := range []string{"Secure", "HttpOnly", "SameSite=", "Path=/"} {
		if !strings.Contains(got[0], want) {
			t.Errorf("the cookie has no %s", want)
		}
	}
}

func TestEveryMethodButThreeNeedsAUser(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for name, call := range calls {
		err := call(t.Context(), s, "")
		switch name {
		case "Login", "Refresh", "Logout":
			if codeOf(err) == "CREDENTIALS_MISSING" && name != "Refresh" {
				t.Errorf("%s: got %v", name, err)
			}
		default:
			if codeOf(err) != "CREDENTIALS_MISSING" || status.Code(err) != codes.Unauthenticated {
				t.Errorf("%s: got %v", name, err)
			}
		}
	}
	if len(calls) != len(grpcauthv1.AuthService_ServiceDesc.Methods) {
		t.Errorf("%d methods are called, and there are %d", len(calls), len(grpcauthv1.AuthService_ServiceDesc.Methods))
	}
}

// calls is a good call of each method, by a caller who is alice; what is the thing that it is about.
var calls = map[string]func(ctx context.Context, s *site, what string) error{
	"Login": func(ctx context.Context, s *site, _ string) error {
		_, err := s.Login(ctx, loginRequest("alice", byID))
		return err
	},
	"Refresh": func(ctx context.Context, s *site, what string) error {
		_, err := s.Refresh(ctx, &grpcauthv1.RefreshRequest{RefreshToken: what, ClientId: client})
		return err
	},
	"Logout": func(ctx context.Context, s *site, _ string) error {
		_, err := s.Logout(ctx, &grpcauthv1.LogoutRequest{})
		return err
	},
	"WhoAmI": func(ctx context.Context, s *site, _ string) error {
		_, err := s.WhoAmI(ctx, &grpcauthv1.WhoAmIRequest{})
		return err
	},
	"ListSessions": func(ctx context.Context, s *site, _ string) error {
		_, err := s.ListSessions(ctx, &grpcauthv1.ListSessionsRequest{})
		return err
	},
	"RevokeSession": func(ctx context.Context, s *site, what string) error {
		_, err := s.RevokeSession(ctx, &grpcauthv1.RevokeSessionRequest{Scope: grpcauthv1.SessionScope_SESSION_SCOPE_ONE, Handle: what})
		return err
	},
	"CreateAPIKey": func(ctx context.Context, s *site, _ string) error {
		_, err := s.CreateAPIKey(ctx, &grpcauthv1.CreateAPIKeyRequest{Name: "ci", Scopes: []string{"read"}})
		return err
	},
	"ListAPIKeys": func(ctx context.Context, s *site, _ string) error {
		_, err := s.ListAPIKeys(ctx, &grpcauthv1.ListAPIKeysRequest{})
		return err
	},
	"RevokeAPIKey": func(ctx context.Context, s *site, what string) error {
		_, err := s.RevokeAPIKey(ctx, &grpcauthv1.RevokeAPIKeyRequest{Id: what})
		return err
	},
	"ChangePassword": func(ctx context.Context, s *site, _ string) error {
		_, err := s.ChangePassword(ctx, changeRequest())
		return err
	},
}

func changeRequest() *grpcauthv1.ChangePasswordRequest {
	return &grpcauthv1.ChangePasswordRequest{OldPassword: "alice-password", NewPassword: "alice's new password", Credential: byID}
}
