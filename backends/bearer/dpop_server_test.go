// SPDX-License-Identifier: Apache-2.0

package bearer_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/backendtest"
	"github.com/grpcauth/grpcauth/backends/bearer"
	"github.com/grpcauth/grpcauth/backends/jwt"
	"github.com/grpcauth/grpcauth/grpcauthtest"
)

// anyKey accepts any value of x-api-key.
var anyKey = grpcauth.BackendFunc(func(_ context.Context, req *grpcauth.Request) (*grpcauth.User, error) {
	key, err := req.Value("x-api-key")
	return &grpcauth.User{ID: key}, err
})

func dial(t *testing.T, auth *grpcauth.Interceptor) healthpb.HealthClient {
	t.Helper()
	return healthpb.NewHealthClient(grpcauthtest.Serve(t, auth, func(s grpcauth.Server) { healthpb.RegisterHealthServer(s, health.NewServer()) }))
}

func TestRefusalsSayWhatIsWrongWithTheProof(t *testing.T) {
	t.Parallel()
	const bad, tokenError = `error="invalid_dpop_proof"`, `error="invalid_token"`
	htu := map[string]any{"htu": origin + check}
	server := func(opts bearer.DPoP) line {
		opts.Origins = []string{origin}
		return connect(t, newBackend(t, aliceOnly(), bearer.Options{Realm: "orders", DPoP: &opts}))
	}
	plain, nonces := server(bearer.DPoP{Algorithms: []string{"ES256", "EdDSA"}}), server(bearer.DPoP{RequireNonce: true})
	good := alice.proof(htu)
	if header, err := plain.call(t, "DPoP "+token, good); err != nil || len(header["dpop-nonce"])+len(header["www-authenticate"]) != 0 {
		t.Fatalf("a good proof: got %v with %v", err, header)
	}
	for name, test := range map[string]struct {
		server                 line
		authorization          string
		proofs                 []string
		reason, dpop, onBearer string
	}{
		"none":              {plain, "DPoP " + token, nil, refused, bad, ""},
		"used":              {plain, "DPoP " + token, []string{good}, refused, bad, ""},
		"two":               {plain, "DPoP " + token, []string{alice.proof(htu), alice.proof(htu)}, ambiguous, bad, ""},
		"no proof":          {plain, "DPoP " + token, []string{"x"}, malformed, bad, ""},
		"empty":             {plain, "DPoP " + token, []string{""}, malformed, bad, ""},
		"another call's":    {plain, "DPoP " + token, []string{alice.proof(nil)}, refused, bad, ""},
		"another key":       {plain, "DPoP " + token, []string{mallory.proof(htu)}, refused, bad, ""},
		"under Bearer":      {plain, "Bearer " + token, []string{alice.proof(htu)}, refused, tokenError, tokenError},
		"no token":          {plain, "Basic YTpi", nil, "CREDENTIALS_INVALID", tokenError, tokenError},
		"malformed token":   {plain, "DPoP a,b", []string{alice.proof(htu)}, malformed, `error="invalid_request"`, `error="invalid_request"`},
		"no nonce":          {nonces, "DPoP " + token, []string{alice.proof(htu)}, refused, `error="use_dpop_nonce"`, ""},
		"bad before nonces": {nonces, "DPoP " + token, []string{mallory.proof(htu)}, refused, bad, ""},
	} {
		header, err := test.server.call(t, test.authorization, test.proofs...)
		if status.Code(err) != codes.Unauthenticated || len(header["www-authenticate"]) != 2 {
			t.Errorf("%s: got %v with %v", name, err, header)
			continue
		}
		asked := strings.Join(header["www-authenticate"], "\n")
		i := slices.IndexFunc(header["www-authenticate"], func(c string) bool { return strings.HasPrefix(c, "DPoP ") })
		own, other := header["www-authenticate"][i], header["www-authenticate"][1-i]
		algs := `algs="ES256 EdDSA"`
		if test.server == nonces {
			algs = `algs="ES256 ES384 ES512 Ed25519 EdDSA PS256 RS256"`
		}
		if !strings.Contains(own, test.dpop) || !strings.Contains(own, algs) || !strings.Contains(own, `realm="orders"`) || !strings.Contains(other, test.onBearer) || test.onBearer == "" && strings.Contains(other, "error") || strings.Contains(other, "algs") {
			t.Errorf("%s: got the challenges %s", name, asked)
		}
		if nonce := header["dpop-nonce"]; (len(nonce) == 1) != strings.Contains(own, "use_dpop_nonce") {
			t.Errorf("%s: got the nonces %q", name, nonce)
		}
		if test.reason != refused && !strings.Contains(fmt.Sprint(status.Convert(err).Details()), test.reason) {
			t.Errorf("%s: got %v, want %s", name, status.Convert(err).Details(), test.reason)
		}
	}
}

