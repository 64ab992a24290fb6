// SPDX-License-Identifier: Apache-2.0

package gateway_test

import (
	"context"
	"crypto/x509"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/bearer"
	"github.com/grpcauth/grpcauth/backends/mtls"
	"github.com/grpcauth/grpcauth/gateway"
	"github.com/grpcauth/grpcauth/grpcauthtest"
	echov1 "github.com/grpcauth/grpcauth/internal/gen/echo/v1"
	"github.com/grpcauth/grpcauth/throttle"
)

func TestPeerIsTheCallerAndNotTheGateway(t *testing.T) {
	t.Parallel()
	proxies := gateway.Options{Proxies: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/32"), netip.MustParsePrefix("::ffff:203.0.113.64/122")}}
	for name, c := range map[string]struct {
		address string
		options gateway.Options
		fields  []string
		want    string
	}{
		"direct":                      {"198.51.100.1:1", gateway.Options{}, nil, "198.51.100.1:0"},
		"IPv6":                        {"[2001:db8::1]:1", gateway.Options{}, nil, "[2001:db8::1]:0"},
		"mapped":                      {"[::ffff:198.51.100.1]:1", gateway.Options{}, nil, "198.51.100.1:0"},
		"zone":                        {"[fe80::1%eth0]:1", gateway.Options{}, nil, "[fe80::1]:0"},
		"spoofed":                     {"198.51.100.1:1", gateway.Options{}, []string{"X-Forwarded-For: 203.0.113.1", "X-Real-IP: 203.0.113.1", "Forwarded: for=203.0.113.1"}, "198.51.100.1:0"},
		"spoofed by our keys":         {"198.51.100.1:1", gateway.Options{}, []string{"Grpc-Metadata-Grpcauth-Caller: 203.0.113.1", "grpcauth-caller: 203.0.113.1"}, "198.51.100.1:0"},
		"proxy":                       {"192.0.2.1:1", proxies, []string{"X-Forwarded-For: 203.0.113.1"}, "203.0.113.1:0"},
		"proxy, spoofed":              {"192.0.2.1:1", proxies, []string{"X-Forwarded-For: 203.0.113.1, 203.0.113.2"}, "203.0.113.2:0"},
		"proxy, spoofed before it":    {"192.0.2.1:1", proxies, []string{"X-Forwarded-For: 203.0.113.1", "X-Forwarded-For: 203.0.113.2"}, "203.0.113.2:0"},
		"two proxies":                 {"192.0.2.1:1", proxies, []string{"X-Forwarded-For: 203.0.113.1, 203.0.113.2, 192.0.2.2"}, "203.0.113.2:0"},
		"proxy with another's header": {"192.0.2.1:1", proxies, []string{"X-Forwarded-For: 203.0.113.2", "X-Real-IP: 203.0.113.9"}, "203.0.113.2:0"},
		"proxy, IPv6":                 {"[2001:db8::1]:1", proxies, []string{"X-Forwarded-For: 2001:db9::1"}, "[2001:db9::1]:0"},
		"proxy, mapped":               {"[::ffff:192.0.2.1]:1", proxies, []string{"X-Forwarded-For: ::ffff:203.0.113.2"}, "203.0.113.2:0"},
		"proxy of a mapped network":   {"203.0.113.70:1", proxies, []string{"X-Forwarded-For: 203.0.113.2"}, "203.0.113.2:0"},
		"proxy, nonsense":             {"192.0.2.1:1", proxies, []string{"X-Forwarded-For: 203.0.113.1, unknown"}, "192.0.2.1:0"},
		"proxy, nonsense before":      {"192.0.2.1:1", proxies, []string{"X-Forwarded-For: unknown, 203.0.113.2"}, "203.0.113.2:0"},
		"nobody's address":            {"pipe", gateway.Options{}, nil, "unknown"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := setup{options: c.options, wrap: from(c.address), auth: []grpcauth.Option{
				grpcauth.InsecureAllowPlaintext(), grpcauth.WithPolicy(grpcauth.Policy{"/echo.v1.EchoService/*": {Access: grpcauth.Public}}),
			}}
			everyWay(t, s, func(w *world) {
				w.say("hello", c.fields...).want(w.t, http.StatusOK)
				if got := w.echo.calls()[0].peer.Addr.String(); got != c.want {
					w.t.Errorf("got %s, want %s", got, c.want)
				}
			})
		})
	}
}

// direct calls a server that trusts some gateways, with metadata of its own.
func direct(t *testing.T, conn grpc.ClientConnInterface, pairs ...string) error {
	t.Helper()
	_, err := echov1.NewEchoServiceClient(conn).Echo(metadata.AppendToOutgoingContext(t.Context(), pairs...), &echov1.EchoRequest{Text: "hello"})
	return err
}

