// SPDX-License-Identifier: Apache-2.0

package clientauth_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/oauth2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/grpcauth/grpcauth/clientauth"
	"github.com/grpcauth/grpcauth/grpcauthtest"
	echov1 "github.com/grpcauth/grpcauth/internal/gen/echo/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const secret = "canary-7391"

var near = clientauth.Options{InsecureAllowLoopback: true}

// heard is a server that notes the metadata of its calls and answers them with what answer returns, which may be nil.
type heard struct {
	echov1.UnimplementedEchoServiceServer

	mu     sync.Mutex
	calls  []metadata.MD // guarded by mu
	answer func(ctx context.Context, md metadata.MD) error
}

func (h *heard) note(ctx context.Context) error {
	md, _ := metadata.FromIncomingContext(ctx)
	h.mu.Lock()
	h.calls = append(h.calls, md)
	h.mu.Unlock()
	if h.answer == nil {
		return nil
	}
	return h.answer(ctx, md)
}

func (h *heard) Echo(ctx context.Context, _ *echov1.EchoRequest) (*echov1.EchoResponse, error) {
	return &echov1.EchoResponse{}, h.note(ctx)
}

func (h *heard) Converse(stream grpc.BidiStreamingServer[echov1.ConverseRequest, echov1.ConverseResponse]) error {
	return h.note(stream.Context())
}

// values returns what the calls said under a key.
func (h *heard) values(key string) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []string
	for _, md := range h.calls {
		all = append(all, strings.Join(md.Get(key), "|"))
	}
	return all
}

// dial serves in memory and connects.
func dial(t *testing.T, service echov1.EchoServiceServer, opts ...grpc.DialOption) echov1.EchoServiceClient {
	t.Helper()
	listener := bufconnListener()
	return connect(t, service, listener, nil, "passthrough:///orders.example.com", append(opts, inMemory(listener)...))
}

func bufconnListener() *bufconn.Listener { return bufconn.Listen(1 << 16) }

func inMemory(listener *bufconn.Listener) []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }),
	}
}

func connect(t *testing.T, service echov1.EchoServiceServer, listener net.Listener, serverOpts []grpc.ServerOption, target string, opts []grpc.DialOption) echov1.EchoServiceClient {
	t.Helper()
	srv := grpc.NewServer(serverOpts...)
	echov1.RegisterEchoServiceServer(srv, service)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(listener) }()
	conn, err := grpc.NewClient(target, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		srv.Stop()
		<-served
	})
	return echov1.NewEchoServiceClient(conn)
}

func call(ctx context.Context, client echov1.EchoServiceClient, opts ...grpc.CallOption) error {
	_, err := client.Echo(ctx, &echov1.EchoRequest{}, opts...)
	return err
}

func must[T any](t *testing.T) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func fixed(token string) clientauth.Source {
	return clientauth.SourceFunc(func(context.Context) (clientauth.Token, error) { return clientauth.Token{Value: token}, nil })
}

