// SPDX-License-Identifier: Apache-2.0

package gateway_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/apikey"
	"github.com/grpcauth/grpcauth/backends/bearer"
	"github.com/grpcauth/grpcauth/backends/session"
	"github.com/grpcauth/grpcauth/gateway"
	echogateway "github.com/grpcauth/grpcauth/gateway/internal/gen/echo/v1"
	"github.com/grpcauth/grpcauth/grpcauthtest"
	echov1 "github.com/grpcauth/grpcauth/internal/gen/echo/v1"
	"github.com/grpcauth/grpcauth/store/memstore"
)

// desk knows two tokens, and some whose names say what becomes of them.
type desk struct{}

func (desk) Verify(_ context.Context, token string) (*grpcauth.User, error) {
	switch token {
	case "alices":
		return &grpcauth.User{ID: "alice", Scopes: []string{"echo"}}, nil
	case "bobs":
		return &grpcauth.User{ID: "bob"}, nil
	case "busy":
		return nil, grpcauth.Errorf(grpcauth.CodeThrottled, "too often").WithRetryDelay(2500 * time.Millisecond)
	case "down":
		return nil, errors.New("database 10.0.0.7 is down")
	case "bug":
		panic("bug in the desk")
	}
	return nil, grpcauth.Errorf(grpcauth.CodeInvalid, "nobody was given the token")
}

// backends are what a server in these tests takes.
type backends struct {
	sessions *session.Backend
	keys     *apikey.Backend
	chain    grpcauth.Backend
}

func newBackends(t *testing.T) backends {
	t.Helper()
	s, err := memstore.New(memstore.Options{})
	check(t, err)
	tokens, err := bearer.New(desk{}, bearer.Options{MaxRemembered: -1, MaxRefused: -1})
	check(t, err)
	sessions, err := session.New(session.Options{Store: s})
	check(t, err)
	keys, err := apikey.New(apikey.Options{Store: s, Prefix: "echo_test"})
	check(t, err)
	t.Cleanup(func() { check(t, keys.Close()) })
	return backends{sessions, keys, grpcauth.Chain(tokens, sessions, keys)}
}

// login returns the value of a session's cookie.
func (b backends) login(t *testing.T, user string) string {
	t.Helper()
	id, _, err := b.sessions.Create(t.Context(), &grpcauth.User{ID: user}, session.Device{})
	check(t, err)
	return "__Host-session=" + id
}

// echo says back what it hears, and keeps what it was sent beside it. Some texts are errors.
type echo struct {
	echov1.UnimplementedEchoServiceServer

	mu   sync.Mutex
	seen []call // guarded by mu
}

type call struct {
	user string
	md   metadata.MD
	peer *peer.Peer
}

func (e *echo) note(ctx context.Context) string {
	c := call{}
	if user, ok := grpcauth.FromContext(ctx); ok {
		c.user = user.ID
	}
	c.md, _ = metadata.FromIncomingContext(ctx)
	c.peer, _ = peer.FromContext(ctx)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.seen = append(e.seen, c)
	return c.user
}

// calls returns what came since it was asked last.
func (e *echo) calls() []call {
	e.mu.Lock()
	defer e.mu.Unlock()
	seen := e.seen
	e.seen = nil
	return seen
}

const inside = "10.0.0.7 said\r\nSet-Cookie: a=b\r\n\r\n<script>\x00"

func (e *echo) fail(ctx context.Context, text string) error {
	switch text {
	case "unknown":
		return errors.New(inside)
	case "internal", "unavailable", "data loss", "not found", "unauthenticated", "forbidden", "exhausted":
		code := map[string]codes.Code{
			"internal": codes.Internal, "unavailable": codes.Unavailable, "data loss": codes.DataLoss, "not found": codes.NotFound,
			"unauthenticated": codes.Unauthenticated, "forbidden": codes.PermissionDenied, "exhausted": codes.ResourceExhausted,
		}[text]
		return status.Error(code, inside)
	case "step up":
		return grpcauth.Errorf(grpcauth.CodeStepUp, "a better login is needed")
	case "headers":
		if err := grpc.SetTrailer(ctx, metadata.Pairs("x-secret", "1")); err != nil {
			return err
		}
		return grpc.SetHeader(ctx, metadata.Pairs("set-cookie", "a=b", "set-cookie", "c=d", "x-secret", "1", "x-custom", "2", "grpc-status-details", "3"))
	}
	return nil
}

func (e *echo) Echo(ctx context.Context, req *echov1.EchoRequest) (*echov1.EchoResponse, error) {
	user := e.note(ctx)
	if err := e.fail(ctx, req.GetText()); err != nil {
		return nil, err
	}
	return &echov1.EchoResponse{Text: req.GetText(), UserId: user}, nil
}

func (e *echo) Expand(req *echov1.ExpandRequest, stream echov1.EchoService_ExpandServer) error {
	user := e.note(stream.Context())
	for word := range strings.SplitSeq(req.GetText(), " ") {
		if err := e.fail(stream.Context(), word); err != nil {
			return err
		}
		if err := stream.Send(&echov1.ExpandResponse{Text: word, UserId: user}); err != nil {
			return err
		}
	}
	return nil
}

// world is a gateway in front of a server.
type world struct {
	backends

	t     *testing.T
	echo  *echo
	front *httptest.Server
}

// setup is what differs from one test to another.
type setup struct {
	options gateway.Options
	mux     []runtime.ServeMuxOption // after ours
	backend grpcauth.Backend         // instead of ours
	auth    []grpcauth.Option
	wrap    func(http.Handler) http.Handler // around the gateway
	plain   bool                            // HTTP without TLS
}

