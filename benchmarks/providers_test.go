// SPDX-License-Identifier: Apache-2.0

package benchmarks

import (
	"context"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/jwt"
	"github.com/grpcauth/grpcauth/jwks"
)

// publisher is the issuer's key set on loopback.
type publisher struct {
	*httptest.Server

	fetches atomic.Int64
	keys    atomic.Pointer[[]byte]
}

func (w *world) publish() *publisher {
	w.Helper()
	p := &publisher{}
	p.refresh(w)
	p.Server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		p.fetches.Add(1)
		_, _ = rw.Write(*p.keys.Load())
	}))
	w.Cleanup(p.Close)
	return p
}

// refresh publishes the keys that the issuer has now.
func (p *publisher) refresh(w *world) {
	document := w.issuer.JWKS()
	p.keys.Store(&document)
}

// remoteOptions accept the issuer's tokens by keys that are fetched.
func (w *world) remoteOptions(p *publisher, alg string, keys jwks.Options) jwt.Options {
	w.Helper()
	set, err := jwks.Remote(p.URL, keys)
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { _ = set.Close() })
	return jwt.Options{Issuers: []jwt.Issuer{{URL: issuerURL, Audiences: []string{audience}, Algorithms: []string{alg}, Keys: set}}}
}

// outage is our interceptor alone with a remembered token whose issuer's keys are overdue and cannot be fetched, beside the same with fresh keys.
func outage() contest {
	return contest{ready: func(w *world) (ours, peer op) {
		authorization := "Bearer " + w.tokens["ES256"]
		with := func(keys jwks.Options) (op, *publisher) {
			p := w.publish()
			o := w.alone(grpcauth.New(w.backend(w.remoteOptions(p, "ES256", keys))).Unary(), authorization)
			if err := o.do(); err != nil {
				w.Fatal(err)
			}
			return o, p
		}
		ours, gone := with(jwks.Options{MinAge: time.Nanosecond, MaxAge: time.Nanosecond})
		gone.Close()
		peer, _ = with(jwks.Options{})
		return ours, peer
	}}
}

// issuers is our interceptor alone with remembered tokens of so many issuers in turn, beside as many of one issuer.
func issuers(n int) contest {
	return contest{ready: func(w *world) (ours, peer op) {
		p := w.publish()
		var many, one jwt.Options
		var ofMany, ofOne []string
		for k := range n {
			each := w.remoteOptions(p, "ES256", jwks.Options{}).Issuers[0]
			each.URL = fmt.Sprintf("%s/%d", issuerURL, k)
			many.Issuers = append(many.Issuers, each)
			ofMany = append(ofMany, "Bearer "+w.issuer.Token("ES256", userName, map[string]any{"iss": each.URL, "exp": time.Now().Add(time.Hour).Unix()}))
			ofOne = append(ofOne, "Bearer "+w.issuer.Token("ES256", userName, map[string]any{"iss": issuerURL + "/0", "jti": fmt.Sprint(k), "exp": time.Now().Add(time.Hour).Unix()}))
		}
		one.Issuers = many.Issuers[:1]
		return w.turns(many, ofMany), w.turns(one, ofOne)
	}}
}

// turns shows the interceptor one token after the other.
func (w *world) turns(opts jwt.Options, authorizations []string) op {
	w.Helper()
	r := &round{interceptor: grpcauth.New(w.backend(opts)).Unary(), authorizations: authorizations}
	ctx, md := w.incoming("")
	r.ctx, r.value = ctx, md["authorization"]
	if err := repeat(r, len(authorizations), 1); err != nil {
		w.Fatal(err)
	}
	return r
}

// flood is what became of good and bad callers while tokens with made-up key IDs came in.
type flood struct {
	interval   time.Duration // between two fetches
	turn       time.Duration // of calm, and of the flood
	lasted     time.Duration // from the first bad call to the last, with calm between
	calm, busy float64       // good calls in a second, without and with the flood
	slowest    time.Duration // bad call
	rotation   time.Duration // from the publication of a new key to the first token of it that was accepted, the longest of several
	fetches    int64
	bad        atomic.Int64 // calls that were refused as they should be
	others     atomic.Int64 // calls that were not
	refused    int64        // good calls
}

const (
	flooders  = 64
	floodRate = 5_000 // bad tokens in a second
)

// flooded measures a flood once for all figures about it.
func flooded(of func(*world, *flood) reading) func(*world, effort) reading {
	return func(w *world, e effort) reading {
		w.Helper()
		w.floodOnce.Do(func() { w.flood = measureFlood(w, e) })
		return of(w, w.flood)
	}
}

