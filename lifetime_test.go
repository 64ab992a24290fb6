// SPDX-License-Identifier: Apache-2.0

package grpcauth_test

import (
	"context"
	"errors"
	"io"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/grpcauthtest"
	echov1 "github.com/grpcauth/grpcauth/internal/gen/echo/v1"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// soon is how long the credentials of these tests are valid. The clock passes it only when a test says so.
const soon = 20 * time.Millisecond

// expiring accepts everyone until the clock has moved by soon.
func expiring(*testing.T) (grpcauth.Backend, *grpcauthtest.Clock) {
	clock := grpcauthtest.NewClock(start)
	return grpcauth.BackendFunc(func(context.Context, *grpcauth.Request) (*grpcauth.User, error) {
		return &grpcauth.User{ID: "alice", Expiry: start.Add(soon)}, nil
	}), clock
}

// converse opens a stream and has it judged: its first message was answered.
func converse(t *testing.T, client echov1.EchoServiceClient) grpc.BidiStreamingClient[echov1.ConverseRequest, echov1.ConverseResponse] {
	t.Helper()
	s, err := client.Converse(eventually(t))
	if err != nil {
		t.Fatal(err)
	}
	exchange(t, s)
	return s
}

// exchange has one message answered.
func exchange(t *testing.T, s grpc.BidiStreamingClient[echov1.ConverseRequest, echov1.ConverseResponse]) {
	t.Helper()
	if err := s.Send(&echov1.ConverseRequest{Text: "x"}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Recv(); err != nil {
		t.Fatalf("the stream ended although its credential is good: %v", err)
	}
}

func wantExpired(t *testing.T, err error) {
	t.Helper()
	if status.Code(err) != codes.Unauthenticated || info(err).GetReason() != "CREDENTIALS_EXPIRED" || info(err).GetMetadata()["method"] == "" {
		t.Errorf("got %v %v, want UNAUTHENTICATED, CREDENTIALS_EXPIRED", err, info(err))
	}
}

func TestStreamEndsWithItsCredential(t *testing.T) {
	t.Parallel()
	blocked := map[string]func(*echo, chan<- error){
		"in Recv": func(impl *echo, done chan<- error) {
			impl.converse = func(s grpc.BidiStreamingServer[echov1.ConverseRequest, echov1.ConverseResponse]) error {
				_ = s.Send(&echov1.ConverseResponse{})
				_, err := s.Recv()
				done <- err
				return err
			}
		},
		"in Send, under flow control": func(impl *echo, done chan<- error) {
			impl.converse = func(s grpc.BidiStreamingServer[echov1.ConverseRequest, echov1.ConverseResponse]) error {
				for {
					if err := s.Send(&echov1.ConverseResponse{Text: strings.Repeat("x", 60_000)}); err != nil {
						done <- err
						return err
					}
				}
			}
		},
		"in its own work": func(impl *echo, done chan<- error) {
			impl.converse = func(s grpc.BidiStreamingServer[echov1.ConverseRequest, echov1.ConverseResponse]) error {
				_ = s.Send(&echov1.ConverseResponse{})
				<-s.Context().Done()
				done <- context.Cause(s.Context())
				return nil // even so the caller learns why the stream ended
			}
		},
	}
	for transport, dial := range transports {
		for where, block := range blocked {
			t.Run(transport+", "+where, func(t *testing.T) {
				t.Parallel()
				backend, clock := expiring(t)
				impl, done := &echo{}, make(chan error, 1)
				block(impl, done)
				cc := dial(t, grpcauth.New(backend, grpcauth.WithClock(clock.Now)), impl)
				s, err := echov1.NewEchoServiceClient(cc).Converse(eventually(t))
				if err != nil {
					t.Fatal(err)
				}
				if _, err := s.Recv(); err != nil {
					t.Fatal(err)
				}
				clock.Advance(time.Second)
				unblocked := func() {
					if err := <-done; err == nil {
						t.Error("the handler was not unblocked")
					}
				}
				// Under net/http's flow control the bytes that were handed over leave first, so there the caller must read on.
				readFirst := transport == "http.Handler" && where == "in Send, under flow control"
				if !readFirst {
					unblocked()
				}
				for err == nil {
					_, err = s.Recv()
				}
				wantExpired(t, err)
				if readFirst {
					unblocked()
				}
			})
		}
	}
}

func TestEveryKindOfStreamEndsWithItsCredential(t *testing.T) {
	t.Parallel()
	backend, clock := expiring(t)
	impl := &echo{expand: func(s grpc.ServerStreamingServer[echov1.ExpandResponse]) error {
		_ = s.Send(&echov1.ExpandResponse{})
		<-s.Context().Done()
		return s.Context().Err()
	}}
	for _, mode := range modes {
		client := echov1.NewEchoServiceClient(grpcauthtest.Dial(t, newServer(grpcauth.New(backend, grpcauth.WithClock(clock.Now)), mode, impl), nil))
		server, err := client.Expand(eventually(t), &echov1.ExpandRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := server.Recv(); err != nil {
			t.Fatal(err)
		}
		collect, err := client.Collect(eventually(t))
		if err != nil {
			t.Fatal(err)
		}
		if err := collect.Send(&echov1.CollectRequest{}); err != nil {
			t.Fatal(err)
		}
		for impl.calls.Load() < 2 { // the handlers run, so both streams were let in
			runtime.Gosched()
		}
		impl.calls.Store(0)
		clock.Advance(time.Second)
		_, err = server.Recv()
		wantExpired(t, err)
		wantExpired(t, collect.RecvMsg(&echov1.CollectResponse{}))
		clock.Advance(-time.Second)
	}
}

func TestStreamIsNotEndedBeforeItsTime(t *testing.T) {
	t.Parallel()
	backend, clock := expiring(t)
	var ended atomic.Bool
	auth := grpcauth.New(backend, grpcauth.WithClock(clock.Now), grpcauth.WithObserver(grpcauth.ObserverFunc(func(_ context.Context, e grpcauth.Event) {
		ended.Store(ended.Load() || e.Err != nil)
	})))
	s := converse(t, serve(t, auth, &echo{}))
	clock.Advance(soon - 1)
	for range 1000 { // long after the timer has looked at the clock again
		exchange(t, s)
	}
	if ended.Load() {
		t.Error("the stream ended a nanosecond early")
	}
	clock.Advance(1)
	_, err := s.Recv()
	wantExpired(t, err)
}

func TestRecheckEndsAStreamWhoseCredentialWasRevoked(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err    error
		code   codes.Code
		reason string
	}{
		"revoked":     {grpcauth.Errorf(grpcauth.CodeRevoked, "signed out"), codes.Unauthenticated, "CREDENTIALS_REVOKED"},
		"unavailable": {errors.New("the store is down"), codes.Unavailable, "AUTHENTICATION_UNAVAILABLE"},
		"not there":   {grpcauth.ErrNoCredentials, codes.Unauthenticated, "CREDENTIALS_MISSING"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var verdict atomic.Pointer[error]
				var rechecks atomic.Int64
				backend := grpcauth.BackendFunc(func(_ context.Context, req *grpcauth.Request) (*grpcauth.User, error) {
					req.SetHeader("set-cookie", "renewed") // must have no effect on a recheck
					if req.Recheck() {
						rechecks.Add(1)
					}
					if e := verdict.Load(); e != nil {
						return nil, *e
					}
					return &grpcauth.User{ID: "alice"}, nil
				})
				s := converse(t, serve(t, grpcauth.New(backend, grpcauth.WithStreamRecheck(time.Second)), &echo{}))
				time.Sleep(5 * time.Second)
				exchange(t, s)
				if got := rechecks.Load(); got != 4 && got != 5 {
					t.Errorf("%d rechecks in five seconds, want one a second", got)
				}
				revoked := time.Now()
				verdict.Store(&c.err)
				_, err := s.Recv()
				if status.Code(err) != c.code || info(err).GetReason() != c.reason {
					t.Errorf("got %v, want %v, %s", err, c.code, c.reason)
				}
				if late := time.Since(revoked); late > time.Second {
					t.Errorf("ended %v after the revocation", late)
				}
				header, _ := s.Header()
				if got := header.Get("set-cookie"); len(got) != 1 {
					t.Errorf("got the headers %q, want those of the first judgement alone", got)
				}
			})
		})
	}
}

