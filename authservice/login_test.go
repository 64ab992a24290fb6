// SPDX-License-Identifier: Apache-2.0

package authservice_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/authservice"
	"github.com/grpcauth/grpcauth/backends/basic"
	"github.com/grpcauth/grpcauth/backends/session"
	"github.com/grpcauth/grpcauth/password"
	grpcauthv1 "github.com/grpcauth/grpcauth/proto/grpcauth/v1"
	"github.com/grpcauth/grpcauth/token"
)

// strangers are names and passwords that get one and the same answer, after one and the same work.
var strangers = [][2]string{
	{"alice", "wrong"},
	{"alice", ""},
	{"alice", "alice-password "},
	{"ALICE", "alice-password"},
	{"nobody", "alice-password"},
	{"nobody", ""},
	{"eve", "eve-password"}, // disabled
	{"eve", "wrong"},
	{"hashless", ""},
	{"plain", "plain"},
	{"nobody's", "alice-password"},
	{"refused", "alice-password"}, // by Canonical
	{"barred", "alice-password"},  // by Account
	{"alice", strings.Repeat("x", 1025)},
	{"nobody", strings.Repeat("x", 1025)},
}

func newStrangers(tb testing.TB) *site {
	tb.Helper()
	s := newSite(tb, settings{options: func(o *authservice.Options) {
		o.Canonical = func(name string) (string, error) {
			if name == "refused" {
				return "", errors.New("not a name")
			}
			return name, nil
		}
		find := o.Account
		o.Account = func(ctx context.Context, name string) (basic.Account, error) {
			if name == "barred" {
				return basic.Account{}, grpcauth.Errorf(grpcauth.CodeInvalid, "barred")
			}
			return find(ctx, name)
		}
	}})
	alice := s.accounts.byName["alice"]
	s.accounts.byName["hashless"] = basic.Account{User: &grpcauth.User{ID: "hashless"}}
	s.accounts.byName["plain"] = basic.Account{User: &grpcauth.User{ID: "plain"}, PasswordHash: "plain"}
	s.accounts.byName["nobody's"] = basic.Account{PasswordHash: alice.PasswordHash}
	return s
}

func TestStrangersGetOneAnswer(t *testing.T) {
	t.Parallel()
	s := newStrangers(t)
	var want string
	for _, credential := range []grpcauthv1.Credential{byCookie, byID, byTokens} {
		for _, stranger := range strangers {
			var header, trailer metadata.MD
			req := loginRequest("x", credential)
			req.Username, req.Password = stranger[0], stranger[1]
			before := s.hasher.Computations()
			_, err := s.Login(t.Context(), req, grpc.Header(&header), grpc.Trailer(&trailer))
			got := fmt.Sprint(status.Convert(err).Proto(), header, trailer)
			if want == "" {
				want = got
			}
			if got != want || codeOf(err) != "CREDENTIALS_INVALID" {
				t.Errorf("%.20q: got %s, want %s", stranger, got, want)
			}
			if n := s.hasher.Computations() - before; n != 1 {
				t.Errorf("%.20q: %d hashes were computed, want 1", stranger, n)
			}
		}
	}
}

func TestStrangersGetNoSession(t *testing.T) {
	t.Parallel()
	s := newStrangers(t)
	mine := s.session(t, "alice")
	before := s.store.calls.Load()
	for _, stranger := range strangers {
		var header metadata.MD
		resp, err := s.Login(mine, &grpcauthv1.LoginRequest{Username: stranger[0], Password: stranger[1]}, grpc.Header(&header))
		if err == nil || resp.GetIssued() != nil || len(header.Get("set-cookie")) > 0 {
			t.Errorf("%.20q: got %v, %v", stranger, resp, header)
		}
	}
	if n := s.store.calls.Load() - before; n != 0 {
		t.Errorf("the store was asked %d times", n)
	}
	if got := s.who(mine); got != "alice" {
		t.Errorf("a refused login ended the session that it came with: %s", got)
	}
}

