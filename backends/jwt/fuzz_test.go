// SPDX-License-Identifier: Apache-2.0

package jwt_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	gojwt "github.com/golang-jwt/jwt/v5"

	"github.com/grpcauth/grpcauth/backends/jwt"
	"github.com/grpcauth/grpcauth/jwks"
)

// party signs tokens with a key that is the same in every run, so that what a fuzzer found stays true, and judges them by both parsers.
type party struct {
	method   gojwt.SigningMethod
	private  any
	public   any
	verifier *jwt.Verifier
	parser   *gojwt.Parser
	header   string
	claims   string
	token    string
}

func newParty(tb testing.TB, method gojwt.SigningMethod, private any, key jwks.Key) *party {
	tb.Helper()
	alg := method.Alg()
	key.ID = "k"
	set, err := jwks.Static(key)
	if err != nil {
		tb.Fatal(err)
	}
	v, err := jwt.NewVerifier(jwt.Options{Now: standing, Issuers: []jwt.Issuer{{URL: issuerURL, Audiences: []string{audience}, Algorithms: []string{alg}, Keys: set}}})
	if err != nil {
		tb.Fatal(err)
	}
	p := &party{
		method: method, private: private, public: key.Public, verifier: v,
		parser: gojwt.NewParser(gojwt.WithValidMethods([]string{alg}), gojwt.WithIssuer(issuerURL), gojwt.WithAudience(audience), gojwt.WithExpirationRequired(),
			gojwt.WithIssuedAt(), gojwt.WithTimeFunc(standing), gojwt.WithJSONNumber(), gojwt.WithStrictDecoding()),
		header: fmt.Sprintf(`{"alg":%q,"kid":"k","typ":"JWT"}`, alg),
		claims: fmt.Sprintf(`{"iss":%q,"aud":["x",%q],"sub":"alice","exp":%d,"nbf":%d,"iat":%d,"scope":"a b","deep":{"x":[1.5,null,true]}}`, issuerURL, audience, now.Unix()+60, now.Unix(), now.Unix()),
	}
	if key.Secret != nil {
		p.public = key.Secret
	}
	p.token = p.sign(tb, p.header, p.claims)
	return p
}

func (p *party) sign(tb testing.TB, header, claims string) string {
	tb.Helper()
	signed := encode([]byte(header)) + "." + encode([]byte(claims))
	signature, err := p.method.Sign(signed, p.private)
	if err != nil {
		tb.Fatal(err)
	}
	return signed + "." + encode(signature)
}

func parties(tb testing.TB) []*party {
	tb.Helper()
	seed := []byte("thirty-two bytes are long enough")
	ed := ed25519.NewKeyFromSeed(seed)
	ec, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), seed)
	if err != nil {
		tb.Fatal(err)
	}
	return []*party{
		newParty(tb, gojwt.SigningMethodHS256, seed, jwks.Key{Algorithm: "HS256", Secret: seed}),
		newParty(tb, gojwt.SigningMethodES256, ec, jwks.Key{Public: &ec.PublicKey}),
		newParty(tb, gojwt.SigningMethodEdDSA, ed, jwks.Key{Public: ed.Public()}),
	}
}

// edit applies edits of four bytes each, (place, place, what, text), to a text.
func edit(text string, edits []byte) string {
	out := []byte(text)
	for ; len(edits) >= 4 && len(out) > 0; edits = edits[4:] {
		at, c := (int(edits[0])<<8|int(edits[1]))%len(out), edits[3]
		switch edits[2] % 5 {
		case 0:
			out[at] = c
		case 1:
			out = slices.Insert(out, at, c)
		case 2:
			out = slices.Delete(out, at, min(at+1+int(c)%8, len(out)))
		case 3:
			out[at] ^= 1 << (c % 8)
		case 4:
			out = append(out, out[at:min(at+int(c), len(out))]...)
		}
	}
	return string(out)
}

