// SPDX-License-Identifier: Apache-2.0

package gateway_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/apikey"
	"github.com/grpcauth/grpcauth/backends/mtls"
	"github.com/grpcauth/grpcauth/gateway"
	"github.com/grpcauth/grpcauth/grpcauthtest"
)

// hello says who is there, and what came.
func hello(w http.ResponseWriter, r *http.Request) {
	id := "nobody"
	if user, ok := grpcauth.FromContext(r.Context()); ok {
		id = user.ID
	}
	body, _ := io.ReadAll(r.Body)
	_, _ = fmt.Fprintf(w, "hello %s: %s", id, body)
}

func protect(t *testing.T, opts gateway.MiddlewareOptions, backend grpcauth.Backend, next http.HandlerFunc, auth ...grpcauth.Option) *httptest.Server {
	t.Helper()
	middleware, err := gateway.NewMiddleware(grpcauth.New(backend, auth...), opts)
	check(t, err)
	front := httptest.NewTLSServer(middleware(next))
	t.Cleanup(front.Close)
	return front
}

// bothKinds runs a test with handlers that end, and with those that stay.
func bothKinds(t *testing.T, test func(t *testing.T, opts gateway.MiddlewareOptions)) {
	t.Helper()
	for name, endless := range map[string]bool{"requests": false, "streams": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, gateway.MiddlewareOptions{Endless: endless})
		})
	}
}

func TestMiddlewareKnowsCallersByTheSameCredentials(t *testing.T) {
	t.Parallel()
	bothKinds(t, func(t *testing.T, opts gateway.MiddlewareOptions) {
		b := newBackends(t)
		front := protect(t, opts, b.chain, hello)
		key, _, err := b.keys.Create(t.Context(), apikey.Key{Owner: "machine"})
		check(t, err)
		for user, field := range map[string]string{
			"alice": alices, "bob": "AUTHORIZATION: bearer bobs", "carol": "Cookie: theme=dark; " + b.login(t, "carol"), "machine": "X-Api-Key: " + key,
		} {
			raw(t, front, http.MethodPost, "/upload", "body", "Content-Type: application/json", field).want(t, http.StatusOK, "hello "+user+": body")
		}
		for _, fields := range [][]string{
			{},
			{"Authorization: Bearer nobodys"},
			{"X-User: alice"},
			{alices, bobs},
			{alices, "Grpc-Metadata-Authorization: Bearer bobs"},
			{alices, "x_authorization: Bearer bobs"},
			{"Grpc-Metadata-Authorization: Bearer bobs"},
			{alices, "Connection: authorization"},
			{alices, "X-Api-Key: " + key},
			{"Authorization: Bearer alices\xff"},
			{"Cookie: " + b.login(t, "carol") + "; " + b.login(t, "carol")},
		} {
			a := raw(t, front, http.MethodPost, "/upload", "body", append(fields, "Content-Type: application/json")...)
			a.want(t, http.StatusUnauthorized)
			if len(a.Header["Www-Authenticate"]) != 3 {
				t.Errorf("%q: got the challenges %q", fields, a.Header["Www-Authenticate"])
			}
		}
	})
}