func TestMalformedNameIsRefusedBeforeAnythingIsLookedUp(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for name, pair := range map[string][2]string{
		"no name": {"", "x"}, "NUL in the name": {"a\x00", "x"}, "a line in the name": {"alice\n", "x"}, "a long name": {strings.Repeat("a", 1025), "x"},
		"NUL in the password": {"alice", "alice-password\x00"}, "a tab": {"alice", "\t"}, "a huge password": {"alice", strings.Repeat("x", 8<<10+1)},
	} {
		before := s.hasher.Computations()
		_, err := s.Login(t.Context(), &grpcauthv1.LoginRequest{Username: pair[0], Password: pair[1]})
		if codeOf(err) != "CREDENTIALS_MALFORMED" || s.hasher.Computations() != before {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if s.accounts.asked > 0 {
		t.Error("an account was looked up")
	}
}

func TestRequestThatNobodyCouldMeanIsAnInvalidArgument(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for name, change := range map[string]func(*grpcauthv1.LoginRequest){
		"unknown credential":   func(r *grpcauthv1.LoginRequest) { r.Credential = 99 },
		"negative credential":  func(r *grpcauthv1.LoginRequest) { r.Credential = -1 },
		"tokens for no client": func(r *grpcauthv1.LoginRequest) { r.Credential, r.ClientId = byTokens, "" },
		"client with a space":  func(r *grpcauthv1.LoginRequest) { r.Credential, r.ClientId = byTokens, "a b" },
		"long client":          func(r *grpcauthv1.LoginRequest) { r.Credential, r.ClientId = byTokens, strings.Repeat("a", 129) },
		"session for a client": func(r *grpcauthv1.LoginRequest) { r.ClientId = "a" },
		"session with scopes":  func(r *grpcauthv1.LoginRequest) { r.Scopes = []string{"read"} },
		"empty scope":          func(r *grpcauthv1.LoginRequest) { r.Credential, r.ClientId, r.Scopes = byTokens, "a", []string{""} },
		"many scopes": func(r *grpcauthv1.LoginRequest) {
			r.Credential, r.ClientId, r.Scopes = byTokens, "a", make([]string, 101)
		},
		"long device":        func(r *grpcauthv1.LoginRequest) { r.DeviceName = strings.Repeat("a", 65) },
		"device with a line": func(r *grpcauthv1.LoginRequest) { r.DeviceName = "a\nb" },
	} {
		for _, pass := range []string{"alice-password", "wrong"} { // the password makes no difference
			req := loginRequest("alice", byID)
			req.Password = pass
			change(req)
			before := s.hasher.Computations()
			_, err := s.Login(t.Context(), req)
			if status.Code(err) != codes.InvalidArgument || len(status.Convert(err).Details()) != 1 || s.hasher.Computations() != before {
				t.Errorf("%s: got %v", name, err)
			}
		}
	}
}

func TestOnlyWhatIsOfferedIsGiven(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change settings
		offers []grpcauthv1.Credential
	}{
		"everything":       {settings{}, []grpcauthv1.Credential{byCookie, byID, byTokens}},
		"no tokens":        {settings{options: func(o *authservice.Options) { o.Tokens = nil }}, []grpcauthv1.Credential{byCookie, byID}},
		"no sessions":      {settings{options: func(o *authservice.Options) { o.Sessions = nil }}, []grpcauthv1.Credential{byTokens}},
		"cookies alone":    {settings{sessions: func(o *session.Options) { o.MetadataKey = "" }}, []grpcauthv1.Credential{byCookie, byTokens}},
		"no cookie at all": {settings{sessions: func(o *session.Options) { o.Cookie = "-" }}, []grpcauthv1.Credential{byID, byTokens}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, test.change)
			for _, credential := range []grpcauthv1.Credential{byCookie, byID, byTokens} {
				want := codes.InvalidArgument
				if slices.Contains(test.offers, credential) {
					want = codes.OK
				}
				if _, err := s.Login(t.Context(), loginRequest("alice", credential)); status.Code(err) != want {
					t.Errorf("%v: got %v, want %v", credential, err, want)
				}
			}
		})
	}
}

