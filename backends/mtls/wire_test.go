// SPDX-License-Identifier: Apache-2.0

package mtls_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/bearer"
	"github.com/grpcauth/grpcauth/backends/mtls"
	"github.com/grpcauth/grpcauth/grpcauthtest"
	echov1 "github.com/grpcauth/grpcauth/internal/gen/echo/v1"
)

// echo answers with the user's ID.
type echo struct {
	echov1.UnimplementedEchoServiceServer
}

func (*echo) Echo(ctx context.Context, _ *echov1.EchoRequest) (*echov1.EchoResponse, error) {
	user, ok := grpcauth.FromContext(ctx)
	if !ok {
		return &echov1.EchoResponse{}, nil
	}
	text := user.Binding.CertSHA256
	for _, factor := range user.Factors {
		text += " " + factor.Method + ":" + factor.ID
	}
	return &echov1.EchoResponse{UserId: user.ID, Text: text}, nil
}

func (*echo) Converse(s grpc.BidiStreamingServer[echov1.ConverseRequest, echov1.ConverseResponse]) error {
	for {
		if _, err := s.Recv(); err != nil {
			return err
		}
		if err := s.Send(&echov1.ConverseResponse{}); err != nil {
			return err
		}
	}
}

// serve makes a server over TLS behind the interceptor.
func serve(auth *grpcauth.Interceptor, config *tls.Config) *grpc.Server {
	srv := grpc.NewServer(append(auth.ServerOptions(), grpc.Creds(credentials.NewTLS(config)))...)
	echov1.RegisterEchoServiceServer(auth.Registrar(srv), &echo{})
	return srv
}

func dial(tb testing.TB, srv *grpc.Server, config *tls.Config) echov1.EchoServiceClient {
	tb.Helper()
	return echov1.NewEchoServiceClient(grpcauthtest.Dial(tb, srv, credentials.NewTLS(config)))
}

// say is one call over the wire; the answer is the user's ID, the reason of the refusal, or the code where there is no reason.
func say(ctx context.Context, client echov1.EchoServiceClient) string {
	resp, err := client.Echo(ctx, &echov1.EchoRequest{})
	if err != nil {
		return reason(err)
	}
	return resp.GetUserId()
}

func reason(err error) string {
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			return info.GetReason()
		}
	}
	return status.Code(err).String()
}

func TestCertificatesOverTLS(t *testing.T) {
	t.Parallel()
	ca, stranger := grpcauthtest.NewCA(t), grpcauthtest.NewCA(t)
	made := func(change func(*x509.Certificate)) []tls.Certificate {
		template := workload(t, orders)
		change(&template)
		return []tls.Certificate{ca.Issue(template)}
	}
	type cert = x509.Certificate
	good := ca.Issue(workload(t, orders))
	intermediate := ca.Issue(cert{Subject: pkix.Name{CommonName: "intermediate"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	const cut = "Unavailable" // the handshake fails, and no call is made
	for name, test := range map[string]struct {
		certificates []tls.Certificate
		verified     string // where the server's TLS verifies
		taken        string // where it takes any certificate
	}{
		"good":                   {[]tls.Certificate{good}, orders, refused},
		"of an intermediate":     {[]tls.Certificate{issueUnder(t, intermediate, workload(t, orders))}, orders, refused},
		"none":                   {nil, missing, missing},
		"no name":                {made(func(c *cert) { c.URIs = nil }), refused, refused},
		"a common name":          {made(func(c *cert) { c.URIs, c.Subject.CommonName = nil, orders }), refused, refused},
		"expired":                {made(func(c *cert) { c.NotAfter = now(ca).Add(-10 * time.Minute) }), cut, refused},
		"not valid yet":          {made(func(c *cert) { c.NotBefore = now(ca).Add(10 * time.Minute) }), cut, refused},
		"other authority":        {[]tls.Certificate{stranger.Issue(workload(t, orders))}, cut, refused},
		"self-signed":            {[]tls.Certificate{selfSigned(t, workload(t, orders))}, cut, refused},
		"for servers alone":      {made(func(c *cert) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }), cut, refused},
		"an authority":           {made(func(c *cert) { c.IsCA, c.BasicConstraintsValid = true, true }), refused, refused},
		"may sign certificates":  {made(func(c *cert) { c.KeyUsage |= x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign }), refused, refused},
		"may sign lists":         {made(func(c *cert) { c.KeyUsage |= x509.KeyUsageDigitalSignature | x509.KeyUsageCRLSign }), refused, refused},
		"two URIs":               {made(func(c *cert) { c.URIs = append(c.URIs, c.URIs[0]) }), refused, refused},
		"a URI and a DNS name":   {made(func(c *cert) { c.DNSNames = []string{"example.com"} }), orders, refused},
		"another trust domain's": {made(func(c *cert) { c.URIs = workload(t, "spiffe://example.com/ns/shop/sa/orders").URIs }), refused, refused},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			auth := grpcauth.New(newBackend(t, ca, mtls.Options{Allow: []string{"spiffe://example.org/ns/shop/sa/*"}}))
			for kind, want := range map[tls.ClientAuthType]string{tls.VerifyClientCertIfGiven: test.verified, tls.RequestClientCert: test.taken} {
				config := ca.ServerTLS()
				config.ClientAuth = kind
				client := ca.ClientTLS()
				client.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { // also one that the server does not ask for
					if len(test.certificates) == 0 {
						return &tls.Certificate{}, nil
					}
					return &test.certificates[0], nil
				}
				conn := dial(t, serve(auth, config), client)
				for range 2 {
					if got := say(t.Context(), conn); got != want {
						t.Errorf("client auth %v: got %s, want %s", kind, got, want)
					}
				}
			}
		})
	}
	t.Run("no TLS", func(t *testing.T) {
		t.Parallel()
		auth := grpcauth.New(newBackend(t, ca, mtls.Options{}))
		conn := grpcauthtest.Serve(t, auth, func(s grpcauth.Server) { echov1.RegisterEchoServiceServer(s, &echo{}) })
		if got := say(t.Context(), echov1.NewEchoServiceClient(conn)); got != missing {
			t.Errorf("got %s, want %s", got, missing)
		}
	})
}

