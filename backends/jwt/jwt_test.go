// SPDX-License-Identifier: Apache-2.0

package jwt_test

import (
	"context"
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/bearer"
	"github.com/grpcauth/grpcauth/backends/jwt"
	"github.com/grpcauth/grpcauth/grpcauthtest"
	"github.com/grpcauth/grpcauth/jwks"
)

const (
	issuerURL = "https://idp.example.com"
	audience  = "orders"
)

var now = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

var everyAlgorithm = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"}

// shared saves the making of RSA keys: tests that rotate make issuers of their own.
var shared = sync.OnceValue(func() *grpcauthtest.Issuer {
	i := grpcauthtest.NewIssuer(noTest{}, issuerURL, audience)
	i.Now = func() time.Time { return now }
	return i
})

// noTest is the testing.TB of what outlives a test.
type noTest struct{ testing.TB }

func (noTest) Helper()                   {}
func (noTest) Fatalf(f string, a ...any) { panic(fmt.Sprintf(f, a...)) }

func newIssuer(t *testing.T) *grpcauthtest.Issuer {
	t.Helper()
	i := grpcauthtest.NewIssuer(t, issuerURL, audience)
	i.Now = func() time.Time { return now }
	return i
}

func newVerifier(t *testing.T, opts jwt.Options) *jwt.Verifier {
	t.Helper()
	if opts.Now == nil {
		opts.Now = func() time.Time { return now }
	}
	v, err := jwt.NewVerifier(opts)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// verifierOf trusts the issuer, with changes to its configuration.
func verifierOf(t *testing.T, change func(*jwt.Options), algorithms ...string) *jwt.Verifier {
	t.Helper()
	opts := jwt.Options{Issuers: []jwt.Issuer{shared().Config(algorithms...)}}
	if change != nil {
		change(&opts)
	}
	return newVerifier(t, opts)
}

// verdict is the user's ID or the code of the refusal.
func verdict(t *testing.T, v bearer.Verifier, token string) string {
	t.Helper()
	user, err := v.Verify(t.Context(), token)
	if (user == nil) == (err == nil) {
		t.Fatalf("got %v and %v, want one of them", user, err)
	}
	if err != nil {
		for part := range strings.SplitSeq(token, ".") {
			if len(part) > 8 && strings.Contains(err.Error(), part) {
				t.Errorf("%v shows a part of the token", err)
			}
		}
		return grpcauth.CodeOf(err).String()
	}
	return user.ID
}

const refused = "CREDENTIALS_INVALID"

func TestEveryAlgorithmVerifies(t *testing.T) {
	t.Parallel()
	v := verifierOf(t, nil, everyAlgorithm...)
	for _, alg := range everyAlgorithm {
		if got := verdict(t, v, shared().Token(alg, "alice", nil)); got != "alice" {
			t.Errorf("%s: got %s", alg, got)
		}
	}
	for _, alg := range []string{"HS256", "HS384", "HS512"} {
		if got := verdict(t, verifierOf(t, nil, alg), shared().Token(alg, "alice", nil)); got != "alice" {
			t.Errorf("%s: got %s", alg, got)
		}
	}
}

func TestSignatureMustBeTheAlgorithmsOwn(t *testing.T) {
	t.Parallel()
	i := shared()
	for _, alg := range everyAlgorithm {
		good := i.Token(alg, "alice", nil)
		parts := strings.Split(good, ".")
		signature, err := base64.RawURLEncoding.DecodeString(parts[2])
		if err != nil {
			t.Fatal(err)
		}
		v := verifierOf(t, nil, everyAlgorithm...)
		with := func(s []byte) string {
			return parts[0] + "." + parts[1] + "." + base64.RawURLEncoding.EncodeToString(s)
		}
		flipped := append([]byte{}, signature...)
		flipped[len(flipped)/2] ^= 1
		for name, token := range map[string]string{
			"one bit":          with(flipped),
			"cut":              with(signature[:len(signature)-1]),
			"longer":           with(append(append([]byte{}, signature...), 0)),
			"leading zero":     with(append([]byte{0}, signature...)),
			"of other claims":  parts[0] + "." + strings.Split(i.Token(alg, "root", nil), ".")[1] + "." + parts[2],
			"of other header":  encode(fmt.Appendf(nil, `{"alg":%q,"kid":%q,"x":1}`, alg, i.KeyID(alg))) + good[len(parts[0]):],
			"empty":            parts[0] + "." + parts[1] + ".",
			"all zero":         with(make([]byte, len(signature))),
			"of another alg's": i.Sign(alg, `{"alg":"none"}`, string(mustJSON(i.Claims("alice", nil)))),
		} {
			if got := verdict(t, v, token); got != refused {
				t.Errorf("%s, %s: got %s", alg, name, got)
			}
		}
	}
}

func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

func TestPSSNeedsASaltAsLongAsTheHash(t *testing.T) {
	t.Parallel()
	key := newRSA(t)
	set, err := jwks.Static(jwks.Key{ID: "a", Public: &key.PublicKey})
	if err != nil {
		t.Fatal(err)
	}
	v := newVerifier(t, jwt.Options{Issuers: []jwt.Issuer{{URL: issuerURL, Audiences: []string{audience}, Algorithms: []string{"PS256"}, Keys: set}}})
	for salt, want := range map[int]string{rsa.PSSSaltLengthEqualsHash: "alice", 20: refused, 1: refused, 64: refused, rsa.PSSSaltLengthAuto: refused} {
		signed := encode([]byte(`{"alg":"PS256","kid":"a"}`)) + "." + encode(mustJSON(shared().Claims("alice", nil)))
		digest := sha256.Sum256([]byte(signed))
		signature, err := rsa.SignPSS(rand.Reader, key, crypto.SHA256, digest[:], &rsa.PSSOptions{SaltLength: salt})
		if err != nil {
			t.Fatal(err)
		}
		if got := verdict(t, v, signed+"."+encode(signature)); got != want {
			t.Errorf("salt of %d: got %s, want %s", salt, got, want)
		}
	}
}

func TestAlgorithmIsTheIssuers(t *testing.T) {
	t.Parallel()
	i := shared()
	v := verifierOf(t, nil, "RS256")
	claims := string(mustJSON(i.Claims("alice", nil)))
	kid := i.KeyID("RS256")
	for _, alg := range []string{`"none"`, `"None"`, `"NONE"`, `""`, `null`, `1`, `["RS256"]`, `"rs256"`, `"RS256 "`, `"RS384"`, `"PS256"`, `"HS256"`, `"hs256"`, `"RSA-OAEP"`, `"dir"`} {
		header := fmt.Sprintf(`{"alg":%s,"kid":%q}`, alg, kid)
		for name, token := range map[string]string{
			"signed": i.Sign("RS256", header, claims), "not signed": encode([]byte(header)) + "." + encode([]byte(claims)) + ".",
		} {
			if got := verdict(t, v, token); got != refused {
				t.Errorf("%s, %s: got %s", alg, name, got)
			}
		}
	}
	if got := verdict(t, v, i.Sign("RS256", fmt.Sprintf(`{"kid":%q}`, kid), claims)); got != refused {
		t.Errorf("no alg: got %s", got)
	}
	if got := verdict(t, v, i.Sign("RS256", fmt.Sprintf(`{"alg":"RS256","kid":%q}`, kid), claims)); got != "alice" {
		t.Errorf("RS256: got %s", got)
	}
}

// counting counts how often keys are asked for.
type counting struct {
	jwks.Set
	n int
}

func (c *counting) Keys(ctx context.Context, kid string) ([]jwks.Key, error) {
	c.n++
	return c.Set.Keys(ctx, kid)
}

func TestKeysAreNotLookedUpForWhatIsRefusedAnyway(t *testing.T) {
	t.Parallel()
	i := shared()
	set := &counting{Set: i}
	v := verifierOf(t, func(o *jwt.Options) { o.Issuers[0].Keys = set }, "RS256")
	for _, token := range []string{
		i.Sign("RS256", `{"alg":"none"}`, string(mustJSON(i.Claims("alice", nil)))), i.Token("RS256", "alice", map[string]any{"aud": "other"}),
		i.Token("RS256", "alice", map[string]any{"iss": "other"}), i.Token("RS256", "alice", map[string]any{"exp": nil}), strings.Repeat("a.", 5), strings.Repeat(".", 900_000),
	} {
		if got := verdict(t, v, token); got != refused {
			t.Errorf("got %s", got)
		}
	}
	if set.n != 0 {
		t.Errorf("asked for keys %d times", set.n)
	}
}

func TestPublicKeyIsNoSecret(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	for _, alg := range []string{"RS256", "ES256", "EdDSA"} {
		i.Token(alg, "x", nil) // makes the key
		for _, k := range i.Published() {
			der, err := x509.MarshalPKIXPublicKey(k.Public)
			if err != nil {
				t.Fatal(err)
			}
			block := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
			for _, secret := range [][]byte{der, block, append([]byte("  \n"), block...), i.JWKS(), []byte(strings.TrimSpace(string(block)))} {
				signed := encode(fmt.Appendf(nil, `{"alg":"HS256","kid":%q}`, k.ID)) + "." + encode(mustJSON(i.Claims("alice", nil)))
				mac := hmac.New(sha256.New, secret)
				mac.Write([]byte(signed))
				if got := verdict(t, newVerifier(t, jwt.Options{Issuers: []jwt.Issuer{i.Config(alg)}}), signed+"."+encode(mac.Sum(nil))); got != refused {
					t.Errorf("%s: got %s", alg, got)
				}
			}
		}
	}
}

func TestHeaderMembersThatAskForMoreAreRefused(t *testing.T) {
	t.Parallel()
	i := shared()
	v := verifierOf(t, nil, "RS256")
	claims := string(mustJSON(i.Claims("alice", nil)))
	for _, extra := range []string{
		`"crit":["x"],"x":1`, `"crit":["b64"],"b64":true`, `"crit":[]`, `"crit":"exp"`, `"crit":null`, `"b64":false`, `"b64":true`, `"zip":"DEF"`, `"p2c":1`, `"p2s":"x"`, `"enc":"A128GCM"`, `"epk":{}`,
		`"kid":1`, `"kid":""`, `"kid":null`, `"kid":["a"]`, `"kid":"` + strings.Repeat("k", 257) + `"`, `"kid":"../../etc/passwd"`, `"kid":"' OR 1=1--"`, `"kid":"a\u0000"`,
		`"typ":"dpop+jwt"`, `"typ":"logout+jwt"`, `"typ":"application/secevent+jwt"`, `"typ":"id+jwt"`, `"typ":"refresh+jwt"`, `"typ":1`, `"typ":""`, `"typ":"application/"`,
	} {
		if got := verdict(t, v, i.Sign("RS256", `{"alg":"RS256",`+extra+`}`, claims)); got != refused {
			t.Errorf("%s: got %s", extra, got)
		}
	}
	kid := fmt.Sprintf(`"kid":%q`, i.KeyID("RS256"))
	for _, extra := range []string{kid, kid + `,"typ":"JWT"`, kid + `,"typ":"jwt"`, kid + `,"typ":"at+jwt"`, kid + `,"typ":"application/AT+JWT"`, kid + `,"cty":"x","foo":{"bar":[1]}`} {
		if got := verdict(t, v, i.Sign("RS256", `{"alg":"RS256",`+extra+`}`, claims)); got != "alice" {
			t.Errorf("%s: got %s", extra, got)
		}
	}
}

func TestKeysInTheHeaderAreNotUsed(t *testing.T) {
	t.Parallel()
	i, attacker := newIssuer(t), newIssuer(t)
	v := newVerifier(t, jwt.Options{Issuers: []jwt.Issuer{i.Config("ES256")}})
	i.Token("ES256", "x", nil)
	claims := string(mustJSON(i.Claims("alice", nil)))
	attacker.Token("ES256", "x", nil)
	var set struct{ Keys []json.RawMessage }
	if err := json.Unmarshal(attacker.JWKS(), &set); err != nil {
		t.Fatal(err)
	}
	for _, extra := range []string{`"jwk":` + string(set.Keys[0]), `"jku":"http://127.0.0.1:1/keys"`, `"x5u":"http://127.0.0.1:1/chain"`, `"x5c":["MIIB"]`} {
		if got := verdict(t, v, attacker.Sign("ES256", fmt.Sprintf(`{"alg":"ES256","kid":%q,%s}`, i.KeyID("ES256"), extra), claims)); got != refused {
			t.Errorf("%s: got %s", extra, got)
		}
	}
}

func TestClaimsMustSayWhatTheIssuerSaid(t *testing.T) {
	t.Parallel()
	i := shared()
	v := verifierOf(t, nil, "ES256")
	base := func(without string) string {
		claims := i.Claims("alice", map[string]any{without: nil})
		return strings.TrimSuffix(string(mustJSON(claims)), "}")
	}
	sign := func(claims string) string {
		return verdict(t, v, i.Sign("ES256", fmt.Sprintf(`{"alg":"ES256","kid":%q}`, i.KeyID("ES256")), claims))
	}
	unix := now.Unix()
	for without, values := range map[string][]string{
		"iss": {``, `"iss":""`, `"iss":null`, `"iss":1`, `"iss":"https://IDP.example.com"`, `"iss":"https://idp.example.com/"`, `"iss":["https://idp.example.com"]`, `"ISS":"https://idp.example.com"`, `"iſs":"https://idp.example.com"`},
		"aud": {``, `"aud":""`, `"aud":[]`, `"aud":[""]`, `"aud":1`, `"aud":null`, `"aud":"order"`, `"aud":"orders-admin"`, `"aud":"Orders"`, `"aud":"orders/"`, `"aud":["x"]`, `"aud":["orders",1]`, `"aud":["orders",null]`, `"aud":[["orders"]]`, `"aud":{"orders":1}`, `"AUD":"orders"`},
		"sub": {``, `"sub":""`, `"sub":1`, `"sub":null`, `"SUB":"alice"`, `"\u017fub":"alice"`, `"sub":"` + strings.Repeat("a", 256) + `"`},
		"exp": {``, `"exp":null`, fmt.Sprintf(`"exp":"%d"`, unix+60), `"exp":-1`, `"exp":9007199254740993`, `"exp":1e300`, `"exp":NaN`, `"exp":"NaN"`, fmt.Sprintf(`"exp":[%d]`, unix+60), `"exp":true`, fmt.Sprintf(`"EXP":%d`, unix+60), fmt.Sprintf(`"Exp":%d`, unix+60), `"exp":1e`, `"exp":+1`},
		"":    {`"nbf":"soon"`, `"iat":null,"x":1`, `"auth_time":"x"`, `"acr":1`, `"cnf":"x"`, `"cnf":{}`, `"cnf":{"x5t#S256":"short"}`, `"cnf":{"jkt":1}`, `"cnf":{"kid":"x"}`, `"cnf":null`, `"scope":1`, `"scope":[1]`, `"scp":{"a":1}`, `"cnf":{"jwk":{}}`},
	} {
		for _, value := range values {
			claims := base(without)
			if value != "" {
				claims += "," + value
			}
			if got := sign(claims + "}"); got != refused {
				t.Errorf("%s: got %s", value, got)
			}
		}
	}
	for _, value := range []string{`"x":1`, `"tenant":"acme","nested":{"a":[1,{"b":null}]}`, fmt.Sprintf(`"nbf":%d`, unix), `"SUB":1`, `"Exp":1`, `"jti":"x"`} {
		want := "alice"
		if value == `"SUB":1` || value == `"Exp":1` {
			want = refused // beside the claim itself it is a second member of the same name
		}
		if got := sign(base("") + "," + value + "}"); got != want {
			t.Errorf("%s: got %s, want %s", value, got, want)
		}
	}
	for _, aud := range []string{`"aud":"orders"`, `"aud":["orders"]`, `"aud":["x","orders"]`} {
		if got := sign(base("aud") + "," + aud + "}"); got != "alice" {
			t.Errorf("%s: got %s", aud, got)
		}
	}
}

func TestClaimsAreOneStrictObject(t *testing.T) {
	t.Parallel()
	i := shared()
	v := verifierOf(t, nil, "ES256")
	base := string(mustJSON(i.Claims("alice", nil)))
	open := strings.TrimSuffix(base, "}")
	utf16 := []byte{0xff, 0xfe}
	for _, c := range base {
		utf16 = append(utf16, byte(c), 0)
	}
	for name, claims := range map[string]string{
		"empty": "", "not an object": `"x"`, "array": `[` + base + `]`, "two objects": base + base, "trailing text": base + "x", "trailing comma": open + ",}", "BOM": "\ufeff" + base, "UTF-16": string(utf16),
		"duplicate sub": open + `,"sub":"root"}`, "escaped duplicate": open + `,"\u0073ub":"root"}`, "folded duplicate": open + `,"SUB":"root"}`, "long s": open + `,"ſub":"root"}`,
		"nested duplicate": open + `,"cnf":{"a":1,"a":2}}`, "deep duplicate": open + `,"x":[{"y":{"K":1,"K":2}}]}`,
		"invalid UTF-8": open + ",\"x\":\"\xff\"}", "overlong UTF-8": open + ",\"x\":\"\xc0\xaf\"}", "surrogate in UTF-8": open + ",\"x\":\"\xed\xa0\x80\"}",
		"lone surrogate": open + `,"x":"\ud800"}`, "escaped NUL": open + `,"x":"\u0000"}`, "raw NUL": open + ",\"x\":\"\x00\"}", "NUL in a name": open + `,"x\u0000":1}`,
		"too deep": open + `,"x":` + strings.Repeat("[", 32) + strings.Repeat("]", 32) + `}`, "much too deep": open + `,"x":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + `}`,
	} {
		if got := verdict(t, v, i.Sign("ES256", fmt.Sprintf(`{"alg":"ES256","kid":%q}`, i.KeyID("ES256")), claims)); got != refused {
			t.Errorf("%s: got %s", name, got)
		}
	}
	header := fmt.Sprintf(`{"alg":"ES256","kid":%q`, i.KeyID("ES256"))
	for name, h := range map[string]string{"duplicate alg": header + `,"alg":"ES256"}`, "folded kid": header + `,"KID":"x"}`, "long s": header + `,"x":"ſ","s":1,"ſ":2}`, "trailing text": header + `} x`, "not an object": `[]`} {
		if got := verdict(t, v, i.Sign("ES256", h, base)); got != refused {
			t.Errorf("header, %s: got %s", name, got)
		}
	}
}

func TestOnlyTheCompactFormInCanonicalBase64(t *testing.T) {
	t.Parallel()
	i := shared()
	v := verifierOf(t, nil, "ES256", "RS256")
	good := i.Token("RS256", "alice", nil) // 256 bytes of signature: two bits of the last character are unused
	parts := strings.Split(good, ".")
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(digits, good[len(good)-1])
	for name, token := range map[string]string{
		"unused bits": good[:len(good)-1] + string(digits[last^1]), "padded": good + "=", "padded twice": good + "==", "standard alphabet": strings.ReplaceAll(strings.ReplaceAll(good, "-", "+"), "_", "/"),
		"line feed inside": good[:20] + "\n" + good[20:], "carriage return at the end": good + "\r", "space": good + " ", "leading space": " " + good,
		"two parts": parts[0] + "." + parts[1], "four parts": good + ".x", "five parts, as a JWE": good + ".x.x", "no dots": "abc", "empty": "", "dots": "..", "empty claims": parts[0] + ".." + parts[2],
		"JSON form": `{"payload":"` + parts[1] + `","protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`,
		"too long":  i.Token("ES256", "alice", map[string]any{"x": strings.Repeat("x", 16<<10)}),
	} {
		if got := verdict(t, v, token); got != refused && (name != "standard alphabet" || token != good) {
			t.Errorf("%s: got %s", name, got)
		}
	}
}

