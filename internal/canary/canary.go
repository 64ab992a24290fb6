// SPDX-License-Identifier: Apache-2.0

// Package canary looks for secrets where nobody may write them.
//
// It is linked in by tests alone, and by builds with the tag grpcauth_canary, which look at every decision.
package canary

import (
	"encoding/base64"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
)

// shortest is the size of a secret below which it is not looked for: it would be found in what is none.
const shortest = 8

// Show writes values in all the ways in which programs write them.
func Show(values ...any) string {
	var out strings.Builder
	for _, v := range values {
		fmt.Fprintf(&out, "%v %+v %#v %s %q %x\n", v, v, v, v, v, v)
		if document, err := json.Marshal([]any{v}); err == nil {
			out.Write(document)
		}
		encode(&out, v)
	}
	return out.String()
}

// encode writes what gob makes of a value. Many have no exported fields, which is an error, and nil pointers make it panic.
func encode(out io.Writer, v any) {
	defer func() { _ = recover() }()
	_ = gob.NewEncoder(out).Encode(v)
}

// Find returns the form in which a secret stands in a text; empty if it does not.
func Find(text, secret string) string {
	if len(secret) < shortest {
		return ""
	}
	for _, form := range forms(secret) {
		if strings.Contains(text, form[1]) {
			return form[0]
		}
	}
	return ""
}

// forms are the ways in which a secret may be written, each with its name. Of base64 it is what does not depend on the neighbours, wherever in them the
// secret begins.
func forms(secret string) [][2]string {
	all := [][2]string{
		{"text", secret},
		{"hexadecimal", hex.EncodeToString([]byte(secret))},
		{"quoted", strings.Trim(strconv.Quote(secret), `"`)},
		{"URL", url.QueryEscape(secret)},
		{"bytes", strings.Trim(fmt.Sprint([]byte(secret)), "[]")}, //nolint:staticcheck // the bytes as numbers
	}
	for skip := range 3 {
		part := []byte(secret[skip : skip+(len(secret)-skip)/3*3])
		all = append(all, [2]string{"base64", base64.RawStdEncoding.EncodeToString(part)}, [2]string{"base64url", base64.RawURLEncoding.EncodeToString(part)})
	}
	return all
}

// Secrets are what a credential's text holds that is nobody else's business: all of it after the scheme, the password of a name and a password, and the
// signature of a signed token, whose claims are no secret.
func Secrets(credential string) []string {
	_, token, ok := strings.Cut(credential, " ")
	if !ok {
		token = credential
	}
	secrets := []string{token}
	if decoded, err := base64.StdEncoding.DecodeString(token); err == nil {
		if _, password, ok := strings.Cut(string(decoded), ":"); ok {
			secrets = append(secrets, password)
		}
	}
	if i := strings.LastIndexByte(token, '.'); i >= 0 {
		secrets = append(secrets, token[i+1:])
	}
	return secrets
}
