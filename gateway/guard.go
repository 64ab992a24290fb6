// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/textproto"
	"net/url"
	"slices"
	"strings"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"

	"github.com/grpcauth/grpcauth"
)

// hopByHop are headers of a connection and not of a call (RFC 9110, section 7.6.1).
var hopByHop = map[string]bool{
	"Connection": true, "Proxy-Connection": true, "Keep-Alive": true, "Te": true, "Trailer": true, "Transfer-Encoding": true, "Upgrade": true, "Content-Length": true,
}

// smuggledPrefixes begin the names of headers by which others than the caller speak: gateways, proxies, and servers that put the user into a header.
var smuggledPrefixes = []string{"Grpc-Metadata-", "Grpcgateway-", "Grpcauth-", "X-Forwarded-", "X-User-", "X-Auth-", "X-Authenticated-", "X-Real-"}

// smuggled reports whether a canonical header can only be there to pass for something else. With underscores, many servers take it for the name with dashes.
func smuggled(name string) bool {
	if strings.IndexByte(name, '_') >= 0 || name == "Forwarded" || name == "X-User" || name == "Remote-User" {
		return true
	}
	for _, prefix := range smuggledPrefixes {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// override are the headers that ask for another method than the one of the request.
var override = []string{"X-Http-Method-Override", "X-Http-Method", "X-Method-Override"}

type callKey struct{}

// call is what is known of an HTTP call, before anything that its caller says is taken for something else.
type call struct {
	caller    caller
	encrypted bool
	method    string
	url       string
	w         http.ResponseWriter
}

// guard lets a call in only as far as it is what it says.
func (c *config) guard(next runtime.HandlerFunc) runtime.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request, params map[string]string) {
		caller, encrypted := c.origin(r)
		cl := &call{caller: caller, encrypted: encrypted, method: r.Method, url: c.target(r), w: w}
		guarded := r.WithContext(context.WithValue(r.Context(), callKey{}, cl))
		guarded.Header = c.clean(r.Header)
		if caller.proxied {
			guarded.Header["X-Forwarded-For"] = []string{caller.String()} // to which grpc-gateway adds the proxy
		}
		if err := c.admit(guarded, encrypted || caller.isLocal()); err != nil {
			c.write(guarded.Context(), w, err) //nolint:contextcheck // it is of the request
			return
		}
		next(w, guarded, params)
	}
}

// clean returns the headers without those that are not the caller's own to say.
func (c *config) clean(from http.Header) http.Header {
	header := make(http.Header, len(from))
	var authorization []string
	for name, values := range from {
		name = textproto.CanonicalMIMEHeaderKey(name)
		if isAuthorization(name) {
			authorization = append(authorization, values...)
		}
		if !smuggled(name) {
			header[name] = append(header[name], values...)
		}
	}
	for _, field := range header["Connection"] {
		for name := range strings.SplitSeq(field, ",") {
			if name = textproto.CanonicalMIMEHeaderKey(textproto.TrimString(name)); !hopByHop[name] {
				delete(header, name)
			}
		}
	}
	// Of two credentials, wherever they stand, the server is to see two, and to refuse them.
	if len(authorization) > 1 {
		header["Authorization"] = authorization[:2]
	}
	// grpc-gateway drops values that gRPC cannot carry, and a call without its credential is another call.
	for name := range c.headers {
		header[name] = carried(header[name])
	}
	header["Authorization"] = carried(header["Authorization"])
	header["Cookie"] = c.sessionCookies(header["Cookie"])
	for name, values := range header {
		if len(values) == 0 {
			delete(header, name)
		}
	}
	return header
}

// isAuthorization reports whether a canonical header is one that somebody may take for Authorization.
func isAuthorization(name string) bool {
	const suffix = "authorization"
	at := len(name) - len(suffix)
	return at >= 0 && strings.EqualFold(name[at:], suffix) && (at == 0 || (name[at-1] == '-' || name[at-1] == '_') && smuggled(name))
}

// isClean reports whether [config.clean] would change nothing that matters to a judgement without gRPC, which may carry any value. It knows the usual
// requests alone, whose names net/http has made canonical.
func isClean(header http.Header) bool {
	for name := range header {
		if name == "Connection" || name == "Cookie" || isAuthorization(name) && name != "Authorization" || name == "" || name[0] >= 'a' {
			return false
		}
	}
	return true
}

// carried replaces what metadata cannot carry by a question mark, which no credential has.
func carried(values []string) []string {
	for i, value := range values {
		if strings.IndexFunc(value, notCarried) >= 0 {
			values[i] = strings.Map(func(c rune) rune {
				if notCarried(c) {
					return '?'
				}
				return c
			}, value)
		}
	}
	return values
}

func notCarried(c rune) bool { return c < ' ' || c > '~' }