func TestNobodyButTheGatewayIsBelieved(t *testing.T) {
	t.Parallel()
	ca, other := grpcauthtest.NewCA(t), grpcauthtest.NewCA(t)
	spiffe := &url.URL{Scheme: "spiffe", Host: "example.com", Path: "/gateway"}
	for name, c := range map[string]struct {
		creds credentials.TransportCredentials
		want  bool
	}{
		"spiffe":          {credentials.NewTLS(ca.ClientTLS(ca.Issue(x509.Certificate{URIs: []*url.URL{spiffe}}))), true},
		"name":            {credentials.NewTLS(ca.ClientTLS(ca.Issue(x509.Certificate{DNSNames: []string{"a.example.com", "Gateway.example.com"}}))), true},
		"no certificate":  {credentials.NewTLS(ca.ClientTLS()), false},
		"two URIs":        {credentials.NewTLS(ca.ClientTLS(ca.Issue(x509.Certificate{URIs: []*url.URL{spiffe, {Scheme: "spiffe", Host: "example.com", Path: "/x"}}}))), false},
		"another path":    {credentials.NewTLS(ca.ClientTLS(ca.Issue(x509.Certificate{URIs: []*url.URL{{Scheme: "spiffe", Host: "example.com", Path: "/gateway/x"}}}))), false},
		"another name":    {credentials.NewTLS(ca.ClientTLS(ca.Issue(x509.Certificate{DNSNames: []string{"x.gateway.example.com", "*.example.com"}}))), false},
		"id as a name":    {credentials.NewTLS(ca.ClientTLS(ca.Issue(x509.Certificate{DNSNames: []string{"spiffe"}}))), false},
		"name in subject": {credentials.NewTLS(ca.ClientTLS(ca.Issue(x509.Certificate{DNSNames: []string{"x"}, EmailAddresses: []string{"gateway.example.com"}}))), false},
		"not verified":    {credentials.NewTLS(ca.ClientTLS(other.Issue(x509.Certificate{URIs: []*url.URL{spiffe}}))), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			trust, err := gateway.TrustHop(gateway.HopOptions{Certificates: []string{"spiffe://example.com/gateway", "gateway.example.com"}})
			check(t, err)
			service := &echo{}
			auth := grpcauth.New(newBackends(t).chain)
			config := ca.ServerTLS()
			if name == "not verified" {
				config.ClientAuth = 2 // any certificate, as servers do that look at it themselves
			}
			srv := grpc.NewServer(append(auth.ServerOptions(), trust, grpc.Creds(credentials.NewTLS(config)))...)
			echov1.RegisterEchoServiceServer(auth.Registrar(srv), service)
			conn := dial(t, srv, c.creds)
			err = direct(t, conn, "authorization", "Bearer alices", "grpcauth-caller", "198.51.100.1", "grpcauth-secured", "tls", "grpcauth-request", "GET https://example.com/x")
			check(t, err)
			if got := service.calls()[0].peer.Addr.String(); (got == "198.51.100.1:0") != c.want {
				t.Errorf("got the peer %s", got)
			}
			if !c.want {
				return
			}
			for _, pairs := range [][]string{
				{"grpcauth-caller", "198.51.100.1"},
				{"grpcauth-caller", "198.51.100.1", "grpcauth-secured", "tls", "grpcauth-secured", "tls"},
				{"grpcauth-caller", "198.51.100.1", "grpcauth-secured", "TLS"},
				{"grpcauth-caller", "127.0.0.1", "grpcauth-caller", "127.0.0.1"},
				{"grpcauth-caller", "localhost"},
				{"grpcauth-caller", ""},
				{},
			} {
				if err := direct(t, conn, append(pairs, "authorization", "Bearer alices")...); status.Code(err) != codes.PermissionDenied {
					t.Errorf("%q: got %v", pairs, err)
				}
			}
			check(t, direct(t, conn, "authorization", "Bearer alices", "grpcauth-caller", "unix"))
			check(t, direct(t, conn, "authorization", "Bearer alices", "grpcauth-caller", "::1"))
		})
	}
}

