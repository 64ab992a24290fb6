// SPDX-License-Identifier: Apache-2.0

package apikeytest

import (
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/grpcauth/grpcauth/backends/apikey"
)

// stranger returns the text of a key that was revoked.
func (w *world) stranger() string {
	text, id := w.create(apikey.Key{Name: "of a stranger"})
	w.must(w.keys.Revoke(w.Context(), id))
	return text
}

func keyIsItsOwner(w *world) {
	expiry := w.clock.Now().Add(time.Hour)
	text, id := w.create(apikey.Key{
		Name: "nightly", Issuer: issuer, Owner: alice, Scopes: []string{scope, "write"}, Permissions: []string{"orders.*"}, Expiry: expiry,
		ID: "mine", Created: expiry, LastUsed: expiry, Secrets: 7, // of no account
	})
	user, err := call(w.Context(), w.keys, text)
	if err != nil {
		w.Fatal(err)
	}
	if user.ID != alice || user.Issuer != issuer || user.Name != "nightly" || user.Method != "apikey" || !user.Expiry.Equal(expiry) ||
		!slices.Equal(user.Scopes, []string{scope, "write"}) || !slices.Equal(user.Permissions, []string{"orders.*"}) || string(user.RawClaims) != `{"key_id":"`+id+`"}` {
		w.Errorf("got %+v", user)
	}
	key := w.get(id)
	if key.ID != id || key.Name != "nightly" || key.Issuer != issuer || key.Owner != alice || !slices.Equal(key.Scopes, []string{scope, "write"}) ||
		!slices.Equal(key.Permissions, []string{"orders.*"}) || !key.Created.Equal(w.clock.Now()) || !key.Expiry.Equal(expiry) || !key.LastUsed.IsZero() || key.Disabled || key.Secrets != 1 {
		w.Errorf("got %+v", key)
	}
	if !strings.HasPrefix(text, prefix+"_"+id+"_") || id == "mine" {
		w.Error("the key does not begin with its prefix and its ID")
	}
}

func keySurvivesRestart(w *world) {
	text, _ := w.create(apikey.Key{})
	w.must(w.keys.Close())
	w.expect(w.backend(apikey.Options{}), text, alice)
}

// What a store must not forgive: a comparison without case, or of a beginning.
func disguiseIsRefused(w *world) {
	text, id := w.create(apikey.Key{})
	for name, other := range map[string]string{
		"upper case": strings.ToUpper(id), "lower case": strings.ToLower(id), "a beginning": id[:len(id)-1], "an end": id[1:], "more": id + "0",
		"a space": id + " ", "a pattern": "%", "nothing": "", "another character": "_" + id[1:], "a wild card": "*", "a path": "../" + id, "too much": strings.Repeat(id, 100),
	} {
		asked := w.store.counted(func() {
			if _, err := w.keys.Get(w.Context(), other); !errors.Is(err, apikey.ErrNotFound) {
				w.Errorf("the ID in %s: got %v, want ErrNotFound", name, err)
			}
			if err := w.keys.SetDisabled(w.Context(), other, true); !errors.Is(err, apikey.ErrNotFound) {
				w.Errorf("the ID in %s is disabled: got %v, want ErrNotFound", name, err)
			}
			w.must(w.keys.Revoke(w.Context(), other))
		})
		if could := len(other) == len(id) && !strings.Contains(other, "_"); !could && len(asked) > 0 {
			w.Errorf("the ID in %s: the store was asked %v for what can be none", name, asked)
		}
	}
	for name, other := range map[string]string{
		"upper case": strings.ToUpper(text), "lower case": strings.ToLower(text), "a beginning": text[:len(text)-1], "more": text + "0", "no prefix": text[len(prefix)+1:],
	} {
		if got := look(w.Context(), w.keys, other); got != "CREDENTIALS_MALFORMED" {
			w.Errorf("the text in %s: got %s", name, got)
		}
	}
	w.expect(w.keys, text, alice)
}

func refusalsAreOne(w *world) {
	disabled, id := w.create(apikey.Key{})
	w.must(w.keys.SetDisabled(w.Context(), id, true))
	born, _ := w.create(apikey.Key{Disabled: true})
	rotated, id := w.create(apikey.Key{})
	w.rotate(id, 0)
	for name, text := range map[string]string{"revoked": w.stranger(), "disabled": disabled, "made disabled": born, "wrong secret": rotated} {
		if got := look(w.Context(), w.keys, text); got != "CREDENTIALS_INVALID" {
			w.Errorf("%s: got %s", name, got)
		}
	}
}

func environmentsAreApart(w *world) {
	text, id := w.create(apikey.Key{})
	other := w.backend(apikey.Options{Prefix: "test_work"})
	asked := w.store.counted(func() { w.expect(other, text, "CREDENTIALS_INVALID") })
	if len(asked) > 0 {
		w.Errorf("the store was asked: %v", asked)
	}
	if _, err := other.Get(w.Context(), id); !errors.Is(err, apikey.ErrNotFound) {
		w.Errorf("got %v, want ErrNotFound", err)
	}
	if keys, err := other.List(w.Context(), "", alice); err != nil || len(keys) > 0 {
		w.Errorf("got %v, %v, want no keys", keys, err)
	}
	w.must(other.Revoke(w.Context(), id))
	w.expect(w.keys, text, alice)
}

