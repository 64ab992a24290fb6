// SPDX-License-Identifier: Apache-2.0

package bearer_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/bearer"
	"github.com/grpcauth/grpcauth/grpcauthtest"
)

const (
	origin    = "https://orders.example.com"
	token     = "mF_9.B5f-4.1JqM"
	ambiguous = "CREDENTIALS_AMBIGUOUS"
	throttled = "TOO_MANY_ATTEMPTS"
)

// holder is a caller with a key that tokens are bound to.
type holder struct {
	key             *ecdsa.PrivateKey
	jwk, thumbprint string
}

func newHolder(seed byte) holder {
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), big.NewInt(int64(seed)).FillBytes(make([]byte, 32)))
	if err != nil {
		panic(err)
	}
	point, err := key.PublicKey.Bytes()
	if err != nil {
		panic(err)
	}
	jwk := fmt.Sprintf(`{"crv":"P-256","kty":"EC","x":%q,"y":%q}`, b64(point[1:33]), b64(point[33:]))
	return holder{key, jwk, hash(jwk)}
}

var alice, mallory = newHolder(1), newHolder(2)

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return b64(sum[:])
}

var proofs atomic.Int64 // numbers them, so that each has another jti

// proof is for a call of the method with the token at the start; changes are made to its claims, and nil takes one away.
func (h holder) proof(changes map[string]any) string {
	claims := map[string]any{"jti": fmt.Sprintf("proof %d", proofs.Add(1)), "htm": "POST", "htu": origin + method, "iat": start.Unix(), "ath": hash(token)}
	maps.Copy(claims, changes)
	maps.DeleteFunc(claims, func(_ string, v any) bool { return v == nil })
	payload, err := json.Marshal(claims)
	if err != nil {
		panic(err)
	}
	signed := b64([]byte(`{"typ":"dpop+jwt","alg":"ES256","jwk":`+h.jwk+`}`)) + "." + b64(payload)
	sum := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, h.key, sum[:])
	if err != nil {
		panic(err)
	}
	return signed + "." + b64(append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...))
}

// aliceOnly accepts every token as alice's, bound to her key.
func aliceOnly() *judge { return bound(grpcauth.Binding{JKT: alice.thumbprint}) }

// possession is a backend for tokens of hers.
func possession(tb testing.TB, opts bearer.DPoP) *bearer.Backend {
	tb.Helper()
	return possessionAt(tb, opts, func() time.Time { return start })
}

func possessionAt(tb testing.TB, opts bearer.DPoP, now func() time.Time) *bearer.Backend {
	tb.Helper()
	if opts.Origins == nil {
		opts.Origins = []string{origin}
	}
	return newBackend(tb, aliceOnly(), bearer.Options{DPoP: &opts, Now: now})
}

// prove is one call with the token and proofs.
func prove(ctx context.Context, b grpcauth.Backend, proofs ...string) string {
	return answer(b.Authenticate(ctx, proven(ctx, "DPoP "+token, proofs...)))
}

func proven(ctx context.Context, authorization string, proofs ...string) *grpcauth.Request {
	return grpcauthtest.RequestMD(ctx, method, metadata.MD{"authorization": {authorization}, "dpop": proofs})
}

