// SPDX-License-Identifier: Apache-2.0

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
	"github.com/grpcauth/grpcauth/internal/strictjson"
	"github.com/grpcauth/grpcauth/jwks"
	"github.com/grpcauth/grpcauth/store"
)

// VerifyProof judges a token and says which key proved it.
//
// It refuses with [grpcauth.CodeExpired] an authentic token whose time is over, with [grpcauth.CodeRevoked] one that was taken back, and with
// [grpcauth.CodeInvalid] everything else. Other errors are those of the issuer's key set and of the denylist, which could not be asked.
func (v *Verifier) VerifyProof(ctx context.Context, token string) (*grpcauth.User, bearer.Proof, error) {
	p, err := v.parse(token)
	if err != nil {
		return nil, nil, invalid(err)
	}
	iss, ok := v.issuers[p.iss]
	if !ok {
		return nil, nil, invalid(errors.New("the issuer is missing or not known"))
	}
	if err := iss.check(p); err != nil {
		return nil, nil, invalid(err)
	}
	now := v.now()
	if from := time.Unix(max(p.nbf, p.iat), 0); from.After(now.Add(v.leeway)) {
		return nil, nil, bearer.Fleeting(invalid(fmt.Errorf("not valid for another %v by this clock: if that is about as much for all tokens, a clock is wrong", from.Sub(now))))
	}
	key, err := iss.key(ctx, p)
	if err != nil {
		return nil, nil, err
	}
	if err := verifySignature(p.alg, p.signed, p.signature, key); err != nil {
		return nil, nil, invalid(errors.New("the signature is wrong"))
	}
	expiry := time.Unix(p.exp, 0).Add(v.leeway)
	if !now.Before(expiry) {
		return nil, nil, grpcauth.Errorf(grpcauth.CodeExpired, "the token expired %v ago, at %v", now.Sub(expiry), expiry.UTC())
	}
	user, err := v.user(iss, p, expiry)
	if err != nil {
		return nil, nil, err
	}
	var rests bearer.Proof
	if !iss.static {
		rests = &proof{iss.Keys, p.kid, key}
	}
	if v.denied == nil {
		return user, rests, nil
	}
	listed := &listing{v.denied, rests, p.iss, p.sub, p.jti, time.Time{}}
	if p.iat != 0 {
		listed.issuedAt = time.Unix(p.iat, 0)
	}
	if err := listed.check(ctx); err != nil {
		return nil, nil, err
	}
	return user, listed, nil
}

func invalid(cause error) *grpcauth.AuthenticationError {
	return grpcauth.Errorf(grpcauth.CodeInvalid, "jwt: %w", cause)
}

// check compares a token with what its issuer may say. It costs little, so it comes before the cryptography.
func (iss *issuer) check(p *parsed) error {
	switch {
	case !slices.Contains(iss.Algorithms, p.alg):
		return errors.New("the algorithm is not the issuer's")
	case !slices.Contains(iss.Types, p.typ) && (p.typ != "" || iss.AccessTokenProfile):
		return errors.New("the type is not that of an access token")
	case p.sub == "":
		return errors.New("no sub")
	case !p.hasExp:
		return errors.New("no exp")
	case iss.AccessTokenProfile && (!p.hasClientID || p.jti == "" || p.iat == 0):
		return errors.New("no client_id, jti or iat")
	case !iss.isAudience(p.audience):
		return errors.New("the audience is another one")
	}
	return nil
}

func (iss *issuer) isAudience(value strictjson.Value) bool {
	if one, ok := value.String(); ok {
		return slices.Contains(iss.Audiences, one)
	}
	found := false
	err := value.Elements(func(e strictjson.Value) error {
		one, ok := e.String()
		if !ok {
			return errors.New("not a string")
		}
		found = found || slices.Contains(iss.Audiences, one)
		return nil
	})
	return err == nil && found
}

// key finds the one key that may verify a token: there is never more than one attempt.
func (iss *issuer) key(ctx context.Context, p *parsed) (jwks.Key, error) {
	keys, err := iss.Keys.Keys(ctx, p.kid)
	if err != nil {
		return jwks.Key{}, fmt.Errorf("the keys of issuer %q: %w", iss.URL, err)
	}
	var found jwks.Key
	n := 0
	for _, k := range keys {
		if (p.kid == "" || k.ID == "" || k.ID == p.kid) && k.Supports(p.alg) {
			found = k
			n++
		}
	}
	switch n {
	case 0:
		return found, bearer.Fleeting(invalid(errors.New("no key fits")))
	case 1:
		return found, nil
	default:
		return found, bearer.Fleeting(invalid(fmt.Errorf("%d keys fit and the token does not say which", n)))
	}
}

