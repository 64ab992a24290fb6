// SPDX-License-Identifier: Apache-2.0

package grpcauth

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc/peer"

	"github.com/grpcauth/grpcauth/internal/values"
	"github.com/grpcauth/grpcauth/internal/wire"
)

// Option changes what [New] makes.
type Option interface{ apply(*config) }

type optionFunc func(*config)

func (f optionFunc) apply(c *config) { f(c) }

// defaultDomain is the error domain, and the realm, of a server that sets none.
const defaultDomain = "grpcauth"

type config struct {
	policy    Policy
	backends  map[string]Backend
	observers []Observer
	load      func(context.Context, *User) (any, error)
	domain    string
	recheck   time.Duration
	plaintext bool
	explicit  bool
	secure    func(*peer.Peer) bool
	now       func() time.Time
	errs      []error
}

func (c *config) failf(format string, args ...any) {
	c.errs = append(c.errs, fmt.Errorf(format, args...))
}

// WithPolicy adds rules. It may be given several times, but each method only once.
func WithPolicy(policy Policy) Option {
	return optionFunc(func(c *config) {
		if err := policy.Validate(); err != nil {
			c.errs = append(c.errs, err)
		}
		for method, r := range policy {
			if _, twice := c.policy[method]; twice {
				c.failf("WithPolicy: %q has two rules", method)
			}
			c.policy[method] = r
		}
	})
}

// WithExplicitRules has [Interceptor.Check] fail for every method of the server that no rule of the policy names, so that none is forgotten.
//
// Calls are judged the same: a method without a rule has the zero [Rule].
func WithExplicitRules() Option {
	return optionFunc(func(c *config) { c.explicit = true })
}

// WithBackends names backends for [Rule].Backends. It may be given several times, but each name only once.
func WithBackends(backends map[string]Backend) Option {
	return optionFunc(func(c *config) {
		for name, b := range backends {
			if _, twice := c.backends[name]; twice || name == "" || values.IsNil(b) {
				c.failf("WithBackends: %q is empty, nil or given twice", name)
			}
			c.backends[name] = b
		}
	})
}

// WithObserver adds an observer of all decisions.
func WithObserver(observer Observer) Option {
	return optionFunc(func(c *config) {
		if values.IsNil(observer) {
			c.failf("WithObserver: the observer is nil")
		}
		c.observers = append(c.observers, observer)
	})
}

// WithErrorDomain sets the domain of ErrorInfo, which is also the realm of challenges whose scheme has none; "grpcauth" by default.
func WithErrorDomain(domain string) Option {
	return optionFunc(func(c *config) {
		if domain == "" || !wire.ValidHeader("x", domain) {
			c.failf("WithErrorDomain: write printable ASCII, such as the name of your service")
		}
		c.domain = domain
	})
}

// WithStreamRecheck judges open streams again at this interval, so that one whose credential was revoked ends within it.
//
// A stream also ends when its credential cannot be judged any more, with UNAVAILABLE. By default streams only end at their credential's expiry.
func WithStreamRecheck(interval time.Duration) Option {
	return optionFunc(func(c *config) {
		if interval <= 0 {
			c.failf("WithStreamRecheck: write a positive interval")
		}
		c.recheck = interval
	})
}

// InsecureAllowPlaintext takes credentials over unencrypted connections from anywhere.
//
// By default they are taken over plaintext from loopback, unix-socket and in-memory peers only. A server behind a proxy that ends TLS on another
// machine needs this, and then its network must keep everyone but the proxy out.
func InsecureAllowPlaintext() Option {
	return optionFunc(func(c *config) { c.plaintext = true })
}

// WithTransportSecurity takes credentials also over connections that secure says are private, such as those whose transport credentials
// wrap TLS and do not tell gRPC so. It is asked only about connections that are not known to be.
func WithTransportSecurity(secure func(*peer.Peer) bool) Option {
	return optionFunc(func(c *config) {
		if secure == nil || c.secure != nil {
			c.failf("WithTransportSecurity: give one function, once")
		}
		c.secure = secure
	})
}

// WithClock replaces time.Now, by which expiry and the age of logins are judged.
func WithClock(now func() time.Time) Option {
	return optionFunc(func(c *config) {
		if now == nil {
			c.failf("WithClock: the function is nil")
		}
		c.now = now
	})
}

// compile makes the rules ready and lists the places at which the server knows credentials.
func (c *config) compile(backend Backend) (rules, []Scheme) {
	fallback, ok := backend.(*chain)
	if !ok {
		fallback = newChain([]Backend{backend}, nil)
	}
	known := append([]Scheme{{Header: "authorization"}}, fallback.schemes...)
	for _, name := range sortedKeys(c.backends) {
		known = append(known, schemesOf(c.backends[name])...)
	}
	rs := rules{exact: map[string]*rule{}, wide: map[string]*rule{}, rest: &rule{backend: fallback, schemes: fallback.schemes}}
	for method, r := range c.policy {
		made := &rule{Rule: r, pattern: method, backend: fallback}
		if len(r.Backends) > 0 {
			made.backend = newChain(c.named(method, r.Backends), r.Backends)
		} else if len(r.AllBackends) > 0 {
			made.backend = newChain([]Backend{All(c.named(method, r.AllBackends)...)}, []string{strings.Join(r.AllBackends, "+")})
		}
		made.schemes = made.backend.schemes
		if service, name, _ := wire.SplitMethod(method); name == "*" {
			rs.wide[service] = made
		} else {
			rs.exact[method] = made
		}
	}
	places := placesOf(known)
	if len(places) > 64 {
		c.errs = append(c.errs, errors.New("the backends read credentials at more than 64 places of a call"))
	}
	return rs, places
}

func (c *config) named(method string, names []string) []Backend {
	found := make([]Backend, 0, len(names))
	for _, name := range names {
		b, ok := c.backends[name]
		if !ok {
			c.failf("policy for %q: no backend is named %q: add it to WithBackends", method, name)
			continue
		}
		found = append(found, b)
	}
	return found
}