func TestExpiryOnAConnectionThatStaysOpen(t *testing.T) {
	t.Parallel()
	ca := grpcauthtest.NewCA(t)
	clock := grpcauthtest.NewClock(now(ca))
	auth := grpcauth.New(newBackend(t, ca, mtls.Options{Now: clock.Now}), grpcauth.WithClock(clock.Now))
	template := workload(t, orders)
	template.NotAfter = now(ca).Add(time.Minute)
	config := ca.ServerTLS()
	config.Time = clock.Now
	client := dial(t, serve(auth, config), ca.ClientTLS(ca.Issue(template)))
	for _, step := range []struct {
		by   time.Duration
		want string
	}{{0, orders}, {time.Minute - time.Nanosecond, orders}, {time.Nanosecond, expired}, {time.Minute, expired}} {
		clock.Advance(step.by)
		if got := say(t.Context(), client); got != step.want {
			t.Errorf("got %s, want %s", got, step.want)
		}
	}
}

func TestStreamEndsWithItsCertificate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ca := grpcauthtest.NewCA(t)
		template := workload(t, orders)
		template.NotAfter = time.Now().Add(10 * time.Minute).Truncate(time.Second)
		client := dial(t, serve(grpcauth.New(newBackend(t, ca, mtls.Options{})), ca.ServerTLS()), ca.ClientTLS(ca.Issue(template)))
		stream, err := client.Converse(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Until(template.NotAfter) - time.Second)
		if err := stream.Send(&echov1.ConverseRequest{}); err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); err != nil {
			t.Fatalf("the stream ended although its certificate is good: %v", err)
		}
		_, err = stream.Recv()
		if late := time.Since(template.NotAfter); reason(err) != expired || late < 0 || late > time.Second {
			t.Errorf("ended %v after its certificate, with %v", late, err)
		}
	})
}

func TestOpenStreamIsVerifiedAnewOnRecheck(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ca := grpcauthtest.NewCA(t)
		var pool atomic.Pointer[x509.CertPool]
		pool.Store(ca.Pool())
		var rechecks, remembered atomic.Int64
		observer := grpcauth.ObserverFunc(func(_ context.Context, e grpcauth.Event) {
			if e.Recheck {
				rechecks.Add(1)
			}
			if e.Remembered {
				remembered.Add(1)
			}
		})
		auth := grpcauth.New(newBackend(t, ca, mtls.Options{Roots: pool.Load}), grpcauth.WithStreamRecheck(time.Second), grpcauth.WithObserver(observer))
		client := dial(t, serve(auth, ca.ServerTLS()), ca.ClientTLS(ca.Issue(workload(t, orders))))
		stream, err := client.Converse(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(5*time.Second + time.Second/2)
		if rechecks.Load() != 5 || remembered.Load() != 0 {
			t.Errorf("%d rechecks, %d from memory", rechecks.Load(), remembered.Load())
		}
		pool.Store(grpcauthtest.NewCA(t).Pool())
		removed := time.Now()
		_, err = stream.Recv()
		if late := time.Since(removed); reason(err) != refused || late > time.Second {
			t.Errorf("ended %v after its authority, with %v", late, err)
		}
	})
}

