// SPDX-License-Identifier: Apache-2.0

package bearer_test

import (
	"context"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/backendtest"
	"github.com/grpcauth/grpcauth/backends/bearer"
	"github.com/grpcauth/grpcauth/grpcauthtest"
)

const (
	method    = "/shop.v1.Orders/Get"
	refused   = "CREDENTIALS_INVALID"
	malformed = "CREDENTIALS_MALFORMED"
	undecided = "AUTHENTICATION_UNAVAILABLE"
	broken    = "AUTHENTICATION_FAILED"
)

var start = time.Date(2026, time.March, 4, 5, 6, 7, 0, time.UTC)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// judge is a verifier that notes which tokens it was asked about.
type judge struct {
	verify func(ctx context.Context, token string) (*grpcauth.User, error)
	mu     sync.Mutex
	seen   []string // guarded by mu
}

func (j *judge) Verify(ctx context.Context, token string) (*grpcauth.User, error) {
	j.mu.Lock()
	j.seen = append(j.seen, token)
	j.mu.Unlock()
	return j.verify(ctx, token)
}

// asked is how often the verifier was asked.
func (j *judge) asked() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.seen)
}

// anybody accepts every token as the user of that name.
func anybody() *judge {
	return &judge{verify: func(_ context.Context, token string) (*grpcauth.User, error) { return &grpcauth.User{ID: token}, nil }}
}

// only accepts these tokens, each as the user of that name.
func only(tokens ...string) *judge {
	known := desk{}
	for _, token := range tokens {
		known[token] = grpcauth.User{ID: token}
	}
	return &judge{verify: known.Verify}
}

