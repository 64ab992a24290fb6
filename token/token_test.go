// SPDX-License-Identifier: Apache-2.0

package token_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	gojwt "github.com/golang-jwt/jwt/v5"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/jwt"
	"github.com/grpcauth/grpcauth/token"
)

const issuerURL = "https://login.example.com"

var now = time.Date(2026, 3, 4, 5, 6, 7, 890_000_000, time.UTC)

func standing() time.Time { return now }

var everyAlgorithm = []string{
	"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519", "HS256", "HS384", "HS512",
}

var rsaKey = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 2048)) })

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func edKey() ed25519.PrivateKey {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	return must(key, err)
}

// keyFor is a new key for an algorithm, but for the RSA key.
func keyFor(algorithm string) token.SigningKey {
	k := token.SigningKey{ID: "kid-" + algorithm, Algorithm: algorithm}
	switch algorithm[:2] {
	case "RS", "PS":
		k.Key = rsaKey()
	case "ES":
		curve := map[string]elliptic.Curve{"ES256": elliptic.P256(), "ES384": elliptic.P384(), "ES512": elliptic.P521()}[algorithm]
		k.Key = must(ecdsa.GenerateKey(curve, rand.Reader))
	case "HS":
		k.Secret = make([]byte, 64)
		_, _ = rand.Read(k.Secret)
	default:
		k.Key = edKey()
	}
	return k
}