func TestMiddlewareJudgesByTheRuleOfTheMethod(t *testing.T) {
	t.Parallel()
	policy := grpcauth.WithPolicy(grpcauth.Policy{
		"/http.Handler/POST": {Scopes: []string{"echo"}}, "/http.Handler/GET": {Access: grpcauth.Public}, "/http.Handler/*": {Access: grpcauth.Optional},
		"/files.v1.Files/Upload": {Scopes: []string{"files"}},
	})
	bothKinds(t, func(t *testing.T, opts gateway.MiddlewareOptions) {
		front := protect(t, opts, newBackends(t).chain, hello, policy)
		for _, c := range []struct {
			method, field string
			want          int
		}{
			{"POST", alices, 200},
			{"POST", bobs, 403},
			{"POST", "X: y", 401},
			{"GET", "X: y", 200},
			{"GET", "Authorization: Bearer x", 200},
			{"PUT", "X: y", 200},
			{"PUT", bobs, 200},
			{"PUT", "Authorization: Bearer x", 401},
			{"REPORT", "X: y", 200},
		} {
			if a := raw(t, front, c.method, "/", "", c.field); a.StatusCode != c.want {
				t.Errorf("%s %s: got %d, want %d", c.method, c.field, a.StatusCode, c.want)
			}
		}
		opts.Method = func(*http.Request) string { return "/files.v1.Files/Upload" }
		raw(t, protect(t, opts, newBackends(t).chain, hello, policy), http.MethodGet, "/", "", alices).want(t, http.StatusForbidden)
	})
	opts := gateway.MiddlewareOptions{Endless: true, Method: func(*http.Request) string { return "upload" }}
	raw(t, protect(t, opts, newBackends(t).chain, hello), http.MethodGet, "/", "", alices).want(t, http.StatusInternalServerError)
}

func TestMiddlewareRefusesWhatAPageOfAnotherOriginMade(t *testing.T) {
	t.Parallel()
	bothKinds(t, func(t *testing.T, opts gateway.MiddlewareOptions) {
		b := newBackends(t)
		front := protect(t, opts, b.chain, hello)
		cookie := "Cookie: " + b.login(t, "carol")
		const json = "Content-Type: application/json"
		for _, c := range []struct {
			want   int
			fields []string
		}{
			{200, []string{json, "Sec-Fetch-Site: same-origin"}},
			{403, []string{json, "Sec-Fetch-Site: cross-site"}},
			{403, []string{json, "Origin: https://evil.example"}},
			{403, []string{"Content-Type: text/plain"}},
			{403, []string{"Content-Type: multipart/form-data; boundary=a"}},
			{403, []string{json, "X-HTTP-Method-Override: GET"}},
		} {
			if a := raw(t, front, http.MethodPost, "/", "a", append(c.fields, cookie)...); a.StatusCode != c.want {
				t.Errorf("%q: got %d %s", c.fields, a.StatusCode, a.text)
			}
			raw(t, front, http.MethodPost, "/", "a", append(c.fields, alices, "Cookie: theme=dark")...).want(t, http.StatusOK)
		}
	})
}

func TestMiddlewareAnswersWithTheHeadersOfTheBackend(t *testing.T) {
	t.Parallel()
	backend := grpcauth.BackendFunc(func(_ context.Context, req *grpcauth.Request) (*grpcauth.User, error) {
		req.SetHeader("set-cookie", "a=b")
		req.SetHeader("dpop-nonce", "n")
		req.SetHeader("x-inside", "secret")
		if _, err := req.Authorization("Bearer"); err != nil {
			return nil, grpcauth.Errorf(grpcauth.CodeThrottled, "too often").WithRetryDelay(1500 * time.Millisecond)
		}
		return &grpcauth.User{ID: "alice"}, nil
	})
	bothKinds(t, func(t *testing.T, opts gateway.MiddlewareOptions) {
		front := protect(t, opts, backend, hello)
		for field, retry := range map[string]string{alices: "", "X: y": "2"} {
			a := raw(t, front, http.MethodGet, "/", "", field)
			if a.Header.Get("Set-Cookie") != "a=b" || a.Header.Get("DPoP-Nonce") != "n" || a.Header.Get("X-Inside") != "" || a.Header.Get("Retry-After") != retry {
				t.Errorf("%s: got %v", field, a.Header)
			}
		}
	})
}

