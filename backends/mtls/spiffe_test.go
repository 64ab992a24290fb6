// SPDX-License-Identifier: Apache-2.0

package mtls_test

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"regexp"
	"strings"
	"testing"

	"github.com/grpcauth/grpcauth/backends/mtls"
	"github.com/grpcauth/grpcauth/grpcauthtest"
)

// The grammar of SPIFFE IDs, in other words than the parser's.
var (
	wholeID = regexp.MustCompile(`^spiffe://[a-z0-9._-]{1,255}(/[a-zA-Z0-9._-]+)*\z`)
	dots    = regexp.MustCompile(`/\.\.?(/|\z)`)
)

// isID is what ParseID should say.
func isID(text string) bool {
	return len(text) <= 2048 && wholeID.MatchString(text) && !dots.MatchString(strings.TrimPrefix(text, "spiffe://"+domainOf(text)))
}

func domainOf(text string) string {
	domain, _, _ := strings.Cut(strings.TrimPrefix(text, "spiffe://"), "/")
	return domain
}

// wantID checks ParseID against the grammar.
func wantID(tb testing.TB, text string) {
	tb.Helper()
	id, err := mtls.ParseID(text)
	switch want := isID(text); {
	case want != (err == nil):
		tb.Errorf("%q: got %v, want good: %v", text, err, want)
	case err != nil && id != (mtls.ID{}):
		tb.Errorf("%q: got %q beside an error", text, id)
	case err == nil && (id.String() != text || "spiffe://"+id.TrustDomain()+id.Path() != text || id.TrustDomain() != domainOf(text)):
		tb.Errorf("%q: got %q, %q, %q", text, id, id.TrustDomain(), id.Path())
	}
}

func TestIDsHaveTheCharactersOfSPIFFEAndNoOthers(t *testing.T) {
	t.Parallel()
	inDomain, inPath := "", ""
	for c := range 256 {
		b := string([]byte{byte(c)})
		for _, text := range []string{
			"spiffe://" + b, "spiffe://" + b + "example.org/a", "spiffe://exa" + b + "mple.org/a", "spiffe://example.org" + b, "spiffe://example.org" + b + "/a",
			"spiffe://example.org/" + b, "spiffe://example.org/" + b + "ab", "spiffe://example.org/a" + b + "b", "spiffe://example.org/ab" + b, "spiffe://example.org/a/" + b + "/c",
			b + "spiffe://example.org/a", "spiffe:" + b + "/example.org/a", "spiffe" + b + "//example.org/a", "spiff" + b + "://example.org/a", orders + b,
		} {
			wantID(t, text)
		}
		if _, err := mtls.ParseID("spiffe://" + b); err == nil {
			inDomain += b
		}
		if _, err := mtls.ParseID("spiffe://example.org/a" + b + "c"); err == nil {
			inPath += b
		}
	}
	if want := "-.0123456789_abcdefghijklmnopqrstuvwxyz"; inDomain != want {
		t.Errorf("a trust domain has %q, want %q", inDomain, want)
	}
	if want := "-./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz"; inPath != want {
		t.Errorf("a path has %q, want %q", inPath, want)
	}
}

