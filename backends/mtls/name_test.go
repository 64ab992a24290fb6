// SPDX-License-Identifier: Apache-2.0

package mtls_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"strings"
	"testing"

	"github.com/grpcauth/grpcauth/backends/mtls"
	"github.com/grpcauth/grpcauth/grpcauthtest"
)

// The first bytes of the names in a certificate that matter here (RFC 5280, section 4.2.1.6).
const (
	emailName = 0x81
	dnsName   = 0x82
	uriName   = 0x86
)

// name is an alternative name, with a first byte that may be wrong.
type name struct {
	first byte
	text  string
}

// named is the template of a certificate with these alternative names, byte for byte.
func named(names ...name) x509.Certificate {
	var list []byte
	for _, n := range names {
		list = append(append(list, n.first, byte(len(n.text))), n.text...)
	}
	value, err := asn1.Marshal(asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: list})
	if err != nil {
		panic(err)
	}
	return x509.Certificate{ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: value}}}
}

func TestNamesAreMatchedExactlyByTheirKind(t *testing.T) {
	t.Parallel()
	ca := grpcauthtest.NewCA(t)
	spiffe, dns, email, uri := []mtls.Identity{mtls.SPIFFE}, []mtls.Identity{mtls.DNS}, []mtls.Identity{mtls.Email}, []mtls.Identity{mtls.URI}
	for i, test := range []struct {
		kinds []mtls.Identity
		names []name
		want  string
	}{
		{nil, []name{{uriName, orders}}, orders},
		{spiffe, []name{{uriName, orders}}, orders},
		{dns, []name{{dnsName, "Orders.Example.COM"}}, "orders.example.com"},
		{dns, []name{{dnsName, "_orders.127-0-0-1.example.com"}}, "_orders.127-0-0-1.example.com"},
		{email, []name{{emailName, "Alice.B+c=d@example.com"}}, "Alice.B+c=d@example.com"},
		{uri, []name{{uriName, "https://example.com/Orders?a=%20#b"}}, "https://example.com/Orders?a=%20#b"},
		{uri, []name{{uriName, "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6"}}, "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6"},

		// A name of one kind is none of another, whatever it says.
		{spiffe, []name{{dnsName, orders}}, refused},
		{spiffe, []name{{emailName, orders}}, refused},
		{spiffe, []name{{uriName, "https://example.org/ns/shop"}}, refused},
		{dns, []name{{uriName, "https://example.com"}}, refused},
		{dns, []name{{emailName, "example.com"}}, refused},
		{email, []name{{dnsName, "alice@example.com"}}, refused},
		{email, []name{{uriName, "mailto:alice@example.com"}}, refused},
		{uri, []name{{dnsName, "https://example.com"}}, refused},
		{uri, []name{{uriName, orders}}, refused},
		{uri, []name{{uriName, "SPIFFE://example.org/a"}}, refused},

		// crypto/x509 does not see these, so no name constraint holds for them.
		{spiffe, []name{{0x06, orders}}, refused}, // universal
		{spiffe, []name{{0x46, orders}}, refused}, // application
		{spiffe, []name{{0xa6, orders}}, refused}, // constructed
		{spiffe, []name{{0xc6, orders}}, refused}, // private
		{dns, []name{{0x02, "example.com"}}, refused},
		{email, []name{{0x41, "alice@example.com"}}, refused},

		// None and two.
		{spiffe, nil, refused},
		{dns, []name{{uriName, orders}}, refused},
		{spiffe, []name{{uriName, orders}, {uriName, orders}}, refused},
		{spiffe, []name{{uriName, orders}, {uriName, "spiffe://example.org/b"}}, refused},
		{spiffe, []name{{uriName, orders}, {uriName, "https://example.org/"}}, refused},
		{spiffe, []name{{uriName, "https://example.org/"}, {uriName, orders}}, refused},
		{uri, []name{{uriName, "https://example.org/"}, {uriName, orders}}, refused},
		{uri, []name{{uriName, "urn:a:b"}, {uriName, "urn:a:c"}}, refused},
		{dns, []name{{dnsName, "a.example.com"}, {dnsName, "b.example.com"}}, refused},
		{email, []name{{emailName, "a@example.com"}, {emailName, "b@example.com"}}, refused},

		// Names of other kinds beside the one that counts.
		{spiffe, []name{{dnsName, "example.com"}, {uriName, orders}, {dnsName, "b.example.com"}, {emailName, "a@example.com"}}, orders},
		{dns, []name{{uriName, orders}, {uriName, "https://example.com"}, {dnsName, "example.com"}}, "example.com"},

		// NUL, wildcards and whatever else is not the name of one.
		{spiffe, []name{{uriName, orders}, {dnsName, "a\x00b"}}, refused},
		{spiffe, []name{{uriName, orders}, {emailName, "a\x00@example.com"}}, refused},
		{spiffe, []name{{uriName, "spiffe://example.org/*"}}, refused},
		{spiffe, []name{{uriName, "spiffe://example.org/ns/shop/sa/orders/"}}, refused},
		{spiffe, []name{{uriName, "spiffe://example.org"}}, refused},
		{spiffe, []name{{uriName, "spiffe://example.org/a%62"}}, refused},
		{spiffe, []name{{uriName, "spiffe://example.org/a?b"}}, refused},
		{spiffe, []name{{uriName, "spiffe://example.org/a#b"}}, refused},
		{spiffe, []name{{uriName, "spiffe://example.org:80/a"}}, refused},
		{spiffe, []name{{uriName, "spiffe:example.org/a"}}, refused},
		{spiffe, []name{{uriName, "SPIFFE://example.org/a"}}, refused}, // to crypto/x509 the same as in lower case
		{spiffe, []name{{uriName, "spiffe://EXAMPLE.org/a"}}, refused},
		{spiffe, []name{{uriName, "spiffe://example.org/a/../b"}}, refused},
		{dns, []name{{dnsName, "*.example.com"}}, refused},
		{dns, []name{{dnsName, "*"}}, refused},
		{dns, []name{{dnsName, "a*.example.com"}}, refused},
		{dns, []name{{dnsName, "example.com\x00.attacker.test"}}, refused},
		{dns, []name{{dnsName, ""}}, refused},
		{dns, []name{{dnsName, "example.com."}}, refused},
		{dns, []name{{dnsName, ".example.com"}}, refused},
		{dns, []name{{dnsName, "a..b"}}, refused},
		{dns, []name{{dnsName, "-a.example.com"}}, refused},
		{dns, []name{{dnsName, "a-.example.com"}}, refused},
		{dns, []name{{dnsName, "a b"}}, refused},
		{dns, []name{{dnsName, "a@b"}}, refused},
		{dns, []name{{dnsName, "a[b"}}, refused},
		{dns, []name{{dnsName, "a`b"}}, refused},
		{dns, []name{{dnsName, "a{b"}}, refused},
		{dns, []name{{dnsName, "a/b"}}, refused},
		{dns, []name{{dnsName, "a:80"}}, refused},
		{dns, []name{{dnsName, strings.Repeat("a", 63) + ".b"}}, strings.Repeat("a", 63) + ".b"},
		{dns, []name{{dnsName, strings.Repeat("a", 64) + ".b"}}, refused},
		{email, []name{{emailName, "*@example.com"}}, refused},
		{email, []name{{emailName, "a@*.example.com"}}, refused},
		{email, []name{{emailName, "a@"}}, refused},
		{email, []name{{emailName, "@example.com"}}, refused},
		{email, []name{{emailName, "example.com"}}, refused},
		{email, []name{{emailName, "a@b@example.com"}}, refused},
		{email, []name{{emailName, `"a"@example.com`}}, refused},
		{email, []name{{emailName, "a(b)@example.com"}}, refused},
		{email, []name{{emailName, "a..b@example.com"}}, refused},
		{email, []name{{emailName, ".a@example.com"}}, refused},
		{email, []name{{emailName, "a.@example.com"}}, refused},
		{email, []name{{emailName, "A <a@example.com>"}}, refused},
		{uri, []name{{uriName, "https://example.com/*"}}, refused},
		{uri, []name{{uriName, "/orders"}}, refused},
		{uri, []name{{uriName, "//example.com/orders"}}, refused},
		{uri, []name{{uriName, "orders"}}, refused},
		{uri, []name{{uriName, "https:"}}, refused},
		{uri, []name{{uriName, ""}}, refused},

		// Several kinds: the first of which there is a name decides.
		{[]mtls.Identity{mtls.SPIFFE, mtls.DNS}, []name{{dnsName, "example.com"}, {uriName, orders}}, orders},
		{[]mtls.Identity{mtls.DNS, mtls.SPIFFE}, []name{{dnsName, "example.com"}, {uriName, orders}}, "example.com"},
		{[]mtls.Identity{mtls.SPIFFE, mtls.DNS}, []name{{dnsName, "example.com"}}, "example.com"},
		{[]mtls.Identity{mtls.SPIFFE, mtls.DNS}, []name{{dnsName, "example.com"}, {uriName, "https://example.com"}}, "example.com"},
		{[]mtls.Identity{mtls.SPIFFE, mtls.DNS}, []name{{dnsName, "example.com"}, {uriName, "spiffe://example.org"}}, refused},
		{[]mtls.Identity{mtls.SPIFFE, mtls.DNS}, []name{{dnsName, "example.com"}, {uriName, orders}, {uriName, orders}}, refused},
		{[]mtls.Identity{mtls.DNS, mtls.SPIFFE}, []name{{dnsName, "*.example.com"}, {uriName, orders}}, refused},
		{[]mtls.Identity{mtls.URI, mtls.SPIFFE}, []name{{uriName, orders}}, orders},
		{[]mtls.Identity{mtls.SPIFFE, mtls.URI}, []name{{uriName, "https://example.com/"}}, "https://example.com/"},
		{[]mtls.Identity{mtls.Email, mtls.URI, mtls.DNS}, []name{{uriName, orders}, {dnsName, "example.com"}}, "example.com"},
	} {
		t.Run(fmt.Sprintf("%d %v %q", i, test.kinds, test.names), func(t *testing.T) {
			t.Parallel()
			template := named(test.names...)
			template.Subject.CommonName = "common.example.com"
			if len(test.names) == 0 {
				template.ExtraExtensions = nil
			}
			leaf := ca.Issue(template).Leaf
			expect(t, newBackend(t, ca, mtls.Options{Identities: test.kinds}), verified(leaf), test.want)
		})
	}
}

