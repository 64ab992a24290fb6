// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/textproto"
	"net/url"
	"slices"
	"strings"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/internal/wire"
)

// Options configure how HTTP calls become gRPC calls. The zero value serves backends that have their default options.
type Options struct {
	// Schemes are the credentials that the server takes, as its backend's Schemes method says. By default they are a bearer token, a key in x-api-key and
	// the cookie __Host-session. No other cookie reaches the server.
	Schemes []grpcauth.Scheme
	// Headers are further request headers that reach the server, as metadata of the same name. The credentials of Schemes, DPoP, Traceparent,
	// Tracestate and Baggage always do, and nothing else does.
	Headers []string
	// ResponseHeaders are further response metadata that reach the caller, as headers of the same name. Set-Cookie, WWW-Authenticate, Retry-After and
	// DPoP-Nonce always do, and nothing else does.
	ResponseHeaders []string
	// PublicURL is the origin that callers know the gateway by, such as "https://api.example.com". DPoP proofs are for its URLs, and are refused without
	// it: the Host header says what the caller likes. Its pages may change something with the session's cookie.
	PublicURL string
	// Origins are other origins whose pages may change something with the session's cookie, such as "https://app.example.com".
	Origins []string
	// AllowForms takes forms, also those that upload files, along with a session's cookie, if their page's origin is known. By default no form is
	// taken, since browsers send forms anywhere.
	AllowForms bool
	// Proxies are the peers whose X-Forwarded-For and X-Forwarded-Proto are believed.
	Proxies []netip.Prefix
	// Problems answers errors as problem details, application/problem+json (RFC 9457), instead of in grpc-gateway's own shape.
	Problems bool
	// Realm is that of challenges for errors whose server did not send one; "grpcauth" by default.
	Realm string
	// InsecureAllowPlaintext takes credentials over unencrypted connections from anywhere. By default only from this machine.
	InsecureAllowPlaintext bool
}

// config is what [Options] come to.
type config struct {
	Options

	headers   map[string]string // of requests: the metadata key of each canonical header
	names     map[string]string // and the other way round, with authorization and cookie
	responses map[string]string // the header of each metadata key
	cookies   []string
	public    *url.URL // nil: as the caller said
	csrf      *http.CrossOriginProtection
	challenge []string
}

var (
	// alwaysIn tell who traces a call, and prove a DPoP key.
	alwaysIn = []string{"dpop", "traceparent", "tracestate", "baggage"}
	// alwaysOut are what this module's backends and services answer with.
	alwaysOut      = []string{"set-cookie", "www-authenticate", "retry-after", "dpop-nonce"}
	defaultSchemes = []grpcauth.Scheme{{Header: "authorization", AuthScheme: "Bearer"}, {Header: "x-api-key"}, {Cookie: "__Host-session"}}
)

