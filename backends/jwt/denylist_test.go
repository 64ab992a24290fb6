// SPDX-License-Identifier: Apache-2.0

package jwt_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/bearer"
	"github.com/grpcauth/grpcauth/backends/jwt"
	"github.com/grpcauth/grpcauth/grpcauthtest"
	"github.com/grpcauth/grpcauth/jwks"
	"github.com/grpcauth/grpcauth/store"
	"github.com/grpcauth/grpcauth/store/memstore"
	"github.com/grpcauth/grpcauth/token"
)

// denied is a denylist that says what it is told to, and keeps what it was asked.
type denied struct {
	mu      sync.Mutex
	revoked bool
	err     error
	asked   []string
}

func (d *denied) Revoked(_ context.Context, issuer, subject, id string, issuedAt time.Time) (bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked = append(d.asked, fmt.Sprint(issuer, " ", subject, " ", id, " ", issuedAt.Unix(), issuedAt.IsZero()))
	return d.revoked, d.err
}

func (d *denied) say(revoked bool, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.revoked, d.err = revoked, err
}

func (d *denied) questions() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := strings.Join(d.asked, "\n")
	d.asked = nil
	return all
}

// denying is a backend with a denylist, for keys that never change or for those that may.
func denying(t *testing.T, i *grpcauthtest.Issuer, list jwt.Denylist, static bool) *bearer.Backend {
	t.Helper()
	config := i.Config("ES256")
	if static {
		i.KeyID("ES256") // so that there is one
		set, err := jwks.Static(i.Published()...)
		if err != nil {
			t.Fatal(err)
		}
		config.Keys = set
	}
	b, err := jwt.New(jwt.Options{Issuers: []jwt.Issuer{config}, Denylist: list, Now: i.Now})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestDenylistIsAskedOnEachCall(t *testing.T) {
	t.Parallel()
	for _, static := range []bool{true, false} {
		i, list := newIssuer(t), &denied{}
		b := denying(t, i, list, static)
		text := i.Token("ES256", "alice", map[string]any{"jti": "one"})
		for _, step := range []struct {
			revoked bool
			err     error
			want    string
		}{
			{false, nil, "alice"},
			{false, nil, "alice"},
			{true, nil, "CREDENTIALS_REVOKED"}, // a remembered verdict is none
			{true, nil, "CREDENTIALS_REVOKED"},
			{false, nil, "alice"}, // nor is a refusal
			{false, errors.New("down"), "AUTHENTICATION_UNAVAILABLE"},
			{true, errors.New("down"), "AUTHENTICATION_UNAVAILABLE"},
			{false, fmt.Errorf("read: %w", store.ErrSwapped), "AUTHENTICATION_FAILED"},
			{false, fmt.Errorf("read: %w", grpcauth.ErrNoCredentials), "AUTHENTICATION_FAILED"},
			{false, nil, "alice"},
		} {
			list.say(step.revoked, step.err)
			if got := look(t, b, text); got != step.want {
				t.Errorf("static keys: %t, revoked: %t, error: %v: got %s, want %s", static, step.revoked, step.err, got, step.want)
			}
			want := fmt.Sprint(issuerURL, " alice one ", now.Unix(), false)
			if asked := list.questions(); !strings.HasPrefix(asked, want) {
				t.Errorf("it was asked %q, want %q", asked, want)
			}
		}
	}
}

func TestDenylistSeesWhatTheTokenLacks(t *testing.T) {
	t.Parallel()
	i, list := newIssuer(t), &denied{}
	b := denying(t, i, list, true)
	if got := look(t, b, i.Token("ES256", "alice", map[string]any{"iat": nil})); got != "alice" {
		t.Errorf("got %s", got)
	}
	if want, asked := fmt.Sprint(issuerURL, " alice  ", time.Time{}.Unix(), true), list.questions(); asked != want {
		t.Errorf("it was asked %q, want %q", asked, want)
	}
}

func TestDenylistHearsOfAuthenticTokensOnly(t *testing.T) {
	t.Parallel()
	i, list := newIssuer(t), &denied{}
	b := denying(t, i, list, true)
	list.say(true, nil)
	good := i.Token("ES256", "alice", nil)
	flipped := []byte(good)
	if at := &flipped[len(flipped)-10]; *at == 'A' { // any other letter of base64
		*at = 'B'
	} else {
		*at = 'A'
	}
	for want, text := range map[string]string{
		refused:                 string(flipped),
		refused + " ":           i.Token("ES256", "alice", map[string]any{"aud": "other"}),
		"CREDENTIALS_EXPIRED":   i.Token("ES256", "alice", map[string]any{"exp": now.Unix() - 1}),
		"CREDENTIALS_MALFORMED": "ä",
	} {
		if got := look(t, b, text); got != strings.TrimSpace(want) {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if asked := list.questions(); asked != "" {
		t.Errorf("it was asked of a token that proves nothing: %s", asked)
	}
}

func TestKeyThatIsGoneStopsATokenThatIsNotDenied(t *testing.T) {
	t.Parallel()
	i, list := newIssuer(t), &denied{}
	b := denying(t, i, list, false)
	text := i.Token("ES256", "alice", nil)
	if got := look(t, b, text); got != "alice" {
		t.Fatalf("got %s", got)
	}
	i.Rotate("ES256", false)
	if got := look(t, b, text); got != refused {
		t.Errorf("got %s", got)
	}
}

func TestDenylistOfPackageTokenStopsARememberedToken(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	records, err := memstore.New(memstore.Options{Now: i.Now})
	if err != nil {
		t.Fatal(err)
	}
	list, err := token.NewDenylist(token.DenyOptions{Store: records, Issuer: issuerURL, MaxLifetime: time.Hour, Now: i.Now})
	if err != nil {
		t.Fatal(err)
	}
	b := denying(t, i, list, true)
	mint := func(id, user string) string { return i.Token("ES256", user, map[string]any{"jti": id}) }
	one, two, bobs := mint("one", "alice"), mint("two", "alice"), mint("three", "bob")
	want := func(ones, twos, of string) {
		t.Helper()
		if got := look(t, b, one) + " " + look(t, b, two) + " " + look(t, b, bobs); got != ones+" "+twos+" "+of {
			t.Errorf("got %s, want %s %s %s", got, ones, twos, of)
		}
	}
	want("alice", "alice", "bob")
	if err := list.RevokeToken(t.Context(), "one", now.Add(10*time.Minute)); err != nil {
		t.Fatal(err)
	}
	want("CREDENTIALS_REVOKED", "alice", "bob")
	if err := list.RevokeBefore(t.Context(), "alice", now); err != nil {
		t.Fatal(err)
	}
	want("CREDENTIALS_REVOKED", "CREDENTIALS_REVOKED", "bob")
}

// TestWithoutADenylistNothingIsKeptForIt guards the memory and the allocations of those who have none: with keys that never change a verdict rests on nothing.
func TestWithoutADenylistNothingIsKeptForIt(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	text := i.Token("ES256", "alice", map[string]any{"jti": "one"})
	set, err := jwks.Static(i.Published()...)
	if err != nil {
		t.Fatal(err)
	}
	config := i.Config("ES256")
	config.Keys = set
	for _, list := range []jwt.Denylist{nil, &denied{}} {
		user, rests, err := newVerifier(t, jwt.Options{Issuers: []jwt.Issuer{config}, Denylist: list}).VerifyProof(t.Context(), text)
		if err != nil || user == nil || (rests == nil) != (list == nil) {
			t.Errorf("with %v: got %v, %v and %v", list, user, rests, err)
		}
	}
}
