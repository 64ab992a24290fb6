// SPDX-License-Identifier: Apache-2.0

package mtls

import (
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Identity is a kind of name in a certificate.
type Identity uint8

// The kinds of names. All but the last are subject alternative names (RFC 5280, section 4.2.1.6); none may have a wildcard.
const (
	// SPIFFE is a URI of the scheme spiffe, in a certificate that is an X.509-SVID: a path, no other URI beside it. DNS names may be.
	SPIFFE Identity = iota + 1
	// DNS is a domain name. It is compared, and becomes the user's ID, in lower case.
	DNS
	// Email is an address without quotes or comments, as it is written.
	Email
	// URI is an absolute URI of any scheme but spiffe, as it is written.
	URI
	// InsecureCommonName is the common name of the subject, which few authorities check and no name constraint of theirs bounds: whoever can
	// have one certificate issued may be able to have any name. It stands alone in Options.Identities.
	InsecureCommonName
)

var identityNames = [...]string{SPIFFE: "SPIFFE", DNS: "DNS", Email: "Email", URI: "URI", InsecureCommonName: "InsecureCommonName"}

// String is the name of the constant.
func (i Identity) String() string {
	if i < SPIFFE || i > InsecureCommonName {
		return fmt.Sprintf("Identity(%d)", uint8(i))
	}
	return identityNames[i]
}

// caller is what names the caller.
type caller struct {
	name string
	id   ID // zero unless the name is a SPIFFE ID
}

// altNames are the subject alternative names of a certificate, byte for byte: crypto/x509 has its URIs in parts, and the scheme in lower case.
type altNames struct{ dns, email, uri []string }

// callerOf returns the one name of the first kind of which the certificate has any.
func callerOf(cert *x509.Certificate, kinds []Identity) (caller, error) {
	names, err := altNamesOf(cert)
	if err != nil {
		return caller{}, err
	}
	for _, kind := range kinds {
		found, check := names.dns, checkDNS
		switch kind {
		case DNS:
		case Email:
			found, check = names.email, checkEmail
		case URI:
			if !slices.ContainsFunc(names.uri, func(uri string) bool { return !isSPIFFE(uri) }) {
				continue
			}
			found, check = names.uri, checkURI
		case InsecureCommonName:
			found, check = commonNamesOf(cert), checkCommonName
		case SPIFFE:
			if !slices.ContainsFunc(names.uri, isSPIFFE) {
				continue
			}
			found, check = names.uri, checkSPIFFE
		}
		switch {
		case len(found) == 0:
			continue
		case len(found) > 1:
			return caller{}, fmt.Errorf("the certificate has %d names for %v, and one is wanted", len(found), kind)
		}
		c, err := check(found[0])
		if err != nil {
			return caller{}, fmt.Errorf("the certificate's name for %v: %w", kind, err)
		}
		return c, nil
	}
	return caller{}, fmt.Errorf("the certificate has no name for any of %v", kinds)
}

func altNamesOf(cert *x509.Certificate) (altNames, error) {
	var names altNames
	for _, extension := range cert.Extensions {
		if !extension.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 17}) {
			continue
		}
		var list asn1.RawValue
		if rest, err := asn1.Unmarshal(extension.Value, &list); err != nil || len(rest) > 0 {
			return altNames{}, errors.New("the alternative names are malformed")
		}
		for rest := list.Bytes; len(rest) > 0; {
			var name asn1.RawValue
			var err error
			if rest, err = asn1.Unmarshal(rest, &name); err != nil {
				return altNames{}, errors.New("the alternative names are malformed")
			}
			if err := names.add(&name); err != nil {
				return altNames{}, err
			}
		}
	}
	return names, nil
}

func (n *altNames) add(name *asn1.RawValue) error {
	var names *[]string
	switch name.FullBytes[0] { // not the tag alone: crypto/x509, which checks name constraints, sees names of just these classes
	case 0x81:
		names = &n.email
	case 0x82:
		names = &n.dns
	case 0x86:
		names = &n.uri
	default:
		return nil
	}
	text := string(name.Bytes)
	if strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return errors.New("an alternative name has a character that is not printable ASCII")
	}
	*names = append(*names, text)
	return nil
}

// isSPIFFE compares without case, so that an ID in capitals is refused and not passed over.
func isSPIFFE(uri string) bool {
	return len(uri) >= len("spiffe:") && strings.EqualFold(uri[:len("spiffe:")], "spiffe:")
}

func checkSPIFFE(uri string) (caller, error) {
	id, err := ParseID(uri)
	if err != nil {
		return caller{}, err
	}
	if id.Path() == "" {
		return caller{}, errors.New("a SPIFFE ID without a path names a trust domain and no caller")
	}
	return caller{name: uri, id: id}, nil
}

func checkDNS(name string) (caller, error) {
	if !isDomain(name) {
		return caller{}, errors.New("not the name of one host")
	}
	return caller{name: strings.ToLower(name)}, nil
}

func checkEmail(address string) (caller, error) {
	// What RFC 5322, section 3.2.3, allows in an atom, without the star.
	const atom = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'+-/=?^_`{|}~"
	local, domain, _ := strings.Cut(address, "@")
	for part := range strings.SplitSeq(local, ".") {
		if part == "" || strings.Trim(part, atom) != "" {
			return caller{}, errors.New("not the address of one mailbox")
		}
	}
	if !isDomain(domain) {
		return caller{}, errors.New("not an address at a host")
	}
	return caller{name: address}, nil
}

func checkURI(uri string) (caller, error) {
	switch u, err := url.Parse(uri); {
	case err != nil || u.Scheme == "" || u.Host == "" && u.Path == "" && u.Opaque == "":
		return caller{}, errors.New("not an absolute URI")
	case strings.Contains(uri, "*"):
		return caller{}, errors.New("a wildcard")
	}
	return caller{name: uri}, nil
}

func checkCommonName(name string) (caller, error) {
	if name == "" || !utf8.ValidString(name) || strings.Contains(name, "*") || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return caller{}, errors.New("empty, a wildcard, or not printable")
	}
	return caller{name: name}, nil
}

func commonNamesOf(cert *x509.Certificate) []string {
	var found []string
	for _, attribute := range cert.Subject.Names {
		if text, ok := attribute.Value.(string); ok && attribute.Type.Equal(asn1.ObjectIdentifier{2, 5, 4, 3}) {
			found = append(found, text)
		}
	}
	return found
}

// isDomain reports whether a text is a domain name without a root dot or a wildcard. Underscores are taken, as resolvers do.
func isDomain(name string) bool {
	if len(name) > 253 {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := range len(label) {
			if c := label[i]; (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
				return false
			}
		}
	}
	return true
}
