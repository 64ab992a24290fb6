// SPDX-License-Identifier: Apache-2.0

package authservice

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"
	"unicode"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/session"
	grpcauthv1 "github.com/grpcauth/grpcauth/proto/grpcauth/v1"
	"github.com/grpcauth/grpcauth/throttle"
)

// cleanup is how long the service goes on with what must not be left half done when its caller has hung up.
const cleanup = 10 * time.Second

// asked is what a caller wants to be given for a password.
type asked struct {
	credential grpcauthv1.Credential
	client     string
	scopes     []string
	device     session.Device
}

// ask reads what both Login and ChangePassword say of it. fallback stands in for a credential that is not named.
func (s *Server) ask(ctx context.Context, req interface {
	GetCredential() grpcauthv1.Credential
	GetClientId() string
	GetScopes() []string
	GetDeviceName() string
}, fallback grpcauthv1.Credential,
) (asked, error) {
	a := asked{credential: req.GetCredential(), client: req.GetClientId(), scopes: req.GetScopes(), device: deviceOf(ctx, req.GetDeviceName())}
	if a.credential == grpcauthv1.Credential_CREDENTIAL_UNSPECIFIED {
		a.credential = fallback
	}
	tokens := a.credential == grpcauthv1.Credential_CREDENTIAL_TOKENS
	switch {
	case !slices.Contains(s.offers, a.credential):
		return a, invalid("credential", "not offered by this server")
	case len(a.device.Name) > maxDevice || !label(a.device.Name):
		return a, invalid("device_name", "longer than 64 bytes or not printable")
	case tokens && !word(a.client):
		return a, invalid("client_id", "empty, longer than 128 bytes, or not printable ASCII without spaces")
	case !tokens && (a.client != "" || len(a.scopes) > 0):
		return a, invalid("credential", "a session has no client_id and no scopes of its own")
	case len(a.scopes) > maxScopes || slices.ContainsFunc(a.scopes, func(s string) bool { return !word(s) }):
		return a, invalid("scopes", "too many, or not printable ASCII without spaces")
	}
	return a, nil
}

const (
	maxLabel  = 128
	maxDevice = 64 // what sessions keep of it
	maxScopes = 100
)

// label reports whether a text is fit to be shown in lists; word, whether it is one of those that protocols are made of (RFC 6749, section 3.3).
func label(text string) bool {
	return len(text) <= maxLabel && !strings.ContainsFunc(text, unicode.IsControl)
}

func word(text string) bool {
	return text != "" && len(text) <= maxLabel && !strings.ContainsFunc(text, func(c rune) bool { return c <= ' ' || c > '~' || c == '"' || c == '\\' })
}

// deviceOf is what is known of where a call comes from. Behind a proxy that is the proxy.
func deviceOf(ctx context.Context, name string) session.Device {
	d := session.Device{Name: name}
	if agent := metadata.ValueFromIncomingContext(ctx, "user-agent"); len(agent) > 0 {
		d.UserAgent = agent[0][:min(len(agent[0]), maxLabel)]
	}
	if p, ok := peer.FromContext(ctx); ok && p.Addr != nil {
		d.Address = p.Addr.String()
		if host, _, err := net.SplitHostPort(d.Address); err == nil {
			d.Address = host
		}
	}
	return d
}

// Login exchanges a user name and a password for a session or for a pair of tokens.
func (s *Server) Login(ctx context.Context, req *grpcauthv1.LoginRequest) (*grpcauthv1.LoginResponse, error) {
	return serve(ctx, req, s.login)
}

func (s *Server) login(ctx context.Context, req *grpcauthv1.LoginRequest) (resp *grpcauthv1.LoginResponse, err error) {
	e := Event{Kind: LoggedIn}
	defer func() { e.Err = err; s.tell(ctx, e) }()
	if err := s.secure(ctx); err != nil {
		return nil, err
	}
	a, err := s.ask(ctx, req, s.offers[0])
	if err != nil {
		return nil, err
	}
	name := req.GetUsername()
	if err := wellFormed(name, req.GetPassword()); err != nil {
		return nil, err
	}
	var noName error
	if s.opts.Canonical != nil {
		if canonical, err := s.opts.Canonical(name); err == nil {
			name = canonical
		} else {
			noName = err
		}
	}
	attempt, err := s.reserve(ctx, name)
	if err != nil {
		return nil, err
	}
	defer attempt.end()

	account, cause, err := s.account(ctx, name, noName)
	if err != nil {
		return nil, err
	}
	e.User = account.User
	if err := attempt.judge(func() error { return s.compare(ctx, account, cause, req.GetPassword()) }); err != nil {
		return nil, err
	}
	hashes := s.rehash(ctx, account, req.GetPassword())
	given, err := s.issue(ctx, account.User, a)
	if err != nil {
		return nil, err
	}
	e.User, e.Handle = given.user, given.message.GetSession().GetHandle()
	// A password that was changed, or an account that was disabled, while this went on has ended all logins but this one.
	account, cause, err = s.account(ctx, name, nil)
	if err == nil && (cause != nil || !slices.Contains(hashes, account.PasswordHash)) {
		err = grpcauth.Errorf(grpcauth.CodeInvalid, "authservice: %w", errors.Join(errChanged, cause))
	}
	if err == nil {
		err = given.deliver(ctx)
	}
	if err != nil {
		s.takeBack(ctx, given)
		return nil, err
	}
	return &grpcauthv1.LoginResponse{Issued: given.message}, nil
}

