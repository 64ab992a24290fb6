// SPDX-License-Identifier: Apache-2.0

package canary_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"maps"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"

	"github.com/grpcauth/grpcauth/clientauth"
	echov1 "github.com/grpcauth/grpcauth/internal/gen/echo/v1"
	grpcauthv1 "github.com/grpcauth/grpcauth/proto/grpcauth/v1"
	"github.com/grpcauth/grpcauth/token"
)

// login is what somebody was given.
type login struct {
	session, cookie, access, refresh, family string
}

// call makes a call and keeps what its caller is told.
func (w *site) call(ctx context.Context, md metadata.MD, do func(ctx context.Context, opts ...grpc.CallOption) error) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	var header, trailer metadata.MD
	err := do(metadata.NewOutgoingContext(ctx, md), grpc.Header(&header), grpc.Trailer(&trailer))
	w.answer(err, header, trailer)
	return err
}

// ways are calls of methods with different rules.
var ways = map[string]func(conn *grpc.ClientConn, text string) func(ctx context.Context, opts ...grpc.CallOption) error{
	"Echo": func(conn *grpc.ClientConn, text string) func(context.Context, ...grpc.CallOption) error {
		return func(ctx context.Context, opts ...grpc.CallOption) error {
			_, err := echov1.NewEchoServiceClient(conn).Echo(ctx, &echov1.EchoRequest{Text: text}, opts...)
			return err
		}
	},
	"Expand": func(conn *grpc.ClientConn, text string) func(context.Context, ...grpc.CallOption) error {
		return func(ctx context.Context, opts ...grpc.CallOption) error {
			stream, err := echov1.NewEchoServiceClient(conn).Expand(ctx, &echov1.ExpandRequest{Text: text}, opts...)
			if err == nil {
				_, err = stream.Recv()
			}
			return err
		}
	},
	"Collect": func(conn *grpc.ClientConn, text string) func(context.Context, ...grpc.CallOption) error {
		return func(ctx context.Context, opts ...grpc.CallOption) error {
			stream, err := echov1.NewEchoServiceClient(conn).Collect(ctx, opts...)
			if err != nil {
				return err
			}
			_ = stream.Send(&echov1.CollectRequest{Text: text})
			_, err = stream.CloseAndRecv()
			return err
		}
	},
	"Converse": func(conn *grpc.ClientConn, _ string) func(context.Context, ...grpc.CallOption) error {
		return func(ctx context.Context, opts ...grpc.CallOption) error {
			stream, err := echov1.NewEchoServiceClient(conn).Converse(ctx, opts...)
			if err == nil {
				_, err = stream.Recv()
			}
			return err
		}
	},
	"Check": func(conn *grpc.ClientConn, _ string) func(context.Context, ...grpc.CallOption) error {
		return func(ctx context.Context, opts ...grpc.CallOption) error {
			_, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{}, opts...)
			return err
		}
	},
	"List": func(conn *grpc.ClientConn, _ string) func(context.Context, ...grpc.CallOption) error {
		return func(ctx context.Context, opts ...grpc.CallOption) error {
			_, err := healthpb.NewHealthClient(conn).List(ctx, &healthpb.HealthListRequest{}, opts...)
			return err
		}
	},
	"WhoAmI": func(conn *grpc.ClientConn, _ string) func(context.Context, ...grpc.CallOption) error {
		return func(ctx context.Context, opts ...grpc.CallOption) error {
			auth := grpcauthv1.NewAuthServiceClient(conn)
			_, err := auth.WhoAmI(ctx, &grpcauthv1.WhoAmIRequest{}, opts...)
			_, _ = auth.ListSessions(ctx, &grpcauthv1.ListSessionsRequest{})
			_, _ = auth.ListAPIKeys(ctx, &grpcauthv1.ListAPIKeysRequest{})
			return err
		}
	},
}

