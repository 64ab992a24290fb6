// SPDX-License-Identifier: Apache-2.0

package clientauth_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/grpcauth/grpcauth/clientauth"
	"github.com/grpcauth/grpcauth/grpcauthtest"
	echov1 "github.com/grpcauth/grpcauth/internal/gen/echo/v1"
)

// refusal is what a server with grpcauth answers.
func refusal(code codes.Code, reason string) error {
	st, err := status.New(code, "credentials have expired").WithDetails(&errdetails.ErrorInfo{Reason: reason, Domain: "orders.example.com"})
	if err != nil {
		return err
	}
	return st.Err()
}

// except refuses all tokens but one.
func except(token string) *heard {
	return &heard{answer: func(_ context.Context, md metadata.MD) error {
		if strings.Join(md.Get("authorization"), "") == "Bearer "+token {
			return nil
		}
		return refusal(codes.Unauthenticated, "CREDENTIALS_EXPIRED")
	}}
}

// numbered gives token-1, token-2 and so on, which do not say when they expire.
func numbered() *fetcher {
	return &fetcher{fetch: func(_ context.Context, n int64) (clientauth.Token, error) {
		return clientauth.Token{Value: fmt.Sprint("token-", n)}, nil
	}}
}

func refresh(t *testing.T, h *heard, f *fetcher, opts clientauth.Options) (echov1.EchoServiceClient, *clientauth.Refreshing) {
	t.Helper()
	opts.InsecureAllowLoopback = true
	r := must[*clientauth.Refreshing](t)(clientauth.NewRefreshing(f, opts))
	return dial(t, h, grpc.WithPerRPCCredentials(r), grpc.WithUnaryInterceptor(r.Unary()), grpc.WithStreamInterceptor(r.Stream())), r
}

func TestExpiredTokenIsReplacedAndTheCallMadeOnceMore(t *testing.T) {
	t.Parallel()
	h, f := except("token-2"), numbered()
	client, _ := refresh(t, h, f, clientauth.Options{})
	for range 3 {
		if err := call(t.Context(), client); err != nil {
			t.Errorf("got %v", err)
		}
	}
	if got := strings.Join(h.values("authorization"), ", "); got != "Bearer token-1, Bearer token-2, Bearer token-2, Bearer token-2" {
		t.Errorf("the server heard %s", got)
	}
}

func TestManyRefusedCallsCauseOneFetch(t *testing.T) {
	t.Parallel()
	f := numbered()
	var together sync.WaitGroup
	together.Add(100)
	h := &heard{answer: func(_ context.Context, md metadata.MD) error {
		if strings.Join(md.Get("authorization"), "") == "Bearer token-2" {
			return nil
		}
		together.Done()
		together.Wait() // all of them are refused with the first token
		return refusal(codes.Unauthenticated, "CREDENTIALS_EXPIRED")
	}}
	client, _ := refresh(t, h, f, clientauth.Options{})
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() {
			if err := call(t.Context(), client); err != nil {
				t.Errorf("got %v", err)
			}
		})
	}
	all.Wait()
	if f.asked.Load() != 2 {
		t.Errorf("the source was asked %d times, want twice", f.asked.Load())
	}
}

// A server whose clock is wrong calls every token expired.
func TestServerThatRefusesEveryTokenCausesNoStorm(t *testing.T) {
	t.Parallel()
	clock := grpcauthtest.NewClock(start)
	h, f := except("none"), numbered()
	client, _ := refresh(t, h, f, clientauth.Options{Now: clock.Now})
	for range 20 {
		if err := call(t.Context(), client); status.Code(err) != codes.Unauthenticated {
			t.Errorf("got %v", err)
		}
	}
	if calls := len(h.values("authorization")); f.asked.Load() != 2 || calls != 21 {
		t.Errorf("the source was asked %d times, the server called %d times", f.asked.Load(), calls)
	}
	clock.Advance(10 * time.Second)
	_ = call(t.Context(), client)
	if f.asked.Load() != 3 {
		t.Errorf("after the interval the source was asked %d times, want 3", f.asked.Load())
	}
}

func TestOtherRefusalsAreReturned(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{
		"invalid":          refusal(codes.Unauthenticated, "CREDENTIALS_INVALID"),
		"revoked":          refusal(codes.Unauthenticated, "CREDENTIALS_REVOKED"),
		"without a reason": status.Error(codes.Unauthenticated, "no"),
		"forbidden":        refusal(codes.PermissionDenied, "CREDENTIALS_EXPIRED"),
		"unavailable":      refusal(codes.Unavailable, "CREDENTIALS_EXPIRED"),
	} {
		h, f := &heard{answer: func(context.Context, metadata.MD) error { return err }}, numbered()
		client, _ := refresh(t, h, f, clientauth.Options{})
		if got := call(t.Context(), client); status.Code(got) != status.Code(err) || f.asked.Load() != 1 || len(h.values("authorization")) != 1 {
			t.Errorf("%s: got %v, %d tokens, %d calls", name, got, f.asked.Load(), len(h.values("authorization")))
		}
	}
}

func TestRefusalIsReturnedIfThereIsNoOtherToken(t *testing.T) {
	t.Parallel()
	h, f := except("none"), &fetcher{fetch: func(_ context.Context, n int64) (clientauth.Token, error) {
		if n > 1 {
			return clientauth.Token{}, errors.New("down")
		}
		return clientauth.Token{Value: "token-1"}, nil
	}}
	client, _ := refresh(t, h, f, clientauth.Options{})
	if err := call(t.Context(), client); status.Code(err) != codes.Unauthenticated || len(h.values("authorization")) != 1 {
		t.Errorf("got %v after %d calls", err, len(h.values("authorization")))
	}
}

// A call that was on its way while others fetched another token goes on with that one.
func TestCallThatWasRefusedWithAnOlderTokenFetchesNone(t *testing.T) {
	t.Parallel()
	f := numbered()
	held, release := make(chan struct{}), make(chan struct{})
	var first atomic.Bool
	h := &heard{answer: func(_ context.Context, md metadata.MD) error {
		if strings.Join(md.Get("authorization"), "") == "Bearer token-2" {
			return nil
		}
		if first.CompareAndSwap(false, true) {
			close(held)
			<-release
		}
		return refusal(codes.Unauthenticated, "CREDENTIALS_EXPIRED")
	}}
	client, _ := refresh(t, h, f, clientauth.Options{MinInterval: time.Nanosecond})
	done := make(chan error, 1)
	go func() { done <- call(t.Context(), client) }()
	<-held
	if err := call(t.Context(), client); err != nil {
		t.Error(err)
	}
	close(release)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if f.asked.Load() != 2 {
		t.Errorf("the source was asked %d times, want twice", f.asked.Load())
	}
}

func TestStreamThatWasRefusedHasTheNextCallFetch(t *testing.T) {
	t.Parallel()
	h, f := except("token-2"), numbered()
	client, _ := refresh(t, h, f, clientauth.Options{})
	stream, err := client.Converse(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); status.Code(err) != codes.Unauthenticated {
		t.Errorf("got %v", err)
	}
	if f.asked.Load() != 1 || len(h.values("authorization")) != 1 {
		t.Errorf("the stream was opened %d times", len(h.values("authorization")))
	}
	if err := call(t.Context(), client); err != nil || f.asked.Load() != 2 {
		t.Errorf("got %v, %d tokens", err, f.asked.Load())
	}
}
