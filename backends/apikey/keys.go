// SPDX-License-Identifier: Apache-2.0

package apikey

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/store"
)

const (
	maxText    = 200 // bytes of a name, an issuer, an owner, a scope, or a permission
	maxChanges = 16  // tries to change a record while others change it too
)

// Key is what there is to know of a key, without its secret.
type Key struct {
	// ID names the key. It is part of its text, and no secret: it is for lists and logs.
	ID string
	// Name is for display only.
	Name string
	// Issuer and Owner are whose key it is, the [grpcauth.User].Issuer and ID of its calls. Issuer is empty for the service's own users.
	Issuer, Owner string
	// Scopes and Permissions are what the key may be used for; see Options.Owner for how its owner narrows them.
	Scopes, Permissions []string
	// Created, Expiry and LastUsed are exact to the millisecond, but LastUsed to Options.FlushEvery. Zero is never.
	Created, Expiry, LastUsed time.Time
	// Disabled keys are refused like unknown ones, until they are enabled.
	Disabled bool
	// Secrets is how many secrets are live: 2 while a rotation is under way, 0 once the key has expired.
	Secrets int
}

// Create makes a key and returns its text, which is not to be had again. Of the Key given, ID, Created, LastUsed and Secrets do not count.
//
// After an error that is neither [ErrTooMany] nor about the Key there may be a key whose text nobody knows, which does no harm.
func (b *Backend) Create(ctx context.Context, key Key) (text string, created *Key, err error) {
	now := b.opts.Now()
	if err := key.validate(now); err != nil {
		return "", nil, err
	}
	if err := b.checkRoom(ctx, &key); err != nil {
		return "", nil, err
	}
	r := &record{
		Version: 1, Name: key.Name, Issuer: key.Issuer, Owner: key.Owner, Scopes: slices.Clone(key.Scopes), Permissions: slices.Clone(key.Permissions),
		Created: millis(now), Expiry: millis(key.Expiry), Disabled: key.Disabled,
	}
	r.ID = random(idSize)
	secret := random(secretSize)
	r.rotate(secret, 0)
	rec, err := b.stored(r, 0)
	if err != nil {
		return "", nil, err
	}
	if err := b.opts.Store.Put(ctx, rec); err != nil {
		return "", nil, fmt.Errorf("apikey: the key could not be stored: %w", err)
	}
	return textOf(b.opts.Prefix, r.ID, secret), r.key(now), nil
}

// checkRoom reports whether the owner may have one more key.
func (b *Backend) checkRoom(ctx context.Context, key *Key) error {
	if b.opts.MaxPerOwner < 0 {
		return nil
	}
	keys, err := b.List(ctx, key.Issuer, key.Owner)
	if err != nil {
		return err
	}
	live := 0
	for i := range keys {
		if keys[i].Secrets > 0 {
			live++
		}
	}
	if live >= b.opts.MaxPerOwner {
		return ErrTooMany
	}
	return nil
}

// Rotate gives a key a new secret and returns the text with it, which is not to be had again. The secret before ends after the overlap, at once if that
// is zero; so two are live at the most. With an overlap the error is [ErrRotating] if two are live already: an answer that
// was lost is then followed by a key of its own, or by waiting.
func (b *Backend) Rotate(ctx context.Context, id string, overlap time.Duration) (text string, err error) {
	if overlap < 0 {
		return "", errors.New("apikey: the overlap is negative: write how long the secret before is still accepted")
	}
	secret := random(secretSize)
	defer b.forget(id)
	err = b.change(ctx, id, func(r *record, now time.Time) (bool, error) {
		if overlap > 0 && r.key(now).Secrets == 2 {
			return false, ErrRotating
		}
		end := int64(0)
		if overlap > 0 {
			end = millis(now.Add(overlap))
		}
		r.rotate(secret, end)
		return true, nil
	})
	if err != nil {
		return "", err
	}
	return textOf(b.opts.Prefix, id, secret), nil
}

// Get returns a key. The error is [ErrNotFound] if there is none of that ID.
func (b *Backend) Get(ctx context.Context, id string) (*Key, error) {
	r, _, err := b.load(ctx, id)
	if err != nil {
		return nil, err
	}
	return r.key(b.opts.Now()), nil
}

// List returns an owner's keys, the oldest first. Keys stay in the list for 30 days after they have expired.
func (b *Backend) List(ctx context.Context, issuer, owner string) ([]Key, error) {
	recs, err := store.List(ctx, b.opts.Store, b.recordOwner(issuer, owner))
	if err != nil {
		return nil, fmt.Errorf("apikey: the keys could not be listed: %w", err)
	}
	now, keys := b.opts.Now(), make([]Key, len(recs))
	for i := range recs {
		r, err := b.decode(recs[i])
		if err != nil {
			return nil, fmt.Errorf("apikey: the keys could not be listed: %w", err)
		}
		keys[i] = *r.key(now)
	}
	slices.SortFunc(keys, func(a, b Key) int {
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID))
	})
	return keys, nil
}

