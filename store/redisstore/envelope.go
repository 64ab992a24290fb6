// SPDX-License-Identifier: Apache-2.0

package redisstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/grpcauth/grpcauth/store"
)

// A record is one string in Redis: a head of fixed size, which the script of Put reads too, then key, owner and value. Numbers are
// big-endian.
//
//	0  format, 1
//	1  version, 8 bytes
//	9  expiry in milliseconds since 1970, 8 bytes; 0: never
//	17 size of the key, 2 bytes
//	19 size of the owner, 2 bytes
//	21 size of the value, 4 bytes
const (
	format   = 1
	headSize = 25
)

const (
	maxVersion = math.MaxInt64
	// maxMillis is the last millisecond that Lua and sorted sets can count to, in the year 287396.
	maxMillis = 1<<53 - 1
)

var errCorrupt = errors.New("redis: what is stored under a record's key is not a record")

// millis is a time as it is stored. What ended before 1970 ends with its first millisecond: no clock shows either.
func millis(t time.Time) int64 {
	switch {
	case t.IsZero():
		return 0
	case t.Before(time.UnixMilli(1)):
		return 1
	case t.After(time.UnixMilli(maxMillis)):
		return maxMillis
	}
	return t.UnixMilli()
}

func expired(expiry, now time.Time) bool {
	return !expiry.IsZero() && !now.Before(expiry)
}

// encode returns the record as it is stored.
func encode(rec store.Record) []byte {
	data := make([]byte, 0, headSize+len(rec.Key)+len(rec.Owner)+len(rec.Value))
	data = append(data, format)
	data = appendNumber(data, rec.Version, 8)
	data = appendNumber(data, millis(rec.Expiry), 8)
	data = appendNumber(data, int64(len(rec.Key)), 2)
	data = appendNumber(data, int64(len(rec.Owner)), 2)
	data = appendNumber(data, int64(len(rec.Value)), 4)
	data = append(data, rec.Key...)
	data = append(data, rec.Owner...)
	return append(data, rec.Value...)
}

func appendNumber(data []byte, n int64, size int) []byte {
	for i := range size {
		data = append(data, byte(n>>(8*(size-1-i)))) //nolint:gosec // one byte after the other
	}
	return data
}

// decode takes what encode returns and nothing else.
func decode(data string) (store.Record, error) {
	if len(data) < headSize || data[0] != format {
		return store.Record{}, errCorrupt
	}
	head, body := []byte(data[:headSize]), data[headSize:]
	version, expiry := binary.BigEndian.Uint64(head[1:]), binary.BigEndian.Uint64(head[9:])
	key, owner := int(binary.BigEndian.Uint16(head[17:])), int(binary.BigEndian.Uint16(head[19:]))
	value := int(binary.BigEndian.Uint32(head[21:]))
	if version < 1 || version > maxVersion || expiry > maxMillis || key+owner+value != len(body) {
		return store.Record{}, errCorrupt
	}
	rec := store.Record{Key: body[:key], Owner: body[key : key+owner], Value: []byte(body[key+owner:]), Version: int64(version)}
	if expiry > 0 {
		rec.Expiry = time.UnixMilli(int64(expiry))
	}
	if checkRecord(rec) != nil {
		return store.Record{}, errCorrupt
	}
	return rec, nil
}

func checkKey(key string) error {
	if key == "" || len(key) > store.MaxKey {
		return fmt.Errorf("key: has %d bytes: write 1 to %d", len(key), store.MaxKey)
	}
	return nil
}

func checkOwner(owner string) error {
	if len(owner) > store.MaxKey {
		return fmt.Errorf("owner: has %d bytes: write at most %d", len(owner), store.MaxKey)
	}
	return nil
}

func checkRecord(rec store.Record) error {
	if err := checkKey(rec.Key); err != nil {
		return err
	}
	if err := checkOwner(rec.Owner); err != nil {
		return err
	}
	if len(rec.Value) > store.MaxValue {
		return fmt.Errorf("value: has %d bytes: write at most %d", len(rec.Value), store.MaxValue)
	}
	return nil
}