func keyEnds(w *world) {
	text, id := w.create(apikey.Key{Expiry: w.clock.Now().Add(time.Hour)})
	old, twice := w.create(apikey.Key{Expiry: w.clock.Now().Add(time.Hour)})
	w.rotate(twice, 0)
	w.clock.advance(time.Hour - time.Millisecond)
	w.expect(w.keys, text, alice)
	w.clock.advance(time.Millisecond)
	w.expect(w.keys, text, "CREDENTIALS_EXPIRED")
	w.expect(w.keys, old, "CREDENTIALS_INVALID") // whoever has no right secret is not told that the key has expired
	if key := w.get(id); key.Secrets != 0 {
		w.Errorf("%d secrets are live after the end", key.Secrets)
	}
	w.must(w.keys.SetDisabled(w.Context(), id, true))
	w.expect(w.keys, text, "CREDENTIALS_INVALID")
	w.must(w.keys.SetDisabled(w.Context(), id, false))
	w.clock.advance(29 * 24 * time.Hour)
	w.expect(w.keys, text, "CREDENTIALS_EXPIRED")
	w.clock.advance(2 * 24 * time.Hour)
	w.expect(w.keys, text, "CREDENTIALS_INVALID")
	if keys, err := w.keys.List(w.Context(), "", alice); err != nil || len(keys) > 0 {
		w.Errorf("got %v, %v, want no keys", keys, err)
	}
	if _, _, err := w.keys.Create(w.Context(), apikey.Key{Owner: alice, Expiry: w.clock.Now()}); err == nil {
		w.Error("a key was made that has expired")
	}
}

func changesCountAtOnce(w *world) {
	text, id := w.create(apikey.Key{})
	other := w.backend(apikey.Options{})
	for _, disabled := range []bool{true, true, false, false, true, false} {
		want := alice
		if disabled {
			want = "CREDENTIALS_INVALID"
		}
		w.must(w.keys.SetDisabled(w.Context(), id, disabled))
		w.expect(w.keys, text, want)
		w.expect(other, text, want)
		if key := w.get(id); key.Disabled != disabled {
			w.Errorf("Disabled is %t", key.Disabled)
		}
	}
	w.must(w.keys.Revoke(w.Context(), id))
	w.must(w.keys.Revoke(w.Context(), id)) // a second time
	w.expect(w.keys, text, "CREDENTIALS_INVALID")
	w.expect(other, text, "CREDENTIALS_INVALID")
	_, errGet := other.Get(w.Context(), id)
	_, errRotate := other.Rotate(w.Context(), id, 0)
	for _, err := range []error{errGet, errRotate, other.SetDisabled(w.Context(), id, false)} {
		if !errors.Is(err, apikey.ErrNotFound) {
			w.Errorf("got %v, want ErrNotFound", err)
		}
	}
}

func listsAreTheOwners(w *world) {
	var want []string
	for range 3 {
		_, id := w.create(apikey.Key{Issuer: issuer, Owner: alice})
		want = append(want, id)
		w.clock.advance(time.Second)
	}
	for _, other := range []apikey.Key{
		{Owner: alice},
		{Issuer: "https://b", Owner: alice},
		{Issuer: issuer, Owner: "alice2"},
		{Issuer: issuer, Owner: "Alice"},
		{Issuer: "https://", Owner: "aalice"},
		{Issuer: issuer, Owner: "%"},
		{Issuer: issuer, Owner: "*"},
		{Issuer: issuer, Owner: "ali"},
	} {
		w.create(other)
	}
	keys, err := w.keys.List(w.Context(), issuer, alice)
	w.must(err)
	var got []string
	for i := range keys {
		got = append(got, keys[i].ID)
	}
	if !slices.Equal(got, want) {
		w.Errorf("got %v, want %v, the oldest first", got, want)
	}
	for _, owner := range []string{"", "a", "alice3", "alice\x00"} {
		if keys, err := w.keys.List(w.Context(), issuer, owner); err != nil || len(keys) > 0 {
			w.Errorf("%q: got %v, %v, want no keys", owner, keys, err)
		}
	}
}

func ownersAreBounded(w *world) {
	keys := w.backend(apikey.Options{MaxPerOwner: 2})
	create := func(owner string, life time.Duration) (string, error) {
		_, key, err := keys.Create(w.Context(), apikey.Key{Owner: owner, Expiry: w.clock.Now().Add(life)})
		if err != nil {
			return "", err
		}
		return key.ID, nil
	}
	first, err := create(alice, time.Hour)
	w.must(err)
	_, err = create(alice, time.Minute)
	w.must(err)
	if _, err := create(alice, time.Hour); !errors.Is(err, apikey.ErrTooMany) {
		w.Errorf("got %v, want ErrTooMany", err)
	}
	_, err = create("bob", time.Hour)
	w.must(err)
	w.clock.advance(time.Minute) // what has expired does not count
	_, err = create(alice, time.Hour)
	w.must(err)
	w.must(keys.Revoke(w.Context(), first))
	_, err = create(alice, time.Hour)
	w.must(err)
	if _, err := create(alice, time.Hour); !errors.Is(err, apikey.ErrTooMany) {
		w.Errorf("got %v, want ErrTooMany", err)
	}
}
