// SPDX-License-Identifier: Apache-2.0

package browser_test

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"text/template"
	"time"

	"github.com/grpcauth/grpcauth/grpcauthtest"
)

// curl calls like a person at a terminal. It returns the status line, the headers and the body.
type curl struct {
	t             *testing.T
	program       string
	url, ca, home string
}

func newCurl(t *testing.T, url, ca string) curl {
	t.Helper()
	return curl{t, program(t, "curl", "curl"), url, ca, t.TempDir()}
}

func (c curl) get(path string, args ...string) string {
	c.t.Helper()
	cmd := exec.CommandContext(c.t.Context(), c.program, append([]string{"-sS", "-i", "--cacert", c.ca, "-b", "cookies", "-c", "cookies", c.url + path}, args...)...)
	cmd.Dir = c.home
	out, err := cmd.CombinedOutput()
	if err != nil {
		c.t.Fatalf("%v: %s", err, out)
	}
	return strings.ReplaceAll(string(out), "\r\n", "\n")
}

func (c curl) post(path, body string, args ...string) string {
	c.t.Helper()
	return c.get(path, append([]string{"-H", "Content-Type: application/json", "-d", body}, args...)...)
}

// want fails unless the answer has the status and all of the parts.
func (c curl) want(answer string, status int, parts ...string) {
	c.t.Helper()
	if !regexp.MustCompile(fmt.Sprintf(`^HTTP/[0-9.]+ %d[ \n]`, status)).MatchString(answer) {
		c.t.Errorf("got %s, want %d", answer, status)
	}
	for _, part := range parts {
		if !strings.Contains(answer, part) {
			c.t.Errorf("got %s, want it to contain %q", answer, part)
		}
	}
}

// newKey makes an API key of the user who is signed in.
func (c curl) newKey() string {
	c.t.Helper()
	var made struct{ Secret string }
	_, body, _ := strings.Cut(c.post("/v1/auth/keys", `{"name":"curl","scopes":["echo"]}`), "\n\n")
	check(c.t, json.Unmarshal([]byte(body), &made))
	return made.Secret
}

const login = `{"username":"alice","password":"` + password + `","credential":"CREDENTIAL_COOKIE"}`

func TestCurl(t *testing.T) {
	t.Parallel()
	e := start(t, "-guesses", "2")
	c := newCurl(t, e.url, e.ca)
	for _, version := range []string{"--http1.1", "--http2"} {
		answer := strings.ToLower(c.get("/v1/auth/whoami", version)) // the names of headers have another case in each
		c.want("HTTP"+answer[4:], 401, strings.TrimPrefix(version, "--http")+" 401", "\nwww-authenticate: session realm=", "\nwww-authenticate: apikey realm=", "\ncontent-type: application/problem+json\n", "credentials_missing")
	}
	c.want(c.post("/v1/auth/login", login), 200, "__Host-session=", "HttpOnly", "Secure", "SameSite=Lax")
	c.want(c.get("/v1/auth/whoami"), 200, `"alice"`)
	c.want(c.post("/v1/echo", `{"text":"hello"}`), 200, `"userId":"alice"`)
	c.want(c.post("/v1/echo", `{"text":"hello"}`, "-H", "Origin: https://evil.example"), 403, "PERMISSION_DENIED")
	c.want(c.post("/v1/auth/logout", `{}`), 200, "Max-Age=0")
	c.want(c.get("/v1/auth/whoami"), 401)
	wrong := strings.Replace(login, password, "guess", 1)
	var last string
	for range 6 { // an address that a user signed in from has some guesses of its own
		last = strings.ToLower(c.post("/v1/auth/login", wrong))
	}
	if !regexp.MustCompile(`^http/[0-9.]+ 429[ \n]`).MatchString(last) || !regexp.MustCompile(`\nretry-after: [1-9]\d*\n`).MatchString(last) {
		t.Errorf("got %s", last)
	}
}