// configure checks options and works them out.
func configure(opts *Options) (*config, error) {
	c := &config{Options: *opts, headers: map[string]string{}, names: map[string]string{"authorization": "Authorization"}, responses: map[string]string{}, csrf: http.NewCrossOriginProtection()}
	c.Realm = cmp.Or(c.Realm, "grpcauth")
	if !wire.ValidHeader("realm", c.Realm) {
		return nil, errors.New("gateway: Options.Realm is not printable ASCII")
	}
	if c.Schemes == nil {
		c.Schemes = defaultSchemes
	}
	for i := range c.Schemes {
		if err := c.addScheme(&c.Schemes[i]); err != nil {
			return nil, fmt.Errorf("gateway: Options.Schemes[%d]: %w", i, err)
		}
	}
	if len(c.challenge) == 0 {
		c.challenge = []string{wire.Challenge("Bearer", c.Realm, nil)}
	}
	for i, name := range slices.Concat(alwaysIn, c.Headers) {
		if i >= len(alwaysIn) && (!wire.CredentialKey(strings.ToLower(name)) || smuggled(textproto.CanonicalMIMEHeaderKey(name))) {
			return nil, fmt.Errorf("gateway: Options.Headers: %q cannot be forwarded: write a header of your own, with dashes and no underscores", wire.Printable(name, 64))
		}
		c.accept(name)
	}
	for i, name := range slices.Concat(alwaysOut, c.ResponseHeaders) {
		if name = strings.ToLower(name); i >= len(alwaysOut) && (!wire.ValidHeader(name, "") || hopByHop[textproto.CanonicalMIMEHeaderKey(name)]) {
			return nil, fmt.Errorf("gateway: Options.ResponseHeaders: %q cannot be sent: write a header of your own", wire.Printable(name, 64))
		}
		c.responses[name] = textproto.CanonicalMIMEHeaderKey(name)
	}
	if err := c.setOrigins(); err != nil {
		return nil, err
	}
	if err := c.setProxies(); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *config) addScheme(s *grpcauth.Scheme) error {
	if s.AuthScheme != "" {
		challenge := wire.Challenge(s.AuthScheme, c.Realm, s.Params)
		if !slices.Contains(c.challenge, challenge) {
			c.challenge = append(c.challenge, challenge)
		}
	}
	switch {
	case s.Cookie != "":
		if (&http.Cookie{Name: s.Cookie, Value: "a"}).Valid() != nil { //nolint:gosec // it is not sent
			return errors.New("Cookie is not the name of a cookie")
		}
		c.cookies = append(c.cookies, s.Cookie)
		c.names["cookie"] = "Cookie"
	case s.Header == "authorization" || s.Header == "": // grpc-gateway forwards it by itself; a certificate is not forwarded
	case !wire.CredentialKey(s.Header) || smuggled(textproto.CanonicalMIMEHeaderKey(s.Header)):
		return errors.New("Header is no metadata key for credentials: write one in lower case, with dashes and no underscores")
	default:
		c.accept(s.Header)
	}
	return nil
}

func (c *config) accept(name string) {
	name, key := textproto.CanonicalMIMEHeaderKey(name), strings.ToLower(name)
	c.headers[name], c.names[key] = key, name
}

func (c *config) setOrigins() error {
	trusted := c.Origins
	if c.PublicURL != "" {
		u, err := url.Parse(c.PublicURL)
		if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
			return errors.New(`gateway: Options.PublicURL is no origin: write a scheme and a host, such as "https://api.example.com"`)
		}
		c.public = &url.URL{Scheme: u.Scheme, Host: u.Host}
		trusted = append([]string{c.public.String()}, trusted...)
	}
	for _, origin := range trusted {
		if err := c.csrf.AddTrustedOrigin(origin); err != nil {
			return fmt.Errorf(`gateway: Options.Origins: %q is no origin: write a scheme and a host, such as "https://app.example.com"`, wire.Printable(origin, 64))
		}
	}
	return nil
}

func (c *config) setProxies() error {
	c.Proxies = slices.Clone(c.Proxies)
	for i, p := range c.Proxies {
		if p.Addr().Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		if !p.IsValid() || p.Addr().Is4In6() || p.Bits() == 0 {
			return fmt.Errorf(`gateway: Options.Proxies[%d] is not a network of proxies: write one like netip.MustParsePrefix("10.0.0.0/8")`, i)
		}
		c.Proxies[i] = p.Masked()
	}
	return nil
}

// ServeMuxOptions returns all options that a gateway needs.
//
// Give them after your own, and none of those that set header matchers, error handlers or fallbacks of the path's length. An error names the field that is wrong.
func ServeMuxOptions(opts Options) ([]runtime.ServeMuxOption, error) {
	c, err := configure(&opts)
	if err != nil {
		return nil, err
	}
	return []runtime.ServeMuxOption{
		runtime.WithMiddlewares(c.guard),
		runtime.WithIncomingHeaderMatcher(c.incoming),
		runtime.WithOutgoingHeaderMatcher(c.outgoing),
		runtime.WithOutgoingTrailerMatcher(func(string) (string, bool) { return "", false }),
		runtime.WithMetadata(annotate),
		runtime.WithErrorHandler(c.handleError),
		runtime.WithStreamErrorHandler(c.handleStreamError),
		runtime.WithDisablePathLengthFallback(), // a form could become another method
	}, nil
}

// incoming is the allow-list of request headers. grpc-gateway forwards authorization by itself.
func (c *config) incoming(name string) (string, bool) {
	if name == "Cookie" {
		return "cookie", len(c.cookies) > 0
	}
	key, ok := c.headers[name]
	return key, ok
}

// outgoing is the allow-list of response metadata.
func (c *config) outgoing(key string) (string, bool) {
	name, ok := c.responses[key]
	return name, ok
}
