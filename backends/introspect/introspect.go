// SPDX-License-Identifier: Apache-2.0

// Package introspect asks an authorization server what a token is worth (RFC 7662).
//
// It is for tokens that only their issuer can read, and for those that must be checked for revocation. What the server says is remembered shortly; while it
// cannot be asked, calls with other tokens are UNAVAILABLE.
package introspect

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/bearer"
	"github.com/grpcauth/grpcauth/internal/httpx"
	"github.com/grpcauth/grpcauth/internal/panics"
)

// maxAnswer is the size of the largest answer that is read.
const maxAnswer = 64 << 10

// Options say whom to ask and what counts. URL, Audiences, ClientID and one of ClientSecret, PrivateKey and AccessToken are required.
type Options struct {
	// URL is the introspection endpoint.
	URL string
	// ClientID is the name by which the server knows this service.
	ClientID string
	// ClientSecret proves it, by HTTP Basic (RFC 6749, section 2.3.1) or, if SecretInBody is set, in the request's body.
	ClientSecret string
	SecretInBody bool
	// PrivateKey proves it by a signed assertion (private_key_jwt, RFC 7523, section 2.2): an RSA, ECDSA or Ed25519 key, which signs by RS256, ES256,
	// ES384, ES512 or EdDSA. KeyID is the kid of its header; Audience its aud, URL by default.
	PrivateKey crypto.Signer
	KeyID      string
	Audience   string
	// AccessToken proves it by a bearer token of its own (RFC 7662, section 2.1), asked for at each request.
	AccessToken func(context.Context) (string, error)

	// Audiences are the names of this service: one of them must be in the answer's aud, byte by byte. AnyAudience takes tokens for anybody, as is right only if
	// the server answers no more than this service may know.
	Audiences   []string
	AnyAudience bool
	// Issuer is the iss that the answer must have if it has one, and becomes [grpcauth.User].Issuer; any by default.
	Issuer string
	// ClientIDAsSubject takes tokens that clients have for themselves and that have no sub: the client_id becomes [grpcauth.User].ID. It is right only if no
	// client can be named like a subject.
	ClientIDAsSubject bool
	// NameClaim becomes [grpcauth.User].Name; "username" by default. It and the two below name a member of the answer.
	NameClaim string
	// ScopeClaim becomes [grpcauth.User].Scopes, from an array or from one string with spaces; "scope" by default.
	ScopeClaim string
	// PermissionsClaim becomes [grpcauth.User].Permissions, in the same way; none by default.
	PermissionsClaim string
	// Map may change the user that a token stands for, before it is remembered. Its errors are a verifier's.
	Map func(*grpcauth.User) error

	// Client asks; one of its own by default. Its cookies and its policy of redirects are not used: none is followed.
	Client *http.Client
	// Timeout bounds a request; 5 seconds by default.
	Timeout time.Duration
	// MaxConcurrent is how many requests are made at a time; 64 by default. Others wait, for as long as a request may take.
	MaxConcurrent int
	// InsecureAllowPlaintext asks over http also other machines. Whoever is between them then has the tokens.
	InsecureAllowPlaintext bool
	// Now replaces time.Now.
	Now func() time.Time
	// Bearer is how tokens are read and remembered. Its Name is "introspect" by default, RememberFor 30 seconds, RefuseFor 5 seconds, and its Now the one above.
	// A token that is revoked works until it is forgotten.
	Bearer bearer.Options
}

// Format prints the URL, whatever the verb: options hold secrets.
func (o Options) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "introspect.Options(%q)", httpx.Shown(o.URL))
}

// MarshalText gives the same as Format, for JSON and its like.
func (o Options) MarshalText() ([]byte, error) { return []byte(fmt.Sprint(o)), nil }

// New returns a backend for the tokens of one authorization server. An error names the option that is wrong and says what to write.
func New(opts Options) (*bearer.Backend, error) {
	v, err := NewVerifier(opts)
	if err != nil {
		return nil, err
	}
	remembered := opts.Bearer
	if remembered.Name == "" {
		remembered.Name = "introspect"
	}
	if remembered.RememberFor == 0 {
		remembered.RememberFor = 30 * time.Second
	}
	if remembered.RefuseFor == 0 {
		remembered.RefuseFor = 5 * time.Second
	}
	remembered.Now = v.opts.Now
	return bearer.New(v, remembered)
}

// Verifier asks about each token anew; make it with [NewVerifier]. It is safe for concurrent use, and concurrent callers with one token share a request.
type Verifier struct {
	opts   Options
	prove  func(context.Context, *http.Request, url.Values) error
	client *httpx.Client
	slots  chan struct{}
	flight singleflight.Group
}

