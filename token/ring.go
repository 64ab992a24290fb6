// SPDX-License-Identifier: Apache-2.0

package token

import (
	"cmp"
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/grpcauth/grpcauth/internal/jws"
	"github.com/grpcauth/grpcauth/jwks"
)

const (
	maxKeys = 100
	// margin is what verifiers may take clocks to differ, and signing and storing may take: tokens can be good for that much longer than they say.
	margin = 10 * time.Minute
)

// SigningKey signs access tokens, with either Key or Secret. Printed, it shows no key material, but for the verbs %p and %w: fmt does not
// ask [SigningKey.Format] then.
type SigningKey struct {
	// ID is the kid; the thumbprint of the public key (RFC 7638) by default. A Secret needs one.
	ID string
	// Algorithm is the JWS algorithm that tokens are signed with: RS256 to RS512, PS256 to PS512, ES256, ES384, ES512, EdDSA or Ed25519, as its type
	// allows, or HS256 to HS512, which a Secret needs to say. By default RS256, the one of its curve, or EdDSA.
	Algorithm string
	// Key is a private key; one that is kept elsewhere does as well, such as in a hardware module.
	Key crypto.Signer
	// Secret is for verifiers in the same process, or those that hold it too. It is never published.
	Secret []byte
	// SignFrom is when the key begins to sign, and the one before it ends. Zero is the earliest; but see [Ring.Add].
	SignFrom time.Time
	// SignUntil is when it ends at the latest. Zero: when the next one begins.
	SignUntil time.Time
	// PublishUntil is how long it verifies tokens. Zero: until the last that it signed has expired, which it cannot be before.
	PublishUntil time.Time
}

// Format prints ID and algorithm, for every verb that fmt asks it about.
func (k SigningKey) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, k.describe()) }

// MarshalText gives the same as Format, for JSON and its like.
func (k SigningKey) MarshalText() ([]byte, error) { return []byte(k.describe()), nil }

// MarshalBinary gives the same as Format, for gob and its like.
func (k SigningKey) MarshalBinary() ([]byte, error) { return []byte(k.describe()), nil }

func (k SigningKey) describe() string { return fmt.Sprintf("SigningKey(%q, %q)", k.ID, k.Algorithm) }

// RingOptions say which keys sign, and when. Keys is required.
type RingOptions struct {
	// Keys are at most 100, of which one signs now.
	Keys []SigningKey
	// TokenLifetime is the longest lifetime of the tokens that the keys sign, at most a day; an hour by default. A key that signs no more is published for that
	// long, and 10 minutes more for clocks that differ.
	TokenLifetime time.Duration
	// MaxAge is how long others may keep the published set without asking again; 5 minutes by default.
	MaxAge time.Duration
	// Now replaces time.Now.
	Now func() time.Time
}

// Ring is the keys of an issuer: those to come, the current one, and those that signed tokens which are still good. By the clock, one signs at a time: the
// one that began last. It is a [jwks.Set] for verifiers in the same process and an [http.Handler] for others. It is safe for concurrent use.
type Ring struct {
	lifetime, maxAge time.Duration
	now              func() time.Time

	mu   sync.RWMutex
	keys []*ringKey // guarded by mu; in the order in which they begin to sign
}

var _ jwks.Set = (*Ring)(nil)

// ringKey is a key made ready. It is not changed once it is in a ring.
type ringKey struct {
	SigningKey
	header  string     // of its tokens, encoded
	public  []jwks.Key // the one key that verifies
	retired bool
}

