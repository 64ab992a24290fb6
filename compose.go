// SPDX-License-Identifier: Apache-2.0

package grpcauth

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/grpcauth/grpcauth/internal/values"
)

// Chain returns a backend in which the first backend that finds its credential decides.
//
// A wrong credential is never rescued by a later backend. A call with credentials of two kinds that the backends read is refused with
// [CodeAmbiguous], unless one [All] reads both. A Chain of nothing denies.
func Chain(backends ...Backend) Backend { return newChain(backends, nil) }

// All returns a backend that accepts a call only if every one of its backends does.
//
// The user is the first backend's, with the earliest Expiry of all and with every user in Factors. If no backend finds its credential,
// the error is [ErrNoCredentials]; if only some do, [CodeMissing]. A backend that could not decide outranks one that refused. An All of
// nothing denies.
func All(backends ...Backend) Backend {
	a := &all{backends: mustBackends("All", backends)}
	for _, b := range a.backends {
		for _, s := range schemesOf(b) {
			s.together = a
			a.schemes = append(a.schemes, s)
		}
	}
	return a
}

func mustBackends(where string, backends []Backend) []Backend {
	if slices.ContainsFunc(backends, func(b Backend) bool { return values.IsNil(b) }) {
		panic("grpcauth: " + where + ": a backend is nil")
	}
	return slices.Clone(backends)
}

type chain struct {
	backends []Backend
	names    []string // of backends, for events
	schemes  []Scheme
	several  bool // more than one kind of credential can be in a call
}

func newChain(backends []Backend, names []string) *chain {
	c := &chain{backends: mustBackends("Chain", backends)}
	for i, b := range c.backends {
		schemes := schemesOf(b)
		name := ""
		if i < len(names) {
			name = names[i]
		} else if _, nested := b.(*chain); !nested && len(schemes) > 0 {
			name = schemes[0].Name
		}
		c.names = append(c.names, name)
		c.schemes = append(c.schemes, schemes...)
	}
	c.several = len(placesOf(c.schemes)) > 1
	return c
}

// placesOf lists the places of a call at which the schemes look for credentials, each once.
func placesOf(schemes []Scheme) []Scheme {
	var places []Scheme
	for _, s := range schemes {
		if s.inCall() && !slices.ContainsFunc(places, func(p Scheme) bool { return p.sameCredential(&s) }) {
			places = append(places, Scheme{Header: s.Header, Cookie: s.Cookie})
		}
	}
	return places
}

func (c *chain) Schemes() []Scheme { return c.schemes }

func (c *chain) Authenticate(ctx context.Context, req *Request) (*User, error) {
	if len(c.backends) == 0 {
		return nil, Errorf(CodeInternal, "a chain of no backends")
	}
	if c.several && c.ambiguous(req) {
		return nil, Errorf(CodeAmbiguous, "credentials of several kinds in one call")
	}
	for i, b := range c.backends {
		user, err := b.Authenticate(ctx, req)
		if notMine(err) {
			continue
		}
		if c.names[i] != "" {
			req.decidedBy = c.names[i]
		}
		if err == nil && user == nil {
			err = Errorf(CodeInternal, "a backend returned neither a user nor an error")
		}
		if err != nil {
			return nil, err
		}
		return user, nil
	}
	return nil, ErrNoCredentials
}

// ambiguous reports whether the call has credentials of two kinds that are not read together under one All.
func (c *chain) ambiguous(req *Request) bool {
	var present []Scheme
	for i := range c.schemes {
		if s := &c.schemes[i]; s.inCall() && req.has(s) {
			present = append(present, *s)
		}
	}
	places := placesOf(present)
	if len(places) < 2 {
		return false
	}
	return !slices.ContainsFunc(present, func(one Scheme) bool {
		return one.together != nil && !slices.ContainsFunc(places, func(p Scheme) bool {
			return !slices.ContainsFunc(present, func(s Scheme) bool { return s.together == one.together && s.sameCredential(&p) })
		})
	})
}

type all struct {
	backends []Backend
	schemes  []Scheme
}

func (a *all) Schemes() []Scheme { return a.schemes }

// Authenticate asks every backend, even after a refusal: an outage behind it must not look like a wrong credential.
func (a *all) Authenticate(ctx context.Context, req *Request) (*User, error) {
	if len(a.backends) == 0 {
		return nil, Errorf(CodeInternal, "an All of no backends")
	}
	var refused, undecided error
	users := make([]*User, 0, len(a.backends))
	missing := 0
	for _, b := range a.backends {
		user, err := b.Authenticate(ctx, req)
		switch {
		case err == nil && user == nil:
			return nil, Errorf(CodeInternal, "a backend returned neither a user nor an error")
		case err == nil:
			users = append(users, user)
		case notMine(err):
			missing++
		case isUndecided(err):
			undecided = cmp.Or(undecided, err)
		default:
			refused = cmp.Or(refused, err)
		}
	}
	switch {
	case undecided != nil:
		return nil, undecided
	case refused != nil:
		return nil, refused
	case missing == len(a.backends):
		return nil, ErrNoCredentials
	case missing > 0:
		return nil, Errorf(CodeMissing, "%d of %d credentials are missing", missing, len(a.backends))
	}
	return merge(users), nil
}

// isUndecided reports whether err says nothing about the credential.
func isUndecided(err error) bool {
	var refusal *AuthenticationError
	return !errors.As(err, &refusal) || refusal.Code() == CodeUnavailable || refusal.Code() == CodeInternal
}

// merge makes one user of all factors. Each factor is copied: backends may hand out the same user again.
func merge(users []*User) *User {
	user := users[0].Clone()
	user.Factors = make([]*User, len(users))
	for i, u := range users {
		user.Factors[i] = u.Clone()
		if !u.Expiry.IsZero() && (user.Expiry.IsZero() || u.Expiry.Before(user.Expiry)) {
			user.Expiry = u.Expiry
		}
	}
	return user
}