func TestTimeIsJudgedToTheSecond(t *testing.T) {
	t.Parallel()
	i := shared()
	unix := now.Unix()
	const expired = "CREDENTIALS_EXPIRED"
	for _, c := range []struct {
		name   string
		leeway time.Duration
		claims map[string]any
		want   string
	}{
		{"exp is now", 0, map[string]any{"exp": unix}, expired},
		{"exp in a second", 0, map[string]any{"exp": unix + 1}, "alice"},
		{"exp at the leeway", time.Minute, map[string]any{"exp": unix - 60}, expired},
		{"exp a second within the leeway", time.Minute, map[string]any{"exp": unix - 59}, "alice"},
		{"exp a second beyond the leeway", time.Minute, map[string]any{"exp": unix - 61}, expired},
		{"a fraction is rounded down", 0, map[string]any{"exp": float64(unix) + 0.9}, expired},
		{"a fraction after the second", 0, map[string]any{"exp": float64(unix) + 1.1}, "alice"},
		{"the last exp", 0, map[string]any{"exp": int64(1) << 53}, "alice"},
		{"nbf is now", 0, map[string]any{"nbf": unix}, "alice"},
		{"nbf in a second", 0, map[string]any{"nbf": unix + 1}, refused},
		{"nbf at the leeway", time.Minute, map[string]any{"nbf": unix + 60}, "alice"},
		{"nbf beyond the leeway", time.Minute, map[string]any{"nbf": unix + 61}, refused},
		{"iat in a second", 0, map[string]any{"iat": unix + 1}, refused},
		{"iat within the leeway", time.Minute, map[string]any{"iat": unix + 60}, "alice"},
		{"iat beyond the leeway", time.Minute, map[string]any{"iat": unix + 61}, refused},
		{"no iat", 0, map[string]any{"iat": nil}, "alice"},
	} {
		v := verifierOf(t, func(o *jwt.Options) { o.Leeway = c.leeway }, "ES256")
		if got := verdict(t, v, i.Token("ES256", "alice", c.claims)); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
}

// An issuer whose clock is an hour off is found by the log: by how much it differs.
func TestLogSaysByHowMuchClocksDiffer(t *testing.T) {
	t.Parallel()
	v := verifierOf(t, nil, "ES256")
	for _, c := range []struct {
		claims map[string]any
		want   string
	}{
		{map[string]any{"iat": now.Add(time.Hour).Unix(), "exp": now.Add(2 * time.Hour).Unix()}, "not valid for another 1h0m0s by this clock"},
		{map[string]any{"iat": now.Add(-time.Hour).Unix(), "exp": now.Add(-55 * time.Minute).Unix()}, "expired 55m0s ago"},
	} {
		if _, err := v.Verify(t.Context(), shared().Token("ES256", "alice", c.claims)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
}

func TestOnlyAuthenticTokensAreSaidToHaveExpired(t *testing.T) {
	t.Parallel()
	i := shared()
	expired := i.Token("ES256", "alice", map[string]any{"exp": now.Unix() - 60})
	forged := expired[:len(expired)-4] + "AAAA"
	if got := verdict(t, verifierOf(t, nil, "ES256"), forged); got != refused {
		t.Errorf("got %s: a guesser learns that the rest of the token was right", got)
	}
}

func TestIssuersKeysAreTheirOwn(t *testing.T) {
	t.Parallel()
	a, b := newIssuer(t), newIssuer(t)
	b.URL = "https://other.example.com"
	v := newVerifier(t, jwt.Options{Issuers: []jwt.Issuer{a.Config("ES256"), b.Config("ES256")}})
	if got := verdict(t, v, b.Token("ES256", "bob", nil)); got != "bob" {
		t.Fatalf("got %s", got)
	}
	if a.KeyID("ES256") != b.KeyID("ES256") {
		t.Fatal("the test needs keys of one ID")
	}
	if got := verdict(t, v, b.Token("ES256", "alice", map[string]any{"iss": a.URL})); got != refused {
		t.Errorf("b's key for a's token: got %s", got)
	}
	user, err := v.Verify(t.Context(), a.Token("ES256", "alice", nil))
	if err != nil || user.Issuer != a.URL {
		t.Errorf("got %v, %v, want the issuer of the token", user, err)
	}
}

func TestTokenWithoutKeyIDNeedsOneKeyThatFits(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	claims := string(mustJSON(i.Claims("alice", nil)))
	v := newVerifier(t, jwt.Options{Issuers: []jwt.Issuer{i.Config("ES256", "EdDSA")}})
	i.Token("EdDSA", "x", nil)
	if got := verdict(t, v, i.Sign("ES256", `{"alg":"ES256"}`, claims)); got != "alice" {
		t.Errorf("one key of the algorithm: got %s", got)
	}
	i.Rotate("ES256", true)
	if got := verdict(t, v, i.Sign("ES256", `{"alg":"ES256"}`, claims)); got != refused {
		t.Errorf("two keys of the algorithm: got %s", got)
	}
	if got := verdict(t, v, i.Token("ES256", "alice", nil)); got != "alice" {
		t.Errorf("with its key ID: got %s", got)
	}
}

type failing struct{}

func (failing) Keys(context.Context, string) ([]jwks.Key, error) {
	return nil, errors.New("the identity provider is down")
}

func TestKeysThatCannotBeAskedAreNoRefusal(t *testing.T) {
	t.Parallel()
	v := verifierOf(t, func(o *jwt.Options) { o.Issuers[0].Keys = failing{} }, "ES256")
	if got := verdict(t, v, shared().Token("ES256", "alice", nil)); got != "AUTHENTICATION_UNAVAILABLE" {
		t.Errorf("got %s", got)
	}
}

func TestUserIsWhatTheClaimsSay(t *testing.T) {
	t.Parallel()
	i := shared()
	token := i.Token("ES256", "alice", map[string]any{
		"name": "Alice", "scope": "orders.read  orders.write", "scp": []string{"ignored"}, "acr": "gold", "auth_time": now.Unix() - 5,
		"realm_access": map[string]any{"roles": []string{"admin"}}, "https://example.com/~roles": []string{"ops"}, "exp": now.Unix() + 60,
	})
	v := verifierOf(t, func(o *jwt.Options) { o.Leeway = time.Second; o.Issuers[0].PermissionsClaim = "/realm_access/roles" }, "ES256")
	user, err := v.Verify(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	if user.Name != "Alice" || strings.Join(user.Scopes, "|") != "orders.read|orders.write" || strings.Join(user.Permissions, "|") != "admin" || user.ACR != "gold" ||
		!user.AuthTime.Equal(now.Add(-5*time.Second)) || !user.Expiry.Equal(now.Add(61*time.Second)) || user.Issuer != issuerURL {
		t.Errorf("got %+v", user)
	}
	var claims struct {
		Subject string `json:"sub"`
	}
	if err := user.Claims(&claims); err != nil || claims.Subject != "alice" {
		t.Errorf("claims: %+v, %v", claims, err)
	}
	mapped := verifierOf(t, func(o *jwt.Options) {
		o.Issuers[0].ScopeClaim, o.Issuers[0].NameClaim, o.Issuers[0].PermissionsClaim = "scp", "acr", "https://example.com/~roles"
		o.Issuers[0].Map = func(u *grpcauth.User) error { u.Permissions = append(u.Permissions, "mapped"); return nil }
	}, "ES256")
	if user, err = mapped.Verify(t.Context(), token); err != nil || strings.Join(user.Scopes, "|") != "ignored" || user.Name != "gold" || strings.Join(user.Permissions, "|") != "ops|mapped" {
		t.Errorf("mapped: got %+v, %v", user, err)
	}
	pointer := verifierOf(t, func(o *jwt.Options) { o.Issuers[0].PermissionsClaim = "/https:~1~1example.com~1~0roles" }, "ES256")
	if user, err = pointer.Verify(t.Context(), token); err != nil || strings.Join(user.Permissions, "|") != "ops" {
		t.Errorf("pointer: got %+v, %v", user, err)
	}
	failing := verifierOf(t, func(o *jwt.Options) {
		o.Issuers[0].Map = func(*grpcauth.User) error { return grpcauth.Errorf(grpcauth.CodeForbidden, "no") }
	}, "ES256")
	if got := verdict(t, failing, token); got != "PERMISSION_DENIED" {
		t.Errorf("a Map that refuses: got %s", got)
	}
}

func TestAccessTokenProfile(t *testing.T) {
	t.Parallel()
	i := shared()
	v := verifierOf(t, func(o *jwt.Options) { o.Issuers[0].AccessTokenProfile = true }, "ES256")
	all := map[string]any{"client_id": "c", "jti": "j"}
	sign := func(typ string, changes map[string]any) string {
		return verdict(t, v, i.Sign("ES256", fmt.Sprintf(`{"alg":"ES256","kid":%q%s}`, i.KeyID("ES256"), typ), string(mustJSON(i.Claims("alice", changes)))))
	}
	const at = `,"typ":"at+jwt"`
	for name, c := range map[string]struct {
		typ     string
		changes map[string]any
		want    string
	}{
		"all":          {at, all, "alice"},
		"no type":      {"", all, refused},
		"plain JWT":    {`,"typ":"JWT"`, all, refused},
		"no client_id": {at, map[string]any{"jti": "j"}, refused},
		"no jti":       {at, map[string]any{"client_id": "c"}, refused},
		"no iat":       {at, map[string]any{"client_id": "c", "jti": "j", "iat": nil}, refused},
	} {
		if got := sign(c.typ, c.changes); got != c.want {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}
	}
}

func TestNewRefusesWhatCannotBeChecked(t *testing.T) {
	t.Parallel()
	key := newRSA(t)
	set, err := jwks.Static(jwks.Key{ID: "a", Public: &key.PublicKey})
	if err != nil {
		t.Fatal(err)
	}
	good := jwt.Issuer{URL: issuerURL, Audiences: []string{audience}, Algorithms: []string{"RS256"}, Keys: set}
	with := func(change func(*jwt.Issuer)) jwt.Options {
		i := good
		change(&i)
		return jwt.Options{Issuers: []jwt.Issuer{i}}
	}
	for want, opts := range map[string]jwt.Options{
		"Issuers is empty":   {},
		"URL is empty":       with(func(i *jwt.Issuer) { i.URL = "" }),
		"Audiences":          with(func(i *jwt.Issuer) { i.Audiences = nil }),
		"empty entry":        with(func(i *jwt.Issuer) { i.Audiences = []string{"orders", ""} }),
		"Algorithms is":      with(func(i *jwt.Issuer) { i.Algorithms = nil }),
		`has "none"`:         with(func(i *jwt.Issuer) { i.Algorithms = []string{"none"} }),
		`has "rs256"`:        with(func(i *jwt.Issuer) { i.Algorithms = []string{"rs256"} }),
		"mixes HMAC":         with(func(i *jwt.Issuer) { i.Algorithms = []string{"RS256", "HS256"} }),
		"Keys is nil":        with(func(i *jwt.Issuer) { i.Keys = nil }),
		`can check "ES384"`:  with(func(i *jwt.Issuer) { i.Algorithms = []string{"RS256", "ES384"} }),
		"Types has":          with(func(i *jwt.Issuer) { i.Types = []string{""} }),
		"Leeway":             {Issuers: []jwt.Issuer{good}, Leeway: jwt.MaxLeeway + 1},
		"Leeway is -1ns":     {Issuers: []jwt.Issuer{good}, Leeway: -1},
		"of another issuer":  {Issuers: []jwt.Issuer{good, good}},
		"RememberFor is neg": {Issuers: []jwt.Issuer{good}, Bearer: bearer.Options{RememberFor: -1}},
	} {
		if _, err := jwt.New(opts); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error that says %q", err, want)
		}
	}
	if _, err := jwt.New(jwt.Options{Issuers: []jwt.Issuer{good}}); err != nil {
		t.Error(err)
	}
}

func TestOptionsAreCopied(t *testing.T) {
	t.Parallel()
	config := shared().Config("ES256")
	v := newVerifier(t, jwt.Options{Issuers: []jwt.Issuer{config}})
	config.Audiences[0], config.Algorithms[0] = "other", "RS256"
	if got := verdict(t, v, shared().Token("ES256", "alice", nil)); got != "alice" {
		t.Errorf("got %s: the caller's slices are still used", got)
	}
}

func TestRefusingAMillionDotsCostsLittle(t *testing.T) {
	v := verifierOf(t, nil, "ES256")
	token := strings.Repeat(".", 1<<20)
	result := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = v.Verify(b.Context(), token)
		}
	})
	if got := result.AllocedBytesPerOp(); got > 64<<10 {
		t.Errorf("allocates %d bytes", got)
	}
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func newRSA(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}