// login logs in over a connection, with what the call carries already.
func (w *site) login(ctx context.Context, conn *grpc.ClientConn, md metadata.MD, req *grpcauthv1.LoginRequest) (login, error) {
	var l login
	if req.GetCredential() == grpcauthv1.Credential_CREDENTIAL_TOKENS {
		req.ClientId = "app"
	}
	var header metadata.MD
	err := w.call(ctx, md, func(ctx context.Context, opts ...grpc.CallOption) error {
		resp, err := grpcauthv1.NewAuthServiceClient(conn).Login(ctx, req, append(opts, grpc.Header(&header))...)
		tokens := resp.GetIssued().GetTokens()
		l = login{session: resp.GetIssued().GetSessionId(), access: tokens.GetAccessToken(), refresh: tokens.GetRefreshToken(), family: resp.GetIssued().GetSession().GetHandle()}
		return err
	})
	if cookies := header["set-cookie"]; len(cookies) == 1 {
		l.cookie, _, _ = strings.Cut(cookies[0], ";")
	}
	return l, err
}

func (w *site) mustLogin(t *testing.T, conn *grpc.ClientConn, credential grpcauthv1.Credential) login {
	t.Helper()
	l, err := w.login(t.Context(), conn, nil, &grpcauthv1.LoginRequest{Username: "alice", Password: w.password, Credential: credential, DeviceName: "a device"})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func basicOf(name, pass string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(name+":"+pass))
}

func pairs(kv ...string) metadata.MD { return metadata.Pairs(kv...) }

// signed is a token of the shared secret.
func (w *site) signed(t *testing.T, header, claims map[string]any) string {
	t.Helper()
	now := time.Now().Unix()
	all := map[string]any{"iss": sharedURL, "aud": audience, "sub": "alice", "iat": now, "exp": now + 600, "scope": "read"}
	maps.Copy(all, claims)
	if header == nil {
		header = map[string]any{"alg": "HS256", "kid": "a", "typ": "JWT"}
	}
	text := base64.RawURLEncoding.EncodeToString(must(json.Marshal(header))(t)) + "." + base64.RawURLEncoding.EncodeToString(must(json.Marshal(all))(t))
	return text + "." + base64.RawURLEncoding.EncodeToString(mac(w.hmac, text))
}

// caller has credentials of every kind.
type caller struct {
	header, cookie, tokens, bound login
	key, jkt                      string
	dpop                          *clientauth.DPoP
	good                          map[string]*credential
}

// credential is one that lets its caller in.
type credential struct {
	conn *grpc.ClientConn
	md   metadata.MD
	way  string // Echo unless it is another
}