// SetDisabled disables a key or enables it again. The error is [ErrNotFound] if there is none of that ID.
func (b *Backend) SetDisabled(ctx context.Context, id string, disabled bool) error {
	defer b.forget(id)
	return b.change(ctx, id, func(r *record, _ time.Time) (bool, error) {
		changed := r.Disabled != disabled
		r.Disabled = disabled
		return changed, nil
	})
}

// Revoke ends a key for ever. It is no error if there is none of that ID, so that it can be repeated.
func (b *Backend) Revoke(ctx context.Context, id string) error {
	if !validID(id) {
		return nil
	}
	defer b.forget(id)
	if err := b.opts.Store.Delete(ctx, b.recordKey(id)); err != nil {
		return fmt.Errorf("apikey: the key could not be revoked: %w", err)
	}
	return nil
}

// Flush writes the times of last use that are not written yet.
func (b *Backend) Flush(ctx context.Context) error { return b.used.flush(ctx) }

// Close writes what Flush does, within ten seconds, and ends the writing. Calls are answered as before.
func (b *Backend) Close() error { return b.used.close() }

// load returns the record of a key and the version that it was stored with.
func (b *Backend) load(ctx context.Context, id string) (r *record, version int64, err error) {
	if !validID(id) {
		return nil, 0, ErrNotFound
	}
	rec, err := store.Get(ctx, b.opts.Store, b.recordKey(id))
	if err == nil {
		r, err = b.decode(rec)
	}
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, 0, ErrNotFound
	case err != nil:
		return nil, 0, fmt.Errorf("apikey: the key could not be read: %w", err)
	}
	return r, rec.Version, nil
}

// change changes the record of a key as edit does, unless edit reports that there is nothing to do. Who changes it at the same time is not overwritten, and a
// key that was revoked meanwhile stays so.
func (b *Backend) change(ctx context.Context, id string, edit func(r *record, now time.Time) (bool, error)) error {
	for range maxChanges {
		r, version, err := b.load(ctx, id)
		if err != nil {
			return err
		}
		if changed, err := edit(r, b.opts.Now()); err != nil || !changed {
			return err
		}
		rec, err := b.stored(r, version)
		if err != nil {
			return err
		}
		err = b.opts.Store.Put(ctx, rec)
		if !errors.Is(err, store.ErrConflict) {
			if err != nil {
				err = fmt.Errorf("apikey: the key could not be changed: %w", err)
			}
			return err
		}
	}
	return fmt.Errorf("apikey: the key could not be changed: %w", store.ErrConflict)
}

func validID(id string) bool { return len(id) == idSize && isBase62(id) }

func (k *Key) validate(now time.Time) error {
	switch {
	case k.Owner == "":
		return errors.New("apikey: Key.Owner is empty: write the ID of the user whose key it is")
	case !k.Expiry.IsZero() && millis(k.Expiry) <= millis(now):
		return errors.New("apikey: Key.Expiry is not in the future: write when the key ends, or the zero time for never")
	}
	check := func(field string, texts ...string) error {
		for _, text := range texts {
			if text == "" && field != "Name" && field != "Issuer" {
				return fmt.Errorf("apikey: Key.%s has an empty text", field)
			}
			if len(text) > maxText || !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
				return fmt.Errorf("apikey: Key.%s is longer than %d bytes, not UTF-8, or has control characters", field, maxText)
			}
		}
		return nil
	}
	return errors.Join(check("Name", k.Name), check("Issuer", k.Issuer), check("Owner", k.Owner), check("Scopes", k.Scopes...), check("Permissions", k.Permissions...))
}

// narrowScopes returns what the key and its owner both have; all of the key's, if nothing is said of the owner's.
func narrowScopes(key, owner []string) []string {
	if owner == nil {
		return key
	}
	both := make([]string, 0, len(key))
	for _, scope := range key {
		if slices.Contains(owner, scope) {
			both = append(both, scope)
		}
	}
	return both
}

// narrowPermissions is narrowScopes where each side may have wide permissions: of two that overlap the narrower one stays.
func narrowPermissions(key []string, owner *grpcauth.User) []string {
	if owner.Permissions == nil {
		return key
	}
	both := make([]string, 0, len(key))
	for _, permission := range key {
		if owner.HasPermission(permission) {
			both = append(both, permission)
		}
	}
	wide := &grpcauth.User{Permissions: key}
	for _, permission := range owner.Permissions {
		if wide.HasPermission(permission) && !slices.Contains(both, permission) {
			both = append(both, permission)
		}
	}
	return both
}
