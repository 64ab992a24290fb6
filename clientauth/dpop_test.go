// SPDX-License-Identifier: Apache-2.0

package clientauth_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	gojwt "github.com/golang-jwt/jwt/v5"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/bearer"
	"github.com/grpcauth/grpcauth/clientauth"
	echov1 "github.com/grpcauth/grpcauth/internal/gen/echo/v1"
)

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	return must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
}

func possess(t *testing.T, key crypto.Signer, src clientauth.Source, opts clientauth.Options) *clientauth.DPoP {
	t.Helper()
	opts.InsecureAllowLoopback = true
	return must[*clientauth.DPoP](t)(clientauth.NewDPoP(key, src, opts))
}

func withDPoP(d *clientauth.DPoP) []grpc.DialOption {
	return []grpc.DialOption{grpc.WithPerRPCCredentials(d), grpc.WithChainUnaryInterceptor(d.Unary()), grpc.WithChainStreamInterceptor(d.Stream())}
}

func TestProofSaysWhatTheRFCAsks(t *testing.T) {
	t.Parallel()
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for alg, key := range map[string]crypto.Signer{"ES256": newKey(t), "EdDSA": ed, "RS256": must[*rsa.PrivateKey](t)(rsa.GenerateKey(rand.Reader, 2048))} {
		h := &heard{}
		d := possess(t, key, fixed("mF_9.B5f-4.1JqM"), clientauth.Options{Now: func() time.Time { return start }})
		client := dial(t, h, withDPoP(d)...)
		for range 2 {
			if err := call(t.Context(), client); err != nil {
				t.Fatal(err)
			}
		}
		if got := h.values("authorization")[0]; got != "DPoP mF_9.B5f-4.1JqM" {
			t.Errorf("got %s", got)
		}
		ids := map[any]bool{}
		for _, proof := range h.values("dpop") {
			claims := gojwt.MapClaims{}
			parsed, err := gojwt.NewParser(gojwt.WithValidMethods([]string{alg})).ParseWithClaims(proof, claims, func(*gojwt.Token) (any, error) { return key.Public(), nil })
			if err != nil {
				t.Fatal(err)
			}
			jwk, err := json.Marshal(parsed.Header["jwk"])
			if err != nil {
				t.Fatal(err)
			}
			sum := sha256.Sum256(jwk) // whose members encoding/json sorts
			if parsed.Header["typ"] != "dpop+jwt" || base64.RawURLEncoding.EncodeToString(sum[:]) != d.Thumbprint() || strings.Contains(string(jwk), `"d"`) {
				t.Errorf("%s: got the header %v", alg, parsed.Header)
			}
			hash := sha256.Sum256([]byte("mF_9.B5f-4.1JqM"))
			want := fmt.Sprint("POST", "https://orders.example.com/echo.v1.EchoService/Echo", float64(start.Unix()), base64.RawURLEncoding.EncodeToString(hash[:]))
			if got := fmt.Sprint(claims["htm"], claims["htu"], claims["iat"], claims["ath"]); got != want || len(claims) != 5 {
				t.Errorf("%s: got %v", alg, claims)
			}
			if id, _ := claims["jti"].(string); len(id) < 22 {
				t.Errorf("got the jti %q", id)
			}
			ids[claims["jti"]] = true
		}
		if len(ids) != 2 {
			t.Errorf("two calls had %d proofs", len(ids))
		}
	}
}

// binding is a server that takes tokens bound to the key of that thumbprint.
func binding(t *testing.T, thumbprint string, nonce bool) *grpcauth.Interceptor {
	t.Helper()
	b := must[*bearer.Backend](t)(bearer.New(verifier(func(token string) (*grpcauth.User, error) {
		if token == "expired" {
			return nil, grpcauth.Errorf(grpcauth.CodeExpired, "over")
		}
		return &grpcauth.User{ID: "alice", Binding: grpcauth.Binding{JKT: thumbprint}}, nil
	}), bearer.Options{DPoP: &bearer.DPoP{Origins: []string{"https://orders.example.com"}, RequireNonce: nonce}}))
	return grpcauth.New(b)
}

type verifier func(token string) (*grpcauth.User, error)

