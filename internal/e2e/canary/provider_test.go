// SPDX-License-Identifier: Apache-2.0

package canary_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/grpcauth/grpcauth/backends/introspect"
	"github.com/grpcauth/grpcauth/grpcauthtest"
)

// provider is an authorization server that repeats what it is asked in whatever it answers, as careless ones do.
type provider struct {
	*httptest.Server

	issuer *grpcauthtest.Issuer
	book   *book

	mu     sync.Mutex
	good   string // guarded by mu: the opaque token that it knows
	answer int    // guarded by mu: which of its answers it gives to others
}

const introspection = "/introspect"

func newProvider(t *testing.T, b *book) *provider {
	t.Helper()
	p := &provider{book: b, good: b.mark("opaque-token")}
	p.Server = httptest.NewTLSServer(p)
	p.Config.ErrorLog = nil
	t.Cleanup(func() {
		p.Client().CloseIdleConnections()
		p.Close()
	})
	p.issuer = grpcauthtest.NewIssuer(t, p.URL, audience)
	_ = p.issuer.KeyID("RS256") // so that it is published
	return p
}

// answers are what it answers about tokens that it does not know.
var answers = []func(rw http.ResponseWriter, echo string){
	func(rw http.ResponseWriter, _ string) { _, _ = io.WriteString(rw, `{"active":false}`) },
	func(rw http.ResponseWriter, echo string) {
		http.Error(rw, "cannot judge "+echo, http.StatusInternalServerError)
	},
	func(rw http.ResponseWriter, echo string) { http.Error(rw, echo, http.StatusUnauthorized) },
	func(rw http.ResponseWriter, echo string) { http.Error(rw, echo, http.StatusBadRequest) },
	func(rw http.ResponseWriter, echo string) { _, _ = io.WriteString(rw, echo) },
	func(rw http.ResponseWriter, echo string) { _, _ = fmt.Fprintf(rw, "{%q:1,%q:2}", echo, echo) },
	func(rw http.ResponseWriter, echo string) { _, _ = fmt.Fprintf(rw, `{"active":%q}`, echo) },
	func(rw http.ResponseWriter, echo string) { _, _ = fmt.Fprintf(rw, `{"active":true,"exp":%q}`, echo) },
	func(rw http.ResponseWriter, echo string) {
		_, _ = fmt.Fprintf(rw, `{"active":true,"sub":"alice","aud":%q}`, echo)
	},
	func(rw http.ResponseWriter, echo string) {
		_, _ = fmt.Fprintf(rw, `{"active":true,"sub":"alice","aud":"shop","token_type":%q,"cnf":{%q:1}}`, echo, echo)
	},
	func(rw http.ResponseWriter, echo string) {
		rw.Header().Set("Location", "/login?for="+url.QueryEscape(echo))
		rw.WriteHeader(http.StatusTemporaryRedirect)
	},
	func(rw http.ResponseWriter, echo string) {
		rw.Header().Set("Location", "https://["+echo)
		rw.WriteHeader(http.StatusTemporaryRedirect)
	},
	func(rw http.ResponseWriter, echo string) {
		rw.Header().Set("Content-Encoding", "gzip")
		_, _ = io.WriteString(rw, echo)
	},
	func(rw http.ResponseWriter, echo string) { hijack(rw, echo) },
	func(rw http.ResponseWriter, echo string) { hijack(rw, "HTTP/1.1 "+echo+"\r\n\r\n") },
	func(rw http.ResponseWriter, echo string) { hijack(rw, "HTTP/1.1 200 OK\r\n"+echo+"\r\n\r\n") },
	func(rw http.ResponseWriter, echo string) {
		hijack(rw, "HTTP/1.1 200 OK\r\nContent-Length: "+echo+"\r\n\r\n")
	},
	func(rw http.ResponseWriter, echo string) {
		hijack(rw, "HTTP/1.1 200 OK\r\nTransfer-Encoding: "+echo+"\r\n\r\n")
	},
	func(rw http.ResponseWriter, echo string) {
		hijack(rw, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"+echo+"\r\n")
	},
}

// hijack answers with what is no HTTP.
func hijack(rw http.ResponseWriter, text string) {
	conn, _, err := http.NewResponseController(rw).Hijack()
	if err != nil {
		panic(err)
	}
	_, _ = io.WriteString(conn, text)
	_ = conn.Close()
}

// next has the provider give the next of its answers. It reports whether that is the first one.
func (p *provider) next() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer = (p.answer + 1) % len(answers)
	return p.answer == 0
}

func (p *provider) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/.well-known/openid-configuration":
		_ = json.NewEncoder(rw).Encode(map[string]string{"issuer": p.URL, "jwks_uri": p.URL + "/jwks"})
		return
	case "/jwks":
		_, _ = rw.Write(p.issuer.JWKS())
		return
	case introspection:
	default:
		http.NotFound(rw, r)
		return
	}
	token, own := r.FormValue("token"), r.Header.Get("Authorization")
	if _, password, ok := r.BasicAuth(); ok {
		p.book.add("the client secret", password)
	}
	for _, credential := range []string{own, token, r.FormValue("client_secret"), r.FormValue("client_assertion")} {
		p.book.credential("what the introspection server was sent", credential)
	}
	p.mu.Lock()
	good, answer := p.good, p.answer
	p.mu.Unlock()
	if token == good {
		_ = json.NewEncoder(rw).Encode(map[string]any{"active": true, "sub": "alice", "aud": audience, "scope": "read", "exp": time.Now().Add(time.Hour).Unix()})
		return
	}
	answers[answer](rw, strings.Join([]string{token, own, r.FormValue("client_secret"), r.FormValue("client_assertion")}, " "))
}

// options are how this provider is asked.
func (p *provider) options() introspect.Options {
	return introspect.Options{URL: p.URL + introspection, ClientID: "shop", Audiences: []string{audience}, Client: p.Client()}
}
