// SPDX-License-Identifier: Apache-2.0

package dpop_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/grpcauth/grpcauth/backends/bearer/internal/dpop"
)

func TestNormalURL(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"https://a.example/p.S/M": "https://a.example/p.S/M", "HTTPS://A.Example:443/p.S/M": "https://a.example/p.S/M", "https://a.example:/p.S/M": "https://a.example/p.S/M", "https://a.example:8443/p.S/M": "https://a.example:8443/p.S/M",
		"https://a.example:80/": "https://a.example:80/", "http://a.example:80/": "http://a.example/", "http://a.example:443/": "http://a.example:443/", "http://a.example": "http://a.example/", "https://a.example": "https://a.example/",
		"https://a.example/p.S/M?q=1#f": "https://a.example/p.S/M", "https://a.example?q": "https://a.example/", "https://a.example/#f": "https://a.example/", "https://a.example/P": "https://a.example/P",
		"https://a.example/%70.%53/M": "https://a.example/p.S/M", "https://a.example/p%2fS/M": "https://a.example/p%2FS/M", "https://a.example/%2541": "https://a.example/%2541", "https://a.example/%e9": "https://a.example/%E9",
		"https://a.example/a/../b": "https://a.example/a/../b", "https://a.example//p.S/M": "https://a.example//p.S/M", "https://a.example/p.S/M/": "https://a.example/p.S/M/", "https://a.example/a b": "https://a.example/a%20b",
		"https://10.0.0.7:8443/x": "https://10.0.0.7:8443/x", "https://[2001:DB8::1]/x": "https://[2001:db8::1]/x", "https://[::1]:443/x": "https://[::1]/x", "https://[::1]:8443/x": "https://[::1]:8443/x", "https://a.example:0443/": "https://a.example:0443/",
		"https://a.example./x": "https://a.example./x",

		"": "", "/p.S/M": "", "//a.example/x": "", "a.example/x": "", "a.example:443": "", "https:": "", "https:/a": "", "https:a": "", "https://": "", "https:///x": "", "https://:443/x": "", "https://:/": "", "ftp://a.example/": "", "grpc://a.example/": "", "httpss://a.example/": "",
		"https://u@a.example/x": "", "https://u:p@a.example/x": "", "https://@a.example/x": "", "https://a.example\\@b.example/": "", "https://a.example:x/": "", "https://a.example:-1/": "", "https://a.example::443/": "", "https://a b/": "", "https://a%41/": "",
		"https://a.example/%zz": "", "https://\u212a.example/": "", "https://b\u00fccher.example/": "", "https://b%C3%BCcher.example/": "", "https://[fe80::1%25en0]/": "", "https://[::1/": "", "https://a.example\n/": "", " https://a.example/": "", "https://a,b/": "",
	} {
		if got := dpop.NormalURL(text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

func FuzzNormalURL(f *testing.F) {
	for _, text := range []string{
		"https://a.example/p.S/M", "HTTPS://A.Example:443/%70?q#f", "http://[::1]:80/%2f%2F%41", "https://a.example:8443//x/../y", "https://u:p@a.example/", "https://:443", "https://a:443:443/", "https://\u212a/", "https://a/%", "https:a", "https://[fe80::1%25en0]/", "https://a/\xff", "https://%41/",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		normal := dpop.NormalURL(text)
		if normal == "" {
			return
		}
		if again := dpop.NormalURL(normal); again != normal {
			t.Errorf("%q became %q, and that %q", text, normal, again)
		}
		before, err := url.Parse(text)
		if err != nil {
			t.Fatalf("%q is no URL: %v", text, err)
		}
		after, err := url.Parse(normal)
		if err != nil {
			t.Fatalf("%q became %q: %v", text, normal, err)
		}
		port := func(u *url.URL) string {
			if p := u.Port(); p != "" {
				return p
			}
			return map[string]string{"http": "80", "https": "443"}[u.Scheme]
		}
		path := before.Path
		if path == "" {
			path = "/"
		}
		if after.Scheme != before.Scheme || after.Hostname() != strings.ToLower(before.Hostname()) || port(after) != port(before) || after.Path != path || before.User != nil || after.RawQuery+after.Fragment != "" {
			t.Errorf("%q became %q", text, normal)
		}
	})
}
