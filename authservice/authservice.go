// SPDX-License-Identifier: Apache-2.0

// Package authservice is a gRPC service that logs users in and out: with sessions, with access and refresh tokens, and with API keys.
//
// The application says who its users are; the rest is here. An unknown user, a disabled one, one without a usable hash and a wrong password
// are one answer, after the same work.
package authservice

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc/peer"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/apikey"
	"github.com/grpcauth/grpcauth/backends/basic"
	"github.com/grpcauth/grpcauth/backends/session"
	"github.com/grpcauth/grpcauth/password"
	grpcauthv1 "github.com/grpcauth/grpcauth/proto/grpcauth/v1"
	"github.com/grpcauth/grpcauth/throttle"
)

// ErrChanged is what Options.SetPassword returns if the account's hash is not the one to be replaced.
var ErrChanged = errors.New("authservice: the password was changed meanwhile")

// Account is what the application knows of a user, as for the basic backend. The zero Account means that there is no such user.
type Account = basic.Account

// Options say what the service offers and who its users are. Account is required, and one of Sessions and Tokens.
//
// Errors of the functions mean that nothing could be decided, unless they are an [grpcauth.AuthenticationError].
type Options struct {
	// Account finds the account of a name that somebody logs in with; it can be the Lookup of [basic.Options]. The name is valid UTF-8 without control
	// characters and otherwise as it was sent. No such user is the zero Account. It is asked twice in a login: what changed meanwhile counts.
	Account func(ctx context.Context, name string) (Account, error)
	// AccountOf finds the account of a user by Issuer and ID, all else of whom is empty. ChangePassword and Tokens need it.
	AccountOf func(ctx context.Context, user *grpcauth.User) (Account, error)
	// SetPassword replaces a user's hash, if it still is the old one; otherwise its error is [ErrChanged]. ChangePassword needs it, and it is given better
	// hashes of right passwords whose hash is weaker than the Hasher's own; a failure of that fails no login.
	SetPassword func(ctx context.Context, user *grpcauth.User, old, hash string) error
	// Hasher checks and hashes passwords; one with the defaults of [password.Options] if nil. Share it with whatever else does: it bounds the memory.
	Hasher *password.Hasher
	// Canonical maps the ways to write a name to one, which is then looked up. An error refuses the name.
	Canonical func(name string) (string, error)
	// Blocked reports whether a new password is too well known, such as from a list of leaked ones.
	Blocked func(ctx context.Context, password string) (bool, error)
	// MinPassword is how many characters a new password has at least; 8 by default. How long it may be is the Hasher's to say.
	MinPassword int

	// Sessions are what logins give. As a cookie if the backend reads one, as an id in the answer if it reads a metadata key.
	Sessions *session.Backend
	// Tokens are what logins give besides.
	Tokens *Tokens
	// Keys are the API keys; without them there are none to make.
	Keys *apikey.Backend
	// APIKeysManage lets callers who are known by an API key manage sessions, keys and passwords, as others may.
	APIKeysManage bool
	// RecentLogin is how long ago the user may have logged in to create an API key; any time by default.
	RecentLogin time.Duration

	// Limiter refuses attempts at a password that failed too often lately, by account and by address, before a hash is computed. The account of Login is the
	// name as Canonical made it. Share it with the basic backend, if there is one. No limit by default: set it.
	Limiter *throttle.Limiter

	// After is told what happened, before the caller is. It does not return an error: keep what it could not write.
	After func(ctx context.Context, e Event)
	// InsecureAllowPlaintext takes passwords and refresh tokens over unencrypted connections from anywhere; see [grpcauth.InsecureAllowPlaintext].
	InsecureAllowPlaintext bool
	// TransportSecurity reports whether a connection is private that is not known to be; see [grpcauth.WithTransportSecurity].
	TransportSecurity func(*peer.Peer) bool
	// Now replaces time.Now.
	Now func() time.Time
}