func TestMiddlewareTakesTheCertificateOfTheCallerAndNotOfAProxy(t *testing.T) {
	t.Parallel()
	ca := grpcauthtest.NewCA(t)
	workloads, err := mtls.New(mtls.Options{Roots: ca.Pool, Identities: []mtls.Identity{mtls.DNS}})
	check(t, err)
	for name, c := range map[string]struct {
		proxies []netip.Prefix
		client  []tls.Certificate
		want    int
	}{
		"caller":      {nil, []tls.Certificate{ca.Issue(x509.Certificate{DNSNames: []string{"worker.example.com"}})}, 200},
		"proxy":       {[]netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, []tls.Certificate{ca.Issue(x509.Certificate{DNSNames: []string{"nginx.example.com"}})}, 401},
		"nothing":     {nil, nil, 401},
		"another's":   {nil, []tls.Certificate{grpcauthtest.NewCA(t).Issue(x509.Certificate{DNSNames: []string{"worker.example.com"}})}, 401},
		"self-signed": {nil, grpcauthtest.NewCA(t).ServerTLS().Certificates, 401},
	} {
		middleware, err := gateway.NewMiddleware(grpcauth.New(workloads), gateway.MiddlewareOptions{Options: gateway.Options{Proxies: c.proxies}})
		check(t, err)
		front := httptest.NewUnstartedServer(middleware(http.HandlerFunc(hello)))
		front.TLS = ca.ServerTLS()
		if name == "another's" || name == "self-signed" {
			front.TLS.ClientAuth = tls.RequireAnyClientCert
		}
		front.StartTLS()
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: ca.ClientTLS(c.client...)}}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, front.URL, http.NoBody)
		check(t, err)
		req.Header.Set("X-Forwarded-Proto", "https")
		resp, err := client.Do(req)
		check(t, err)
		_ = resp.Body.Close()
		if resp.StatusCode != c.want {
			t.Errorf("%s: got %d, want %d", name, resp.StatusCode, c.want)
		}
		client.CloseIdleConnections()
		front.Close()
	}
}

// counted counts what a server reads.
type counted struct {
	net.Listener

	n atomic.Int64
}

func (l *counted) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	return &countedConn{conn, &l.n}, err
}

type countedConn struct {
	net.Conn

	n *atomic.Int64
}

func (c *countedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.n.Add(int64(n))
	return n, err
}

func TestMiddlewareReadsNoBodyOfARefusedRequest(t *testing.T) {
	t.Parallel()
	bothKinds(t, func(t *testing.T, opts gateway.MiddlewareOptions) {
		refuse(t, opts, 3<<20, true)
		refuse(t, opts, 100<<10, false) // the answer does not wait for what never comes
	})
}

func refuse(t *testing.T, opts gateway.MiddlewareOptions, size int, send bool) {
	t.Helper()
	middleware, err := gateway.NewMiddleware(grpcauth.New(newBackends(t).chain), opts)
	check(t, err)
	front := httptest.NewUnstartedServer(middleware(http.HandlerFunc(hello)))
	listener := &counted{Listener: front.Listener}
	front.Listener = listener
	front.Start()
	defer front.Close()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", listener.Addr().String())
	check(t, err)
	defer func() { _ = conn.Close() }()
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		_, _ = fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", size)
		if send {
			_, _ = conn.Write(make([]byte, size)) // until the server has closed the connection
		}
	}()
	check(t, conn.SetReadDeadline(time.Now().Add(20*time.Second)))
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	check(t, err)
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusUnauthorized || !resp.Close {
		t.Errorf("got %d, closed: %v", resp.StatusCode, resp.Close)
	}
	_ = conn.Close()
	<-sent
	front.Close()
	if n := listener.n.Load(); n > 64<<10 {
		t.Errorf("%d bytes were read", n)
	}
}