func newBackend(tb testing.TB, v bearer.Verifier, opts bearer.Options) *bearer.Backend {
	tb.Helper()
	if opts.Now == nil {
		opts.Now = func() time.Time { return start }
	}
	b, err := bearer.New(v, opts)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func request(tb testing.TB, token string) *grpcauth.Request {
	tb.Helper()
	return grpcauthtest.Request(tb.Context(), method, "authorization", "Bearer "+token)
}

// look is one call with a token; the answer is the user's ID or the code of the refusal.
func look(ctx context.Context, b grpcauth.Backend, token string) string {
	return answer(b.Authenticate(ctx, grpcauthtest.Request(ctx, method, "authorization", "Bearer "+token)))
}

func answer(user *grpcauth.User, err error) string {
	switch {
	case user != nil && err != nil:
		return "a user and an error"
	case err != nil:
		return grpcauth.CodeOf(err).String()
	case user == nil:
		return "neither a user nor an error"
	}
	return user.ID
}

func expect(t *testing.T, b grpcauth.Backend, token, want string) {
	t.Helper()
	if got := look(t.Context(), b, token); got != want {
		t.Errorf("got %.50s, want %.50s", got, want)
	}
}

func expectAsked(t *testing.T, j *judge, want int) {
	t.Helper()
	if got := j.asked(); got != want {
		t.Errorf("the verifier was asked %d times, want %d", got, want)
	}
}

func TestConformance(t *testing.T) {
	t.Parallel()
	tokens := desk{"mF_9.B5f-4.1JqM": {ID: "alice", Scopes: []string{"a", "b"}, Permissions: []string{"c"}, RawClaims: []byte(`{"sub":"alice"}`)}}
	backendtest.Run(t, backendtest.Suite{
		Backend: newBackend(t, tokens, bearer.Options{}),
		Good:    metadata.Pairs("authorization", "Bearer mF_9.B5f-4.1JqM"),
		Bad: []metadata.MD{
			metadata.Pairs("authorization", "Bearer mF_9.B5f-4.1JqN"), metadata.Pairs("authorization", "Bearer mF_9.B5f-4.1JqM,mF_9.B5f-4.1JqM"),
			metadata.Pairs("authorization", "Bearer mF_9.B5f-4.1JqM mF_9.B5f-4.1JqM"), metadata.Pairs("authorization", "Bearer mF_9.B5f-4.1JqM="),
		},
	})
}

// b64token is the grammar of RFC 6750, section 2.1.
var b64token = regexp.MustCompile(`^[A-Za-z0-9._~+/-]+=*$`)

func TestTokensHaveTheCharactersOfRFC6750AndNoOthers(t *testing.T) {
	t.Parallel()
	j := anybody()
	b := newBackend(t, j, bearer.Options{})
	accepted := map[string]bool{}
	for c := range 256 {
		for _, token := range []string{string([]byte{byte(c), 'a', 'b'}), string([]byte{'a', byte(c), 'b'}), string([]byte{'a', 'b', byte(c)}), string([]byte{byte(c)})} {
			want := malformed
			if b64token.MatchString(token) {
				want = token
				accepted[token] = true
			}
			if got := look(t.Context(), b, token); got != want {
				t.Errorf("%q: got %s, want %s", token, got, want)
			}
		}
	}
	expectAsked(t, j, len(accepted))
}

func TestRefusesWhatIsNotOneToken(t *testing.T) {
	t.Parallel()
	j := anybody()
	b := newBackend(t, j, bearer.Options{})
	for _, token := range []string{
		"", " ", "=", "==", "=a", "a=b", "a==b=", "a,b", "a, b", "a, Bearer b", ",a", "a,", "a b", "a Bearer b", "a  b", " a", "a ", "\ta", "a\t", "a\tb",
		"a\r\n", "a\x00", "a\u00a0", "\u00a0a", "ä", "a;b", `"a"`, "a%20b", "a:b", "a\xff",
	} {
		if got := look(t.Context(), b, token); got != malformed {
			t.Errorf("%q: got %s, want %s", token, got, malformed)
		}
	}
	expectAsked(t, j, 0)
}

func TestExactlyOneSpaceFollowsTheScheme(t *testing.T) {
	t.Parallel()
	j := anybody()
	auth := grpcauth.New(newBackend(t, j, bearer.Options{}), grpcauth.InsecureAllowPlaintext())
	call := func(header string) error {
		ctx := metadata.NewIncomingContext(peer.NewContext(t.Context(), &peer.Peer{}), metadata.Pairs("authorization", header))
		_, err := auth.Authenticate(ctx, method)
		return err
	}
	for _, header := range []string{"Bearer  a", "Bearer\ta", "Bearer \ta", " Bearer a", "\tBearer a", "Bearer\u00a0a", "Bearer \u00a0a", "Bearer a ", "Bearera", "Bearer", "Bearer ", "Bearer:a", "Bearer=a", "a"} {
		if err := call(header); grpcauth.CodeOf(err).GRPC() != codes.Unauthenticated {
			t.Errorf("%q: got %v, want UNAUTHENTICATED", header, err)
		}
	}
	expectAsked(t, j, 0)
	for _, header := range []string{"Bearer a", "bearer a", "BEARER a", "bEaReR a"} {
		if err := call(header); err != nil {
			t.Errorf("%q: got %v, want a user", header, err)
		}
	}
}

func TestTokensAreLookedAtUpToTheLimit(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name        string
		limit, size int
		accepted    bool
	}{
		{"what a large mesh sends", 0, 11_349, true},
		{"at the default limit", 0, 16 << 10, true},
		{"above the default limit", 0, 16<<10 + 1, false},
		{"far above the default limit", 0, 4 << 20, false},
		{"at a limit of its own", 100, 100, true},
		{"above a limit of its own", 100, 101, false},
		{"at a large limit", 64 << 10, 64 << 10, true},
		{"above a large limit", 64 << 10, 64<<10 + 1, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			j := anybody()
			b := newBackend(t, j, bearer.Options{MaxTokenBytes: test.limit})
			token := strings.Repeat("a", test.size)
			want, asked := malformed, 0
			if test.accepted {
				want, asked = token, 1
			}
			expect(t, b, token, want)
			expect(t, b, token, want)
			expectAsked(t, j, asked)
		})
	}
}

// The test is not parallel: it counts what the whole program allocates.
func TestRefusingAGiantTokenCostsLittle(t *testing.T) {
	b := newBackend(t, anybody(), bearer.Options{})
	for name, token := range map[string]string{
		"too long": strings.Repeat("a", 16<<20), "too long, of wrong characters": strings.Repeat(",", 16<<20), "as long as may be, of wrong characters": strings.Repeat("a", 16<<10-1) + ",",
	} {
		ctx := metadata.NewIncomingContext(t.Context(), metadata.Pairs("authorization", "Bearer "+token))
		const rounds = 200
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range rounds {
			if _, err := b.Authenticate(ctx, grpcauth.NewRequest(ctx, method)); err == nil {
				t.Fatal("accepted")
			}
		}
		runtime.ReadMemStats(&after)
		if each := (after.TotalAlloc - before.TotalAlloc) / rounds; each > 8<<10 {
			t.Errorf("%s: a refusal allocates %d bytes", name, each)
		}
	}
}
