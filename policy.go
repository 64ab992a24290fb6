// SPDX-License-Identifier: Apache-2.0

package grpcauth

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/grpcauth/grpcauth/internal/wire"
)

// Access is whether a method needs a user.
type Access uint8

// The four kinds of access.
const (
	// Required: only calls with an accepted credential. It is the zero Access.
	Required Access = iota
	// Optional: also calls without any credential. A wrong credential is refused.
	Optional
	// Public: every call; credentials are not read and there is never a user.
	Public
	// Denied: no call. Callers without an accepted credential are told no more than that they need one.
	Denied
)

// String is the name of the access in lower case.
func (a Access) String() string {
	if names := [...]string{"required", "optional", "public", "denied"}; int(a) < len(names) {
		return names[a]
	}
	return "Access(" + strconv.Itoa(int(a)) + ")"
}

// Rule is what a method asks of its callers. The zero Rule requires a user of any of the server's default backend.
type Rule struct {
	// Access is whether a user is needed.
	Access Access
	// Backends are names given to [WithBackends], any of which may accept the call in place of the default backend. AllBackends must all accept
	// it, as under [All]; a rule has one of the two lists.
	Backends, AllBackends []string
	// Scopes are all needed, AnyScopes at least one of.
	Scopes, AnyScopes []string
	// Permissions are all needed, AnyPermissions at least one of; see [User.HasPermission].
	Permissions, AnyPermissions []string
	// MaxAge is how long ago the user may have logged in at the most, by [User].AuthTime; zero means any time. Otherwise CodeStepUp.
	MaxAge time.Duration
	// ACR is the authentication context class that is needed, by [User].ACR; empty means any. Otherwise CodeStepUp.
	ACR string
	// RequireBound asks for a credential that is bound to a key, by [User].Binding.
	RequireBound bool
}

// Policy maps methods to rules: "/package.Service/Method", or "/package.Service/*" for the rest of a service.
//
// The exact rule replaces the wide one, nothing is merged. A method without a rule has the zero [Rule].
type Policy map[string]Rule

// HealthPolicy is one rule for all methods of the health service, which are protected like all others without it.
func HealthPolicy(access Access) Policy {
	return Policy{"/grpc.health.v1.Health/*": {Access: access}}
}

// ReflectionPolicy is one rule for server reflection, v1 and v1alpha, which is protected like all else without it.
func ReflectionPolicy(access Access) Policy {
	return Policy{
		"/grpc.reflection.v1.ServerReflection/*":      {Access: access},
		"/grpc.reflection.v1alpha.ServerReflection/*": {Access: access},
	}
}

// Validate reports every malformed method name and every contradiction, each with the method it stands at.
func (p Policy) Validate() error {
	var errs []error
	for _, method := range sortedKeys(p) {
		rule := p[method]
		if err := errors.Join(wire.ValidMethod(method), rule.validate()); err != nil {
			errs = append(errs, fmt.Errorf("policy for %q: %w", method, err))
		}
	}
	return errors.Join(errs...)
}

func (r *Rule) validate() error {
	asks := len(r.Scopes)+len(r.AnyScopes)+len(r.Permissions)+len(r.AnyPermissions) > 0 || r.MaxAge != 0 || r.ACR != "" || r.RequireBound
	switch {
	case r.Access > Denied:
		return fmt.Errorf("unknown access %d: write Required, Optional, Public or Denied", r.Access)
	case r.Access == Optional && asks:
		return errors.New("access Optional would let callers without a user past what the rule asks of users: write Required, or ask nothing")
	case r.Access == Public && (asks || len(r.Backends)+len(r.AllBackends) > 0):
		return errors.New("access Public never has a user: write Required, or ask nothing and name no backends")
	case len(r.Backends) > 0 && len(r.AllBackends) > 0:
		return errors.New("Backends and AllBackends are both set: write the names that may each accept a call, or those that must all accept it")
	case r.MaxAge < 0:
		return errors.New("MaxAge is negative: write a positive duration, or zero for no limit")
	case strings.ContainsFunc(r.ACR, func(c rune) bool { return c <= ' ' || c == 0x7f }):
		return errors.New("ACR has white space or control characters: write one class")
	}
	for i, list := range [][]string{r.Backends, r.AllBackends, r.Scopes, r.AnyScopes, r.Permissions, r.AnyPermissions} {
		if slices.Contains(list, "") {
			name := [...]string{"Backends", "AllBackends", "Scopes", "AnyScopes", "Permissions", "AnyPermissions"}[i]
			return fmt.Errorf("%s has an empty entry: take it out or write its name", name)
		}
	}
	return nil
}

// rule is a Rule made ready: its backends found, their schemes listed.
type rule struct {
	Rule
	pattern string // the policy's key; empty: no rule names the method
	backend *chain
	schemes []Scheme
}

// allows applies the rule to an accepted user. What a rule asks and the user does not say denies.
func (r *rule) allows(u *User, now time.Time) error {
	switch {
	case r.Access == Denied:
		return Errorf(CodeForbidden, "the method is denied to everyone")
	case r.RequireBound && u.Binding == (Binding{}):
		return Errorf(CodeInvalid, "the method needs a credential that is bound to a key")
	case r.ACR != "" && u.ACR != r.ACR:
		return Errorf(CodeStepUp, "the method needs another authentication context class")
	case r.MaxAge > 0 && (u.AuthTime.IsZero() || now.Sub(u.AuthTime) > r.MaxAge):
		return Errorf(CodeStepUp, "the login is too old for the method, or its time not known")
	}
	for _, scope := range r.Scopes {
		if !slices.Contains(u.Scopes, scope) {
			return Errorf(CodeForbidden, "the scope %q is missing", scope)
		}
	}
	if len(r.AnyScopes) > 0 && !slices.ContainsFunc(r.AnyScopes, func(s string) bool { return slices.Contains(u.Scopes, s) }) {
		return Errorf(CodeForbidden, "none of the scopes %q", r.AnyScopes)
	}
	for _, permission := range r.Permissions {
		if !u.HasPermission(permission) {
			return Errorf(CodeForbidden, "the permission %q is missing", permission)
		}
	}
	if len(r.AnyPermissions) > 0 && !slices.ContainsFunc(r.AnyPermissions, u.HasPermission) {
		return Errorf(CodeForbidden, "none of the permissions %q", r.AnyPermissions)
	}
	return nil
}

// rules finds the rule of a method in two look-ups, whatever the number of rules.
type rules struct {
	exact, wide map[string]*rule // by "/service/method" and by "service"
	rest        *rule
}

func (rs *rules) of(method string) *rule {
	if r, ok := rs.exact[method]; ok {
		return r
	}
	if service, _, ok := wire.SplitMethod(method); ok && rs.wide[service] != nil {
		return rs.wide[service]
	}
	return rs.rest
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