// enter gets credentials of every kind. Each lets its caller in.
func (w *site) enter(t *testing.T) *caller {
	t.Helper()
	c := &caller{
		header: w.mustLogin(t, w.plain, grpcauthv1.Credential_CREDENTIAL_SESSION_ID), cookie: w.mustLogin(t, w.plain, grpcauthv1.Credential_CREDENTIAL_COOKIE),
		tokens: w.mustLogin(t, w.plain, grpcauthv1.Credential_CREDENTIAL_TOKENS), bound: w.mustLogin(t, w.mutual, grpcauthv1.Credential_CREDENTIAL_TOKENS),
	}
	if err := w.call(t.Context(), pairs(sessionKey, c.header.session), func(ctx context.Context, opts ...grpc.CallOption) error {
		resp, err := grpcauthv1.NewAuthServiceClient(w.plain).CreateAPIKey(ctx, &grpcauthv1.CreateAPIKeyRequest{Name: "ci", Scopes: []string{"read"}}, opts...)
		c.key = resp.GetSecret()
		return err
	}); err != nil {
		t.Fatal(err)
	}
	c.good = map[string]*credential{
		"basic":              {w.plain, pairs("authorization", basicOf("alice", w.password)), "Echo"},
		"a session":          {w.plain, pairs(sessionKey, c.header.session), "Echo"},
		"a cookie":           {w.plain, pairs("cookie", c.cookie.cookie), "Echo"},
		"an access token":    {w.plain, pairs("authorization", "Bearer "+c.tokens.access), "Echo"},
		"a bound token":      {w.mutual, pairs("authorization", "Bearer "+c.bound.access), "Echo"},
		"both":               {w.mutual, pairs("authorization", "Bearer "+c.bound.access), "Collect"},
		"a shared secret":    {w.plain, pairs("authorization", "Bearer "+w.signed(t, nil, nil)), "Echo"},
		"a provider":         {w.plain, pairs("authorization", "Bearer "+w.provider.issuer.Token("RS256", "alice", nil)), "Echo"},
		"an opaque token":    {w.plain, pairs("authorization", "Bearer "+w.provider.good), "Expand"},
		"an API key":         {w.plain, pairs("x-api-key", c.key), "Echo"},
		"a certificate":      {w.mutual, nil, "Echo"},
		"nothing, optional":  {w.plain, nil, "Check"},
		"forwarded, perhaps": {w.plain, pairs("authorization", basicOf("alice", w.password), "x-forwarded-for", "192.0.2.1, "+w.wrong), "Echo"},
	}
	for name, g := range c.good {
		if err := w.call(t.Context(), g.md, ways[g.way](g.conn, "hello")); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	w.possess(t, c)
	return c
}

// possess gets a token that is bound to a key, and calls with proofs of it.
func (w *site) possess(t *testing.T, c *caller) {
	t.Helper()
	source := clientauth.SourceFunc(func(ctx context.Context) (clientauth.Token, error) {
		text, signed, err := w.tokens.Sign(ctx, token.Claims{Subject: "alice", ClientID: "app", Scopes: []string{"read"}, JKT: c.jkt})
		w.show("values", signed, clientauth.Token{Value: text})
		w.book.credential("a token of the issuer", text)
		return clientauth.Token{Value: text, Expiry: signed.Expiry}, err
	})
	refreshing := must(clientauth.NewRefreshing(source, clientauth.Options{}))(t)
	c.dpop = must(clientauth.NewDPoP(w.key, refreshing, clientauth.Options{}))(t)
	c.jkt = c.dpop.Thumbprint()
	w.values = append(w.values, refreshing, c.dpop, must(clientauth.Basic("alice", w.password, clientauth.Options{}))(t),
		must(clientauth.Bearer(w.wrong, clientauth.Options{}))(t), must(clientauth.APIKey("x-api-key", c.key, clientauth.Options{}))(t))
	invoke := func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, opts ...grpc.CallOption) error {
		return cc.Invoke(ctx, method, req, reply, append(opts, grpc.PerRPCCredentials(c.dpop))...)
	}
	for range 2 {
		if err := w.call(t.Context(), nil, func(ctx context.Context, opts ...grpc.CallOption) error {
			return c.dpop.Unary()(ctx, echov1.EchoService_Echo_FullMethodName, &echov1.EchoRequest{}, &echov1.EchoResponse{}, w.plain, invoke, opts...)
		}); err != nil {
			t.Errorf("a proof: %v", err)
		}
	}
}

