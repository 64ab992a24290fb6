// SPDX-License-Identifier: Apache-2.0

package clientauth

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/oauth2"
)

// flight lets concurrent callers share one run of a function, each for as long as its own context lasts. There is never more than one goroutine.
type flight struct {
	mu  sync.Mutex
	run *run // guarded by mu; nil if there is none under way
}

type run struct {
	done  chan struct{}
	token Token // this and below: written before done is closed
	err   error
}

// start returns the run under way, or starts one.
func (f *flight) start(fetch func() (Token, error)) *run {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.run != nil {
		return f.run
	}
	r := &run{done: make(chan struct{}), err: errNotReturned}
	f.run = r
	go func() {
		defer func() {
			if value := recover(); value != nil {
				r.err = fmt.Errorf("the source panicked with a %T", value) // the value may be a token
			}
			f.mu.Lock()
			f.run = nil
			f.mu.Unlock()
			close(r.done)
		}()
		r.token, r.err = fetch()
	}()
	return r
}

var errNotReturned = errors.New("the source did not return")

// wait returns what a run brought, or the error of a context that ends before.
func (r *run) wait(ctx context.Context) (Token, error) {
	select {
	case <-r.done:
		if r.err != nil {
			return Token{}, r.err
		}
		return r.token, nil
	case <-ctx.Done():
		return Token{}, ctx.Err()
	}
}

// OAuth2 makes a [Source] of one of golang.org/x/oauth2, such as a clientcredentials.Config's.
//
// Those know no context: a call waits no longer than its own, concurrent calls share one question, and a source that hangs is not asked again before it answers.
func OAuth2(src oauth2.TokenSource) Source {
	f := &flight{}
	return SourceFunc(func(ctx context.Context) (Token, error) {
		return f.start(func() (Token, error) {
			t, err := src.Token()
			if err != nil {
				return Token{}, err
			}
			return Token{t.AccessToken, t.Expiry}, nil
		}).wait(ctx)
	})
}