func TestMiddlewareLeavesTheConnectionToOthersOverHTTP2(t *testing.T) {
	t.Parallel()
	front := httptest.NewUnstartedServer(gateway.Middleware(grpcauth.New(newBackends(t).chain))(http.HandlerFunc(hello)))
	front.EnableHTTP2 = true
	var conns atomic.Int64
	front.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			conns.Add(1)
		}
	}
	front.StartTLS()
	defer front.Close()
	send := func(fields ...string) (*http.Response, error) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, front.URL, strings.NewReader("body"))
		check(t, err)
		for _, field := range fields {
			name, value, _ := strings.Cut(field, ": ")
			req.Header.Add(name, value)
		}
		return front.Client().Do(req)
	}
	for fields, want := range map[string]int{"X: y": 401, alices: 200} {
		resp, err := send(fields)
		check(t, err)
		_ = resp.Body.Close()
		if resp.StatusCode != want || resp.ProtoMajor != 2 || resp.Header.Get("Connection") != "" {
			t.Errorf("%s: got %d over HTTP/%d, %v", fields, resp.StatusCode, resp.ProtoMajor, resp.Header)
		}
	}
	for range 3 {
		resp, err := send("X: y")
		check(t, err)
		_ = resp.Body.Close()
	}
	if n := conns.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

func TestMiddlewareLetsHandlersStreamAndTakeOver(t *testing.T) {
	t.Parallel()
	bothKinds(t, func(t *testing.T, opts gateway.MiddlewareOptions) {
		front := protect(t, opts, newBackends(t).chain, func(w http.ResponseWriter, r *http.Request) {
			user, _ := grpcauth.FromContext(r.Context())
			if r.Header.Get("Upgrade") == "" {
				_, _ = fmt.Fprintf(w, "data: %s\n\n", user.ID)
				check(t, http.NewResponseController(w).Flush())
				<-r.Context().Done()
				return
			}
			conn, rw, err := http.NewResponseController(w).Hijack()
			check(t, err)
			_, _ = fmt.Fprintf(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n%s\n", user.ID)
			check(t, rw.Flush())
			_ = conn.Close()
		})
		for upgrade, want := range map[string]string{"": "data: alice\n", "Connection: Upgrade\r\nUpgrade: websocket\r\n": "alice\n"} {
			conn, err := (&tls.Dialer{Config: &tls.Config{RootCAs: front.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs, ServerName: "example.com"}}).
				DialContext(t.Context(), "tcp", front.Listener.Addr().String())
			check(t, err)
			_, err = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: example.com\r\n"+alices+"\r\n"+upgrade+"\r\n")
			check(t, err)
			r := bufio.NewReader(conn)
			for line := ""; line != want; {
				line, err = r.ReadString('\n')
				check(t, err)
			}
			check(t, conn.Close())
		}
	})
}

// ServeHTTP is called in a bubble, where an hour is nothing.
func TestStreamsEndWithTheirCredential(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		auth   []grpcauth.Option
		expiry time.Duration // of the user
		revoke bool
		err    error // of the backend, after the first look
		want   grpcauth.Code
	}{
		"expired":         {nil, time.Hour, false, nil, grpcauth.CodeExpired},
		"revoked":         {[]grpcauth.Option{grpcauth.WithStreamRecheck(time.Minute)}, 0, true, grpcauth.Errorf(grpcauth.CodeRevoked, "revoked").WithHeader("dpop-nonce", "n"), grpcauth.CodeRevoked},
		"nobody can tell": {[]grpcauth.Option{grpcauth.WithStreamRecheck(time.Minute)}, 0, true, errors.New("down"), grpcauth.CodeUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				looks := 0
				backend := grpcauth.BackendFunc(func(_ context.Context, req *grpcauth.Request) (*grpcauth.User, error) {
					token, err := req.Authorization("Bearer")
					if err != nil || token != "alices" {
						return nil, grpcauth.Errorf(grpcauth.CodeMissing, "the credential is not there any more")
					}
					looks++
					if looks > 2 && c.revoke {
						return nil, c.err
					}
					user := &grpcauth.User{ID: "alice"}
					if c.expiry > 0 {
						user.Expiry = time.Now().Add(c.expiry)
					}
					return user, nil
				})
				middleware, err := gateway.NewMiddleware(grpcauth.New(backend, c.auth...), gateway.MiddlewareOptions{Endless: true})
				check(t, err)
				var cause error
				handler := middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					r.Header.Del("Authorization") // it is the handler's now, and the judgement's own is another
					for range 1000 {
						_, _ = io.WriteString(w, "data\n")
						w.Header().Set("X-Trailer", "a")
					}
					<-r.Context().Done()
					cause = context.Cause(r.Context())
				}))
				r := httptest.NewRequest(http.MethodGet, "https://example.com/events", http.NoBody)
				r.Header.Set("Authorization", "Bearer alices")
				start := time.Now()
				w := httptest.NewRecorder()
				handler.ServeHTTP(w, r)
				if got := w.Header().Get("DPoP-Nonce"); got != "" { // the handler's answer is its own
					t.Errorf("got the nonce %q", got)
				}
				if grpcauth.CodeOf(cause) != c.want {
					t.Errorf("got %v", cause)
				}
				if took := time.Since(start).Round(time.Second); took != max(c.expiry, 2*time.Minute) {
					t.Errorf("after %v", took) // of the bubble's clock
				}
			})
		})
	}
}

