// SPDX-License-Identifier: Apache-2.0

package basic_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/basic"
	"github.com/grpcauth/grpcauth/grpcauthtest"
	"github.com/grpcauth/grpcauth/password"
	"github.com/grpcauth/grpcauth/throttle"
)

// door is a server whose password attempts are limited.
type door struct {
	*users

	auth   *grpcauth.Interceptor
	hasher *password.Hasher
	clock  *grpcauthtest.Clock
}

func newDoor(t *testing.T, limits throttle.Options, opts basic.Options, options ...grpcauth.Option) *door {
	t.Helper()
	d := &door{hasher: newHasher(t), clock: grpcauthtest.NewClock(start)}
	limits.Now = d.clock.Now
	limiter, err := throttle.New(limits)
	if err != nil {
		t.Fatal(err)
	}
	d.users = newUsers(t, d.hasher, "alice", "bob")
	opts.Lookup, opts.Hasher, opts.Limiter, opts.Now = d.byName, d.hasher, limiter, d.clock.Now
	d.auth = grpcauth.New(newBackend(t, opts), append(options, grpcauth.WithClock(d.clock.Now), grpcauth.InsecureAllowPlaintext())...)
	return d
}

// try is one call from an address.
func (d *door) try(ctx context.Context, address, namePassword string) error {
	ctx = peer.NewContext(incoming(ctx, namePassword), &peer.Peer{Addr: &net.TCPAddr{IP: net.ParseIP(address), Port: 1}})
	_, err := d.auth.Authenticate(ctx, method)
	return err
}

func (d *door) expect(t *testing.T, address, namePassword, want string) {
	t.Helper()
	err := d.try(t.Context(), address, namePassword)
	got := "OK"
	if err != nil {
		got = grpcauth.CodeOf(err).String()
	}
	if got != want {
		t.Errorf("%s from %s: got %s (%v), want %s", namePassword, address, got, err, want)
	}
}

// retryDelay is what the answer tells the caller to wait for.
func retryDelay(err error) time.Duration {
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.RetryInfo); ok {
			return info.GetRetryDelay().AsDuration()
		}
	}
	return 0
}

const (
	here      = "192.0.2.1"
	elsewhere = "198.51.100.7"
	throttled = "TOO_MANY_ATTEMPTS"
	wrong     = "CREDENTIALS_INVALID"
)

func TestGuessesAreRefusedBeforeAHashIsComputed(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"alice", "nobody"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDoor(t, throttle.Options{}, basic.Options{})
			for range 5 {
				d.expect(t, here, name+":guess", wrong)
			}
			var delay time.Duration
			computed(t, d.hasher, 0, func() {
				d.expect(t, here, name+":guess", throttled)
				d.expect(t, elsewhere, name+":guess", throttled)
				d.expect(t, elsewhere, name+":alice!", throttled)
				delay = retryDelay(d.try(t.Context(), elsewhere, name+":guess"))
			})
			if delay <= 0 || delay > 2*time.Minute {
				t.Fatalf("told to wait for %v", delay)
			}
			d.clock.Advance(delay)
			want := map[string]string{"alice": "OK", "nobody": wrong}[name]
			d.expect(t, elsewhere, name+":alice!", want)
		})
	}
}

func TestThrottledAnswersAreAlike(t *testing.T) {
	t.Parallel()
	var want string
	for _, name := range []string{"alice", "nobody"} {
		d := newDoor(t, throttle.Options{}, basic.Options{})
		for range 5 {
			d.expect(t, here, name+":guess", wrong)
		}
		got := status.Convert(d.try(t.Context(), here, name+":guess")).Proto().String()
		if want == "" {
			want = got
		}
		if got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
}

func TestManyNamesFromOneAddressAreThrottled(t *testing.T) {
	t.Parallel()
	d := newDoor(t, throttle.Options{}, basic.Options{})
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		d.expect(t, here, name+":guess", wrong)
	}
	d.expect(t, here, "alice:alice!", throttled)
	d.expect(t, elsewhere, "alice:alice!", "OK")
}

func TestNamesAreOneAccountAsCanonicalMakesThem(t *testing.T) {
	t.Parallel()
	d := newDoor(t, throttle.Options{Address: throttle.Limit{Attempts: 100}}, basic.Options{Canonical: func(name string) (string, error) {
		return string([]byte(name)[:5]), nil
	}})
	for _, suffix := range []string{"", "1", "2", "3", "4"} {
		d.expect(t, here, "alice"+suffix+":guess", wrong)
	}
	d.expect(t, here, "alice5:guess", throttled)
}

func TestRightPasswordThatIsRememberedIsNoAttempt(t *testing.T) {
	t.Parallel()
	d := newDoor(t, throttle.Options{TrustFor: -1}, basic.Options{})
	d.expect(t, here, "alice:alice!", "OK")
	for range 5 {
		d.expect(t, elsewhere, "alice:guess", wrong)
	}
	d.expect(t, elsewhere, "alice:guess", throttled)
	d.expect(t, here, "alice:alice!", "OK")
	for range 100 {
		d.expect(t, here, "alice:alice!", "OK")
	}
}