func (v verifier) Verify(_ context.Context, token string) (*grpcauth.User, error) { return v(token) }

// counting counts the calls that reach a server, let in or not.
func counting(n *int) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		*n++
		return handler(ctx, req)
	}
}

func TestServerTakesTheProofs(t *testing.T) {
	t.Parallel()
	for _, nonce := range []bool{false, true} {
		d := possess(t, newKey(t), fixed("abc"), clientauth.Options{})
		n := 0
		client := guarded(t, binding(t, d.Thumbprint(), nonce), &n, withDPoP(d)...)
		for range 3 {
			if err := call(t.Context(), client); err != nil {
				t.Errorf("nonce %t: got %v", nonce, err)
			}
		}
		if want := map[bool]int{false: 3, true: 4}[nonce]; n != want {
			t.Errorf("nonce %t: %d calls, want %d", nonce, n, want)
		}
		stream, err := client.Converse(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); err != nil && status.Code(err) != codes.Unimplemented && err.Error() != "EOF" {
			t.Errorf("a stream got %v", err)
		}
		thief := possess(t, newKey(t), fixed("abc"), clientauth.Options{})
		if err := call(t.Context(), guarded(t, binding(t, d.Thumbprint(), nonce), &n, withDPoP(thief)...)); status.Code(err) != codes.Unauthenticated {
			t.Errorf("nonce %t: a thief got %v", nonce, err)
		}
	}
}

func guarded(t *testing.T, auth *grpcauth.Interceptor, n *int, opts ...grpc.DialOption) echov1.EchoServiceClient {
	t.Helper()
	listener := bufconnListener()
	opts = append(opts, inMemory(listener)...)
	return connect(t, &heard{}, listener, append([]grpc.ServerOption{grpc.ChainUnaryInterceptor(counting(n))}, auth.ServerOptions()...), "passthrough:///orders.example.com:443", opts)
}

func TestNonceIsLearntFromEveryAnswer(t *testing.T) {
	t.Parallel()
	d := possess(t, newKey(t), fixed("abc"), clientauth.Options{})
	next := 0
	h := &heard{answer: func(ctx context.Context, _ metadata.MD) error {
		next++
		return grpc.SetHeader(ctx, metadata.Pairs("dpop-nonce", fmt.Sprint("n", next)))
	}}
	client := dial(t, h, withDPoP(d)...)
	for range 2 {
		if err := call(t.Context(), client); err != nil {
			t.Fatal(err)
		}
	}
	stream, err := client.Converse(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, _ = stream.Recv()
	if err := call(t.Context(), client); err != nil {
		t.Fatal(err)
	}
	var got []any
	for _, proof := range h.values("dpop") {
		claims := gojwt.MapClaims{}
		if _, _, err := gojwt.NewParser().ParseUnverified(proof, claims); err != nil {
			t.Fatal(err)
		}
		got = append(got, claims["nonce"])
	}
	if fmt.Sprint(got) != "[<nil> n1 n2 n3]" {
		t.Errorf("the proofs had the nonces %v", got)
	}
}

// A server that wants another nonce each time gets two calls, and one that says nonsense gets one.
func TestNonceIsTriedOnce(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		nonces func(n int) []string
		calls  int
	}{
		"another each time": {func(n int) []string { return []string{fmt.Sprint("n", n)} }, 2},
		"the same":          {func(int) []string { return []string{"n"} }, 2},
		"none":              {func(int) []string { return nil }, 1},
		"two":               {func(n int) []string { return []string{"a", "b"} }, 1},
		"a space":           {func(int) []string { return []string{"a b"} }, 1},
		"a quotation mark":  {func(int) []string { return []string{`a"b`} }, 1},
		"too long":          {func(int) []string { return []string{strings.Repeat("a", 1025)} }, 1},
	} {
		n := 0
		h := &heard{answer: func(ctx context.Context, _ metadata.MD) error {
			n++
			md := metadata.Pairs("www-authenticate", `DPoP realm="x", error="use_dpop_nonce"`)
			md.Set("dpop-nonce", c.nonces(n)...)
			if err := grpc.SetHeader(ctx, md); err != nil {
				return err
			}
			return status.Error(codes.Unauthenticated, "no")
		}}
		d := possess(t, newKey(t), fixed("abc"), clientauth.Options{})
		if err := call(t.Context(), dial(t, h, withDPoP(d)...)); status.Code(err) != codes.Unauthenticated || n != c.calls {
			t.Errorf("%s: got %v after %d calls, want %d", name, err, n, c.calls)
		}
	}
}