// The session of before dies even if it is an attacker's, who wants a victim to log in with it.
func TestLoginGivesANewSessionAndEndsTheOldOne(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for _, chosen := range []string{"", "chosen-by-an-attacker-0000000000000000000000"} {
		ctx := s.session(t, "bob")
		if chosen != "" {
			ctx = withID(t.Context(), chosen)
		}
		resp, err := s.Login(ctx, loginRequest("alice", byID))
		if err != nil {
			t.Fatal(err)
		}
		if id := resp.GetIssued().GetSessionId(); id == chosen || s.who(withID(t.Context(), id)) != "alice" {
			t.Errorf("got the session %q", id)
		}
		if got := s.who(ctx); got != "CREDENTIALS_INVALID" && got != "CREDENTIALS_MALFORMED" {
			t.Errorf("the session of before: got %s", got)
		}
	}
}

func TestNamesReachTheApplicationInOneForm(t *testing.T) {
	t.Parallel()
	s := newSite(t, settings{options: func(o *authservice.Options) {
		o.Canonical = func(name string) (string, error) { return strings.ToLower(name), nil }
	}})
	req := loginRequest("alice", byID)
	req.Username = "ALICE"
	if _, err := s.Login(t.Context(), req); err != nil {
		t.Error(err)
	}
}

func TestWeakHashIsReplacedOnce(t *testing.T) {
	t.Parallel()
	for name, fails := range map[string]bool{"written": false, "not written": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var writes int
			s := newSite(t, settings{options: func(o *authservice.Options) {
				set := o.SetPassword
				o.SetPassword = func(ctx context.Context, u *grpcauth.User, old, hash string) error {
					writes++
					if fails {
						return errDown
					}
					return set(ctx, u, old, hash)
				}
			}})
			weak := must(password.New(password.Options{Memory: 32, Time: 1}))(t)
			old := must(weak.Hash(t.Context(), "alice-password"))(t)
			s.accounts.change("alice", func(a *basic.Account) { a.PasswordHash = old })
			s.login(t, "alice", byID)
			s.login(t, "alice", byID)
			if got := s.accounts.byName["alice"].PasswordHash; fails != (got == old) || !fails && writes != 1 {
				t.Errorf("%d writes, and the hash is %s", writes, got)
			}
		})
	}
}

// newBusyHasher returns one that computes a hash at a time, and lets nobody wait.
func newBusyHasher(t *testing.T) *password.Hasher {
	t.Helper()
	return must(password.New(password.Options{Memory: 64, Time: 1, MaxMemory: 64, MaxWait: time.Nanosecond}))(t)
}

// whileBusy runs f while a hasher has no memory left, more than once if need be.
func whileBusy(t *testing.T, hasher *password.Hasher, f func()) {
	t.Helper()
	const heavy = "$argon2id$v=19$m=32768,t=8,p=1$MDEyMzQ1Njc$MDEyMzQ1Njc4OTAxMjM0NQ"
	for {
		before, ended := hasher.Computations(), make(chan struct{})
		go func() {
			defer close(ended)
			_ = hasher.Verify(context.WithoutCancel(t.Context()), heavy, "x")
		}()
		for hasher.Computations() == before {
			runtime.Gosched()
		}
		f()
		select {
		case <-ended: // perhaps before f began
		default:
			<-ended
			return
		}
	}
}

// Also a server with too much to do does not tell a stranger from a user.
func TestBusyHasherThrottlesAllAlike(t *testing.T) {
	t.Parallel()
	busy := newBusyHasher(t)
	s := newSite(t, settings{options: func(o *authservice.Options) { o.Hasher = busy }})
	var answers []string
	whileBusy(t, busy, func() {
		answers = nil
		for _, name := range []string{"alice", "eve", "nobody"} {
			_, err := s.Login(t.Context(), loginRequest(name, byID))
			answers = append(answers, status.Convert(err).Proto().String())
		}
	})
	if answers = slices.Compact(answers); len(answers) != 1 || !strings.Contains(answers[0], "TOO_MANY_ATTEMPTS") {
		t.Errorf("got %q", answers)
	}
}

