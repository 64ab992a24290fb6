// SPDX-License-Identifier: Apache-2.0

package wire_test

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/grpcauth/grpcauth/internal/wire"
)

func ExampleChallenge() {
	fmt.Println(wire.Challenge("Bearer", "orders", nil, wire.Param{Name: "error", Value: "invalid_token"}))
	fmt.Println(wire.Challenge("Basic", "orders", map[string]string{"charset": "UTF-8", "realm": `the "other" one`}))
	// Output:
	// Bearer realm="orders", error="invalid_token"
	// Basic realm="the \"other\" one", charset="UTF-8"
}

func TestChallengeIsOneLineOfASCIIQuotes(t *testing.T) {
	t.Parallel()
	got := wire.Challenge("Bearer", "a\r\nSet-Cookie: x=\"\\\x00\x7f", nil)
	if want := `Bearer realm="aSet-Cookie: x=\"\\"`; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestValidHeader(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		key, value string
		want       bool
	}{
		{"set-cookie", "a=b; Path=/", true},
		{"x_a.b-1", "", true},
		{"x-bin", "\x00\xff", true},
		{"", "a", false},
		{"X-A", "a", false},
		{"x a", "a", false},
		{"x\n", "a", false},
		{":path", "a", false},
		{"grpc-status", "0", false},
		{"x-a", "a\nb", false},
		{"x-a", "a\tb", false},
		{"x-a", "ä", false},
		{"x-a", "\x7f", false},
	} {
		if got := wire.ValidHeader(c.key, c.value); got != c.want {
			t.Errorf("%q: %q: got %v, want %v", c.key, c.value, got, c.want)
		}
	}
}

func TestPrintableBoundsAndRepairs(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{"/a/b": "/a/b", "/a\xff": "/a\uFFFD", "/aaaaaaaaaaa": "/aaaaaaa"} {
		if got := wire.Printable(text, 8); got != want || !utf8.ValidString(got) {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

func FuzzCookie(f *testing.F) {
	f.Add("sid=abc; a=b", "sid")
	f.Add(";;=;a=;=b", "")
	f.Fuzz(func(t *testing.T, field, name string) {
		value, found, size := wire.Cookie([]string{field, field}, name)
		if size != 2*len(field) || found%2 != 0 {
			t.Errorf("found %d in twice the same field of %d bytes", found, size)
		}
		if found > 0 && !strings.Contains(field, name+"="+value) {
			t.Errorf("value %q is not that of %q in %q", value, name, field)
		}
	})
}

func TestPlacesOfCredentialsAreTheirOwn(t *testing.T) {
	t.Parallel()
	for key, want := range map[string]bool{
		"x-api-key": true, "x-session-id": true, "api_key": true, "session": true,
		"": false, "X-Api-Key": false, "x api": false, ":path": false, "grpc-timeout": false, "key-bin": false,
		"authorization": false, "cookie": false, "set-cookie": false, "proxy-authorization": false, "forwarded": false, "x-forwarded-for": false,
		"host": false, "te": false, "content-type": false, "user-agent": false, "connection": false,
	} {
		if got := wire.CredentialKey(key); got != want {
			t.Errorf("%q: got %t, want %t", key, got, want)
		}
	}
	if !wire.CarriesCall("te") || wire.CarriesCall("authorization") {
		t.Error("te is of those who carry a call, and authorization is not")
	}
}