// sessionCookies returns the cookies of the session alone, all of them, so that the server sees it if there are two.
func (c *config) sessionCookies(fields []string) (kept []string) {
	for _, field := range fields {
		for part := range strings.SplitSeq(field, ";") {
			part = strings.Trim(part, " \t")
			if name, _, _ := strings.Cut(part, "="); slices.Contains(c.cookies, strings.Trim(name, " \t")) {
				kept = append(kept, part)
			}
		}
	}
	if len(kept) == 0 {
		return nil
	}
	return carried([]string{strings.Join(kept, "; ")})
}

// admit refuses what no server has to be asked about.
func (c *config) admit(r *http.Request, secure bool) error {
	if !secure && !c.InsecureAllowPlaintext && c.hasCredential(r.Header) {
		return grpcauth.Errorf(grpcauth.CodeInsecure, "gateway: the connection is not encrypted and its peer not local")
	}
	if len(r.Header["Cookie"]) > 0 {
		return c.checkOrigin(r)
	}
	// A form could log its victim in as somebody else. What needs a script to be sent, browsers ask about first.
	if isUnsafe(r) && isForm(r) && !c.hasCredential(r.Header) && c.csrf.Check(r) != nil {
		return errOrigin
	}
	return nil
}

// isUnsafe reports whether a request may change something (RFC 9110, section 9.2.1).
func isUnsafe(r *http.Request) bool {
	return r.Method != http.MethodGet && r.Method != http.MethodHead && r.Method != http.MethodOptions
}

func (c *config) hasCredential(header http.Header) bool {
	if len(header["Authorization"]) > 0 || len(header["Cookie"]) > 0 {
		return true
	}
	return slices.ContainsFunc(c.Schemes, func(s grpcauth.Scheme) bool {
		return s.Header != "" && len(header[textproto.CanonicalMIMEHeaderKey(s.Header)]) > 0
	})
}

var (
	errOverride = grpcauth.Errorf(grpcauth.CodeForbidden, "gateway: a cookie and another method than that of the request")
	errOrigin   = grpcauth.Errorf(grpcauth.CodeForbidden, "gateway: a cookie or a form from a page of another origin")
	errForm     = grpcauth.Errorf(grpcauth.CodeForbidden, "gateway: a cookie and a form")
)

// checkOrigin refuses a call with a cookie, which browsers send along on their own, unless a page of this origin made it or it changes nothing.
func (c *config) checkOrigin(r *http.Request) error {
	for _, name := range override {
		if len(r.Header[name]) > 0 {
			return errOverride
		}
	}
	if !isUnsafe(r) {
		return nil
	}
	if err := c.csrf.Check(r); err != nil {
		return errOrigin
	}
	if !isForm(r) || c.AllowForms && (r.Header.Get("Sec-Fetch-Site") != "" || r.Header.Get("Origin") != "") {
		return nil
	}
	return errForm
}

// isForm reports whether a page of any origin could make a browser send this body without asking (CORS-safelisted, Fetch standard section 2.2.2).
func isForm(r *http.Request) bool {
	types := r.Header["Content-Type"]
	if len(types) == 0 {
		return r.ContentLength != 0
	}
	kind, _, err := mime.ParseMediaType(types[0])
	return len(types) > 1 || err != nil || kind == "application/x-www-form-urlencoded" || kind == "multipart/form-data" || kind == "text/plain"
}

// origin returns where a call comes from, and whether it was encrypted on its way.
func (c *config) origin(r *http.Request) (caller, bool) {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
		return caller{unix: ok && local.Network() == "unix"}, r.TLS != nil
	}
	from := caller{ip: peer.Addr().WithZone("").Unmap()}
	if !c.isProxy(from.ip) {
		return from, r.TLS != nil
	}
	protos := r.Header["X-Forwarded-Proto"]
	return caller{ip: c.behind(from.ip, r.Header["X-Forwarded-For"]), proxied: true}, len(protos) == 1 && strings.EqualFold(protos[0], "https")
}

func (c *config) isProxy(ip netip.Addr) bool {
	return slices.ContainsFunc(c.Proxies, func(p netip.Prefix) bool { return p.Contains(ip) })
}

// behind is the last address, from the right, of which a proxy says that it asked it. What is left of it, callers can write.
func (c *config) behind(proxy netip.Addr, fields []string) netip.Addr {
	entries := strings.Split(strings.Join(fields, ","), ",")
	for _, entry := range slices.Backward(entries) {
		ip, err := netip.ParseAddr(textproto.TrimString(entry))
		if err != nil {
			return proxy
		}
		if ip = ip.WithZone("").Unmap(); !c.isProxy(ip) {
			return ip
		}
		proxy = ip
	}
	return proxy
}

// target is the URL that the caller used, as far as a signature over it counts (RFC 9449, section 4.3): without query. Where the public origin is not
// known it is the path alone, for which nothing can be signed: the host is what the caller says, who may have the proof from another server.
func (c *config) target(r *http.Request) string {
	u := url.URL{Path: r.URL.Path, RawPath: r.URL.RawPath}
	if c.public != nil {
		u.Scheme, u.Host = c.public.Scheme, c.public.Host
	}
	return u.String()
}
