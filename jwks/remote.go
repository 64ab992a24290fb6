// SPDX-License-Identifier: Apache-2.0

package jwks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/grpcauth/grpcauth/internal/httpx"
)

// Options are how a [RemoteSet] fetches its keys and how long it trusts them. The zero value is a good choice.
type Options struct {
	// Client fetches; one of its own by default. Its cookies and its policy of redirects are not used: those within the URL's origin are followed.
	Client *http.Client
	// Timeout bounds a fetch; 10 seconds by default.
	Timeout time.Duration
	// MaxWait is how long a call waits for a fetch without which it cannot be decided; 2 seconds by default.
	MaxWait time.Duration
	// MinInterval is the time between two fetches, whatever tokens ask for; 10 seconds by default. A new key is found within it.
	MinInterval time.Duration
	// MinAge and MaxAge bound what Cache-Control says of how long the keys are fresh; 1 minute and 1 hour by default. Without a word there they are
	// fresh for 15 minutes. A key that was removed works no longer than that, if calls come regularly.
	MinAge, MaxAge time.Duration
	// MaxStale is how long keys that are no longer fresh are used while they cannot be fetched; 1 hour by default, not at all if negative.
	MaxStale time.Duration
	// InsecureAllowPlaintext fetches over http also from other machines. Whoever is between them can then replace the keys.
	InsecureAllowPlaintext bool
	// Now replaces time.Now.
	Now func() time.Time
}

const defaultAge = 15 * time.Minute

// RemoteSet is the [Set] that a provider publishes at a URL. It is safe for concurrent use.
//
// Keys are fetched when a call first needs them, ahead of the end of their freshness, and when a token names a key that is not known; never twice at
// a time, never more often than Options.MinInterval, and apart from the calls: one that gives up fails no other. A fetch replaces the set: a
// key that is no longer published stops working. While the provider fails, the known keys go on for Options.MaxStale; after that, and for keys that are not
// known, Keys returns an error, since nothing can be said about the token. Between calls there is no goroutine.
type RemoteSet struct {
	name   string // for texts: the URL, or whose keys they are
	locate func(ctx context.Context, anew bool) (url string, err error)
	opts   Options
	client *httpx.Client

	current atomic.Pointer[snapshot]
	stats   struct{ fetches, failures atomic.Uint64 }

	mu     sync.Mutex
	flight *flight   // guarded by mu, like all below: the fetch under way
	next   time.Time // when the next one may begin
	failed int       // failures in a row
	err    error     // of the last fetch
	closed bool
}

var _ Set = (*RemoteSet)(nil)

// snapshot is what one fetch brought.
type snapshot struct {
	set                     *StaticSet
	skipped                 int
	fetched, refresh, stale time.Time
}

// flight is one fetch, for all who wait for it.
type flight struct {
	cancel   context.CancelFunc
	done     chan struct{}
	panicked any // written before done is closed
}

// Remote returns the set that is published at a URL, without fetching it. An error names what is wrong and says what to write.
func Remote(url string, opts Options) (*RemoteSet, error) {
	if _, err := httpx.CheckURL(url, opts.InsecureAllowPlaintext); err != nil {
		return nil, fmt.Errorf("jwks: the URL of the key set: %w", err)
	}
	return Located(url, func(context.Context, bool) (string, error) { return url, nil }, opts)
}

