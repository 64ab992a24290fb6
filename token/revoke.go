// SPDX-License-Identifier: Apache-2.0

package token

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/grpcauth/grpcauth/store"
)

// endWithin is how long the end of a family may take whose caller does not wait for it.
const endWithin = 5 * time.Second

// Revoke ends the family of a token, at logout. Any token of the family does, used ones too. It is no error if the family has ended already; ErrInvalid means that there is
// nothing to revoke. Any other error means that the family may be alive: try again.
func (r *Refresher) Revoke(ctx context.Context, text string) error {
	t, ok := parseText(text)
	if !ok {
		return ErrInvalid
	}
	_, err := r.endFamily(ctx, func() (*family, error) { return r.find(ctx, t) })
	return err
}

// RevokeFamily ends a family by its ID; see [Refresher.Revoke]. Whether the caller may is the application's to know: [Refresher.List] says whose families there are.
func (r *Refresher) RevokeFamily(ctx context.Context, id string) error {
	_, err := r.revokeFamily(ctx, id)
	return err
}

// revokeFamily also reports whether the family was alive.
func (r *Refresher) revokeFamily(ctx context.Context, id string) (bool, error) {
	if !isFamily(id) {
		return false, ErrInvalid
	}
	return r.endFamily(ctx, func() (*family, error) {
		rec, err := store.Get(ctx, r.opts.Store, recordKey(id))
		switch {
		case errors.Is(err, store.ErrNotFound):
			return nil, ErrInvalid
		case err != nil:
			return nil, fmt.Errorf("token: the family could not be read: %w", err)
		}
		return parseFamily(rec)
	})
}

// endFamily ends a family that is found anew whenever it was changed meanwhile, and reports whether it was alive. It wins over any number of rotations.
func (r *Refresher) endFamily(ctx context.Context, find func() (*family, error)) (alive bool, err error) {
	for range maxRounds {
		f, err := find()
		if err != nil || f.Dead != "" {
			return false, err
		}
		if err = r.end(ctx, f, causeRevoke); !errors.Is(err, store.ErrConflict) {
			return err == nil, err
		}
	}
	f, err := find()
	if err != nil || f.Dead != "" {
		return false, err
	}
	err = r.remove(ctx, f)
	return err == nil, err
}

// end denies the access tokens of a family and then marks it as ended: once that is written, all is done, and before it all may be done again. The mark stays until the
// family would have ended by itself, so that later uses of its tokens are recognised.
func (r *Refresher) end(ctx context.Context, f *family, cause string) error {
	if f.Dead != "" {
		return nil
	}
	if err := r.deny(ctx, f); err != nil {
		return err
	}
	f.Dead, f.Sealed, f.Previous = cause, nil, nil
	return r.put(ctx, f)
}

// remove takes a family out of the store, which no other change can get in the way of.
func (r *Refresher) remove(ctx context.Context, f *family) error {
	if err := r.deny(ctx, f); err != nil {
		return err
	}
	if err := r.opts.Store.Delete(ctx, recordKey(f.Family)); err != nil {
		return fmt.Errorf("token: the family could not be deleted: %w", err)
	}
	return nil
}

func (r *Refresher) deny(ctx context.Context, f *family) error {
	if r.opts.Denylist == nil {
		return nil
	}
	return r.opts.Denylist.RevokeFamily(ctx, f.Family)
}

// RevokeUser ends all families of a user and returns how many were alive. Those that are started meanwhile may be among them or not. Access tokens that were not signed with their
// [Claims].Family are not stopped by it; [Denylist.RevokeBefore] does that.
//
// With an error some may be alive: try again.
func (r *Refresher) RevokeUser(ctx context.Context, subject string) (int, error) {
	ended := 0
	var errs []error
	for range maxRounds {
		recs, err := r.list(ctx, subject)
		if err != nil { // one that cannot be read does not keep the others alive
			errs = append(errs, err)
		}
		for _, f := range recs {
			if f.Dead != "" {
				continue
			}
			switch alive, err := r.revokeFamily(ctx, f.Family); {
			case alive:
				ended++
			case err != nil && !errors.Is(err, ErrInvalid): // else it is gone
				errs = append(errs, err)
			}
		}
		if len(errs) > 0 || len(recs) < store.MaxList {
			return ended, errors.Join(errs...)
		}
		// The list may be longer than the store returns: what has ended makes room.
		for _, f := range recs {
			if err := r.remove(ctx, f); err != nil {
				return ended, err
			}
		}
	}
	return ended, errBusy
}

// List returns the families of a user that are alive, by their IDs.
func (r *Refresher) List(ctx context.Context, subject string) ([]Grant, error) {
	all, err := r.list(ctx, subject)
	if err != nil {
		return nil, err
	}
	now := r.opts.Now()
	var grants []Grant
	for _, f := range all {
		if f.Dead == "" && !r.expired(f, now) {
			grants = append(grants, f.Grant)
		}
	}
	return grants, nil
}

// list returns the families that can be read, and an error if some cannot.
func (r *Refresher) list(ctx context.Context, subject string) ([]*family, error) {
	recs, err := store.List(ctx, r.opts.Store, ownerKey(subject))
	if err != nil {
		return nil, fmt.Errorf("token: the families could not be listed: %w", err)
	}
	var families []*family
	for i := range recs {
		f, errParse := parseFamily(recs[i])
		if errParse != nil {
			err = errParse
			continue
		}
		families = append(families, f)
	}
	return families, err
}
