// SPDX-License-Identifier: Apache-2.0

package session

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/internal/remember"
	"github.com/grpcauth/grpcauth/store"
)

// renewWithin is how long a call waits for its use to be written down.
const renewWithin = time.Second

var (
	errUnknown = errors.New("session: no such session")
	errExpired = errors.New("session: the session has expired")
)

// Authenticate finds the user of the call's session, and writes its use down if the last one was long enough ago.
//
// The user's Expiry is when the session ends without further use. A use that cannot be written down does not fail the call: the session was read and is
// valid, and goes on to the end that it has.
func (b *Backend) Authenticate(ctx context.Context, req *grpcauth.Request) (*grpcauth.User, error) {
	id, byCookie, err := b.credential(req)
	if err != nil {
		return nil, err
	}
	l, r := b.lookup(id), &record{} // on the stack: whoever remembers it makes a copy
	now, err := l.find(ctx, req, r)
	if err != nil {
		return nil, err
	}
	if err := checkCertificate(req, r.user.Binding); err != nil {
		return nil, err
	}
	user, expiry := req.Own(&r.user), b.expiry(r)
	user.Expiry = expiry
	if b.opts.Check != nil {
		if err := b.opts.Check(ctx, user); err != nil {
			return nil, fmt.Errorf("session: the check of the user: %w", undecided(err))
		}
	}
	if !b.due(r, now) {
		return user, nil
	}
	renewed, byThis, err := l.renew(ctx, r)
	if err != nil {
		return nil, err
	}
	if user.Expiry.Equal(expiry) { // a Check may have set an earlier one
		user.Expiry = b.expiry(renewed)
	}
	if byThis && byCookie && !req.Recheck() {
		req.SetHeader("set-cookie", b.setCookie(id, b.expiry(renewed)))
	}
	return user, nil
}

// due reports whether the use of a session is to be written down. A clock that goes back makes nothing due.
func (b *Backend) due(r *record, now time.Time) bool {
	return now.UnixMilli()-r.seen >= b.opts.RenewEvery.Milliseconds()
}

// lookup is one look at a session.
type lookup struct {
	*Backend

	id         string
	memory     remember.Key // of the id, if sessions are remembered
	generation uint64
}

func (b *Backend) lookup(id string) lookup {
	l := lookup{Backend: b, id: id}
	if b.known != nil {
		l.memory = b.keyer.Key(id)
		b.mu.RLock()
		l.generation = b.generation
		b.mu.RUnlock()
	}
	return l
}

// find remembers the session of an id, or reads it. It is valid at the time that is returned.
func (l *lookup) find(ctx context.Context, req *grpcauth.Request, r *record) (now time.Time, err error) {
	if l.known == nil {
		return l.read(ctx, keyOf(l.id), r)
	}
	if !req.Recheck() {
		now = l.opts.Now()
		if kept, ok := l.known.Get(l.memory, now); ok && !l.due(kept, now) {
			req.Remembered()
			*r = *kept
			return now, nil
		}
		if _, ok := l.unknown.Get(l.memory, now); ok {
			req.Remembered()
			return now, grpcauth.Errorf(grpcauth.CodeInvalid, "%w", errUnknown)
		}
	}
	if now, err = l.read(ctx, keyOf(l.id), r); err != nil {
		l.forgetOn(err)
		return now, err
	}
	l.remember(r)
	return now, nil
}

// forgetOn takes a refusal into account. An error that decides nothing changes nothing.
func (l *lookup) forgetOn(err error) {
	if l.known == nil || grpcauth.CodeOf(err).GRPC() != codes.Unauthenticated {
		return
	}
	l.known.Delete(l.memory)
	if errors.Is(err, errUnknown) {
		now := l.opts.Now()
		l.unknown.Put(l.memory, struct{}{}, now, now.Add(min(l.opts.RememberFor, unknownFor)))
	}
}

