// SPDX-License-Identifier: Apache-2.0

package grpcauth_test

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/grpcauth/grpcauth"
)

// incoming is the context of a call from a local peer with this metadata.
func incoming(md metadata.MD) context.Context {
	ctx := peer.NewContext(context.Background(), &peer.Peer{Addr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}})
	return metadata.NewIncomingContext(ctx, md)
}

// judge has an interceptor judge a call, and returns the user's ID, "-" if there is none, or the reason of the refusal.
func judge(auth *grpcauth.Interceptor, md metadata.MD) string {
	ctx, err := auth.Authenticate(incoming(md), echoMethod)
	if err != nil {
		return info(err).GetReason()
	}
	if user, ok := grpcauth.FromContext(ctx); ok {
		return user.ID
	}
	return "-"
}

func TestChainLetsTheFirstThatFindsItsCredentialDecide(t *testing.T) {
	t.Parallel()
	auth := grpcauth.New(grpcauth.Chain(scheme("Bearer"), scheme("Basic"), keyed("x-api-key", "apikey")))
	for name, c := range map[string]struct {
		md   metadata.MD
		want string
	}{
		"first":                  {metadata.Pairs("authorization", "Bearer alice"), "alice"},
		"second":                 {metadata.Pairs("authorization", "Basic bob"), "bob"},
		"third":                  {metadata.Pairs("x-api-key", "carol"), "carol"},
		"nothing":                {nil, "CREDENTIALS_MISSING"},
		"a wrong one":            {metadata.Pairs("authorization", "Bearer bad"), "CREDENTIALS_INVALID"},
		"not rescued":            {metadata.Pairs("authorization", "Bearer bad", "x-api-key", "carol"), "CREDENTIALS_AMBIGUOUS"},
		"two kinds":              {metadata.Pairs("authorization", "Bearer alice", "x-api-key", "carol"), "CREDENTIALS_AMBIGUOUS"},
		"two schemes":            {metadata.Pairs("authorization", "Bearer alice", "authorization", "Basic bob"), "CREDENTIALS_AMBIGUOUS"},
		"two of the third":       {metadata.Pairs("x-api-key", "carol", "x-api-key", "carol"), "CREDENTIALS_AMBIGUOUS"},
		"nobody's":               {metadata.Pairs("authorization", "Negotiate abc"), "CREDENTIALS_INVALID"},
		"nobody's and the third": {metadata.Pairs("authorization", "Negotiate abc", "x-api-key", "carol"), "CREDENTIALS_AMBIGUOUS"},
		"an outage":              {metadata.Pairs("x-api-key", "down"), "AUTHENTICATION_UNAVAILABLE"},
	} {
		if got := judge(auth, c.md); got != c.want {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}
	}
}

func TestAllNeedsEveryBackend(t *testing.T) {
	t.Parallel()
	auth := grpcauth.New(grpcauth.All(scheme("Bearer"), keyed("x-api-key", "apikey")))
	for name, c := range map[string]struct {
		md   metadata.MD
		want string
	}{
		"both":                   {metadata.Pairs("authorization", "Bearer alice", "x-api-key", "carol"), "alice"},
		"nothing":                {nil, "CREDENTIALS_MISSING"},
		"only the first":         {metadata.Pairs("authorization", "Bearer alice"), "CREDENTIALS_MISSING"},
		"only the second":        {metadata.Pairs("x-api-key", "carol"), "CREDENTIALS_MISSING"},
		"first wrong":            {metadata.Pairs("authorization", "Bearer bad", "x-api-key", "carol"), "CREDENTIALS_INVALID"},
		"second wrong":           {metadata.Pairs("authorization", "Bearer alice", "x-api-key", "bad"), "CREDENTIALS_INVALID"},
		"outage behind a wrong":  {metadata.Pairs("authorization", "Bearer bad", "x-api-key", "down"), "AUTHENTICATION_UNAVAILABLE"},
		"one wrong, one missing": {metadata.Pairs("authorization", "Bearer bad"), "CREDENTIALS_INVALID"},
	} {
		if got := judge(auth, c.md); got != c.want {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}
	}
}

