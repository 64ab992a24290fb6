// SPDX-License-Identifier: Apache-2.0

package token

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/grpcauth/grpcauth/store"
)

const (
	causeReuse  = "reused"
	causeRevoke = "revoked"

	maxData = 32 << 10
)

// family is the one record of a family, so that each change to it is one compare-and-swap.
type family struct {
	V    int    `json:"v"`
	Mark string `json:"mark"` // random in each write, so that a writer knows its own again
	Grant
	// Proof, Current and Previous are hashes: of what all tokens of the family have in common, of the secret that is good, and of the one before.
	Proof    []byte `json:"proof"`
	Current  []byte `json:"current"`
	Previous []byte `json:"previous,omitzero"`
	// Sealed is the current token's secret, encrypted under the one before, for a client that lost it.
	Sealed    []byte `json:"sealed,omitzero"`
	GraceUsed int    `json:"grace_used,omitzero"`
	Dead      string `json:"dead,omitzero"` // why the family was ended

	version int64
}

func recordKey(id string) string     { return "refresh/" + id }
func ownerKey(subject string) string { return "refresh/" + subject }

var errDamaged = errors.New("token: the record of a family cannot be read")

// parseFamily reads a record. Whatever is not just as it was written is an error: nothing can be decided by it.
func parseFamily(rec store.Record) (*family, error) {
	f := &family{}
	err := json.Unmarshal(rec.Value, f, json.RejectUnknownMembers(true))
	if err != nil || f.V != 1 || len(f.Proof) != sha256.Size || len(f.Current) != sha256.Size || rec.Key != recordKey(f.Family) || rec.Owner != ownerKey(f.Subject) {
		return nil, errDamaged // the decoder's error may quote the record
	}
	f.version = rec.Version
	return f, nil
}

// clone shares nothing with g.
func (g *Grant) clone() Grant {
	c := *g
	c.Scopes, c.Audiences, c.Data = slices.Clone(g.Scopes), slices.Clone(g.Audiences), bytes.Clone(g.Data)
	return c
}

// grant is a copy for the caller.
func (f *family) grant() *Grant {
	g := f.Grant.clone()
	return &g
}

func (f *family) isCurrent(t text) bool { return equal(string(f.Current), string(hash(t.secret))) }

// find reads the family of a token, and makes sure that somebody was once given a token of it.
func (r *Refresher) find(ctx context.Context, t text) (*family, error) {
	rec, err := store.Get(ctx, r.opts.Store, recordKey(t.family))
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, ErrInvalid
	case err != nil:
		return nil, fmt.Errorf("token: the family could not be read: %w", err)
	}
	f, err := parseFamily(rec)
	if err != nil {
		return nil, err
	}
	if !equal(string(f.Proof), string(hash(t.proof))) {
		return nil, ErrInvalid
	}
	return f, nil
}

// put writes a family. If the store does not say that it has, put looks whether it has nonetheless: answers get lost, and clients of stores that try again by themselves
// run into their own first write.
func (r *Refresher) put(ctx context.Context, f *family) error {
	f.V, f.Mark = 1, random(16)
	rec := store.Record{Key: recordKey(f.Family), Owner: ownerKey(f.Subject), Expiry: f.End, Version: f.version}
	if idle := f.Used.Add(r.opts.Idle); f.Dead == "" && idle.Before(rec.Expiry) {
		rec.Expiry = idle
	}
	rec.Expiry = rec.Expiry.Add(r.linger)
	var err error
	if rec.Value, err = json.Marshal(f); err != nil {
		return errors.New("token: the family cannot be written")
	}
	if len(rec.Value) > store.MaxValue {
		return fmt.Errorf("token: the family takes %d bytes, more than %d: put less into the Grant", len(rec.Value), store.MaxValue)
	}
	err = r.opts.Store.Put(ctx, rec)
	if err == nil {
		return nil
	}
	if there, errGet := store.Get(ctx, r.opts.Store, rec.Key); errGet == nil && bytes.Equal(there.Value, rec.Value) {
		return nil
	}
	return fmt.Errorf("token: the family could not be written: %w", err)
}

// advance makes the successor the token that is good.
func (f *family) advance(t, successor text, now time.Time, grace bool) error {
	f.Previous, f.Current = f.Current, hash(successor.secret)
	f.Used, f.GraceUsed, f.Sealed = now, 0, nil
	if !grace {
		return nil
	}
	aead, err := sealer(t)
	if err != nil {
		return err
	}
	f.Sealed = aead.Seal(nil, nil, successor.secret, []byte(f.Family)) //nolint:gosec // it makes a random nonce itself
	return nil
}

// open is the successor of a token that was used, for whoever has that token: the store alone cannot make it.
func (f *family) open(t text) (text, error) {
	aead, err := sealer(t)
	if err != nil {
		return text{}, err
	}
	secret, err := aead.Open(nil, nil, f.Sealed, []byte(f.Family))
	if err != nil || len(secret) != secretSize {
		return text{}, errDamaged
	}
	return text{t.family, t.proof, secret}, nil
}

// sealer encrypts under a token's secret, or rather under a key made of it that the hash in the store says nothing about.
func sealer(t text) (cipher.AEAD, error) {
	mac := hmac.New(sha256.New, t.secret)
	mac.Write([]byte("grpcauth successor of a refresh token"))
	block, err := aes.NewCipher(mac.Sum(nil))
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}
