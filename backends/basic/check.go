// SPDX-License-Identifier: Apache-2.0

package basic

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/internal/remember"
	"github.com/grpcauth/grpcauth/password"
	"github.com/grpcauth/grpcauth/throttle"
)

var (
	errUnknown  = errors.New("no such user")
	errDisabled = errors.New("the account is disabled")
)

// check compares a password with an account's hash. Whatever is wrong with the account, it costs what a wrong password costs: where no hash
// can be compared, a dummy stands in, through the same memory and the same sharing of work.
//
// An attempt is reserved before it is judged, by the one caller that judges it, and not on a recheck.
func (b *Backend) check(ctx context.Context, name string, account Account, pass string, cause error, recheck bool) (remembered bool, err error) {
	hash := account.PasswordHash
	switch {
	case cause != nil:
	case account.User == nil:
		cause = errUnknown
	case account.Disabled:
		cause = errDisabled
	}
	if cause != nil {
		hash = b.opts.Hasher.Dummy()
	}
	key := b.keyer.Key(name, hash, pass)
	if _, ok := b.right.Get(key, b.opts.Now()); ok && cause == nil {
		return true, nil
	}
	_, _, err = b.flight.Do(ctx, key, func() (struct{}, error) {
		if _, ok := b.right.Get(key, b.opts.Now()); ok && cause == nil {
			return struct{}{}, nil // another caller was done with it just now
		}
		outcome := throttle.Failed // stands if the caller hangs up
		if b.opts.Limiter != nil && !recheck {
			done, err := b.opts.Limiter.Reserve(ctx, name, b.opts.Limiter.Address(ctx))
			if err != nil {
				return struct{}{}, throttled(err)
			}
			defer func() { done(outcome) }()
		}
		err := b.compare(ctx, hash, pass)
		if errors.Is(err, password.ErrBusy) {
			outcome = throttle.NotJudged
		}
		if err == nil && cause == nil {
			outcome = throttle.Succeeded
			now := b.opts.Now()
			b.right.Put(key, struct{}{}, now, now.Add(b.opts.RememberFor))
			b.rehash(ctx, name, hash, pass)
		}
		return struct{}{}, err
	})
	switch {
	case errors.Is(err, remember.ErrAborted):
		return false, grpcauth.Errorf(grpcauth.CodeInternal, "basic: %w", err)
	case errors.Is(err, password.ErrBusy):
		return false, grpcauth.Errorf(grpcauth.CodeThrottled, "basic: %w", err).WithRetryDelay(time.Second)
	case isMismatch(err):
		return false, grpcauth.Errorf(grpcauth.CodeInvalid, "basic: %w", errors.Join(cause, err))
	case err != nil:
		return false, err
	case cause != nil:
		return false, grpcauth.Errorf(grpcauth.CodeInvalid, "basic: %w", cause)
	}
	return false, nil
}

// throttled is the answer to an attempt that the limiter did not take.
func throttled(err error) error {
	if refusal, ok := errors.AsType[*throttle.Error](err); ok {
		return grpcauth.Errorf(grpcauth.CodeThrottled, "basic: %w", err).WithRetryDelay(refusal.RetryAfter)
	}
	return fmt.Errorf("basic: the attempt could not be counted: %w", err)
}

// compare does one hash computation, also where the stored hash or the password is of no use.
func (b *Backend) compare(ctx context.Context, hash, pass string) error {
	err := b.opts.Hasher.Verify(ctx, hash, pass)
	if errors.Is(err, password.ErrCorrupt) || errors.Is(err, password.ErrUnusable) {
		if dummy := b.opts.Hasher.Verify(ctx, b.opts.Hasher.Dummy(), ""); !isMismatch(dummy) {
			return dummy // the work was not done, so nothing is decided, as for a wrong password
		}
	}
	return err
}

func isMismatch(err error) bool {
	return errors.Is(err, password.ErrMismatch) || errors.Is(err, password.ErrCorrupt) || errors.Is(err, password.ErrUnusable)
}

// rehash offers a better hash of a password that was just found right. Nothing that fails here fails the call.
func (b *Backend) rehash(ctx context.Context, name, hash, pass string) {
	if b.opts.StoreHash == nil || !b.opts.Hasher.NeedsRehash(hash) {
		return
	}
	if better, err := b.opts.Hasher.Hash(ctx, pass); err == nil {
		_ = b.opts.StoreHash(ctx, name, hash, better)
	}
}
