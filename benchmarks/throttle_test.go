// SPDX-License-Identifier: Apache-2.0

package benchmarks

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/basic"
	"github.com/grpcauth/grpcauth/backends/bearer"
	passwords "github.com/grpcauth/grpcauth/password"
	"github.com/grpcauth/grpcauth/store"
	"github.com/grpcauth/grpcauth/store/redisstore"
	"github.com/grpcauth/grpcauth/throttle"
)

// plenty is a limit that nobody reaches.
var plenty = throttle.Limit{Attempts: 1_000_000, Window: time.Minute}

func (w *world) limiter(counter store.Counter) *throttle.Limiter {
	w.Helper()
	l, err := throttle.New(throttle.Options{Counter: counter, Account: plenty, Address: plenty, Tokens: plenty})
	if err != nil {
		w.Fatal(err)
	}
	return l
}

// attempts is an attempt at a password that is reserved in memory and given back, beside nothing.
func attempts() contest {
	return contest{ready: func(w *world) (ours, peer op) {
		l, ctx := w.limiter(nil), w.Context()
		return opFunc(func() error {
				done, err := l.Reserve(ctx, userName, "192.0.2.1")
				if err == nil {
					done(throttle.Succeeded)
				}
				return err
			}), opFunc(func() error {
				return nil
			})
	}}
}

func BenchmarkAttempt(b *testing.B) { benchmark(b, attempts()) }

// limitedToken is a remembered token where wrong ones are counted, beside one where they are not.
func limitedToken() contest {
	return contest{ready: func(w *world) (ours, peer op) {
		return w.tokenWith(w.limiter(nil)), w.tokenWith(nil)
	}}
}

func (w *world) tokenWith(l *throttle.Limiter) op {
	w.Helper()
	b, err := bearer.New(everyToken{}, bearer.Options{Limiter: l})
	if err != nil {
		w.Fatal(err)
	}
	return w.holding(b, "authorization", "Bearer "+userName)
}

type everyToken struct{}

func (everyToken) Verify(_ context.Context, token string) (*grpcauth.User, error) {
	return &grpcauth.User{ID: token}, nil
}

// counterTrips counts the round trips to Redis in the way of a call: of good tokens that are looked at for the first time, or of passwords.
func counterTrips(call func(w *world, l *throttle.Limiter) op) func(*world, effort) reading {
	return func(w *world, e effort) reading {
		w.Helper()
		var each float64
		w.scoped(func(w *world) {
			client := redis.NewClient(&redis.Options{Addr: w.started().redis, ContextTimeoutEnabled: true})
			w.Cleanup(func() { _ = client.Close() })
			t := &trips{}
			s, err := redisstore.New(redisstore.Options{Client: client})
			if err != nil {
				w.Fatal(err)
			}
			o := call(w, w.limiter(s))
			if err := o.do(); err != nil { // the first one loads a script
				w.Fatal(err)
			}
			client.AddHook(t)
			if err := repeat(o, e.batch, 1); err != nil {
				w.Fatal(err)
			}
			each = float64(t.n.Load()) / float64(e.batch)
		})
		return reading{number(each), "", "", each}
	}
}

func newTokens(w *world, l *throttle.Limiter) op {
	w.Helper()
	b, err := bearer.New(everyToken{}, bearer.Options{Limiter: l})
	if err != nil {
		w.Fatal(err)
	}
	auth, n := grpcauth.New(b), 0
	ctx, md := w.incoming("")
	return opFunc(func() error {
		n++
		md.Set("authorization", "Bearer token-"+strconv.Itoa(n))
		_, err := auth.Authenticate(ctx, method)
		return err
	})
}

// wrongPasswords stay counted, so that nothing is given back behind the scenes.
func wrongPasswords(w *world, l *throttle.Limiter) op {
	w.Helper()
	b := w.passwords(l)
	auth, n := grpcauth.New(b), 0
	ctx, md := w.incoming("")
	return opFunc(func() error {
		n++
		md.Set("authorization", basicOf("user-"+strconv.Itoa(n), "wrong"))
		if _, err := auth.Authenticate(ctx, method); grpcauth.CodeOf(err) != grpcauth.CodeInvalid {
			return fmt.Errorf("got %w, want a refusal", err)
		}
		return nil
	})
}

// passwords are of one user, checked anew each time by a hash that costs little beside what is measured.
func (w *world) passwords(l *throttle.Limiter) *basic.Backend {
	w.Helper()
	h, err := passwords.New(passwords.Options{Memory: 64, Time: 1})
	if err != nil {
		w.Fatal(err)
	}
	hash, err := h.Hash(w.Context(), userPassword)
	if err != nil {
		w.Fatal(err)
	}
	b, err := basic.New(basic.Options{Hasher: h, MaxRemembered: -1, Limiter: l, Lookup: func(_ context.Context, name string) (basic.Account, error) {
		if name != userName {
			return basic.Account{}, nil
		}
		return basic.Account{User: &grpcauth.User{ID: name}, PasswordHash: hash}, nil
	}})
	if err != nil {
		w.Fatal(err)
	}
	return b
}

// guessers is what many failing names from a tenth as many addresses do to the limiter.
func guessers(figure func(before, after, bytes float64) reading) func(*world, effort) reading {
	return func(w *world, e effort) reading {
		w.Helper()
		var before, after, bytes []float64
		for range e.setups {
			w.scoped(func(w *world) {
				names := 10 * e.tokens
				l, err := throttle.New(throttle.Options{Address: throttle.Limit{Attempts: 100, Window: time.Hour}, Account: throttle.Limit{Attempts: 5, Window: time.Hour}})
				if err != nil {
					w.Fatal(err)
				}
				auth := grpcauth.New(w.passwords(l))
				ctx := peer.NewContext(w.Context(), &peer.Peer{Addr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}})
				ctx = metadata.NewIncomingContext(ctx, metadata.Pairs("authorization", basicOf(userName, userPassword)))
				good := opFunc(func() error {
					_, err := auth.Authenticate(ctx, method)
					return err
				})
				p99 := func() float64 {
					quiet, stop := context.WithTimeout(w.Context(), 200*time.Millisecond)
					defer stop()
					return w.slowest(quiet, good)
				}
				empty := heap()
				before = append(before, p99())
				victim := 0
				for i := range names {
					done, err := l.Reserve(w.Context(), "name-"+strconv.Itoa(i), "10.0."+strconv.Itoa(i%(names/10)/256)+"."+strconv.Itoa(i%(names/10)%256))
					if err == nil {
						done(throttle.Failed)
					}
					if i%(names/10) == 0 { // one of the names is tried all along
						if done, err := l.Reserve(w.Context(), "victim", "192.0.2."+strconv.Itoa(i/(names/10))); err == nil {
							done(throttle.Failed)
							victim++
						}
					}
				}
				if victim != 5 {
					w.Errorf("%d guesses at one name were taken, want 5", victim)
				}
				after = append(after, p99())
				bytes = append(bytes, heap()-empty)
				if err := good.do(); err != nil {
					w.Fatal(errors.Join(errors.New("the good caller"), err))
				}
			})
		}
		return figure(median(before), median(after), median(bytes))
	}
}

func guessersMemory(_, _, bytes float64) reading { return reading{size(bytes), "", "", bytes} }

func guessersSlow(before, after, _ float64) reading {
	return reading{duration(after), duration(before), ratio(after / before), after / before}
}

func basicOf(name, pass string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(name+":"+pass))
}
