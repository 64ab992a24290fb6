// SPDX-License-Identifier: Apache-2.0

package session

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/internal/remember"
	"github.com/grpcauth/grpcauth/store"
)

// Current is the handle of the id that the call of ctx came with; false if there is none, or two. Whether there is such a session is not asked.
func (b *Backend) Current(ctx context.Context) (handle string, ok bool) {
	key, err := b.incoming(ctx)
	if err != nil || key == "" {
		return "", false
	}
	return key[len(keyWord):], true
}

// List returns the sessions of a user, the one that was used last first. Current is set for the one that the call of ctx came with.
func (b *Backend) List(ctx context.Context, user *grpcauth.User) ([]Session, error) {
	there, err := b.list(ctx, user)
	if err != nil {
		return nil, err
	}
	current, _ := b.Current(ctx)
	list := make([]Session, 0, len(there))
	for _, r := range there {
		if r.number == damaged {
			return nil, failed("list", errRecord)
		}
		s := b.session(r)
		s.Current = s.Handle == current
		list = append(list, *s)
	}
	slices.SortStableFunc(list, func(a, b Session) int { return cmp.Or(b.Seen.Compare(a.Seen), b.Created.Compare(a.Created)) })
	return list, nil
}

// list returns the sessions of a user that have not expired, the oldest login first. Records that cannot be read come before them all.
func (b *Backend) list(ctx context.Context, user *grpcauth.User) ([]*record, error) {
	if user == nil || user.ID == "" {
		return nil, errors.New("session: the user is nil, or has no ID")
	}
	recs, err := store.List(ctx, b.opts.Store, ownerOf(user.Issuer, user.ID))
	if err != nil {
		return nil, failed("list", err)
	}
	now := b.opts.Now()
	there := make([]*record, 0, len(recs))
	for i := range recs {
		r, err := decode(&recs[i])
		switch {
		case errors.Is(err, store.ErrSwapped):
			return nil, failed("list", err)
		case err != nil:
			there = append(there, &record{key: recs[i].Key, number: damaged})
		case !b.expired(r, now):
			there = append(there, r)
		}
	}
	slices.SortFunc(there, older)
	return there, nil
}

// Revoke ends a session of the user. The error is [ErrNotFound] if that user has none of that handle, as after it was replaced. One that is replaced at
// the very same time goes on under its new handle; [Backend.RevokeAll] misses none.
func (b *Backend) Revoke(ctx context.Context, user *grpcauth.User, handle string) error {
	if user == nil || !isHandle(handle) {
		return ErrNotFound
	}
	rec, err := store.Get(ctx, b.opts.Store, keyWord+handle)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return ErrNotFound
	case err != nil:
		return failed("read", err)
	case rec.Owner != ownerOf(user.Issuer, user.ID):
		return ErrNotFound
	}
	if r, err := decode(&rec); err == nil && r.end == 0 {
		return ErrNotFound
	}
	return b.delete(ctx, rec.Key)
}

// RevokeAll ends all sessions of the user and returns how many there were.
func (b *Backend) RevokeAll(ctx context.Context, user *grpcauth.User) (int, error) {
	return b.revoke(ctx, user, "")
}

// RevokeOthers ends all sessions of the user but the one that the call of ctx came with, and returns how many there were. Call it before [Backend.Replace], which
// gives the caller another one than that.
func (b *Backend) RevokeOthers(ctx context.Context, user *grpcauth.User) (int, error) {
	current, _ := b.Current(ctx)
	return b.revoke(ctx, user, current)
}

// revokeRounds bounds how often sessions are looked for again. Those that are still new then are of logins later than the call.
const revokeRounds = 10

// revoke ends all sessions but one. It looks again until it finds nothing new, dead or alive, so that one which replaces another meanwhile is found, too.
func (b *Backend) revoke(ctx context.Context, user *grpcauth.User, except string) (n int, err error) {
	if user == nil || user.ID == "" {
		return 0, errors.New("session: the user is nil, or has no ID")
	}
	done := map[string]bool{keyWord + except: true}
	more := true
	for round := 0; more && round < revokeRounds; round++ {
		recs, err := store.List(ctx, b.opts.Store, ownerOf(user.Issuer, user.ID))
		if err != nil {
			return n, failed("list", err)
		}
		more = false
		for i := range recs {
			if key := recs[i].Key; !done[key] && strings.HasPrefix(key, keyWord) {
				if err := b.delete(ctx, key); err != nil {
					return n, err
				}
				more, done[key] = true, true
				if r, err := decode(&recs[i]); err != nil || !b.expired(r, b.opts.Now()) {
					n++
				}
			}
		}
	}
	return n, nil
}

// delete ends a session for good.
func (b *Backend) delete(ctx context.Context, key string) error {
	err := b.opts.Store.Delete(ctx, key)
	b.forget(key) // also after an error: it may be gone
	if err != nil {
		return failed("delete", err)
	}
	return nil
}

// forget lets nothing be remembered of a session that was read before now.
func (b *Backend) forget(key string) {
	if b.known == nil {
		return
	}
	b.mu.Lock()
	b.generation++
	b.mu.Unlock()
	b.known.DeleteFunc(func(_ remember.Key, r *record) bool { return r.key == key })
}
