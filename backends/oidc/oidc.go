// SPDX-License-Identifier: Apache-2.0

// Package oidc trusts the tokens of an identity provider by the name of its issuer: where its keys are it says itself (OpenID Connect Discovery 1.0).
//
// A [Provider] becomes a [jwt.Issuer], one of as many as there are. The provider is asked when a token first needs it, so a service starts
// while its provider is down, and answers UNAVAILABLE until it is back.
package oidc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/grpcauth/grpcauth/backends/jwt"
	"github.com/grpcauth/grpcauth/internal/httpx"
	"github.com/grpcauth/grpcauth/internal/strictjson"
	"github.com/grpcauth/grpcauth/jwks"
)

const (
	maxDocument = 256 << 10
	// documentAge is how long a discovery document counts. It is also fetched anew when the keys could not be had.
	documentAge = time.Hour
)

// Options are how a provider is asked. The zero value is a good choice.
type Options struct {
	// Keys are how its documents are fetched and for how long its keys are trusted.
	Keys jwks.Options
	// Eager lets New ask the provider, within Keys.MaxWait, and fail if it does not answer as it should; so a service does not start without it.
	Eager bool
	// DiscoveryURL is where the discovery document is; by default the issuer's URL with "/.well-known/openid-configuration" after it. Providers
	// of OAuth 2.0 alone have it elsewhere (RFC 8414, section 3).
	DiscoveryURL string
}

// Provider is an identity provider whose keys are found by discovery. It is safe for concurrent use.
type Provider struct {
	issuer    jwt.Issuer
	url       *url.URL
	discovery string
	plaintext bool
	now       func() time.Time
	client    *httpx.Client
	keys      *jwks.RemoteSet

	// Written by the one fetch at a time of keys.
	found   string
	foundAt time.Time
}

// New returns a provider whose tokens have issuer.URL as their iss claim. All of issuer is as it is for [jwt.New], but for Keys, which is nil.
//
// An error names what is wrong and says what to write. Audiences and Algorithms are needed, since no provider can say which of its tokens are meant for
// this service, and a document from the network must not choose what is accepted.
func New(issuer jwt.Issuer, opts Options) (*Provider, error) {
	u, err := httpx.CheckURL(issuer.URL, opts.Keys.InsecureAllowPlaintext)
	switch {
	case issuer.URL == "":
		return nil, errors.New("oidc: Issuer.URL is empty: write the iss claim of its tokens")
	case err != nil:
		return nil, fmt.Errorf("oidc: Issuer.URL: %w", err)
	case u.RawQuery != "" || u.ForceQuery:
		return nil, errors.New("oidc: Issuer.URL has a query: write the iss claim of its tokens")
	case issuer.Keys != nil:
		return nil, errors.New("oidc: Issuer.Keys is set: leave it out, or give the issuer to jwt.New without discovery")
	case slices.ContainsFunc(issuer.Algorithms, func(alg string) bool { return strings.HasPrefix(alg, "HS") }):
		return nil, errors.New(`oidc: Issuer.Algorithms has an HMAC algorithm, whose keys no provider publishes: write "RS256", or what it signs with`)
	}
	p := &Provider{url: u, discovery: opts.DiscoveryURL, plaintext: opts.Keys.InsecureAllowPlaintext, now: opts.Keys.Now, client: httpx.New(opts.Keys.Client, false)}
	if p.now == nil {
		p.now = time.Now
	}
	if p.discovery == "" {
		p.discovery = strings.TrimSuffix(issuer.URL, "/") + "/.well-known/openid-configuration"
	}
	if _, err := httpx.CheckURL(p.discovery, p.plaintext); err != nil {
		return nil, fmt.Errorf("oidc: Options.DiscoveryURL: %w", err)
	}
	if p.keys, err = jwks.Located(issuer.URL, p.locate, opts.Keys); err != nil {
		return nil, fmt.Errorf("oidc: Options.Keys: %w", err)
	}
	issuer.Keys = p.keys
	p.issuer = issuer
	if _, err := jwt.NewVerifier(jwt.Options{Issuers: []jwt.Issuer{issuer}}); err != nil {
		return nil, fmt.Errorf("oidc: %w", err)
	}
	if opts.Eager {
		if err := p.Ready(context.Background()); err != nil {
			_ = p.Close()
			return nil, fmt.Errorf("oidc: %w", err)
		}
	}
	return p, nil
}

// Issuer is the provider as one of [jwt.Options].Issuers.
func (p *Provider) Issuer() jwt.Issuer { return p.issuer }

// Ready returns nil if the provider's keys are known, which it tries to fetch if need be. It is for readiness probes.
func (p *Provider) Ready(ctx context.Context) error { return p.keys.Ready(ctx) }

// Stats are those of the provider's keys.
func (p *Provider) Stats() jwks.Stats { return p.keys.Stats() }

// Close ends a fetch that is under way. The keys that are there go on as if the provider failed from now on.
func (p *Provider) Close() error {
	err := p.keys.Close()
	p.client.Close()
	return err
}

// Format prints the issuer's URL, whatever the verb.
func (p *Provider) Format(f fmt.State, _ rune) {
	if p == nil {
		_, _ = io.WriteString(f, "<nil>")
		return
	}
	_, _ = fmt.Fprintf(f, "Provider(%q)", p.issuer.URL)
}

// locate finds out where the keys are.
func (p *Provider) locate(ctx context.Context, anew bool) (string, error) {
	if age := p.now().Sub(p.foundAt); p.found != "" && !anew && age >= 0 && age < documentAge {
		return p.found, nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.discovery, http.NoBody)
	if err != nil {
		return "", err
	}
	req.Header.Set("Accept", "application/json")
	resp, err := p.client.Do(req, maxDocument)
	switch {
	case err != nil:
		return "", fmt.Errorf("discovery: %w", err)
	case resp.Status != http.StatusOK:
		return "", fmt.Errorf("discovery: HTTP status %d", resp.Status)
	}
	found, err := p.parse(resp.Body)
	if err != nil {
		return "", fmt.Errorf("discovery: %w", err)
	}
	p.found, p.foundAt = found, p.now()
	return found, nil
}

// parse reads a discovery document (OpenID Connect Discovery 1.0, section 4.3).
func (p *Provider) parse(document []byte) (keys string, err error) {
	var issuer string
	err = strictjson.Object(document, func(name string, value strictjson.Value) error {
		ok := true
		switch name {
		case "issuer":
			issuer, ok = value.String()
		case "jwks_uri":
			keys, ok = value.String()
		}
		if !ok {
			return errors.New(name + " is not a string")
		}
		return nil
	})
	switch {
	case err != nil:
		return "", err
	case issuer != p.issuer.URL:
		return "", fmt.Errorf("the provider calls itself %.256q: that is its Issuer.URL, if it is the right one", issuer)
	case keys == "":
		return "", errors.New("there is no jwks_uri")
	}
	u, err := httpx.CheckURL(keys, p.plaintext)
	switch {
	case err != nil:
		return "", fmt.Errorf("jwks_uri: %w", err)
	case u.Scheme != p.url.Scheme:
		return "", errors.New("jwks_uri has another scheme than the issuer")
	}
	return keys, nil
}