// attempt is one at a password that was reserved. It is given back if no password was compared in the end.
type attempt struct {
	done    func(throttle.Outcome) // nil: no Limiter
	outcome throttle.Outcome
}

// judge compares a password. A caller who hangs up meanwhile has made the attempt nevertheless.
func (a *attempt) judge(compare func() error) error {
	a.outcome = throttle.Failed
	err := compare()
	switch {
	case err == nil:
		a.outcome = throttle.Succeeded
	case grpcauth.CodeOf(err) == grpcauth.CodeThrottled: // too many are being checked, and so this one was not
		a.outcome = throttle.NotJudged
	}
	return err
}

func (a *attempt) end() {
	if a.done != nil {
		a.done(a.outcome)
	}
}

// reserve pays for an attempt at an account before its password is compared.
func (s *Server) reserve(ctx context.Context, account string) (*attempt, error) {
	a := &attempt{outcome: throttle.NotJudged}
	if s.opts.Limiter == nil {
		return a, nil
	}
	var err error
	a.done, err = s.opts.Limiter.Reserve(ctx, account, s.opts.Limiter.Address(ctx))
	if refusal, ok := errors.AsType[*throttle.Error](err); ok {
		return nil, grpcauth.Errorf(grpcauth.CodeThrottled, "authservice: %w", err).WithRetryDelay(refusal.RetryAfter)
	} else if err != nil {
		return nil, fmt.Errorf("the attempt could not be counted: %w", err)
	}
	return a, nil
}

// given is a login that was made. It is nobody's until it is delivered, and can be taken back.
type given struct {
	user    *grpcauth.User
	message *grpcauthv1.Issued
	cookie  string
}

// deliver sends what is not in the answer.
func (g *given) deliver(ctx context.Context) error {
	if g.cookie == "" {
		return nil
	}
	if err := grpc.SetHeader(ctx, metadata.Pairs("set-cookie", g.cookie)); err != nil {
		return grpcauth.Errorf(grpcauth.CodeInternal, "authservice: the cookie could not be sent: %w", err)
	}
	return nil
}

// issue makes what a user asked for, who has just proven herself.
func (s *Server) issue(ctx context.Context, user *grpcauth.User, a asked) (*given, error) {
	user = user.Clone()
	user.AuthTime, user.Method = s.opts.Now(), "password"
	if s.tokens != nil && user.Issuer == "" {
		user.Issuer = s.tokens.Name // as her tokens will say, so that she is one user with both
	}
	if a.credential == grpcauthv1.Credential_CREDENTIAL_TOKENS {
		return s.tokens.start(ctx, user, a)
	}
	id, made, err := s.opts.Sessions.Replace(ctx, user, a.device)
	switch {
	case errors.Is(err, session.ErrTooMany):
		return nil, answerOf(codes.FailedPrecondition, "too many sessions")
	case err != nil:
		return nil, fmt.Errorf("the session could not be made: %w", err)
	}
	g := &given{user: user, message: &grpcauthv1.Issued{User: userOf(user), Session: sessionOf(made)}}
	g.message.Session.Current = true
	if a.credential == grpcauthv1.Credential_CREDENTIAL_COOKIE {
		g.cookie = s.opts.Sessions.Cookie(id, made)
	} else {
		g.message.SessionId = id
	}
	return g, nil
}

// takeBack ends a login that is not to be. It is the best that can be done: nobody has its credentials.
func (s *Server) takeBack(ctx context.Context, g *given) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanup)
	defer cancel()
	if g.message.GetTokens() != nil {
		_ = s.tokens.refresher.RevokeFamily(ctx, g.message.GetSession().GetHandle())
		return
	}
	_ = s.opts.Sessions.Revoke(ctx, g.user, g.message.GetSession().GetHandle())
}