func TestCredentialIsSentAsItsSchemeHasIt(t *testing.T) {
	t.Parallel()
	made := must[*clientauth.Credentials](t)
	for name, c := range map[string]struct {
		creds *clientauth.Credentials
		key   string
		want  string
	}{
		"Basic":                  {made(clientauth.Basic("Aladdin", "open sesame", near)), "authorization", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="},
		"Basic, in UTF-8":        {made(clientauth.Basic("test", "123\u00a3", near)), "authorization", "Basic dGVzdDoxMjPCow=="},
		"Basic, with colons":     {made(clientauth.Basic("a", ":b:", near)), "authorization", "Basic YTo6Yjo="},
		"Basic, no password":     {made(clientauth.Basic("a", "", near)), "authorization", "Basic YTo="},
		"bearer":                 {made(clientauth.Bearer("mF_9.B5f-4.1JqM", near)), "authorization", "Bearer mF_9.B5f-4.1JqM"},
		"API key":                {made(clientauth.APIKey("X-API-Key", "a b!c", near)), "x-api-key", "a b!c"},
		"source":                 {made(clientauth.FromSource(fixed("abc=="), near)), "authorization", "Bearer abc=="},
		"OAuth 2.0 token source": {made(clientauth.TokenSource(oauth2.StaticTokenSource(&oauth2.Token{AccessToken: "abc"}), near)), "authorization", "Bearer abc"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := &heard{}
			if err := call(t.Context(), dial(t, h, grpc.WithPerRPCCredentials(c.creds))); err != nil {
				t.Fatal(err)
			}
			if got := h.values(c.key); len(got) != 1 || got[0] != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestConstructorsSayWhatIsWrong(t *testing.T) {
	t.Parallel()
	result := func(_ any, err error) error { return err }
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"no name":                   {result(clientauth.Basic("", secret, near)), "user name is empty"},
		"name with a colon":         {result(clientauth.Basic("a:b", secret, near)), "colon"},
		"name with a line break":    {result(clientauth.Basic("a\nb", secret, near)), "user name"},
		"password with a NUL":       {result(clientauth.Basic("a", secret+"\x00", near)), "password"},
		"password that is no text":  {result(clientauth.Basic("a", secret+"\xff", near)), "password"},
		"no token":                  {result(clientauth.Bearer("", near)), "empty"},
		"nothing but padding":       {result(clientauth.Bearer("==", near)), "empty"},
		"token with a space":        {result(clientauth.Bearer("Bearer "+secret, near)), "characters"},
		"token with a comma":        {result(clientauth.Bearer(secret+",b", near)), "characters"},
		"padding inside":            {result(clientauth.Bearer("a=b", near)), "characters"},
		"no key":                    {result(clientauth.APIKey("x-api-key", "", near)), "empty"},
		"key with a space before":   {result(clientauth.APIKey("x-api-key", " "+secret, near)), "spaces"},
		"key with a line break":     {result(clientauth.APIKey("x-api-key", secret+"\r\n", near)), "printable"},
		"key that is not ASCII":     {result(clientauth.APIKey("x-api-key", secret+"é", near)), "printable"},
		"no header":                 {result(clientauth.APIKey("", secret, near)), "header"},
		"header with a space":       {result(clientauth.APIKey("x api", secret, near)), "header"},
		"header of HTTP/2":          {result(clientauth.APIKey(":path", secret, near)), "header"},
		"header of gRPC":            {result(clientauth.APIKey("grpc-timeout", secret, near)), "header"},
		"header of the transport":   {result(clientauth.APIKey("TE", secret, near)), "header"},
		"no source":                 {result(clientauth.FromSource(nil, near)), "source"},
		"no OAuth 2.0 token source": {result(clientauth.TokenSource(nil, near)), "source"},
		"nothing to refresh":        {result(clientauth.NewRefreshing(nil, near)), "source"},
		"negative timeout":          {result(clientauth.NewRefreshing(fixed("a"), clientauth.Options{Timeout: -1})), "Options.Timeout"},
		"negative interval":         {result(clientauth.NewRefreshing(fixed("a"), clientauth.Options{MinInterval: -1})), "Options.MinInterval"},
	} {
		if c.err == nil || !strings.Contains(c.err.Error(), c.want) || strings.Contains(c.err.Error(), secret) {
			t.Errorf("%s: got %v, want it to say %q", name, c.err, c.want)
		}
	}
}

// sent reports whether the server heard the credential.
func (h *heard) sent() bool { return strings.Join(h.values("authorization"), "") != "" }

func TestCredentialsDoNotLeaveInPlaintext(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		opts     clientauth.Options
		network  string
		dialOpts []grpc.DialOption
		want     bool
	}{
		"by default, in memory":            {clientauth.Options{}, "memory", nil, false},
		"by default, on loopback":          {clientauth.Options{}, "tcp", nil, false},
		"loopback, in memory":              {near, "memory", nil, true},
		"loopback, on loopback":            {near, "tcp", nil, true},
		"loopback, under another name":     {near, "tcp", []grpc.DialOption{grpc.WithAuthority("orders.example.com")}, false},
		"loopback, under a near name":      {near, "tcp", []grpc.DialOption{grpc.WithAuthority("localhost.example.com")}, false},
		"loopback, under its name":         {near, "tcp", []grpc.DialOption{grpc.WithAuthority("localhost")}, true},
		"loopback, far away":               {near, "far", nil, false},
		"anything, far away":               {clientauth.Options{InsecureAllowPlaintext: true}, "far", nil, true},
		"anything, under another name":     {clientauth.Options{InsecureAllowPlaintext: true}, "tcp", []grpc.DialOption{grpc.WithAuthority("orders.example.com")}, true},
		"loopback, unknown kind of safety": {near, "hidden", nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := &heard{}
			creds := must[*clientauth.Credentials](t)(clientauth.Bearer(secret, c.opts))
			err := call(t.Context(), serve(t, h, c.network, c.dialOpts), grpc.PerRPCCredentials(creds))
			if c.want != (err == nil) || c.want != h.sent() || !c.want && status.Code(err) != codes.Unauthenticated || err != nil && strings.Contains(err.Error(), secret) {
				t.Errorf("got %v, heard %t", err, h.sent())
			}
		})
	}
}

// serve serves in plaintext, in memory or over TCP, perhaps as if from far away or by credentials that tell gRPC nothing.
func serve(t *testing.T, h *heard, network string, opts []grpc.DialOption) echov1.EchoServiceClient {
	t.Helper()
	if network == "memory" {
		return dial(t, h, opts...)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	creds := insecure.NewCredentials()
	if network == "hidden" {
		creds = hidden{creds}
	}
	opts = append(opts, grpc.WithTransportCredentials(creds))
	if network != "tcp" {
		opts = append(opts, grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, "tcp", listener.Addr().String())
			return far{conn}, err
		}))
	}
	return connect(t, h, listener, nil, "passthrough:///"+listener.Addr().String(), opts)
}

