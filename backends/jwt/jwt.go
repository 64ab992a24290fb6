// SPDX-License-Identifier: Apache-2.0

// Package jwt accepts signed JSON Web Tokens (RFC 7519) as bearer tokens.
//
// One strict parser looks at a token before any cryptography does, and every issuer has its own audiences, algorithms and keys: none of
// them has a default, and a key of one issuer never verifies a token of another.
package jwt

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/bearer"
	"github.com/grpcauth/grpcauth/internal/httpx"
	"github.com/grpcauth/grpcauth/jwks"
)

// MaxLeeway is the most that clocks may be taken to differ.
const MaxLeeway = 5 * time.Minute

// Options say which tokens are accepted. Issuers is required.
type Options struct {
	// Issuers are whom tokens may come from.
	Issuers []Issuer
	// Leeway is how far the clocks of issuers may be off, at most [MaxLeeway]; none by default. It also lengthens each token's life.
	Leeway time.Duration
	// Denylist stops tokens that have not expired; none by default. It is asked on every call, also if the verdict on the token is remembered.
	Denylist Denylist
	// Now replaces time.Now.
	Now func() time.Time
	// Bearer is how tokens are read and remembered. Its Name is "jwt" by default; its Now is the one above.
	Bearer bearer.Options
}

// Issuer is one source of tokens. URL, Audiences, Algorithms and Keys are required.
type Issuer struct {
	// URL is the iss claim, compared byte by byte.
	URL string
	// Audiences are the names of this service: one of them must be in the aud claim, byte by byte.
	Audiences []string
	// Algorithms are the JWS algorithms that the issuer signs with (RFC 7518, section 3.1, and RFC 9864): "RS256". An issuer has
	// either HMAC algorithms or others, never both.
	Algorithms []string
	// Keys verify its tokens. A token without a key ID is accepted only if exactly one key fits its algorithm.
	Keys jwks.Set

	// Types are values of the typ header that are accepted beside none; "JWT" and "at+jwt" by default. Case and a leading "application/" do not count.
	Types []string
	// AccessTokenProfile accepts only access tokens of RFC 9068: the type at+jwt, with client_id, iat and jti.
	AccessTokenProfile bool
	// NameClaim becomes [grpcauth.User].Name; "name" by default. A claim is named by its name or, with a leading slash, by a JSON pointer (RFC 6901).
	NameClaim string
	// ScopeClaim becomes [grpcauth.User].Scopes, from an array or from one string with spaces; by default "scope", or else "scp".
	ScopeClaim string
	// PermissionsClaim becomes [grpcauth.User].Permissions, from an array or from one string with spaces; none by default. "/realm_access/roles" is an example.
	PermissionsClaim string
	// Map may change the user that a token stands for, before it is remembered. Its errors are a verifier's.
	Map func(*grpcauth.User) error
}

// Denylist knows tokens that were revoked before they expired; a Denylist of package token is one. It is safe for concurrent use.
type Denylist interface {
	// Revoked reports whether a token is revoked, by its iss, sub, jti and iat claims. The last two are empty and zero in tokens without them. An
	// error means that it could not be asked: the call is refused as undecided.
	Revoked(ctx context.Context, issuer, subject, id string, issuedAt time.Time) (bool, error)
}

// New returns a backend for the tokens of all issuers. An error names the option that is wrong and says what to write.
func New(opts Options) (*bearer.Backend, error) {
	v, err := NewVerifier(opts)
	if err != nil {
		return nil, err
	}
	if opts.Bearer.Name == "" {
		opts.Bearer.Name = "jwt"
	}
	opts.Bearer.Now = v.now
	return bearer.New(v, opts.Bearer)
}

// Verifier judges tokens by their text alone; make it with [NewVerifier]. It is safe for concurrent use and remembers nothing.
type Verifier struct {
	issuers map[string]*issuer
	leeway  time.Duration
	denied  Denylist // nil: none
	now     func() time.Time
	max     int
	claims  []string // names of the claims that some issuer maps
}

var _ bearer.Prover = (*Verifier)(nil)

// issuer is an Issuer made ready.
type issuer struct {
	Issuer
	static bool // its keys never change
}

