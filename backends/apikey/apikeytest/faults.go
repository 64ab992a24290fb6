// SPDX-License-Identifier: Apache-2.0

package apikeytest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/grpcauth/grpcauth/backends/apikey"
	"github.com/grpcauth/grpcauth/store"
)

const (
	unavailable = "AUTHENTICATION_UNAVAILABLE"
	internal    = "AUTHENTICATION_FAILED"
)

func failingStoreDecidesNothing(w *world) {
	text, id := w.create(apikey.Key{})
	wrong, rotated := w.create(apikey.Key{})
	w.rotate(rotated, 0)
	unknown := w.stranger()
	down := errors.New("the store is down")
	for _, err := range []error{down, context.DeadlineExceeded, store.ErrConflict, fmt.Errorf("a pool without connections: %w", down)} {
		w.store.intercept(func(op, string, func() error) error { return err })
		for name, text := range map[string]string{"right": text, "wrong": wrong, "unknown": unknown} {
			if got := look(w.Context(), w.keys, text); got != unavailable {
				w.Errorf("%s key, %v: got %s", name, err, got)
			}
		}
	}
	w.store.intercept(func(op, string, func() error) error { return down })
	made, _, errCreate := w.keys.Create(w.Context(), apikey.Key{Owner: alice})
	next, errRotate := w.keys.Rotate(w.Context(), id, 0)
	_, errGet := w.keys.Get(w.Context(), id)
	_, errList := w.keys.List(w.Context(), "", alice)
	for _, err := range []error{errCreate, errRotate, errGet, errList, w.keys.SetDisabled(w.Context(), id, true), w.keys.Revoke(w.Context(), id)} {
		if !errors.Is(err, down) || strings.Contains(fmt.Sprintf("%v %+v", err, err), id) {
			w.Errorf("got %v, want the store's error", err)
		}
	}
	if made != "" || next != "" {
		w.Error("a key came with an error")
	}
	w.store.intercept(nil) // it recovers, and nothing is left of the failure
	w.expect(w.keys, text, alice)
	w.expect(w.keys, wrong, "CREDENTIALS_INVALID")

	w.store.intercept(func(op, string, func() error) error { return down })
	if err := w.keys.Flush(w.Context()); !errors.Is(err, down) {
		w.Errorf("Flush: got %v", err)
	}
	w.store.intercept(nil)
	w.must(w.keys.Flush(w.Context())) // what was not written is written now
	if key := w.get(id); !key.LastUsed.Equal(w.clock.Now()) {
		w.Errorf("the last use is %v", key.LastUsed)
	}
}

func swappedAnswers(w *world) {
	text, id := w.create(apikey.Key{Owner: alice})
	_, otherID := w.create(apikey.Key{Owner: "bob"})
	var others store.Record
	w.store.swapping(func(rec store.Record) store.Record {
		if strings.HasSuffix(rec.Key, otherID) {
			others = rec
		}
		return rec
	})
	w.get(otherID)
	for name, swap := range map[string]func(rec store.Record) store.Record{
		"another record": func(store.Record) store.Record { return others },
		"no record":      func(store.Record) store.Record { return store.Record{} },
		"another owner": func(rec store.Record) store.Record {
			rec.Owner = others.Owner
			return rec
		},
	} {
		w.store.swapping(swap)
		w.expect(w.keys, text, internal)
		if _, err := w.keys.Get(w.Context(), id); !errors.Is(err, store.ErrSwapped) {
			w.Errorf("%s: got %v, want ErrSwapped", name, err)
		}
		if _, err := w.keys.List(w.Context(), "", alice); !errors.Is(err, store.ErrSwapped) {
			w.Errorf("%s in a list: got %v, want ErrSwapped", name, err)
		}
	}
	// The value of another, under the key that was asked for: the holder of the other's secret must not become this owner, nor the other way round.
	w.store.swapping(func(rec store.Record) store.Record {
		rec.Value = others.Value
		return rec
	})
	w.expect(w.keys, text, "CREDENTIALS_INVALID")
	if _, err := w.keys.Get(w.Context(), id); !errors.Is(err, store.ErrSwapped) {
		w.Errorf("another value: got %v, want ErrSwapped", err)
	}
	mine := store.Record{}
	w.store.swapping(func(rec store.Record) store.Record {
		if strings.HasSuffix(rec.Key, id) {
			mine = rec
		}
		return rec
	})
	w.get(id)
	w.store.swapping(func(rec store.Record) store.Record {
		rec.Value = bytes.Replace(mine.Value, []byte(id), []byte(otherID), 1)
		return rec
	})
	w.expect(w.keys, text, internal)
	w.store.swapping(nil)
	w.expect(w.keys, text, alice)
}

func damagedRecords(w *world) {
	text, id := w.create(apikey.Key{Disabled: true, Scopes: []string{scope}})
	var good []byte
	w.store.swapping(func(rec store.Record) store.Record {
		good = rec.Value
		return rec
	})
	w.get(id)
	damaged := map[string][]byte{"null": []byte("null"), "an array": []byte("[]"), "doubled": append(bytes.Clone(good), good...), "not JSON": bytes.Repeat([]byte{0xff}, len(good))}
	for size := range good {
		damaged[fmt.Sprintf("cut off after %d bytes", size)] = good[:size]
	}
	const disabled = `"disabled":true`
	for _, change := range [][2]string{
		{`"v":1`, `"v":2`},
		{"," + disabled, ``},
		{disabled, `"disabled":null`},
		{disabled, `"disabled":"false"`},
		{disabled, `"Disabled":true`},
		{disabled, disabled + `,"disabled":false`},
		{disabled, disabled + `,"admin":true`},
		{`["read"]`, `"read"`},
		{`["read"]`, `["read",null]`},
		{`"expiry":0`, `"expiry":"never"`},
		{`"expiry":0`, `"expiry":1e400`},
		{`,"owner"`, ` ,"owner"`},
		{`"sha256":"`, `"sha256":"g`},
	} {
		value := strings.Replace(string(good), change[0], change[1], 1)
		if value == string(good) {
			w.Fatalf("the record has no %s", change[0])
		}
		damaged[change[1]] = []byte(value)
	}
	for name, value := range damaged {
		w.store.swapping(func(rec store.Record) store.Record {
			rec.Value = value
			return rec
		})
		if got := look(w.Context(), w.keys, text); got != unavailable {
			w.Errorf("%s: got %s", name, got)
		}
		if _, err := w.keys.Get(w.Context(), id); err == nil || errors.Is(err, apikey.ErrNotFound) {
			w.Errorf("%s: got %v", name, err)
		}
	}
	w.store.swapping(nil)
	w.expect(w.keys, text, "CREDENTIALS_INVALID")
}
