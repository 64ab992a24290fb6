// SPDX-License-Identifier: Apache-2.0

package session_test

import (
	"strings"
	"testing"

	"google.golang.org/grpc/metadata"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/session"
)

// FuzzID sends cookies and metadata values. Nobody but the holder of the one id that there is gets in, and the store is asked only about what could be one.
func FuzzID(f *testing.F) {
	w := newWorld(f, session.Options{MetadataKey: "x-session-id"})
	id, s := w.create(f, &grpcauth.User{ID: "alice"})
	unknown := strings.Repeat("A", len(id))
	for _, seed := range []struct{ cookie, other, key string }{
		{"__Host-session=ID", "", ""},
		{"", "", "ID"},
		{"__Host-session=ID", "__Host-session=ID", ""},
		{"__Host-session=ID", "", "ID"},
		{"a=b; __Host-session=ID; c=d", "e=f", ""},
		{"__Host-session=" + unknown, "", ""},
		{"", "", unknown},
		{"__Host-session=" + s.Handle, "", ""},
		{"__Host-session=\"ID\"", "", ""},
		{"__Host-session=ID ", "\t__host-session=ID", ""},
		{"__Host-session=", ";;=;", "\x00"},
		{"__Host-session=ID=", "", "ID\n"},
		{"__Host-session =ID", "", " ID"},
		{"__Host-session=../../ID", "", "ID,ID"},
		{strings.Repeat("a=b;", 5000), "__Host-session=ID", ""},
	} {
		f.Add(seed.cookie, seed.other, seed.key)
	}
	f.Fuzz(func(t *testing.T, first, second, key string) {
		md := metadata.MD{}
		given := ""
		for name, values := range map[string][]string{"cookie": {first, second}, "x-session-id": {key}} {
			for _, value := range values {
				if value != "" {
					value = strings.ReplaceAll(value, "ID", id)
					given += value + "\n"
					md.Append(name, value)
				}
			}
		}
		before := w.store.asked.Load()
		got := w.look(t.Context(), md)
		asked := w.store.asked.Load() - before
		handle, current := w.Current(metadata.NewIncomingContext(t.Context(), md))
		switch got {
		case "alice":
			if strings.Count(given, id) == 0 || asked != 1 || handle != s.Handle {
				t.Errorf("accepted without the id: %q", given)
			}
		case "CREDENTIALS_INVALID":
			if asked != 1 || !current || handle == s.Handle || !strings.ContainsFunc(given, func(rune) bool { return len(given) >= len(id) }) {
				t.Errorf("asked %d times, current: %t", asked, current)
			}
		case "CREDENTIALS_MISSING", "CREDENTIALS_MALFORMED", "CREDENTIALS_AMBIGUOUS":
			if asked != 0 || current {
				t.Errorf("%s: asked %d times, current: %t", got, asked, current)
			}
		default:
			t.Errorf("got %s", got)
		}
	})
}