// FuzzVerify alters a genuine token. Whatever is accepted, golang-jwt's own parser must accept too, and read the same claims from it.
func FuzzVerify(f *testing.F) {
	all := parties(f)
	for i, p := range all {
		for _, c := range []byte("AQgw") { // in the claims, and in the signature
			at := strings.LastIndexByte(p.token, '.') + 9
			f.Add(uint8(i), false, []byte{byte(at >> 8), byte(at), 0, c}, []byte{})
			at -= 40
			f.Add(uint8(i), false, []byte{byte(at >> 8), byte(at), 0, c}, []byte{})
		}
		f.Add(uint8(i), false, []byte{}, []byte{})
		f.Add(uint8(i), true, []byte{}, []byte{})
		f.Add(uint8(i), false, []byte{0, 60, 3, 0}, []byte{})
		f.Add(uint8(i), false, []byte{0, 200, 1, '\n'}, []byte{})
		f.Add(uint8(i), false, []byte{0, 0, 4, 255}, []byte{})
		f.Add(uint8(i), true, []byte{}, []byte{0, 96, 0, '9'})
		f.Add(uint8(i), true, []byte{}, []byte{0, 0, 1, ' ', 0, 0, 1, '\n'})
		f.Add(uint8(i), true, []byte{0, 1, 1, ' '}, []byte{0, 1, 1, '\t'})
		f.Add(uint8(i), true, []byte{0, 8, 0, 'h'}, []byte{})
		f.Add(uint8(i), true, []byte{}, []byte{0, 0, 4, 255})
	}
	f.Fuzz(func(t *testing.T, who uint8, signed bool, edits, more []byte) {
		p := all[int(who)%len(all)]
		token := edit(p.token, edits)
		if signed {
			token = p.sign(t, edit(p.header, edits), edit(p.claims, more))
		}
		user, err := p.verifier.Verify(context.Background(), token) //nolint:usetesting // it costs nothing
		if (user == nil) == (err == nil) {
			t.Fatalf("got %v and %v, want one of them", user, err)
		}
		if err != nil {
			if !signed && token == p.token {
				t.Errorf("the genuine token got %v", err)
			}
			return
		}
		if !signed && token != p.token {
			t.Errorf("%q was accepted, which nobody signed", token)
		}
		claims := gojwt.MapClaims{}
		if _, err := p.parser.ParseWithClaims(token, claims, func(*gojwt.Token) (any, error) { return p.public, nil }); err != nil {
			t.Fatalf("%q was accepted, golang-jwt says %v", token, err)
		}
		var raw map[string]any
		d := json.NewDecoder(bytes.NewReader(user.RawClaims))
		d.UseNumber()
		if err := d.Decode(&raw); err != nil || !reflect.DeepEqual(raw, map[string]any(claims)) {
			t.Errorf("got the claims %s (%v), golang-jwt reads %v", user.RawClaims, err, claims)
		}
		exp, _ := claims.GetExpirationTime()
		if claims["sub"] != user.ID || claims["iss"] != user.Issuer || exp == nil || exp.Unix() != user.Expiry.Unix() || !user.Expiry.After(now) {
			t.Errorf("got %+v, golang-jwt reads %v", user, claims)
		}
	})
}

