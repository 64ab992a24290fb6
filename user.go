// SPDX-License-Identifier: Apache-2.0

package grpcauth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	jsonv2 "github.com/go-json-experiment/json"
)

// User is who makes a call, as far as the credential proved it.
//
// The user that a handler finds is its own copy: changing it affects no other call.
type User struct {
	// ID names the user within Issuer; the pair is unique. It is never empty in an accepted call.
	ID string
	// Issuer is who vouches for the user; empty for the service's own users.
	Issuer string
	// Name is for display only.
	Name string
	// Method is the [Scheme].Name of the credential that proved the user.
	Method string
	// Scopes are what the credential may be used for.
	Scopes []string
	// Permissions are what the user may do; see [User.HasPermission].
	Permissions []string
	// Expiry is when the credential stops being accepted, any leeway included; zero means never. Streams end then.
	Expiry time.Time
	// AuthTime is when the person last proved herself, zero if that is not known.
	AuthTime time.Time
	// ACR is the authentication context class of the login (RFC 9470).
	ACR string
	// RawClaims is what the credential said, verified, as one JSON object; nil for credentials that say nothing.
	RawClaims json.RawMessage
	// Binding is what a call must show beside the credential.
	Binding Binding
	// Factors are the users of all backends that accepted, in order, where [All] composed them.
	Factors []*User
}

// Binding ties a credential to a key that its holder must prove to have (RFC 7800). The zero Binding ties it to nothing.
type Binding struct {
	// CertSHA256 is the client certificate's x5t#S256 thumbprint in unpadded base64url (RFC 8705, section 3.1).
	CertSHA256 string
	// JKT is the thumbprint of a DPoP key in unpadded base64url (RFC 9449, section 6.1).
	JKT string
}

// HasPermission reports whether the user's permissions cover one.
//
// A permission covers itself. One that ends in the segment "*" covers all that begin with the segments before it and have
// at least one more: "orders.*" covers "orders.read" and "orders.read.own", neither "orders" nor "orders-old.read"; "*" covers
// every permission. A star elsewhere is an ordinary character.
func (u *User) HasPermission(permission string) bool {
	return u != nil && permission != "" && slices.ContainsFunc(u.Permissions, func(p string) bool {
		prefix, wide := strings.CutSuffix(p, "*")
		wide = wide && (prefix == "" || strings.HasSuffix(prefix, "."))
		return p == permission || wide && len(permission) > len(prefix) && strings.HasPrefix(permission, prefix)
	})
}

// Claims stores what the credential said in the struct or map that v points to.
//
// Members are matched by their exact names, unlike in encoding/json, so that no "ADMIN" sets a field named admin. The error tells
// that there are no claims, or that one does not fit its field.
func (u *User) Claims(v any) error {
	if u == nil || len(u.RawClaims) == 0 {
		return errors.New("the credential has no claims")
	}
	return jsonv2.Unmarshal(u.RawClaims, v)
}

// Clone returns a deep copy of the user.
func (u *User) Clone() *User {
	if u == nil {
		return nil
	}
	c := new(User)
	u.cloneInto(c, make([]string, 0, len(u.Scopes)+len(u.Permissions)))
	return c
}

// cloneInto copies u to dst; scopes and permissions share the room, each without reach into the other's.
func (u *User) cloneInto(dst *User, room []string) {
	*dst = *u
	if n := len(u.Scopes) + len(u.Permissions); n > cap(room) {
		room = make([]string, 0, n)
	}
	if u.Scopes != nil {
		room = append(room, u.Scopes...)
		dst.Scopes = slices.Clip(room)
	}
	if u.Permissions != nil {
		n := len(room)
		room = append(room, u.Permissions...)
		dst.Permissions = slices.Clip(room[n:])
	}
	dst.RawClaims = bytes.Clone(u.RawClaims)
	if u.Factors != nil {
		dst.Factors = make([]*User, len(u.Factors))
		for i, f := range u.Factors {
			dst.Factors[i] = f.Clone()
		}
	}
}

// NewContext returns a context in which [FromContext] finds a copy of the user; a nil user hides one that is there.
//
// Interceptors do this; others need it to test handlers.
func NewContext(ctx context.Context, user *User) context.Context {
	return &call{Context: ctx, user: user.Clone()}
}

// FromContext returns the user of a call; false if there is none.
//
// In a handler whose method requires a user, the user is never nil.
func FromContext(ctx context.Context) (*User, bool) {
	c, ok := ctx.Value(callKey{}).(*call)
	if !ok || c.user == nil {
		return nil, false
	}
	return c.user, true
}

// WithLoader loads the application's own record of each accepted user, once per call; handlers get it from [Loaded].
//
// load runs after the credential was accepted and before the method's rule is applied, so it may add scopes or permissions to the user,
// which is the call's own. An [AuthenticationError] refuses the call; any other error is answered with UNAVAILABLE.
func WithLoader[T any](load func(context.Context, *User) (T, error)) Option {
	return optionFunc(func(c *config) {
		if load == nil || c.load != nil {
			c.failf("WithLoader: give one function, once")
		}
		c.load = func(ctx context.Context, u *User) (any, error) { return load(ctx, u) }
	})
}

// Loaded returns the record that [WithLoader] loaded for this call; false if there is none of that type.
func Loaded[T any](ctx context.Context) (T, bool) {
	var record T
	c, ok := ctx.Value(callKey{}).(*call)
	if !ok {
		return record, false
	}
	record, ok = c.loaded.(T)
	return record, ok
}
