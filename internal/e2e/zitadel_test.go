// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"
	zitadel "github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"

	"github.com/grpcauth/grpcauth/backends/introspect"
	"github.com/grpcauth/grpcauth/grpcauthtest"
	"github.com/grpcauth/grpcauth/jwks"
)

// second is the memory of a second provider, the example of zitadel/oidc, changed in one point: its service user gets tokens for us, as JWTs if not opaque.
type second struct {
	*storage.Storage
	opaque atomic.Bool
}

type jwtClient struct{ op.Client }

func (jwtClient) AccessTokenType() op.AccessTokenType { return op.AccessTokenTypeJWT }

func (s *second) ClientCredentials(ctx context.Context, id, secret string) (op.Client, error) {
	c, err := s.Storage.ClientCredentials(ctx, id, secret)
	if err != nil || s.opaque.Load() {
		return c, err
	}
	return jwtClient{c}, nil
}

func (s *second) ClientCredentialsTokenRequest(_ context.Context, _ string, scopes []string) (op.TokenRequest, error) {
	return &zitadel.JWTTokenRequest{Subject: "id1", Audience: []string{audience, "orders"}, Scopes: scopes}, nil
}

func (s *second) token(t *testing.T, issuer string, opaque bool) string {
	t.Helper()
	s.opaque.Store(opaque)
	form := url.Values{"grant_type": {"client_credentials"}, "scope": {"openid"}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, issuer+"/oauth/token", strings.NewReader(form.Encode()))
	check(t, err)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth("sid1", "verysecret")
	resp, err := http.DefaultTransport.RoundTrip(req)
	check(t, err)
	var answer struct {
		Token string `json:"access_token"`
	}
	check(t, json.Unmarshal(read(t, resp, http.StatusOK), &answer))
	return answer.Token
}

func TestSecondProvider(t *testing.T) {
	t.Parallel()
	var handler http.Handler
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler.ServeHTTP(w, r) }))
	t.Cleanup(srv.Close)
	s := &second{Storage: storage.NewStorageWithClients(storage.NewUserStore(srv.URL), map[string]*storage.Client{"orders": storage.WebClient("orders", secret)})}
	handler = exampleop.SetupServer(srv.URL, s, slog.New(slog.DiscardHandler), false, op.WithAllowInsecure())

	client := dial(t, accept(t, nil, discover(t, srv.URL, jwks.Options{}, "RS256")), nil)
	token := s.token(t, srv.URL, false)
	expect(t, client, token, "id1")
	expect(t, client, s.token(t, srv.URL, true), invalid)
	expect(t, dial(t, accept(t, nil, discover(t, srv.URL, jwks.Options{}, "ES256")), nil), token, invalid)

	p := &provider{issuer: srv.URL, http: srv.Client()}
	asking := func(change func(*introspect.Options)) string {
		client := dial(t, serve(t, p.introspect(t, func(o *introspect.Options) {
			o.URL = srv.URL + "/oauth/introspect"
			change(o)
		}), nil), nil)
		return say(grpcauthtest.WithBearer(t.Context(), s.token(t, srv.URL, true)), client)
	}
	if got := asking(func(*introspect.Options) {}); got != invalid {
		t.Errorf("its answers have no audience: got %s", got)
	}
	if got := asking(func(o *introspect.Options) { o.Audiences, o.AnyAudience = nil, true }); got != "id1" {
		t.Errorf("any audience: got %s", got)
	}
}