func TestCommonNameIsNoIdentityUnlessAsked(t *testing.T) {
	t.Parallel()
	ca := grpcauthtest.NewCA(t)
	common := func(names ...string) x509.Certificate {
		var template x509.Certificate
		for _, n := range names {
			template.Subject.ExtraNames = append(template.Subject.ExtraNames, pkix.AttributeTypeAndValue{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: n})
		}
		return template
	}
	for _, cn := range []string{orders, "example.com", "alice@example.com", "https://example.com/"} {
		leaf := ca.Issue(common(cn)).Leaf
		expect(t, newBackend(t, ca, mtls.Options{Identities: []mtls.Identity{mtls.SPIFFE, mtls.DNS, mtls.Email, mtls.URI}}), verified(leaf), refused)
		expect(t, newBackend(t, ca, mtls.Options{}), verified(leaf), refused)
	}

	b := newBackend(t, ca, mtls.Options{Identities: []mtls.Identity{mtls.InsecureCommonName}})
	withSAN := named(name{uriName, orders})
	withSAN.Subject.CommonName = "Alice Ö."
	withNUL := named(name{dnsName, "a\x00b"})
	withNUL.Subject.CommonName = "alice"
	for want, templates := range map[string][]x509.Certificate{
		"alice":    {common("alice")},
		"Alice Ö.": {withSAN},
		refused: {
			common(), common("alice", "bob"), common(""), common("*"), common("*.example.com"), common("alice\x00"), common("alice\nbob"),
			common("alice\u202ebob"), named(name{uriName, orders}), named(name{dnsName, "example.com"}), withNUL,
		},
	} {
		for _, template := range templates {
			expect(t, b, verified(ca.Issue(template).Leaf), want)
		}
	}
}

