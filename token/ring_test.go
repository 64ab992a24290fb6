// SPDX-License-Identifier: Apache-2.0

package token_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/jwks"
	"github.com/grpcauth/grpcauth/token"
)

type movableClock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *movableClock { return &movableClock{now: now} }

func (c *movableClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *movableClock) Add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func ed(id string, from time.Time) token.SigningKey {
	return token.SigningKey{ID: id, Key: edKey(), SignFrom: from}
}

// state is the key that signs, and those that are published.
func state(t *testing.T, ring *token.Ring, now func() time.Time) string {
	t.Helper()
	current := "none"
	if text, _, err := newIssuer(t, ring, now).Sign(t.Context(), plain); err == nil {
		header, _ := parts(t, text)
		current = fmt.Sprint(header["kid"])
	}
	all, err := ring.Keys(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, k := range all {
		ids = append(ids, k.ID)
		if one, err := ring.Keys(t.Context(), k.ID); err != nil || len(one) != 1 || one[0].ID != k.ID {
			t.Errorf("key %q: got %v and %v", k.ID, one, err)
		}
	}
	return current + " of " + strings.Join(ids, " ")
}

func TestRingRotatesByTheClock(t *testing.T) {
	t.Parallel()
	clock := newClock()
	ring := newRing(t, clock.Now, ed("b", now.Add(time.Hour)), ed("a", time.Time{}), ed("c", now.Add(2*time.Hour)))
	for _, step := range []struct {
		after time.Duration
		want  string
	}{
		{0, "a of a b c"},
		{time.Hour - 1, "a of a b c"},
		{1, "b of a b c"},
		{time.Hour - 1, "b of a b c"},
		{1, "c of a b c"},                  // a signed until an hour ago: its last tokens may live for an hour
		{10*time.Minute - 1, "c of a b c"}, // and clocks differ
		{1, "c of b c"},
		{time.Hour, "c of c"},
		{-time.Hour, "c of b c"},          // the clock goes back
		{-70 * time.Minute, "b of a b c"}, // and further back
		{1000 * time.Hour, "c of c"},
	} {
		clock.Add(step.after)
		if got := state(t, ring, clock.Now); got != step.want {
			t.Errorf("at %v: %s, want %s", clock.Now().Sub(now), got, step.want)
		}
	}
}

func TestEachTokenIsGoodUntilItExpiresWhateverTheRingDoes(t *testing.T) {
	t.Parallel()
	clock := newClock()
	ring := newRing(t, clock.Now, ed("a", time.Time{}), ed("b", now.Add(20*time.Minute)), ed("c", now.Add(40*time.Minute)))
	issuer, err := token.New(token.Options{Issuer: issuerURL, Audiences: []string{"orders"}, Ring: ring, Lifetime: time.Hour, Now: clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	verifier := newVerifier(t, ring, clock.Now, "EdDSA")
	alive := map[string]time.Time{}
	for range 60 {
		text, signed, err := issuer.Sign(t.Context(), plain)
		if err != nil {
			t.Fatal(err)
		}
		alive[text] = signed.Expiry
		for text, expiry := range alive {
			_, err := verifier.Verify(t.Context(), text)
			if expired := !clock.Now().Before(expiry); (err != nil) != expired {
				t.Fatalf("at %v a token that ends at %v: %v", clock.Now(), expiry, err)
			} else if expired {
				delete(alive, text)
			}
		}
		clock.Add(4 * time.Minute)
	}
}

func TestKeyThatHasEndedIsNotReplacedByAnOlderOne(t *testing.T) {
	t.Parallel()
	clock := newClock()
	b := ed("b", now.Add(time.Minute))
	b.SignUntil = now.Add(time.Hour)
	ring := newRing(t, clock.Now, ed("a", time.Time{}), b)
	clock.Add(time.Hour)
	if got := state(t, ring, clock.Now); got != "none of a b" {
		t.Errorf("got %s", got)
	}
	clock.Add(-1)
	if got := state(t, ring, clock.Now); got != "b of a b" {
		t.Errorf("got %s", got)
	}
	clock.Add(1 + 70*time.Minute)
	if got := state(t, ring, clock.Now); got != "none of " {
		t.Errorf("got %s", got)
	}
}

func TestAddedKeyIsPublishedBeforeItSigns(t *testing.T) {
	t.Parallel()
	clock := newClock()
	ring := newRing(t, clock.Now, ed("a", time.Time{}))
	if err := ring.Add(token.SigningKey{ID: "b", Key: edKey()}); err != nil {
		t.Fatal(err)
	}
	if got := state(t, ring, clock.Now); got != "a of a b" {
		t.Errorf("got %s", got)
	}
	clock.Add(5*time.Minute - 1)
	if got := state(t, ring, clock.Now); got != "a of a b" {
		t.Errorf("it signs before everybody's copy of the set has aged: %s", got)
	}
	clock.Add(1)
	if got := state(t, ring, clock.Now); got != "b of a b" {
		t.Errorf("got %s", got)
	}
	for want, k := range map[string]token.SigningKey{
		`ID "a"`:              {ID: "a", Key: edKey()},
		"SignFrom is that of": ed("c", now.Add(5*time.Minute)),
		"Key and Secret":      {ID: "c"},
	} {
		if err := ring.Add(k); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestRetiredKeyEndsAtOnceOrOnceItsTokensHave(t *testing.T) {
	t.Parallel()
	clock := newClock()
	ring := newRing(t, clock.Now, ed("a", time.Time{}), ed("next", now.Add(time.Hour)))
	verifier := newVerifier(t, ring, clock.Now, "EdDSA")
	text, _, err := newIssuer(t, ring, clock.Now).Sign(t.Context(), plain)
	if err != nil {
		t.Fatal(err)
	}
	if err := ring.Retire("a", clock.Now()); err == nil || !strings.Contains(err.Error(), "add its successor") {
		t.Errorf("the one key that signs was retired: %v", err)
	}
	if err := ring.Retire("x", time.Time{}); err == nil {
		t.Error("a key that is not there was retired")
	}
	if err := ring.Add(ed("b", clock.Now().Add(-time.Second))); err != nil {
		t.Fatal(err)
	}
	if _, err := verifier.Verify(t.Context(), text); err != nil {
		t.Error(err)
	}
	if got := state(t, ring, clock.Now); got != "b of a b next" {
		t.Errorf("got %s", got)
	}
	if err := ring.Retire("a", clock.Now()); err != nil { // it was stolen
		t.Fatal(err)
	}
	if _, err := verifier.Verify(t.Context(), text); grpcauth.CodeOf(err) != grpcauth.CodeInvalid || err == nil {
		t.Errorf("a token of a key that was withdrawn: %v", err)
	}
	if err := ring.Retire("next", time.Time{}); err != nil {
		t.Fatal(err)
	}
	if got := state(t, ring, clock.Now); got != "b of b next" {
		t.Errorf("got %s", got)
	}
	clock.Add(70*time.Minute - 1)
	if got := state(t, ring, clock.Now); got != "b of b next" {
		t.Errorf("got %s", got)
	}
	clock.Add(1)
	if got := state(t, ring, clock.Now); got != "b of b" {
		t.Errorf("got %s", got)
	}
}

func TestRingForgetsKeysThatVerifyNothing(t *testing.T) {
	t.Parallel()
	clock := newClock()
	ring := newRing(t, clock.Now, ed("0", time.Time{}))
	for i := range 300 {
		clock.Add(2 * time.Hour)
		if err := ring.Add(ed(fmt.Sprint(i+1), clock.Now())); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 97 { // beside the current one, the one before and that one's
		if err := ring.Add(ed(fmt.Sprint("n", i), clock.Now().Add(time.Duration(i+1)*time.Hour))); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 3 {
		err := ring.Add(ed(fmt.Sprint("m", i), clock.Now().Add(time.Duration(i+1000)*time.Hour)))
		if (err == nil) != (i < 1) {
			t.Errorf("key %d: %v", 98+i, err)
		}
	}
}

func TestKeysThatAreWrongAreNamed(t *testing.T) {
	t.Parallel()
	key, until := edKey(), func(k token.SigningKey, sign, publish time.Duration) token.SigningKey {
		k.SignUntil, k.PublishUntil = now.Add(sign), now.Add(publish)
		return k
	}
	for name, test := range map[string]struct {
		keys []token.SigningKey
		want string
	}{
		"none":              {nil, "Keys is empty"},
		"neither":           {[]token.SigningKey{{ID: "a"}}, "Keys[0]: Key and Secret"},
		"both":              {[]token.SigningKey{{ID: "a", Algorithm: "HS256", Key: key, Secret: make([]byte, 32)}}, "Keys[0]: Key and Secret"},
		"weak RSA":          {[]token.SigningKey{ed("a", time.Time{}), {ID: "b", Key: weakRSA(), SignFrom: now}}, "Keys[1]: Key is of no use: Public has 1024 bits"},
		"weak curve":        {[]token.SigningKey{{ID: "a", Key: must(ecdsa.GenerateKey(elliptic.P224(), rand.Reader))}}, "another curve"},
		"nil RSA":           {[]token.SigningKey{{ID: "a", Key: &brokenSigner{Signer: &rsa.PrivateKey{}}}}, "Public is nil"},
		"short secret":      {[]token.SigningKey{{ID: "a", Algorithm: "HS512", Secret: make([]byte, 63)}}, "Secret has 63 bytes"},
		"empty secret":      {[]token.SigningKey{{ID: "a", Algorithm: "HS256", Secret: []byte{}}}, "Secret has 0 bytes"},
		"secret of none":    {[]token.SigningKey{{ID: "a", Secret: make([]byte, 64)}}, "Algorithm"},
		"secret without ID": {[]token.SigningKey{{Algorithm: "HS256", Secret: make([]byte, 64)}}, "ID"},
		"other type":        {[]token.SigningKey{{ID: "a", Algorithm: "RS256", Key: key}}, "Algorithm"},
		"none algorithm":    {[]token.SigningKey{{ID: "a", Algorithm: "none", Key: key}}, "Algorithm"},
		"HMAC of a public":  {[]token.SigningKey{{ID: "a", Algorithm: "HS256", Key: key}}, "Algorithm"},
		"long ID":           {[]token.SigningKey{{ID: strings.Repeat("a", 257), Key: key}}, "ID"},
		"ID not UTF-8":      {[]token.SigningKey{{ID: "\xff", Key: key}}, "ID"},
		"two of one ID":     {[]token.SigningKey{ed("a", time.Time{}), ed("a", now)}, `Keys[1]: ID "a"`},
		"two at once":       {[]token.SigningKey{ed("a", now), ed("b", now)}, `Keys[1]: SignFrom`},
		"same key":          {[]token.SigningKey{{Key: key}, {Key: key, SignFrom: now}}, "ID"},
		"none yet":          {[]token.SigningKey{ed("a", now.Add(1))}, "none that signs now"},
		"over":              {[]token.SigningKey{until(ed("a", now.Add(-time.Hour)), 0, time.Hour)}, "none that signs now"},
		"backwards":         {[]token.SigningKey{until(ed("a", now.Add(time.Hour)), 0, 2*time.Hour)}, "SignUntil"},
		"withdrawn early":   {[]token.SigningKey{until(ed("a", time.Time{}), time.Hour, 90*time.Minute)}, "PublishUntil"},
		"withdrawn signing": {[]token.SigningKey{{ID: "a", Key: key, PublishUntil: now.Add(time.Hour)}}, "PublishUntil"},
	} {
		if r, err := token.NewRing(token.RingOptions{Keys: test.keys, Now: standing}); r != nil || err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want an error with %q", name, err, test.want)
		}
	}
	for want, opts := range map[string]token.RingOptions{
		"RingOptions.TokenLifetime": {TokenLifetime: 25 * time.Hour}, "RingOptions.TokenLifetime is -": {TokenLifetime: -1}, "RingOptions.MaxAge": {MaxAge: -1},
	} {
		opts.Keys = []token.SigningKey{{Key: key}}
		if _, err := token.NewRing(opts); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error with %q", err, want)
		}
	}
}

// weakRSA is a key that nobody should have: package rsa refuses to make one.
var weakRSA = sync.OnceValue(func() *rsa.PrivateKey {
	n := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 1024), big.NewInt(1))
	return &rsa.PrivateKey{PublicKey: rsa.PublicKey{N: n, E: 65537}}
})

func TestAlgorithmAndIDComeFromTheKey(t *testing.T) {
	t.Parallel()
	for want, key := range map[string]token.SigningKey{
		"RS256": {Key: rsaKey()}, "EdDSA": {Key: edKey()}, "ES384": {Key: must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))},
	} {
		ring := newRing(t, standing, key)
		text, _, err := newIssuer(t, ring, standing).Sign(t.Context(), plain)
		if err != nil {
			t.Fatal(err)
		}
		header, _ := parts(t, text)
		if id := (jwks.Key{Public: key.Key.Public()}).Thumbprint(); header["alg"] != want || header["kid"] != id {
			t.Errorf("got %v, want %s and %s", header, want, id)
		}
	}
}

func TestPublishedSetIsThatOfTheRing(t *testing.T) {
	t.Parallel()
	clock := newClock()
	var keys []token.SigningKey
	for i, alg := range everyAlgorithm {
		k := keyFor(alg)
		k.SignFrom = now.Add(time.Duration(i) * time.Minute)
		keys = append(keys, k)
	}
	ring := newRing(t, clock.Now, keys...)
	answer := httptest.NewRecorder()
	ring.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/jwks.json", http.NoBody))
	set, err := jwks.Parse(answer.Body.Bytes())
	if err != nil || answer.Code != http.StatusOK {
		t.Fatalf("got %d and %v", answer.Code, err)
	}
	all, err := ring.Keys(t.Context(), "")
	if err != nil || len(all) != len(everyAlgorithm) {
		t.Fatalf("got %d keys and %v", len(all), err)
	}
	published := set.All()
	for _, k := range all {
		i := slices.IndexFunc(published, k.Equal)
		if secret := k.Secret != nil; (i < 0) != secret {
			t.Errorf("%v: published is %t", k, i >= 0)
		}
	}
	for _, k := range keys {
		for _, form := range []*base64.Encoding{base64.RawURLEncoding, base64.RawStdEncoding} {
			if k.Secret != nil && strings.Contains(answer.Body.String(), form.EncodeToString(k.Secret)[:20]) {
				t.Error("a secret is published")
			}
		}
	}
	var document struct {
		Keys []map[string]string `json:"keys"`
	}
	if err := json.Unmarshal(answer.Body.Bytes(), &document); err != nil {
		t.Fatal(err)
	}
	for _, k := range document.Keys {
		if k["d"] != "" || k["k"] != "" || k["p"] != "" || k["use"] != "sig" || k["alg"] == "" || k["kid"] != "kid-"+k["alg"] {
			t.Errorf("got the key %v", k)
		}
	}
}

func TestPublishedSetIsServedAsHTTPHasIt(t *testing.T) {
	t.Parallel()
	ring := newRing(t, standing, ed("a", time.Time{}))
	serve := func(method, header, value string) *httptest.ResponseRecorder {
		req := httptest.NewRequest(method, "/jwks.json", http.NoBody)
		req.Header.Set(header, value)
		answer := httptest.NewRecorder()
		ring.ServeHTTP(answer, req)
		return answer
	}
	get := serve(http.MethodGet, "X", "")
	tag := get.Header().Get("ETag")
	if get.Code != http.StatusOK || tag == "" || get.Header().Get("Cache-Control") != "public, max-age=300" || get.Header().Get("Content-Type") != "application/jwk-set+json" {
		t.Errorf("got %d and %v", get.Code, get.Header())
	}
	if head := serve(http.MethodHead, "X", ""); head.Code != http.StatusOK || head.Body.Len() > 0 || head.Header().Get("ETag") != tag {
		t.Errorf("HEAD: got %d, %d bytes and %v", head.Code, head.Body.Len(), head.Header())
	}
	if again := serve(http.MethodGet, "If-None-Match", tag); again.Code != http.StatusNotModified || again.Body.Len() > 0 {
		t.Errorf("the same again: got %d and %d bytes", again.Code, again.Body.Len())
	}
	if err := ring.Add(token.SigningKey{ID: "b", Key: edKey()}); err != nil {
		t.Fatal(err)
	}
	if other := serve(http.MethodGet, "If-None-Match", tag); other.Code != http.StatusOK || other.Header().Get("ETag") == tag {
		t.Errorf("another set: got %d and %v", other.Code, other.Header())
	}
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodOptions, "get"} {
		if got := serve(method, "X", ""); got.Code != http.StatusMethodNotAllowed || got.Header().Get("Allow") != "GET, HEAD" || strings.Contains(got.Body.String(), "kty") {
			t.Errorf("%s: got %d and %v", method, got.Code, got.Header())
		}
	}
	secret := httptest.NewRecorder()
	newRing(t, standing, keyFor("HS256")).ServeHTTP(secret, httptest.NewRequest(http.MethodGet, "/", http.NoBody))
	if secret.Body.String() != `{"keys":[]}` {
		t.Errorf("got %s for a secret", secret.Body)
	}
}

