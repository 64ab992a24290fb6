// SPDX-License-Identifier: Apache-2.0

// Package apikey accepts the keys of machines: texts that name their record, prove it by a secret, and end in a checksum.
//
// A key is prefix_id_secret_checksum. It is shown once, when it is made; the store sees the SHA-256 of its secret. A typo is refused by the
// checksum without asking the store. An unknown key, a disabled one, one whose owner is gone, and a wrong secret are one answer, after the same work.
package apikey

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/internal/remember"
	"github.com/grpcauth/grpcauth/internal/wire"
	"github.com/grpcauth/grpcauth/store"
	"github.com/grpcauth/grpcauth/throttle"
)

// Options say where keys are kept and what they look like. Store and Prefix are required.
type Options struct {
	// Store keeps the keys' records, without their secrets.
	Store store.Store
	// Prefix is what every key begins with: whose it is and for which environment, such as "orders_live". Keys with another are refused
	// without asking the store. It has 2 to 32 lower-case letters, digits and single underscores, and begins with a letter.
	Prefix string
	// Header is the metadata key that carries the key; "x-api-key" by default.
	Header string
	// Owner finds the owner of a key. It is asked on every call with a right key, so an owner who was disabled counts at once. A nil user refuses the
	// call like an unknown key; an error means that the owner's record could not be asked, unless it is an [grpcauth.AuthenticationError].
	//
	// The user's Name, and the earlier Expiry, become the caller's. Scopes and Permissions narrow those of the key: nil says nothing of
	// them, and of a list, also an empty one, the key keeps what both have. Nothing is ever added. ID and Issuer are empty or those of the key.
	Owner func(ctx context.Context, key *Key) (*grpcauth.User, error)
	// FlushEvery is how exact the times of last use are, which are written in batches of that age, never in the way of a call; a minute by default,
	// never written if negative.
	FlushEvery time.Duration
	// MaxPerOwner is how many keys that have not expired an owner has; 100 by default, no limit if negative. Those who create keys of one owner at
	// the same time may exceed it by their number.
	MaxPerOwner int
	// RememberFor is how long a right key is remembered at the most, so that the store is not asked; not at all by default. A key that was
	// revoked, disabled or rotated here counts at once; one that was on another node may be accepted for that long.
	RememberFor time.Duration
	// MaxRemembered is how many right keys are remembered if RememberFor is set; 10,000 by default. Each takes about a kilobyte.
	MaxRemembered int
	// Limiter refuses attempts at a key, or from an address, that failed too often lately, before a secret is compared. The account is the key's ID. A
	// key that was right within 5 minutes is no attempt, though it is still judged. No limit by default: a secret of 256 bits is not guessed.
	Limiter *throttle.Limiter
	// Realm is the realm of the challenge; the server's error domain by default.
	Realm string
	// Now replaces time.Now.
	Now func() time.Time
}

var (
	// ErrNotFound means that there is no key of that ID.
	ErrNotFound = errors.New("apikey: no such key")
	// ErrTooMany means that the owner has as many keys as [Options].MaxPerOwner says.
	ErrTooMany = errors.New("apikey: the owner has too many keys")
	// ErrRotating means that two secrets are live already, since an earlier rotation is not over.
	ErrRotating = errors.New("apikey: two secrets are live: an earlier rotation is not over")
)

// Backend is a [grpcauth.Backend] for API keys, and makes them. It is safe for concurrent use.
type Backend struct {
	opts    Options
	schemes []grpcauth.Scheme
	dummy   []byte // the value of a record that nobody has the secret of
	used    *used
	proven  *proven // nil: no Limiter

	keyer      *remember.Keyer
	right      *remember.Cache[*verdict]
	mu         sync.RWMutex // guards generation, and is held while a right key of that generation is remembered
	generation uint64       // changes with each change of a key, so that a call under way remembers nothing of before it
}

// verdict is never changed once it is made.
type verdict struct {
	key *Key
	end time.Time // of the secret that was shown; zero: with the key
}

var (
	_ grpcauth.Backend   = (*Backend)(nil)
	_ grpcauth.Describer = (*Backend)(nil)
	_ io.Closer          = (*Backend)(nil)
)

