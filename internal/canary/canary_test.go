// SPDX-License-Identifier: Apache-2.0

package canary_test

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/grpcauth/grpcauth/internal/canary"
)

const secret = "canary-5f1d7c/?é"

func Example() {
	fmt.Println(canary.Find(canary.Show(errors.New("the token hunter2hunter2 is wrong")), "hunter2hunter2"))
	// Output: text
}

func TestSecretIsFoundHoweverItIsWritten(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"text": secret, "within": "x" + secret + "y", "hex": hex.EncodeToString([]byte(secret)), "an error": canary.Show(errors.New(secret)),
		"bytes": canary.Show([]byte(secret)), "a field": canary.Show(struct{ Token string }{secret}), "an unexported field": canary.Show(struct{ token string }{secret}),
		"a nil pointer before it": canary.Show((*struct{ A int })(nil), secret),
		"base64":                  base64.StdEncoding.EncodeToString([]byte(secret)), "base64, one byte on": base64.StdEncoding.EncodeToString([]byte("x" + secret + "y")),
		"base64url, two bytes on": base64.RawURLEncoding.EncodeToString([]byte("xy" + secret)), "a map": canary.Show(map[string]any{"a": secret}),
	} {
		if canary.Find(text, secret) == "" {
			t.Errorf("%s: not found in %q", name, text)
		}
	}
}

func TestWhatIsNotWrittenIsNotFound(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "canary", secret[:8], canary.Show(errors.New("the token is wrong"))} {
		if form := canary.Find(text, secret); form != "" {
			t.Errorf("%q: found as %s", text, form)
		}
	}
	if canary.Find("alice", "alice") != "" {
		t.Error("a word that short is in every text")
	}
}

func TestCredentialsHaveSecrets(t *testing.T) {
	t.Parallel()
	for credential, want := range map[string]string{
		"Bearer abc.def.signature": "signature", "Basic " + base64.StdEncoding.EncodeToString([]byte("alice:pass:word")): "pass:word", "orders_live_1_2": "orders_live_1_2",
	} {
		if got := canary.Secrets(credential); !slices.Contains(got, want) {
			t.Errorf("%s: got %q, want %q among them", credential, got, want)
		}
	}
}