func TestAllKeepsTheFirstIdentityAndTheEarliestExpiry(t *testing.T) {
	t.Parallel()
	now := time.Now()
	fixed := func(u grpcauth.User) grpcauth.Backend {
		return grpcauth.BackendFunc(func(context.Context, *grpcauth.Request) (*grpcauth.User, error) { return &u, nil })
	}
	all := grpcauth.All(
		fixed(grpcauth.User{ID: "workload", Method: "mtls", Scopes: []string{"a"}, Expiry: now.Add(time.Hour)}),
		fixed(grpcauth.User{ID: "alice", Method: "jwt", Scopes: []string{"b"}, Expiry: now.Add(time.Minute)}),
		fixed(grpcauth.User{ID: "carol", Method: "apikey"}),
	)
	user, err := all.Authenticate(t.Context(), request(nil))
	if err != nil {
		t.Fatal(err)
	}
	if user.ID != "workload" || user.Method != "mtls" || len(user.Scopes) != 1 || user.Scopes[0] != "a" || !user.Expiry.Equal(now.Add(time.Minute)) {
		t.Errorf("got %+v", user)
	}
	if len(user.Factors) != 3 || user.Factors[1].ID != "alice" || user.Factors[2].Method != "apikey" {
		t.Errorf("got factors %v, want all three in order", user.Factors)
	}
}

func TestCompositionsOfNothingDeny(t *testing.T) {
	t.Parallel()
	for name, b := range map[string]grpcauth.Backend{
		"Chain()": grpcauth.Chain(), "All()": grpcauth.All(), "Chain(All())": grpcauth.Chain(grpcauth.All()), "All(Chain())": grpcauth.All(grpcauth.Chain()),
	} {
		optional := grpcauth.WithPolicy(grpcauth.Policy{echoMethod: {Access: grpcauth.Optional}})
		if got := judge(grpcauth.New(b, optional), nil); got != "AUTHENTICATION_FAILED" {
			t.Errorf("%s: got %s, want a denial", name, got)
		}
	}
}

func TestTwoKindsAreAllowedOnlyUnderOneAll(t *testing.T) {
	t.Parallel()
	both := grpcauth.All(scheme("Bearer"), keyed("x-api-key", "apikey"))
	decorated := describing{both, both.(grpcauth.Describer).Schemes()}
	for name, c := range map[string]struct {
		backend grpcauth.Backend
		md      metadata.MD
		want    string
	}{
		"an All in a Chain":               {grpcauth.Chain(both, keyed("x-session", "session")), metadata.Pairs("authorization", "Bearer alice", "x-api-key", "carol"), "alice"},
		"a decorated All in a Chain":      {grpcauth.Chain(decorated, keyed("x-session", "session")), metadata.Pairs("authorization", "Bearer alice", "x-api-key", "carol"), "alice"},
		"a third kind beside the All":     {grpcauth.Chain(both, keyed("x-session", "session")), metadata.Pairs("authorization", "Bearer alice", "x-api-key", "carol", "x-session", "dave"), "CREDENTIALS_AMBIGUOUS"},
		"half of the All and a third":     {grpcauth.Chain(both, keyed("x-session", "session")), metadata.Pairs("authorization", "Bearer alice", "x-session", "dave"), "CREDENTIALS_AMBIGUOUS"},
		"another scheme than the All's":   {grpcauth.Chain(both, scheme("Basic")), metadata.Pairs("authorization", "Basic bob", "x-api-key", "carol"), "CREDENTIALS_AMBIGUOUS"},
		"a Chain inside an All chooses":   {grpcauth.All(scheme("Bearer"), grpcauth.Chain(keyed("x-a", "a"), keyed("x-b", "b"))), metadata.Pairs("authorization", "Bearer alice", "x-b", "bob"), "alice"},
		"a Chain inside an All has two":   {grpcauth.All(scheme("Bearer"), grpcauth.Chain(keyed("x-a", "a"), keyed("x-b", "b"))), metadata.Pairs("authorization", "Bearer alice", "x-a", "ann", "x-b", "bob"), "CREDENTIALS_AMBIGUOUS"},
		"one backend that reads two ways": {describing{keyed("x-a", "a"), []grpcauth.Scheme{{Name: "a", Header: "x-a"}, {Name: "a", Cookie: "a"}}}, metadata.Pairs("x-a", "ann", "cookie", "a=ann"), "CREDENTIALS_AMBIGUOUS"},
	} {
		if got := judge(grpcauth.New(c.backend), c.md); got != c.want {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}
	}
}

// connection is a backend that is proven by the connection, as mtls is.
func connection(id string) grpcauth.Backend {
	return describing{grpcauth.BackendFunc(func(context.Context, *grpcauth.Request) (*grpcauth.User, error) {
		return &grpcauth.User{ID: id, Method: "connection"}, nil
	}), []grpcauth.Scheme{{Name: "connection"}}}
}