var _ bearer.Verifier = (*Verifier)(nil)

// NewVerifier returns a verifier without a memory.
func NewVerifier(opts Options) (*Verifier, error) {
	if _, err := httpx.CheckURL(opts.URL, opts.InsecureAllowPlaintext); err != nil {
		return nil, fmt.Errorf("introspect: Options.URL: %w", err)
	}
	for name, v := range map[string]int64{"Timeout": int64(opts.Timeout), "MaxConcurrent": int64(opts.MaxConcurrent)} {
		if v < 0 {
			return nil, fmt.Errorf("introspect: Options.%s is negative: write a positive value, or zero for the default", name)
		}
	}
	switch {
	case len(opts.Audiences) == 0 && !opts.AnyAudience || slices.Contains(opts.Audiences, ""):
		return nil, errors.New("introspect: Options.Audiences is empty or has an empty entry: write the aud that names this service")
	case len(opts.Audiences) > 0 && opts.AnyAudience:
		return nil, errors.New("introspect: Options.Audiences and AnyAudience contradict each other: write one of them")
	}
	opts.Audiences = slices.Clone(opts.Audiences)
	setDefault(&opts.NameClaim, "username")
	setDefault(&opts.ScopeClaim, "scope")
	setDefault(&opts.Timeout, 5*time.Second)
	setDefault(&opts.MaxConcurrent, 64)
	if opts.Now == nil {
		opts.Now = time.Now
	}
	v := &Verifier{opts: opts, client: httpx.New(opts.Client, true), slots: make(chan struct{}, opts.MaxConcurrent)}
	var err error
	if v.prove, err = opts.authentication(); err != nil {
		return nil, fmt.Errorf("introspect: Options.%w", err)
	}
	return v, nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Format prints the URL, whatever the verb.
func (v *Verifier) Format(f fmt.State, _ rune) {
	if v == nil {
		_, _ = io.WriteString(f, "<nil>")
		return
	}
	_, _ = fmt.Fprintf(f, "Verifier(%q)", v.opts.URL)
}

// Close closes the connections that wait for another request.
func (v *Verifier) Close() { v.client.Close() }

// Verify asks the authorization server about a token.
//
// It refuses with [grpcauth.CodeInvalid] a token that is not active, or active for others than this service. Any other error means that the server could not be
// asked, or did not answer as it should. The request goes on if its caller gives up, for others who wait for it.
func (v *Verifier) Verify(ctx context.Context, token string) (*grpcauth.User, error) {
	done := v.flight.DoChan(token, func() (any, error) {
		detached, cancel := context.WithTimeout(context.WithoutCancel(ctx), v.opts.Timeout)
		defer cancel()
		return v.ask(detached, token)
	})
	select {
	case r := <-done:
		user, _ := r.Val.(*grpcauth.User)
		return user.Clone(), r.Err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// ask makes one request, in a goroutine of its own: a panic in that of a shared call would end the process.
func (v *Verifier) ask(ctx context.Context, token string) (*grpcauth.User, error) {
	select {
	case v.slots <- struct{}{}:
		defer func() { <-v.slots }()
	case <-ctx.Done():
		return nil, fmt.Errorf("introspect: too many requests at a time: %w", ctx.Err())
	}
	var user *grpcauth.User
	o := <-panics.Apart(func() (err error) {
		user, err = v.look(ctx, token)
		return err
	})
	switch {
	case o.Panicked != nil || errors.Is(o.Err, panics.ErrEnded):
		return nil, grpcauth.Errorf(grpcauth.CodeInternal, "introspect: a request did not return: panic with a %T", o.Panicked)
	case o.Err != nil:
		return nil, o.Err
	}
	return user, nil
}

func (v *Verifier) look(ctx context.Context, token string) (*grpcauth.User, error) {
	form := url.Values{"token": {token}, "token_type_hint": {"access_token"}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, v.opts.URL, http.NoBody)
	if err != nil {
		return nil, err
	}
	if err := v.prove(ctx, req, form); err != nil {
		return nil, fmt.Errorf("introspect: %w", err)
	}
	body := form.Encode()
	req.Body, req.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	resp, err := v.client.Do(req, maxAnswer)
	switch {
	case err != nil:
		return nil, fmt.Errorf("introspect: %w", err)
	case resp.Status == http.StatusUnauthorized || resp.Status == http.StatusForbidden:
		return nil, fmt.Errorf("introspect: HTTP status %d: the server does not take this service's own credentials", resp.Status)
	case resp.Status != http.StatusOK:
		return nil, fmt.Errorf("introspect: HTTP status %d", resp.Status)
	}
	a, err := v.parse(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("introspect: the answer: %w", err)
	}
	return v.judge(a)
}
