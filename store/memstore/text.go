// SPDX-License-Identifier: Apache-2.0

package memstore

import (
	"encoding/binary"
	"time"

	"github.com/grpcauth/grpcauth/store"
)

// text is all of a record in one piece of memory, without pointers: the ends of key and owner, the expiry and the version, and then the key, the owner
// and the value.
type text string

const header = 2 + 2 + 8 + 8

func newText(key, owner string, value []byte, expiry, number int64) text {
	t := make([]byte, 0, header+len(key)+len(owner)+len(value))
	t = binary.LittleEndian.AppendUint16(t, uint16(len(key)))            //nolint:gosec // store.MaxKey is less
	t = binary.LittleEndian.AppendUint16(t, uint16(len(key)+len(owner))) //nolint:gosec // as is twice as much
	t = binary.LittleEndian.AppendUint64(t, uint64(expiry))              //nolint:gosec // and back again below
	t = binary.LittleEndian.AppendUint64(t, uint64(number))              //nolint:gosec // as this
	return text(append(append(append(t, key...), owner...), value...))
}

func (t text) key() string   { return string(t[header : header+t.end(0)]) }
func (t text) owner() string { return string(t[header+t.end(0) : header+t.end(2)]) }
func (t text) expiry() int64 { return t.number(4) }

func (t text) end(at int) int { return int(t[at]) | int(t[at+1])<<8 }

func (t text) number(at int) int64 {
	return int64(binary.LittleEndian.Uint64([]byte(t[at : at+8]))) //nolint:gosec // it was one
}

func (t text) record() store.Record {
	rec := store.Record{Key: t.key(), Owner: t.owner(), Value: []byte(t[header+t.end(2):]), Version: t.number(12)}
	if t.expiry() != never {
		rec.Expiry = time.UnixMilli(t.expiry())
	}
	return rec
}