func TestNonceThatWasRefusedIsNotTriedAgain(t *testing.T) {
	t.Parallel()
	n := 0
	h := &heard{answer: func(ctx context.Context, _ metadata.MD) error {
		n++
		if err := grpc.SetHeader(ctx, metadata.Pairs("www-authenticate", `DPoP error="use_dpop_nonce"`, "dpop-nonce", "n")); err != nil {
			return err
		}
		return status.Error(codes.Unauthenticated, "no")
	}}
	conn := dial(t, h, withDPoP(possess(t, newKey(t), fixed("abc"), clientauth.Options{}))...)
	for i, want := range []int{2, 3} {
		if err := call(t.Context(), conn); status.Code(err) != codes.Unauthenticated || n != want {
			t.Errorf("call %d: got %v after %d calls, want %d", i+1, err, n, want)
		}
	}
}

func TestBoundTokensAreRefreshedToo(t *testing.T) {
	t.Parallel()
	f := &fetcher{fetch: func(_ context.Context, n int64) (clientauth.Token, error) {
		return clientauth.Token{Value: []string{"expired", "fresh"}[min(n, 2)-1]}, nil
	}}
	r := must[*clientauth.Refreshing](t)(clientauth.NewRefreshing(f, near))
	d := possess(t, newKey(t), r, clientauth.Options{})
	n := 0
	client := guarded(t, binding(t, d.Thumbprint(), true), &n, append([]grpc.DialOption{grpc.WithChainUnaryInterceptor(r.Unary())}, withDPoP(d)...)...)
	if err := call(t.Context(), client); err != nil || f.asked.Load() != 2 {
		t.Errorf("got %v, %d tokens", err, f.asked.Load())
	}
}

func TestProofForTheProviderHasNoToken(t *testing.T) {
	t.Parallel()
	key := newKey(t)
	d := possess(t, key, fixed("abc"), clientauth.Options{})
	proof, err := d.Proof("POST", "https://idp.example.com/token", "", "")
	if err != nil {
		t.Fatal(err)
	}
	claims := gojwt.MapClaims{}
	if _, err := gojwt.ParseWithClaims(proof, claims, func(*gojwt.Token) (any, error) { return &key.PublicKey, nil }); err != nil || len(claims) != 4 || claims["htu"] != "https://idp.example.com/token" {
		t.Errorf("got %v, %v", claims, err)
	}
}

func TestDPoPSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	p224 := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P224(), rand.Reader))
	for name, construct := range map[string]func() (*clientauth.DPoP, error){
		"no key":       func() (*clientauth.DPoP, error) { return clientauth.NewDPoP(nil, fixed("a"), near) },
		"no source":    func() (*clientauth.DPoP, error) { return clientauth.NewDPoP(newKey(t), nil, near) },
		"key of P-224": func() (*clientauth.DPoP, error) { return clientauth.NewDPoP(p224, fixed("a"), near) },
		"timeout": func() (*clientauth.DPoP, error) {
			return clientauth.NewDPoP(newKey(t), fixed("a"), clientauth.Options{Timeout: -1})
		},
	} {
		if _, err := construct(); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	d := possess(t, newKey(t), fixed(secret), clientauth.Options{})
	encoded, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	if text := fmt.Sprintf("%v %+v %#v %s", d, d, d, encoded); strings.Contains(text, secret) || len(text) > 100 {
		t.Errorf("it prints %s", text)
	}
	strict := must[*clientauth.DPoP](t)(clientauth.NewDPoP(newKey(t), fixed(secret), clientauth.Options{}))
	h := &heard{}
	if err := call(t.Context(), dial(t, h), grpc.PerRPCCredentials(strict)); status.Code(err) != codes.Unauthenticated || h.sent() {
		t.Errorf("over plaintext: got %v", err)
	}
}
