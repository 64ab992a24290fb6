// SPDX-License-Identifier: Apache-2.0

// Package basic accepts a user name and a password with each call (RFC 7617).
//
// An unknown user, a disabled one, one without a usable hash and a wrong password are one answer, after the same work. A right password is
// remembered for a short time under a keyed digest, so that a call costs a hash computation only now and then.
package basic

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/internal/remember"
	"github.com/grpcauth/grpcauth/password"
	"github.com/grpcauth/grpcauth/throttle"
)

// Account is what the application knows of a user name. The zero Account means that there is no such user.
//
// However it is printed, it shows neither the user nor the hash.
type Account struct {
	// User is who the account belongs to; handlers get a copy.
	User *grpcauth.User
	// PasswordHash is what [password.Hasher] made of the password.
	PasswordHash string
	// Disabled accounts are refused like unknown ones.
	Disabled bool
}

// Format prints the type alone, whatever the verb.
func (Account) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "basic.Account") }

// MarshalText gives the same as Format, for JSON and its like: a hash belongs into no document but the store's own.
func (Account) MarshalText() ([]byte, error) { return []byte("basic.Account"), nil }

// MarshalBinary gives the same as Format, for gob and its like.
func (Account) MarshalBinary() ([]byte, error) { return []byte("basic.Account"), nil }

// Options say whose passwords are checked and how. Lookup is required.
type Options struct {
	// Lookup finds the account of a user name, which is valid UTF-8 without control characters and otherwise as the caller sent it. It is asked on
	// every call, so a changed hash or a disabled account counts at once. No such user is the zero Account; an error means that the
	// store could not be asked.
	Lookup func(ctx context.Context, username string) (Account, error)
	// Hasher checks passwords; one with the defaults of [password.Options] if nil. Share it with whatever sets passwords.
	Hasher *password.Hasher
	// Canonical maps the ways to write a user name to one, which is then looked up. An error refuses the name.
	Canonical func(username string) (string, error)
	// StoreHash is given a better hash of a right password whose stored hash is weaker than the Hasher's own. It replaces the old hash if that is still
	// the stored one: otherwise a password that was changed meanwhile would come back. Its error does not fail the call; it is called again when the
	// hash of that password is next computed.
	StoreHash func(ctx context.Context, username, old, hash string) error
	// Limiter refuses attempts at an account, or from an address, that failed too often lately, before a hash is computed. A right password that is
	// remembered is no attempt. The account is the name as Canonical made it. No limit by default: guessers are slowed by the hash alone.
	Limiter *throttle.Limiter
	// Realm is the realm of the challenge; the server's error domain by default.
	Realm string
	// MaxRemembered is how many right passwords are remembered; 10,000 by default, none if negative. Each takes about 200 bytes.
	MaxRemembered int
	// RememberFor is how long a right password is remembered; 5 minutes by default.
	RememberFor time.Duration
	// Now replaces time.Now.
	Now func() time.Time
}

// Backend is a [grpcauth.Backend] for names and passwords. It is safe for concurrent use.
type Backend struct {
	opts    Options
	schemes []grpcauth.Scheme
	keyer   *remember.Keyer
	right   *remember.Cache[struct{}]
	flight  *remember.Flight[struct{}]
}

var (
	_ grpcauth.Backend   = (*Backend)(nil)
	_ grpcauth.Describer = (*Backend)(nil)
)

// New returns a backend. An error names the option that is wrong.
func New(opts Options) (*Backend, error) {
	switch {
	case opts.Lookup == nil:
		return nil, errors.New("basic: Options.Lookup is nil: write a function that finds the account of a user name")
	case opts.RememberFor < 0:
		return nil, errors.New("basic: Options.RememberFor is negative: write a positive duration, or a negative MaxRemembered to remember nothing")
	}
	if opts.Hasher == nil {
		var err error
		if opts.Hasher, err = password.New(password.Options{}); err != nil {
			return nil, fmt.Errorf("basic: %w", err)
		}
	}
	if opts.MaxRemembered == 0 {
		opts.MaxRemembered = 10_000
	}
	if opts.RememberFor == 0 {
		opts.RememberFor = 5 * time.Minute
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	scheme := grpcauth.Scheme{Name: "basic", Header: "authorization", AuthScheme: "Basic", Params: map[string]string{"charset": "UTF-8"}}
	if opts.Realm != "" {
		scheme.Params["realm"] = opts.Realm
	}
	return &Backend{
		opts: opts, schemes: []grpcauth.Scheme{scheme}, keyer: remember.NewKeyer(),
		right: remember.New[struct{}](opts.MaxRemembered), flight: remember.NewFlight[struct{}](nil),
	}, nil
}

// Schemes says that the backend reads Basic credentials.
func (b *Backend) Schemes() []grpcauth.Scheme { return b.schemes }

// Authenticate checks the call's user name and password.
func (b *Backend) Authenticate(ctx context.Context, req *grpcauth.Request) (*grpcauth.User, error) {
	credential, err := req.Authorization("Basic")
	if err != nil {
		return nil, err
	}
	name, pass, err := parse(credential)
	if err != nil {
		return nil, grpcauth.Errorf(grpcauth.CodeMalformed, "basic: %w", err)
	}
	account, cause := Account{}, error(nil)
	if b.opts.Canonical != nil {
		name, cause = b.opts.Canonical(name)
	}
	if cause == nil {
		if account, err = b.opts.Lookup(ctx, name); err != nil {
			if grpcauth.CodeOf(err) != grpcauth.CodeInvalid {
				return nil, fmt.Errorf("basic: the account could not be looked up: %w", undecided(err))
			}
			account, cause = Account{}, err // still refused only after the work of a wrong password
		}
	}
	remembered, err := b.check(ctx, name, account, pass, cause, req.Recheck())
	if err != nil {
		return nil, err
	}
	if remembered {
		req.Remembered()
	}
	user := req.Own(account.User)
	if user.Method == "" {
		user.Method = "basic"
	}
	return user, nil
}

// undecided keeps an ErrNoCredentials of the application from reading as "not mine": the credential was found.
func undecided(err error) error {
	if grpcauth.CodeOf(err) == grpcauth.CodeMissing {
		return grpcauth.Errorf(grpcauth.CodeInternal, "%w", err)
	}
	return err
}
