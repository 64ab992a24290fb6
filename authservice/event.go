// SPDX-License-Identifier: Apache-2.0

package authservice

import (
	"context"
	"strconv"

	"github.com/grpcauth/grpcauth"
)

// EventKind is what somebody did, or tried to do.
type EventKind uint8

// The kinds of events.
const (
	// LoggedIn: a login; also one that was refused.
	LoggedIn EventKind = iota + 1
	// Refreshed: a refresh token was exchanged, or refused.
	Refreshed
	// RefreshTokenReused: a refresh token was used twice, so one of two holders has stolen it. The login has ended.
	RefreshTokenReused
	// LoggedOut: a session or a login with tokens was ended by its holder.
	LoggedOut
	// SessionsRevoked: a user ended logins of hers by their handles.
	SessionsRevoked
	// APIKeyCreated: a user made an API key.
	APIKeyCreated
	// APIKeyRevoked: a user ended an API key.
	APIKeyRevoked
	// PasswordChanged: a user changed her password, or was refused that.
	PasswordChanged
)

// String is the name of the kind: "LoggedIn".
func (k EventKind) String() string {
	names := [...]string{"", "LoggedIn", "Refreshed", "RefreshTokenReused", "LoggedOut", "SessionsRevoked", "APIKeyCreated", "APIKeyRevoked", "PasswordChanged"}
	if k > 0 && int(k) < len(names) {
		return names[k]
	}
	return "EventKind(" + strconv.Itoa(int(k)) + ")"
}

// Event is what happened, for audit. It holds no secret, and no text that a caller sent in place of a name.
type Event struct {
	// Kind is what was done or tried.
	Kind EventKind
	// User is whose login, key or password it is; nil if that is not known. It is the event's own copy.
	User *grpcauth.User
	// Handle names the login or the API key; empty for none and for several.
	Handle string
	// Err is why it was not done, with the private cause; nil if it was done.
	Err error
}

// tell gives an event to the application, also when the caller has hung up.
func (s *Server) tell(ctx context.Context, e Event) {
	if s.opts.After == nil {
		return
	}
	e.User = e.User.Clone()
	s.opts.After(context.WithoutCancel(ctx), e)
}
