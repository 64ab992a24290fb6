// SPDX-License-Identifier: Apache-2.0

// Package e2e_test runs servers against identity providers and a proxy that are not this project's.
package e2e_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	jwksPath          = "/jwks"
	discoveryPath     = "/.well-known/openid-configuration"
	introspectionPath = "/token/introspection"
)

// provider is oidc-provider, in a process of its own; provider/provider.mjs says what it can be told.
type provider struct {
	issuer, control string
	http            *http.Client
}

// client is a client as the provider knows it.
type client map[string]any

// newClient returns a client with a secret that authenticates by HTTP Basic; more changes that.
func newClient(id string, more client) client {
	c := client{
		"client_id": id, "client_secret": secret, "grant_types": []string{"client_credentials"}, "scope": "read write",
		"redirect_uris": []string{}, "response_types": []string{},
	}
	for name, value := range more {
		if c[name] = value; value == nil {
			delete(c, name)
		}
	}
	return c
}

const secret = "s3cret: \"with\" ~+/=&"

// start starts a provider that knows alice and these clients. It ends with the test.
func start(t *testing.T, clients ...client) *provider {
	t.Helper()
	node := program(t, "node", "nodejs")
	installed(t)
	cmd := exec.Command(node, "provider.mjs")
	cmd.Dir = "provider"
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdin, err := cmd.StdinPipe()
	check(t, err)
	stdout, err := cmd.StdoutPipe()
	check(t, err)
	check(t, cmd.Start())
	t.Cleanup(func() {
		_ = stdin.Close()
		kill := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
		defer kill.Stop()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the provider ended with %v", err)
		}
		if t.Failed() {
			t.Logf("the provider said:\n%s", &stderr)
		}
	})
	check(t, json.NewEncoder(stdin).Encode(map[string]any{"clients": append(clients, newClient("alice", nil))}))
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	check(t, err)
	var ready struct{ Issuer, Control string }
	check(t, json.Unmarshal(line, &ready))
	p := &provider{ready.Issuer, ready.Control, &http.Client{Transport: &http.Transport{}, Timeout: time.Minute}}
	t.Cleanup(p.http.CloseIdleConnections)
	return p
}

// program finds a program, or says how to get it: a test cannot do without.
func program(t *testing.T, name, debian string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err == nil {
		return path
	}
	const advice = "%v: these tests need it; apt-get install %s"
	if os.Getenv("CI") == "true" {
		t.Fatalf(advice, err, debian)
	}
	t.Skipf(advice, err, debian)
	return ""
}

// installed puts the provider's packages, as package-lock.json names them, beside it, unless they are there.
func installed(t *testing.T) {
	t.Helper()
	npm := program(t, "npm", "npm")
	check(t, install(npm))
}

var installing sync.Mutex

func install(npm string) error {
	installing.Lock()
	defer installing.Unlock()
	const dir = "provider"
	stamp := filepath.Join(dir, "node_modules", ".installed")
	lock, err := os.ReadFile(filepath.Join(dir, "package-lock.json"))
	if err != nil {
		return err
	}
	if before, err := os.ReadFile(stamp); err == nil && bytes.Equal(before, lock) {
		return nil
	}
	cmd := exec.Command(npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error")
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return err
	}
	return os.WriteFile(stamp, lock, 0o600) //nolint:gosec // the path is fixed
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// tell changes what the provider does; see provider.mjs. It returns how often each path was asked for.
func (p *provider) tell(t *testing.T, command map[string]any) map[string]int {
	t.Helper()
	body, err := json.Marshal(command)
	check(t, err)
	resp, err := p.http.Post(p.control, "application/json", bytes.NewReader(body))
	check(t, err)
	answer := read(t, resp, http.StatusOK)
	counts := map[string]int{}
	check(t, json.Unmarshal(answer, &counts))
	return counts
}

// fail makes one path fail from now on, and no other; an empty mode mends everything.
func (p *provider) fail(t *testing.T, path, mode string) {
	t.Helper()
	failing := map[string]string{}
	if mode != "" {
		failing[path] = mode
	}
	p.tell(t, map[string]any{"fail": failing})
}

// publish says which generations of keys there are; the first one signs.
func (p *provider) publish(t *testing.T, generations ...int) {
	t.Helper()
	p.tell(t, map[string]any{"publish": generations})
}

func (p *provider) down(t *testing.T, down bool) {
	t.Helper()
	p.tell(t, map[string]any{"down": down})
}

// asked is how often a path was asked for.
func (p *provider) asked(t *testing.T, path string) int {
	t.Helper()
	return p.tell(t, map[string]any{})[path]
}

func read(t *testing.T, resp *http.Response, status int) []byte {
	t.Helper()
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	check(t, err)
	if resp.StatusCode != status {
		t.Fatalf("%s: got %s, want %d\n%s", resp.Request.URL, resp.Status, status, body)
	}
	return body
}

// audience is whom most tokens are for: our server.
const audience = "orders.example.com"

// resource names what a token is for, and so its format: "jwt/ES256" or "opaque".
func resource(format string) string { return "https://" + audience + "/" + format + "?ttl=86400" }

// token fetches a token for a resource as alice; each change may make it another request.
func (p *provider) token(t *testing.T, resource string, changes ...func(*http.Request)) string {
	t.Helper()
	req := p.tokenRequest(t, resource, changes...)
	resp, err := p.http.Do(req)
	check(t, err)
	var answer struct {
		Token string `json:"access_token"`
	}
	check(t, json.Unmarshal(read(t, resp, http.StatusOK), &answer))
	return answer.Token
}

func (p *provider) tokenRequest(t *testing.T, resource string, changes ...func(*http.Request)) *http.Request {
	t.Helper()
	form := url.Values{"grant_type": {"client_credentials"}, "scope": {"read"}, "resource": {resource}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.issuer+"/token", strings.NewReader(form.Encode()))
	check(t, err)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	as("alice")(req)
	for _, change := range changes {
		change(req)
	}
	return req
}

// as authenticates a request as that client (RFC 6749, section 2.3.1).
func as(id string) func(*http.Request) {
	return func(req *http.Request) { req.SetBasicAuth(url.QueryEscape(id), url.QueryEscape(secret)) }
}
