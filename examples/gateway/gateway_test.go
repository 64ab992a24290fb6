// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	echov1 "github.com/grpcauth/grpcauth/internal/gen/echo/v1"
)

const secret = "open sesame"

// program is the example as it runs.
type program struct {
	t          *testing.T
	url, grpc  string
	ca         string
	transport  *http.Transport
	credential credentials.TransportCredentials
}

func start(t *testing.T, args ...string) *program {
	t.Helper()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	ctx, stop := context.WithCancel(t.Context())
	r, w := io.Pipe()
	ended := make(chan int, 1)
	var stderr bytes.Buffer
	go func() {
		ended <- run(ctx, append([]string{"-listen", "127.0.0.1:0", "-grpc", "127.0.0.1:0", "-ca", ca}, args...), secret, w, &stderr)
		_ = w.Close()
	}()
	p := &program{t: t, ca: ca}
	lines := bufio.NewScanner(r)
	for p.grpc == "" && lines.Scan() {
		if _, url, ok := strings.Cut(lines.Text(), " on http"); ok {
			p.url = "http" + url
		} else if address, ok := strings.CutPrefix(lines.Text(), "gRPC on "); ok {
			p.grpc = address
		}
	}
	t.Cleanup(func() {
		if p.transport != nil {
			p.transport.CloseIdleConnections()
		}
		stop()
		if code := <-ended; code != 0 {
			t.Errorf("it ended with %d: %s", code, &stderr)
		}
		goleak.VerifyNone(t, goleak.IgnoreAnyFunction("testing.(*T).Run"), goleak.IgnoreAnyFunction("testing.tRunner"))
	})
	if p.grpc == "" {
		t.Fatalf("it did not start: %s", &stderr)
	}
	text, err := os.ReadFile(ca)
	check(t, err)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(text)
	p.transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13}, ForceAttemptHTTP2: true}
	p.credential = credentials.NewClientTLSFromCert(pool, "")
	return p
}

// browser is a client that keeps cookies.
func (p *program) browser() *http.Client {
	jar, _ := cookiejar.New(nil) // never fails
	return &http.Client{Transport: p.transport, Jar: jar}
}

func (p *program) call(client *http.Client, method, path, body string, fields ...string) (resp *http.Response, text string) {
	p.t.Helper()
	req, err := http.NewRequestWithContext(p.t.Context(), method, p.url+path, strings.NewReader(body))
	check(p.t, err)
	req.Header.Set("Content-Type", "application/json")
	for _, field := range fields {
		name, value, _ := strings.Cut(field, ": ")
		req.Header.Set(name, value)
	}
	resp, err = client.Do(req)
	check(p.t, err)
	defer func() { _ = resp.Body.Close() }()
	content, err := io.ReadAll(resp.Body)
	check(p.t, err)
	return resp, string(content)
}

func (p *program) want(client *http.Client, code int, method, path, body string, fields ...string) string {
	p.t.Helper()
	resp, text := p.call(client, method, path, body, fields...)
	if resp.StatusCode != code {
		p.t.Errorf("%s %s: got %d %s, want %d", method, path, resp.StatusCode, text, code)
	}
	return text
}

const login = `{"username":"alice","password":"` + secret + `","credential":"CREDENTIAL_COOKIE"}`

func TestCookieSignsInAndOut(t *testing.T) {
	p := start(t)
	alice := p.browser()
	p.want(alice, 401, "GET", "/v1/auth/whoami", "")
	resp, _ := p.call(alice, "POST", "/v1/auth/login", login)
	cookies := resp.Cookies()
	if len(cookies) != 1 || cookies[0].Name != "__Host-session" || !cookies[0].Secure || !cookies[0].HttpOnly || cookies[0].SameSite != http.SameSiteLaxMode || cookies[0].Path != "/" || cookies[0].Domain != "" {
		t.Errorf("got the cookies %v", cookies)
	}
	if text := p.want(alice, 200, "GET", "/v1/auth/whoami", ""); !strings.Contains(text, `"alice"`) {
		t.Errorf("got %s", text)
	}
	p.want(alice, 200, "POST", "/v1/echo", `{"text":"hello"}`)
	p.want(alice, 200, "POST", "/upload", "abc", "Content-Type: application/octet-stream")
	p.want(alice, 403, "POST", "/upload", "abc", "Content-Type: application/octet-stream", "Sec-Fetch-Site: cross-site")
	stolen := "Cookie: " + cookies[0].Name + "=" + cookies[0].Value
	resp, _ = p.call(alice, "POST", "/v1/auth/logout", "{}")
	if cookies := resp.Cookies(); len(cookies) != 1 || cookies[0].MaxAge >= 0 {
		t.Errorf("after signing out: got the cookies %v", cookies)
	}
	p.want(alice, 401, "GET", "/v1/auth/whoami", "", stolen)
}

func TestStrangersAreToldWhatToDo(t *testing.T) {
	p := start(t, "-guesses", "2")
	nobody := p.browser()
	for _, path := range []string{"/v1/echo", "/upload"} {
		resp, text := p.call(nobody, "POST", path, "{}")
		if resp.StatusCode != http.StatusUnauthorized || len(resp.Header["Www-Authenticate"]) != 2 || resp.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: got %d %v %s", path, resp.StatusCode, resp.Header, text)
		}
	}
	p.want(nobody, 401, "GET", "/events", "")
	for i, want := range []int{401, 401, 429} {
		resp, text := p.call(nobody, "POST", "/v1/auth/login", strings.Replace(login, secret, "guess", 1))
		if resp.StatusCode != want || want == 429 && resp.Header.Get("Retry-After") == "" {
			t.Errorf("guess %d: got %d %v %s", i+1, resp.StatusCode, resp.Header, text)
		}
	}
}

