// SPDX-License-Identifier: Apache-2.0

package apikey_test

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/grpcauth/grpcauth/backends/apikey"
	"github.com/grpcauth/grpcauth/grpcauthtest"
	"github.com/grpcauth/grpcauth/throttle"
)

const throttled = "TOO_MANY_ATTEMPTS"

// limited is a world whose limiter takes three failures a minute.
func limited(t *testing.T, limits throttle.Options, opts apikey.Options) *world {
	t.Helper()
	limits.Account = throttle.Limit{Attempts: 3, Window: time.Minute}
	clock := grpcauthtest.NewClock(start)
	limits.Now = clock.Now
	limiter, err := throttle.New(limits)
	if err != nil {
		t.Fatal(err)
	}
	opts.Limiter = limiter
	w := newWorld(t, opts)
	w.limits = clock
	return w
}

// from is one call from an address.
func (w *world) from(ctx context.Context, address, text string) string {
	ctx = peer.NewContext(ctx, &peer.Peer{Addr: &net.TCPAddr{IP: net.ParseIP(address), Port: 1}})
	ctx = metadata.NewIncomingContext(ctx, metadata.Pairs("x-api-key", text))
	return w.look(ctx, text)
}

// guess is the key with another secret, and the checksum that belongs to it.
func guess(text string) string {
	end := len(text) - len("_checks") - 1
	other := "A"
	if text[end] == 'A' {
		other = "B"
	}
	return mended(text[:end] + other + text[end+1:])
}

func TestGuessesAtAKeyAreRefusedBeforeTheStoreIsAsked(t *testing.T) {
	t.Parallel()
	w := limited(t, throttle.Options{}, apikey.Options{})
	text, _ := w.create(t, apikey.Key{})
	bad := guess(text)
	for range 3 {
		if got := w.from(t.Context(), "192.0.2.1", bad); got != "CREDENTIALS_INVALID" {
			t.Fatalf("got %s", got)
		}
	}
	before := w.store.asked.Load()
	if got := w.from(t.Context(), "198.51.100.7", bad); got != throttled || w.store.asked.Load() != before {
		t.Errorf("got %s, and the store was asked %d times", got, w.store.asked.Load()-before)
	}
	w.limits.Advance(2 * time.Minute)
	if got := w.from(t.Context(), "192.0.2.1", bad); got != "CREDENTIALS_INVALID" {
		t.Errorf("two minutes later: got %s", got)
	}
}

func TestKeyThatWasRightIsNoAttempt(t *testing.T) {
	t.Parallel()
	w := limited(t, throttle.Options{TrustFor: -1}, apikey.Options{})
	text, id := w.create(t, apikey.Key{})
	w.expect(t, text, "alice")
	for range 3 {
		w.expect(t, guess(text), "CREDENTIALS_INVALID")
	}
	w.expect(t, guess(text), throttled)
	for range 100 {
		w.expect(t, text, "alice")
	}
	if err := w.Revoke(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	w.expect(t, text, "CREDENTIALS_INVALID")
}

func TestManyCallsAtOnceWithOneKeyAreNotThrottled(t *testing.T) {
	t.Parallel()
	w := limited(t, throttle.Options{Concurrent: 1}, apikey.Options{})
	text, _ := w.create(t, apikey.Key{})
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() { w.expect(t, text, "alice") })
	}
	wg.Wait()
}

func TestTyposCostNoAttempt(t *testing.T) {
	t.Parallel()
	w := limited(t, throttle.Options{Address: throttle.Limit{Attempts: 1, Window: time.Hour}}, apikey.Options{})
	text, _ := w.create(t, apikey.Key{})
	for range 10 {
		w.expect(t, text[:len(text)-1]+"!", "CREDENTIALS_MALFORMED")
	}
	w.expect(t, text, "alice")
}

// down is a counter that cannot be asked.
type down struct{}

func (down) Add(context.Context, string, int64, time.Duration) (int64, error) {
	return 0, errors.New("the counter is down")
}

func TestLimiterThatCannotCountDecidesNothing(t *testing.T) {
	t.Parallel()
	w := limited(t, throttle.Options{Counter: down{}}, apikey.Options{})
	text, _ := w.create(t, apikey.Key{})
	w.expect(t, text, "AUTHENTICATION_UNAVAILABLE")
	local := limited(t, throttle.Options{Counter: down{}, Outage: throttle.CountLocally}, apikey.Options{})
	text, _ = local.create(t, apikey.Key{})
	local.expect(t, text, "alice")
}

func TestThrottlingLeavesWhatIsRemembered(t *testing.T) {
	t.Parallel()
	w := limited(t, throttle.Options{TrustFor: -1}, apikey.Options{RememberFor: time.Hour})
	text, _ := w.create(t, apikey.Key{})
	w.asks(t, text, "alice", 1)
	for range 4 {
		w.look(t.Context(), guess(text))
	}
	w.asks(t, text, "alice", 0)
}

func TestCallerWhoJoinsAnAttemptSeesWhatWasRevokedMeanwhile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := limited(t, throttle.Options{Concurrent: 1}, apikey.Options{})
		text, id := w.create(t, apikey.Key{})
		var joined string
		var wg sync.WaitGroup
		w.store.Store = &slow{w.store.Store, func() {
			wg.Go(func() { joined = w.look(t.Context(), text) })
			synctest.Wait() // until it waits for this call
			if err := w.Revoke(t.Context(), id); err != nil {
				t.Error(err)
			}
		}}
		w.expect(t, text, "alice") // it asked before
		wg.Wait()
		if joined != "CREDENTIALS_INVALID" {
			t.Errorf("got %s for a key that had been revoked", joined)
		}
	})
}

func TestOutageOfTheStoreIsNoFailedAttempt(t *testing.T) {
	t.Parallel()
	w := limited(t, throttle.Options{TrustFor: -1}, apikey.Options{})
	text, _ := w.create(t, apikey.Key{})
	w.store.down.Store(true)
	for range 10 {
		w.expect(t, text, "AUTHENTICATION_UNAVAILABLE")
	}
	w.store.down.Store(false)
	w.expect(t, text, "alice")
}