// Server is the service; register it with [grpcauthv1.RegisterAuthServiceServer], and give Policy to the interceptor. It is safe for concurrent use.
type Server struct {
	grpcauthv1.UnimplementedAuthServiceServer

	opts   Options
	offers []grpcauthv1.Credential // the first is the one of a request that names none
	tokens *pairs                  // nil without Options.Tokens
}

// New returns a service. An error names the option that is wrong and says what to write.
func New(opts Options) (*Server, error) {
	if opts.MinPassword == 0 {
		opts.MinPassword = 8
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	switch {
	case opts.Account == nil:
		return nil, errors.New("authservice: Options.Account is nil: write a function that finds the account of a name")
	case opts.Sessions == nil && opts.Tokens == nil:
		return nil, errors.New("authservice: Options.Sessions and Tokens are nil: write what a login gives")
	case opts.Tokens != nil && opts.AccountOf == nil:
		return nil, errors.New("authservice: Options.AccountOf is nil: write a function that finds the account of a user, who may be disabled when tokens are refreshed")
	case opts.SetPassword != nil && opts.AccountOf == nil:
		return nil, errors.New("authservice: Options.AccountOf is nil: write a function that finds the account of the user whose password is set")
	case opts.MinPassword < 0:
		return nil, errors.New("authservice: Options.MinPassword is negative: write a positive number")
	case opts.RecentLogin < 0:
		return nil, errors.New("authservice: Options.RecentLogin is negative: write a positive duration, or zero for any time")
	}
	if opts.Hasher == nil {
		var err error
		if opts.Hasher, err = password.New(password.Options{}); err != nil {
			return nil, fmt.Errorf("authservice: %w", err)
		}
	}
	s := &Server{opts: opts}
	if opts.Sessions != nil {
		for _, scheme := range opts.Sessions.Schemes() {
			if scheme.Cookie != "" {
				s.offers = append(s.offers, grpcauthv1.Credential_CREDENTIAL_COOKIE)
			}
			if scheme.Header != "" {
				s.offers = append(s.offers, grpcauthv1.Credential_CREDENTIAL_SESSION_ID)
			}
		}
	}
	if opts.Tokens != nil {
		var err error
		if s.tokens, err = s.newPairs(*opts.Tokens); err != nil {
			return nil, err
		}
		s.offers = append(s.offers, grpcauthv1.Credential_CREDENTIAL_TOKENS)
	}
	return s, nil
}

// Format prints the type alone, whatever the verb.
func (*Server) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "authservice.Server") }

// Policy is what the methods ask of their callers: Login, Refresh and Logout take their credentials themselves, the rest needs a user. It is the
// caller's to change; a Policy that lets in more is.
func (s *Server) Policy() grpcauth.Policy {
	return grpcauth.Policy{
		"/" + grpcauthv1.AuthService_ServiceDesc.ServiceName + "/*": {},
		grpcauthv1.AuthService_Login_FullMethodName:                 {Access: grpcauth.Public},
		grpcauthv1.AuthService_Refresh_FullMethodName:               {Access: grpcauth.Public},
		grpcauthv1.AuthService_Logout_FullMethodName:                {Access: grpcauth.Public},
		grpcauthv1.AuthService_CreateAPIKey_FullMethodName:          {MaxAge: s.opts.RecentLogin},
	}
}

// WhoAmI says whom the server takes the caller for.
func (s *Server) WhoAmI(ctx context.Context, req *grpcauthv1.WhoAmIRequest) (*grpcauthv1.WhoAmIResponse, error) {
	return serve(ctx, req, func(ctx context.Context, _ *grpcauthv1.WhoAmIRequest) (*grpcauthv1.WhoAmIResponse, error) {
		user, err := caller(ctx)
		if err != nil {
			return nil, err
		}
		return &grpcauthv1.WhoAmIResponse{User: userOf(user)}, nil
	})
}