func TestKeysAreGoodForHTTPAndGRPC(t *testing.T) {
	p := start(t)
	alice, script := p.browser(), p.browser()
	p.want(alice, 200, "POST", "/v1/auth/login", login)
	var made struct {
		Secret string
		Key    struct{ ID string }
	}
	check(t, json.Unmarshal([]byte(p.want(alice, 200, "POST", "/v1/auth/keys", `{"name":"script","scopes":["echo"]}`)), &made))
	overGRPC := func() error {
		conn, err := grpc.NewClient(p.grpc, grpc.WithTransportCredentials(p.credential))
		check(t, err)
		defer func() { check(t, conn.Close()) }()
		_, err = echov1.NewEchoServiceClient(conn).Echo(metadata.AppendToOutgoingContext(t.Context(), "x-api-key", made.Secret), &echov1.EchoRequest{})
		return err
	}
	p.want(script, 200, "GET", "/v1/echo/hello", "", "X-Api-Key: "+made.Secret)
	check(t, overGRPC())
	p.want(script, 403, "POST", "/v1/auth/keys", `{"name":"more"}`, "X-Api-Key: "+made.Secret)
	p.want(alice, 200, "POST", "/v1/auth/keys:revoke", `{"id":"`+made.Key.ID+`"}`)
	p.want(script, 401, "GET", "/v1/echo/hello", "", "X-Api-Key: "+made.Secret)
	if err := overGRPC(); status.Code(err) != codes.Unauthenticated {
		t.Errorf("got %v", err)
	}
}

func TestOpenPageLearnsThatItsSessionEndedElsewhere(t *testing.T) {
	p := start(t)
	here, elsewhere := p.browser(), p.browser()
	p.want(here, 200, "POST", "/v1/auth/login", login)
	p.want(elsewhere, 200, "POST", "/v1/auth/login", login)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.url+"/events", http.NoBody)
	check(t, err)
	resp, err := here.Do(req)
	check(t, err)
	defer func() { _ = resp.Body.Close() }()
	lines := bufio.NewScanner(resp.Body)
	lines.Scan()
	if lines.Text() != "event: signed-in" {
		t.Errorf("got %q", lines.Text())
	}
	p.want(elsewhere, 200, "POST", "/v1/auth/sessions:revoke", `{"scope":"SESSION_SCOPE_ALL"}`)
	last := ""
	for lines.Scan() {
		if event, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
			last = event
		}
	}
	if last != "signed-out" {
		t.Errorf("the last event is %q", last)
	}
	p.want(here, 401, "GET", "/events", "")
}

func TestPageRunsNoScriptOfOthers(t *testing.T) {
	p := start(t)
	for _, path := range []string{"/", "/app.js", "/style.css"} {
		resp, _ := p.call(p.browser(), "GET", path, "")
		if resp.StatusCode != http.StatusOK || !strings.HasPrefix(resp.Header.Get("Content-Security-Policy"), "default-src 'self'; ") || resp.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: got %d %v", path, resp.StatusCode, resp.Header)
		}
	}
	p.want(p.browser(), 404, "GET", "/main.go", "")
}

func TestWrongCommandLinesAreExplained(t *testing.T) {
	for want, args := range map[string][]string{
		"unexpected argument": {"serve"}, "-behind": {"-behind", "nginx"}, "-guesses": {"-guesses", "x"}, "not defined": {"-x"},
	} {
		var stderr bytes.Buffer
		if code := run(t.Context(), args, secret, io.Discard, &stderr); code != 2 || !strings.Contains(stderr.String(), want) {
			t.Errorf("%q: got %d %s", args, code, &stderr)
		}
	}
	var stderr bytes.Buffer
	if code := run(t.Context(), []string{"-public", "example.com"}, secret, io.Discard, &stderr); code != 1 || !strings.Contains(stderr.String(), "PublicURL") {
		t.Errorf("got %d %s", code, &stderr)
	}
}

// README.md prints what it says.
func TestReadme(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	check(t, err)
	blocks := regexp.MustCompile("(?s)```(sh|text)\n(.*?)```").FindAllStringSubmatch(string(readme), -1)
	if len(blocks) != 3 {
		t.Fatalf("got %d blocks", len(blocks))
	}
	if _, err := exec.LookPath("curl"); err != nil && os.Getenv("CI") != "true" {
		t.Skip("curl is not there: get it by `apt-get install curl`")
	}
	p := start(t)
	cmd := exec.CommandContext(t.Context(), "sh", "-euc", strings.ReplaceAll(blocks[1][2], "https://127.0.0.1:8443", p.url))
	cmd.Dir = filepath.Dir(p.ca)
	cmd.Env = append(os.Environ(), "GRPCAUTH_PASSWORD="+secret)
	out, err := cmd.CombinedOutput()
	check(t, err)
	loose := func(text string) string {
		return regexp.MustCompile(`"bytes":\d+`).ReplaceAllString(strings.ReplaceAll(text, `, "`, `,"`), `"bytes":0`)
	}
	if got, want := loose(string(out)), loose(blocks[2][2]); got != want {
		t.Errorf("got\n%s, want\n%s", got, want)
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