func TestOneProofOpensAStreamThatIsJudgedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var binding atomic.Pointer[grpcauth.Binding]
		open := func(scheme string, first, then grpcauth.Binding) (judged int, err error) {
			binding.Store(&first)
			j := &judge{verify: func(context.Context, string) (*grpcauth.User, error) {
				return &grpcauth.User{ID: "alice", Binding: *binding.Load()}, nil
			}}
			b := newBackend(t, j, bearer.Options{Now: time.Now, DPoP: &bearer.DPoP{Origins: []string{origin}}})
			proof := alice.proof(map[string]any{"htu": origin + "/grpc.health.v1.Health/Watch", "iat": time.Now().Unix()})
			ctx, cancel := context.WithCancel(metadata.NewOutgoingContext(t.Context(), metadata.Pairs("authorization", scheme+" "+token, "dpop", proof)))
			defer cancel()
			client := dial(t, grpcauth.New(b, grpcauth.WithStreamRecheck(time.Second)))
			stream, err := client.Watch(ctx, &healthpb.HealthCheckRequest{})
			if err == nil {
				_, err = stream.Recv()
			}
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(5*time.Minute + time.Millisecond) // five times as long as a proof is taken
			binding.Store(&then)
			time.Sleep(time.Second)
			synctest.Wait()
			judged = j.asked()
			cancel()
			_, err = stream.Recv()
			again, errAgain := client.Watch(metadata.NewOutgoingContext(t.Context(), metadata.Pairs("authorization", scheme+" "+token, "dpop", proof)), &healthpb.HealthCheckRequest{})
			if errAgain == nil {
				_, errAgain = again.Recv()
			}
			if scheme == "DPoP" && status.Code(errAgain) != codes.Unauthenticated {
				t.Errorf("another stream by the same proof: got %v", errAgain)
			}
			return judged, err
		}
		hers := grpcauth.Binding{JKT: alice.thumbprint}
		if judged, err := open("DPoP", hers, hers); judged != 302 || status.Code(err) != codes.Canceled {
			t.Errorf("a token that stays: judged %d times, then %v", judged, err)
		}
		if _, err := open("DPoP", hers, grpcauth.Binding{}); status.Code(err) != codes.Unauthenticated {
			t.Errorf("a token that is bound no more: got %v", err)
		}
		if _, err := open("Bearer", grpcauth.Binding{}, hers); status.Code(err) != codes.Unauthenticated {
			t.Errorf("a token that is bound now: got %v", err)
		}
		if _, err := open("DPoP", hers, grpcauth.Binding{JKT: alice.thumbprint, CertSHA256: alice.thumbprint}); status.Code(err) != codes.Unauthenticated {
			t.Errorf("a token that is bound to a certificate too now: got %v", err)
		}
	})
}

func TestTokensOfAnIssuerAreBoundToKeys(t *testing.T) {
	t.Parallel()
	issuer := grpcauthtest.NewIssuer(t, "https://idp.example.com", "orders")
	issuer.Now = func() time.Time { return start }
	backend, err := jwt.New(jwt.Options{Issuers: []jwt.Issuer{issuer.Config("ES256")}, Now: issuer.Now, Bearer: bearer.Options{DPoP: &bearer.DPoP{Origins: []string{origin}}}})
	if err != nil {
		t.Fatal(err)
	}
	client := line{dial(t, grpcauth.New(backend))}
	never := start.AddDate(200, 0, 0).Unix() // the interceptor's own clock is not ours
	hers := issuer.Token("ES256", "alice", map[string]any{"exp": never, "cnf": map[string]any{"jkt": alice.thumbprint}})
	open := issuer.Token("ES256", "alice", map[string]any{"exp": never})
	proof := func(h holder, token string) []string {
		return []string{h.proof(map[string]any{"htu": origin + check, "ath": hash(token)})}
	}
	for name, test := range map[string]struct {
		authorization string
		proofs        []string
		want          codes.Code
	}{
		"bound": {"DPoP " + hers, proof(alice, hers), codes.OK}, "bound, again": {"DPoP " + hers, proof(alice, hers), codes.OK}, "bound, another key": {"DPoP " + hers, proof(mallory, hers), codes.Unauthenticated},
		"bound, another token": {"DPoP " + hers, proof(alice, open), codes.Unauthenticated}, "bound, no proof": {"DPoP " + hers, nil, codes.Unauthenticated}, "bound, Bearer": {"Bearer " + hers, proof(alice, hers), codes.Unauthenticated},
		"not bound": {"Bearer " + open, nil, codes.OK}, "not bound, DPoP": {"DPoP " + open, proof(alice, open), codes.Unauthenticated},
	} {
		if _, err := client.call(t, test.authorization, test.proofs...); status.Code(err) != test.want {
			t.Errorf("%s: got %v, want %v", name, err, test.want)
		}
	}
}

