// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"context"
	"encoding/json"
	"net/http"
	"testing"

	"github.com/MicahParks/keyfunc/v3"
	gooidc "github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	josejwt "github.com/go-jose/go-jose/v4/jwt"
	gojwt "github.com/golang-jwt/jwt/v5"

	"github.com/grpcauth/grpcauth/grpcauthtest"
	"github.com/grpcauth/grpcauth/jwks"
)

// oracle is another library's judgement of a token.
type oracle func(ctx context.Context, alg, token string) error

// oracles judge the provider's tokens by its keys of now.
func oracles(t *testing.T, p *provider) map[string]oracle {
	t.Helper()
	resp, err := p.http.Get(p.issuer + jwksPath)
	check(t, err)
	document := read(t, resp, http.StatusOK)
	lookup, err := keyfunc.NewJWKSetJSON(document)
	check(t, err)
	var set jose.JSONWebKeySet
	check(t, json.Unmarshal(document, &set))
	discovered, err := gooidc.NewProvider(gooidc.ClientContext(t.Context(), p.http), p.issuer)
	check(t, err)
	return map[string]oracle{
		"keyfunc": func(_ context.Context, alg, token string) error {
			_, err := gojwt.Parse(token, lookup.Keyfunc, gojwt.WithValidMethods([]string{alg}), gojwt.WithIssuer(p.issuer),
				gojwt.WithAudience(audience), gojwt.WithExpirationRequired(), gojwt.WithStrictDecoding())
			return err
		},
		"go-jose": func(_ context.Context, alg, token string) error {
			parsed, err := josejwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(alg)})
			if err != nil {
				return err
			}
			var claims josejwt.Claims
			if err := parsed.Claims(set, &claims); err != nil {
				return err
			}
			return claims.Validate(josejwt.Expected{Issuer: p.issuer, AnyAudience: josejwt.Audience{audience}})
		},
		"go-oidc": func(ctx context.Context, alg, token string) error {
			_, err := discovered.Verifier(&gooidc.Config{ClientID: audience, SupportedSigningAlgs: []string{alg}}).Verify(ctx, token)
			return err
		},
	}
}

// unknown is an algorithm that no oracle knows by its name of RFC 9864.
const unknown = "Ed25519"

func TestEveryTokenThatIsAcceptedIsAcceptedByOthers(t *testing.T) {
	t.Parallel()
	p := start(t)
	judges := oracles(t, p)
	keys := p.remote(t, jwks.Options{})
	for _, alg := range algorithms {
		t.Run(alg, func(t *testing.T) {
			t.Parallel()
			backend := p.trust(t, keys, nil, alg)
			genuine := p.token(t, resource("jwt/"+alg))
			accepted := 0
			for _, token := range variants(genuine) {
				req := grpcauthtest.Request(t.Context(), "/echo.v1.EchoService/Echo", "authorization", "Bearer "+token)
				if _, err := backend.Authenticate(t.Context(), req); err != nil {
					if token == genuine {
						t.Errorf("we refuse the genuine token: %v", err)
					}
					continue
				}
				accepted++
				for name, judge := range judges {
					if err := judge(t.Context(), alg, token); (err != nil) != (alg == unknown) {
						t.Errorf("%s, of a token that we accept: %v\n%s", name, err, token)
					}
				}
			}
			if accepted != 1 {
				t.Errorf("we accept %d variants, want the genuine token alone", accepted)
			}
		})
	}
}

// variants are the token itself, and tokens that differ from it in one character, by one more, or by one fewer.
func variants(token string) []string {
	all := []string{token, token + "A", token + "=", token + ".", "." + token}
	for i := 0; i < len(token); i += 3 {
		for _, c := range []string{"", "A", "B", ".", "_"} {
			if changed := token[:i] + c + token[i+1:]; changed != token {
				all = append(all, changed)
			}
		}
	}
	for i := len(token) - 4; i < len(token); i++ { // the last bits of the signature's last character mean nothing
		for _, c := range "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_" {
			if changed := token[:i] + string(c) + token[i+1:]; changed != token {
				all = append(all, changed)
			}
		}
	}
	return all
}
