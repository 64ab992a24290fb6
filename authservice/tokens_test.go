// SPDX-License-Identifier: Apache-2.0

package authservice_test

import (
	"context"
	"crypto/x509"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/authservice"
	"github.com/grpcauth/grpcauth/backends/basic"
	"github.com/grpcauth/grpcauth/grpcauthtest"
	grpcauthv1 "github.com/grpcauth/grpcauth/proto/grpcauth/v1"
	"github.com/grpcauth/grpcauth/token"
)

func refreshRequest(tokens *grpcauthv1.Tokens) *grpcauthv1.RefreshRequest {
	return &grpcauthv1.RefreshRequest{RefreshToken: tokens.GetRefreshToken(), ClientId: client}
}

func TestRefreshTokenIsGoodOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	first := s.login(t, "alice", byTokens).GetTokens()
	s.clock.Advance(time.Minute)
	resp, err := s.Refresh(t.Context(), refreshRequest(first))
	if err != nil {
		t.Fatal(err)
	}
	second := resp.GetTokens()
	if second.GetRefreshToken() == first.GetRefreshToken() || second.GetAccessToken() == first.GetAccessToken() || !second.GetAccessExpiry().AsTime().After(first.GetAccessExpiry().AsTime()) {
		t.Error("the second pair is the first")
	}
	who, err := s.WhoAmI(withTokens(t.Context(), second), &grpcauthv1.WhoAmIRequest{})
	if err != nil || !who.GetUser().GetAuthTime().AsTime().Equal(start) {
		t.Errorf("got %v, %v: a refresh is no login", who, err)
	}
	s.told()
	_, err = s.Refresh(t.Context(), refreshRequest(first))
	expect(t, err, "CREDENTIALS_REVOKED")
	if got := s.told(); !slices.Contains(got, "RefreshTokenReused alice") {
		t.Errorf("got the events %q", got)
	}
	_, err = s.Refresh(t.Context(), refreshRequest(second))
	expect(t, err, "CREDENTIALS_REVOKED")
}

func TestTokensAreOnlyGoodWhereTheyBelong(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	tokens := s.login(t, "alice", byTokens).GetTokens()
	_, err := s.Refresh(t.Context(), &grpcauthv1.RefreshRequest{RefreshToken: tokens.GetAccessToken(), ClientId: client})
	expect(t, err, "CREDENTIALS_INVALID")
	for name, ctx := range map[string]context.Context{
		"as a bearer token": grpcauthtest.WithBearer(t.Context(), tokens.GetRefreshToken()),
		"as a session":      withID(t.Context(), tokens.GetRefreshToken()),
		"as an API key":     withKey(t.Context(), tokens.GetRefreshToken()),
	} {
		if _, err := s.WhoAmI(ctx, &grpcauthv1.WhoAmIRequest{}); status.Code(err) != codes.Unauthenticated {
			t.Errorf("a refresh token %s: got %v", name, err)
		}
	}
	if _, err := s.Refresh(t.Context(), refreshRequest(tokens)); err != nil {
		t.Errorf("where it belongs: got %v", err)
	}
}

func TestBadRefreshTokensAreRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	good := s.login(t, "alice", byTokens).GetTokens().GetRefreshToken()
	for name, test := range map[string]struct{ refresh, client, want string }{
		"none":         {"", client, "CREDENTIALS_MISSING"},
		"nonsense":     {"nonsense", client, "CREDENTIALS_INVALID"},
		"cut off":      {good[:len(good)-1], client, "CREDENTIALS_INVALID"},
		"longer":       {good + "A", client, "CREDENTIALS_INVALID"},
		"other case":   {strings.ToUpper(good), client, "CREDENTIALS_INVALID"},
		"huge":         {strings.Repeat("A", 8<<10+1), client, "CREDENTIALS_MALFORMED"},
		"no client":    {good, "", "InvalidArgument"},
		"other client": {good, "other", "CREDENTIALS_INVALID"},
	} {
		_, err := s.Refresh(t.Context(), &grpcauthv1.RefreshRequest{RefreshToken: test.refresh, ClientId: test.client})
		if got := codeOf(err); got != test.want {
			t.Errorf("%s: got %v, want %s", name, err, test.want)
		}
	}
	if _, err := s.Refresh(t.Context(), &grpcauthv1.RefreshRequest{RefreshToken: good, ClientId: client}); err != nil {
		t.Errorf("after all this: got %v", err)
	}
}