func TestMiddlewareTellsHandlersThePeerAndNoCredential(t *testing.T) {
	t.Parallel()
	var got string
	var md metadata.MD
	handler := gateway.Middleware(grpcauth.New(newBackends(t).chain))(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		p, _ := peer.FromContext(r.Context())
		got = p.Addr.String()
		md, _ = metadata.FromIncomingContext(r.Context())
		got += fmt.Sprintf(" %v %+v %s", r.Context(), p.AuthInfo, p.AuthInfo.AuthType())
	}))
	r := httptest.NewRequest(http.MethodGet, "https://example.com/", http.NoBody)
	r.Header.Set("Authorization", "Bearer alices")
	handler.ServeHTTP(httptest.NewRecorder(), r)
	if !strings.HasPrefix(got, "192.0.2.1:0 ") || strings.Contains(got, "alices") || len(md) != 0 {
		t.Errorf("got %s and %v", got, md)
	}
}

func TestTargetOfARequestIsItsPublicURLWithACertificateToo(t *testing.T) {
	t.Parallel()
	ca := grpcauthtest.NewCA(t)
	leaf := ca.Issue(x509.Certificate{DNSNames: []string{"worker.example.com"}}).Leaf
	for name, state := range map[string]*tls.ConnectionState{
		"without": {}, "with": {PeerCertificates: []*x509.Certificate{leaf}, VerifiedChains: [][]*x509.Certificate{{leaf, ca.Certificate}}},
	} {
		var got string
		backend := grpcauth.BackendFunc(func(_ context.Context, req *grpcauth.Request) (*grpcauth.User, error) {
			method, address := gateway.Target(req)
			_, certified := req.Certificate()
			got = fmt.Sprint(method, " ", address, " ", req.Peer().Addr, " ", certified)
			return &grpcauth.User{ID: "alice"}, nil
		})
		middleware, err := gateway.NewMiddleware(grpcauth.New(backend), gateway.MiddlewareOptions{Options: gateway.Options{PublicURL: "https://api.example.com"}})
		check(t, err)
		r := httptest.NewRequest(http.MethodPut, "https://evil.example/files/1?a=b", http.NoBody)
		r.TLS = state
		middleware(http.HandlerFunc(hello)).ServeHTTP(httptest.NewRecorder(), r)
		if want := fmt.Sprintf("PUT https://api.example.com/files/1 192.0.2.1:0 %t", name == "with"); got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
}

func TestMiddlewareShowsBackendsNoCredentialToPrint(t *testing.T) {
	t.Parallel()
	var got string
	backend := grpcauth.BackendFunc(func(ctx context.Context, req *grpcauth.Request) (*grpcauth.User, error) {
		p := req.Peer()
		got = fmt.Sprintf("%v %+v %#v %s", ctx, ctx, ctx, ctx) + fmt.Sprintf("%v %+v %#v", p.AuthInfo, p.AuthInfo, p)
		_, err := req.Authorization("Bearer")
		return &grpcauth.User{ID: "alice"}, err
	})
	r := httptest.NewRequest(http.MethodGet, "https://example.com/", http.NoBody)
	r.Header.Set("Authorization", "Bearer alices")
	w := httptest.NewRecorder()
	gateway.Middleware(grpcauth.New(backend))(http.HandlerFunc(hello)).ServeHTTP(w, r)
	if w.Code != http.StatusOK || strings.Contains(got, "alices") {
		t.Errorf("got %d and %s", w.Code, got)
	}
}

func TestMiddlewareTakesPlaintextFromOtherMachinesByTwoNamesAlone(t *testing.T) {
	t.Parallel()
	b := newBackends(t)
	for name, c := range map[string]struct {
		opts gateway.Options
		auth []grpcauth.Option
		want int
	}{
		"by default": {gateway.Options{}, nil, http.StatusForbidden},
		"one":        {gateway.Options{InsecureAllowPlaintext: true}, nil, http.StatusForbidden},
		"the other":  {gateway.Options{}, []grpcauth.Option{grpcauth.InsecureAllowPlaintext()}, http.StatusForbidden},
		"both":       {gateway.Options{InsecureAllowPlaintext: true}, []grpcauth.Option{grpcauth.InsecureAllowPlaintext()}, http.StatusOK},
	} {
		middleware, err := gateway.NewMiddleware(grpcauth.New(b.chain, c.auth...), gateway.MiddlewareOptions{Options: c.opts})
		check(t, err)
		r := httptest.NewRequest(http.MethodGet, "http://example.com/", http.NoBody) // from 192.0.2.1
		r.Header.Set("Authorization", "Bearer alices")
		w := httptest.NewRecorder()
		middleware(http.HandlerFunc(hello)).ServeHTTP(w, r)
		if w.Code != c.want {
			t.Errorf("%s: got %d, want %d", name, w.Code, c.want)
		}
	}
}

func TestMiddlewareDoesNotHideAPanicOfTheHandler(t *testing.T) {
	t.Parallel()
	bothKinds(t, func(t *testing.T, opts gateway.MiddlewareOptions) {
		middleware, err := gateway.NewMiddleware(grpcauth.New(newBackends(t).chain), opts)
		check(t, err)
		defer func() {
			if v := recover(); v != http.ErrAbortHandler {
				t.Errorf("got %v", v)
			}
		}()
		r := httptest.NewRequest(http.MethodGet, "https://example.com/", http.NoBody)
		r.Header.Set("Authorization", "Bearer alices")
		middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })).ServeHTTP(httptest.NewRecorder(), r)
	})
}

