// SPDX-License-Identifier: Apache-2.0

package grpcauth

import (
	"context"
	"errors"
)

// Backend finds out who makes a call from one kind of credential.
//
// Authenticate returns a user and no error if it accepts the credential. Its errors are [ErrNoCredentials], returned or
// wrapped, if the call has no credential of its kind; an [*AuthenticationError] if there is one and it is refused; and any
// other error if it could not decide, which is answered with UNAVAILABLE. A nil user with a nil error is answered with INTERNAL.
// The context is the call's own. Implementations are safe for concurrent use.
type Backend interface {
	Authenticate(ctx context.Context, req *Request) (*User, error)
}

// BackendFunc is a function that is a [Backend].
type BackendFunc func(ctx context.Context, req *Request) (*User, error)

// Authenticate calls f.
func (f BackendFunc) Authenticate(ctx context.Context, req *Request) (*User, error) {
	return f(ctx, req)
}

// ErrNoCredentials says that a call carries no credential of the kind a backend reads; the next backend is asked.
var ErrNoCredentials = errors.New("no credentials of this kind")

// notMine reports whether err is ErrNoCredentials, returned or wrapped. An error that also says something else, a joined
// one or a refusal with that cause, is not: else a failure joined to it would turn a caller into an anonymous one.
func notMine(err error) bool {
	for err != nil {
		if err == ErrNoCredentials { //nolint:errorlint // errors.Is would also look into joined errors
			return true
		}
		if _, refused := err.(*AuthenticationError); refused { //nolint:errorlint // the chain is walked here
			return false
		}
		err = errors.Unwrap(err)
	}
	return false
}

// Scheme describes a credential: where it is read and how a caller is asked for it.
//
// A scheme with neither Header nor Cookie is proven by the connection, such as a TLS client certificate.
type Scheme struct {
	// Name is the kind of credential, reported as [User].Method: "jwt", "basic".
	Name string
	// Header is the metadata key that carries the credential, in lower case.
	Header string
	// AuthScheme is the authentication scheme in that header and in challenges (RFC 9110, section 11.1): "Bearer".
	AuthScheme string
	// Cookie is the name of the cookie that carries the credential.
	Cookie string
	// Params are parameters of the challenge, such as charset; realm, if it is not the server's error domain.
	Params map[string]string

	together *all // the outermost All that reads this credential along with others
}

// Describer is implemented by a [Backend] that can say which credentials it reads.
//
// Challenges and the refusal of calls with two kinds of credentials stand on it. A decorator passes on what the backend
// that it wraps says. What is returned is not changed later, by either side.
type Describer interface {
	Schemes() []Scheme
}

func schemesOf(b Backend) []Scheme {
	if d, ok := b.(Describer); ok {
		return d.Schemes()
	}
	return nil
}

// sameCredential reports whether two schemes read the same place of a call: no call can have both twice over.
func (s *Scheme) sameCredential(o *Scheme) bool { return s.Header == o.Header && s.Cookie == o.Cookie }

// inCall reports whether the scheme's credential is part of the call itself.
func (s *Scheme) inCall() bool { return s.Header != "" || s.Cookie != "" }