func TestRecheckPutsOffTheEndOfAProlongedCredential(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var prolong atomic.Bool
		prolong.Store(true)
		end := time.Now().Add(10 * time.Second)
		backend := grpcauth.BackendFunc(func(context.Context, *grpcauth.Request) (*grpcauth.User, error) {
			if prolong.Load() {
				end = time.Now().Add(10 * time.Second)
			}
			return &grpcauth.User{ID: "alice", Expiry: end}, nil
		})
		s := converse(t, serve(t, grpcauth.New(backend, grpcauth.WithStreamRecheck(time.Second)), &echo{}))
		for range 30 {
			time.Sleep(time.Second)
			exchange(t, s)
		}
		prolong.Store(false)
		_, err := s.Recv()
		wantExpired(t, err)
		if late := time.Since(end); late < 0 || late > time.Second {
			t.Errorf("ended %v after its credential", late)
		}
	})
}

// bare is a transport stream that has only what grpc.ServerTransportStream names.
type bare struct{ method string }

func (b *bare) Method() string             { return b.method }
func (*bare) SetHeader(metadata.MD) error  { return nil }
func (*bare) SendHeader(metadata.MD) error { return nil }
func (*bare) SetTrailer(metadata.MD) error { return nil }
func (b *bare) context() context.Context {
	return grpc.NewContextWithServerTransportStream(incoming(nil), b)
}
func (b *bare) stream() *bareStream { return &bareStream{ctx: b.context()} }

