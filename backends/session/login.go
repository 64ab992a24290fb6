// SPDX-License-Identifier: Apache-2.0

package session

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/store"
)

// killTries is how often a session that is renewed all the time is tried to be ended in one step.
const killTries = 10

// Create makes a session of the user, for a login from where there is none yet, such as that of a program. A browser's login is [Backend.Replace].
//
// The id is for the client, and nobody keeps it. An earlier Expiry of the user bounds the session. A user who is bound to a certificate has a session that
// is, too; one who is bound to a DPoP key can have none. [grpcauth.User].Factors are not kept.
func (b *Backend) Create(ctx context.Context, user *grpcauth.User, device Device) (id string, s *Session, err error) {
	return b.login(ctx, user, device, replacing{})
}

// Replace makes a session of the user, for a login and for any rise in what the user may do. The session that the call of ctx came with, whoever's it is,
// has ended when Replace returns without an error. Of two ids in one call neither is known to be the right one: the error is a refusal.
//
// A user that handlers got from a session is given one that ends no later than that session would have, however often it is replaced, and
// [ErrNotFound] if it was revoked meanwhile. For a login that proves the user anew, pass a user made from the account.
func (b *Backend) Replace(ctx context.Context, user *grpcauth.User, device Device) (id string, s *Session, err error) {
	if err := checkUser(user, b.opts.Now()); err != nil {
		return "", nil, err
	}
	key, err := b.incoming(ctx)
	if err != nil {
		return "", nil, err
	}
	raise := user.Method == method
	var old *record
	if key != "" {
		old, err = b.get(ctx, key)
	}
	switch {
	case err == nil || errors.Is(err, errUnknown):
	case raise || !errors.Is(err, errRecord):
		return "", nil, err
	default: // what nobody can read cannot be ended in any other way
		if err := b.delete(ctx, key); err != nil {
			return "", nil, err
		}
	}
	if raise {
		if old == nil || old.user.ID != user.ID || old.user.Issuer != user.Issuer || b.expired(old, b.opts.Now()) {
			return "", nil, ErrNotFound
		}
		user = user.Clone()
		user.Expiry = time.UnixMilli(b.end(old))
	}
	return b.login(ctx, user, device, replacing{old, raise})
}

// replacing is what a login takes the place of.
type replacing struct {
	old  *record // nil: nothing
	must bool    // the login rests on it
}

// login stores a session of which nobody has the id yet, ends the old one, and then makes room. Whatever fails before that leaves the old one alone;
// if all is well the old one is dead before the new id is known to anybody.
func (b *Backend) login(ctx context.Context, user *grpcauth.User, device Device, replace replacing) (id string, s *Session, err error) {
	now := b.opts.Now()
	if err := checkUser(user, now); err != nil {
		return "", nil, err
	}
	r := record{created: now.UnixMilli(), seen: now.UnixMilli(), end: now.Add(b.opts.Absolute).UnixMilli(), device: device.cleaned(), user: *user}
	r.user.Method, r.user.Factors = method, nil
	if !user.Expiry.IsZero() {
		r.end = min(r.end, user.Expiry.UnixMilli())
	}
	old := replace.old
	there, err := b.list(ctx, user)
	if err != nil {
		return "", nil, err
	}
	room := b.opts.MaxPerUser
	for _, other := range there {
		r.number = max(r.number, other.number+1)
		if old == nil || other.key != old.key {
			room--
		}
	}
	if b.opts.RefuseBeyond && room <= 0 {
		return "", nil, ErrTooMany
	}
	id = newID()
	r.key = keyOf(id)
	created, err := b.put(ctx, r)
	if err != nil {
		return "", nil, err
	}
	if old != nil {
		err = b.kill(ctx, old, replace.must)
	}
	if err == nil {
		err = b.makeRoom(ctx, created)
	}
	if err != nil {
		b.discard(ctx, created.key)
		return "", nil, err
	}
	return id, b.session(created), nil
}

// discard removes a session that nobody has the id of. If it cannot be removed it does no harm, and is gone when it has been idle for long enough.
func (b *Backend) discard(ctx context.Context, key string) {
	patient, cancel := context.WithTimeout(context.WithoutCancel(ctx), renewWithin)
	defer cancel()
	_ = b.opts.Store.Delete(patient, key)
}

// kill ends a session in one step, unless somebody else did: which of the two it was counts if a login rests on it, and a plain Delete does not say. If a step
// was done whose answer was lost, it looks like somebody else's.
func (b *Backend) kill(ctx context.Context, r *record, must bool) error {
	key := r.key
	for range killTries {
		dead := *r
		dead.end = 0
		_, err := b.put(ctx, dead)
		b.forget(key)
		if err == nil {
			return nil
		}
		if !errors.Is(err, store.ErrConflict) {
			return err
		}
		r, err = b.get(ctx, key)
		switch {
		case err == nil: // it was renewed
		case !errors.Is(err, errUnknown):
			return err
		case must:
			return ErrNotFound
		default:
			return nil
		}
	}
	return failed("end the old session", store.ErrConflict)
}

// makeRoom keeps the number of a user's sessions to what is allowed, in an order that is the same for all who log in at once: so those who make
// room end the same ones.
func (b *Backend) makeRoom(ctx context.Context, created *record) error {
	there, err := b.list(ctx, &created.user)
	if err != nil {
		return err
	}
	beyond := len(there) - b.opts.MaxPerUser
	if beyond <= 0 {
		return nil
	}
	at := slices.IndexFunc(there, func(r *record) bool { return r.key == created.key })
	if b.opts.RefuseBeyond {
		if at < b.opts.MaxPerUser {
			return nil
		}
		return ErrTooMany
	}
	for _, r := range there[:beyond] {
		if err := b.delete(ctx, r.key); err != nil {
			return err
		}
	}
	if at >= 0 && at < beyond {
		return ErrTooMany
	}
	return nil
}