func newRing(t testing.TB, now func() time.Time, keys ...token.SigningKey) *token.Ring {
	t.Helper()
	r, err := token.NewRing(token.RingOptions{Keys: keys, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func newIssuer(t testing.TB, ring *token.Ring, now func() time.Time) *token.Issuer {
	t.Helper()
	i, err := token.New(token.Options{Issuer: issuerURL, Audiences: []string{"orders", "invoices"}, Ring: ring, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func newVerifier(t testing.TB, ring *token.Ring, now func() time.Time, algorithms ...string) *jwt.Verifier {
	t.Helper()
	v, err := jwt.NewVerifier(jwt.Options{Now: now, Issuers: []jwt.Issuer{{
		URL: issuerURL, Audiences: []string{"orders"}, Algorithms: algorithms, Keys: ring, AccessTokenProfile: true,
	}}})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

var plain = token.Claims{Subject: "alice", ClientID: "shop"}

// parts are header and claims of a token.
func parts(t testing.TB, text string) (header, claims map[string]any) {
	t.Helper()
	for i, into := range []*map[string]any{&header, &claims} {
		raw, err := base64.RawURLEncoding.DecodeString(strings.Split(text, ".")[i])
		if err == nil {
			err = json.Unmarshal(raw, into)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return header, claims
}

func TestTokensOfEveryAlgorithmAreTakenByTwoVerifiers(t *testing.T) {
	t.Parallel()
	for _, alg := range everyAlgorithm {
		key := keyFor(alg)
		ring := newRing(t, standing, key)
		text, signed, err := newIssuer(t, ring, standing).Sign(t.Context(), plain)
		if err != nil {
			t.Fatalf("%s: %v", alg, err)
		}
		user, err := newVerifier(t, ring, standing, alg).Verify(t.Context(), text)
		if err != nil || user.ID != "alice" || user.Issuer != issuerURL || !user.Expiry.Equal(signed.Expiry) {
			t.Errorf("%s: got %+v and %v", alg, user, err)
		}
		theirs := text
		if alg == "Ed25519" {
			continue // golang-jwt knows the old name only
		}
		parser := gojwt.NewParser(gojwt.WithValidMethods([]string{alg}), gojwt.WithIssuer(issuerURL), gojwt.WithAudience("orders"), gojwt.WithExpirationRequired(), gojwt.WithTimeFunc(standing), gojwt.WithStrictDecoding())
		if _, err := parser.Parse(theirs, func(*gojwt.Token) (any, error) {
			if key.Secret != nil {
				return key.Secret, nil
			}
			return key.Key.Public(), nil
		}); err != nil {
			t.Errorf("%s: golang-jwt: %v", alg, err)
		}
	}
}

func TestPSSSaltIsAsLongAsTheHash(t *testing.T) {
	t.Parallel()
	for alg, hash := range map[string]crypto.Hash{"PS256": crypto.SHA256, "PS384": crypto.SHA384, "PS512": crypto.SHA512} {
		text, _, err := newIssuer(t, newRing(t, standing, keyFor(alg)), standing).Sign(t.Context(), plain)
		if err != nil {
			t.Fatal(err)
		}
		dot := strings.LastIndexByte(text, '.')
		h := hash.New()
		h.Write([]byte(text[:dot]))
		if err := rsa.VerifyPSS(&rsaKey().PublicKey, hash, h.Sum(nil), must(base64.RawURLEncoding.DecodeString(text[dot+1:])), &rsa.PSSOptions{SaltLength: hash.Size()}); err != nil {
			t.Errorf("%s: %v", alg, err)
		}
	}
}

func TestTokenSaysWhatItMust(t *testing.T) {
	t.Parallel()
	issuer := newIssuer(t, newRing(t, standing, keyFor("EdDSA")), standing)
	text, signed, err := issuer.Sign(t.Context(), plain)
	if err != nil {
		t.Fatal(err)
	}
	header, claims := parts(t, text)
	if want := map[string]any{"alg": "EdDSA", "kid": "kid-EdDSA", "typ": "at+jwt"}; !maps.Equal(header, want) {
		t.Errorf("header %v, want %v", header, want)
	}
	jti, _ := claims["jti"].(string)
	if raw, err := base64.RawURLEncoding.DecodeString(jti); err != nil || len(raw) != 16 || signed.ID != jti {
		t.Errorf("jti %q is not 128 bits, or not the %q that was reported", jti, signed.ID)
	}
	iat := float64(now.Unix())
	want := map[string]any{"iss": issuerURL, "sub": "alice", "aud": []any{"orders", "invoices"}, "iat": iat, "exp": iat + 600, "jti": jti, "client_id": "shop"}
	if fmt.Sprint(claims) != fmt.Sprint(want) {
		t.Errorf("claims %v, want %v", claims, want)
	}
	if signed.Issuer != issuerURL || signed.Subject != "alice" || signed.IssuedAt.Unix() != now.Unix() || signed.Expiry.Sub(signed.IssuedAt) != 10*time.Minute {
		t.Errorf("got %+v", signed)
	}
	if _, again, _ := issuer.Sign(t.Context(), plain); again.ID == signed.ID {
		t.Error("two tokens have one ID")
	}
}

func TestTokenSaysWhatItMay(t *testing.T) {
	t.Parallel()
	family, thumbprint := strings.Repeat("A", 22), strings.Repeat("A", 43)
	text, signed, err := newIssuer(t, newRing(t, standing, keyFor("EdDSA")), standing).Sign(t.Context(), token.Claims{
		Subject: "alice", ClientID: "shop", Audiences: []string{"orders"}, Scopes: []string{"orders.read", "orders:write"}, AuthTime: now.Add(-time.Minute), ACR: "mfa",
		CertSHA256: thumbprint, JKT: thumbprint, Name: "Alice <&>", Family: family, NotAfter: now.Add(time.Minute), Extra: map[string]any{"tenant": "acme", "roles": []string{"a"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	_, claims := parts(t, text)
	iat := float64(now.Unix())
	want := map[string]any{
		"iss": issuerURL, "sub": "alice", "aud": "orders", "iat": iat, "exp": iat + 60, "jti": signed.ID, "client_id": "shop", "scope": "orders.read orders:write", "auth_time": iat - 60,
		"acr": "mfa", "cnf": map[string]any{"x5t#S256": thumbprint, "jkt": thumbprint}, "name": "Alice <&>", "sid": family, "tenant": "acme", "roles": []any{"a"},
	}
	if fmt.Sprint(claims) != fmt.Sprint(want) {
		t.Errorf("claims %v, want %v", claims, want)
	}
	if !strings.HasPrefix(signed.ID, family+".") || len(signed.ID) != 45 {
		t.Errorf("the ID %q does not tell the family", signed.ID)
	}
}

func TestUserOfTheBackendIsTheOneOfTheClaims(t *testing.T) {
	t.Parallel()
	ring := newRing(t, standing, keyFor("ES256"))
	thumbprint := strings.Repeat("A", 43)
	text, _, err := newIssuer(t, ring, standing).Sign(t.Context(), token.Claims{
		Subject: "alice", ClientID: "shop", Scopes: []string{"a", "b"}, AuthTime: now.Add(-time.Minute), ACR: "mfa", CertSHA256: thumbprint, Name: "Alice",
	})
	if err != nil {
		t.Fatal(err)
	}
	user, err := newVerifier(t, ring, standing, "ES256").Verify(t.Context(), text)
	if err != nil {
		t.Fatal(err)
	}
	if user.Name != "Alice" || user.ACR != "mfa" || !slices.Equal(user.Scopes, []string{"a", "b"}) || user.AuthTime.Unix() != now.Unix()-60 || user.Binding != (grpcauth.Binding{CertSHA256: thumbprint}) {
		t.Errorf("got %+v", user)
	}
}

func TestNoExtraClaimOverridesARegisteredOne(t *testing.T) {
	t.Parallel()
	issuer := newIssuer(t, newRing(t, standing, keyFor("EdDSA")), standing)
	for _, name := range []string{
		"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "client_id", "scope", "auth_time", "acr", "cnf", "sid", "name",
		"SUB", "Iss", "eXp", "i\u0073s", "i\u017f\u017f", "\u017fub", "client_ID", "scp", "act",
		"ACR", "Nbf", "\u017fcope", "Cnf", "auth_Time", "SID", // not in this token by themselves
	} {
		c := plain
		c.Extra = map[string]any{name: "root"}
		if text, _, err := issuer.Sign(t.Context(), c); err == nil || text != "" || !strings.Contains(err.Error(), "Claims.Extra") {
			t.Errorf("%q: got a token: %t, and %v", name, text != "", err)
		}
	}
}

func TestClaimsThatNoVerifierShouldSeeAreNotSigned(t *testing.T) {
	t.Parallel()
	issuer := newIssuer(t, newRing(t, standing, keyFor("EdDSA")), standing)
	extra := func(v any) func(*token.Claims) {
		return func(c *token.Claims) { c.Extra = map[string]any{"x": v} }
	}
	for name, test := range map[string]struct {
		change func(*token.Claims)
		want   string
	}{
		"no subject":         {func(c *token.Claims) { c.Subject = "" }, "Claims.Subject"},
		"long subject":       {func(c *token.Claims) { c.Subject = strings.Repeat("a", 256) }, "Claims.Subject"},
		"subject not UTF-8":  {func(c *token.Claims) { c.Subject = "a\xff" }, "Claims.Subject"},
		"no client":          {func(c *token.Claims) { c.ClientID = "" }, "Claims.ClientID"},
		"other audience":     {func(c *token.Claims) { c.Audiences = []string{"orders", "bank"} }, "Claims.Audiences"},
		"empty audience":     {func(c *token.Claims) { c.Audiences = []string{""} }, "Claims.Audiences"},
		"two scopes in one":  {func(c *token.Claims) { c.Scopes = []string{"a admin"} }, "Claims.Scopes"},
		"empty scope":        {func(c *token.Claims) { c.Scopes = []string{""} }, "Claims.Scopes"},
		"quoted scope":       {func(c *token.Claims) { c.Scopes = []string{`a"b`} }, "Claims.Scopes"},
		"scope not ASCII":    {func(c *token.Claims) { c.Scopes = []string{"ä"} }, "Claims.Scopes"},
		"long acr":           {func(c *token.Claims) { c.ACR = strings.Repeat("a", 1025) }, "Claims.ACR"},
		"name not UTF-8":     {func(c *token.Claims) { c.Name = "\xff" }, "Name"},
		"short thumbprint":   {func(c *token.Claims) { c.CertSHA256 = "AAAA" }, "Claims.CertSHA256"},
		"loose thumbprint":   {func(c *token.Claims) { c.JKT = strings.Repeat("A", 42) + "B" }, "Claims.JKT"},
		"padded thumbprint":  {func(c *token.Claims) { c.JKT = strings.Repeat("A", 43) + "=" }, "Claims.JKT"},
		"other family":       {func(c *token.Claims) { c.Family = "a.b" }, "Claims.Family"},
		"over":               {func(c *token.Claims) { c.NotAfter = now }, "Claims.NotAfter"},
		"before 1970":        {func(c *token.Claims) { c.AuthTime = time.Unix(-1, 0) }, "Claims.AuthTime"},
		"function":           {extra(func() {}), "Claims.Extra"},
		"not a number":       {extra(math.NaN()), "Claims.Extra"},
		"text not UTF-8":     {extra("\xff"), "Claims.Extra"},
		"nested, not UTF-8":  {extra(map[string]any{"y": []string{"\xff"}}), "Claims.Extra"},
		"NUL":                {extra("a\x00b"), "Claims.Extra"},
		"too deep":           {extra(json.RawMessage(strings.Repeat("[", 40) + strings.Repeat("]", 40))), "Claims.Extra"},
		"raw, not JSON":      {extra(json.RawMessage("{")), "Claims.Extra"},
		"raw, twice":         {extra(json.RawMessage(`{"a":1,"a":2}`)), "Claims.Extra"},
		"raw, twice by case": {extra(json.RawMessage(`{"a":1,"A":2}`)), "Claims.Extra"},
		"two by case":        {func(c *token.Claims) { c.Extra = map[string]any{"x": 1, "X": 2} }, "Claims.Extra"},
		"too long":           {extra(strings.Repeat("a", 16<<10)), "Claims"},
	} {
		c := plain
		test.change(&c)
		text, signed, err := issuer.Sign(t.Context(), c)
		if err == nil || text != "" || signed != (token.Token{}) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got a token: %t, and %v; want an error with %q", name, text != "", err, test.want)
		}
	}
}

func TestOptionsThatAreWrongAreNamed(t *testing.T) {
	t.Parallel()
	ring := newRing(t, standing, keyFor("EdDSA"))
	for want, change := range map[string]func(*token.Options){
		"Options.Issuer":                 func(o *token.Options) { o.Issuer = "" },
		"Options.Issuer is":              func(o *token.Options) { o.Issuer = "\xff" },
		"Options.Audiences":              func(o *token.Options) { o.Audiences = nil },
		"Options.Audiences is":           func(o *token.Options) { o.Audiences = []string{"a", ""} },
		"Options.Ring":                   func(o *token.Options) { o.Ring = nil },
		"Options.Lifetime":               func(o *token.Options) { o.Lifetime = -1 },
		"Options.Lifetime is 1h0m0.001s": func(o *token.Options) { o.Lifetime = time.Hour + time.Millisecond },
	} {
		opts := token.Options{Issuer: issuerURL, Audiences: []string{"orders"}, Ring: ring}
		change(&opts)
		if i, err := token.New(opts); i != nil || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error with %q", err, want)
		}
	}
}

func TestKeyThatDoesNotSignIsAnError(t *testing.T) {
	t.Parallel()
	errGone := errors.New("the module is gone")
	for name, signer := range map[string]crypto.Signer{
		"error":   &brokenSigner{Signer: must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)), err: errGone},
		"garbage": &brokenSigner{Signer: must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)), out: []byte("garbage")},
		"zero R":  &brokenSigner{Signer: must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)), out: []byte{0x30, 6, 2, 1, 0, 2, 1, 1}},
		"zero S":  &brokenSigner{Signer: must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)), out: []byte{0x30, 6, 2, 1, 1, 2, 1, 0}},
		"behind":  &brokenSigner{Signer: must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)), out: []byte{0x30, 6, 2, 1, 1, 2, 1, 1, 0}},
	} {
		issuer := newIssuer(t, newRing(t, standing, token.SigningKey{Key: signer}), standing)
		if text, _, err := issuer.Sign(t.Context(), plain); err == nil || text != "" || name == "error" && !errors.Is(err, errGone) {
			t.Errorf("%s: got %q and %v", name, text, err)
		}
	}
}

type brokenSigner struct {
	crypto.Signer
	out []byte
	err error
}

func (b *brokenSigner) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return b.out, b.err
}