// bad are calls that nobody should be let in for, but for the order in which they come to be: some are good while the store is up.
func (w *site) bad(t *testing.T, c *caller) []metadata.MD {
	t.Helper()
	header := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256","kid":"a"}`))
	proof := func(method, target, tok, nonce string) string {
		return must(c.dpop.Proof(method, target, tok, nonce))(t)
	}
	stolen := must(clientauth.NewDPoP(w.newKey(t, "the key of a thief"), clientauth.SourceFunc(nil), clientauth.Options{}))(t)
	const target = origin + echov1.EchoService_Echo_FullMethodName
	dpopBound, _, err := w.tokens.Sign(t.Context(), token.Claims{Subject: "alice", ClientID: "app", JKT: c.jkt})
	if err != nil {
		t.Fatal(err)
	}
	bearer := func(text string) metadata.MD { return pairs("authorization", "Bearer "+text) }
	list := []metadata.MD{
		bearer(w.wrong), bearer(w.wrong + "!"), bearer(w.wrong + "\x7f"), bearer(w.password), bearer(header + ".e30." + w.wrong), bearer(w.wrong + ".e30.AAAA"), bearer(header + "." + w.wrong + ".AAAA"),
		bearer(strings.Repeat(w.wrong, 1000)), bearer(c.tokens.refresh), bearer(c.tokens.access + "x"), bearer(c.tokens.access[:len(c.tokens.access)-3]), bearer(c.header.session), bearer(c.bound.access), bearer(c.key),
		bearer(w.signed(t, nil, map[string]any{"exp": time.Now().Unix() - 60})), bearer(w.signed(t, nil, map[string]any{"aud": w.wrong})), bearer(w.signed(t, nil, map[string]any{"sub": 1})),
		bearer(w.signed(t, nil, map[string]any{"nbf": time.Now().Unix() + 600})), bearer(w.signed(t, map[string]any{"alg": "none"}, nil)), bearer(w.signed(t, map[string]any{"alg": w.wrong}, nil)),
		bearer(w.signed(t, map[string]any{"alg": "HS256", "kid": w.wrong}, nil)), bearer(w.signed(t, map[string]any{"alg": "HS256", "kid": "a", "crit": []string{w.wrong}}, nil)),
		bearer(w.signed(t, map[string]any{"alg": "HS256", "kid": "a", "typ": w.wrong}, nil)), bearer(w.signed(t, nil, map[string]any{"iss": w.wrong})), bearer(w.signed(t, nil, map[string]any{w.wrong: 1, strings.ToUpper(w.wrong): 2})),
		bearer(w.provider.issuer.Token("ES256", "alice", nil)), bearer(w.provider.issuer.Token("RS256", "alice", map[string]any{"exp": 1})), bearer(w.provider.issuer.Token("RS256", "alice", nil)[:200]),
		pairs("authorization", "Basic "+w.wrong), pairs("authorization", w.wrong), pairs("authorization", w.wrong, "authorization", "Bearer "+w.password), pairs("authorization", ""), pairs("authorization", "Digest "+w.wrong),
		pairs("authorization", basicOf("alice", w.wrong)), pairs("authorization", basicOf("alice", w.wrong+"\x00")), pairs("authorization", basicOf("alice", strings.Repeat(w.wrong, 200))), pairs("authorization", basicOf(w.stranger, w.wrong)),
		pairs("authorization", basicOf(w.password, "alice")), pairs("authorization", basicOf("", w.wrong)), pairs("authorization", basicOf("alice", "")), pairs("authorization", basicOf("disabled", w.password)),
		pairs("authorization", basicOf("corrupt", w.password)), pairs("authorization", basicOf("broken", w.password)), pairs("authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(w.password))),
		pairs("authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte("\xff"+w.wrong+":"+w.password))),
		pairs(sessionKey, w.wrong), pairs(sessionKey, c.header.session, sessionKey, c.header.session), pairs(sessionKey, c.key), pairs(sessionKey, w.password), pairs(sessionKey, strings.Repeat("A", 32)), pairs(sessionKey, c.tokens.refresh),
		pairs("cookie", "__Host-session="+w.wrong), pairs("cookie", "__Host-session="+w.wrong+"; "+c.cookie.cookie), pairs("cookie", c.cookie.cookie, sessionKey, c.header.session), pairs("cookie", c.cookie.cookie+"; a="+strings.Repeat(w.wrong, 1000)),
		pairs("cookie", "__Host-session="+c.tokens.access), pairs("cookie", "__Host-session=\""+w.wrong+"\""),
		pairs("x-api-key", w.wrong), pairs("x-api-key", c.key[:len(c.key)-1]), pairs("x-api-key", c.key[:len(c.key)-1]+"!"), pairs("x-api-key", c.header.session), pairs("x-api-key", c.tokens.access), pairs("x-api-key", c.key, "x-api-key", w.wrong),
		pairs("x-api-key", strings.Replace(c.key, "canary_test", "canary_live", 1)), pairs("x-api-key", c.key, "authorization", "Bearer "+w.wrong), pairs("x-api-key", w.password),
		pairs("authorization", "DPoP "+w.wrong, "dpop", w.wrong), pairs("authorization", "DPoP "+dpopBound), pairs("authorization", "DPoP "+dpopBound, "dpop", w.wrong+".e30.AAAA"),
		pairs("authorization", "DPoP "+dpopBound, "dpop", proof("POST", target, dpopBound, "")), pairs("authorization", "DPoP "+dpopBound, "dpop", proof("GET", target, dpopBound, w.wrong)),
		pairs("authorization", "DPoP "+dpopBound, "dpop", proof("POST", origin+"/"+w.wrong, dpopBound, "")), pairs("authorization", "DPoP "+dpopBound, "dpop", must(stolen.Proof("POST", target, dpopBound, ""))(t)),
		pairs("authorization", "Bearer "+dpopBound, "dpop", proof("POST", target, dpopBound, "")), pairs("authorization", "DPoP "+c.tokens.access, "dpop", proof("POST", target, c.tokens.access, "")),
		pairs("x-panic", w.wrong), pairs("x-panic", w.wrong+"1"), pairs("x-panic", w.wrong+"12"), pairs("x-misplaced", w.wrong),
		pairs("authorization", basicOf("alice", w.password), "x-load", "panic"), pairs("authorization", basicOf("alice", w.password), "x-load", "fail"), pairs("authorization", basicOf("alice", w.password), "x-observe", "panic"),
		pairs("authorization", basicOf("alice", w.wrong), "x-observe", "panic"), pairs("x-forwarded-for", w.wrong+", 192.0.2.1", "authorization", "Bearer "+w.wrong), nil,
	}
	for _, g := range c.good {
		list = append(list, g.md)
	}
	return list
}

// try makes all calls that ought to fail, and some that ought not, each at that many methods.
func (w *site) try(t *testing.T, c *caller, methods int) {
	t.Helper()
	for i, md := range w.bad(t, c) {
		all := []string{"Echo", "Expand", []string{"Check", "Collect", "Converse", "List", "WhoAmI"}[i%5]}
		for _, name := range all[:methods] {
			conn := w.plain
			if i%3 == 0 || name == "Collect" {
				conn = w.mutual
			}
			_ = w.call(t.Context(), md, ways[name](conn, []string{"hello", "panic", "refuse"}[i%3]))
		}
	}
	for _, l := range []*grpcauthv1.LoginRequest{
		{Username: "alice", Password: w.wrong},
		{Username: w.stranger, Password: w.wrong},
		{Username: w.stranger + "\x00", Password: w.wrong},
		{Username: w.password, Password: "alice"},
		{Username: "alice", Password: w.wrong + "\x00"},
		{Username: "alice", Password: strings.Repeat(w.wrong, 500)},
		{Username: "disabled", Password: w.password},
		{Username: "corrupt", Password: w.password},
		{Username: "broken", Password: w.password},
		{Username: "", Password: w.password},
		{Username: "alice", Password: w.password, Credential: 77},
		{Username: "alice", Password: w.password, Credential: grpcauthv1.Credential_CREDENTIAL_TOKENS, Scopes: []string{"write"}},
		{Username: "alice", Password: c.tokens.refresh},
		{Username: c.key, Password: c.key},
		{Username: "alice", Password: w.password},
	} {
		_, _ = w.login(t.Context(), w.plain, pairs(sessionKey, w.wrong), l)
	}
	auth := grpcauthv1.NewAuthServiceClient(w.plain)
	mine := pairs(sessionKey, c.header.session)
	for _, do := range []func(context.Context, ...grpc.CallOption) error{
		func(ctx context.Context, opts ...grpc.CallOption) error {
			_, err := auth.ChangePassword(ctx, &grpcauthv1.ChangePasswordRequest{OldPassword: w.wrong, NewPassword: w.renewed}, opts...)
			return err
		},
		func(ctx context.Context, opts ...grpc.CallOption) error {
			_, err := auth.ChangePassword(ctx, &grpcauthv1.ChangePasswordRequest{OldPassword: w.password, NewPassword: w.password}, opts...)
			return err
		},
		func(ctx context.Context, opts ...grpc.CallOption) error {
			_, err := auth.ChangePassword(ctx, &grpcauthv1.ChangePasswordRequest{OldPassword: w.password, NewPassword: w.renewed + "\x00"}, opts...)
			return err
		},
		func(ctx context.Context, opts ...grpc.CallOption) error {
			_, err := auth.RevokeAPIKey(ctx, &grpcauthv1.RevokeAPIKeyRequest{Id: c.key}, opts...)
			return err
		},
		func(ctx context.Context, opts ...grpc.CallOption) error {
			_, err := auth.RevokeSession(ctx, &grpcauthv1.RevokeSessionRequest{Scope: grpcauthv1.SessionScope_SESSION_SCOPE_ONE, Handle: strings.TrimPrefix(c.cookie.cookie, "__Host-session=")}, opts...)
			return err
		},
	} {
		_ = w.call(t.Context(), mine, do)
	}
	for _, text := range []string{w.wrong, c.tokens.access, c.tokens.refresh + "x", c.tokens.refresh[:len(c.tokens.refresh)-1], c.bound.refresh, c.header.session, c.tokens.family + "." + w.wrong, strings.Repeat(w.wrong, 1000)} {
		for _, client := range []string{"app", "another", ""} {
			_ = w.call(t.Context(), nil, func(ctx context.Context, opts ...grpc.CallOption) error {
				_, err := auth.Refresh(ctx, &grpcauthv1.RefreshRequest{RefreshToken: text, ClientId: client}, opts...)
				return err
			})
		}
		_ = w.call(t.Context(), pairs("cookie", "__Host-session="+w.wrong), func(ctx context.Context, opts ...grpc.CallOption) error {
			if text == c.bound.refresh {
				return nil
			}
			_, err := auth.Logout(ctx, &grpcauthv1.LogoutRequest{RefreshToken: text}, opts...)
			return err
		})
	}
}

// ask has the provider give every answer it can, to each way of asking it.
func (w *site) ask(t *testing.T) {
	t.Helper()
	for first := true; first || !w.provider.next(); first = false {
		_ = w.call(t.Context(), pairs("authorization", "Bearer "+w.book.mark("asked")), ways["Expand"](w.plain, "hello"))
		for _, v := range w.verifiers(t) {
			asked := w.book.mark("asked")
			_, err := v.Verify(t.Context(), asked)
			if err == nil {
				t.Error("a token that nobody knows was accepted")
			}
			w.show("errors of introspection", err)
		}
	}
}

// leave ends all logins, in every way there is.
func (w *site) leave(t *testing.T, c *caller) {
	t.Helper()
	auth := grpcauthv1.NewAuthServiceClient(w.plain)
	refresh := func(text string) (next string, err error) {
		err = w.call(t.Context(), nil, func(ctx context.Context, opts ...grpc.CallOption) error {
			resp, err := auth.Refresh(ctx, &grpcauthv1.RefreshRequest{RefreshToken: text, ClientId: "app"}, opts...)
			next = resp.GetTokens().GetRefreshToken()
			return err
		})
		return next, err
	}
	second, err := refresh(c.tokens.refresh)
	if err != nil {
		t.Error(err)
	}
	for _, used := range []string{c.tokens.refresh, c.tokens.refresh, second} {
		if _, err := refresh(used); err == nil {
			t.Error("a used refresh token was taken")
		}
	}
	_ = w.call(t.Context(), pairs("authorization", "Bearer "+c.tokens.access), ways["Echo"](w.plain, "revoked"))
	for range 45 {
		_, _ = w.login(t.Context(), w.plain, nil, &grpcauthv1.LoginRequest{Username: w.stranger, Password: w.wrong})
	}
	other := w.mustLogin(t, w.plain, grpcauthv1.Credential_CREDENTIAL_TOKENS)
	var renewed login
	if err := w.call(t.Context(), pairs(sessionKey, c.header.session), func(ctx context.Context, opts ...grpc.CallOption) error {
		resp, err := auth.ChangePassword(ctx, &grpcauthv1.ChangePasswordRequest{OldPassword: w.password, NewPassword: w.renewed}, opts...)
		renewed.session = resp.GetIssued().GetSessionId()
		return err
	}); err != nil {
		t.Error(err)
	}
	if _, err := refresh(other.refresh); err == nil {
		t.Error("a login outlived the password")
	}
	for _, do := range []func(context.Context, ...grpc.CallOption) error{
		func(ctx context.Context, opts ...grpc.CallOption) error {
			id, _, _ := strings.Cut(strings.TrimPrefix(c.key, "canary_test_"), "_")
			_, err := auth.RevokeAPIKey(ctx, &grpcauthv1.RevokeAPIKeyRequest{Id: id}, opts...)
			return err
		},
		func(ctx context.Context, opts ...grpc.CallOption) error {
			_, err := auth.Logout(ctx, &grpcauthv1.LogoutRequest{}, opts...)
			return err
		},
	} {
		if err := w.call(t.Context(), pairs(sessionKey, renewed.session), do); err != nil {
			t.Error(err)
		}
	}
	for name, g := range c.good {
		_ = w.call(t.Context(), g.md, ways[g.way](g.conn, name))
	}
}
