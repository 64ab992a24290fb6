// SPDX-License-Identifier: Apache-2.0

package benchmarks

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/bearer"
	echogateway "github.com/grpcauth/grpcauth/benchmarks/internal/gen/echo/v1"
	"github.com/grpcauth/grpcauth/gateway"
	echov1 "github.com/grpcauth/grpcauth/internal/gen/echo/v1"
)

// inMemory connects with a server in the same process, as gateways do.
func (w *world) inMemory(srv *grpc.Server) echov1.EchoServiceClient {
	w.Helper()
	conn, err := gateway.InProcess(srv)
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() {
		_ = conn.Close()
		srv.Stop()
	})
	return echov1.NewEchoServiceClient(conn)
}

// mux is a gateway in front of a server in the same process, with authentication or without.
func (w *world) mux(auth *grpcauth.Interceptor) http.Handler {
	w.Helper()
	var opts []runtime.ServeMuxOption
	srv := grpc.NewServer()
	var server grpcauth.Server = srv
	if auth != nil {
		trust, err := gateway.TrustHop(gateway.HopOptions{})
		if err != nil {
			w.Fatal(err)
		}
		srv = grpc.NewServer(append(auth.ServerOptions(), trust)...)
		server = auth.Registrar(srv)
		if opts, err = gateway.ServeMuxOptions(gateway.Options{}); err != nil {
			w.Fatal(err)
		}
	}
	echov1.RegisterEchoServiceServer(server, echo{})
	mux := runtime.NewServeMux(opts...)
	if err := echogateway.RegisterEchoServiceHandlerClient(w.Context(), mux, w.inMemory(srv)); err != nil {
		w.Fatal(err)
	}
	return mux
}

const echoBody = `{"text":"x"}`

// throughGateway is a whole HTTP call with a token that was seen before, beside the same through a gateway and to a server that take no notice of it.
func throughGateway() contest {
	return contest{ready: func(w *world) (ours, peer op) {
		return w.post(w.mux(w.guard("RS256"))), w.post(w.mux(nil))
	}}
}

// post calls Echo over HTTP/1.1 on loopback, by a client that keeps its connection.
func (w *world) post(handler http.Handler) op {
	w.Helper()
	front := httptest.NewServer(handler)
	w.Cleanup(front.Close)
	client, authorization := front.Client(), "Bearer "+w.tokens["RS256"]
	return opFunc(func() error {
		req, err := http.NewRequestWithContext(w.Context(), http.MethodPost, front.URL+"/v1/echo", strings.NewReader(echoBody))
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", authorization)
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		defer func() { _ = resp.Body.Close() }()
		if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
			return fmt.Errorf("status %d, %w", resp.StatusCode, err)
		}
		return nil
	})
}

// gatewayAlone is the same without HTTP's transport on either side.
func gatewayAlone() contest {
	return contest{ready: func(w *world) (ours, peer op) {
		return w.direct(w.mux(w.guard("RS256"))), w.direct(w.mux(nil))
	}}
}

func (w *world) direct(handler http.Handler) op {
	authorization := "Bearer " + w.tokens["RS256"]
	return opFunc(func() error {
		r := httptest.NewRequestWithContext(w.Context(), http.MethodPost, "https://orders.example.com/v1/echo", strings.NewReader(echoBody))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", authorization)
		rec := httptest.NewRecorder()
		handler.ServeHTTP(rec, r)
		if rec.Code != http.StatusOK {
			return fmt.Errorf("status %d: %s", rec.Code, rec.Body)
		}
		return nil
	})
}

// connections is a unary call in the same process, beside one over loopback.
func connections() contest {
	return contest{ready: func(w *world) (ours, peer op) {
		authorization := "Bearer " + w.tokens["RS256"]
		near, far := grpc.NewServer(), grpc.NewServer()
		echov1.RegisterEchoServiceServer(near, echo{})
		echov1.RegisterEchoServiceServer(far, echo{})
		listener, err := new(net.ListenConfig).Listen(w.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			w.Fatal(err)
		}
		served := make(chan error, 1)
		go func() { served <- far.Serve(listener) }()
		conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			w.Fatal(err)
		}
		w.Cleanup(func() {
			_ = conn.Close()
			far.Stop()
			<-served
		})
		return w.call(w.inMemory(near), authorization), w.call(echov1.NewEchoServiceClient(conn), authorization)
	}}
}

// blank is where nothing is written.
type blank struct{ header http.Header }

func (b blank) Header() http.Header            { return b.header }
func (blank) Write(p []byte) (int, error)      { return len(p), nil }
func (blank) WriteHeader(int)                  {}
func empty(http.ResponseWriter, *http.Request) {}

// aroundHandler is a handler that does nothing behind Middleware, beside the same handler alone.
func aroundHandler(guard func(w *world) (auth *grpcauth.Interceptor, token string)) contest {
	return contest{ready: func(w *world) (ours, peer op) {
		auth, token := guard(w)
		r := httptest.NewRequestWithContext(context.Background(), http.MethodGet, "https://orders.example.com/upload", http.NoBody)
		for name, value := range map[string]string{
			"Authorization": "Bearer " + token, "Accept": "*/*", "Accept-Encoding": "gzip", "User-Agent": "Go-http-client/1.1",
			"Traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
		} {
			r.Header.Set(name, value)
		}
		call := func(handler http.Handler) op {
			answer := blank{http.Header{}}
			return opFunc(func() error {
				handler.ServeHTTP(answer, r)
				return nil
			})
		}
		return call(gateway.Middleware(auth)(http.HandlerFunc(empty))), call(http.HandlerFunc(empty))
	}}
}

func signed(w *world) (auth *grpcauth.Interceptor, token string) {
	w.Helper()
	return w.guard("RS256"), w.tokens["RS256"]
}

// unsigned is for a token of 32 bytes, where hashing it counts for less.
func unsigned(w *world) (auth *grpcauth.Interceptor, token string) {
	w.Helper()
	b, err := bearer.New(everyToken{}, bearer.Options{})
	if err != nil {
		w.Fatal(err)
	}
	return grpcauth.New(b), "2YotnFZFEjr1zCsicMWpAA2YotnFZFEj"
}

// counting counts what is read of its connections.
type counting struct {
	net.Listener

	read *atomic.Int64
}

func (l counting) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	return countingConn{conn, l.read}, err
}

type countingConn struct {
	net.Conn

	read *atomic.Int64
}

func (c countingConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.read.Add(int64(n))
	return n, err
}

// refusedUpload is how much of 3 MiB is read from somebody without a credential.
func refusedUpload(w *world, _ effort) reading {
	w.Helper()
	var read atomic.Int64
	w.scoped(func(w *world) {
		front := httptest.NewUnstartedServer(gateway.Middleware(w.guard("RS256"))(http.HandlerFunc(empty)))
		front.Listener = counting{front.Listener, &read}
		front.Start()
		defer front.Close()
		req, err := http.NewRequestWithContext(w.Context(), http.MethodPost, front.URL, bytes.NewReader(make([]byte, 3<<20)))
		if err != nil {
			w.Fatal(err)
		}
		resp, err := front.Client().Do(req)
		if err != nil {
			w.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusUnauthorized {
			w.Fatalf("status %d", resp.StatusCode)
		}
	})
	n := float64(read.Load())
	return reading{size(n), "", "", n}
}

func BenchmarkGateway(b *testing.B)      { benchmark(b, throughGateway()) }
func BenchmarkGatewayAlone(b *testing.B) { benchmark(b, gatewayAlone()) }
func BenchmarkMiddleware(b *testing.B)   { benchmark(b, aroundHandler(signed)) }
