// SPDX-License-Identifier: Apache-2.0

package basic_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/backendtest"
	"github.com/grpcauth/grpcauth/backends/basic"
	"github.com/grpcauth/grpcauth/grpcauthtest"
	"github.com/grpcauth/grpcauth/password"
)

const method = "/shop.v1.Orders/Get"

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// users is a store of accounts whose passwords are their names with an exclamation mark.
type users struct {
	mu       sync.Mutex
	accounts map[string]basic.Account // guarded by mu, like all below
	asked    []string
	err      error
}

func newUsers(tb testing.TB, h *password.Hasher, names ...string) *users {
	tb.Helper()
	u := &users{accounts: map[string]basic.Account{}}
	for _, name := range names {
		u.accounts[name] = basic.Account{User: &grpcauth.User{ID: name, Scopes: []string{"a", "b"}}, PasswordHash: hashOf(tb, h, name+"!")}
	}
	return u
}

func (u *users) byName(_ context.Context, name string) (basic.Account, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.asked = append(u.asked, name)
	return u.accounts[name], u.err
}

// change changes an account as another request would.
func (u *users) change(name string, f func(*basic.Account)) {
	u.mu.Lock()
	defer u.mu.Unlock()
	account := u.accounts[name]
	f(&account)
	u.accounts[name] = account
}

// newHasher makes hashes that cost next to nothing.
func newHasher(tb testing.TB) *password.Hasher {
	tb.Helper()
	h, err := password.New(password.Options{Memory: 64, Time: 1})
	if err != nil {
		tb.Fatal(err)
	}
	return h
}

func hashOf(tb testing.TB, h *password.Hasher, pass string) string {
	tb.Helper()
	hash, err := h.Hash(tb.Context(), pass)
	if err != nil {
		tb.Fatal(err)
	}
	return hash
}

func newBackend(tb testing.TB, opts basic.Options) *basic.Backend {
	tb.Helper()
	if opts.Now == nil {
		opts.Now = func() time.Time { return start }
	}
	b, err := basic.New(opts)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// credential writes a name and a password as RFC 7617 wants them.
func credential(namePassword string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(namePassword))
}

// incoming is the context of a call over memory.
func incoming(ctx context.Context, namePassword string) context.Context {
	ctx = peer.NewContext(ctx, &peer.Peer{Addr: &net.UnixAddr{Name: "test", Net: "unix"}})
	return metadata.NewIncomingContext(ctx, metadata.Pairs("authorization", credential(namePassword)))
}

// look is one call; the answer is the user's ID or the code of the refusal.
func look(ctx context.Context, b grpcauth.Backend, authorization string) string {
	user, err := b.Authenticate(ctx, grpcauthtest.Request(ctx, method, "authorization", authorization))
	switch {
	case err != nil && user != nil:
		return "a user and an error"
	case err != nil:
		return grpcauth.CodeOf(err).String()
	}
	return user.ID
}

