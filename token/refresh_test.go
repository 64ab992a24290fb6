// SPDX-License-Identifier: Apache-2.0

package token_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/jwt"
	"github.com/grpcauth/grpcauth/store"
	"github.com/grpcauth/grpcauth/token"
)

func newRefresher(t testing.TB, opts token.RefreshOptions) *token.Refresher {
	t.Helper()
	if opts.Now == nil {
		opts.Now = standing
	}
	if opts.Store == nil {
		opts.Store = newStore(t, opts.Now)
	}
	r, err := token.NewRefresher(opts)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRefreshTokenIsNoAccessTokenNorTheOtherWayRound(t *testing.T) {
	t.Parallel()
	for _, alg := range []string{"RS256", "EdDSA", "HS256"} {
		ring := newRing(t, standing, keyFor(alg))
		r := newRefresher(t, token.RefreshOptions{})
		refresh, grant, err := r.Start(t.Context(), token.Grant{Subject: "alice", ClientID: "shop", Audiences: []string{"orders"}})
		if err != nil {
			t.Fatal(err)
		}
		access, _, err := newIssuer(t, ring, standing).Sign(t.Context(), grant.Claims())
		if err != nil {
			t.Fatal(err)
		}
		verifier := newVerifier(t, ring, standing, alg)
		if user, err := verifier.Verify(t.Context(), access); err != nil || user.ID != "alice" {
			t.Errorf("%s: got %v and %v", alg, user, err)
		}
		if user, err := verifier.Verify(t.Context(), refresh); user != nil || grpcauth.CodeOf(err) != grpcauth.CodeInvalid {
			t.Errorf("%s: a refresh token as access token: got %v and %v", alg, user, err)
		}
		for _, text := range []string{access, "x." + access, access[strings.IndexByte(access, '.')+1:]} {
			if next, _, err := r.Rotate(t.Context(), text, token.Client{ID: "shop"}); next != "" || !errors.Is(err, token.ErrInvalid) {
				t.Errorf("%s: an access token as refresh token: got %v", alg, err)
			}
			if err := r.Revoke(t.Context(), text); !errors.Is(err, token.ErrInvalid) {
				t.Errorf("%s: an access token to revoke: got %v", alg, err)
			}
		}
	}
}

func TestAccessTokenOfAFamilyStopsWithIt(t *testing.T) {
	t.Parallel()
	clock := newClock()
	shared := newStore(t, clock.Now)
	denied, err := token.NewDenylist(token.DenyOptions{Store: shared, Issuer: issuerURL, MaxLifetime: 10 * time.Minute, Now: clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	ring := newRing(t, clock.Now, keyFor("EdDSA"))
	issuer := newIssuer(t, ring, clock.Now)
	verifier, err := jwt.NewVerifier(jwt.Options{Now: clock.Now, Denylist: denied, Issuers: []jwt.Issuer{{
		URL: issuerURL, Audiences: []string{"orders"}, Algorithms: []string{"EdDSA"}, Keys: ring,
	}}})
	if err != nil {
		t.Fatal(err)
	}
	r := newRefresher(t, token.RefreshOptions{Store: shared, Denylist: denied, Now: clock.Now})
	login := func() (refresh, access string) {
		refresh, g, err := r.Start(t.Context(), token.Grant{Subject: "alice", ClientID: "shop", Audiences: []string{"orders"}})
		if err != nil {
			t.Fatal(err)
		}
		access, _, err = issuer.Sign(t.Context(), g.Claims())
		if err != nil {
			t.Fatal(err)
		}
		return refresh, access
	}
	judge := func(access string) string {
		_, err := verifier.Verify(t.Context(), access)
		if err == nil {
			return "accepted"
		}
		return grpcauth.CodeOf(err).String()
	}
	_, phone := login()
	refresh, laptop := login()
	next, g, err := r.Rotate(t.Context(), refresh, token.Client{ID: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	later, _, err := issuer.Sign(t.Context(), g.Claims())
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.Rotate(t.Context(), refresh, token.Client{ID: "shop"}); !errors.Is(err, token.ErrReused) {
		t.Fatal(err)
	}
	tardy, _, err := issuer.Sign(t.Context(), g.Claims()) // it was rotated before, and is signed after
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{phone: "accepted", laptop: "CREDENTIALS_REVOKED", later: "CREDENTIALS_REVOKED", tardy: "CREDENTIALS_REVOKED"} {
		if got := judge(text); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if n, err := r.RevokeUser(t.Context(), "alice"); n != 1 || err != nil {
		t.Errorf("got %d and %v", n, err)
	}
	_, again := login() // in the same second
	if got := judge(phone) + " " + judge(again); got != "CREDENTIALS_REVOKED accepted" {
		t.Errorf("got %s", got)
	}
	if _, _, err := r.Rotate(t.Context(), next, token.Client{ID: "shop"}); !errors.Is(err, token.ErrRevoked) {
		t.Error(err)
	}
}

func TestAccessTokenDoesNotOutliveItsFamily(t *testing.T) {
	t.Parallel()
	clock := newClock()
	issuer := newIssuer(t, newRing(t, clock.Now, keyFor("EdDSA")), clock.Now)
	r := newRefresher(t, token.RefreshOptions{Absolute: time.Hour, Now: clock.Now})
	refresh, _, err := r.Start(t.Context(), token.Grant{Subject: "alice", ClientID: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	clock.Add(59 * time.Minute)
	_, g, err := r.Rotate(t.Context(), refresh, token.Client{ID: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	if _, signed, err := issuer.Sign(t.Context(), g.Claims()); err != nil || signed.Expiry.After(g.End) || g.End.Sub(signed.Expiry) >= time.Second {
		t.Errorf("it ends at %v and the family at %v (%v)", signed.Expiry, g.End, err)
	}
}

func TestGrantsThatAreWrongAreNamed(t *testing.T) {
	t.Parallel()
	r := newRefresher(t, token.RefreshOptions{})
	for name, test := range map[string]struct {
		change func(*token.Grant)
		want   string
	}{
		"no user":           {func(g *token.Grant) { g.Subject = "" }, "Grant.Subject"},
		"long user":         {func(g *token.Grant) { g.Subject = strings.Repeat("a", 256) }, "Grant.Subject"},
		"user not UTF-8":    {func(g *token.Grant) { g.Subject = "\xff" }, "Grant.Subject"},
		"long client":       {func(g *token.Grant) { g.ClientID = strings.Repeat("a", 1025) }, "Grant.ClientID"},
		"thumbprint":        {func(g *token.Grant) { g.CertSHA256 = "AAAA" }, "Grant.CertSHA256"},
		"scope":             {func(g *token.Grant) { g.Scopes = []string{"a b"} }, "Grant.Scopes"},
		"audience":          {func(g *token.Grant) { g.Audiences = []string{""} }, "Grant.Audiences"},
		"acr":               {func(g *token.Grant) { g.ACR = "\xff" }, "Grant.ACR"},
		"over":              {func(g *token.Grant) { g.End = now }, "Grant.End"},
		"much data":         {func(g *token.Grant) { g.Data = make([]byte, 32<<10+1) }, "Grant.Data"},
		"more than fits":    {func(g *token.Grant) { g.Scopes = []string{strings.Repeat("a", 64<<10)} }, "more than 65536"},
		"a year that is no": {func(g *token.Grant) { g.AuthTime = time.Date(20000, 1, 1, 0, 0, 0, 0, time.UTC) }, "cannot be written"},
	} {
		g := token.Grant{Subject: "alice", ClientID: "shop"}
		test.change(&g)
		if text, got, err := r.Start(t.Context(), g); text != "" || got != nil || err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want an error with %q", name, err, test.want)
		}
	}
	if _, _, err := r.Start(t.Context(), token.Grant{Subject: "alice", Data: make([]byte, 32<<10)}); err != nil {
		t.Error(err)
	}
}

func TestGrantIsTheCallersOwn(t *testing.T) {
	t.Parallel()
	r := newRefresher(t, token.RefreshOptions{})
	mine := token.Grant{Subject: "alice", Scopes: []string{"a"}, Audiences: []string{"b"}, Data: []byte("c")}
	text, g, err := r.Start(t.Context(), mine)
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range []*token.Grant{&mine, g} {
		one.Scopes[0], one.Audiences[0], one.Data[0] = "x", "x", 'x'
	}
	if _, g, err = r.Rotate(t.Context(), text, token.Client{}); err != nil || g.Scopes[0]+g.Audiences[0]+string(g.Data) != "abc" {
		t.Errorf("got %+v and %v", g, err)
	}
}

func TestRefreshOptionsThatAreWrongAreNamed(t *testing.T) {
	t.Parallel()
	some := newStore(t, standing)
	for want, opts := range map[string]token.RefreshOptions{
		"RefreshOptions.Store":         {},
		"RefreshOptions.Idle":          {Store: some, Idle: -1},
		"RefreshOptions.Idle or Absol": {Store: some, Absolute: -1},
		"RefreshOptions.Grace is -":    {Store: some, Grace: -1},
		"RefreshOptions.Grace is 1m":   {Store: some, Grace: time.Minute + 1},
		"RefreshOptions.GraceUses":     {Store: some, GraceUses: -1},
	} {
		if r, err := token.NewRefresher(opts); r != nil || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error with %q", err, want)
		}
	}
}

func TestDenyOptionsThatAreWrongAreNamed(t *testing.T) {
	t.Parallel()
	some := newStore(t, standing)
	for want, opts := range map[string]token.DenyOptions{
		"DenyOptions.Store":               {Issuer: issuerURL, MaxLifetime: time.Hour},
		"DenyOptions.Issuer":              {Store: some, MaxLifetime: time.Hour},
		"DenyOptions.MaxLifetime is 0s":   {Store: some, Issuer: issuerURL},
		"DenyOptions.MaxLifetime is 24h0": {Store: some, Issuer: issuerURL, MaxLifetime: 24*time.Hour + 1},
		"DenyOptions.RememberFor is -":    {Store: some, Issuer: issuerURL, MaxLifetime: time.Hour, RememberFor: -1},
		"DenyOptions.RememberFor is 1m":   {Store: some, Issuer: issuerURL, MaxLifetime: time.Hour, RememberFor: time.Minute + 1},
		"DenyOptions.MaxRemembered":       {Store: some, Issuer: issuerURL, MaxLifetime: time.Hour, MaxRemembered: -1},
	} {
		if d, err := token.NewDenylist(opts); d != nil || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error with %q", err, want)
		}
	}
}

func TestUserWithMoreFamiliesThanAListHasLosesThemAll(t *testing.T) {
	t.Parallel()
	short := &shortStore{Store: newStore(t, standing)}
	r := newRefresher(t, token.RefreshOptions{Store: short})
	var texts []string
	for range 5 {
		text, _, err := r.Start(t.Context(), token.Grant{Subject: "alice"})
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, text)
	}
	text, g, err := r.Start(t.Context(), token.Grant{Subject: "alice"})
	if err == nil {
		err = r.Revoke(t.Context(), text)
	}
	if err == nil {
		short.dead, err = short.Store.Get(t.Context(), "refresh/"+g.Family)
	}
	if err != nil {
		t.Fatal(err)
	}
	if n, err := r.RevokeUser(t.Context(), "alice"); n != 5 || err != nil {
		t.Errorf("got %d and %v", n, err)
	}
	for _, text := range texts {
		if _, _, err := r.Rotate(t.Context(), text, token.Client{}); !errors.Is(err, token.ErrRevoked) && !errors.Is(err, token.ErrInvalid) {
			t.Errorf("got %v", err)
		}
	}
}

// shortStore answers as one does that holds more than a list can have: with two that are there, and with as many that have ended as make a list.
type shortStore struct {
	store.Store
	dead store.Record
}

func (s *shortStore) List(ctx context.Context, owner string) ([]store.Record, error) {
	recs, err := s.Store.List(ctx, owner)
	if err != nil || len(recs) <= 2 {
		return recs, err
	}
	recs = recs[:2]
	for len(recs) < store.MaxList {
		recs = append(recs, s.dead)
	}
	return recs, nil
}

func TestOneDamagedFamilyDoesNotKeepTheOthersAlive(t *testing.T) {
	t.Parallel()
	shared := newStore(t, standing)
	r := newRefresher(t, token.RefreshOptions{Store: shared})
	var texts []string
	for range 5 {
		text, g, err := r.Start(t.Context(), token.Grant{Subject: "alice"})
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, text)
		if len(texts) == 3 {
			if err := shared.Put(t.Context(), store.Record{Key: "refresh/" + g.Family, Owner: "refresh/alice", Value: []byte("{"), Version: 1}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n, err := r.RevokeUser(t.Context(), "alice"); n != 4 || err == nil {
		t.Errorf("got %d and %v", n, err)
	}
	if _, err := r.List(t.Context(), "alice"); err == nil {
		t.Error("a list that lacks one was returned as if it were whole")
	}
	for i, text := range texts {
		if _, _, err := r.Rotate(t.Context(), text, token.Client{}); err == nil || i != 2 && !errors.Is(err, token.ErrRevoked) {
			t.Errorf("token %d: got %v", i, err)
		}
	}
}

func TestPrintedThingsShowNoSecrets(t *testing.T) {
	t.Parallel()
	secret := []byte("canary-canary-canary-canary-canary-canary-canary-canary-canary-1")
	key := token.SigningKey{ID: "a", Algorithm: "HS512", Secret: secret}
	ring := newRing(t, standing, key)
	issuer := newIssuer(t, ring, standing)
	refresher := newRefresher(t, token.RefreshOptions{})
	text, _, err := refresher.Start(t.Context(), token.Grant{Subject: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	_, _, refusal := refresher.Rotate(t.Context(), text[:30]+"AAAA"+text[34:], token.Client{})
	for _, v := range []any{key, &key, ring, issuer, refusal, []token.SigningKey{key}, struct{ R *token.Ring }{ring}, (*token.Ring)(nil), (*token.Issuer)(nil)} {
		marshalled, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			out := fmt.Sprintf(verb, v) + string(marshalled)
			for _, form := range []string{"canary", fmt.Sprintf("%x", "canary"), "99 97 110 97 114 121", "Y2FuYXJ5", text[30:60]} {
				if strings.Contains(out, form) {
					t.Errorf("%s of %T shows a secret: %s", verb, v, out)
				}
			}
		}
	}
	if b, err := key.MarshalBinary(); err != nil || string(b) != `SigningKey("a", "HS512")` {
		t.Errorf("got %s and %v", b, err)
	}
}
