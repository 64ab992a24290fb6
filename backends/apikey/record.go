// SPDX-License-Identifier: Apache-2.0

package apikey

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/grpcauth/grpcauth/store"
)

const (
	// keepExpired is how long the record of a key outlives it, so that its holder is told that it has expired.
	keepExpired = 30 * 24 * time.Hour
	// maxValue is the size of the largest record; names, scopes and permissions share it.
	maxValue = 16 << 10
	hashSize = 2 * sha256.Size
)

// head begins every value. The hashes of both secrets follow in hexadecimal, at the same place in all values, so that a secret is compared with
// them in the same time whatever else the value says.
const head = `{"v":1,"sha256":"`

// record is what the store keeps of a key. Times are in milliseconds since 1970; zero is none.
type record struct {
	Version     int      `json:"v"`
	SHA256      string   `json:"sha256"`  // of the newest secret and of the one before
	OldEnd      int64    `json:"old_end"` // of the secret before; zero: there is none, and its hash is of nothing
	ID          string   `json:"id"`
	Name        string   `json:"name"`
	Issuer      string   `json:"issuer"`
	Owner       string   `json:"owner"`
	Scopes      []string `json:"scopes"`
	Permissions []string `json:"permissions"`
	Created     int64    `json:"created"`
	Expiry      int64    `json:"expiry"`
	Used        int64    `json:"used"`
	Disabled    bool     `json:"disabled"`
}

// recordKey and recordOwner hold the prefix, so that a key of one environment stays one where two of them share a store.
func (b *Backend) recordKey(id string) string { return "apikey/" + b.opts.Prefix + "/" + id }

func (b *Backend) recordOwner(issuer, owner string) string {
	return "apikey/" + b.opts.Prefix + "/" + issuer + "\x00" + owner
}

var errRecord = errors.New("apikey: the record of the key is not what this package writes")

// which of the secrets of a record was shown.
type which int

const (
	none which = iota
	newer
	older
)

// compare hashes a secret and compares it with both hashes of a value, in the same time for all secrets and all values.
func compare(value []byte, secret string) (which, error) {
	var hashes [2 * sha256.Size]byte
	if len(value) < len(head)+2*hashSize || string(value[:len(head)]) != head {
		return none, errRecord
	}
	if _, err := hex.Decode(hashes[:], value[len(head):][:2*hashSize]); err != nil {
		return none, errRecord
	}
	shown := sha256.Sum256([]byte(secret))
	first := subtle.ConstantTimeCompare(shown[:], hashes[:sha256.Size])
	second := subtle.ConstantTimeCompare(shown[:], hashes[sha256.Size:])
	return which(subtle.ConstantTimeSelect(first, int(newer), second*int(older))), nil
}

// decode reads a record, and nothing that this package did not write. One whose value is another's is [store.ErrSwapped].
func (b *Backend) decode(rec store.Record) (*record, error) {
	r := &record{}
	if err := json.Unmarshal(rec.Value, r); err != nil {
		return nil, errRecord // the error itself may show what the record says
	}
	if encoded, err := r.encode(); err != nil || !bytes.Equal(encoded, rec.Value) {
		return nil, errRecord // a member is unknown, missing, null, or elsewhere
	}
	if b.recordKey(r.ID) != rec.Key || b.recordOwner(r.Issuer, r.Owner) != rec.Owner {
		return nil, store.ErrSwapped
	}
	return r, nil
}

// encode is the one way to write a record.
func (r *record) encode() ([]byte, error) {
	value, err := json.Marshal(r)
	switch {
	case err != nil:
		return nil, errors.New("apikey: the key has text that is not UTF-8")
	case r.Version != 1 || r.ID == "" || r.Owner == "" || len(r.SHA256) != 2*hashSize || !bytes.HasPrefix(value, []byte(head)):
		return nil, errRecord
	case len(value) > maxValue:
		return nil, fmt.Errorf("apikey: the key's record has %d bytes, more than %d: give it a shorter name, or fewer scopes and permissions", len(value), maxValue)
	}
	return value, nil
}

// stored is the record as it is put in place of the one of that version.
func (b *Backend) stored(r *record, version int64) (store.Record, error) {
	value, err := r.encode()
	if err != nil {
		return store.Record{}, err
	}
	rec := store.Record{Key: b.recordKey(r.ID), Owner: b.recordOwner(r.Issuer, r.Owner), Value: value, Version: version}
	if r.Expiry != 0 {
		rec.Expiry = fromMillis(r.Expiry).Add(keepExpired)
	}
	return rec, nil
}

// rotate makes a secret the newest. The one before ends then, or is of nothing if the time is zero.
func (r *record) rotate(secret string, oldEnd int64) {
	older := r.SHA256[:min(hashSize, len(r.SHA256))]
	if r.OldEnd = oldEnd; oldEnd == 0 {
		older = rand.Text()
		sum := sha256.Sum256([]byte(older))
		older = hex.EncodeToString(sum[:])
	}
	sum := sha256.Sum256([]byte(secret))
	r.SHA256 = hex.EncodeToString(sum[:]) + older
}

// key is what an application sees of a record.
func (r *record) key(now time.Time) *Key {
	k := &Key{
		ID: r.ID, Name: r.Name, Issuer: r.Issuer, Owner: r.Owner, Scopes: r.Scopes, Permissions: r.Permissions,
		Created: fromMillis(r.Created), Expiry: fromMillis(r.Expiry), LastUsed: fromMillis(r.Used), Disabled: r.Disabled,
	}
	if !ended(k.Expiry, now) {
		k.Secrets = 1
		if end := fromMillis(r.OldEnd); !end.IsZero() && !ended(end, now) {
			k.Secrets = 2
		}
	}
	return k
}

func (k *Key) clone() *Key {
	c := *k
	c.Scopes, c.Permissions = slices.Clone(k.Scopes), slices.Clone(k.Permissions)
	return &c
}

// dummyValue is the value of a record of the usual size whose secrets nobody knows.
func dummyValue() []byte {
	r := record{
		Version: 1, ID: random(idSize), Name: random(16), Owner: random(16), Scopes: []string{random(8), random(8)}, Permissions: []string{},
		Created: 1e12, Expiry: 2e12, Used: 1e12,
	}
	r.rotate(random(secretSize), 0)
	value, _ := r.encode() // it is well-formed
	return value
}

// millis rounds down, as stores do. The zero time is 0.
func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func fromMillis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}