// ways are the connections between gateway and server that every behaviour is tested over.
var ways = map[string]func(t *testing.T, auth *grpcauth.Interceptor, service echov1.EchoServiceServer) grpc.ClientConnInterface{
	"in process":        inProcess,
	"over a connection": overConnection,
}

func inProcess(t *testing.T, auth *grpcauth.Interceptor, service echov1.EchoServiceServer) grpc.ClientConnInterface {
	t.Helper()
	trust, err := gateway.TrustHop(gateway.HopOptions{})
	check(t, err)
	srv := grpc.NewServer(append(auth.ServerOptions(), trust)...)
	echov1.RegisterEchoServiceServer(auth.Registrar(srv), service)
	conn, err := gateway.InProcess(srv)
	check(t, err)
	t.Cleanup(func() {
		check(t, conn.Close())
		srv.Stop()
	})
	return conn
}

// overConnection proves the gateway by a certificate.
func overConnection(t *testing.T, auth *grpcauth.Interceptor, service echov1.EchoServiceServer) grpc.ClientConnInterface {
	t.Helper()
	trust, err := gateway.TrustHop(gateway.HopOptions{Certificates: []string{"spiffe://example.com/gateway"}})
	check(t, err)
	ca := grpcauthtest.NewCA(t)
	srv := grpc.NewServer(append(auth.ServerOptions(), trust, grpc.Creds(credentials.NewTLS(ca.ServerTLS())))...)
	echov1.RegisterEchoServiceServer(auth.Registrar(srv), service)
	id := ca.Issue(x509.Certificate{URIs: []*url.URL{{Scheme: "spiffe", Host: "example.com", Path: "/gateway"}}})
	return dial(t, srv, credentials.NewTLS(ca.ClientTLS(id)))
}

func dial(t *testing.T, srv *grpc.Server, creds credentials.TransportCredentials) *grpc.ClientConn {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	check(t, err)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(listener) }()
	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(creds))
	check(t, err)
	t.Cleanup(func() {
		check(t, conn.Close())
		srv.Stop()
		check(t, <-served)
	})
	return conn
}

// everyWay runs a test over each of the ways.
func everyWay(t *testing.T, s setup, test func(w *world)) {
	t.Helper()
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(newWorld(t, s, way))
		})
	}
}

func newWorld(t *testing.T, s setup, way func(*testing.T, *grpcauth.Interceptor, echov1.EchoServiceServer) grpc.ClientConnInterface) *world {
	t.Helper()
	w := &world{backends: newBackends(t), t: t, echo: &echo{}}
	if s.backend == nil {
		s.backend = w.chain
	}
	conn := way(t, grpcauth.New(s.backend, s.auth...), w.echo)
	opts, err := gateway.ServeMuxOptions(s.options)
	check(t, err)
	mux := runtime.NewServeMux(append(opts, s.mux...)...)
	check(t, echogateway.RegisterEchoServiceHandlerClient(t.Context(), mux, echov1.NewEchoServiceClient(conn)))
	var handler http.Handler = mux
	if s.wrap != nil {
		handler = s.wrap(handler)
	}
	if s.plain {
		w.front = httptest.NewServer(handler)
	} else {
		w.front = httptest.NewTLSServer(handler)
	}
	t.Cleanup(w.front.Close)
	return w
}

// from makes requests seem to come from an address.
func from(address string) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r.RemoteAddr = address
			next.ServeHTTP(w, r)
		})
	}
}

// answer is what came back.
type answer struct {
	*http.Response

	text string
}

// raw sends a request as it stands, with header fields of any kind, and reads the answer. The fields are lines.
func (w *world) raw(method, path, body string, fields ...string) answer {
	w.t.Helper()
	return raw(w.t, w.front, method, path, body, fields...)
}

func raw(t *testing.T, front *httptest.Server, method, path, body string, fields ...string) answer {
	t.Helper()
	var conn net.Conn
	var err error
	if front.TLS != nil {
		conn, err = (&tls.Dialer{Config: &tls.Config{RootCAs: front.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs, ServerName: "example.com"}}).
			DialContext(t.Context(), "tcp", front.Listener.Addr().String())
	} else {
		conn, err = new(net.Dialer).DialContext(t.Context(), "tcp", front.Listener.Addr().String())
	}
	check(t, err)
	defer func() { _ = conn.Close() }()
	var text strings.Builder
	text.WriteString(method + " " + path + " HTTP/1.1\r\nHost: example.com\r\n")
	if body != "" || method == http.MethodPost {
		text.WriteString("Content-Length: " + strconv.Itoa(len(body)) + "\r\n")
	}
	for _, field := range fields {
		text.WriteString(field + "\r\n")
	}
	_, err = io.WriteString(conn, text.String()+"\r\n"+body)
	check(t, err)
	resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	check(t, err)
	defer func() { _ = resp.Body.Close() }()
	content, err := io.ReadAll(resp.Body)
	check(t, err)
	return answer{resp, string(content)}
}

// say calls Echo as most callers do.
func (w *world) say(text string, fields ...string) answer {
	w.t.Helper()
	return w.raw(http.MethodPost, "/v1/echo", `{"text":"`+text+`"}`, append([]string{"Content-Type: application/json"}, fields...)...)
}

// want fails the test unless the answer has the status, and each of the parts in its body.
func (a answer) want(t *testing.T, code int, parts ...string) {
	t.Helper()
	if a.StatusCode != code {
		t.Errorf("got %d %q, want %d", a.StatusCode, a.text, code)
	}
	for _, part := range parts {
		if !strings.Contains(a.text, part) {
			t.Errorf("got %q, want it to contain %q", a.text, part)
		}
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// twoSchemes are those of a server that also takes passwords.
var twoSchemes = []grpcauth.Scheme{{Header: "authorization", AuthScheme: "Bearer"}, {Header: "authorization", AuthScheme: "Basic"}}
