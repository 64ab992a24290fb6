// SPDX-License-Identifier: Apache-2.0

package introspect_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/grpcauth/grpcauth/backends/introspect"
)

// FuzzAnswer lets a server answer anything. What is accepted, encoding/json reads the same way: active, for this service, for that user and not expired.
func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{
		`{"active":true,"sub":"alice","aud":"orders","exp":1900000000}`, `{"active":true,"sub":"alice","aud":["a","orders"],"scope":"a b","cnf":{"jkt":"a"}}`,
		`{"active":false}`, `{"active":"true","sub":"alice","aud":"orders"}`, `{"active":true,"Active":false,"sub":"alice","aud":"orders"}`, `{"active":true,"sub":"","aud":"orders"}`,
		`{"active":true,"sub":"alice","aud":"orders","exp":1e400}`, `{"active":true,"sub":"alice","aud":"orders","exp":1.5e9}`, `{}`, `[]`, ``, `null`, `<html>`, "\ufeff{}",
		`{"active":true,"sub":"\ud800","aud":"orders"}`, `{"active":true,"sub":"alice","aud":"orders"}{}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s := &server{answer: respond(http.StatusOK, text)}
		v, err := introspect.NewVerifier(introspect.Options{
			URL: endpoint, ClientID: "orders-service", ClientSecret: secret, Audiences: []string{"orders"}, Client: &http.Client{Transport: s}, Now: func() time.Time { return start },
		})
		if err != nil {
			t.Fatal(err)
		}
		user, err := v.Verify(t.Context(), "a")
		if (user == nil) == (err == nil) {
			t.Fatalf("got %v and %v", user, err)
		}
		if err != nil {
			return
		}
		var read map[string]any
		decoder := json.NewDecoder(strings.NewReader(text))
		decoder.UseNumber() // one that no float64 holds is JSON still
		if err := decoder.Decode(&read); err != nil || !json.Valid([]byte(text)) {
			t.Fatalf("accepted what is no JSON: %v", err)
		}
		audiences, _ := read["aud"].([]any)
		number, expires := read["exp"].(json.Number)
		exp, _ := number.Float64()
		if read["active"] != true || read["sub"] != user.ID || user.ID == "" || read["aud"] != "orders" && !slices.Contains(audiences, any("orders")) || expires && exp <= float64(start.Unix()) {
			t.Fatalf("accepted %q as %q", text, user.ID)
		}
	})
}