func measureFlood(w *world, e effort) *flood {
	w.Helper()
	f := &flood{interval: time.Second, turn: 2 * time.Second}
	if e.slice == 0 {
		f.interval, f.turn = 100*time.Millisecond, 50*time.Millisecond
	}
	w.scoped(func(w *world) {
		p := w.publish()
		interceptor := grpcauth.New(w.backend(w.remoteOptions(p, "ES256", jwks.Options{MinInterval: f.interval}))).Unary()
		good := w.shower(interceptor)
		if err := good("Bearer " + w.tokens["ES256"]); err != nil {
			w.Fatal(err)
		}
		time.Sleep(f.interval) // so that the first bad token may ask for a fetch
		p.fetches.Store(0)
		start := time.Now()
		stop := w.startFlood(f, interceptor)
		// Calm and busy turns, since the machine's pace changes.
		var calm, busy []float64
		for range 5 {
			busy = append(busy, w.pace(f, good))
			time.Sleep(rand.N(f.interval)) //nolint:gosec // some time after the last fetch
			f.rotation = max(f.rotation, w.rotate(f, p, good))
			stop()
			calm = append(calm, w.pace(f, good))
			stop = w.startFlood(f, interceptor)
		}
		stop()
		f.lasted = time.Since(start)
		f.calm, f.busy = median(calm), median(busy)
		f.fetches = p.fetches.Load()
	})
	return f
}

// shower returns a function that makes one call with a value of authorization.
func (w *world) shower(interceptor grpc.UnaryServerInterceptor) func(authorization string) error {
	ctx, md := w.incoming("")
	info := &grpc.UnaryServerInfo{FullMethod: method}
	return func(authorization string) error {
		own := metadata.NewIncomingContext(ctx, metadata.MD{"authorization": {authorization}, ":authority": md[":authority"]})
		_, err := interceptor(own, nil, info, nothing)
		return err
	}
}

// startFlood sends bad tokens at the rate from many goroutines until it is stopped.
func (w *world) startFlood(f *flood, interceptor grpc.UnaryServerInterceptor) (stop func()) {
	_, rest, _ := strings.Cut(w.tokens["ES256"], ".")
	ctx, cancel := context.WithCancel(w.Context())
	var all sync.WaitGroup
	var slowest atomic.Int64
	for k := range flooders {
		all.Go(func() {
			show := w.shower(interceptor)
			ticker := time.NewTicker(time.Second * flooders / floodRate)
			defer ticker.Stop()
			for n := 0; ; n++ {
				select {
				case <-ctx.Done():
					return
				case <-ticker.C:
				}
				header := fmt.Sprintf(`{"alg":"ES256","typ":"JWT","kid":"made-up-%d-%d-%d"}`, k, n, time.Now().UnixNano())
				token := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + rest
				start := time.Now()
				err := show("Bearer " + token)
				took := int64(time.Since(start))
				for was := slowest.Load(); took > was && !slowest.CompareAndSwap(was, took); was = slowest.Load() {
				}
				if err != nil && grpcauth.CodeOf(err) == grpcauth.CodeInvalid {
					f.bad.Add(1)
				} else {
					f.others.Add(1)
				}
			}
		})
	}
	return func() {
		cancel()
		all.Wait()
		f.slowest = max(f.slowest, time.Duration(slowest.Load()))
	}
}

// rotate publishes another key beside those that are known, and tries a token of it until it is accepted.
func (w *world) rotate(f *flood, p *publisher, show func(string) error) time.Duration {
	w.issuer.Rotate("ES256", true)
	authorization := "Bearer " + w.token("ES256", 0)
	p.refresh(w)
	start := time.Now()
	for show(authorization) != nil {
		if time.Since(start) > 20*f.interval {
			w.Fatal("the new key was never found")
		}
		time.Sleep(time.Millisecond)
	}
	return time.Since(start)
}

// pace is how many good calls are made in a second.
func (w *world) pace(f *flood, show func(string) error) float64 {
	authorization := "Bearer " + w.tokens["ES256"]
	start, n := time.Now(), 0
	for time.Since(start) < f.turn {
		for range 100 {
			if show(authorization) != nil {
				f.refused++
			}
			n++
		}
	}
	return float64(n) / time.Since(start).Seconds()
}

// throughput is what a flood leaves of the good calls.
func throughput(_ *world, f *flood) reading {
	return reading{duration(1e9 / f.busy), duration(1e9 / f.calm), ratio(f.busy / f.calm), f.busy / f.calm}
}

func slowestBad(_ *world, f *flood) reading {
	return reading{duration(float64(f.slowest)), "", "", float64(f.slowest)}
}

// fetchesOver is how many more requests the provider got than one in each interval.
func fetchesOver(_ *world, f *flood) reading {
	allowed := int64(f.lasted/f.interval) + 1
	return reading{fmt.Sprintf("%d for %d bad calls", f.fetches, f.bad.Load()), fmt.Sprintf("%d allowed", allowed), "", float64(f.fetches - allowed)}
}

// wrongAnswers counts good calls that were refused and bad ones that were not, or not as they should be.
func wrongAnswers(_ *world, f *flood) reading {
	wrong := f.refused + f.others.Load()
	return reading{fmt.Sprint(wrong), "", "", float64(wrong)}
}

func rotationSeen(_ *world, f *flood) reading {
	return reading{duration(float64(f.rotation)), duration(float64(f.interval)), ratio(float64(f.rotation) / float64(f.interval)), float64(f.rotation) / float64(f.interval)}
}
