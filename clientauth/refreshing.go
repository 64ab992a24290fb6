// SPDX-License-Identifier: Apache-2.0

package clientauth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// longestBackoff is the time between two attempts to fetch a token from a source that keeps failing.
const longestBackoff = 30 * time.Second

// Refreshing remembers the token of a source until shortly before it expires. It is a [Source], implements [credentials.PerRPCCredentials], and is safe
// for concurrent use. Make it with [NewRefreshing].
//
// Its interceptors, [Refreshing.Unary] and [Refreshing.Stream], notice that a server calls the token expired, which happens when clocks differ or when the source does not
// say how long a token lives.
type Refreshing struct {
	guard
	src  Source
	opts Options

	flight flight

	mu         sync.Mutex
	token      Token     // guarded by mu, like all below
	generation uint64    // of the token; zero: there is none yet
	refresh    time.Time // when to fetch the next one; zero: when somebody says so
	stale      bool      // a server called the token expired
	forced     time.Time // when the last token was fetched for that reason
	failures   int       // in a row
	err        error     // of the last attempt
	next       time.Time // after a failure: when to try again
}

// NewRefreshing returns credentials that fetch tokens from the source: when a call first needs one, ahead of the end of its life, and when a server called it expired.
//
// There is one fetch at a time, apart from the calls, so that one that gives up fails no other; calls wait for it only if there is no token to go by. A source that
// fails is asked again after a second, then after two, and so on up to 30, while the token that is there is used until it expires.
func NewRefreshing(src Source, opts Options) (*Refreshing, error) {
	if src == nil {
		return nil, errors.New("clientauth: the source is nil")
	}
	opts, err := opts.ready()
	if err != nil {
		return nil, err
	}
	return &Refreshing{guard: newGuard(&opts), src: src, opts: opts}, nil
}

// Format keeps the token out of texts.
func (*Refreshing) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "clientauth.Refreshing") }

// MarshalText gives the same as Format, for JSON and its like.
func (*Refreshing) MarshalText() ([]byte, error) { return []byte("clientauth.Refreshing"), nil }

// GetRequestMetadata returns the authorization header. It is called by gRPC, and refuses where the connection does not keep a token private.
func (r *Refreshing) GetRequestMetadata(ctx context.Context, uri ...string) (map[string]string, error) {
	if err := r.check(ctx, uri); err != nil {
		return nil, err
	}
	token, err := tokenOf(ctx, r)
	if err != nil {
		return nil, err
	}
	return map[string]string{authorization: "Bearer " + token.Value}, nil
}

// Token returns a token that has not expired, as far as is known.
func (r *Refreshing) Token(ctx context.Context) (Token, error) {
	token, generation, err := r.current(ctx)
	if used, ok := ctx.Value(usedKey{}).(*used); ok && err == nil {
		used.generation.Store(generation)
	}
	return token, err
}

// current returns the token and its generation. It waits for a fetch only if there is no token to go by.
func (r *Refreshing) current(ctx context.Context) (Token, uint64, error) {
	now := r.opts.Now()
	r.mu.Lock()
	token, generation := r.token, r.generation
	good := generation > 0 && !r.stale && (token.Expiry.IsZero() || now.Before(token.Expiry))
	due := !good || !r.refresh.IsZero() && !now.Before(r.refresh)
	err := r.err
	if wait := r.next.Sub(now); wait > 0 && wait <= longestBackoff {
		due = false // it failed a moment ago
	}
	r.mu.Unlock()
	if good && !due {
		return token, generation, nil
	}
	if !due {
		return Token{}, 0, err
	}
	run := r.fetch(ctx)
	if good {
		return token, generation, nil
	}
	if _, err := run.wait(ctx); err != nil {
		return Token{}, 0, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.token, r.generation, nil
}

// fetch starts a fetch, or returns the one under way.
func (r *Refreshing) fetch(ctx context.Context) *run {
	return r.flight.start(func() (token Token, err error) {
		err = errNotReturned
		defer func() { r.finish(token, err) }()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.opts.Timeout)
		defer cancel()
		if token, err = r.src.Token(ctx); err == nil {
			err = checkToken(token.Value)
		}
		if err == nil && !token.Expiry.IsZero() && !r.opts.Now().Before(token.Expiry) {
			err = errors.New("the source gave a token that has expired")
		}
		return token, err
	})
}

func (r *Refreshing) finish(token Token, err error) {
	now := r.opts.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err = err; err != nil {
		r.next = now.Add(min(time.Second<<min(r.failures, 10), longestBackoff))
		r.failures++
		return
	}
	r.token, r.stale, r.failures, r.refresh, r.next = token, false, 0, time.Time{}, time.Time{}
	r.generation++
	if life := token.Expiry.Sub(now); !token.Expiry.IsZero() {
		r.refresh = token.Expiry.Add(-min(life/5, time.Minute))
	}
}

// expire notes that a server called the token of that generation expired. It reports whether there is another one, or may be one soon.
func (r *Refreshing) expire(generation uint64) bool {
	now := r.opts.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	switch since := now.Sub(r.forced); {
	case generation == 0:
		return false
	case generation != r.generation || r.stale:
		return true // others have noticed too
	case since >= 0 && since < r.opts.MinInterval:
		return false // a server that calls every token expired must not have tokens fetched for each call
	}
	r.stale, r.forced = true, now
	return true
}