// NewRing returns a ring of these keys. An error names the key and the field that is wrong and says what to write.
func NewRing(opts RingOptions) (*Ring, error) {
	r := &Ring{lifetime: opts.TokenLifetime, maxAge: opts.MaxAge, now: opts.Now}
	if r.lifetime == 0 {
		r.lifetime = time.Hour
	}
	if r.maxAge == 0 {
		r.maxAge = 5 * time.Minute
	}
	if r.now == nil {
		r.now = time.Now
	}
	switch {
	case len(opts.Keys) == 0:
		return nil, errors.New("token: RingOptions.Keys is empty: give it a key that signs")
	case r.lifetime < time.Second || r.lifetime > maxLifetime:
		return nil, fmt.Errorf("token: RingOptions.TokenLifetime is %v: write a value from 1s to %v", r.lifetime, maxLifetime)
	case r.maxAge < time.Second || r.maxAge > maxLifetime:
		return nil, fmt.Errorf("token: RingOptions.MaxAge is %v: write a value from 1s to %v", r.maxAge, maxLifetime)
	}
	for i, k := range opts.Keys {
		ready, err := prepare(k)
		if err == nil {
			r.keys, err = r.with(r.keys, ready)
		}
		if err != nil {
			return nil, fmt.Errorf("token: RingOptions.Keys[%d]: %w", i, err)
		}
	}
	for i, k := range r.keys {
		if end := r.signEnd(r.keys, i); !k.PublishUntil.IsZero() && (end.IsZero() || k.PublishUntil.Before(end.Add(r.lifetime))) {
			return nil, fmt.Errorf("token: RingOptions.Keys: PublishUntil of %q is before the last token that it signs has expired: leave it empty", k.ID)
		}
	}
	if _, err := r.current(); err != nil {
		return nil, errors.New("token: RingOptions.Keys has none that signs now: SignFrom of one must have come, and its SignUntil not passed")
	}
	return r, nil
}

// prepare checks a key.
func prepare(k SigningKey) (*ringKey, error) {
	k.Secret = slices.Clone(k.Secret)
	verifier := jwks.Key{Use: "sig", Secret: k.Secret}
	switch {
	case k.Key != nil && k.Secret != nil:
		return nil, errors.New("Key and Secret are both set: write one of them")
	case k.Key == nil && k.Secret == nil:
		return nil, errors.New("Key and Secret are both empty: write one of them")
	case k.Key != nil:
		verifier.Public = k.Key.Public()
		if verifier.Public == nil {
			return nil, errors.New("Key has no public key")
		}
		// Before its type is asked for anything, since a broken key may have no type to ask.
		if err := verifier.Validate(); err != nil {
			return nil, fmt.Errorf("Key is of no use: %w", err)
		}
		if k.Algorithm == "" {
			k.Algorithm, _ = jws.Algorithm(verifier.Public)
		}
		if k.ID == "" {
			k.ID = verifier.Thumbprint()
		}
	}
	verifier.ID, verifier.Algorithm = k.ID, k.Algorithm
	if err := verifier.Validate(); err != nil {
		return nil, err
	}
	switch {
	case bad(256)(k.ID):
		return nil, errors.New("ID is empty or not UTF-8: a Secret needs an ID")
	case !k.SignUntil.IsZero() && !k.SignUntil.After(k.SignFrom):
		return nil, errors.New("SignUntil is not after SignFrom")
	}
	ready := &ringKey{SigningKey: k, public: []jwks.Key{verifier}}
	var err error
	ready.header, err = header(k.ID, k.Algorithm)
	return ready, err
}

// with returns the keys and one more.
func (r *Ring) with(keys []*ringKey, added *ringKey) ([]*ringKey, error) {
	for _, k := range keys {
		switch {
		case k.ID == added.ID:
			return nil, fmt.Errorf("ID %q is that of another key too", k.ID)
		case !k.retired && k.SignFrom.Equal(added.SignFrom):
			return nil, fmt.Errorf("SignFrom is that of %q too: one key signs at a time", k.ID)
		}
	}
	if len(keys) == maxKeys {
		return nil, fmt.Errorf("there are %d keys already", maxKeys)
	}
	keys = append(slices.Clone(keys), added)
	slices.SortStableFunc(keys, func(a, b *ringKey) int { return cmp.Or(a.SignFrom.Compare(b.SignFrom), cmp.Compare(a.ID, b.ID)) })
	return keys, nil
}

// signEnd is when a key signs its last token: when the next one begins, or before. Zero: not as far as is known.
func (r *Ring) signEnd(keys []*ringKey, i int) time.Time {
	end := keys[i].SignUntil
	for _, next := range keys[i+1:] {
		if !next.retired {
			if end.IsZero() || next.SignFrom.Before(end) {
				end = next.SignFrom
			}
			break
		}
	}
	return end
}

