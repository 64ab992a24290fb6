// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"text/template"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/bearer"
	"github.com/grpcauth/grpcauth/backends/mtls"
	"github.com/grpcauth/grpcauth/grpcauthtest"
)

// proxyConfig is of a proxy that knows its callers by their certificates and tells of them in every way that proxies have, beside showing its own.
var proxyConfig = template.Must(template.New("").Parse(`
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
	ssl_protocols TLSv1.3;
	ssl_certificate {{.Dir}}/proxy.pem;
	ssl_certificate_key {{.Dir}}/proxy.pem;
	ssl_client_certificate {{.Dir}}/ca.pem;
	ssl_verify_client optional;
	grpc_ssl_protocols TLSv1.3;
	grpc_ssl_certificate {{.Dir}}/proxy.pem;
	grpc_ssl_certificate_key {{.Dir}}/proxy.pem;
	grpc_ssl_trusted_certificate {{.Dir}}/ca.pem;
	grpc_ssl_verify on;
	grpc_ssl_name server.test;
	grpc_set_header x-forwarded-client-cert "Cert=\"$ssl_client_escaped_cert\";Subject=\"$ssl_client_s_dn\";URI=spiffe://example.org/client";
	grpc_set_header x-ssl-client-cert $ssl_client_escaped_cert;
	grpc_set_header client-cert $ssl_client_escaped_cert;
	grpc_set_header x-client-verify $ssl_client_verify;
	grpc_set_header x-user root;
	grpc_set_header x-remote-user root;
	grpc_set_header x-forwarded-user root;
	{{- range $name, $address := .Servers}}
	server {
		listen unix:{{$.Dir}}/{{$name}} ssl http2;
		location / { grpc_pass grpcs://{{$address}}; }
	}
	{{- end}}
}
`))

// proxy runs nginx in front of servers with these addresses until the test ends, and returns where it stands in for each of them.
func proxy(t *testing.T, ca *grpcauthtest.CA, own tls.Certificate, servers map[string]string) map[string]string {
	t.Helper()
	nginx := program(t, "nginx", "nginx-light")
	dir := t.TempDir()
	key, err := x509.MarshalPKCS8PrivateKey(own.PrivateKey)
	check(t, err)
	writePEM(t, filepath.Join(dir, "proxy.pem"), &pem.Block{Type: "CERTIFICATE", Bytes: own.Certificate[0]}, &pem.Block{Type: "PRIVATE KEY", Bytes: key})
	writePEM(t, filepath.Join(dir, "ca.pem"), &pem.Block{Type: "CERTIFICATE", Bytes: ca.Certificate.Raw})
	var config, stderr strings.Builder
	check(t, proxyConfig.Execute(&config, map[string]any{"Dir": dir, "Servers": servers}))
	check(t, os.WriteFile(filepath.Join(dir, "conf"), []byte(config.String()), 0o600))

	cmd := exec.Command(nginx, "-p", dir, "-c", filepath.Join(dir, "conf"), "-e", "stderr")
	cmd.Stderr = &stderr
	check(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		kill := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
		defer kill.Stop()
		check(t, cmd.Wait())
		if t.Failed() {
			t.Logf("nginx said:\n%s", &stderr)
		}
	})
	stands := map[string]string{}
	for name := range servers {
		path := filepath.Join(dir, name)
		until(t, "nginx", func() bool {
			conn, err := (&net.Dialer{}).DialContext(t.Context(), "unix", path)
			if err == nil {
				_ = conn.Close()
			}
			return err == nil
		})
		stands[name] = "unix:" + path
	}
	return stands
}

func writePEM(t *testing.T, path string, blocks ...*pem.Block) {
	t.Helper()
	var text []byte
	for _, block := range blocks {
		text = append(text, pem.EncodeToMemory(block)...)
	}
	check(t, os.WriteFile(path, text, 0o600))
}

// workload issues a certificate with a SPIFFE ID.
func workload(t *testing.T, ca *grpcauthtest.CA, id string) tls.Certificate {
	t.Helper()
	name, err := url.Parse(id)
	check(t, err)
	return ca.Issue(x509.Certificate{URIs: []*url.URL{name}, DNSNames: []string{"server.test"}})
}