func TestMiddlewareServesManyAtOnce(t *testing.T) {
	t.Parallel()
	bothKinds(t, func(t *testing.T, opts gateway.MiddlewareOptions) {
		middleware, err := gateway.NewMiddleware(grpcauth.New(newBackends(t).chain), opts)
		check(t, err)
		handler := middleware(http.HandlerFunc(hello))
		var calls sync.WaitGroup
		for i := range 50 {
			calls.Go(func() {
				token, want := "alices", "hello alice: "
				if i%2 == 0 {
					token, want = "bobs", "hello bob: "
				}
				r := httptest.NewRequest(http.MethodGet, "https://example.com/", http.NoBody)
				r.Header.Set("Authorization", "Bearer "+token)
				w := httptest.NewRecorder()
				handler.ServeHTTP(w, r)
				if w.Body.String() != want {
					t.Errorf("got %s", w.Body)
				}
			})
		}
		calls.Wait()
	})
}

func TestMiddlewareOfNothingIsAnError(t *testing.T) {
	t.Parallel()
	if _, err := gateway.NewMiddleware(nil, gateway.MiddlewareOptions{}); err == nil {
		t.Error("got no error")
	}
	defer func() {
		if recover() == nil {
			t.Error("got no panic")
		}
	}()
	gateway.Middleware(nil)
}