func TestRightPasswordIsGivenBack(t *testing.T) {
	t.Parallel()
	d := newDoor(t, throttle.Options{TrustFor: -1}, basic.Options{MaxRemembered: -1})
	for range 50 {
		d.expect(t, here, "alice:alice!", "OK")
	}
}

func TestOwnerIsLetInWhileOthersGuess(t *testing.T) {
	t.Parallel()
	d := newDoor(t, throttle.Options{}, basic.Options{MaxRemembered: -1})
	d.expect(t, here, "alice:alice!", "OK")
	for range 5 {
		d.expect(t, elsewhere, "alice:guess", wrong)
	}
	d.expect(t, elsewhere, "alice:alice!", throttled)
	d.expect(t, here, "alice:alice!", "OK")
}

func TestConcurrentCallersWithOnePasswordMakeOneAttempt(t *testing.T) {
	t.Parallel()
	d := newDoor(t, throttle.Options{Concurrent: 1, Account: throttle.Limit{Attempts: 1, Window: time.Minute}, Address: throttle.Limit{Attempts: 1, Window: time.Minute}}, basic.Options{})
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() { d.expect(t, here, "alice:alice!", "OK") })
	}
	wg.Wait()
}

func TestOutageOfAccountsIsNoFailedAttempt(t *testing.T) {
	t.Parallel()
	d := newDoor(t, throttle.Options{}, basic.Options{})
	d.users.mu.Lock()
	d.users.err = errors.New("down")
	d.users.mu.Unlock()
	for range 10 {
		d.expect(t, here, "alice:alice!", "AUTHENTICATION_UNAVAILABLE")
	}
	d.users.mu.Lock()
	d.users.err = nil
	d.users.mu.Unlock()
	d.expect(t, here, "alice:alice!", "OK")
}

// broken is a counter that cannot be asked.
type broken struct{}

func (broken) Add(context.Context, string, int64, time.Duration) (int64, error) {
	return 0, errors.New("the store is down")
}

func TestLimiterThatCannotCountDecidesNothing(t *testing.T) {
	t.Parallel()
	d := newDoor(t, throttle.Options{Counter: broken{}}, basic.Options{})
	computed(t, d.hasher, 0, func() { d.expect(t, here, "alice:alice!", "AUTHENTICATION_UNAVAILABLE") })
	local := newDoor(t, throttle.Options{Counter: broken{}, Outage: throttle.CountLocally}, basic.Options{})
	for range 5 {
		local.expect(t, here, "alice:guess", wrong)
	}
	local.expect(t, here, "alice:guess", throttled)
}

func TestRecheckIsNoAttempt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limiter, err := throttle.New(throttle.Options{TrustFor: -1})
		if err != nil {
			t.Fatal(err)
		}
		h := newHasher(t)
		b := newBackend(t, basic.Options{Lookup: newUsers(t, h, "alice").byName, Hasher: h, Limiter: limiter, MaxRemembered: -1})
		auth := grpcauth.New(b, grpcauth.WithStreamRecheck(time.Second))
		conn := grpcauthtest.Serve(t, auth, func(s grpcauth.Server) { healthpb.RegisterHealthServer(s, health.NewServer()) })
		ctx, cancel := context.WithTimeout(grpcauthtest.WithBasic(t.Context(), "alice", "alice!"), 10*time.Second)
		defer cancel()
		stream, err := healthpb.NewHealthClient(conn).Watch(ctx, &healthpb.HealthCheckRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); err != nil {
			t.Fatal(err)
		}
		for range 5 {
			expect(t, b, "alice:guess", wrong)
		}
		expect(t, b, "alice:alice!", throttled)
		if _, err := stream.Recv(); status.Code(err) != codes.DeadlineExceeded {
			t.Errorf("the stream ended with %v, want the caller's deadline", err)
		}
	})
}

func TestPasswordThatWasNotComparedIsNoAttempt(t *testing.T) {
	t.Parallel()
	h, err := password.New(password.Options{Memory: 64, Time: 1, MaxMemory: 64, MaxWait: time.Nanosecond})
	if err != nil {
		t.Fatal(err)
	}
	u := newUsers(t, h, "alice")
	var b *basic.Backend
	var answers []string
	_ = whileBusy(t, h, func() error {
		limiter, err := throttle.New(throttle.Options{TrustFor: -1})
		if err != nil {
			return err
		}
		b = newBackend(t, basic.Options{Lookup: u.byName, Hasher: h, Limiter: limiter})
		answers = nil
		for range 6 {
			answers = append(answers, look(t.Context(), b, credential("alice:guess")))
		}
		return nil
	})
	if answers = slices.Compact(answers); !slices.Equal(answers, []string{throttled}) { // there is no memory
		t.Fatalf("got %q", answers)
	}
	expect(t, b, "alice:guess", wrong)
}
