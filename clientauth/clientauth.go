// SPDX-License-Identifier: Apache-2.0

// Package clientauth puts credentials on the calls of a gRPC client: passwords, bearer tokens, API keys, tokens in files that rotate, and tokens that
// are fetched anew when they expire.
//
// What it makes is given to [grpc.WithPerRPCCredentials]. Credentials leave only over connections that keep them private, unless [Options] say
// otherwise, and are shown by no function that prints or encodes what is made here.
package clientauth

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/oauth2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/grpcauth/grpcauth/internal/wire"
)

// Options say how credentials are sent and tokens are had. The zero value is a good choice.
type Options struct {
	// InsecureAllowLoopback also sends credentials in plaintext that does not leave the machine, which is for tests and for services side by side: over unix
	// sockets, connections in memory, and TCP to a loopback address under a loopback name, so that a call to a far server is not taken for a near one because
	// a proxy on this machine carries it.
	//
	// What counts is the address of the connection that is made, not what the target looks like. Who listens there is not known, and may be any
	// program of the machine; a tunnel that begins at a loopback address, such as that of ssh, cannot be told from a service.
	//
	// By default they leave only over connections that are encrypted and whose transport credentials say so, as TLS does; gRPC then refuses
	// to make a client that has neither encryption nor a way to send them.
	InsecureAllowLoopback bool
	// InsecureAllowPlaintext sends credentials over any connection. Whoever can read the network then has them. It is for networks that something else
	// encrypts, such as a service mesh, and for transport credentials that do not say how secure they are.
	InsecureAllowPlaintext bool
	// Timeout bounds the fetching of a token; 10 seconds by default.
	Timeout time.Duration
	// MinInterval is the time between two tokens that are fetched because a server called one expired; 10 seconds by default.
	MinInterval time.Duration
	// Now replaces time.Now.
	Now func() time.Time
}

// ready fills in the defaults.
func (o Options) ready() (Options, error) {
	switch {
	case o.Timeout < 0:
		return o, errors.New("clientauth: Options.Timeout is negative: write a positive duration, or zero for the default")
	case o.MinInterval < 0:
		return o, errors.New("clientauth: Options.MinInterval is negative: write a positive duration, or zero for the default")
	}
	if o.Timeout == 0 {
		o.Timeout = 10 * time.Second
	}
	if o.MinInterval == 0 {
		o.MinInterval = 10 * time.Second
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o, nil
}

// Token is a bearer token.
type Token struct {
	// Value is the token itself, a b64token (RFC 6750, section 2.1).
	Value string
	// Expiry is when the token expires. The zero time means that only the server knows.
	Expiry time.Time
}

// Format keeps the token out of texts.
func (Token) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "clientauth.Token") }

// MarshalText gives the same as Format, for JSON and its like.
func (Token) MarshalText() ([]byte, error) { return []byte("clientauth.Token"), nil }

// MarshalBinary gives the same as Format, for gob.
func (Token) MarshalBinary() ([]byte, error) { return []byte("clientauth.Token"), nil }

// Source gives tokens. It must be safe for concurrent use, and its errors must hold no credential: they are shown to the program that calls.
type Source interface {
	Token(ctx context.Context) (Token, error)
}

// SourceFunc is a function as a [Source].
type SourceFunc func(ctx context.Context) (Token, error)

// Token calls the function.
func (f SourceFunc) Token(ctx context.Context) (Token, error) { return f(ctx) }

// Credentials puts one header on each call. It implements [credentials.PerRPCCredentials] and is safe for concurrent use.
//
// Two of them on one call are two credentials, which a server with grpcauth refuses as ambiguous.
type Credentials struct {
	guard
	key   string
	value func(context.Context) (string, error) // a function, since printing one shows nothing
}

// GetRequestMetadata returns the header. It is called by gRPC, and refuses where the connection does not keep a credential private.
func (c *Credentials) GetRequestMetadata(ctx context.Context, uri ...string) (map[string]string, error) {
	if err := c.check(ctx, uri); err != nil {
		return nil, err
	}
	value, err := c.value(ctx)
	if err != nil {
		return nil, err
	}
	return map[string]string{c.key: value}, nil
}

// Format keeps the credential out of texts.
func (*Credentials) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "clientauth.Credentials") }

// MarshalText gives the same as Format, for JSON and its like.
func (*Credentials) MarshalText() ([]byte, error) { return []byte("clientauth.Credentials"), nil }

const authorization = "authorization"

func static(key, value string, opts *Options) *Credentials {
	return &Credentials{newGuard(opts), key, func(context.Context) (string, error) { return value, nil }}
}