func TestRemoteVerifierFollowsTheRing(t *testing.T) {
	t.Parallel()
	clock := newClock()
	ring := newRing(t, clock.Now, ed("a", time.Time{}))
	server := httptest.NewTLSServer(ring)
	t.Cleanup(server.Close)
	set, err := jwks.Remote(server.URL, jwks.Options{Client: server.Client(), Now: clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		text, _, err := newIssuer(t, ring, clock.Now).Sign(t.Context(), plain)
		if err != nil {
			t.Fatal(err)
		}
		header, _ := parts(t, text)
		keys, err := set.Keys(t.Context(), fmt.Sprint(header["kid"]))
		if err != nil || len(keys) != 1 {
			t.Errorf("got %v and %v", keys, err)
		}
		if err := ring.Add(token.SigningKey{Key: edKey()}); err != nil {
			t.Fatal(err)
		}
		clock.Add(6 * time.Minute)
	}
}

func TestRingIsSafeForConcurrentUse(t *testing.T) {
	t.Parallel()
	clock := newClock()
	ring := newRing(t, clock.Now, ed("a", time.Time{}))
	issuer, verifier := newIssuer(t, ring, clock.Now), newVerifier(t, ring, clock.Now, "EdDSA")
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range 50 {
				text, _, err := issuer.Sign(t.Context(), plain)
				if err == nil {
					_, err = verifier.Verify(t.Context(), text)
				}
				if err != nil {
					t.Error(err)
				}
				ring.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", http.NoBody))
			}
		})
	}
	group.Go(func() {
		for range 20 {
			clock.Add(time.Second)
			if err := ring.Add(ed("", clock.Now())); err != nil {
				t.Error(err)
			}
		}
	})
	group.Wait()
}