// Over plaintext there is nothing by which a gateway could prove itself, but that it is in the same process.
func TestLoopbackIsNoGateway(t *testing.T) {
	t.Parallel()
	trust, err := gateway.TrustHop(gateway.HopOptions{Certificates: []string{"gateway.example.com"}})
	check(t, err)
	service := &echo{}
	auth := grpcauth.New(newBackends(t).chain)
	srv := grpc.NewServer(append(auth.ServerOptions(), trust)...)
	echov1.RegisterEchoServiceServer(auth.Registrar(srv), service)
	conn := dial(t, srv, insecure.NewCredentials())
	check(t, direct(t, conn, "authorization", "Bearer alices", "grpcauth-caller", "198.51.100.1", "grpcauth-secured", "tls"))
	if got := service.calls()[0].peer.Addr.String(); !strings.HasPrefix(got, "127.0.0.1:") {
		t.Errorf("got the peer %s", got)
	}
}

func TestGatewaysOwnCertificateAuthenticatesNobody(t *testing.T) {
	t.Parallel()
	ca := grpcauthtest.NewCA(t)
	workloads, err := mtls.New(mtls.Options{Roots: ca.Pool})
	check(t, err)
	auth := grpcauth.New(workloads)
	id := credentials.NewTLS(ca.ClientTLS(ca.Issue(x509.Certificate{URIs: []*url.URL{{Scheme: "spiffe", Host: "example.com", Path: "/gateway"}}})))
	for name, hop := range map[string]gateway.HopOptions{"trusted": {Certificates: []string{"spiffe://example.com/gateway"}}, "another is trusted": {}} {
		trust, err := gateway.TrustHop(hop)
		check(t, err)
		srv := grpc.NewServer(append(auth.ServerOptions(), trust, grpc.Creds(credentials.NewTLS(ca.ServerTLS())))...)
		echov1.RegisterEchoServiceServer(auth.Registrar(srv), &echo{})
		want := codes.Unauthenticated
		if name != "trusted" {
			want = codes.OK // a workload like any other
		}
		if err := direct(t, dial(t, srv, id), "grpcauth-caller", "198.51.100.1", "grpcauth-secured", "tls"); status.Code(err) != want {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestHopOptionsThatAreWrongAreNamed(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"", "*.example.com", "https://example.com/gateway", "spiffe://example.com", "spiffe:///gateway", "a b", "%zz"} {
		if _, err := gateway.TrustHop(gateway.HopOptions{Certificates: []string{name}}); err == nil || !strings.Contains(err.Error(), "HopOptions.Certificates") {
			t.Errorf("%q: got %v", name, err)
		}
	}
}

// Attempts are counted by the address of who makes them, and nothing that she writes changes it.
func TestAttemptsAreCountedByTheCallersAddress(t *testing.T) {
	t.Parallel()
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			limiter, err := throttle.New(throttle.Options{Tokens: throttle.Limit{Attempts: 3, Window: time.Hour}})
			check(t, err)
			tokens, err := bearer.New(desk{}, bearer.Options{Limiter: limiter, MaxRefused: -1})
			check(t, err)
			address := ""
			wrap := func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					r.RemoteAddr = address
					next.ServeHTTP(w, r)
				})
			}
			w := newWorld(t, setup{backend: tokens, wrap: wrap}, way)
			address = "198.51.100.1:1"
			for i := range 6 {
				want := http.StatusUnauthorized
				if i >= 3 {
					want = http.StatusTooManyRequests
				}
				octet := string(rune('1' + i))
				w.say("hello", "Authorization: Bearer guess"+octet, "X-Forwarded-For: 203.0.113."+octet, "X-Real-IP: 203.0.113."+octet, "grpcauth-caller: 203.0.113."+octet).want(t, want)
			}
			address = "198.51.100.2:1"
			w.say("hello", "Authorization: Bearer guess").want(t, http.StatusUnauthorized)
		})
	}
}

func TestTargetIsThePublicURL(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		options gateway.Options
		want    string
	}{
		"known":     {gateway.Options{PublicURL: "https://api.example.com"}, "GET https://api.example.com/v1/echo/a%20b"},
		"not known": {gateway.Options{}, "GET /v1/echo/a%20b"}, // Host is what the caller likes
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got string
			tokens := grpcauth.BackendFunc(func(_ context.Context, req *grpcauth.Request) (*grpcauth.User, error) {
				method, rawURL := gateway.Target(req)
				got = method + " " + rawURL
				return &grpcauth.User{ID: "a"}, nil
			})
			for name, way := range ways {
				w := newWorld(t, setup{options: c.options, backend: tokens}, way)
				w.raw(http.MethodGet, "/v1/echo/a%20b?token=secret", "").want(t, http.StatusOK)
				if got != c.want {
					t.Errorf("%s: got %s, want %s", name, got, c.want)
				}
			}
		})
	}
	if method, rawURL := gateway.Target(grpcauthtest.Request(t.Context(), "/a.B/C")); method != "" || rawURL != "" {
		t.Errorf("without a gateway: got %q %q", method, rawURL)
	}
}