// Nobody has the credentials of an answer that could not be sent.
func TestLoginThatCannotBeDeliveredIsTakenBack(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	watch := s.session(t, "alice")
	near := peer.NewContext(t.Context(), &peer.Peer{Addr: &net.UnixAddr{Net: "unix"}})
	if _, err := s.server.Login(near, loginRequest("alice", byCookie)); grpcauth.CodeOf(err) != grpcauth.CodeInternal {
		t.Errorf("got %v", err)
	}
	if list, err := s.ListSessions(watch, &grpcauthv1.ListSessionsRequest{}); err != nil || len(list.GetSessions()) != 1 {
		t.Errorf("got %v, %v, want the one session of before", list, err)
	}
}

func TestMethodsNeedAUserThoughThePolicyWasForgotten(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for name, call := range map[string]func(ctx context.Context) error{
		"WhoAmI":         func(ctx context.Context) error { _, err := s.server.WhoAmI(ctx, nil); return err },
		"ListSessions":   func(ctx context.Context) error { _, err := s.server.ListSessions(ctx, nil); return err },
		"ChangePassword": func(ctx context.Context) error { _, err := s.server.ChangePassword(ctx, nil); return err },
		"ListAPIKeys":    func(ctx context.Context) error { _, err := s.server.ListAPIKeys(ctx, nil); return err },
	} {
		if err := call(t.Context()); grpcauth.CodeOf(err) != grpcauth.CodeMissing {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// While a login goes on the password is changed or the account disabled, which ends all logins there are: this one must not be left.
func TestLoginThatAChangeOvertookIsTakenBack(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*basic.Account){
		"password changed": func(a *basic.Account) { a.PasswordHash = strings.Replace(a.PasswordHash, "$m=", "$M=", 1) + "x" },
		"disabled":         func(a *basic.Account) { a.Disabled = true },
		"deleted":          func(a *basic.Account) { *a = basic.Account{} },
	} {
		for _, credential := range []grpcauthv1.Credential{byCookie, byID, byTokens} {
			t.Run(name+"/"+credential.String(), func(t *testing.T) {
				t.Parallel()
				s := newSite(t)
				watch := s.session(t, "alice")
				s.accounts.mu.Lock()
				s.accounts.asked = 0
				s.accounts.onAsk = func(n int) {
					if n == 2 {
						account := s.accounts.byName["alice"]
						change(&account)
						s.accounts.byName["alice"] = account
					}
				}
				s.accounts.mu.Unlock()
				var header metadata.MD
				_, err := s.Login(t.Context(), loginRequest("alice", credential), grpc.Header(&header))
				expect(t, err, "CREDENTIALS_INVALID")
				if len(header.Get("set-cookie")) > 0 {
					t.Error("a cookie was sent")
				}
				list, err := s.ListSessions(watch, &grpcauthv1.ListSessionsRequest{})
				if err != nil || len(list.GetSessions()) != 1 {
					t.Errorf("got %v, %v, want the one session of before", list, err)
				}
			})
		}
	}
}

func TestHundredLoginsAtOnceLeaveAsManyAsTheLimit(t *testing.T) {
	t.Parallel()
	const limit = 5
	for name, refuse := range map[string]bool{"the oldest goes": false, "the new one is refused": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, settings{sessions: func(o *session.Options) { o.MaxPerUser, o.RefuseBeyond = limit, refuse }})
			var mu sync.Mutex
			var ids []string
			var wg sync.WaitGroup
			for range 100 {
				wg.Go(func() {
					resp, err := s.Login(t.Context(), loginRequest("alice", byID))
					if code := status.Code(err); err != nil && code != codes.FailedPrecondition && code != codes.Unavailable && code != codes.ResourceExhausted {
						t.Errorf("got %v", err)
					}
					if err == nil {
						mu.Lock()
						defer mu.Unlock()
						ids = append(ids, resp.GetIssued().GetSessionId())
					}
				})
			}
			wg.Wait()
			live := 0
			for _, id := range ids {
				if s.who(withID(t.Context(), id)) == "alice" {
					live++
				}
			}
			if _, err := s.Login(t.Context(), loginRequest("alice", byID)); refuse && status.Code(err) != codes.FailedPrecondition {
				t.Errorf("one more: got %v", err)
			}
			if live < limit || !refuse && live > limit { // those at once may all be let in, if nobody else is put out
				t.Errorf("%d sessions are live, want %d", live, limit)
			}
		})
	}
}

