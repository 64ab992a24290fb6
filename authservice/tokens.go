// SPDX-License-Identifier: Apache-2.0

package authservice

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/internal/origin"
	grpcauthv1 "github.com/grpcauth/grpcauth/proto/grpcauth/v1"
	"github.com/grpcauth/grpcauth/token"
)

// Tokens say how access and refresh tokens are made. Issuer and Refresh.Store are required.
type Tokens struct {
	// Issuer signs access tokens.
	Issuer *token.Issuer
	// Name is the issuer that the tokens name. It becomes the Issuer of users that have none, so that a user is one whichever way she logged in.
	Name string
	// Refresh is how refresh tokens are kept. The service adds to Check that the user is still there and still has what she was granted, and to
	// OnReuse that After is told.
	Refresh token.RefreshOptions
	// Claims are what goes into an access token of a user for a client, asked at the login and at each refresh. By default they are the user's name and
	// scopes, and her permissions as the claim "permissions". Name, Scopes, Audiences, JKT and Extra count; the rest is the
	// service's to say.
	Claims func(ctx context.Context, user *grpcauth.User, client string) (token.Claims, error)
	// BindCertificate binds tokens to the TLS client certificate of the call that they are given to, if it has one. Not for servers behind a
	// proxy that has a certificate of its own.
	BindCertificate bool
}

// pairs makes pairs of tokens.
type pairs struct {
	Tokens

	s         *Server
	refresher *token.Refresher
}

func (s *Server) newPairs(opts Tokens) (*pairs, error) {
	switch {
	case opts.Issuer == nil:
		return nil, errors.New("authservice: Tokens.Issuer is nil: write what signs access tokens")
	case opts.Name == "":
		return nil, errors.New("authservice: Tokens.Name is empty: write the issuer that the tokens name")
	}
	if opts.Claims == nil {
		opts.Claims = claimsOf
	}
	if opts.Refresh.Now == nil {
		opts.Refresh.Now = s.opts.Now
	}
	p := &pairs{Tokens: opts, s: s}
	check, onReuse := opts.Refresh.Check, opts.Refresh.OnReuse
	opts.Refresh.Check = func(ctx context.Context, g *token.Grant) error {
		if check != nil {
			if err := check(ctx, g); err != nil {
				return err
			}
		}
		return p.prepare(ctx, g)
	}
	opts.Refresh.OnReuse = func(ctx context.Context, r token.Reuse) {
		s.tell(ctx, Event{Kind: RefreshTokenReused, User: &grpcauth.User{ID: r.Grant.Subject, Issuer: p.Name}, Handle: r.Grant.Family})
		if onReuse != nil {
			onReuse(ctx, r)
		}
	}
	var err error
	if p.refresher, err = token.NewRefresher(opts.Refresh); err != nil {
		return nil, fmt.Errorf("authservice: %w", err)
	}
	return p, nil
}

// Refresher is what keeps refresh tokens, for administrators who end logins; nil without Options.Tokens.
func (s *Server) Refresher() *token.Refresher {
	if s.tokens == nil {
		return nil
	}
	return s.tokens.refresher
}

func claimsOf(_ context.Context, user *grpcauth.User, _ string) (token.Claims, error) {
	c := token.Claims{Name: user.Name, Scopes: user.Scopes}
	if len(user.Permissions) > 0 {
		c.Extra = map[string]any{"permissions": user.Permissions}
	}
	return c, nil
}

// start begins a login with tokens.
func (p *pairs) start(ctx context.Context, user *grpcauth.User, a asked) (*given, error) {
	if user.Issuer != p.Name {
		return nil, grpcauth.Errorf(grpcauth.CodeInternal, "authservice: the account's user has another Issuer than Tokens.Name")
	}
	claims, err := p.Claims(ctx, user.Clone(), a.client)
	if err != nil {
		return nil, err
	}
	scopes := claims.Scopes
	if len(a.scopes) > 0 {
		if scopes = a.scopes; !within(scopes, claims.Scopes) {
			return nil, grpcauth.Errorf(grpcauth.CodeForbidden, "authservice: a scope was asked for that the user does not have")
		}
	}
	kept, err := json.Marshal(device(a.device))
	if err != nil {
		return nil, err
	}
	grant := token.Grant{
		Subject: user.ID, ClientID: a.client, Scopes: scopes, Audiences: claims.Audiences, AuthTime: user.AuthTime, ACR: user.ACR, Data: kept,
	}
	if p.BindCertificate {
		grant.CertSHA256 = thumbprint(ctx)
	}
	refresh, g, err := p.refresher.Start(ctx, grant)
	if err != nil {
		return nil, fmt.Errorf("the login could not be kept: %w", err)
	}
	made := &given{user: user, message: &grpcauthv1.Issued{User: userOf(user), Session: familyOf(g), Tokens: &grpcauthv1.Tokens{}}}
	access, err := p.sign(ctx, g, claims)
	if err != nil {
		p.s.takeBack(ctx, made)
		return nil, err
	}
	made.message.Tokens = access.with(refresh, g)
	made.message.Session.Current = true
	return made, nil
}

// access is a signed access token.
type access struct {
	text string
	token.Token
	scopes []string
}

func (a *access) with(refresh string, g *token.Grant) *grpcauthv1.Tokens {
	return &grpcauthv1.Tokens{AccessToken: a.text, AccessExpiry: stamp(a.Expiry), RefreshToken: refresh, End: stamp(g.End), Scopes: a.scopes}
}