// FuzzHeaderAndClaims signs any header and any claims. What is accepted must be what an oracle on top of encoding/json finds good.
func FuzzHeaderAndClaims(f *testing.F) {
	p := parties(f)[0]
	add := func(header, claims string) { f.Add([]byte(header), []byte(claims)) }
	add(p.header, p.claims)
	for _, header := range []string{
		`{"alg":"HS256"}`, `{"alg":"HS256","kid":"k","typ":"application/at+JWT"}`, `{"alg":"HS256","kid":"k","crit":["exp"]}`, `{"alg":"HS256","kid":"k","crit":[]}`, `{"alg":"HS256","b64":false}`,
		`{"alg":"HS256","alg":"none"}`, `{"alg":"none","alg":"HS256"}`, `{"alg":"HS256","ALG":"none"}`, `{"alg":"none"}`, `{"alg":["HS256"]}`, `{"alg":"HS512","kid":"k"}`, `{"kid":"k"}`, `{"alg":"HS256","kid":"x"}`,
		`{"alg":"HS256","kid":null}`, `{"alg":"HS256","typ":"dpop+jwt"}`, `{"alg":"HS256","zip":"DEF"}`, `{"alg":"HS256","enc":"A128GCM"}`, ` {"\u0061lg":"HS256"} `, `{"alg":"HS256"}{}`, `[]`, ``, `null`, "\ufeff" + `{"alg":"HS256"}`,
	} {
		add(header, p.claims)
	}
	open := strings.TrimSuffix(p.claims, "}")
	exp := fmt.Sprintf(`"exp":%d`, now.Unix()+60)
	for _, claims := range []string{
		open + `,"sub":"root"}`, open + `,"SUB":"root"}`, open + `,"\u0073ub":"root"}`, open + `,"ſub":"root"}`, open + `,"cnf":{"a":1,"A":2}}`, open + `,"x":"\ud800"}`, open + `,"x":"\u0000"}`, open + ",\"x\":\"\xff\"}",
		open + `,"x":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}`, open + "}x", open + `,}`, p.claims + p.claims, strings.ToUpper(p.claims),
		strings.Replace(p.claims, exp, `"x":1`, 1), strings.Replace(p.claims, exp, `"Exp":9999999999`, 1), strings.Replace(p.claims, exp, `"exp":null`, 1), strings.Replace(p.claims, exp, `"exp":"9999999999"`, 1),
		strings.Replace(p.claims, exp, `"exp":1e300`, 1), strings.Replace(p.claims, exp, `"exp":9.9e9`, 1), strings.Replace(p.claims, exp, `"exp":9007199254740993`, 1), strings.Replace(p.claims, exp, `"exp":-1`, 1),
		strings.Replace(p.claims, exp, fmt.Sprintf(`"exp":%d.9`, now.Unix()), 1), strings.Replace(p.claims, exp, fmt.Sprintf(`"exp":%d`, now.Unix()), 1),
		strings.Replace(p.claims, `["x","orders"]`, `"orders"`, 1), strings.Replace(p.claims, `["x","orders"]`, `["orders",1]`, 1), strings.Replace(p.claims, `["x","orders"]`, `[]`, 1), strings.Replace(p.claims, `["x","orders"]`, `"Orders"`, 1),
		strings.Replace(p.claims, `"alice"`, `""`, 1), strings.Replace(p.claims, `"alice"`, `7`, 1), strings.Replace(p.claims, issuerURL, issuerURL+"/", 1), strings.Replace(p.claims, `"nbf":`, `"nbf":9`, 1), strings.Replace(p.claims, `"iat":`, `"iat":9`, 1),
	} {
		add(p.header, claims)
	}
	f.Fuzz(func(t *testing.T, header, claims []byte) {
		user, err := p.verifier.Verify(context.Background(), p.sign(t, string(header), string(claims))) //nolint:usetesting // it costs nothing
		if (user == nil) == (err == nil) {
			t.Fatalf("got %v and %v, want one of them", user, err)
		}
		if err != nil {
			return
		}
		if reason := objection(header, claims, user.ID); reason != "" {
			t.Errorf("%q %q was accepted as %q: %s", header, claims, user.ID, reason)
		}
	})
}

// TestOracleOfTheFuzzerObjects shows that the oracle can say both yes and no; one that always agrees finds nothing.
func TestOracleOfTheFuzzerObjects(t *testing.T) {
	t.Parallel()
	p := parties(t)[0]
	open := strings.TrimSuffix(p.claims, "}")
	if reason := objection([]byte(p.header), []byte(p.claims), "alice"); reason != "" {
		t.Errorf("the genuine token: %s", reason)
	}
	for _, c := range [][2]string{
		{`{"alg":"HS256","crit":[]}`, p.claims},
		{`{"alg":"none"}`, p.claims},
		{`{"alg":"HS256","kid":"x"}`, p.claims},
		{p.header, open + `,"sub":"alice"}`},
		{p.header, open + `,"ſUB":1}`},
		{p.header, open + `,"x":[{"a":1,"A":1}]}`},
		{p.header, open + `,"x":"\ud800"}`},
		{p.header, strings.Replace(p.claims, `"exp"`, `"Exp"`, 1)},
		{p.header, strings.Replace(p.claims, `"orders"`, `1`, 1)},
		{p.header, p.claims + "{}"},
	} {
		if objection([]byte(c[0]), []byte(c[1]), "alice") == "" {
			t.Errorf("%s %s: the oracle has no objection", c[0], c[1])
		}
	}
	if objection([]byte(p.header), []byte(p.claims), "bob") == "" {
		t.Error("the oracle does not look at the user")
	}
}