// New returns a backend. An error names the option that is wrong. Close it, so that the last times of last use are written.
func New(opts Options) (*Backend, error) {
	if opts.Header == "" {
		opts.Header = "x-api-key"
	}
	if opts.FlushEvery == 0 {
		opts.FlushEvery = time.Minute
	}
	if opts.MaxPerOwner == 0 {
		opts.MaxPerOwner = 100
	}
	if opts.MaxRemembered == 0 {
		opts.MaxRemembered = 10_000
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	switch {
	case opts.Store == nil:
		return nil, errors.New("apikey: Options.Store is nil: write where the keys are kept, such as a memstore")
	case !validPrefix(opts.Prefix):
		return nil, fmt.Errorf("apikey: Options.Prefix is not one: write 2 to %d lower-case letters, digits and single underscores, such as \"orders_live\"", maxPrefix) // it may be a whole key
	case !wire.CredentialKey(opts.Header):
		return nil, errors.New("apikey: Options.Header is no metadata key for keys: write one in lower case that is not reserved and does not end in -bin, such as \"x-api-key\"")
	case opts.RememberFor < 0:
		return nil, errors.New("apikey: Options.RememberFor is negative: write a positive duration, or zero to remember nothing")
	case opts.MaxRemembered < 0:
		return nil, errors.New("apikey: Options.MaxRemembered is negative: write a positive number, or zero for the default")
	}
	if opts.RememberFor == 0 {
		opts.MaxRemembered = 0
	}
	scheme := grpcauth.Scheme{Name: "apikey", Header: opts.Header, AuthScheme: "ApiKey", Params: map[string]string{"header": opts.Header}}
	if opts.Realm != "" {
		scheme.Params["realm"] = opts.Realm
	}
	b := &Backend{
		opts: opts, schemes: []grpcauth.Scheme{scheme}, dummy: dummyValue(),
		keyer: remember.NewKeyer(), right: remember.New[*verdict](opts.MaxRemembered),
	}
	b.used = newUsed(b)
	if opts.Limiter != nil {
		b.proven = newProven()
	}
	return b, nil
}

// Format prints the header alone, whatever the verb.
func (b *Backend) Format(f fmt.State, _ rune) {
	if b == nil {
		_, _ = io.WriteString(f, "<nil>")
		return
	}
	_, _ = fmt.Fprintf(f, "Backend(%q)", b.opts.Header)
}

// Schemes says that the backend reads API keys from its header.
func (b *Backend) Schemes() []grpcauth.Scheme { return b.schemes }

// Authenticate checks the call's key. The user is the key's owner, with the scopes and permissions of the key; the claims are its "key_id".
func (b *Backend) Authenticate(ctx context.Context, req *grpcauth.Request) (*grpcauth.User, error) {
	text, err := req.Value(b.opts.Header)
	if err != nil {
		return nil, err
	}
	parts, err := parse(text)
	if err != nil {
		return nil, grpcauth.Errorf(grpcauth.CodeMalformed, "apikey: %w", err)
	}
	if parts.prefix != b.opts.Prefix {
		return nil, grpcauth.Errorf(grpcauth.CodeInvalid, "apikey: the key is for another service or environment")
	}
	v, err := b.look(ctx, req, text, parts)
	if err != nil {
		return nil, err
	}
	user, err := b.user(ctx, v)
	if err != nil {
		return nil, err
	}
	b.used.note(v.key) //nolint:contextcheck // what is written later does not end with the call
	return req.Own(user), nil
}

var (
	errUnknown  = errors.New("no such key")
	errWrong    = errors.New("the secret is wrong")
	errDisabled = errors.New("the key is disabled")
	errNoOwner  = errors.New("the owner is gone")
	errKeyEnded = errors.New("the key has expired")
	errRotated  = errors.New("the secret was replaced by a newer one")
)

// look judges a key, or remembers that it was right.
func (b *Backend) look(ctx context.Context, req *grpcauth.Request, text string, parts parts) (*verdict, error) {
	if b.opts.RememberFor == 0 {
		return b.attempt(ctx, req, text, parts)
	}
	remembered := b.keyer.Key(text)
	if !req.Recheck() {
		if v, ok := b.right.Get(remembered, b.opts.Now()); ok {
			req.Remembered()
			return v, nil
		}
	}
	b.mu.RLock()
	generation := b.generation
	b.mu.RUnlock()
	v, err := b.attempt(ctx, req, text, parts)
	if err != nil {
		if grpcauth.CodeOf(err) != grpcauth.CodeUnavailable {
			b.right.Delete(remembered)
		}
		return nil, err
	}
	now := b.opts.Now()
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.generation == generation {
		b.right.Put(remembered, v, now, earliest(now.Add(b.opts.RememberFor), v.key.Expiry, v.end))
	}
	return v, nil
}

// forget lets no key of that ID be remembered from before.
func (b *Backend) forget(id string) {
	b.mu.Lock()
	b.generation++
	b.mu.Unlock()
	b.right.DeleteFunc(func(_ remember.Key, v *verdict) bool { return v.key.ID == id })
}

// judge compares the secret with the record of the key's ID. Where there is none a dummy stands in, so that both take the same time; nothing else
// of a record is looked at before the secret was right.
func (b *Backend) judge(ctx context.Context, parts parts) (*verdict, error) {
	rec, err := store.Get(ctx, b.opts.Store, b.recordKey(parts.id))
	refusal := errWrong
	switch {
	case errors.Is(err, store.ErrNotFound):
		rec, refusal = store.Record{Value: bytes.Clone(b.dummy)}, errUnknown
	case errors.Is(err, store.ErrSwapped):
		return nil, grpcauth.Errorf(grpcauth.CodeInternal, "apikey: %w", err)
	case err != nil:
		return nil, fmt.Errorf("apikey: the key could not be looked up: %w", undecided(err))
	}
	which, err := compare(rec.Value, parts.secret)
	switch {
	case err != nil:
		return nil, err
	case which == none || errors.Is(refusal, errUnknown):
		return nil, grpcauth.Errorf(grpcauth.CodeInvalid, "apikey: %w", refusal)
	}
	r, err := b.decode(rec)
	switch {
	case errors.Is(err, store.ErrSwapped):
		return nil, grpcauth.Errorf(grpcauth.CodeInternal, "apikey: %w", err)
	case err != nil:
		return nil, err
	}
	now := b.opts.Now()
	v := &verdict{key: r.key(now)}
	if which == older {
		v.end = fromMillis(r.OldEnd)
	}
	switch {
	case which == older && r.OldEnd == 0:
		return nil, grpcauth.Errorf(grpcauth.CodeInvalid, "apikey: %w", errWrong)
	case r.Disabled:
		return nil, grpcauth.Errorf(grpcauth.CodeInvalid, "apikey: %w", errDisabled)
	case ended(v.key.Expiry, now):
		return nil, grpcauth.Errorf(grpcauth.CodeExpired, "apikey: %w", errKeyEnded)
	case ended(v.end, now):
		return nil, grpcauth.Errorf(grpcauth.CodeExpired, "apikey: %w", errRotated)
	}
	return v, nil
}

// user is who calls with a right key, as the application sees the owner now.
func (b *Backend) user(ctx context.Context, v *verdict) (*grpcauth.User, error) {
	key := v.key
	user := &grpcauth.User{
		ID: key.Owner, Issuer: key.Issuer, Name: key.Name, Method: "apikey", Scopes: key.Scopes, Permissions: key.Permissions,
		Expiry: earliest(key.Expiry, v.end), RawClaims: []byte(`{"key_id":"` + key.ID + `"}`),
	}
	if b.opts.Owner == nil {
		return user, nil
	}
	owner, err := b.opts.Owner(ctx, key.clone())
	switch {
	case err != nil:
		return nil, fmt.Errorf("apikey: the owner could not be looked up: %w", undecided(err))
	case owner == nil:
		return nil, grpcauth.Errorf(grpcauth.CodeInvalid, "apikey: %w", errNoOwner)
	case owner.ID != "" && owner.ID != key.Owner, owner.Issuer != "" && owner.Issuer != key.Issuer:
		return nil, grpcauth.Errorf(grpcauth.CodeInternal, "apikey: Options.Owner returned another user than the key's owner")
	}
	if owner.Name != "" {
		user.Name = owner.Name
	}
	user.Expiry = earliest(user.Expiry, owner.Expiry)
	user.Scopes = narrowScopes(user.Scopes, owner.Scopes)
	user.Permissions = narrowPermissions(user.Permissions, owner)
	return user, nil
}

// undecided keeps an ErrNoCredentials of the application from reading as "not mine": the credential was found.
func undecided(err error) error {
	if grpcauth.CodeOf(err) == grpcauth.CodeMissing {
		return grpcauth.Errorf(grpcauth.CodeInternal, "%w", err)
	}
	return err
}

// ended reports whether an end, which is not zero, has come.
func ended(end, now time.Time) bool { return !end.IsZero() && !now.Before(end) }

// earliest returns the first of some times; a zero time is never.
func earliest(times ...time.Time) (first time.Time) {
	for _, t := range times {
		if first.IsZero() || !t.IsZero() && t.Before(first) {
			first = t
		}
	}
	return first
}
