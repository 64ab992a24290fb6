// SPDX-License-Identifier: Apache-2.0

package token

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/grpcauth/grpcauth/internal/remember"
	"github.com/grpcauth/grpcauth/store"
)

// DenyOptions are what a denylist needs to know of the tokens on it. Store, Issuer and MaxLifetime are required.
type DenyOptions struct {
	// Store keeps the entries. Share it with every server that is to refuse the tokens.
	Store store.Store
	// Issuer is whose tokens are denied. Those of others are not looked up.
	Issuer string
	// MaxLifetime is the longest lifetime of the issuer's access tokens, at most a day. Entries are kept for that long and 10 minutes more, for verifiers
	// that allow for clocks that differ.
	MaxLifetime time.Duration
	// RememberFor is how long a token that is not denied may go without being looked up again, at most a minute; that is how late a revocation
	// can be. By default each call looks: a revoked token stops at the next call on every server.
	RememberFor time.Duration
	// MaxRemembered is how many tokens are remembered if RememberFor is set; 10,000 by default. Each takes about 100 bytes.
	MaxRemembered int
	// Now replaces time.Now.
	Now func() time.Time
}

// Denylist stops access tokens that have not expired yet: one by its ID, those of a refresh family, or all that a user has. It is what the Denylist of the
// jwt backend's Options takes. It is safe for concurrent use.
//
// Looking a token up takes two reads of the store, and a third if it belongs to a family.
type Denylist struct {
	opts  DenyOptions
	keyer *remember.Keyer
	good  *remember.Cache[struct{}] // nil: nothing is remembered
}