func expectProof(t *testing.T, b grpcauth.Backend, want string, proofs ...string) {
	t.Helper()
	if got := prove(t.Context(), b, proofs...); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestProofOfTheKeyLetsIn(t *testing.T) {
	t.Parallel()
	b := possession(t, bearer.DPoP{})
	for range 3 { // judged, and then remembered
		expectProof(t, b, "alice", alice.proof(nil))
	}
	for name, changes := range map[string]map[string]any{
		"in capitals": {"htu": "HTTPS://Orders.Example.COM:443" + method}, "with a query": {"htu": origin + method + "?a=b#c"}, "escaped": {"htu": origin + strings.Replace(method, "s", "%73", 1)},
		"with a nonce that nobody asked for": {"nonce": "n"}, "with more claims": {"x": []int{1}}, "a fraction of a second old": {"iat": float64(start.Unix()) - 0.5},
	} {
		if got := prove(t.Context(), b, alice.proof(changes)); got != "alice" {
			t.Errorf("%s: got %s", name, got)
		}
	}
}

func TestRefusesProofsOfAnotherCall(t *testing.T) {
	t.Parallel()
	b := possession(t, bearer.DPoP{})
	for name, changes := range map[string]map[string]any{
		"another method": {"htm": "GET"}, "method in another case": {"htm": "post"},
		"another path": {"htu": origin + "/shop.v1.Orders/Set"}, "path in another case": {"htu": origin + strings.ToLower(method)}, "a longer path": {"htu": origin + method + "/"}, "a shorter path": {"htu": origin + method[:len(method)-1]},
		"a path before": {"htu": origin + "/x" + method}, "two slashes": {"htu": origin + "/" + method}, "an escaped slash": {"htu": origin + strings.Replace(method, "s/G", "s%2fG", 1)}, "no path": {"htu": origin}, "the path alone": {"htu": method},
		"the path in the query": {"htu": origin + "/x?" + method}, "another host": {"htu": "https://evil.example" + method}, "a host that ends the same": {"htu": "https://evil-orders.example.com" + method},
		"a host below": {"htu": "https://a.orders.example.com" + method}, "a host with a dot": {"htu": origin + "." + method}, "another port": {"htu": origin + ":8443" + method}, "port 80": {"htu": origin + ":80" + method}, "no host": {"htu": "https:" + method},
		"http": {"htu": "http://orders.example.com" + method}, "http to port 443": {"htu": "http://orders.example.com:443" + method}, "another scheme": {"htu": "grpc://orders.example.com" + method},
		"a name": {"htu": "https://alice@orders.example.com" + method}, "an empty name": {"htu": "https://@orders.example.com" + method}, "the host as a name": {"htu": origin + "@evil.example" + method}, "no URL": {"htu": "%"},
		"another token's hash": {"ath": hash("another token")}, "no hash": {"ath": nil}, "the token for its hash": {"ath": token}, "a padded hash": {"ath": hash(token) + "="}, "hash in another case": {"ath": strings.ToUpper(hash(token))},
	} {
		if got := prove(t.Context(), b, alice.proof(changes)); got != refused {
			t.Errorf("%s: got %s", name, got)
		}
	}
	for name, changes := range map[string]map[string]any{
		"no method": {"htm": nil}, "no URL": {"htu": nil}, "no time": {"iat": nil}, "no ID": {"jti": nil}, "an empty ID": {"jti": ""}, "an empty hash": {"ath": ""}, "time as text": {"iat": "now"}, "a list of URLs": {"htu": []string{origin + method}},
	} {
		if got := prove(t.Context(), b, alice.proof(changes)); got != malformed {
			t.Errorf("%s: got %s", name, got)
		}
	}
	expectProof(t, b, "alice", alice.proof(nil)) // none of this harms her
}

func TestProofsAreTakenWhileTheyAreFresh(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		opts bearer.DPoP
		age  time.Duration
		want string
	}{
		{bearer.DPoP{}, 0, "alice"},
		{bearer.DPoP{}, 59 * time.Second, "alice"},
		{bearer.DPoP{}, time.Minute - 1, "alice"},
		{bearer.DPoP{}, time.Minute, refused},
		{bearer.DPoP{}, 61 * time.Second, refused},
		{bearer.DPoP{}, time.Hour, refused},
		{bearer.DPoP{}, 500_000 * time.Hour, refused},
		{bearer.DPoP{}, -5 * time.Second, "alice"},
		{bearer.DPoP{}, -5*time.Second - 1, refused},
		{bearer.DPoP{}, -time.Minute, refused},
		{bearer.DPoP{}, -2_000_000 * time.Hour, refused},
		{bearer.DPoP{MaxAge: 10 * time.Second}, 10*time.Second - 1, "alice"},
		{bearer.DPoP{MaxAge: 10 * time.Second}, 10 * time.Second, refused},
		{bearer.DPoP{MaxAge: time.Hour}, time.Hour - 1, "alice"},
		{bearer.DPoP{MaxAhead: time.Minute}, -time.Minute, "alice"},
		{bearer.DPoP{MaxAhead: time.Minute}, -time.Minute - 1, refused},
		{bearer.DPoP{MaxAhead: 1}, -1, "alice"},
		{bearer.DPoP{MaxAhead: 1}, -2, refused},
	} {
		b := possessionAt(t, test.opts, func() time.Time { return start.Add(test.age) })
		if got := prove(t.Context(), b, alice.proof(nil)); got != test.want {
			t.Errorf("%v old: got %s, want %s", test.age, got, test.want)
		}
	}
	for _, iat := range []any{0, -1, int64(1) << 53, 1e300} {
		if got := prove(t.Context(), possession(t, bearer.DPoP{}), alice.proof(map[string]any{"iat": iat})); got != refused && got != malformed {
			t.Errorf("issued at %v: got %s", iat, got)
		}
	}
}

