// SPDX-License-Identifier: Apache-2.0

package oidc_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/grpcauth/grpcauth/backends/oidc"
)

// FuzzDocument lets a provider say anything of itself. What is believed, encoding/json reads the same way, and it names the issuer and a place of the same scheme.
func FuzzDocument(f *testing.F) {
	for _, seed := range []string{
		document(issuerURL, keysURL), document(issuerURL+"/", keysURL), document(issuerURL, "http://127.0.0.1/"), document(issuerURL, "https://a:b@c/"),
		`{"issuer":"` + issuerURL + `","issuer":"a","jwks_uri":"` + keysURL + `"}`, `{"issuer":"` + issuerURL + `","Jwks_uri":"https://a/"}`,
		`{"issuer":"https:\/\/idp.example.com\/tenant","jwks_uri":"https:\/\/keys.example.net\/set"}`, `{}`, `[]`, `null`, ``, `{"jwks_uri":1}`, "<html>", "\ufeff{}",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p := &provider{answers: map[string]answer{wellKnown: respond(http.StatusOK, text)}}
		opts := oidc.Options{}
		opts.Keys.Client = &http.Client{Transport: p}
		found, err := oidc.New(config(), opts)
		if err != nil {
			t.Fatal(err)
		}
		if err := found.Ready(t.Context()); err == nil {
			t.Fatal("ready without keys")
		}
		asked := strings.TrimPrefix(p.seen(), wellKnown)
		if asked == "" {
			return
		}
		var read map[string]any
		decoder := json.NewDecoder(strings.NewReader(text))
		decoder.UseNumber() // one that no float64 holds is JSON still
		if err := decoder.Decode(&read); err != nil || !json.Valid([]byte(text)) {
			t.Fatalf("believed what is no JSON: %v", err)
		}
		place, _ := read["jwks_uri"].(string)
		if u, err := url.Parse(place); read["issuer"] != issuerURL || err != nil || u.Scheme != "https" || u.User != nil || u.Host == "" {
			t.Fatalf("believed %q, and asked%s", text, asked)
		}
	})
}
