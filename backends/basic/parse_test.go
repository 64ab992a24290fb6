// SPDX-License-Identifier: Apache-2.0

package basic

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// FuzzParse compares with the parser of net/http, which takes more: what is accepted here means the same there.
func FuzzParse(f *testing.F) {
	for _, text := range []string{"alice:secret", "a:", ":", "", "alice", "a:b:c", "t\xe9st:x", "test:123£", "a:\x00", "a\u0085:b", "\u202ealice:x"} {
		f.Add(base64.StdEncoding.EncodeToString([]byte(text)))
		f.Add(base64.RawURLEncoding.EncodeToString([]byte(text)))
		f.Add(text)
	}
	f.Add(strings.Repeat("QUFB", maxCredential/4) + "QTpB")
	f.Add("YTpi\nYw==")
	f.Add("YTpiYx==")
	f.Fuzz(func(t *testing.T, credential string) {
		name, pass, err := parse(credential)
		r := http.Request{Header: http.Header{"Authorization": {"Basic " + credential}}}
		theirName, theirPass, ok := r.BasicAuth()
		clean := utf8.ValidString(theirName) && utf8.ValidString(theirPass) && !strings.ContainsFunc(theirName+theirPass, unicode.IsControl)
		if err != nil {
			if name != "" || pass != "" {
				t.Fatal("an error and a name or a password")
			}
			if ok && clean && theirName != "" && len(credential) <= maxCredential && base64.StdEncoding.EncodeToString([]byte(theirName+":"+theirPass)) == credential {
				t.Fatalf("refused %q", theirName)
			}
			return
		}
		if !ok || !clean || name != theirName || pass != theirPass || name == "" || len(credential) > maxCredential || base64.StdEncoding.EncodeToString([]byte(name+":"+pass)) != credential {
			t.Fatalf("got %q, net/http got %q, %t", name, theirName, ok)
		}
	})
}
