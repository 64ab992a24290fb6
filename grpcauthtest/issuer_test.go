// SPDX-License-Identifier: Apache-2.0

package grpcauthtest_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/grpcauth/grpcauth/backends/jwt"
	"github.com/grpcauth/grpcauth/grpcauthtest"
)

// failing notes how its test ends, and ends the goroutine as a test does.
type failing struct {
	testing.TB

	why string
}

func (*failing) Helper() {}
func (f *failing) Fatalf(format string, args ...any) {
	f.why = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

func TestIssuerFailsItsTestOverAnAlgorithmThatDoesNotExist(t *testing.T) {
	t.Parallel()
	for _, algorithm := range []string{"", "E", "none", "HS1", "RS1", "RS999", "PS25", "ES257", "Ed448", "RSA-OAEP", "EdDSA "} {
		tb := &failing{}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			grpcauthtest.NewIssuer(tb, "https://idp.example.com", "orders").Token(algorithm, "alice", nil)
		}()
		<-ended
		if !strings.Contains(tb.why, fmt.Sprintf("%q", algorithm)) {
			t.Errorf("%q: the test failed with %q, want the algorithm named", algorithm, tb.why)
		}
	}
}

// A token is signed with the key that its header names, also if that is rotated out meanwhile.
func TestIssuerMintsWholeTokensWhileItRotates(t *testing.T) {
	t.Parallel()
	issuer := grpcauthtest.NewIssuer(t, "https://idp.example.com", "orders")
	v, err := jwt.NewVerifier(jwt.Options{Issuers: []jwt.Issuer{issuer.Config("HS256")}})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 500 {
				issuer.Rotate("HS256", true)
			}
		})
		wg.Go(func() {
			for range 50 {
				if _, err := v.Verify(t.Context(), issuer.Token("HS256", "alice", nil)); err != nil {
					t.Errorf("got %v", err)
				}
			}
		})
	}
	wg.Wait()
	ids := map[string]bool{}
	for _, key := range issuer.Published() {
		if ids[key.ID] {
			t.Errorf("the key %s is published twice", key.ID)
		}
		ids[key.ID] = true
	}
}

func TestIssuerFindsAKeyByItsID(t *testing.T) {
	t.Parallel()
	issuer := grpcauthtest.NewIssuer(t, "https://idp.example.com", "orders")
	kid := issuer.KeyID("ES256")
	issuer.Rotate("ES256", true)
	for id, want := range map[string]int{kid: 1, issuer.KeyID("ES256"): 1, "": 2, "another": 0} {
		keys, err := issuer.Keys(t.Context(), id)
		if err != nil || len(keys) != want || id != "" && want == 1 && keys[0].ID != id {
			t.Errorf("%q: got %d keys, %v, want %d", id, len(keys), err, want)
		}
	}
}

func TestIssuerServesItsPublicKeysAlone(t *testing.T) {
	t.Parallel()
	issuer := grpcauthtest.NewIssuer(t, "https://idp.example.com", "orders")
	for _, algorithm := range []string{"HS256", "ES256", "EdDSA", "RS256"} {
		issuer.KeyID(algorithm) // makes the key
	}
	document := issuer.JWKS()
	var set struct{ Keys []map[string]string }
	if err := json.Unmarshal(document, &set); err != nil {
		t.Fatal(err)
	}
	if len(set.Keys) != 3 {
		t.Errorf("%d keys are served, want 3", len(set.Keys))
	}
	for _, key := range set.Keys {
		for _, private := range []string{"k", "d", "p", "q", "dp", "dq", "qi"} { // RFC 7518, section 6
			if _, ok := key[private]; ok {
				t.Errorf("the key %s shows its %s", key["kid"], private)
			}
		}
	}
	for _, key := range issuer.Published() {
		if len(key.Secret) > 0 && bytes.Contains(document, []byte(base64.RawURLEncoding.EncodeToString(key.Secret))) {
			t.Errorf("the secret of %s is served", key.ID)
		}
	}
}

func TestClaimsAreAddedChangedAndTakenOut(t *testing.T) {
	t.Parallel()
	issuer := grpcauthtest.NewIssuer(t, "https://idp.example.com", "orders")
	issuer.Now = grpcauthtest.NewClock(time.Unix(1_000_000, 0)).Now
	changes := map[string]any{"aud": "stock", "iat": nil, "scope": "read"}
	got, err := json.Marshal(issuer.Claims("alice", changes))
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"aud":"stock","exp":1000600,"iss":"https://idp.example.com","scope":"read","sub":"alice"}`; string(got) != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if len(changes) != 3 {
		t.Errorf("the caller's map has become %v", changes)
	}
}

func TestIssuersWithTheSameKeyIDDoNotTrustEachOther(t *testing.T) {
	t.Parallel()
	issuer := grpcauthtest.NewIssuer(t, "https://idp.example.com", "orders")
	impostor := grpcauthtest.NewIssuer(t, "https://idp.example.com", "orders")
	if issuer.KeyID("ES256") != impostor.KeyID("ES256") {
		t.Fatal("the key IDs differ")
	}
	v, err := jwt.NewVerifier(jwt.Options{Issuers: []jwt.Issuer{issuer.Config("ES256")}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Verify(t.Context(), impostor.Token("ES256", "alice", nil)); err == nil {
		t.Error("the impostor's token was accepted")
	}
}