func TestRefusesCallsWithoutOneGoodProof(t *testing.T) {
	t.Parallel()
	good := alice.proof(nil)
	for name, test := range map[string]struct {
		want   string
		proofs []string
	}{
		"none": {refused, nil}, "empty": {malformed, []string{""}}, "two": {ambiguous, []string{alice.proof(nil), alice.proof(nil)}}, "the same twice": {ambiguous, []string{good, good}}, "one and nothing": {ambiguous, []string{good, ""}},
		"a list": {malformed, []string{good + ", " + good}}, "of another key": {refused, []string{mallory.proof(nil)}}, "with spaces": {malformed, []string{" " + good}}, "cut": {malformed, []string{good[:len(good)-1]}},
		"no proof": {malformed, []string{"x"}}, "the token": {malformed, []string{token}}, "huge": {malformed, []string{strings.Repeat("a", 1<<20)}},
		"another's signature":    {refused, []string{good[:strings.LastIndexByte(good, '.')] + mallory.proof(nil)[strings.LastIndexByte(mallory.proof(nil), '.'):]}},
		"her key, his signature": {refused, []string{holder{mallory.key, alice.jwk, alice.thumbprint}.proof(nil)}},
		"his key under her name": {malformed, []string{holder{mallory.key, alice.jwk[:len(alice.jwk)-1] + `,"d":"AA"}`, ""}.proof(nil)}},
	} {
		b := possession(t, bearer.DPoP{})
		for range 2 {
			if got := prove(t.Context(), b, test.proofs...); got != test.want {
				t.Errorf("%s: got %s, want %s", name, got, test.want)
			}
		}
		expectProof(t, b, "alice", good) // what was refused has used nothing up
	}
}

func TestProofIsTakenOnce(t *testing.T) {
	t.Parallel()
	b := possession(t, bearer.DPoP{})
	first := alice.proof(nil)
	for _, want := range []string{"alice", refused, refused} { // judged, and then remembered
		expectProof(t, b, want, first)
	}
	expectProof(t, b, refused, alice.proof(map[string]any{"jti": "proof of the same ID", "iat": start.Unix() - 120}))
	expectProof(t, b, "alice", alice.proof(map[string]any{"jti": "proof of the same ID"}))
	expectProof(t, b, refused, alice.proof(map[string]any{"jti": "proof of the same ID", "iat": start.Unix() - 1}))
	expectProof(t, b, "alice", alice.proof(map[string]any{"jti": "PROOF of the same ID"}))
}

func TestOneOfManyConcurrentCallsWithAProofIsLetIn(t *testing.T) {
	t.Parallel()
	b := possession(t, bearer.DPoP{})
	for range 5 {
		proof := alice.proof(nil)
		var accepted, refusedCalls atomic.Int64
		var calls sync.WaitGroup
		for range 100 {
			calls.Go(func() {
				switch prove(t.Context(), b, proof) {
				case "alice":
					accepted.Add(1)
				case refused:
					refusedCalls.Add(1)
				}
			})
		}
		calls.Wait()
		if accepted.Load() != 1 || refusedCalls.Load() != 99 {
			t.Errorf("%d calls were let in and %d refused, want 1 and 99", accepted.Load(), refusedCalls.Load())
		}
	}
}