// NewDenylist returns a denylist. An error names the option that is wrong and says what to write.
func NewDenylist(opts DenyOptions) (*Denylist, error) {
	switch {
	case opts.Store == nil:
		return nil, errors.New("token: DenyOptions.Store is nil: give it the store that all servers share")
	case opts.Issuer == "":
		return nil, errors.New("token: DenyOptions.Issuer is empty: write the iss claim of the tokens")
	case opts.MaxLifetime < time.Second || opts.MaxLifetime > maxLifetime:
		return nil, fmt.Errorf("token: DenyOptions.MaxLifetime is %v: write the longest lifetime of access tokens, from 1s to %v", opts.MaxLifetime, maxLifetime)
	case opts.RememberFor < 0 || opts.RememberFor > time.Minute:
		return nil, fmt.Errorf("token: DenyOptions.RememberFor is %v: write a value from 0 to 1m", opts.RememberFor)
	case opts.MaxRemembered < 0:
		return nil, errors.New("token: DenyOptions.MaxRemembered is negative: write how many tokens to remember")
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	d := &Denylist{opts: opts}
	if opts.RememberFor > 0 {
		if opts.MaxRemembered == 0 {
			opts.MaxRemembered = 10_000
		}
		d.keyer, d.good = remember.NewKeyer(), remember.New[struct{}](opts.MaxRemembered)
	}
	return d, nil
}

// denial is the value of an entry.
type denial struct {
	V      int       `json:"v"`
	Before time.Time `json:"before,omitzero"` // of users: what was issued until then is denied
}

// key is where an entry is: hashed, so that any ID fits.
func (d *Denylist) key(kind, id string) string {
	sum := sha256.Sum256([]byte(d.opts.Issuer + "\x00" + id))
	return "deny/" + kind + "/" + base64url.EncodeToString(sum[:])
}

// RevokeToken denies the token with that jti. The entry is kept until the token has expired; for the longest lifetime, if its expiry is zero.
func (d *Denylist) RevokeToken(ctx context.Context, id string, expiry time.Time) error {
	longest := d.opts.Now().Add(d.opts.MaxLifetime)
	if expiry.IsZero() || expiry.After(longest) {
		expiry = longest
	}
	return d.deny(ctx, "id", id, denial{V: 1}, expiry.Add(margin))
}

// RevokeFamily denies the access tokens that go with a family of refresh tokens, also those that are signed from now on. A [Refresher] with a denylist does so itself.
func (d *Denylist) RevokeFamily(ctx context.Context, family string) error {
	return d.deny(ctx, "id", family, denial{V: 1}, d.opts.Now().Add(d.opts.MaxLifetime+margin))
}

// RevokeBefore denies all tokens of a user that were issued until t.
//
// Tokens say in whole seconds when they were issued. One that was issued in the very second of t is denied, be it before or after: who logs in again within it gets
// a token that is refused, and a good one by the next refresh. [Refresher.RevokeUser] knows old families from new ones and has no such second.
func (d *Denylist) RevokeBefore(ctx context.Context, subject string, t time.Time) error {
	if t.IsZero() {
		return errors.New("token: the time until which tokens are to be revoked is zero")
	}
	until := d.opts.Now()
	if t.After(until) {
		until = t
	}
	return d.deny(ctx, "user", subject, denial{V: 1, Before: t}, until.Add(d.opts.MaxLifetime+margin))
}

// deny makes an entry, or one that is there already as strong as this one. An entry never becomes weaker.
func (d *Denylist) deny(ctx context.Context, kind, id string, entry denial, expiry time.Time) error {
	if id == "" {
		return errors.New("token: what is to be revoked has no ID")
	}
	if d.good != nil {
		defer d.good.Purge()
	}
	key := d.key(kind, id)
	for range maxRounds {
		rec := store.Record{Key: key, Expiry: expiry}
		there, before, err := d.look(ctx, kind, id)
		switch {
		case errors.Is(err, store.ErrNotFound):
		case err != nil:
			return err
		case !there.Expiry.Before(expiry.Truncate(time.Millisecond)) && !before.Before.Before(entry.Before):
			return nil
		default:
			rec.Version = there.Version
			if before.Before.After(entry.Before) {
				entry.Before = before.Before
			}
		}
		if rec.Value, err = json.Marshal(entry); err != nil {
			return fmt.Errorf("token: the denylist: %w", err)
		}
		if err = d.opts.Store.Put(ctx, rec); err == nil {
			return nil
		}
		if !errors.Is(err, store.ErrConflict) {
			return fmt.Errorf("token: the denylist: %w", err)
		}
	}
	return errBusy
}

// look reads an entry. Anything that is not an entry is an error, so that a damaged one denies nobody quietly and lets nobody pass.
func (d *Denylist) look(ctx context.Context, kind, id string) (store.Record, denial, error) {
	rec, err := store.Get(ctx, d.opts.Store, d.key(kind, id))
	if err != nil {
		return rec, denial{}, fmt.Errorf("token: the denylist: %w", err)
	}
	var entry denial
	if err := json.Unmarshal(rec.Value, &entry, json.RejectUnknownMembers(true)); err != nil || entry.V != 1 || (kind == "user") == entry.Before.IsZero() {
		return rec, denial{}, errors.New("token: the denylist has an entry that cannot be read")
	}
	return rec, entry, nil
}

// Revoked reports whether a token is denied. An error means that the store could not be asked: refuse the call as undecided, and do not let it pass.
//
// A token without a jti is looked up by its user alone, and one that does not say when it was issued is older than any entry.
func (d *Denylist) Revoked(ctx context.Context, issuer, subject, id string, issuedAt time.Time) (bool, error) {
	if issuer != d.opts.Issuer {
		return false, nil
	}
	var key remember.Key
	if d.good != nil {
		key = d.keyer.Key(subject, id, strconv.FormatInt(issuedAt.Unix(), 10))
		if _, ok := d.good.Get(key, d.opts.Now()); ok {
			return false, nil
		}
	}
	asked := d.opts.Now()
	ids := []string{id}
	if family, _, ok := strings.Cut(id, "."); ok && isFamily(family) {
		ids = append(ids, family)
	}
	for _, one := range ids {
		if one == "" {
			continue
		}
		if _, _, err := d.look(ctx, "id", one); !errors.Is(err, store.ErrNotFound) {
			return err == nil, err
		}
	}
	_, entry, err := d.look(ctx, "user", subject)
	switch {
	case errors.Is(err, store.ErrNotFound):
	case err != nil:
		return false, err
	case !issuedAt.After(entry.Before):
		return true, nil
	}
	if d.good != nil {
		d.good.Put(key, struct{}{}, asked, asked.Add(d.opts.RememberFor))
	}
	return false, nil
}
