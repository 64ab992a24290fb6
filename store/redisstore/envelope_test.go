// SPDX-License-Identifier: Apache-2.0

package redisstore

import (
	"bytes"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/grpcauth/grpcauth/store"
)

func FuzzEnvelope(f *testing.F) {
	for _, rec := range []store.Record{
		{Key: "k", Version: 1},
		{Key: "\x00{é\xff", Owner: "o", Value: []byte("value"), Version: math.MaxInt64, Expiry: time.UnixMilli(maxMillis)},
		{Key: strings.Repeat("k", store.MaxKey), Owner: strings.Repeat("o", store.MaxKey), Value: make([]byte, 3000), Version: 7, Expiry: time.UnixMilli(1)},
	} {
		whole := string(encode(rec))
		f.Add(whole)
		f.Add(whole[:len(whole)-1])
		f.Add(whole + "x")
		f.Add("\x02" + whole[1:])
	}
	f.Add("")
	f.Add(strings.Repeat("\xff", headSize))
	f.Add("\x01" + strings.Repeat("\x00", headSize))
	f.Fuzz(func(t *testing.T, data string) {
		rec, err := decode(data)
		if err != nil {
			return
		}
		if again := encode(rec); string(again) != data {
			t.Errorf("%x was taken for %x", data, again)
		}
		if checkRecord(rec) != nil || rec.Version < 1 {
			t.Errorf("%+v is no record", rec)
		}
	})
}

func TestEnvelopeKeepsAll(t *testing.T) {
	t.Parallel()
	var all []byte
	for b := range 256 {
		all = append(all, byte(b))
	}
	want := store.Record{Key: string(all), Owner: string(all[1:]), Value: bytes.Repeat(all, store.MaxValue/256), Version: 1 << 40, Expiry: time.UnixMilli(1 << 41)}
	got, err := decode(string(encode(want)))
	if err != nil || got.Key != want.Key || got.Owner != want.Owner || !bytes.Equal(got.Value, want.Value) || got.Version != want.Version || !got.Expiry.Equal(want.Expiry) {
		t.Errorf("%d %v %v", got.Version, got.Expiry, err)
	}
}

func TestEnvelopeThatIsNotWholeIsRefused(t *testing.T) {
	t.Parallel()
	whole := string(encode(store.Record{Key: "key", Owner: "owner", Value: []byte("value"), Version: 1}))
	for n := range whole {
		if _, err := decode(whole[:n]); err == nil {
			t.Errorf("%d of %d bytes are taken", n, len(whole))
		}
	}
	for name, data := range map[string]string{
		"longer":            whole + "x",
		"other format":      "\x02" + whole[1:],
		"version 0":         string(encode(store.Record{Key: "key"})),
		"negative version":  string(encode(store.Record{Key: "key", Version: -1})),
		"expiry too large":  whole[:9] + "\xff" + whole[10:],
		"no key":            string(encode(store.Record{Version: 1})),
		"key too long":      string(encode(store.Record{Key: strings.Repeat("k", store.MaxKey+1), Version: 1})),
		"owner too long":    string(encode(store.Record{Key: "k", Owner: strings.Repeat("o", store.MaxKey+1), Version: 1})),
		"value too long":    string(encode(store.Record{Key: "k", Value: make([]byte, store.MaxValue+1), Version: 1})),
		"size of the value": whole[:21] + "\xff\xff\xff\xff" + whole[25:],
	} {
		if _, err := decode(data); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}