func TestSchemeFitsTheToken(t *testing.T) {
	t.Parallel()
	unbound := func() *judge { return bound(grpcauth.Binding{}) }
	for name, test := range map[string]struct {
		j       *judge
		opts    bearer.Options
		scheme  string
		want    string
		noProof bool
	}{
		"bound, DPoP":                           {aliceOnly(), bearer.Options{DPoP: &bearer.DPoP{Origins: []string{origin}}}, "DPoP", "alice", false},
		"bound, dpop":                           {aliceOnly(), bearer.Options{DPoP: &bearer.DPoP{Origins: []string{origin}}}, "dpop", "alice", false},
		"bound, DPOP":                           {aliceOnly(), bearer.Options{DPoP: &bearer.DPoP{Origins: []string{origin}}}, "DPOP", "alice", false},
		"bound, Bearer with a proof":            {aliceOnly(), bearer.Options{DPoP: &bearer.DPoP{Origins: []string{origin}}}, "Bearer", refused, false},
		"bound, Bearer":                         {aliceOnly(), bearer.Options{DPoP: &bearer.DPoP{Origins: []string{origin}}}, "Bearer", refused, true},
		"bound, Bearer without the option":      {aliceOnly(), bearer.Options{}, "Bearer", refused, false},
		"bound, DPoP without the option":        {aliceOnly(), bearer.Options{}, "DPoP", "CREDENTIALS_MISSING", false},
		"not bound, DPoP":                       {unbound(), bearer.Options{DPoP: &bearer.DPoP{Origins: []string{origin}}}, "DPoP", refused, false},
		"not bound, Bearer":                     {unbound(), bearer.Options{DPoP: &bearer.DPoP{Origins: []string{origin}}}, "Bearer", "alice", true},
		"not bound, Bearer, binding required":   {unbound(), bearer.Options{RequireBinding: true, DPoP: &bearer.DPoP{Origins: []string{origin}}}, "Bearer", refused, false},
		"not bound, DPoP, binding required":     {unbound(), bearer.Options{RequireBinding: true, DPoP: &bearer.DPoP{Origins: []string{origin}}}, "DPoP", refused, false},
		"bound, DPoP, binding required":         {aliceOnly(), bearer.Options{RequireBinding: true, DPoP: &bearer.DPoP{Origins: []string{origin}}}, "DPoP", "alice", false},
		"not bound, Bearer, required, no DPoP":  {unbound(), bearer.Options{RequireBinding: true}, "Bearer", refused, true},
		"bound to nonsense":                     {bound(grpcauth.Binding{JKT: "*"}), bearer.Options{DPoP: &bearer.DPoP{Origins: []string{origin}}}, "DPoP", refused, false},
		"bound to what begins as the key's":     {bound(grpcauth.Binding{JKT: alice.thumbprint[:42]}), bearer.Options{DPoP: &bearer.DPoP{Origins: []string{origin}}}, "DPoP", refused, false},
		"bound to the key's in another case":    {bound(grpcauth.Binding{JKT: strings.ToLower(alice.thumbprint)}), bearer.Options{DPoP: &bearer.DPoP{Origins: []string{origin}}}, "DPoP", refused, false},
		"bound to a certificate, DPoP":          {bound(grpcauth.Binding{CertSHA256: alice.thumbprint}), bearer.Options{DPoP: &bearer.DPoP{Origins: []string{origin}}}, "DPoP", refused, false},
		"bound to a certificate as a key, DPoP": {bound(grpcauth.Binding{CertSHA256: alice.thumbprint, JKT: alice.thumbprint}), bearer.Options{DPoP: &bearer.DPoP{Origins: []string{origin}}}, "DPoP", refused, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBackend(t, test.j, test.opts)
			for range 2 { // judged, and then remembered
				sent := []string{alice.proof(nil)}
				if test.noProof {
					sent = nil
				}
				if got := answer(b.Authenticate(t.Context(), proven(t.Context(), test.scheme+" "+token, sent...))); got != test.want {
					t.Errorf("got %s, want %s", got, test.want)
				}
			}
		})
	}
}