func TestCredentialThatNothingReadsIsRefused(t *testing.T) {
	t.Parallel()
	const other = "/echo.v1.EchoService/Collect"
	auth := grpcauth.New(grpcauth.Chain(connection("workload"), scheme("Bearer")),
		grpcauth.WithBackends(map[string]grpcauth.Backend{"key": keyed("x-api-key", "apikey")}),
		grpcauth.WithPolicy(grpcauth.Policy{other: {Backends: []string{"key"}}}))
	for name, c := range map[string]struct {
		md   metadata.MD
		want string
	}{
		"the connection alone":                 {nil, "workload"},
		"a bad token beside the connection":    {metadata.Pairs("authorization", "Bearer bad"), "CREDENTIALS_INVALID"},
		"a good token beside the connection":   {metadata.Pairs("authorization", "Bearer alice"), "CREDENTIALS_INVALID"},
		"a key that only other methods take":   {metadata.Pairs("x-api-key", "carol"), "CREDENTIALS_INVALID"},
		"an unknown header is no credential":   {metadata.Pairs("x-other", "carol"), "workload"},
		"two values beside the connection":     {metadata.Pairs("authorization", "a", "authorization", "b"), "CREDENTIALS_INVALID"},
		"an empty header beside the connecton": {metadata.Pairs("authorization", ""), "CREDENTIALS_INVALID"},
	} {
		if got := judge(auth, c.md); got != c.want {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}
	}
	both := grpcauth.New(grpcauth.All(connection("workload"), scheme("Bearer")))
	if got := judge(both, metadata.Pairs("authorization", "Bearer alice")); got != "workload" {
		t.Errorf("All reads both: got %s", got)
	}
}

func TestBackendsOutsideTheirContractDeny(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		backend grpcauth.BackendFunc
		want    codes.Code
	}{
		"neither user nor error": {func(context.Context, *grpcauth.Request) (*grpcauth.User, error) { return nil, nil }, codes.Internal},
		"user and error": {func(context.Context, *grpcauth.Request) (*grpcauth.User, error) {
			return &grpcauth.User{ID: "x"}, errors.New("x")
		}, codes.Unavailable},
		"user without an ID": {func(context.Context, *grpcauth.Request) (*grpcauth.User, error) {
			return &grpcauth.User{Name: "x"}, nil
		}, codes.Internal},
		"an expired user": {func(context.Context, *grpcauth.Request) (*grpcauth.User, error) {
			return &grpcauth.User{ID: "x", Expiry: time.Unix(1, 0)}, nil
		}, codes.Unauthenticated},
		"a typed nil refusal": {func(context.Context, *grpcauth.Request) (*grpcauth.User, error) {
			return nil, (*grpcauth.AuthenticationError)(nil)
		}, codes.Internal},
		"a panic": {func(context.Context, *grpcauth.Request) (*grpcauth.User, error) { panic("x") }, codes.Internal},
		"a panic with nil": {func(context.Context, *grpcauth.Request) (*grpcauth.User, error) {
			panic(nil) //nolint:govet // a backend may
		}, codes.Internal},
		"a joined not mine": {func(context.Context, *grpcauth.Request) (*grpcauth.User, error) {
			return nil, errors.Join(grpcauth.ErrNoCredentials, errors.New("x"))
		}, codes.Unavailable},
		"a bad header": {func(_ context.Context, r *grpcauth.Request) (*grpcauth.User, error) {
			r.SetHeader("set-cookie", "a\r\nb")
			return &grpcauth.User{ID: "x"}, nil
		}, codes.Internal},
		"a reserved header": {func(_ context.Context, r *grpcauth.Request) (*grpcauth.User, error) {
			r.SetHeader("grpc-status", "0")
			return nil, grpcauth.ErrNoCredentials
		}, codes.Internal},
	} {
		for access, policy := range map[string]grpcauth.Policy{"required": nil, "optional": {echoMethod: {Access: grpcauth.Optional}}} {
			ctx, err := grpcauth.New(c.backend, grpcauth.WithPolicy(policy)).Authenticate(incoming(nil), echoMethod)
			if ctx != nil || status.Code(err) != c.want {
				t.Errorf("%s, %s: got %v, %v, want %v", name, access, ctx, err, c.want)
			}
		}
	}
}