func TestRefreshLooksAtTheUserAsSheIsNow(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change func(*basic.Account)
		want   string
	}{
		"nothing":         {func(*basic.Account) {}, "OK"},
		"disabled":        {func(a *basic.Account) { a.Disabled = true }, "CREDENTIALS_REVOKED"},
		"deleted":         {func(a *basic.Account) { *a = basic.Account{} }, "CREDENTIALS_REVOKED"},
		"scope withdrawn": {func(a *basic.Account) { a.User = &grpcauth.User{ID: "alice", Scopes: []string{"read"}} }, "CREDENTIALS_REVOKED"},
		"scope added": {func(a *basic.Account) {
			a.User = &grpcauth.User{ID: "alice", Scopes: []string{"read", "write", "admin"}}
		}, "OK"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			tokens := s.login(t, "alice", byTokens).GetTokens()
			s.accounts.change("alice", test.change)
			resp, err := s.Refresh(t.Context(), refreshRequest(tokens))
			if got := codeOf(err); got != test.want && (test.want != "OK" || err != nil) {
				t.Errorf("got %v, want %s", err, test.want)
			}
			if err == nil && !slices.Equal(resp.GetTokens().GetScopes(), []string{"read", "write"}) {
				t.Errorf("got the scopes %q", resp.GetTokens().GetScopes())
			}
		})
	}
}

// What can fail fails before the refresh token is spent.
func TestRefreshThatFailedCanBeRepeated(t *testing.T) {
	t.Parallel()
	var claims error
	s := newSite(t, settings{options: func(o *authservice.Options) {
		o.Tokens.Claims = func(_ context.Context, u *grpcauth.User, _ string) (token.Claims, error) {
			return token.Claims{Scopes: u.Scopes}, claims
		}
	}})
	tokens := s.login(t, "alice", byTokens).GetTokens()
	claims = errDown
	_, err := s.Refresh(t.Context(), refreshRequest(tokens))
	expect(t, err, "AUTHENTICATION_UNAVAILABLE")
	claims = nil
	s.accounts.err = errDown
	_, err = s.Refresh(t.Context(), refreshRequest(tokens))
	expect(t, err, "AUTHENTICATION_UNAVAILABLE")
	s.accounts.err = nil
	s.store.fail.Store(-1)
	_, err = s.Refresh(t.Context(), refreshRequest(tokens))
	expect(t, err, "AUTHENTICATION_UNAVAILABLE")
	s.store.fail.Store(0)
	if _, err := s.Refresh(t.Context(), refreshRequest(tokens)); err != nil {
		t.Errorf("got %v", err)
	}
}

func TestHundredRefreshesAtOnceHaveOneWinner(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	tokens := s.login(t, "alice", byTokens).GetTokens()
	var wg sync.WaitGroup
	var mu sync.Mutex
	wins := 0
	for range 100 {
		wg.Go(func() {
			_, err := s.Refresh(t.Context(), refreshRequest(tokens))
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				wins++
			case status.Code(err) != codes.Unauthenticated && status.Code(err) != codes.Unavailable:
				t.Errorf("got %v", err)
			}
		})
	}
	wg.Wait()
	if wins != 1 {
		t.Errorf("%d refreshes were successful", wins)
	}
}