type bareStream struct {
	grpc.ServerStream

	ctx context.Context
}

func (s *bareStream) Context() context.Context { return s.ctx }

func TestStreamEndsOnATransportThatCannotWriteAStatusFromOutside(t *testing.T) { //nolint:tparallel // they share a clock
	t.Parallel()
	backend, clock := expiring(t)
	interceptor := grpcauth.New(backend, grpcauth.WithClock(clock.Now)).Stream()
	streamInfo := &grpc.StreamServerInfo{FullMethod: converseMethod}
	run := func(handler grpc.StreamHandler) error {
		return interceptor(nil, (&bare{converseMethod}).stream(), streamInfo, handler)
	}
	t.Run("before the handler that ignores its context", func(t *testing.T) {
		release, gone := make(chan struct{}), make(chan struct{})
		err := run(func(any, grpc.ServerStream) error {
			defer close(gone)
			clock.Advance(time.Second)
			<-release
			return nil
		})
		wantExpired(t, err)
		close(release)
		<-gone
		clock.Advance(-time.Second)
	})
	t.Run("what the handler returns is returned", func(t *testing.T) {
		if err := run(func(any, grpc.ServerStream) error { return io.ErrUnexpectedEOF }); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a panic is carried across", func(t *testing.T) {
		defer func() {
			if v := recover(); v != "in the handler" {
				t.Errorf("recovered %v", v)
			}
		}()
		_ = run(func(any, grpc.ServerStream) error { panic("in the handler") })
	})
}

// TestTransportStreamsWriteStatus guards what the end of streams stands on: an internal type's method that grpc.ServerTransportStream does not name.
func TestTransportStreamsWriteStatus(t *testing.T) {
	t.Parallel()
	for transport, dial := range transports {
		var ok atomic.Bool
		impl := &echo{unary: func(ctx context.Context) error {
			_, has := grpc.ServerTransportStreamFromContext(ctx).(interface{ WriteStatus(*status.Status) error })
			ok.Store(has)
			return nil
		}}
		if _, err := calls["unary"](grpcauthtest.WithBearer(t.Context(), "alice"), dial(t, grpcauth.New(scheme("Bearer")), impl)); err != nil || !ok.Load() {
			t.Errorf("%s: %v, WriteStatus %v: streams now end by the slower way", transport, err, ok.Load())
		}
	}
}

func TestPanicOfAStreamHandlerStaysAPanic(t *testing.T) {
	t.Parallel()
	backend, clock := expiring(t)
	recovered := make(chan any, 1)
	auth := grpcauth.New(backend, grpcauth.WithClock(clock.Now))
	srv := grpc.NewServer(grpc.ChainStreamInterceptor(func(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
		defer func() { recovered <- recover(); err = status.Error(codes.DataLoss, "recovered") }()
		return handler(srv, ss)
	}, auth.Stream()))
	echov1.RegisterEchoServiceServer(srv, &echo{converse: func(grpc.BidiStreamingServer[echov1.ConverseRequest, echov1.ConverseResponse]) error {
		panic("in the handler")
	}})
	s, err := echov1.NewEchoServiceClient(grpcauthtest.Dial(t, srv, nil)).Converse(eventually(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Recv(); status.Code(err) != codes.DataLoss {
		t.Errorf("got %v, want the outer interceptor's answer", err)
	}
	if v := <-recovered; v != "in the handler" {
		t.Errorf("recovered %v", v)
	}
}