func TestURIsOfCertificatesHaveTheCharactersOfSPIFFEAndNoOthers(t *testing.T) {
	t.Parallel()
	ca := grpcauthtest.NewCA(t)
	issuer := ca.Issue(x509.Certificate{Subject: pkix.Name{CommonName: "intermediate"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	template := *ca.Issue(x509.Certificate{}).Leaf
	b := newBackend(t, ca, mtls.Options{})
	for c := range 256 {
		for _, text := range []string{"spiffe://exa" + string([]byte{byte(c)}) + "mple.org/a", "spiffe://example.org/a" + string([]byte{byte(c)}) + "b"} {
			template.ExtraExtensions = named(name{uriName, text}).ExtraExtensions
			der, err := x509.CreateCertificate(rand.Reader, &template, issuer.Leaf, template.PublicKey, issuer.PrivateKey)
			if err != nil {
				t.Fatal(err)
			}
			leaf, err := x509.ParseCertificate(der)
			if err != nil && !isID(text) {
				continue // crypto/tls refuses it before us
			}
			if err != nil {
				t.Fatalf("%q: %v", text, err)
			}
			want := text
			if !isID(text) {
				want = refused
			}
			if got := call(t, b, verified(leaf, issuer.Leaf)); got != want {
				t.Errorf("%q: got %q, want %q", text, got, want)
			}
		}
	}
}

func TestParseID(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		orders:                                        true,
		"spiffe://example.org":                        true,
		"spiffe://10.0.0.1/a":                         true,
		"spiffe://a_b-c.d/A_b-C.d/...":                true,
		"spiffe://example.org/.a/a./..a/a..":          true,
		"spiffe://" + strings.Repeat("a", 255) + "/b": true,
		"spiffe://" + strings.Repeat("a", 256) + "/b": false,
		"spiffe://example.org/" + strings.Repeat("a", 2048-len("spiffe://example.org/")): true,
		"spiffe://example.org/" + strings.Repeat("a", 2049-len("spiffe://example.org/")): false,

		"":                                    false,
		"spiffe://":                           false,
		"spiffe:///a":                         false,
		"spiffe://example.org/":               false,
		"spiffe://example.org//a":             false,
		"spiffe://example.org/a/":             false,
		"spiffe://example.org/a//b":           false,
		"spiffe://example.org/.":              false,
		"spiffe://example.org/..":             false,
		"spiffe://example.org/a/../b":         false,
		"spiffe://example.org/a/./b":          false,
		"spiffe://example.org/a%2fb":          false,
		"spiffe://example.org/%61":            false,
		"spiffe://example.org/a?b":            false,
		"spiffe://example.org?b":              false,
		"spiffe://example.org/a#b":            false,
		"spiffe://example.org:443/a":          false,
		"spiffe://user@example.org/a":         false,
		"spiffe://Example.org/a":              false,
		"spiffe://[::1]/a":                    false,
		"spiffe://example.org/*":              false,
		"spiffe://*/a":                        false,
		"spiffe://exämple.org/a":              false,
		"SPIFFE://example.org/a":              false,
		"spiffe:/example.org/a":               false,
		"spiffe:example.org/a":                false,
		"//example.org/a":                     false,
		"https://example.org/a":               false,
		" spiffe://example.org/a":             false,
		"spiffe://example.org/a ":             false,
		"spiffe://example.org/a\n":            false,
		"spiffe://example.org/a\x00":          false,
		"spiffe://example.org/a\\b":           false,
		"spiffe://example.org\\/a":            false,
		"spiffe://example.org/\u017fervice":   false,
		"spiffe://example.org/a/spiffe://b/c": false,
	} {
		wantID(t, text)
		if isID(text) != want {
			t.Errorf("%q: the grammar of this test says %v", text, !want)
		}
	}
}

func TestIDsCompareByWhatIsWritten(t *testing.T) {
	t.Parallel()
	parse := func(text string) mtls.ID {
		id, err := mtls.ParseID(text)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	if parse(orders) != parse(strings.Clone(orders)) || parse("spiffe://a/b") == parse("spiffe://a/B") || parse("spiffe://ab") == parse("spiffe://a/b") {
		t.Error("equal IDs differ, or different ones are equal")
	}
	if zero := (mtls.ID{}); zero.String() != "" || zero.TrustDomain() != "" || zero.Path() != "" {
		t.Error("the zero ID names something")
	}
}

func TestPatternsMatchWholeSegments(t *testing.T) {
	t.Parallel()
	const domain = "spiffe://example.org"
	for pattern, ids := range map[string]map[string]bool{
		domain + "/ns/prod/*": {
			domain + "/ns/prod/x": true, domain + "/ns/prod/.x": true, domain + "/ns/prod/X-1_2.3": true,
			domain + "/ns/prod-evil/x": false, domain + "/ns/prod": false, domain + "/ns/prod/a/b": false, domain + "/ns/prodx": false, domain + "/ns/Prod/x": false,
			domain + "/x/ns/prod/x": false, domain + "/ns": false, domain: false, domain + "/prod/x": false,
			"spiffe://example.com/ns/prod/x": false, "spiffe://example.org.evil.test/ns/prod/x": false, "spiffe://evil-example.org/ns/prod/x": false,
			"spiffe://sub.example.org/ns/prod/x": false, "spiffe://example/ns/prod/x": false, "spiffe://examplexorg/ns/prod/x": false,
		},
		domain + "/ns/prod/**": {
			domain + "/ns/prod/x": true, domain + "/ns/prod/a/b": true, domain + "/ns/prod/a/b/c/d": true,
			domain + "/ns/prod": false, domain + "/ns/prod-evil/x": false, domain + "/ns/prod-evil": false, "spiffe://example.com/ns/prod/a": false,
		},
		domain + "/ns/*/sa/default": {
			domain + "/ns/prod/sa/default": true, domain + "/ns/a.b/sa/default": true,
			domain + "/ns/sa/default": false, domain + "/ns/a/b/sa/default": false, domain + "/ns/prod/sa/default/x": false, domain + "/ns/prod/sa/defaulty": false, domain + "/ns/prod/sb/default": false,
		},
		domain + "/*/*": {domain + "/a/b": true, domain + "/a": false, domain + "/a/b/c": false},
		domain + "/*":   {domain + "/a": true, domain: false, domain + "/a/b": false},
		domain + "/**":  {domain + "/a": true, domain + "/a/b/c": true, domain: false, "spiffe://example.com/a": false},
		domain + "/a.b": {domain + "/a.b": true, domain + "/aXb": false, domain + "/a": false, domain + "/a.bc": false},
		domain + "/a/b": {domain + "/a/b": true, domain + "/a": false, domain + "/a/b/c": false, domain + "/a/bc": false, domain + "/A/b": false},
	} {
		p, err := mtls.ParsePattern(pattern)
		if err != nil {
			t.Errorf("%q: %v", pattern, err)
			continue
		}
		if p.String() != pattern {
			t.Errorf("%q prints as %q", pattern, p)
		}
		for text, want := range ids {
			id, err := mtls.ParseID(text)
			if err != nil {
				t.Fatalf("%q: %v", text, err)
			}
			if p.Match(id) != want {
				t.Errorf("%q, %q: got %v", pattern, text, !want)
			}
		}
		if p.Match(mtls.ID{}) {
			t.Errorf("%q matches the zero ID", pattern)
		}
	}
	id, err := mtls.ParseID(orders)
	if zero := (mtls.Pattern{}); err != nil || zero.Match(id) || zero.Match(mtls.ID{}) || zero.String() != "" {
		t.Error("the zero Pattern matches something")
	}
}

func TestParsePatternRefusesWhatCouldBeMeantOtherwise(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"", "*", "**", "/ns/*", "spiffe://", "spiffe://example.org", "spiffe://example.org/", "spiffe://*/a", "spiffe://*.example.org/a", "spiffe:///a",
		"spiffe://example.org/ns/*-prod", "spiffe://example.org/ns/prod*", "spiffe://example.org/***", "spiffe://example.org/**/a", "spiffe://example.org/a/**/b",
		"spiffe://example.org/**/", "spiffe://example.org/a/", "spiffe://example.org/*/", "spiffe://example.org//*", "spiffe://example.org/../*", "spiffe://example.org/.",
		"spiffe://example.org/a?", "spiffe://example.org/[ab]", "spiffe://example.org/a|b", "spiffe://Example.org/a", "SPIFFE://example.org/a", "spiffe://example.org/a\x00",
		" spiffe://example.org/a", "spiffe://example.org/a ", "spiffe://example.org/" + strings.Repeat("a", 2048),
	} {
		if p, err := mtls.ParsePattern(text); err == nil || p != (mtls.Pattern{}) {
			t.Errorf("%q: got %q, %v", text, p, err)
		}
	}
}

func TestOnlyAllowedIDsAreLetIn(t *testing.T) {
	t.Parallel()
	ca := grpcauthtest.NewCA(t)
	b := newBackend(t, ca, mtls.Options{Allow: []string{"spiffe://example.org/ns/prod/*", "spiffe://example.com/**", "spiffe://example.org/exact"}})
	for text, in := range map[string]bool{
		"spiffe://example.org/ns/prod/x": true, "spiffe://example.com/ns/prod/a/b": true, "spiffe://example.org/exact": true,
		"spiffe://example.org/ns/prod-evil/x": false, "spiffe://example.org/ns/prod": false, "spiffe://example.org/ns/prod/a/b": false,
		"spiffe://example.net/ns/prod/x": false, "spiffe://example.org/exact/x": false, "spiffe://example.com": false,
	} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			want := text
			if !in {
				want = refused
			}
			leaf := issue(t, ca, text)
			for range 2 { // looked at, and remembered
				expect(t, b, verified(leaf), want)
			}
		})
	}
	t.Run("another authority's", func(t *testing.T) {
		t.Parallel()
		expect(t, b, verified(issue(t, grpcauthtest.NewCA(t), "spiffe://example.org/exact")), refused)
	})
}
