// SPDX-License-Identifier: Apache-2.0

package grpcauth

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"

	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/grpcauth/grpcauth/internal/origin"
	"github.com/grpcauth/grpcauth/internal/wire"
)

// maxCookies bounds the bytes of all cookie fields of a call together; a call with more is refused.
const maxCookies = 16 << 10

// Request is what a backend may see of a call: its method, its credentials and its peer.
//
// All credentials are taken off the wire here, so that every backend refuses the same doubled, padded or malformed ones.
// A Request belongs to one call: it is used by one goroutine at a time and not kept. Printing one shows its method only.
type Request struct { //nolint:recvcheck // also a copy has a Format
	ctx     context.Context //nolint:containedctx // a Request is the call, seen by backends; it lives no longer
	method  string
	recheck bool

	authorization       []string // the header's values, read at most once
	authorizationLoaded bool

	places     []Scheme // credentials the server knows, each place once
	read       uint64   // places that were read, a bit each
	decidedBy  string
	remembered bool
	header     metadata.MD
	headerErr  error

	owned   bool
	user    User // room for the call's own copy, so that a copy costs no allocation of its own
	strings [8]string
}

// NewRequest returns the request of a call with the incoming metadata and the peer of ctx.
//
// It is for tests of backends and for servers other than gRPC's; interceptors make their own.
func NewRequest(ctx context.Context, fullMethod string) *Request {
	return &Request{ctx: ctx, method: fullMethod}
}

// Format prints the method and nothing else, whatever the verb: a request holds credentials.
func (r Request) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "Request(%q)", r.method)
}

// Method is the full name of the method called, "/package.Service/Method".
func (r *Request) Method() string { return r.method }

// Recheck reports whether an open stream is judged again: an attempt is not counted, a proof not consumed, no cookie renewed.
func (r *Request) Recheck() bool { return r.recheck }

// Remembered notes that the verdict came from memory, for the [Event] of the call.
func (r *Request) Remembered() { r.remembered = true }

// Own returns the call's own copy of a user, which a handler may change.
//
// A backend that keeps users returns Own(kept): the first copy of a call costs no allocation but that of its claims.
func (r *Request) Own(u *User) *User {
	if r.owned {
		return u.Clone()
	}
	r.owned = true
	u.cloneInto(&r.user, r.strings[:0])
	return &r.user
}

// Value returns the one value of a metadata key.
//
// The error is [ErrNoCredentials] if the key is absent, and an [AuthenticationError] with [CodeAmbiguous] if it has two
// values or [CodeMalformed] if it is empty. The key is in lower case.
func (r *Request) Value(key string) (string, error) {
	vals := r.values(key)
	if len(vals) == 0 {
		return "", ErrNoCredentials
	}
	r.mark(key, "")
	if len(vals) > 1 {
		return "", Errorf(CodeAmbiguous, "%s was given %d times", key, len(vals))
	}
	if vals[0] == "" {
		return "", Errorf(CodeMalformed, "%s is empty", key)
	}
	return vals[0], nil
}

// Authorization returns the credential that follows the scheme in the authorization header (RFC 9110, section 11.4).
//
// The scheme is compared without regard to case and is followed by exactly one space. The error is [ErrNoCredentials] if the
// header is absent or names another scheme, and an [AuthenticationError] with [CodeAmbiguous] or [CodeMalformed] otherwise.
// The size and the characters of the credential are the backend's to check.
func (r *Request) Authorization(scheme string) (string, error) {
	vals := r.values("authorization")
	if len(vals) == 0 {
		return "", ErrNoCredentials
	}
	if len(vals) > 1 {
		r.mark("authorization", "")
		return "", Errorf(CodeAmbiguous, "authorization was given %d times", len(vals))
	}
	if !wire.HasScheme(vals[0], scheme) {
		return "", ErrNoCredentials
	}
	r.mark("authorization", "")
	credential, err := wire.AfterScheme(vals[0], scheme)
	if err != nil {
		return "", Errorf(CodeMalformed, "%s: %w", scheme, err)
	}
	return credential, nil
}

// Cookie returns the value of the one cookie of that name (RFC 6265, section 4.2).
//
// Several cookie fields are one list (RFC 9113, section 8.2.3). The error is [ErrNoCredentials] if no cookie has the name,
// and an [AuthenticationError] with [CodeAmbiguous] if two have, or [CodeMalformed] if all cookies together exceed 16 KiB.
func (r *Request) Cookie(name string) (string, error) {
	value, found, size := wire.Cookie(r.values("cookie"), name)
	if found == 0 && size <= maxCookies {
		return "", ErrNoCredentials
	}
	r.mark("", name)
	switch {
	case size > maxCookies:
		return "", Errorf(CodeMalformed, "cookies of more than %d bytes", maxCookies)
	case found > 1:
		return "", Errorf(CodeAmbiguous, "the cookie was given %d times", found)
	case value == "":
		return "", Errorf(CodeMalformed, "the cookie is empty")
	}
	return value, nil
}

// Peer is the other end of the connection, or nil if it is not known. It is the proxy's if the call came through one.
func (r *Request) Peer() *peer.Peer {
	p, _ := peer.FromContext(r.ctx)
	return p
}

// Certificate returns the client certificate of the connection: the leaf of the first chain that the TLS stack verified.
func (r *Request) Certificate() (*x509.Certificate, bool) {
	return origin.Certificate(r.ctx)
}

// SetHeader adds response metadata, sent when the call is let in and when it is refused, such as a renewed cookie or a nonce.
//
// It may be called again for further values. A key that is reserved or not lower-case text, or a value with control characters,
// is a mistake of the backend: the call is refused with INTERNAL. On a recheck it has no effect.
func (r *Request) SetHeader(key, value string) {
	if r.recheck {
		return
	}
	if !wire.ValidHeader(key, value) {
		r.headerErr = errors.New("a response header set by the backend is not valid")
		return
	}
	if r.header == nil {
		r.header = metadata.MD{}
	}
	r.header.Append(key, value)
}

func (r *Request) values(key string) []string {
	if key != "authorization" {
		return origin.Values(r.ctx, key)
	}
	if !r.authorizationLoaded {
		r.authorization, r.authorizationLoaded = origin.Values(r.ctx, key), true
	}
	return r.authorization
}

// mark notes that the credential at a place was read by the backend that judges it.
func (r *Request) mark(header, cookie string) {
	for i := range r.places {
		if r.places[i].Header == header && r.places[i].Cookie == cookie {
			r.read |= 1 << i
		}
	}
}

// has reports whether the call carries a credential of the scheme, wherever the scheme looks for it, without judging it.
func (r *Request) has(s *Scheme) bool {
	switch {
	case s.Cookie != "":
		read := r.read
		_, err := r.Cookie(s.Cookie)
		r.read = read
		return !notMine(err)
	case s.Header == "authorization" && s.AuthScheme != "":
		vals := r.values(s.Header)
		return len(vals) > 1 || len(vals) == 1 && wire.HasScheme(vals[0], s.AuthScheme)
	case s.Header != "":
		return len(r.values(s.Header)) > 0
	default:
		return false
	}
}

// unread reports whether the call carries a credential, at a place the server knows, that nothing has read.
func (r *Request) unread() bool {
	for i := range r.places {
		place := Scheme{Header: r.places[i].Header, Cookie: r.places[i].Cookie}
		if r.read&(1<<i) == 0 && r.has(&place) {
			return true
		}
	}
	return false
}
