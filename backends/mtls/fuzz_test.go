// SPDX-License-Identifier: Apache-2.0

package mtls_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/grpcauth/grpcauth/backends/mtls"
)

func FuzzParseID(f *testing.F) {
	for _, text := range []string{
		orders, "spiffe://example.org", "spiffe://a/b", "spiffe://a.b-c_d/.../A", "spiffe://a/.b", "spiffe://" + strings.Repeat("a", 255) + "/b",
		"", "spiffe://", "spiffe:///a", "spiffe://a/", "spiffe://a//b", "spiffe://a/./b", "spiffe://a/..", "spiffe://A/b", "SPIFFE://a/b", "spiffe://a:1/b", "spiffe://u@a/b",
		"spiffe://a/b?c", "spiffe://a/b#c", "spiffe://a/%62", "spiffe://a/b\n", "spiffe://a/b\x00", "spiffe://a/\xff", "spiffe://a/ſ", "spiffe://" + strings.Repeat("a", 256),
		"spiffe://a/" + strings.Repeat("b", 2048), "spiffe://a/*", "https://a/b",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		wantID(t, text)
		id, err := mtls.ParseID(text)
		if err != nil {
			return
		}
		again, err := mtls.ParseID(id.String())
		if err != nil || again != id {
			t.Errorf("%q: read again it is %q, %v", text, again, err)
		}
		if p, err := mtls.ParsePattern(text); (err == nil) != (id.Path() != "") || err == nil && !p.Match(id) {
			t.Errorf("%q does not match itself: %v", text, err)
		}
	})
}

// wholePattern is the grammar of patterns, without the rules on dots and length.
var wholePattern = regexp.MustCompile(`^spiffe://[a-z0-9._-]{1,255}(/([a-zA-Z0-9._-]+|\*))*(/([a-zA-Z0-9._-]+|\*|\*\*))\z`)

func FuzzPattern(f *testing.F) {
	for _, pattern := range []string{
		"spiffe://a/ns/prod/*", "spiffe://a/ns/prod/**", "spiffe://a/ns/*/sa/x", "spiffe://a/**", "spiffe://a/*", "spiffe://a/b.c", "spiffe://a.b/c", "spiffe://a/*/**", "spiffe://a/ns/prod",
		"", "spiffe://a", "spiffe://*/a", "spiffe://a/**/b", "spiffe://a/b*", "spiffe://a/***", "spiffe://a/*/", "spiffe://a/../*", "spiffe://a/.", "spiffe://a/[a-z]", "spiffe://a/(b|c)",
	} {
		for _, id := range []string{
			"spiffe://a", "spiffe://a/ns/prod", "spiffe://a/ns/prod/x", "spiffe://a/ns/prod-evil/x", "spiffe://a/ns/prod/x/y", "spiffe://a/ns/x/sa/x", "spiffe://b/ns/prod/x", "spiffe://a/bXc", "spiffe://aXb/c",
		} {
			f.Add(pattern, id)
		}
	}
	f.Fuzz(func(t *testing.T, pattern, text string) {
		p, err := mtls.ParsePattern(pattern)
		path := strings.TrimPrefix(pattern, "spiffe://"+domainOf(pattern))
		if want := len(pattern) <= 2048 && wholePattern.MatchString(pattern) && !dots.MatchString(path); want != (err == nil) {
			t.Fatalf("%q: got %v, want good: %v", pattern, err, want)
		}
		if err != nil {
			return
		}
		id, err := mtls.ParseID(text)
		if err != nil {
			return
		}
		// The pattern as a regular expression, which knows segments by their slashes alone.
		segments := strings.Split(pattern, "/")
		for i, segment := range segments {
			switch segment {
			case "*":
				segments[i] = `[^/]+`
			case "**":
				segments[i] = `[^/]+(/[^/]+)*`
			default:
				segments[i] = regexp.QuoteMeta(segment)
			}
		}
		expr := strings.Join(segments, "/")
		if want := regexp.MustCompile(`\A` + expr + `\z`).MatchString(text); p.Match(id) != want {
			t.Errorf("%q, %q: got %v, want %v by %s", pattern, text, !want, want, expr)
		}
	})
}
