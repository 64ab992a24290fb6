// SPDX-License-Identifier: Apache-2.0

// Package httpx asks identity providers: over TLS, of one origin, and never for more than a limit.
package httpx

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync/atomic"
	"time"
)

// maxRedirects is how often an answer may send the request on, within its origin.
const maxRedirects = 3

// CheckURL returns a URL that may be asked: https, or http if the host is this machine or plaintext is allowed, with a host and without user
// info and fragment.
func CheckURL(text string, plaintext bool) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return nil, errors.New("not a URL")
	case u.Host == "" || u.Hostname() == "" || u.Opaque != "":
		return nil, errors.New("no host: write https://HOST/PATH")
	case u.User != nil:
		return nil, errors.New("user info in a URL: secrets do not belong there")
	case u.Fragment != "" || u.RawFragment != "":
		return nil, errors.New("a fragment in a URL is never sent")
	case u.Scheme == "https" || u.Scheme == "http" && (plaintext || isLoopback(u.Hostname())):
		return u, nil
	case u.Scheme == "http":
		return nil, errors.New("http: write https, or allow plaintext by name")
	}
	return nil, fmt.Errorf("scheme %q: write https", u.Scheme)
}

// Shown is a URL as errors and logs may show it: without user info, which may be a secret although it does not belong there.
func Shown(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	u.User = nil
	return u.String()
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// SameOrigin reports whether two URLs have one scheme, host and port.
func SameOrigin(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && a.Hostname() == b.Hostname() && port(a) == port(b)
}

func port(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	return map[string]string{"https": "443", "http": "80"}[u.Scheme]
}

// Client makes bounded requests. It is safe for concurrent use.
type Client struct{ http http.Client }

// New returns a client that uses base, or one of its own with keep-alive connections or without if base is nil.
func New(base *http.Client, keepAlive bool) *Client {
	if base == nil {
		base = &http.Client{Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, DisableKeepAlives: !keepAlive, IdleConnTimeout: 30 * time.Second,
			TLSHandshakeTimeout: 10 * time.Second, MaxResponseHeaderBytes: 64 << 10, MaxIdleConnsPerHost: 16,
		}}
	}
	c := &Client{*base}
	c.http.Jar = nil // an identity provider has no use for cookies of a server
	c.http.CheckRedirect = func(req *http.Request, via []*http.Request) error {
		if len(via) > maxRedirects {
			return redirectError("too many redirects")
		}
		if via[0].Method != http.MethodGet {
			return redirectError("a redirect of what is not asked for by GET")
		}
		if !SameOrigin(req.URL, via[0].URL) {
			return redirectError("a redirect to another origin")
		}
		return nil
	}
	return c
}

// Response is an answer that was read to its end.
type Response struct {
	Status int
	Header http.Header
	Body   []byte
}

// ErrTooLarge means that an answer has more bytes than the limit; none of them is used.
var ErrTooLarge = errors.New("the answer is too large")

// Do makes a request, whose context bounds it, and reads an answer of at most limit bytes, after decompression.
func (c *Client) Do(req *http.Request, limit int64) (*Response, error) {
	var sent atomic.Bool
	trace := &httptrace.ClientTrace{WroteHeaders: func() { sent.Store(true) }}
	resp, err := c.http.Do(req.WithContext(httptrace.WithClientTrace(req.Context(), trace))) //nolint:gosec // the URL was configured and checked
	switch {
	case err != nil && sent.Load():
		return nil, &url.Error{Op: req.Method, URL: Shown(req.URL.String()), Err: discreet(err)}
	case err != nil:
		return nil, err
	}
	defer resp.Body.Close() //nolint:errcheck // nothing depends on it once the answer was read
	body, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	switch {
	case err != nil:
		return nil, discreet(err)
	case int64(len(body)) > limit:
		return nil, ErrTooLarge
	}
	return &Response{resp.StatusCode, resp.Header, body}, nil
}

type redirectError string

func (e redirectError) Error() string { return string(e) }

// discreet is an error without a word of the other side's. What is no HTTP is quoted by net/http, and so is the target of a redirect; a server that
// repeats what it was asked would have our credentials and those of callers in our logs.
func discreet(err error) error {
	var network *net.OpError
	var redirect redirectError
	switch {
	case errors.As(err, &redirect):
		return redirect
	case errors.Is(err, context.DeadlineExceeded):
		return context.DeadlineExceeded
	case errors.Is(err, context.Canceled):
		return context.Canceled
	case errors.As(err, &network):
		return network
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return io.ErrUnexpectedEOF
	}
	return errors.New("the answer is not HTTP, or damaged")
}

// Close closes the connections that wait for another request.
func (c *Client) Close() { c.http.CloseIdleConnections() }