func TestConformanceWithDPoP(t *testing.T) {
	t.Parallel()
	const theirs = "Kz~8mXK1EalYznwH-LC"
	tokens := desk{token: {ID: "alice", Scopes: []string{"a"}}, theirs: {ID: "bob", Binding: grpcauth.Binding{JKT: alice.thumbprint}}}
	secret := bytes.Repeat([]byte("n"), 32)
	backendtest.Run(t, backendtest.Suite{
		Backend: newBackend(t, tokens, bearer.Options{DPoP: &bearer.DPoP{Origins: []string{origin}, NonceSecret: secret}}),
		Good:    metadata.Pairs("authorization", "Bearer "+token),
		Bad: []metadata.MD{
			metadata.Pairs("authorization", "DPoP "+token), metadata.Pairs("authorization", "Bearer "+theirs), metadata.Pairs("authorization", "DPoP "+theirs), metadata.Pairs("authorization", "DPoP "+theirs, "dpop", "eyJ0eXAiOiJkcG9wIn0.e30.AAAA"),
			metadata.Pairs("authorization", "DPoP "+theirs, "dpop", mallory.proof(map[string]any{"ath": hash(theirs)})),
		},
		Secrets: []string{string(secret)},
	})
}

func TestNewNamesTheFieldOfDPoPThatIsWrong(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		want string
		opts bearer.DPoP
	}{
		{"DPoP.Origins is empty", bearer.DPoP{}},
		{"DPoP.Origins is empty", bearer.DPoP{Origins: []string{}}},
		{"DPoP.Algorithms", bearer.DPoP{Algorithms: []string{"ES256", "HS256"}}},
		{"DPoP.Algorithms", bearer.DPoP{Algorithms: []string{"none"}}},
		{"DPoP.Algorithms", bearer.DPoP{Algorithms: []string{""}}},
		{"DPoP.Algorithms", bearer.DPoP{Algorithms: []string{"es256"}}},
		{"DPoP.MaxAge", bearer.DPoP{MaxAge: -1}},
		{"DPoP.MaxAge", bearer.DPoP{MaxAge: time.Hour + 1}},
		{"DPoP.MaxAge", bearer.DPoP{MaxAge: 1<<63 - 1}},
		{"DPoP.MaxAhead", bearer.DPoP{MaxAhead: -1}},
		{"DPoP.MaxAhead", bearer.DPoP{MaxAhead: 1<<63 - 1}},
		{"DPoP.NonceFor", bearer.DPoP{NonceFor: -1}},
		{"DPoP.NonceFor", bearer.DPoP{NonceFor: 2 * time.Hour}},
		{"DPoP.NonceSecret", bearer.DPoP{NonceSecret: bytes.Repeat([]byte("hunter2."), 4)[:31]}},
	} {
		if test.opts.Origins == nil && !strings.HasPrefix(test.want, "DPoP.Origins") {
			test.opts.Origins = []string{origin}
		}
		b, err := bearer.New(anybody(), bearer.Options{DPoP: &test.opts})
		if b != nil || err == nil || !strings.Contains(err.Error(), "Options."+test.want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("got %v, %v, want an error that names %s", b, err, test.want)
		}
	}
	for _, wrong := range []string{
		"", "orders.example.com", "orders.example.com:443", "https://", "https://:443", "ftp://orders.example.com", origin + "/orders", origin + "//", origin + "/?", origin + "?a=b", origin + "/#", "https://alice:hunter2@orders.example.com", "https://*", "https://\u212a.example", " " + origin,
	} {
		b, err := bearer.New(anybody(), bearer.Options{DPoP: &bearer.DPoP{Origins: []string{origin, wrong}}})
		if b != nil || err == nil || !strings.Contains(err.Error(), "Options.DPoP.Origins[1]") || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: got %v, %v", wrong, b, err)
		}
	}
}

func TestOptionsAreCopied(t *testing.T) {
	t.Parallel()
	opts := bearer.DPoP{Origins: []string{origin}, Algorithms: []string{"ES256"}}
	b := newBackend(t, aliceOnly(), bearer.Options{DPoP: &opts})
	opts.Origins[0], opts.Algorithms[0], opts.MaxAge, opts.RequireNonce = "https://evil.example", "EdDSA", 1, true
	expectProof(t, b, "alice", alice.proof(nil))
}

func TestPrintingShowsNoSecretOfNonces(t *testing.T) {
	t.Parallel()
	const secret = "opensesame opensesame opensesame"
	dpop := bearer.DPoP{Origins: []string{origin}, NonceSecret: []byte(secret), RequireNonce: true}
	opts := bearer.Options{DPoP: &dpop}
	b := newBackend(t, aliceOnly(), opts)
	for _, shown := range []any{dpop, &dpop, opts, &opts, b, []any{dpop}, struct{ D bearer.DPoP }{dpop}, jwt.Options{Bearer: opts}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			text := fmt.Sprintf(verb, shown)
			for _, part := range []string{"opensesame", fmt.Sprintf("%x", secret[:8]), "111 112 101 110"} {
				if strings.Contains(text, part) {
					t.Errorf("%T with %s shows the secret: %s", shown, verb, text)
				}
			}
		}
	}
	if got := fmt.Sprint(dpop); got != `DPoP(["https://orders.example.com"])` {
		t.Errorf("got %s", got)
	}
}