func TestTokenHasTheScopesThatWereAskedFor(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	req := loginRequest("alice", byTokens)
	req.Scopes = []string{"read"}
	resp, err := s.Login(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	next, err := s.Refresh(t.Context(), refreshRequest(resp.GetIssued().GetTokens()))
	if err != nil {
		t.Fatal(err)
	}
	for _, tokens := range []*grpcauthv1.Tokens{resp.GetIssued().GetTokens(), next.GetTokens()} {
		who, err := s.WhoAmI(withTokens(t.Context(), tokens), &grpcauthv1.WhoAmIRequest{})
		if err != nil || !slices.Equal(who.GetUser().GetScopes(), req.GetScopes()) || !slices.Equal(tokens.GetScopes(), req.GetScopes()) {
			t.Errorf("got %v, %v", who, err)
		}
	}
	req.Scopes = []string{"read", "admin"}
	_, err = s.Login(t.Context(), req)
	expect(t, err, "PERMISSION_DENIED")
}

func TestClaimsCannotSayWhatIsTheServicesToSay(t *testing.T) {
	t.Parallel()
	s := newSite(t, settings{options: func(o *authservice.Options) {
		o.Tokens.Claims = func(context.Context, *grpcauth.User, string) (token.Claims, error) {
			return token.Claims{
				Subject: "root", ClientID: "other", AuthTime: start.Add(time.Hour), ACR: "high", CertSHA256: "x", Scopes: []string{"read"},
				Extra: map[string]any{"team": "red"}, Family: "another's", NotAfter: start.Add(time.Second),
			}, nil
		}
	}})
	issued := s.login(t, "alice", byTokens)
	ctx := withTokens(t.Context(), issued.GetTokens())
	who, err := s.WhoAmI(ctx, &grpcauthv1.WhoAmIRequest{})
	if err != nil || who.GetUser().GetId() != "alice" || who.GetUser().GetAcr() != "" || !who.GetUser().GetAuthTime().AsTime().Equal(start) {
		t.Errorf("got %v, %v", who, err)
	}
	list, err := s.ListSessions(ctx, &grpcauthv1.ListSessionsRequest{})
	if err != nil || len(list.GetSessions()) != 1 || !list.GetSessions()[0].GetCurrent() || list.GetSessions()[0].GetHandle() != issued.GetSession().GetHandle() || list.GetSessions()[0].GetClientId() != client {
		t.Errorf("got %v, %v", list, err)
	}
}

// A login whose access token cannot be signed leaves nothing behind.
func TestTokensThatCannotBeMadeAreTakenBack(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change func(*authservice.Tokens)
		want   string
	}{
		"claim of the issuer's": {func(o *authservice.Tokens) {
			o.Claims = func(context.Context, *grpcauth.User, string) (token.Claims, error) {
				return token.Claims{Extra: map[string]any{"sub": "root"}}, nil
			}
		}, "AUTHENTICATION_UNAVAILABLE"},
		"another issuer": {func(o *authservice.Tokens) { o.Name = "https://other.example.com" }, "AUTHENTICATION_FAILED"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, settings{options: func(o *authservice.Options) { test.change(o.Tokens) }})
			watch := s.session(t, "alice")
			_, err := s.Login(t.Context(), loginRequest("alice", byTokens))
			expect(t, err, test.want)
			if list, err := s.ListSessions(watch, &grpcauthv1.ListSessionsRequest{}); err != nil || len(list.GetSessions()) != 1 {
				t.Errorf("got %v, %v, want the one session of before", list, err)
			}
		})
	}
}

func TestTokensAreForUsersOfTheirIssuer(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.accounts.change("alice", func(a *basic.Account) { a.User = &grpcauth.User{ID: "alice", Issuer: "https://idp.example.org"} })
	_, err := s.Login(t.Context(), loginRequest("alice", byTokens))
	expect(t, err, "AUTHENTICATION_FAILED")
	s.login(t, "alice", byID)
}

func TestTokensAreBoundToTheCertificateOfTheLogin(t *testing.T) {
	t.Parallel()
	for name, bind := range map[string]bool{"bound": true, "not bound": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, settings{options: func(o *authservice.Options) { o.Tokens.BindCertificate = bind }})
			ca := grpcauthtest.NewCA(t)
			auth := grpcauth.New(s.sessions, grpcauth.WithPolicy(s.server.Policy()), grpcauth.WithClock(s.clock.Now))
			dial := func() grpcauthv1.AuthServiceClient {
				srv := grpc.NewServer(append(auth.ServerOptions(), grpc.Creds(credentials.NewTLS(ca.ServerTLS())))...)
				grpcauthv1.RegisterAuthServiceServer(srv, s.server)
				return grpcauthv1.NewAuthServiceClient(grpcauthtest.Dial(t, srv, credentials.NewTLS(ca.ClientTLS(ca.Issue(x509.Certificate{})))))
			}
			mine, thief := dial(), dial()
			login, err := mine.Login(t.Context(), loginRequest("alice", byTokens))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := thief.Refresh(t.Context(), refreshRequest(login.GetIssued().GetTokens())); (codeOf(err) == "CREDENTIALS_INVALID") != bind {
				t.Errorf("with another certificate: got %v", err)
			}
			if !bind {
				return
			}
			if _, err := s.Refresh(t.Context(), refreshRequest(login.GetIssued().GetTokens())); codeOf(err) != "CREDENTIALS_INVALID" {
				t.Errorf("without a certificate: got %v", err)
			}
			next, err := mine.Refresh(t.Context(), refreshRequest(login.GetIssued().GetTokens()))
			if err != nil {
				t.Fatal(err)
			}
			for _, tokens := range []*grpcauthv1.Tokens{login.GetIssued().GetTokens(), next.GetTokens()} {
				if got := s.who(withTokens(t.Context(), tokens)); got == "alice" {
					t.Error("the access token is good without the certificate")
				}
			}
		})
	}
}