// far is a connection to another machine, by its addresses.
type far struct{ net.Conn }

func (far) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1} }

// hidden are transport credentials whose AuthInfo says nothing of security.
type hidden struct {
	credentials.TransportCredentials
}

type silent struct{}

func (silent) AuthType() string { return "silent" }

func (h hidden) Clone() credentials.TransportCredentials { return h }

func (h hidden) ClientHandshake(_ context.Context, _ string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return conn, silent{}, nil
}

func TestCredentialsLeaveOverTLS(t *testing.T) {
	t.Parallel()
	ca := grpcauthtest.NewCA(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := &heard{}
	creds := must[*clientauth.Credentials](t)(clientauth.Bearer(secret, clientauth.Options{}))
	config := ca.ServerTLS()
	config.ClientAuth = tls.NoClientCert
	client := connect(t, h, listener, []grpc.ServerOption{grpc.Creds(credentials.NewTLS(config))}, listener.Addr().String(),
		[]grpc.DialOption{grpc.WithTransportCredentials(credentials.NewTLS(ca.ClientTLS())), grpc.WithPerRPCCredentials(creds)})
	if err := call(t.Context(), client); err != nil || !h.sent() {
		t.Errorf("got %v, heard %t", err, h.sent())
	}
}

func TestClientWithoutEncryptionIsNotMade(t *testing.T) {
	t.Parallel()
	creds := must[*clientauth.Credentials](t)(clientauth.Bearer(secret, clientauth.Options{}))
	conn, err := grpc.NewClient("orders.example.com:443", grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithPerRPCCredentials(creds))
	if err == nil {
		_ = conn.Close()
		t.Error("a client was made that cannot send its credentials")
	}
}

func TestNothingPrintsASecret(t *testing.T) {
	t.Parallel()
	made := must[*clientauth.Credentials](t)
	refreshing := must[*clientauth.Refreshing](t)(clientauth.NewRefreshing(fixed(secret), near))
	if _, err := refreshing.Token(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, v := range []any{
		made(clientauth.Basic("a", secret, near)), made(clientauth.Bearer(secret, near)), made(clientauth.APIKey("x-api-key", secret, near)), made(clientauth.FromSource(fixed(secret), near)),
		clientauth.Token{Value: secret},
		refreshing,
	} {
		encoded, err := json.Marshal(v)
		if err != nil {
			t.Error(err)
		}
		if text := fmt.Sprintf("%v %+v %#v %s %q %x %s", v, v, v, v, v, v, encoded); strings.Contains(text, secret) || strings.Contains(text, fmt.Sprintf("%x", secret)) || strings.Contains(text, "Y2FuYXJ5") {
			t.Errorf("%T: %s", v, text)
		}
	}
}

func TestCallWithoutATokenIsNotMade(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		src  clientauth.SourceFunc
		want codes.Code
	}{
		"an error": {func(context.Context) (clientauth.Token, error) { return clientauth.Token{}, errors.New("down") }, codes.Unavailable},
		"refused": {func(context.Context) (clientauth.Token, error) {
			return clientauth.Token{}, status.Error(codes.Unauthenticated, "no")
		}, codes.Unauthenticated},
		"forbidden": {func(context.Context) (clientauth.Token, error) {
			return clientauth.Token{}, status.Error(codes.PermissionDenied, "no")
		}, codes.PermissionDenied},
		"some other status": {func(context.Context) (clientauth.Token, error) {
			return clientauth.Token{}, status.Error(codes.NotFound, "no")
		}, codes.Unavailable},
		"nothing":             {func(context.Context) (clientauth.Token, error) { return clientauth.Token{}, nil }, codes.Unavailable},
		"a line break":        {func(context.Context) (clientauth.Token, error) { return clientauth.Token{Value: "a\r\nb"}, nil }, codes.Unavailable},
		"a token and a space": {func(context.Context) (clientauth.Token, error) { return clientauth.Token{Value: secret + " "}, nil }, codes.Unavailable},
	} {
		h := &heard{}
		creds := must[*clientauth.Credentials](t)(clientauth.FromSource(c.src, near))
		err := call(t.Context(), dial(t, h, grpc.WithPerRPCCredentials(creds)))
		if status.Code(err) != c.want || len(h.values("authorization")) != 0 || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
}
