// SPDX-License-Identifier: Apache-2.0

package apikey

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/internal/remember"
	"github.com/grpcauth/grpcauth/throttle"
)

const (
	maxProven = 10_000
	provenFor = 5 * time.Minute
)

// proven are texts that were right lately. To show one again is no guess, so it needs no reservation: without this, a machine that makes more
// calls at once than an account has attempts would refuse itself. What the store says of the key counts nonetheless.
type proven struct {
	keyer  *remember.Keyer
	texts  *remember.Cache[struct{}]
	flight *remember.Flight[*verdict]
}

func newProven() *proven {
	return &proven{remember.NewKeyer(), remember.New[struct{}](maxProven), remember.NewFlight[*verdict](nil)}
}

// attempt judges a key, and has the limiter reserve the attempt unless the key is proven. Concurrent callers who show one unproven text make one
// attempt together.
func (b *Backend) attempt(ctx context.Context, req *grpcauth.Request, text string, parts parts) (*verdict, error) {
	if b.proven == nil || req.Recheck() {
		return b.judge(ctx, parts)
	}
	key := b.proven.keyer.Key(text)
	if _, ok := b.proven.texts.Get(key, b.opts.Now()); ok {
		return b.judge(ctx, parts)
	}
	v, another, err := b.proven.flight.Do(ctx, key, func() (*verdict, error) { return b.reserved(ctx, key, parts) })
	switch {
	case errors.Is(err, remember.ErrAborted):
		return nil, grpcauth.Errorf(grpcauth.CodeInternal, "apikey: %w", err)
	case another && err == nil:
		return b.judge(ctx, parts) // the other caller's judgement began before this call
	}
	return v, err
}

// reserved judges a key at the expense of an attempt.
func (b *Backend) reserved(ctx context.Context, key remember.Key, parts parts) (*verdict, error) {
	done, err := b.opts.Limiter.Reserve(ctx, parts.id, b.opts.Limiter.Address(ctx))
	if refusal, ok := errors.AsType[*throttle.Error](err); ok {
		return nil, grpcauth.Errorf(grpcauth.CodeThrottled, "apikey: %w", err).WithRetryDelay(refusal.RetryAfter)
	} else if err != nil {
		return nil, fmt.Errorf("apikey: the attempt could not be counted: %w", undecided(err))
	}
	outcome := throttle.Failed // stands if the judgement panics
	defer func() { done(outcome) }()
	v, err := b.judge(ctx, parts)
	switch code := grpcauth.CodeOf(err); {
	case err == nil:
		outcome = throttle.Succeeded
		now := b.opts.Now()
		b.proven.texts.Put(key, struct{}{}, now, now.Add(provenFor))
	case code == grpcauth.CodeUnavailable || code == grpcauth.CodeInternal:
		outcome = throttle.NotJudged
	}
	return v, err
}
