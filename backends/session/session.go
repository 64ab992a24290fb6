// SPDX-License-Identifier: Apache-2.0

// Package session keeps users logged in: a random id in a cookie or under a metadata key, and a record in a store that can be revoked at any time.
//
// [Backend.Replace] logs a user in, and [Backend.Authenticate] finds that user again on each call. A session ends when it is idle for too long, when it
// is too old however much it is used, and when it is revoked: with the next call, on every server.
//
// A successful call is a use, and so is each time that an open stream is judged again; in between a stream ends when its session would end without further
// use. Give [grpcauth.WithStreamRecheck] an interval shorter than Options.Idle if streams are to live on.
package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/internal/remember"
	"github.com/grpcauth/grpcauth/internal/wire"
	"github.com/grpcauth/grpcauth/store"
)

var (
	// ErrNotFound means that the user has no such session, or has it no longer.
	ErrNotFound = errors.New("session: no such session")
	// ErrTooMany means that the user has as many sessions as Options.MaxPerUser allows, or that other logins of the same moment took all places.
	ErrTooMany = errors.New("session: the user has too many sessions")
)

// Options say where sessions are kept and how long they last. Store is required.
type Options struct {
	// Store keeps the sessions, under the hashes of their ids.
	Store store.Store
	// Cookie is the name of the cookie that carries the id; "__Host-session" by default. A "-" reads no cookie. Browsers take a cookie whose name
	// begins with "__Host-" from this very host alone, so that no other host of the domain can plant one.
	Cookie string
	// MetadataKey is a metadata key that may carry the id too, for callers that are no browsers; none by default.
	MetadataKey string
	// Idle is how long a session lasts without use; 30 minutes by default.
	Idle time.Duration
	// Absolute is how long a session lasts whatever its use; 12 hours by default.
	Absolute time.Duration
	// RenewEvery is how often the use of a session is written down at the most, so a session may end that much sooner than Idle after its last use. It is
	// a minute by default, or a tenth of Idle if that is less.
	RenewEvery time.Duration
	// MaxPerUser is how many sessions a user may have; 20 by default, 1,000 at the most. Logins at the same moment may pass it for the moment that they
	// take, and with RefuseBeyond by one for each of them.
	MaxPerUser int
	// RefuseBeyond refuses a login beyond MaxPerUser with [ErrTooMany]; otherwise the user's oldest login ends.
	RefuseBeyond bool
	// RememberFor is how long a session that was read is relied on without reading it again; not at all by default. For that long, one that another
	// process revoked is still accepted here.
	RememberFor time.Duration
	// MaxRemembered is how many sessions are remembered, if RememberFor is set; 10,000 by default. Each takes about 600 bytes and the size of its claims.
	MaxRemembered int
	// Check is asked on every call with a valid session, remembered or not, before its use is written down: the account may be disabled by now. The user
	// is the call's own. An [grpcauth.AuthenticationError] refuses the call, and any other error means that nothing could be decided; either leaves the
	// session alone.
	Check func(ctx context.Context, user *grpcauth.User) error
	// Realm is the realm of the challenge; the server's error domain by default.
	Realm string
	// Now replaces time.Now.
	Now func() time.Time
}

// Device is what a user knows a session by in a list; nothing is decided by it. Its texts are cut to 64, 256 and 64 bytes, and lose what cannot be printed.
type Device struct {
	// Name is what the user or the application calls the device.
	Name string
	// UserAgent is what the client says of itself.
	UserAgent string
	// Address is where the login came from.
	Address string
}

// Session is what is known of a session. The id is not in it: who sees a Session cannot use it.
type Session struct {
	// Handle names the session in [Backend.Revoke]. It logs nobody in.
	Handle string
	// User is who is logged in.
	User *grpcauth.User
	// Device is where.
	Device Device
	// Created is the time of the login, and Seen that of the last use, as exact as Options.RenewEvery.
	Created, Seen time.Time
	// Expiry is when the session ends without further use, and End when it ends however much it is used.
	Expiry, End time.Time
	// Current is set in a list for the session of the call that asks for it.
	Current bool
}

// Backend is a [grpcauth.Backend] for sessions, and what makes, lists and ends them. It is safe for concurrent use.
type Backend struct {
	opts    Options
	schemes []grpcauth.Scheme

	keyer   *remember.Keyer
	known   *remember.Cache[*record] // nil: nothing is remembered
	unknown *remember.Cache[struct{}]

	mu         sync.RWMutex // guards generation, and is held while a session of that generation is remembered
	generation uint64       // changes with each session that ends, so that what was read before counts for nothing after it
}

var (
	_ grpcauth.Backend   = (*Backend)(nil)
	_ grpcauth.Describer = (*Backend)(nil)
)

const (
	method        = "session"
	defaultCookie = "__Host-session"
	noCookie      = "-"
	mostPerUser   = 1_000
	// maxUnknown bounds how many unknown ids are remembered, and unknownFor for how long.
	maxUnknown = 1_000
	unknownFor = 10 * time.Second
)