func byCertificate(t *testing.T, ca *grpcauthtest.CA, allow string) grpcauth.Backend {
	t.Helper()
	pool := ca.Pool()
	backend, err := mtls.New(mtls.Options{Roots: func() *x509.CertPool { return pool }, Allow: []string{allow}})
	check(t, err)
	return backend
}

const (
	clientID = "spiffe://example.org/client"
	proxyID  = "spiffe://example.org/proxy"
	missing  = "CREDENTIALS_MISSING"
)

func TestProxyLendsNobodyItsIdentity(t *testing.T) {
	t.Parallel()
	p := start(t, newClient("workload", client{"tls_client_certificate_bound_access_tokens": true}))
	ca := grpcauthtest.NewCA(t)
	own, proxys := workload(t, ca, clientID), workload(t, ca, proxyID)
	tokens := p.trustBound(t, bearer.Options{DPoP: &bearer.DPoP{Origins: []string{origin}}})
	direct := map[string]string{}
	for name, backend := range map[string]grpcauth.Backend{
		"tokens":       tokens,
		"certificates": byCertificate(t, ca, clientID),
		"either":       grpcauth.Chain(tokens, byCertificate(t, ca, clientID)),
		"trusted":      grpcauth.All(tokens, byCertificate(t, ca, proxyID)),
	} {
		direct[name] = serve(t, backend, credentials.NewTLS(ca.ServerTLS()))
	}
	proxied := proxy(t, ca, proxys, direct)
	creds := credentials.NewTLS(ca.ClientTLS(own))

	token := []string{"authorization", "Bearer " + p.token(t, resource("jwt/ES256"))}
	bound := []string{"authorization", "Bearer " + p.token(t, resource("jwt/ES256"), as("workload"), showing(own))}
	proxyBound := []string{"authorization", "Bearer " + p.token(t, resource("jwt/ES256"), as("workload"), showing(proxys))}
	claims := []string{
		"x-user", "root", "x-forwarded-user", "root", "x-remote-user", "root", "remote-user", "root", "x-client-verify", "SUCCESS",
		"x-forwarded-client-cert", "URI=" + clientID, "x-ssl-client-s-dn", "CN=root",
	}
	for _, c := range []struct {
		server, name             string
		md                       []string
		wantDirect, wantViaProxy string
	}{
		{"tokens", "nothing", nil, missing, missing},
		{"tokens", "claims", claims, missing, missing},
		{"tokens", "a token", token, "alice", "alice"},
		{"tokens", "a token and claims", append(claims, token...), "alice", "alice"},
		{"tokens", "a token that is bound to the caller's certificate", bound, "workload", invalid},
		{"tokens", "a token that is bound to the proxy's certificate", proxyBound, invalid, "workload"},
		{"certificates", "nothing", nil, clientID, invalid},
		{"certificates", "claims", claims, clientID, invalid},
		{"certificates", "a token, which nobody reads", token, invalid, invalid},
		{"either", "nothing", nil, clientID, invalid},
		{"either", "claims", claims, clientID, invalid},
		{"either", "a token", token, "alice", "alice"},
		{"trusted", "nothing", nil, invalid, missing},
		{"trusted", "claims", claims, invalid, missing},
		{"trusted", "a token", token, invalid, "alice"},
		{"trusted", "a token and claims", append(claims, token...), invalid, "alice"},
	} {
		ctx := metadata.AppendToOutgoingContext(t.Context(), c.md...)
		for way, one := range map[string]struct{ address, want string }{
			"direct": {direct[c.server], c.wantDirect}, "through the proxy": {proxied[c.server], c.wantViaProxy},
		} {
			if got := say(ctx, dial(t, one.address, creds)); got != one.want {
				t.Errorf("%s, %s, %s: got %s, want %s", c.server, c.name, way, got, one.want)
			}
		}
	}

	key := newKey(t)
	possessed := p.boundToken(t, resource("jwt/ES256"), "alice", key)
	client := dial(t, proxied["tokens"], creds)
	if got, _, _ := possess(t, client, "DPoP", possessed, prove(t, key, echoURL, possessed, nil)); got != "alice" {
		t.Errorf("a proof through the proxy: got %s", got)
	}
	if got, _, challenge := possess(t, client, "DPoP", possessed, prove(t, newKey(t), echoURL, possessed, nil)); got != invalid || !strings.Contains(challenge, "invalid_dpop_proof") {
		t.Errorf("another's proof through the proxy: got %s and %s", got, challenge)
	}
}
