// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	josejwt "github.com/go-jose/go-jose/v4/jwt"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/grpcauth/grpcauth/backends/bearer"
	echov1 "github.com/grpcauth/grpcauth/internal/gen/echo/v1"
)

const (
	origin   = "https://" + audience
	echoURL  = origin + "/echo.v1.EchoService/Echo"
	proofKey = "dpop"
)

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	return key
}

// prove makes a proof of possession (RFC 9449, section 4.2) by go-jose, which shares no code with what checks it.
func prove(t *testing.T, key *ecdsa.PrivateKey, url, token string, more map[string]any) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, (&jose.SignerOptions{EmbedJWK: true}).WithType("dpop+jwt"))
	check(t, err)
	claims := map[string]any{"jti": rand.Text(), "htm": "POST", "htu": url, "iat": time.Now().Unix()}
	if token != "" {
		hash := sha256.Sum256([]byte(token))
		claims["ath"] = base64.RawURLEncoding.EncodeToString(hash[:])
	}
	maps.Copy(claims, more)
	proof, err := josejwt.Signed(signer).Claims(claims).Serialize() //nolint:misspell // its name
	check(t, err)
	return proof
}

// boundToken fetches a token that is bound to a key, with a nonce if the provider asks for one.
func (p *provider) boundToken(t *testing.T, resource, id string, key *ecdsa.PrivateKey) string {
	t.Helper()
	nonce := map[string]any{}
	for range 2 {
		req := p.tokenRequest(t, resource, as(id))
		req.Header.Set("DPoP", prove(t, key, p.issuer+"/token", "", nonce))
		resp, err := p.http.Do(req)
		check(t, err)
		if resp.StatusCode == http.StatusBadRequest && resp.Header.Get("DPoP-Nonce") != "" {
			read(t, resp, http.StatusBadRequest)
			nonce["nonce"] = resp.Header.Get("DPoP-Nonce")
			continue
		}
		var answer struct {
			Token string `json:"access_token"`
			Type  string `json:"token_type"`
		}
		check(t, json.Unmarshal(read(t, resp, http.StatusOK), &answer))
		if answer.Type != "DPoP" {
			t.Fatalf("the provider made a token of type %q", answer.Type)
		}
		return answer.Token
	}
	t.Fatal("the provider refuses its own nonce")
	return ""
}

// possess calls with a token and proofs, under a scheme. It returns the answer and what the server says of nonces and of why.
func possess(t *testing.T, client echov1.EchoServiceClient, scheme, token string, proofs ...string) (answer, nonce, challenge string) {
	t.Helper()
	md := metadata.Pairs("authorization", scheme+" "+token)
	md[proofKey] = proofs
	var header, trailer metadata.MD
	watched := watch{client, []grpc.CallOption{grpc.Header(&header), grpc.Trailer(&trailer)}}
	answer = say(metadata.NewOutgoingContext(t.Context(), md), watched)
	said := metadata.Join(header, trailer)
	return answer, strings.Join(said.Get("dpop-nonce"), "|"), strings.Join(said.Get("www-authenticate"), "|")
}

// watch adds options to calls.
type watch struct {
	echov1.EchoServiceClient
	opts []grpc.CallOption
}

func (w watch) Echo(ctx context.Context, req *echov1.EchoRequest, opts ...grpc.CallOption) (*echov1.EchoResponse, error) {
	return w.EchoServiceClient.Echo(ctx, req, append(opts, w.opts...)...)
}