func expect(t *testing.T, b grpcauth.Backend, namePassword, want string) {
	t.Helper()
	if got := look(t.Context(), b, credential(namePassword)); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// computed expects that what f does computes so many hashes.
func computed(t *testing.T, h *password.Hasher, want uint64, f func()) {
	t.Helper()
	before := h.Computations()
	f()
	if got := h.Computations() - before; got != want {
		t.Errorf("%d hashes were computed, want %d", got, want)
	}
}

func TestConformance(t *testing.T) {
	t.Parallel()
	h := newHasher(t)
	u := newUsers(t, h, "alice")
	u.accounts["eve"] = basic.Account{User: &grpcauth.User{ID: "eve"}, PasswordHash: u.accounts["alice"].PasswordHash, Disabled: true}
	suite := backendtest.Suite{
		Backend: newBackend(t, basic.Options{Lookup: u.byName, Hasher: h}),
		Good:    metadata.Pairs("authorization", credential("alice:alice!")),
		Secrets: []string{"alice!", u.accounts["alice"].PasswordHash},
	}
	for _, bad := range []string{"alice:wrong", "nobody:alice!", "eve:alice!", "alice:", ":alice!", "alice"} {
		suite.Bad = append(suite.Bad, metadata.Pairs("authorization", credential(bad)))
	}
	backendtest.Run(t, suite)
}

// The two credentials are the examples of RFC 7617, sections 2 and 2.1.
func TestExamplesOfTheRFC(t *testing.T) {
	t.Parallel()
	h := newHasher(t)
	u := &users{accounts: map[string]basic.Account{
		"Aladdin": {User: &grpcauth.User{ID: "1"}, PasswordHash: hashOf(t, h, "open sesame")},
		"test":    {User: &grpcauth.User{ID: "2"}, PasswordHash: hashOf(t, h, "123£")},
	}}
	b := newBackend(t, basic.Options{Lookup: u.byName, Hasher: h})
	for authorization, want := range map[string]string{"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==": "1", "Basic dGVzdDoxMjPCow==": "2"} {
		if got := look(t.Context(), b, authorization); got != want {
			t.Errorf("%s: got %s, want %s", authorization, got, want)
		}
	}
}

func TestCredentialSplitsAtTheFirstColon(t *testing.T) {
	t.Parallel()
	h := newHasher(t)
	u := &users{accounts: map[string]basic.Account{}}
	b := newBackend(t, basic.Options{Lookup: u.byName, Hasher: h})
	for namePassword, name := range map[string]string{
		"alice:a:b":   "alice",
		"alice:":      "alice",
		"alice::":     "alice",
		"Alice: x ":   "Alice",
		" alice :x":   " alice ",
		"ällice€:x":   "ällice€",
		"a\u0301:x":   "a\u0301",
		"example\\a:": "example\\a",
	} {
		pass := strings.TrimPrefix(namePassword, name+":")
		u.accounts[name] = basic.Account{User: &grpcauth.User{ID: "of " + name}, PasswordHash: hashOf(t, h, pass)}
		expect(t, b, namePassword, "of "+name)
	}
}

func TestMalformedCredentialIsRefusedBeforeAnythingIsLookedUp(t *testing.T) {
	t.Parallel()
	h := newHasher(t)
	u := newUsers(t, h, "alice")
	b := newBackend(t, basic.Options{Lookup: u.byName, Hasher: h})
	good := strings.TrimPrefix(credential("alice:alice!!"), "Basic ") // ends in "=="
	for name, authorization := range map[string]string{
		"no colon": credential("alice"), "no name": credential(":alice!"), "nothing": credential(""), "a colon alone": credential(":"),
		"no text": "Basic", "a space alone": "Basic ", "two spaces": "Basic  " + good, "a space after": "Basic " + good + " ",
		"unpadded": "Basic " + strings.TrimRight(good, "="), "half padded": "Basic " + strings.TrimSuffix(good, "="), "padded too much": "Basic " + good + "=",
		"not canonical": "Basic " + strings.Replace(good, "Q==", "R==", 1), "URL alphabet": "Basic YWxpY2U6Pz8_", "no base64": "Basic alice:alice!",
		"a line break": "Basic " + good[:8] + "\n" + good[8:], "a carriage return": "Basic " + good + "\r", "two credentials": "Basic " + good + ", Basic " + good,
		"NUL in the password": credential("alice:alice!\x00"), "NUL in the name": credential("ali\x00ce:x"), "a tab": credential("alice:a\tb"),
		"a line in the name": credential("alice\n:x"), "DEL": credential("alice:\x7f"), "C1 control": credential("alice:\u0085"),
		"Latin-1": credential("t\xe9st:x"), "overlong UTF-8": credential("al\xc1\xa1ce:x"), "a surrogate": credential("a\xed\xa0\x80:x"),
		"too long": credential("alice:" + strings.Repeat("x", 8<<10)),
	} {
		if name == "not canonical" && authorization == "Basic "+good {
			t.Fatal("the case is the good credential")
		}
		computed(t, h, 0, func() {
			if got := look(t.Context(), b, authorization); got != "CREDENTIALS_MALFORMED" {
				t.Errorf("%s: got %s", name, got)
			}
		})
	}
	if len(u.asked) > 0 {
		t.Errorf("looked up %q", u.asked)
	}
}

func TestSchemeIsComparedWithoutCase(t *testing.T) {
	t.Parallel()
	h := newHasher(t)
	b := newBackend(t, basic.Options{Lookup: newUsers(t, h, "alice").byName, Hasher: h})
	text := strings.TrimPrefix(credential("alice:alice!"), "Basic ")
	for scheme, want := range map[string]string{
		"basic": "alice", "BASIC": "alice", "bAsIc": "alice",
		"Basic:": "CREDENTIALS_MISSING", "Basi": "CREDENTIALS_MISSING", "Basicx": "CREDENTIALS_MISSING", "Bearer": "CREDENTIALS_MISSING",
	} {
		if got := look(t.Context(), b, scheme+" "+text); got != want {
			t.Errorf("%s: got %s, want %s", scheme, got, want)
		}
	}
}

func TestExactlyOneSpaceFollowsTheScheme(t *testing.T) {
	t.Parallel()
	h := newHasher(t)
	auth := grpcauth.New(newBackend(t, basic.Options{Lookup: newUsers(t, h, "alice").byName, Hasher: h}))
	text := strings.TrimPrefix(credential("alice:alice!"), "Basic ")
	for _, authorization := range []string{
		"Basic" + text, "Basic  " + text, "Basic\t" + text, "Basic \t" + text, "Basic\u00a0" + text, "Basic \u00a0" + text, "Basic\v" + text,
		" Basic " + text, "\tBasic " + text, "Basic " + text + " ", "Basic " + text + "\t", "Basic " + text + "\u00a0", "Basic, " + text,
	} {
		ctx := metadata.NewIncomingContext(incoming(t.Context(), ""), metadata.Pairs("authorization", authorization))
		if _, err := auth.Authenticate(ctx, method); status.Code(err) != codes.Unauthenticated {
			t.Errorf("%q: got %v, want UNAUTHENTICATED", authorization, err)
		}
	}
}

func TestNameIsLookedUpAsItWasSent(t *testing.T) {
	t.Parallel()
	u := &users{}
	b := newBackend(t, basic.Options{Lookup: u.byName, Hasher: newHasher(t)})
	names := []string{"alice", "Alice", " alice", "alice ", "é", "e\u0301", "＠", strings.Repeat("n", 4<<10), "' OR 1=1--", "../x"}
	for _, name := range names {
		expect(t, b, name+":x", "CREDENTIALS_INVALID")
	}
	if strings.Join(u.asked, "|") != strings.Join(names, "|") {
		t.Errorf("got %q, want %q", u.asked, names)
	}
}

func TestCanonicalNameIsTheOneThatCounts(t *testing.T) {
	t.Parallel()
	h := newHasher(t)
	u := newUsers(t, h, "alice")
	b := newBackend(t, basic.Options{Lookup: u.byName, Hasher: h, Canonical: func(name string) (string, error) {
		if strings.Contains(name, "@") {
			return "alice", errors.New("not a name of ours")
		}
		return strings.ToLower(name), nil
	}})
	computed(t, h, 1, func() {
		expect(t, b, "Alice:alice!", "alice")
		expect(t, b, "ALICE:alice!", "alice") // one memory for all ways to write a name
		expect(t, b, "alice:alice!", "alice")
	})
	if strings.Join(u.asked, "|") != "alice|alice|alice" {
		t.Errorf("got %q", u.asked)
	}
	computed(t, h, 1, func() { expect(t, b, "alice@:alice!", "CREDENTIALS_INVALID") })
}

func TestAccountShowsNeitherUserNorHash(t *testing.T) {
	t.Parallel()
	account := basic.Account{User: &grpcauth.User{ID: "canary-user"}, PasswordHash: "canary-hash"}
	var out bytes.Buffer
	for _, value := range []any{account, &account, []basic.Account{account}, map[string]*basic.Account{"x": &account}, struct{ A basic.Account }{account}} {
		fmt.Fprintf(&out, "%v %+v %#v %s %q %d %x\n", value, value, value, value, value, value, value)
		slog.New(slog.NewTextHandler(&out, nil)).Info("", "value", value)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("", "value", value)
		_ = json.NewEncoder(&out).Encode(value)
		_ = xml.NewEncoder(&out).Encode(value)
		_ = gob.NewEncoder(&out).Encode(value)
	}
	if text := out.String(); strings.Contains(text, "canary") || strings.Contains(text, hex.EncodeToString([]byte("canary"))) || !strings.Contains(text, "basic.Account") {
		t.Errorf("got %s", text)
	}
}

func TestHasherIsMadeWhereNoneIsGiven(t *testing.T) {
	t.Parallel()
	h, err := password.New(password.Options{})
	if err != nil {
		t.Fatal(err)
	}
	b := newBackend(t, basic.Options{Lookup: newUsers(t, h, "alice").byName, StoreHash: func(context.Context, string, string, string) error {
		t.Error("the hash is weaker than that of the default hasher")
		return nil
	}})
	expect(t, b, "alice:alice!", "alice")
	expect(t, b, "alice:wrong", "CREDENTIALS_INVALID")
}

func TestNewNamesTheOptionThatIsWrong(t *testing.T) {
	t.Parallel()
	lookup := func(context.Context, string) (basic.Account, error) { return basic.Account{}, nil }
	for want, opts := range map[string]basic.Options{"Lookup": {}, "RememberFor": {Lookup: lookup, RememberFor: -1}} {
		if b, err := basic.New(opts); b != nil || err == nil || !strings.Contains(err.Error(), "Options."+want) {
			t.Errorf("got %v, want an error about %s", err, want)
		}
	}
}

func TestSchemeSaysWhatIsReadAndThatItIsUTF8(t *testing.T) {
	t.Parallel()
	for realm, want := range map[string]string{"": "", "shop": "shop"} {
		schemes := newBackend(t, basic.Options{Lookup: (&users{}).byName, Hasher: newHasher(t), Realm: realm}).Schemes()
		if len(schemes) != 1 || schemes[0].Name != "basic" || schemes[0].Header != "authorization" || schemes[0].AuthScheme != "Basic" ||
			schemes[0].Params["charset"] != "UTF-8" || schemes[0].Params["realm"] != want {
			t.Errorf("got %+v", schemes)
		}
	}
}