func TestRemovedAuthorityIsRefused(t *testing.T) {
	t.Parallel()
	for name, resume := range map[string]bool{"new session": false, "resumed session": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ca, next := grpcauthtest.NewCA(t), grpcauthtest.NewCA(t)
			var pool atomic.Pointer[x509.CertPool]
			pool.Store(ca.Pool())
			var resumed atomic.Bool
			backend := newBackend(t, ca, mtls.Options{Roots: pool.Load})
			auth := grpcauth.New(grpcauth.BackendFunc(func(ctx context.Context, req *grpcauth.Request) (*grpcauth.User, error) {
				resumed.Store(req.Peer().AuthInfo.(credentials.TLSInfo).State.DidResume)
				return backend.Authenticate(ctx, req)
			}))
			srv := serve(auth, ca.ServerTLS()) // whose TLS is not told that the authority is gone
			config := ca.ClientTLS(ca.Issue(workload(t, orders)))
			if resume {
				config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
			}
			first := dial(t, srv, config)
			if got := say(t.Context(), first); got != orders || resumed.Load() {
				t.Errorf("got %s, resumed: %v", got, resumed.Load())
			}
			if got := say(t.Context(), dial(t, srv, config)); got != orders || resumed.Load() != resume {
				t.Errorf("second connection: got %s, resumed: %v", got, resumed.Load())
			}
			pool.Store(next.Pool())
			if got := say(t.Context(), first); got != refused {
				t.Errorf("open connection: got %s", got)
			}
			if got := say(t.Context(), dial(t, srv, config)); got != refused || resumed.Load() != resume {
				t.Errorf("third connection: got %s, resumed: %v", got, resumed.Load())
			}
		})
	}
}

// relay is a proxy that ends TLS: it makes each call again over its own connection, with all metadata and some that tell of the caller.
type relay struct {
	echov1.UnimplementedEchoServiceServer

	to    echov1.EchoServiceClient
	tells metadata.MD
}

func (r *relay) Echo(ctx context.Context, req *echov1.EchoRequest) (*echov1.EchoResponse, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	if p, ok := peer.FromContext(ctx); !ok || len(p.AuthInfo.(credentials.TLSInfo).State.VerifiedChains) == 0 {
		return nil, status.Error(codes.Internal, "the proxy itself knows its caller")
	}
	return r.to.Echo(metadata.NewOutgoingContext(ctx, metadata.Join(r.tells, metadata.MD{"authorization": md["authorization"]})), req)
}

func TestIdentityBehindAProxyIsTheProxys(t *testing.T) {
	t.Parallel()
	const proxy = "spiffe://example.org/proxy"
	ca := grpcauthtest.NewCA(t)
	caller, proxyCertificate := ca.Issue(workload(t, orders)), ca.Issue(workload(t, proxy))
	tokens, err := bearer.New(tokensOf{"abc": {ID: "alice", Method: "token"}}, bearer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	certificates := newBackend(t, ca, mtls.Options{})
	for name, test := range map[string]struct {
		backend  grpcauth.Backend
		id, text string
	}{
		"certificate":           {certificates, proxy, thumbprint(proxyCertificate.Leaf)},
		"certificate and token": {grpcauth.All(certificates, tokens), proxy, thumbprint(proxyCertificate.Leaf) + " mtls:" + proxy + " token:alice"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := grpc.NewServer(grpc.Creds(credentials.NewTLS(ca.ServerTLS())))
			behind := dial(t, serve(grpcauth.New(test.backend), ca.ServerTLS()), ca.ClientTLS(proxyCertificate))
			echov1.RegisterEchoServiceServer(srv, &relay{to: behind, tells: metadata.Pairs(
				"x-forwarded-client-cert", "By=spiffe://example.org/a;URI="+orders, "x-spiffe-id", orders, "x-client-cert", thumbprint(caller.Leaf),
				"ssl-client-verify", "SUCCESS", "x-forwarded-for", "127.0.0.1",
			)})
			ctx := t.Context()
			if test.backend != grpcauth.Backend(certificates) {
				ctx = grpcauthtest.WithBearer(ctx, "abc")
			}
			resp, err := dial(t, srv, ca.ClientTLS(caller)).Echo(ctx, &echov1.EchoRequest{})
			if err != nil || resp.GetUserId() != test.id || resp.GetText() != test.text {
				t.Errorf("got %v, %v, want %q, %q", resp, err, test.id, test.text)
			}
		})
	}
}