func TestTokenBoundToCertificateAndKeyNeedsBoth(t *testing.T) {
	t.Parallel()
	ca := grpcauthtest.NewCA(t)
	leaf, other := ca.Issue(x509.Certificate{}).Leaf, ca.Issue(x509.Certificate{}).Leaf
	b := newBackend(t, bound(grpcauth.Binding{CertSHA256: thumbprint(leaf), JKT: alice.thumbprint}), bearer.Options{RequireBinding: true, DPoP: &bearer.DPoP{Origins: []string{origin}}})
	for name, test := range map[string]struct {
		info  credentials.AuthInfo
		proof string
		want  string
	}{
		"both": {verified(leaf), alice.proof(nil), "alice"}, "the certificate alone": {verified(leaf), "", malformed}, "the key alone": {nil, alice.proof(nil), refused}, "another certificate": {verified(other), alice.proof(nil), refused},
		"another key": {verified(leaf), mallory.proof(nil), refused}, "neither": {nil, "", refused},
	} {
		ctx := metadata.NewIncomingContext(t.Context(), metadata.Pairs("authorization", "DPoP "+token, "dpop", test.proof))
		ctx = peer.NewContext(ctx, &peer.Peer{Addr: &net.TCPAddr{}, AuthInfo: test.info})
		if got := answer(b.Authenticate(ctx, grpcauth.NewRequest(ctx, method))); got != test.want {
			t.Errorf("%s: got %s, want %s", name, got, test.want)
		}
	}
	if got := over(t, b, verified(leaf)); got != refused {
		t.Errorf("the certificate alone, under Bearer: got %s", got)
	}
}

func TestOriginsAreNotTakenFromTheCall(t *testing.T) {
	t.Parallel()
	b := possession(t, bearer.DPoP{Origins: []string{"HTTPS://Orders.Example.COM:443", "https://10.0.0.7:8443/", "http://[::1]:80"}})
	for htu, want := range map[string]string{
		origin + method: "alice", "https://10.0.0.7:8443" + method: "alice", "http://[::1]" + method: "alice",
		"https://10.0.0.7" + method: refused, "https://evil.example" + method: refused, "http://orders.example.com" + method: refused,
	} {
		md := metadata.MD{"authorization": {"DPoP " + token}, "dpop": {alice.proof(map[string]any{"htu": htu})}, ":authority": {"evil.example"}, "host": {"evil.example"}, "x-forwarded-host": {"evil.example"}}
		if got := answer(b.Authenticate(t.Context(), grpcauthtest.RequestMD(t.Context(), method, md))); got != want {
			t.Errorf("%s: got %s, want %s", htu, got, want)
		}
	}
}

func TestTargetSaysWhatCallersOfAGatewayUsed(t *testing.T) {
	t.Parallel()
	const public = "https://api.example.com/v1/orders"
	gateway := func(req *grpcauth.Request) (method, url string) {
		url, err := req.Value("x-gateway-url")
		if err != nil {
			return "", ""
		}
		return "GET", url
	}
	b := possession(t, bearer.DPoP{Target: gateway})
	for name, test := range map[string]struct {
		url, htm, htu string
		want          string
	}{
		"through the gateway": {public, "GET", public, "alice"}, "in another text": {"HTTPS://api.example.com:443/v1/orders?page=2", "GET", public, "alice"}, "not through it": {"", "POST", origin + method, "alice"},
		"another method": {public, "POST", public, refused}, "another path": {public, "GET", public + "/1", refused}, "a proof for the server": {public, "POST", origin + method, refused}, "a proof for the server by GET": {public, "GET", origin + method, refused},
		"a proof for the gateway": {"", "GET", public, refused}, "no URL": {"%", "GET", origin + method, refused}, "a path": {"/v1/orders", "GET", origin + method, refused}, "no URL, twice": {"%", "GET", "%", refused},
	} {
		md := metadata.MD{"authorization": {"DPoP " + token}, "dpop": {alice.proof(map[string]any{"htm": test.htm, "htu": test.htu})}}
		if test.url != "" {
			md.Set("x-gateway-url", test.url)
		}
		if got := answer(b.Authenticate(t.Context(), grpcauthtest.RequestMD(t.Context(), method, md))); got != test.want {
			t.Errorf("%s: got %s, want %s", name, got, test.want)
		}
	}
}

func TestAlgorithmsLimitWhatProofsAreSignedBy(t *testing.T) {
	t.Parallel()
	expectProof(t, possession(t, bearer.DPoP{Algorithms: []string{"ES256"}}), "alice", alice.proof(nil))
	expectProof(t, possession(t, bearer.DPoP{Algorithms: []string{"EdDSA", "PS256", "ES384"}}), malformed, alice.proof(nil))
}