// A key that is good must be found under its own name, once, and nowhere else.
func TestCurlSmugglesNoKey(t *testing.T) {
	t.Parallel()
	e := start(t)
	c := newCurl(t, e.url, e.ca)
	c.want(c.post("/v1/auth/login", login), 200)
	key := c.newKey()
	stranger := newCurl(t, e.url, e.ca)
	stranger.want(stranger.get("/v1/echo/hello", "-H", "X-Api-Key: "+key), 200, `"userId":"alice"`)
	for _, fields := range [][]string{
		{"Grpc-Metadata-X-Api-Key: " + key},
		{"X_Api_Key: " + key},
		{"X-Api-Key: " + key, "X-Api-Key: " + key},
		{"X-Api-Key: " + key, "X-Api-Key: guess"},
		{"X-Api-Key: " + key, "Connection: X-Api-Key"},
		{"X-Api-Key: " + key, "Authorization: Bearer a"},
		{"X-Api-Key: " + key, "Authorization: Bearer a", "Grpc-Metadata-Authorization: Bearer a"},
		{"Authorization: Bearer " + key},
		{"Authorization: Bearer a", "Authorization: Bearer b"},
		{"Cookie: __Host-session=" + key},
	} {
		args := []string{"--http1.1"} // HTTP/2 has no Connection
		for _, field := range fields {
			args = append(args, "-H", field)
		}
		stranger.want(stranger.get("/v1/echo/hello", args...), 401)
	}
	stranger.want(stranger.get("/v1/echo/hello?x-api-key="+key), 401)
}

func TestCurlIsRefusedBeforeItHasSentALargeUpload(t *testing.T) {
	t.Parallel()
	e := start(t)
	c := newCurl(t, e.url, e.ca)
	check(t, os.WriteFile(filepath.Join(c.home, "large"), make([]byte, 3<<20), 0o600))
	// With Expect: 100-continue, as curl has it, nothing is sent; without, what is in flight when the answer comes.
	for expect, most := range map[string]int{"Expect: 100-continue": 0, "Expect:": 3<<20 - 1} {
		answer := c.get("/upload", "--http1.1", "-H", expect, "-H", "Content-Type: application/octet-stream", "-X", "POST", "-T", "large", "-w", "\nsent: %{size_upload}\n")
		sent := 0
		_, text, _ := strings.Cut(answer, "\nsent: ")
		_, err := fmt.Sscan(text, &sent)
		check(t, err)
		c.want(answer, 401)
		if sent > most {
			t.Errorf("%s: %d bytes were sent", expect, sent)
		}
	}
}

func TestGRPCOfAnotherMaking(t *testing.T) {
	t.Parallel()
	node := program(t, "node", "nodejs")
	installed(t)
	e := start(t)
	c := newCurl(t, e.url, e.ca)
	c.want(c.post("/v1/auth/login", login), 200)
	key := []string{"x-api-key", c.newKey()}
	input, err := json.Marshal(map[string]any{"address": e.grpc, "ca": e.ca, "calls": [][][]string{
		{key},
		{},
		{{"x-api-key", "guess"}},
		{key, {"grpcauth-caller", "198.51.100.1"}, {"grpcauth-secured", "tls"}},
		{{"grpcauth-caller", "127.0.0.1"}},
		{key, {"authorization", "Bearer a"}},
	}})
	check(t, err)
	cmd := exec.CommandContext(t.Context(), node, "caller.mjs", string(input))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	check(t, err)
	got := strings.Split(strings.TrimSpace(string(out)), "\n")
	for i, want := range []string{"OK", "UNAUTHENTICATED", "UNAUTHENTICATED", "OK", "UNAUTHENTICATED", "UNAUTHENTICATED"} {
		if i >= len(got) || !strings.HasPrefix(got[i], want) || want == "OK" && !strings.Contains(got[i], "alice") {
			t.Errorf("call %d: got %q, want %s", i, got, want)
		}
	}
}

var nginxConfig = template.Must(template.New("").Parse(`
daemon off;
worker_processes 1;
pid {{.Dir}}/pid;
error_log stderr;
events {}
http {
	access_log off;
	client_body_temp_path {{.Dir}}/body;
	proxy_temp_path {{.Dir}}/proxy;
	fastcgi_temp_path {{.Dir}}/fastcgi;
	uwsgi_temp_path {{.Dir}}/uwsgi;
	scgi_temp_path {{.Dir}}/scgi;
	server {
		listen 127.0.0.1:{{.Port}} ssl http2;
		ssl_certificate {{.Dir}}/nginx.pem;
		ssl_certificate_key {{.Dir}}/nginx.pem;
		location / {
			proxy_pass {{.Behind}};
			proxy_bind 127.0.0.2; # or its callers, who are on this machine as well, would pass for proxies
			proxy_set_header Host $http_host;
			proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
			proxy_set_header X-Forwarded-Proto $scheme;
		}
	}
}
`))