// Basic returns credentials with a user name and a password (RFC 7617, section 2), sent in UTF-8 as they are given.
//
// The name is not empty and has no colon, which would end it; neither has control characters.
func Basic(username, password string, opts Options) (*Credentials, error) {
	switch {
	case username == "":
		return nil, errors.New("clientauth: the user name is empty")
	case strings.Contains(username, ":"):
		return nil, errors.New("clientauth: the user name has a colon")
	case !isText(username):
		return nil, errors.New("clientauth: the user name is not UTF-8 without control characters")
	case !isText(password):
		return nil, errors.New("clientauth: the password is not UTF-8 without control characters")
	}
	return static(authorization, "Basic "+base64.StdEncoding.EncodeToString([]byte(username+":"+password)), &opts), nil
}

// Bearer returns credentials with a token that never changes (RFC 6750, section 2.1).
func Bearer(token string, opts Options) (*Credentials, error) {
	if err := checkToken(token); err != nil {
		return nil, err
	}
	return static(authorization, "Bearer "+token, &opts), nil
}

// APIKey returns credentials that send a key in a header of its own.
//
// The key is printable ASCII that neither begins nor ends with a space. The header is not one that gRPC or HTTP/2 uses itself.
func APIKey(header, key string, opts Options) (*Credentials, error) {
	header = strings.ToLower(header)
	switch {
	case !wire.ValidHeader(header, "") || wire.CarriesCall(header):
		return nil, errors.New("clientauth: the header cannot carry a key") // it may be the key
	case key == "":
		return nil, errors.New("clientauth: the key is empty")
	case !wire.ValidHeader(header, key) || !strings.HasSuffix(header, "-bin") && strings.Trim(key, " ") != key:
		return nil, errors.New("clientauth: the key is not printable ASCII without spaces around it")
	}
	return static(header, key, &opts), nil
}

// TokenSource returns credentials that ask an OAuth 2.0 source for a token on each call (RFC 6750, section 2.1).
//
// It is for sources that remember their tokens themselves, as those of golang.org/x/oauth2 do. They know no context: a call waits no longer than its own, and a
// source that hangs is not asked again before it answers.
func TokenSource(src oauth2.TokenSource, opts Options) (*Credentials, error) {
	if src == nil {
		return nil, errors.New("clientauth: the source is nil")
	}
	return FromSource(OAuth2(src), opts)
}

// FromSource returns credentials that ask the source for a token on each call (RFC 6750, section 2.1).
//
// It is for sources that remember their tokens themselves, such as [File]. A source that fetches a token whenever it is asked belongs into [NewRefreshing].
func FromSource(src Source, opts Options) (*Credentials, error) {
	if src == nil {
		return nil, errors.New("clientauth: the source is nil")
	}
	return &Credentials{newGuard(&opts), authorization, func(ctx context.Context) (string, error) {
		token, err := tokenOf(ctx, src)
		return "Bearer " + token.Value, err
	}}, nil
}

// tokenOf asks a source. The error is that of the call.
func tokenOf(ctx context.Context, src Source) (Token, error) {
	token, err := src.Token(ctx)
	if err == nil {
		err = checkToken(token.Value)
	}
	if err != nil {
		return Token{}, noToken(ctx, err)
	}
	return token, nil
}

// checkToken checks that a token is a b64token (RFC 6750, section 2.1).
func checkToken(token string) error {
	body := strings.TrimRight(token, "=")
	for _, c := range []byte(body) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("-._~+/", rune(c)) {
			return errors.New("clientauth: the token has characters that no bearer token has")
		}
	}
	if body == "" {
		return errors.New("clientauth: the token is empty")
	}
	return nil
}

func isText(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

// sourceError says that a call could not be made since there is no token for it.
type sourceError struct {
	code  codes.Code
	cause error
}

func (e *sourceError) Error() string              { return "clientauth: there is no token: " + e.cause.Error() }
func (e *sourceError) Unwrap() error              { return e.cause }
func (e *sourceError) GRPCStatus() *status.Status { return status.New(e.code, e.Error()) }

// noToken is the error of a call for which there is no token: that of the caller's context if it has ended, UNAUTHENTICATED or PERMISSION_DENIED if the source
// says so itself, and else UNAVAILABLE.
func noToken(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return status.FromContextError(ctx.Err()).Err()
	}
	code := status.Code(err)
	if code != codes.Unauthenticated && code != codes.PermissionDenied {
		code = codes.Unavailable
	}
	return &sourceError{code, err}
}
