// SPDX-License-Identifier: Apache-2.0

package bearer_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/bearer"
	"github.com/grpcauth/grpcauth/grpcauthtest"
	"github.com/grpcauth/grpcauth/throttle"
)

// door is a server whose wrong tokens are limited.
type door struct {
	auth  *grpcauth.Interceptor
	clock *grpcauthtest.Clock
}

func newDoor(t *testing.T, v bearer.Verifier, opts bearer.Options) *door {
	t.Helper()
	d := &door{clock: grpcauthtest.NewClock(start)}
	limiter, err := throttle.New(throttle.Options{Tokens: throttle.Limit{Attempts: 3, Window: time.Minute}, Now: d.clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	opts.Limiter, opts.Now = limiter, d.clock.Now
	d.auth = grpcauth.New(newBackend(t, v, opts), grpcauth.WithClock(d.clock.Now), grpcauth.InsecureAllowPlaintext())
	return d
}

func (d *door) try(ctx context.Context, address, token string) error {
	ctx = peer.NewContext(ctx, &peer.Peer{Addr: &net.TCPAddr{IP: net.ParseIP(address), Port: 1}})
	_, err := d.auth.Authenticate(metadata.NewIncomingContext(ctx, metadata.Pairs("authorization", "Bearer "+token)), method)
	return err
}

func (d *door) expect(t *testing.T, address, token, want string) {
	t.Helper()
	err := d.try(t.Context(), address, token)
	got := "OK"
	if err != nil {
		got = grpcauth.CodeOf(err).String()
	}
	if got != want {
		t.Errorf("%s from %s: got %s (%v), want %s", token, address, got, err, want)
	}
}

const (
	here      = "192.0.2.1"
	elsewhere = "198.51.100.7"
)

func TestAddressOfManyWrongTokensIsThrottled(t *testing.T) {
	t.Parallel()
	j := only("good", "fresh")
	d := newDoor(t, j, bearer.Options{})
	d.expect(t, here, "good", "OK")
	for i := range 3 {
		d.expect(t, here, fmt.Sprintf("bad-%d", i), refused)
	}
	asked := j.asked()
	err := d.try(t.Context(), here, "bad-4")
	if grpcauth.CodeOf(err).String() != throttled {
		t.Fatalf("got %v", err)
	}
	d.expect(t, here, "fresh", throttled)
	expectAsked(t, j, asked)
	d.expect(t, here, "good", "OK")
	d.expect(t, elsewhere, "fresh", "OK")
	var delay time.Duration
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.RetryInfo); ok {
			delay = info.GetRetryDelay().AsDuration()
		}
	}
	if delay <= 0 || delay > 2*time.Minute {
		t.Fatalf("told to wait for %v", delay)
	}
	d.clock.Advance(delay)
	d.expect(t, here, "bad-5", refused)
}

func TestWrongTokensCountThoughTheyAreRemembered(t *testing.T) {
	t.Parallel()
	d := newDoor(t, only(), bearer.Options{})
	for range 3 {
		d.expect(t, here, "bad", refused)
	}
	d.expect(t, here, "bad", throttled)
}

func TestMalformedTokensCount(t *testing.T) {
	t.Parallel()
	d := newDoor(t, only(), bearer.Options{})
	for range 3 {
		d.expect(t, here, "b!d", malformed)
	}
	d.expect(t, here, "b!d", throttled)
}

func TestOnlyWrongTokensCount(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{
		"expired": grpcauth.Errorf(grpcauth.CodeExpired, "expired"), "revoked": grpcauth.Errorf(grpcauth.CodeRevoked, "revoked"),
		"outage": errors.New("down"), "forbidden": grpcauth.Errorf(grpcauth.CodeForbidden, "no"),
	} {
		d := newDoor(t, &judge{verify: func(context.Context, string) (*grpcauth.User, error) { return nil, err }}, bearer.Options{})
		for range 10 {
			d.expect(t, here, name, grpcauth.CodeOf(err).String())
		}
	}
}

func TestGoodTokensDoNotEndTheThrottling(t *testing.T) {
	t.Parallel()
	d := newDoor(t, only("good", "other"), bearer.Options{})
	for i := range 2 {
		d.expect(t, here, fmt.Sprintf("bad-%d", i), refused)
	}
	d.expect(t, here, "good", "OK")
	d.expect(t, here, "bad-2", refused)
	d.expect(t, here, "other", throttled)
}