func TestTokenBoundToAKeyNeedsProof(t *testing.T) {
	t.Parallel()
	p := start(t, newClient("nonce", nil))
	key, another := newKey(t), newKey(t)
	format := resource("jwt/ES256")
	token, second, unbound := p.boundToken(t, format, "alice", key), p.boundToken(t, format, "nonce", key), p.token(t, format)
	client := dial(t, serve(t, p.trustBound(t, bearer.Options{DPoP: &bearer.DPoP{Origins: []string{origin}}}), nil), nil)
	used := prove(t, key, echoURL, token, nil)
	const malformed = "CREDENTIALS_MALFORMED"
	for _, c := range []struct {
		name, scheme, token string
		proofs              []string
		want                string
	}{
		{"a proof", "DPoP", token, []string{used}, "alice"},
		{"the same proof", "DPoP", token, []string{used}, invalid},
		{"a second proof", "DPoP", token, []string{prove(t, key, echoURL, token, nil)}, "alice"},
		{"a nonce that nobody asked for", "DPoP", token, []string{prove(t, key, echoURL, token, map[string]any{"nonce": "x"})}, "alice"},
		{"the other token", "DPoP", second, []string{prove(t, key, echoURL, second, nil)}, "nonce"},
		{"a proof for the other token", "DPoP", second, []string{prove(t, key, echoURL, token, nil)}, invalid},
		{"another key", "DPoP", token, []string{prove(t, another, echoURL, token, nil)}, invalid},
		{"another method", "DPoP", token, []string{prove(t, key, origin+"/echo.v1.EchoService/Expand", token, nil)}, invalid},
		{"another server", "DPoP", token, []string{prove(t, key, strings.Replace(echoURL, "orders", "billing", 1), token, nil)}, invalid},
		{"another port", "DPoP", token, []string{prove(t, key, strings.Replace(echoURL, audience, audience+":8443", 1), token, nil)}, invalid},
		{"its own port", "DPoP", token, []string{prove(t, key, strings.Replace(echoURL, audience, audience+":443", 1), token, nil)}, "alice"},
		{"GET", "DPoP", token, []string{prove(t, key, echoURL, token, map[string]any{"htm": "GET"})}, invalid},
		{"no hash", "DPoP", token, []string{prove(t, key, echoURL, "", nil)}, invalid},
		{"an old one", "DPoP", token, []string{prove(t, key, echoURL, token, map[string]any{"iat": time.Now().Unix() - 3600})}, invalid},
		{"one of an hour ahead", "DPoP", token, []string{prove(t, key, echoURL, token, map[string]any{"iat": time.Now().Unix() + 3600})}, invalid},
		{"two", "DPoP", token, []string{prove(t, key, echoURL, token, nil), prove(t, key, echoURL, token, nil)}, "CREDENTIALS_AMBIGUOUS"},
		{"none", "DPoP", token, nil, invalid},
		{"the token as a proof", "DPoP", token, []string{token}, malformed},
		{"Bearer", "Bearer", token, []string{prove(t, key, echoURL, token, nil)}, invalid},
		{"Bearer, no proof", "Bearer", token, nil, invalid},
		{"not bound", "Bearer", unbound, nil, "alice"},
		{"not bound, as if it were", "DPoP", unbound, []string{prove(t, key, echoURL, unbound, nil)}, invalid},
	} {
		if got, nonce, _ := possess(t, client, c.scheme, c.token, c.proofs...); got != c.want || nonce != "" {
			t.Errorf("%s: got %s and the nonce %q, want %s and none", c.name, got, nonce, c.want)
		}
	}

	deaf := dial(t, serve(t, p.trustBound(t, bearer.Options{}), nil), nil)
	for _, scheme := range []string{"DPoP", "Bearer"} {
		if got, _, _ := possess(t, deaf, scheme, token, prove(t, key, echoURL, token, nil)); !slices.Contains([]string{invalid, "CREDENTIALS_MISSING"}, got) {
			t.Errorf("a server that checks no proofs, %s: got %s", scheme, got)
		}
	}
}

func TestProofNeedsTheServersNonce(t *testing.T) {
	t.Parallel()
	p := start(t, newClient("nonce", nil))
	key := newKey(t)
	token := p.boundToken(t, resource("jwt/ES256"), "nonce", key)
	client := dial(t, serve(t, p.trustBound(t, bearer.Options{DPoP: &bearer.DPoP{Origins: []string{origin}, RequireNonce: true}}), nil), nil)
	with := func(nonce string) (answer, next, challenge string) {
		t.Helper()
		return possess(t, client, "DPoP", token, prove(t, key, echoURL, token, map[string]any{"nonce": nonce}))
	}
	answer, nonce, challenge := possess(t, client, "DPoP", token, prove(t, key, echoURL, token, nil))
	if answer != invalid || nonce == "" || !strings.Contains(challenge, `error="use_dpop_nonce"`) {
		t.Fatalf("without a nonce: got %s, the nonce %q and %s", answer, nonce, challenge)
	}
	for range 3 {
		if answer, next, _ := with(nonce); answer != "nonce" || next != "" {
			t.Errorf("with the nonce: got %s and another one, %q", answer, next)
		}
	}
	for _, wrong := range []string{"x", nonce + "A", nonce[1:], strings.ToUpper(nonce)} {
		if answer, next, challenge := with(wrong); answer != invalid || next != nonce || !strings.Contains(challenge, `error="use_dpop_nonce"`) {
			t.Errorf("with %q: got %s, the nonce %q and %s", wrong, answer, next, challenge)
		}
	}
}