// user maps the claims.
func (v *Verifier) user(iss *issuer, p *parsed, expiry time.Time) (*grpcauth.User, error) {
	user := &grpcauth.User{ID: p.sub, Issuer: p.iss, Expiry: expiry, ACR: p.acr, RawClaims: p.raw, Binding: p.binding}
	if p.authTime != 0 {
		user.AuthTime = time.Unix(p.authTime, 0)
	}
	if value, ok := v.find(p, iss.NameClaim); ok {
		user.Name, _ = value.String() // it is for display: another type is no reason to refuse
	}
	scopes := []string{iss.ScopeClaim}
	if iss.ScopeClaim == "" {
		scopes = []string{"scope", "scp"}
	}
	var err error
	for _, path := range scopes {
		if value, ok := v.find(p, path); ok && err == nil && user.Scopes == nil {
			user.Scopes, err = list(path, value)
		}
	}
	if value, ok := v.find(p, iss.PermissionsClaim); ok && err == nil {
		user.Permissions, err = list(iss.PermissionsClaim, value)
	}
	if err != nil {
		return nil, invalid(err)
	}
	if iss.Map != nil {
		if err := iss.Map(user); err != nil {
			return nil, err
		}
	}
	return user, nil
}

// list takes an array of strings, or one string with spaces (RFC 6749, section 3.3).
func list(path string, value strictjson.Value) ([]string, error) {
	if s, ok := value.String(); ok {
		return strings.FieldsFunc(s, func(r rune) bool { return r == ' ' }), nil
	}
	many, ok := value.Strings()
	if !ok {
		return nil, errors.New(path + " is neither a string nor an array of strings")
	}
	return many, nil
}

// find walks to a claim that an issuer maps; false if the token does not have it.
func (v *Verifier) find(p *parsed, path string) (strictjson.Value, bool) {
	first, rest := step(path)
	i := slices.Index(v.claims, first)
	if path == "" || i < 0 || !p.mappedExists[i] {
		return strictjson.Value{}, false
	}
	value, found := p.mapped[i], true
	for rest != "" && found {
		first, rest = step(rest)
		value, found = member(value, first)
	}
	return value, found
}

// member finds a member of an object by its name; false if it has none, or is no object.
func member(object strictjson.Value, name string) (found strictjson.Value, ok bool) {
	_ = object.Members(func(n string, v strictjson.Value) error {
		if n == name {
			found, ok = v, true
		}
		return nil
	})
	return found, ok
}

var pointerEscapes = strings.NewReplacer("~1", "/", "~0", "~")

// step splits the first name off a path: a JSON pointer if it begins with a slash, else one name.
func step(path string) (first, rest string) {
	pointer, ok := strings.CutPrefix(path, "/")
	if !ok {
		return path, ""
	}
	first, rest, more := strings.Cut(pointer, "/")
	if more {
		rest = "/" + rest
	}
	return pointerEscapes.Replace(first), rest
}

// proof is the key that verified a token, in a set that may lose it.
type proof struct {
	keys jwks.Set
	kid  string
	key  jwks.Key
}

var errKeyGone = errors.New("the key that verified the token is no longer in its issuer's set")

func (p *proof) Holds(ctx context.Context) error {
	keys, err := p.keys.Keys(ctx, p.kid)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(keys, p.key.Equal) {
		return errKeyGone
	}
	return nil
}

// listing is a token that a denylist may get at any time, and what else the verdict on it rests on.
type listing struct {
	denied          Denylist
	rests           bearer.Proof // nil: nothing
	issuer, subject string
	id              string
	issuedAt        time.Time
}

func (l *listing) check(ctx context.Context) error {
	revoked, err := l.denied.Revoked(ctx, l.issuer, l.subject, l.id, l.issuedAt)
	switch {
	case err != nil && (errors.Is(err, store.ErrSwapped) || grpcauth.CodeOf(err) == grpcauth.CodeMissing): // the token was found, whatever the error says
		return grpcauth.Errorf(grpcauth.CodeInternal, "the denylist: %w", err)
	case err != nil:
		return fmt.Errorf("the denylist: %w", err)
	case revoked:
		return grpcauth.Errorf(grpcauth.CodeRevoked, "the token was revoked")
	}
	return nil
}

func (l *listing) Holds(ctx context.Context) error {
	if l.rests != nil {
		if err := l.rests.Holds(ctx); err != nil {
			return err
		}
	}
	return l.check(ctx)
}
