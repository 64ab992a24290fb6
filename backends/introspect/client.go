// SPDX-License-Identifier: Apache-2.0

package introspect

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/grpcauth/grpcauth/internal/jws"
)

// assertionLifetime is short: an assertion is made for one request.
const assertionLifetime = time.Minute

// authentication returns how this service proves to the server who it is. The error names the option that is wrong.
func (o Options) authentication() (func(context.Context, *http.Request, url.Values) error, error) {
	ways := 0
	for _, given := range []bool{o.ClientSecret != "", o.PrivateKey != nil, o.AccessToken != nil} {
		if given {
			ways++
		}
	}
	switch {
	case ways != 1:
		return nil, errors.New("ClientSecret, PrivateKey and AccessToken: write exactly one of them, since servers answer nobody they do not know")
	case o.ClientID == "" && o.AccessToken == nil:
		return nil, errors.New("ClientID is empty: write the name by which the server knows this service")
	case o.SecretInBody && o.ClientSecret == "":
		return nil, errors.New("SecretInBody is set without a ClientSecret")
	case o.PrivateKey == nil && (o.KeyID != "" || o.Audience != ""):
		return nil, errors.New("KeyID or Audience is set without a PrivateKey")
	}
	id, secret := o.ClientID, o.ClientSecret
	switch {
	case o.AccessToken != nil:
		source := o.AccessToken
		return func(ctx context.Context, req *http.Request, _ url.Values) error {
			token, err := source(ctx)
			if err != nil {
				return fmt.Errorf("the service's own access token: %w", err)
			}
			req.Header.Set("Authorization", "Bearer "+token)
			return nil
		}, nil
	case o.PrivateKey != nil:
		return o.assertion()
	case o.SecretInBody:
		return func(_ context.Context, _ *http.Request, form url.Values) error {
			form.Set("client_id", id)
			form.Set("client_secret", secret)
			return nil
		}, nil
	}
	return func(_ context.Context, req *http.Request, _ url.Values) error {
		req.SetBasicAuth(url.QueryEscape(id), url.QueryEscape(secret)) // escaped first, as RFC 6749, section 2.3.1, has it
		return nil
	}, nil
}

// assertion signs a JWT for each request (RFC 7523, section 3).
func (o Options) assertion() (func(context.Context, *http.Request, url.Values) error, error) {
	key, id, keyID, audience, now := o.PrivateKey, o.ClientID, o.KeyID, o.Audience, o.Now
	if _, err := jws.Algorithm(key.Public()); err != nil {
		return nil, fmt.Errorf("PrivateKey: %w", err)
	}
	if audience == "" {
		audience = o.URL
	}
	return func(_ context.Context, _ *http.Request, form url.Values) error {
		header := map[string]any{"typ": "JWT"}
		if keyID != "" {
			header["kid"] = keyID
		}
		at := now()
		signed, err := jws.Sign(key, header, map[string]any{
			"iss": id, "sub": id, "aud": audience, "jti": rand.Text(), "iat": at.Unix(), "exp": at.Add(assertionLifetime).Unix(),
		})
		if err != nil {
			return fmt.Errorf("the service's own assertion: %w", err)
		}
		form.Set("client_id", id)
		form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
		form.Set("client_assertion", signed)
		return nil
	}, nil
}