// Located returns the set that is published at a URL which is found out before each fetch, within its time and its limits.
//
// locate is told to look anew if the fetch before failed. name stands for the set in texts.
func Located(name string, locate func(ctx context.Context, anew bool) (url string, err error), opts Options) (*RemoteSet, error) {
	if locate == nil {
		return nil, errors.New("jwks: Located: the function is nil")
	}
	for _, o := range []struct {
		name  string
		field *time.Duration
		value time.Duration
	}{
		{"Timeout", &opts.Timeout, 10 * time.Second},
		{"MaxWait", &opts.MaxWait, 2 * time.Second},
		{"MinInterval", &opts.MinInterval, 10 * time.Second},
		{"MinAge", &opts.MinAge, time.Minute},
		{"MaxAge", &opts.MaxAge, time.Hour},
	} {
		if *o.field < 0 {
			return nil, fmt.Errorf("jwks: Options.%s is negative: write a positive duration, or zero for the default", o.name)
		}
		if *o.field == 0 {
			*o.field = o.value
		}
	}
	if opts.MinAge > opts.MaxAge {
		return nil, errors.New("jwks: Options.MinAge is above MaxAge")
	}
	switch {
	case opts.MaxStale == 0:
		opts.MaxStale = time.Hour
	case opts.MaxStale < 0:
		opts.MaxStale = 0
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	return &RemoteSet{name: name, locate: locate, opts: opts, client: httpx.New(opts.Client, false)}, nil
}

// Format prints the name or URL, whatever the verb.
func (s *RemoteSet) Format(f fmt.State, _ rune) {
	if s == nil {
		_, _ = io.WriteString(f, "<nil>")
		return
	}
	_, _ = fmt.Fprintf(f, "RemoteSet(%q)", s.name)
}

// Keys returns the key with that ID or, if there is none, the keys without an ID; all keys if the ID is empty.
//
// Known keys are returned at once. For others it waits for a fetch, if one is allowed now, for Options.MaxWait at the most. The error says that the
// keys could not be had, or is the context's.
func (s *RemoteSet) Keys(ctx context.Context, kid string) ([]Key, error) {
	now := s.opts.Now()
	snap := s.current.Load()
	if !snap.usable(now) {
		return s.await(ctx, kid, now)
	}
	keys, known := snap.set.lookup(kid)
	if !known {
		return s.await(ctx, kid, now)
	}
	if !now.Before(snap.refresh) || now.Before(snap.fetched) { // the clock may have been set back
		s.fetch(ctx, now)
	}
	return keys, nil
}

func (s *snapshot) usable(now time.Time) bool { return s != nil && now.Before(s.stale) }

// Ready returns nil if there are keys to go by, which it tries to fetch if need be. It is for readiness probes.
func (s *RemoteSet) Ready(ctx context.Context) error {
	now := s.opts.Now()
	if s.current.Load().usable(now) {
		return nil
	}
	_, err := s.await(ctx, "", now)
	return err
}

// Stats are counts since the set was made, and the state of now.
type Stats struct {
	// Fetches is how many fetches have ended, and Failures how many of them brought no set.
	Fetches, Failures uint64
	// Keys is how many keys there are, and Skipped how many the provider publishes that cannot be used.
	Keys, Skipped int
	// Fetched is when the keys came; zero if there are none yet.
	Fetched time.Time
	// Err is why the last fetch failed; nil if it did not.
	Err error
}

// Stats returns what metrics and logs may want to know.
func (s *RemoteSet) Stats() Stats {
	stats := Stats{Fetches: s.stats.fetches.Load(), Failures: s.stats.failures.Load()}
	if snap := s.current.Load(); snap != nil {
		stats.Keys, stats.Skipped, stats.Fetched = len(snap.set.keys), snap.skipped, snap.fetched
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	stats.Err = s.err
	return stats
}

// Close ends a fetch that is under way and waits for it. The keys that are there go on as if the provider failed from now on.
func (s *RemoteSet) Close() error {
	s.mu.Lock()
	s.closed = true
	f := s.flight
	s.mu.Unlock()
	if f != nil {
		f.cancel()
		<-f.done
	}
	s.client.Close()
	return nil
}

var errSlow = errors.New("the fetch takes longer than a call waits")

// await is the way of a call that what is there does not decide.
func (s *RemoteSet) await(ctx context.Context, kid string, now time.Time) ([]Key, error) {
	if f, own := s.fetch(ctx, now); f != nil {
		limited, cancel := context.WithTimeoutCause(ctx, s.opts.MaxWait, errSlow)
		defer cancel()
		select {
		case <-f.done:
		case <-limited.Done():
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			return nil, fmt.Errorf("jwks: %s: %w", s.name, errSlow)
		}
		if own && f.panicked != nil {
			panic(f.panicked) // once, in the call that began the fetch, as if it had run there
		}
	}
	snap := s.current.Load()
	if snap.usable(s.opts.Now()) {
		keys, known := snap.set.lookup(kid)
		if known || len(keys) > 0 {
			return keys, nil
		}
	}
	s.mu.Lock()
	err, closed := s.err, s.closed
	s.mu.Unlock()
	switch {
	case err != nil:
		return nil, fmt.Errorf("jwks: %s: %w", s.name, err)
	case !snap.usable(s.opts.Now()) || closed:
		return nil, fmt.Errorf("jwks: %s: the keys are not known, and it is not the time to fetch them", s.name)
	}
	return nil, nil // the provider was asked a moment ago, and does not publish the key
}

// fetch returns the fetch under way, and whether this call began it; nil if it is too early for another one.
func (s *RemoteSet) fetch(ctx context.Context, now time.Time) (f *flight, own bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.flight != nil {
		return s.flight, false
	}
	if wait := s.next.Sub(now); s.closed || wait > 0 && wait <= s.opts.MinInterval { // a longer one means that the clock was set back
		return nil, false
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.opts.Timeout)
	f = &flight{cancel: cancel, done: make(chan struct{})}
	s.flight = f
	go s.run(ctx, f, now)
	return f, true
}

var errNotReturned = errors.New("the fetch did not return")

// run is a fetch, in a goroutine of its own that ends with it.
func (s *RemoteSet) run(ctx context.Context, f *flight, began time.Time) {
	err := errNotReturned
	defer func() {
		f.panicked = recover()
		f.cancel()
		s.finish(f, began, err)
	}()
	err = s.load(ctx)
}

// finish sets the time of the next fetch: after a failure sooner, at first.
func (s *RemoteSet) finish(f *flight, began time.Time, err error) {
	s.stats.fetches.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err = err; err == nil {
		s.failed, s.next = 0, began.Add(s.opts.MinInterval)
	} else {
		s.stats.failures.Add(1)
		s.next = s.opts.Now().Add(min(s.opts.MinInterval, time.Second<<min(s.failed, 20)))
		s.failed++
	}
	s.flight = nil
	close(f.done)
}

func (s *RemoteSet) load(ctx context.Context) error {
	s.mu.Lock()
	anew := s.failed > 0
	s.mu.Unlock()
	url, err := s.locate(ctx, anew)
	if err != nil {
		return err
	}
	if _, err := httpx.CheckURL(url, s.opts.InsecureAllowPlaintext); err != nil {
		return fmt.Errorf("the URL of the key set: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "application/jwk-set+json, application/json")
	resp, err := s.client.Do(req, maxDocument)
	switch {
	case err != nil:
		return err
	case resp.Status != http.StatusOK:
		return fmt.Errorf("HTTP status %d", resp.Status)
	}
	set, skipped, err := parsePublished(resp.Body)
	if err != nil {
		return err
	}
	now := s.opts.Now()
	age := min(max(freshness(resp.Header, defaultAge), s.opts.MinAge), s.opts.MaxAge)
	s.current.Store(&snapshot{set: set, skipped: skipped, fetched: now, refresh: now.Add(age * 3 / 4), stale: now.Add(age + s.opts.MaxStale)})
	return nil
}