func (l *lookup) remember(r *record) {
	if l.known == nil {
		return
	}
	now, kept := l.opts.Now(), *r
	until := now.Add(l.opts.RememberFor)
	if expiry := l.expiry(r); expiry.Before(until) {
		until = expiry
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.Backend.generation == l.generation {
		l.known.Put(l.memory, &kept, now, until)
	}
}

// read reads a session, which is valid at the time that is returned.
func (b *Backend) read(ctx context.Context, key string, r *record) (now time.Time, err error) {
	if err := b.load(ctx, key, r); err != nil {
		return now, err
	}
	if now = b.opts.Now(); b.expired(r, now) {
		return now, grpcauth.Errorf(grpcauth.CodeExpired, "%w", errExpired)
	}
	return now, nil
}

// get returns what load reads.
func (b *Backend) get(ctx context.Context, key string) (*record, error) {
	r := &record{}
	if err := b.load(ctx, key, r); err != nil {
		return nil, err
	}
	return r, nil
}

// load reads a session that the store has, expired or not, unless it was replaced.
func (b *Backend) load(ctx context.Context, key string, r *record) error {
	rec, err := store.Get(ctx, b.opts.Store, key)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return grpcauth.Errorf(grpcauth.CodeInvalid, "%w", errUnknown)
	case err != nil:
		return failed("read", err)
	}
	if err := r.decode(&rec); err != nil {
		return failed("read", err)
	}
	if r.end == 0 {
		return grpcauth.Errorf(grpcauth.CodeInvalid, "%w", errUnknown)
	}
	return nil
}

// failed is what became of a step of the store that decided nothing. A mixed-up answer is not only that: something is broken.
func failed(step string, err error) error {
	if errors.Is(err, store.ErrSwapped) {
		return grpcauth.Errorf(grpcauth.CodeInternal, "session: %w", err)
	}
	return fmt.Errorf("session: the store could not %s: %w", step, undecided(err))
}

// undecided keeps an ErrNoCredentials of the application from reading as "not mine": the credential was found.
func undecided(err error) error {
	if grpcauth.CodeOf(err) == grpcauth.CodeMissing {
		return grpcauth.Errorf(grpcauth.CodeInternal, "%w", err)
	}
	return err
}

// renew writes the use of a session down, in place of the very record that was read. If that is no longer there, the session is read again: one that was
// revoked meanwhile is refused, and one that another call has renewed is as good.
func (l *lookup) renew(ctx context.Context, r *record) (renewed *record, byThis bool, err error) {
	next := *r
	next.seen = l.opts.Now().UnixMilli()
	patient, cancel := context.WithTimeout(ctx, renewWithin)
	defer cancel()
	renewed, err = l.put(patient, next)
	switch {
	case err == nil:
		l.remember(renewed)
		return renewed, true, nil
	case !errors.Is(err, store.ErrConflict):
		return r, false, nil
	}
	renewed = &record{}
	if _, err = l.read(ctx, r.key, renewed); err != nil {
		l.forgetOn(err)
		return nil, false, err
	}
	l.remember(renewed)
	return renewed, false, nil
}

// checkCertificate refuses the session of a user who logged in with a certificate (RFC 8705) to whoever does not show it.
func checkCertificate(req *grpcauth.Request, to grpcauth.Binding) error {
	if to.CertSHA256 == "" {
		return nil
	}
	cert, ok := req.Certificate()
	if !ok {
		return grpcauth.Errorf(grpcauth.CodeInvalid, "session: bound to a certificate, and the connection has none that was verified")
	}
	sum := sha256.Sum256(cert.Raw)
	if subtle.ConstantTimeCompare([]byte(base64.RawURLEncoding.EncodeToString(sum[:])), []byte(to.CertSHA256)) != 1 {
		return grpcauth.Errorf(grpcauth.CodeInvalid, "session: bound to another certificate")
	}
	return nil
}
