// SPDX-License-Identifier: Apache-2.0

// Package wire has the text rules of header fields: schemes, cookies, challenges, and what may be sent at all.
package wire

import (
	"errors"
	"strings"
	"unicode/utf8"
)

// ValidHeader reports whether gRPC sends a metadata pair as it is: the key in lower case and not reserved, the value printable ASCII.
// Values of binary keys may have any byte.
func ValidHeader(key, value string) bool {
	if key == "" || strings.HasPrefix(key, "grpc-") {
		return false
	}
	for _, c := range []byte(key) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	if strings.HasSuffix(key, "-bin") {
		return true
	}
	for _, c := range []byte(value) {
		if c < ' ' || c > '~' {
			return false
		}
	}
	return true
}

// HasScheme reports whether the value of an authorization header names the scheme: it stands alone or before a space.
func HasScheme(value, scheme string) bool {
	return len(value) >= len(scheme) && strings.EqualFold(value[:len(scheme)], scheme) &&
		(len(value) == len(scheme) || value[len(scheme)] == ' ')
}

// ErrNoCredential and ErrSpace are why [AfterScheme] refuses a value.
var (
	ErrNoCredential = errors.New("no credential follows the scheme")
	ErrSpace        = errors.New("white space surrounds the credential")
)

// AfterScheme is what follows a scheme and exactly one space (RFC 9110, section 11.4), for a value that has the scheme.
func AfterScheme(value, scheme string) (string, error) {
	credential := value[len(scheme):]
	if credential == "" || credential == " " {
		return "", ErrNoCredential
	}
	credential = credential[1:]
	if isSpace(credential[0]) || isSpace(credential[len(credential)-1]) {
		return "", ErrSpace
	}
	return credential, nil
}

// isSpace also takes every control and non-ASCII byte for white space, the no-break space among them.
func isSpace(c byte) bool { return c <= ' ' || c >= 0x7f }

// Cookie finds the cookies of a name in all cookie fields of a call, which are one list (RFC 9113, section 8.2.3).
// It returns the last value, how many there are, and the size of all fields.
func Cookie(fields []string, name string) (value string, found, size int) {
	for _, field := range fields {
		size += len(field)
		for pair := range strings.SplitSeq(field, ";") {
			if n, v, ok := strings.Cut(strings.Trim(pair, " \t"), "="); ok && n == name {
				value = v
				found++
			}
		}
	}
	return value, found, size
}

// Printable bounds a text and repairs its UTF-8, which protobuf strings must have.
func Printable(text string, most int) string {
	if len(text) > most {
		text = text[:most]
	}
	if utf8.ValidString(text) {
		return text
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}

// CarriesCall reports whether a metadata key means something to those who carry a call, so that it cannot also carry a credential.
func CarriesCall(key string) bool {
	switch key {
	case "connection", "content-length", "content-type", "host", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "user-agent":
		return true
	}
	return false
}

// CredentialKey reports whether a metadata key may be the place of a kind of credential of its own: it belongs neither to those who carry a call or
// pass it on, nor to another kind.
func CredentialKey(key string) bool {
	switch key {
	case "authorization", "proxy-authorization", "cookie", "set-cookie", "forwarded":
		return false
	}
	return ValidHeader(key, "") && !CarriesCall(key) && !strings.HasSuffix(key, "-bin") && !strings.HasPrefix(key, "x-forwarded-")
}