// certificate is one for this machine, and its key.
func certificate(t *testing.T, ca *grpcauthtest.CA) []byte {
	t.Helper()
	own := ca.Issue(x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}})
	key, err := x509.MarshalPKCS8PrivateKey(own.PrivateKey)
	check(t, err)
	return slices.Concat(
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: own.Certificate[0]}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}),
	)
}

// nginx ends TLS in front of the program, whose address is known only once it runs: so it is given a port before.
func nginx(t *testing.T, port, behind string, ca *grpcauthtest.CA) {
	t.Helper()
	path := program(t, "nginx", "nginx-light")
	dir := t.TempDir()
	check(t, os.WriteFile(filepath.Join(dir, "nginx.pem"), certificate(t, ca), 0o600))
	var config, stderr strings.Builder
	check(t, nginxConfig.Execute(&config, map[string]any{"Dir": dir, "Port": port, "Behind": behind}))
	check(t, os.WriteFile(filepath.Join(dir, "conf"), []byte(config.String()), 0o600))
	cmd := exec.Command(path, "-p", dir, "-c", filepath.Join(dir, "conf"), "-e", "stderr")
	cmd.Stderr = &stderr
	check(t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		kill := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
		defer kill.Stop()
		if err := <-ended; err != nil || t.Failed() {
			t.Logf("nginx ended with %v: %s", err, &stderr)
		}
	})
	for range time.Tick(20 * time.Millisecond) {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", "127.0.0.1:"+port)
		if err == nil {
			_ = conn.Close()
			return
		}
		if len(ended) > 0 {
			t.Fatalf("nginx did not start: %s", &stderr)
		}
	}
}

func TestBehindNginx(t *testing.T) {
	t.Parallel()
	program(t, "nginx", "nginx-light")
	free, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	check(t, err)
	_, port, err := net.SplitHostPort(free.Addr().String())
	check(t, err)
	check(t, free.Close())
	public := "https://127.0.0.1:" + port
	e := start(t, "-plain", "-behind", "127.0.0.2/32", "-public", public)
	ca := grpcauthtest.NewCA(t)
	nginx(t, port, e.url, ca)
	path := filepath.Join(t.TempDir(), "ca.pem")
	check(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Certificate.Raw}), 0o600))
	c := newCurl(t, public, path)

	answer := c.get("/v1/auth/whoami")
	c.want(answer, 401, "credentials are required")
	if n := strings.Count(strings.ToLower(answer), "\nwww-authenticate: "); n != 2 {
		t.Errorf("%d challenges came through", n)
	}
	c.want(c.post("/v1/auth/login", login, "-H", "X-Forwarded-For: 203.0.113.9", "-H", "X-Real-IP: 203.0.113.9"), 200, "__Host-session=", "Secure")
	answer = c.get("/v1/auth/sessions", "-H", "X-Forwarded-For: 203.0.113.9")
	c.want(answer, 200, `"address":"127.0.0.1"`)
	if strings.Contains(answer, "203.0.113.9") {
		t.Errorf("an address that was made up: %s", answer)
	}
	c.want(c.post("/v1/echo", `{"text":"hello"}`, "-H", "Origin: "+public), 200)
	c.want(c.post("/v1/echo", `{"text":"hello"}`, "-H", "Origin: https://evil.example"), 403)
	c.want(c.post("/v1/echo", `{"text":"hello"}`, "-H", "Sec-Fetch-Site: cross-site"), 403)

	// Who asks the program itself is no proxy, whatever she writes.
	direct := newCurl(t, e.url, path)
	answer = direct.post("/v1/auth/login", login, "-H", "X-Forwarded-For: 203.0.113.9", "-H", "X-Forwarded-Proto: https")
	direct.want(answer, 200, `"address":"127.0.0.1"`)
}