// NewVerifier returns a verifier without a memory, for tokens that do not come with calls.
func NewVerifier(opts Options) (*Verifier, error) {
	v := &Verifier{issuers: map[string]*issuer{}, leeway: opts.Leeway, denied: opts.Denylist, now: opts.Now, max: opts.Bearer.MaxTokenBytes}
	if v.now == nil {
		v.now = time.Now
	}
	if v.max == 0 {
		v.max = 16 << 10
	}
	if len(opts.Issuers) == 0 {
		return nil, errors.New("jwt: Options.Issuers is empty: name at least one issuer")
	}
	if opts.Leeway < 0 || opts.Leeway > MaxLeeway {
		return nil, fmt.Errorf("jwt: Options.Leeway is %v: write a value from 0 to %v", opts.Leeway, MaxLeeway)
	}
	for i, one := range opts.Issuers {
		iss, err := v.ready(one)
		if err == nil && v.issuers[one.URL] != nil {
			err = errors.New("URL is that of another issuer too: give all its audiences in one")
		}
		if err != nil {
			return nil, fmt.Errorf("jwt: Options.Issuers[%d] (%q): %w", i, httpx.Shown(one.URL), err)
		}
		v.issuers[one.URL] = iss
	}
	return v, nil
}

// ready checks an issuer and makes it independent of the caller's slices.
func (v *Verifier) ready(one Issuer) (*issuer, error) {
	one.Audiences, one.Algorithms, one.Types = slices.Clone(one.Audiences), slices.Clone(one.Algorithms), slices.Clone(one.Types)
	switch {
	case one.URL == "":
		return nil, errors.New("URL is empty: write the iss claim of its tokens")
	case len(one.Audiences) == 0 || slices.Contains(one.Audiences, ""):
		return nil, errors.New("Audiences is empty or has an empty entry: write the aud claim that names this service")
	case len(one.Algorithms) == 0:
		return nil, errors.New(`Algorithms is empty: write what the issuer signs with, such as "RS256"`)
	case one.Keys == nil:
		return nil, errors.New("Keys is nil: give it a jwks.Set")
	case slices.Contains(one.Types, ""):
		return nil, errors.New("Types has an empty entry: a token without a type is accepted anyway")
	}
	if err := checkAlgorithms(one.Algorithms); err != nil {
		return nil, err
	}
	set, static := one.Keys.(*jwks.StaticSet)
	if static {
		for _, alg := range one.Algorithms {
			if !slices.ContainsFunc(set.All(), func(k jwks.Key) bool { return k.Supports(alg) }) {
				return nil, fmt.Errorf("Keys has no key that can check %q: leave the algorithm out, or add its key", alg)
			}
		}
	}
	v.prepareTypes(&one)
	v.prepareClaims(&one)
	return &issuer{Issuer: one, static: static}, nil
}

func checkAlgorithms(names []string) error {
	hmac := 0
	for _, alg := range names {
		if _, ok := algorithms[alg]; !ok {
			return fmt.Errorf("Algorithms has %q: write any of %s", alg, strings.Join(algorithmNames(), ", "))
		}
		if strings.HasPrefix(alg, "HS") {
			hmac++
		}
	}
	if hmac > 0 && hmac < len(names) {
		return errors.New("Algorithms mixes HMAC with public-key algorithms: an issuer signs with one of the kinds")
	}
	return nil
}

func (v *Verifier) prepareTypes(one *Issuer) {
	if len(one.Types) == 0 {
		one.Types = []string{"jwt", "at+jwt"}
	}
	if one.AccessTokenProfile {
		one.Types = []string{"at+jwt"}
	}
	for i, t := range one.Types {
		one.Types[i] = normalType(t)
	}
}

// prepareClaims notes which claims to pick up while scanning, by the first step of their path.
func (v *Verifier) prepareClaims(one *Issuer) {
	if one.NameClaim == "" {
		one.NameClaim = "name"
	}
	paths := []string{one.NameClaim, one.ScopeClaim, one.PermissionsClaim}
	if one.ScopeClaim == "" {
		paths = append(paths, "scope", "scp")
	}
	for _, path := range paths {
		if first, _ := step(path); path != "" && !slices.Contains(v.claims, first) {
			v.claims = append(v.claims, first)
		}
	}
}

// Verify judges a token; see [Verifier.VerifyProof].
func (v *Verifier) Verify(ctx context.Context, token string) (*grpcauth.User, error) {
	user, _, err := v.VerifyProof(ctx, token)
	return user, err
}