func TestSecretsAreNotTakenOverPlaintextFromAfar(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	afar := peer.NewContext(t.Context(), &peer.Peer{Addr: &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1}})
	for name, call := range map[string]func(context.Context) error{
		"Login": func(ctx context.Context) error {
			_, err := s.server.Login(ctx, loginRequest("alice", byTokens))
			return err
		},
		"Refresh": func(ctx context.Context) error {
			_, err := s.server.Refresh(ctx, &grpcauthv1.RefreshRequest{RefreshToken: "x", ClientId: client})
			return err
		},
		"Logout": func(ctx context.Context) error {
			_, err := s.server.Logout(ctx, &grpcauthv1.LogoutRequest{RefreshToken: "x"})
			return err
		},
	} {
		before := s.hasher.Computations()
		if err := call(afar); grpcauth.CodeOf(err) != grpcauth.CodeInsecure || s.hasher.Computations() != before {
			t.Errorf("%s: got %v", name, err)
		}
	}
	for name, change := range map[string]func(*authservice.Options){
		"allowed":       func(o *authservice.Options) { o.InsecureAllowPlaintext = true },
		"known private": func(o *authservice.Options) { o.TransportSecurity = func(*peer.Peer) bool { return true } },
	} {
		s := newSite(t, settings{options: change})
		if _, err := s.server.Login(afar, loginRequest("alice", byTokens)); err != nil {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestHookThatPanicsIsInternal(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*authservice.Options){
		"Account": func(o *authservice.Options) {
			o.Account = func(context.Context, string) (basic.Account, error) { panic("canary") }
		},
		"Canonical": func(o *authservice.Options) { o.Canonical = func(string) (string, error) { panic("canary") } },
		"After":     func(o *authservice.Options) { o.After = func(context.Context, authservice.Event) { panic("canary") } },
	} {
		s := newSite(t, settings{options: change})
		_, err := s.Login(t.Context(), loginRequest("alice", byID))
		if codeOf(err) != "AUTHENTICATION_FAILED" || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// Whatever a hook returns, its text stays on the server, and its failure is neither success nor a refusal.
func TestHookThatFailsIsAnOutage(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		err  error
		want string
	}{
		"error":               {errDown, "AUTHENTICATION_UNAVAILABLE"},
		"status":              {status.Error(codes.NotFound, "canary"), "AUTHENTICATION_UNAVAILABLE"},
		"OK inside":           {fmt.Errorf("canary: %w", status.Error(codes.Unauthenticated, "canary")), "AUTHENTICATION_UNAVAILABLE"},
		"refusal":             {grpcauth.Errorf(grpcauth.CodeForbidden, "canary"), "PERMISSION_DENIED"},
		"not mine":            {grpcauth.ErrNoCredentials, "AUTHENTICATION_FAILED"},
		"not mine, wrapped":   {fmt.Errorf("canary: %w", grpcauth.ErrNoCredentials), "AUTHENTICATION_FAILED"},
		"somebody's deadline": {context.DeadlineExceeded, "AUTHENTICATION_UNAVAILABLE"},
	} {
		s := newSite(t)
		s.accounts.err = test.err
		_, err := s.Login(t.Context(), loginRequest("alice", byID))
		if got := codeOf(err); got != test.want || strings.Contains(status.Convert(err).Proto().String(), "canary") {
			t.Errorf("%s: got %v, want %s", name, err, test.want)
		}
	}
}

func TestEventsTellWhatHappened(t *testing.T) {
	t.Parallel()
	s := newStrangers(t)
	s.login(t, "alice", byID)
	for _, stranger := range strangers {
		_, _ = s.Login(t.Context(), &grpcauthv1.LoginRequest{Username: stranger[0], Password: stranger[1]})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.events) != 1+len(strangers) {
		t.Fatalf("got %d events", len(s.events))
	}
	if e := s.events[0]; e.Kind != authservice.LoggedIn || e.User.ID != "alice" || e.Err != nil || e.Handle == "" || !e.User.AuthTime.Equal(start) {
		t.Errorf("got %+v", e)
	}
	for i, e := range s.events[1:] {
		if e.Err == nil || grpcauth.CodeOf(e.Err) != grpcauth.CodeInvalid || e.Handle != "" {
			t.Errorf("%q: got %+v", strangers[i], e)
		}
		if known := e.User != nil; known != slices.Contains([]string{"alice", "eve", "hashless", "plain"}, strangers[i][0]) {
			t.Errorf("%q: got %+v", strangers[i], e)
		}
	}
}

func TestEventsUserIsItsOwn(t *testing.T) {
	t.Parallel()
	s := newSite(t, settings{options: func(o *authservice.Options) {
		o.After = func(_ context.Context, e authservice.Event) { e.User.ID, e.User.Scopes[0] = "root", "admin" }
	}})
	_, _ = s.Login(t.Context(), &grpcauthv1.LoginRequest{Username: "alice", Password: "wrong"})
	resp, err := s.Login(t.Context(), loginRequest("alice", byID))
	if err != nil || resp.GetIssued().GetUser().GetId() != "alice" || resp.GetIssued().GetUser().GetScopes()[0] != "read" {
		t.Errorf("got %v, %v", resp, err)
	}
	if user := s.accounts.byName["alice"].User; user.ID != "alice" || user.Scopes[0] != "read" {
		t.Errorf("the application's user became %+v", user)
	}
}

func TestEventComesThoughTheCallerIsGone(t *testing.T) {
	t.Parallel()
	told := make(chan error, 1)
	s := newSite(t, settings{options: func(o *authservice.Options) {
		o.After = func(ctx context.Context, _ authservice.Event) { told <- ctx.Err() }
	}})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.server.Login(peer.NewContext(ctx, &peer.Peer{Addr: &net.UnixAddr{Net: "unix"}}), loginRequest("alice", byID))
	if err := <-told; err != nil {
		t.Errorf("got %v", err)
	}
	expect(t, err, "Canceled")
}

func TestEventKindsHaveNames(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for k := authservice.LoggedIn; k <= authservice.PasswordChanged; k++ {
		seen[k.String()] = true
	}
	if len(seen) != 8 || authservice.EventKind(0).String() != "EventKind(0)" || authservice.EventKind(99).String() != "EventKind(99)" {
		t.Errorf("got %v", seen)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for want, change := range map[string]func(*authservice.Options){
		"Account is nil":          func(o *authservice.Options) { o.Account = nil },
		"Sessions and Tokens":     func(o *authservice.Options) { o.Sessions = nil },
		"AccountOf is nil":        func(o *authservice.Options) { o.AccountOf = nil },
		"MinPassword is negative": func(o *authservice.Options) { o.MinPassword = -1 },
		"RecentLogin is negative": func(o *authservice.Options) { o.RecentLogin = -time.Second },
		"Tokens.Issuer is nil":    func(o *authservice.Options) { o.Tokens = &authservice.Tokens{Name: "x"} },
		"Tokens.Name is empty":    func(o *authservice.Options) { o.Tokens = &authservice.Tokens{Issuer: &token.Issuer{}} },
		"RefreshOptions.Store":    func(o *authservice.Options) { o.Tokens = &authservice.Tokens{Issuer: &token.Issuer{}, Name: "x"} },
	} {
		opts := authservice.Options{Account: s.accounts.ByName, AccountOf: s.accounts.ByUser, SetPassword: s.accounts.SetPassword, Sessions: s.sessions}
		change(&opts)
		if _, err := authservice.New(opts); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q in it", err, want)
		}
	}
	if got := fmt.Sprintf("%+v", s.server); got != "authservice.Server" {
		t.Errorf("a server is printed as %s", got)
	}
}