// A team whose authority may give names under its own domain alone must not get others in through a back door of the encoding.
func TestNameConstraintsHoldForTheNameThatIsUsed(t *testing.T) {
	t.Parallel()
	ca := grpcauthtest.NewCA(t)
	team := ca.Issue(x509.Certificate{
		Subject: pkix.Name{CommonName: "team"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		PermittedURIDomains: []string{"team.example.org"}, PermittedDNSDomainsCritical: true,
	})
	b := newBackend(t, ca, mtls.Options{})
	for _, test := range []struct {
		names []name
		want  string
	}{
		{[]name{{uriName, "spiffe://team.example.org/a"}}, "spiffe://team.example.org/a"},
		{[]name{{uriName, orders}}, refused},
		{[]name{{0x06, orders}}, refused},
		{[]name{{0xa6, orders}}, refused},
		{[]name{{0x06, orders}, {uriName, "https://team.example.org/"}}, refused},
	} {
		made := ca.Issue(x509.Certificate{})
		template := *made.Leaf
		template.ExtraExtensions, template.AuthorityKeyId = named(test.names...).ExtraExtensions, nil
		leaf := sign(t, team, &template, made.Leaf.PublicKey)
		if got := call(t, b, verified(leaf, team.Leaf)); got != test.want {
			t.Errorf("%q: got %s, want %s", test.names, got, test.want)
		}
	}
}

func TestPrintsKindsOfNames(t *testing.T) {
	t.Parallel()
	got := fmt.Sprintf("%v", []mtls.Identity{0, mtls.SPIFFE, mtls.DNS, mtls.Email, mtls.URI, mtls.InsecureCommonName, mtls.InsecureCommonName + 1})
	if want := "[Identity(0) SPIFFE DNS Email URI InsecureCommonName Identity(6)]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