// New returns a backend. An error names the option that is wrong.
func New(opts Options) (*Backend, error) {
	if opts.Store == nil {
		return nil, errors.New("session: Options.Store is nil: write where sessions are kept, such as a store of package memstore")
	}
	for name, v := range map[string]int64{
		"Idle": int64(opts.Idle), "Absolute": int64(opts.Absolute), "RenewEvery": int64(opts.RenewEvery), "MaxPerUser": int64(opts.MaxPerUser),
		"RememberFor": int64(opts.RememberFor), "MaxRemembered": int64(opts.MaxRemembered),
	} {
		if v < 0 {
			return nil, fmt.Errorf("session: Options.%s is negative: write a positive value, or zero for the default", name)
		}
	}
	setDefault(&opts.Cookie, defaultCookie)
	setDefault(&opts.Idle, 30*time.Minute)
	setDefault(&opts.Absolute, 12*time.Hour)
	setDefault(&opts.RenewEvery, min(time.Minute, opts.Idle/10))
	setDefault(&opts.MaxPerUser, 20)
	setDefault(&opts.MaxRemembered, 10_000)
	if opts.Now == nil {
		opts.Now = time.Now
	}
	b := &Backend{opts: opts}
	switch {
	case opts.Idle < time.Second || opts.Absolute < time.Second:
		return nil, errors.New("session: Options.Idle or Options.Absolute is too short: write at least a second")
	case opts.RenewEvery >= opts.Idle:
		return nil, errors.New("session: Options.RenewEvery is too long: write less than Idle, or sessions end while they are used")
	case opts.MaxPerUser > mostPerUser:
		return nil, fmt.Errorf("session: Options.MaxPerUser is too large: write at most %d, since every login reads the sessions of its user", mostPerUser)
	case opts.Cookie == noCookie && opts.MetadataKey == "":
		return nil, errors.New("session: Options.Cookie is \"-\" and Options.MetadataKey is empty: write where ids come from")
	case opts.Cookie != noCookie && b.cookie("", 0).Valid() != nil:
		return nil, errors.New("session: Options.Cookie is not the name of a cookie: write letters, digits, dashes and underscores, or \"-\" for none")
	case opts.MetadataKey != "" && !wire.CredentialKey(opts.MetadataKey):
		return nil, errors.New("session: Options.MetadataKey cannot carry ids: write a key of your own in lower case, such as \"x-session-id\"")
	}
	if opts.Cookie != noCookie {
		b.describe(grpcauth.Scheme{Cookie: opts.Cookie}, "cookie", opts.Cookie)
	}
	if opts.MetadataKey != "" {
		b.describe(grpcauth.Scheme{Header: opts.MetadataKey}, "header", opts.MetadataKey)
	}
	if opts.RememberFor > 0 {
		b.keyer, b.known, b.unknown = remember.NewKeyer(), remember.New[*record](opts.MaxRemembered), remember.New[struct{}](maxUnknown)
	}
	return b, nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// describe adds a place of ids, and a challenge that says which it is.
func (b *Backend) describe(s grpcauth.Scheme, kind, name string) {
	s.Name, s.AuthScheme, s.Params = method, "Session", map[string]string{kind: name}
	if b.opts.Realm != "" {
		s.Params["realm"] = b.opts.Realm
	}
	b.schemes = append(b.schemes, s)
}

// Format prints where ids are read, whatever the verb.
func (b *Backend) Format(f fmt.State, _ rune) {
	if b == nil {
		_, _ = io.WriteString(f, "<nil>")
		return
	}
	_, _ = fmt.Fprintf(f, "Backend(%q, %q)", b.opts.Cookie, b.opts.MetadataKey)
}

// Schemes says where the backend reads ids.
func (b *Backend) Schemes() []grpcauth.Scheme { return b.schemes }

// Cookie is the value of a set-cookie header that gives a browser the id of a session, until the session's Expiry. Each renewal sends the next one by
// itself. It is empty if the backend reads no cookie.
func (b *Backend) Cookie(id string, s *Session) string {
	if b.opts.Cookie == noCookie || s == nil {
		return ""
	}
	return b.setCookie(id, s.Expiry)
}

// ClearCookie is the value of a set-cookie header that takes the id away from a browser. It is empty if the backend reads no cookie.
func (b *Backend) ClearCookie() string {
	if b.opts.Cookie == noCookie {
		return ""
	}
	return b.cookie("", -1).String()
}

// setCookie rounds the age down, so that no cookie outlives its session, but not to zero, which would mean no age at all.
func (b *Backend) setCookie(id string, expiry time.Time) string {
	return b.cookie(id, max(1, int(expiry.Sub(b.opts.Now())/time.Second))).String()
}

func (b *Backend) cookie(id string, age int) *http.Cookie {
	return &http.Cookie{Name: b.opts.Cookie, Value: id, Path: "/", MaxAge: age, Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode}
}
