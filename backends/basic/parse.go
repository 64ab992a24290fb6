// SPDX-License-Identifier: Apache-2.0

package basic

import (
	"encoding/base64"
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxCredential bounds the base64 of name and password together: names of 4 KiB with the longest password are well within it.
const maxCredential = 8 << 10

var errSyntax = errors.New("not the base64 of name:password")

var strict = base64.StdEncoding.Strict()

// parse splits a credential at its first colon (RFC 7617, section 2). The name is not empty, and both are UTF-8 without control characters.
func parse(credential string) (name, pass string, err error) {
	if len(credential) > maxCredential || strings.ContainsAny(credential, "\r\n") { // the decoder would skip line breaks
		return "", "", errSyntax
	}
	decoded, err := strict.DecodeString(credential)
	if err != nil || !utf8.Valid(decoded) {
		return "", "", errSyntax // the decoder's error is about a byte of the password
	}
	name, pass, ok := strings.Cut(string(decoded), ":")
	if !ok || name == "" || strings.ContainsFunc(name, unicode.IsControl) || strings.ContainsFunc(pass, unicode.IsControl) {
		return "", "", errSyntax
	}
	return name, pass, nil
}