// publishEnd is when a key verifies no more. Zero: not as far as is known.
func (r *Ring) publishEnd(i int) time.Time {
	k := r.keys[i]
	end := r.signEnd(r.keys, i)
	if k.retired || end.IsZero() {
		return k.PublishUntil
	}
	if end = end.Add(r.lifetime + margin); k.PublishUntil.After(end) {
		return k.PublishUntil
	}
	return end
}

func (r *Ring) published(i int, now time.Time) bool {
	end := r.publishEnd(i)
	return end.IsZero() || now.Before(end)
}

// currentIndex is the key that signs: the last that began, unless it has ended. One that has ended is not taken up again.
func (r *Ring) currentIndex(now time.Time) int {
	for i, k := range slices.Backward(r.keys) {
		if k.retired || k.SignFrom.After(now) {
			continue
		}
		if !k.SignUntil.IsZero() && !now.Before(k.SignUntil) {
			return -1
		}
		return i
	}
	return -1
}

func (r *Ring) current() (*ringKey, error) {
	now := r.now()
	r.mu.RLock()
	defer r.mu.RUnlock()
	if i := r.currentIndex(now); i >= 0 {
		return r.keys[i], nil
	}
	return nil, errors.New("token: the ring has no key that signs now: add one")
}

// Keys returns the keys that verify tokens now, secrets too: those with that ID, or all. It never fails.
func (r *Ring) Keys(_ context.Context, kid string) ([]jwks.Key, error) {
	now := r.now()
	r.mu.RLock()
	defer r.mu.RUnlock()
	var all []jwks.Key
	for i, k := range r.keys {
		switch {
		case kid != "" && k.ID != kid || !r.published(i, now):
		case kid != "":
			return k.public, nil
		default:
			all = append(all, k.public...)
		}
	}
	return all, nil
}

// Add adds a key. It is published at once and signs once [RingOptions].MaxAge has passed, because by then everybody knows it. A SignFrom that is not zero says otherwise: later,
// or sooner if the current key must not sign any more, and at once if it has passed. Keys that verify no more are forgotten.
func (r *Ring) Add(k SigningKey) error {
	now := r.now()
	switch {
	case k.SignFrom.IsZero():
		k.SignFrom = now.Add(r.maxAge)
	case k.SignFrom.Before(now):
		k.SignFrom = now // what was signed before was signed by others
	}
	ready, err := prepare(k)
	if err != nil {
		return fmt.Errorf("token: SigningKey: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var keep []*ringKey
	for i, old := range r.keys {
		if r.published(i, now) {
			keep = append(keep, old)
		}
	}
	if keep, err = r.with(keep, ready); err != nil {
		return fmt.Errorf("token: SigningKey: %w", err)
	}
	r.keys = keep
	return nil
}

// Retire ends a key that is not the current one: it verifies tokens until that time and no longer, which has come already if the key was stolen. Zero: until all that
// it may have signed have expired. To retire the current key, add one that signs from now on first.
func (r *Ring) Retire(id string, publishUntil time.Time) error {
	now := r.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	i := slices.IndexFunc(r.keys, func(k *ringKey) bool { return k.ID == id })
	switch {
	case i < 0:
		return errors.New("token: the ring has no key of that ID")
	case i == r.currentIndex(now):
		return errors.New("token: the key is the one that signs: add its successor first")
	}
	if publishUntil.IsZero() {
		publishUntil = now.Add(r.lifetime + margin)
	}
	retired := *r.keys[i]
	retired.retired, retired.PublishUntil = true, publishUntil
	r.keys = slices.Clone(r.keys)
	r.keys[i] = &retired
	return nil
}

// Format prints how many keys there are, whatever the verb.
func (r *Ring) Format(f fmt.State, _ rune) {
	n := 0
	if r != nil {
		r.mu.RLock()
		defer r.mu.RUnlock()
		n = len(r.keys)
	}
	_, _ = fmt.Fprintf(f, "Ring(%d keys)", n)
}