func (p *pairs) sign(ctx context.Context, g *token.Grant, claims token.Claims) (*access, error) {
	fixed := g.Claims()
	fixed.Name, fixed.JKT, fixed.Extra = claims.Name, claims.JKT, claims.Extra
	text, t, err := p.Issuer.Sign(ctx, fixed)
	switch {
	case err != nil:
		return nil, fmt.Errorf("the access token could not be signed: %w", err)
	case t.Issuer != p.Name:
		return nil, grpcauth.Errorf(grpcauth.CodeInternal, "authservice: Tokens.Name is not the issuer that the tokens name")
	}
	return &access{text, t, g.Scopes}, nil
}

// preparedKey is where a refresh finds the access token that was made for it before its refresh token was spent: what can fail has to fail first,
// or a caller would be left with neither.
type preparedKey struct{}

// prepare judges whether a login may go on, and makes its next access token.
func (p *pairs) prepare(ctx context.Context, g *token.Grant) error {
	user, err := p.userOf(ctx, g)
	if err != nil {
		return err
	}
	claims, err := p.Claims(ctx, user, g.ClientID)
	if err != nil {
		return err
	}
	if !within(g.Scopes, claims.Scopes) || !within(g.Audiences, claims.Audiences) {
		return grpcauth.Errorf(grpcauth.CodeRevoked, "authservice: the user has lost a scope or an audience of the login")
	}
	next, err := p.sign(ctx, g, claims)
	if err != nil {
		return err
	}
	if room, ok := ctx.Value(preparedKey{}).(**access); ok {
		*room = next
	}
	return nil
}

// userOf is whose login it is, as the application sees her now.
func (p *pairs) userOf(ctx context.Context, g *token.Grant) (*grpcauth.User, error) {
	account, err := p.s.accountOf(ctx, &grpcauth.User{ID: g.Subject, Issuer: p.Name})
	if err != nil {
		return nil, err
	}
	if cause := unusable(account); cause != nil {
		return nil, grpcauth.Errorf(grpcauth.CodeRevoked, "authservice: %w", cause)
	}
	user := account.User.Clone()
	user.Issuer, user.AuthTime = p.Name, g.AuthTime
	return user, nil
}

func within(part, whole []string) bool {
	return !slices.ContainsFunc(part, func(s string) bool { return !slices.Contains(whole, s) })
}

// thumbprint is the x5t#S256 of the call's client certificate (RFC 8705, section 3.1); empty if it has none.
func thumbprint(ctx context.Context) string {
	certificate, ok := origin.Certificate(ctx)
	if !ok {
		return ""
	}
	sum := sha256.Sum256(certificate.Raw)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// Refresh exchanges a refresh token for a new pair.
func (s *Server) Refresh(ctx context.Context, req *grpcauthv1.RefreshRequest) (*grpcauthv1.RefreshResponse, error) {
	return serve(ctx, req, s.refresh)
}

func (s *Server) refresh(ctx context.Context, req *grpcauthv1.RefreshRequest) (resp *grpcauthv1.RefreshResponse, err error) {
	if s.tokens == nil {
		return nil, errNotOffered
	}
	e := Event{Kind: Refreshed}
	defer func() { e.Err = err; s.tell(ctx, e) }()
	if err := s.secure(ctx); err != nil {
		return nil, err
	}
	switch {
	case req.GetRefreshToken() == "":
		return nil, grpcauth.Errorf(grpcauth.CodeMissing, "authservice: the request has no refresh token")
	case len(req.GetRefreshToken()) > maxSecret:
		return nil, grpcauth.Errorf(grpcauth.CodeMalformed, "authservice: the refresh token is too long")
	case !word(req.GetClientId()):
		return nil, invalid("client_id", "empty, longer than 128 bytes, or not printable ASCII without spaces")
	}
	var prepared *access
	next, g, err := s.tokens.refresher.Rotate(context.WithValue(ctx, preparedKey{}, &prepared), req.GetRefreshToken(), token.Client{ID: req.GetClientId(), CertSHA256: thumbprint(ctx)})
	if err != nil {
		return nil, refused(err)
	}
	e.User, e.Handle = &grpcauth.User{ID: g.Subject, Issuer: s.tokens.Name}, g.Family
	if prepared == nil {
		return nil, grpcauth.Errorf(grpcauth.CodeInternal, "authservice: the refresher did not check the login")
	}
	return &grpcauthv1.RefreshResponse{Tokens: prepared.with(next, g)}, nil
}

// refused says of a refresh token what its holder may know. That it was authentic is proven where it expired, was revoked or was used before.
func refused(err error) error {
	switch {
	case errors.Is(err, token.ErrExpired):
		return grpcauth.Errorf(grpcauth.CodeExpired, "authservice: %w", err)
	case errors.Is(err, token.ErrRevoked), errors.Is(err, token.ErrReused):
		return grpcauth.Errorf(grpcauth.CodeRevoked, "authservice: %w", err)
	case errors.Is(err, token.ErrInvalid), errors.Is(err, token.ErrOtherClient):
		return grpcauth.Errorf(grpcauth.CodeInvalid, "authservice: %w", err)
	}
	return fmt.Errorf("the login could not be refreshed: %w", err)
}

// device is a session.Device as a login with tokens keeps it.
type device struct {
	Name      string `json:"name"`
	UserAgent string `json:"user_agent"`
	Address   string `json:"address"`
}

// familyOf is a login with tokens as lists show it.
func familyOf(g *token.Grant) *grpcauthv1.Session {
	var d device
	_ = json.Unmarshal(g.Data, &d) // of a login that was not made here there is no device to show
	return &grpcauthv1.Session{
		Handle: g.Family, Tokens: true, DeviceName: d.Name, UserAgent: d.UserAgent, Address: d.Address, ClientId: g.ClientID,
		Created: stamp(g.Started), End: stamp(g.End),
	}
}
