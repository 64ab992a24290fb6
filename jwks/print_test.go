// SPDX-License-Identifier: Apache-2.0

package jwks_test

import (
	"bytes"
	"crypto/elliptic"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/grpcauth/grpcauth/jwks"
)

// marked are keys of every type whose material is easily found in a text.
func marked() (keys []jwks.Key, material [][]byte) {
	canary := bytes.Repeat([]byte("canary"), 11)
	rsa, ec, ed := rsaKey(2048), pointOn(elliptic.P256()), edwards(1)
	point, err := ec.Bytes()
	if err != nil {
		panic(err)
	}
	keys = []jwks.Key{{ID: "hmac", Algorithm: "HS256", Secret: canary}, {ID: "rsa", Algorithm: "RS256", Public: rsa}, {ID: "ec", Public: ec}, {ID: "ed", Public: ed}}
	return keys, [][]byte{canary, rsa.N.Bytes(), point[1:33], point[33:], ed}
}

// shows reports text with key material in any notation that Go prints bytes and numbers in.
func shows(t *testing.T, what, text string, material [][]byte) {
	t.Helper()
	text = strings.ToLower(text)
	for i, m := range material {
		begin := m[:12]
		list := strings.Trim(fmt.Sprintf("%d", begin), "[]")
		for _, notation := range []string{
			string(begin), hex.EncodeToString(begin), strings.TrimSuffix(b64(begin), "="), list, strings.ReplaceAll(list, " ", ","), strings.ReplaceAll(list, " ", ", "), strings.Trim(fmt.Sprintf("%#v", begin), "[]byte{}"),
			strings.Trim(fmt.Sprintf("%q", begin), `"`), strings.Trim(fmt.Sprintf("%x", begin), "[]"), strings.Trim(fmt.Sprintf("% x", begin), "[]"), strings.Trim(fmt.Sprintf("%o", begin), "[]"), strings.Trim(fmt.Sprintf("%b", begin), "[]"),
		} {
			if strings.Contains(text, strings.ToLower(notation)) {
				t.Errorf("%s shows material %d: %.300q", what, i, text)
			}
		}
	}
	x, _ := coordinates(pointOn(elliptic.P256()))
	if strings.Contains(text, modulus(2048).String()[:30]) || strings.Contains(text, x.String()[:30]) {
		t.Errorf("%s shows a number of a key: %.300q", what, text)
	}
}

func TestNoVerbPrintsKeyMaterial(t *testing.T) {
	t.Parallel()
	keys, material := marked()
	set := newStatic(t, keys...)
	things := map[string]any{"keys": keys, "a set": set, "a set in a struct": struct{ Set jwks.Set }{set}, "a nil set": (*jwks.StaticSet)(nil), "a map": map[string]jwks.Key{"k": keys[0]}}
	for i := range keys {
		things[keys[i].ID], things["pointer to "+keys[i].ID], things["struct of "+keys[i].ID] = keys[i], &keys[i], struct{ Key jwks.Key }{keys[i]}
	}
	for what, thing := range things {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%+s", "%q", "%#q", "%x", "%X", "% x", "%d", "%o", "%b", "%c", "%U", "%e", "%t", "%z", "%100.50v"} {
			shows(t, what+" by "+verb, fmt.Sprintf(verb, thing), material)
		}
		shows(t, what+" by Println", fmt.Sprintln(thing), material)
	}
	for verb, want := range map[string]string{"%v": `Key("hmac", "HS256", secret)`, "%#v": `Key("hmac", "HS256", secret)`, "%d": `Key("hmac", "HS256", secret)`} {
		if got := fmt.Sprintf(verb, keys[0]); got != want {
			t.Errorf("%s: got %s", verb, got)
		}
	}
	if got := fmt.Sprintf("%v %+v %#v %s", set, set, set, (*jwks.StaticSet)(nil)); got != "StaticSet(4 keys) StaticSet(4 keys) StaticSet(4 keys) StaticSet(0 keys)" {
		t.Errorf("got %s", got)
	}
}

func TestNoEncodingHasKeyMaterial(t *testing.T) {
	t.Parallel()
	keys, material := marked()
	set := newStatic(t, keys...)
	for _, thing := range []any{keys, &keys[0], keys[0], struct{ Key jwks.Key }{keys[0]}, struct{ Keys []jwks.Key }{keys}, map[string]jwks.Key{"k": keys[0]}, set, struct{ Set *jwks.StaticSet }{set}} {
		text, err := json.Marshal(thing)
		if err != nil {
			t.Errorf("JSON of %T: %v", thing, err)
		}
		shows(t, fmt.Sprintf("JSON of %T", thing), string(text), material)
		text, _ = xml.Marshal(thing) // not everything has a form in XML, nor in gob
		shows(t, fmt.Sprintf("XML of %T", thing), string(text), material)
		var out bytes.Buffer
		_ = gob.NewEncoder(&out).Encode(thing)
		shows(t, fmt.Sprintf("gob of %T", thing), out.String(), material)

		out.Reset()
		for _, handler := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
			slog.New(handler).Info("keys", "thing", thing, slog.Group("group", "thing", thing))
		}
		shows(t, fmt.Sprintf("slog of %T", thing), out.String(), material)
	}
	if text, err := json.Marshal(keys[0]); err != nil || string(text) != `"Key(\"hmac\", \"HS256\", secret)"` { //nolint:gosec // that it shows no secret is the point
		t.Errorf("got %s, %v", text, err)
	}
	var out bytes.Buffer
	if err := gob.NewEncoder(&out).Encode(keys[0]); err != nil || !strings.Contains(out.String(), `Key("hmac", "HS256", secret)`) {
		t.Errorf("got %q, %v", out.String(), err)
	}
}

func TestErrorsShowNoSecret(t *testing.T) {
	t.Parallel()
	short := jwks.Key{ID: "hmac", Algorithm: "HS256", Secret: []byte("canarycanarycanary")}
	both := jwks.Key{ID: "both", Secret: short.Secret, Public: edwards(1)}
	for _, k := range []jwks.Key{short, both, {Algorithm: "HS1", Secret: short.Secret}} {
		_, err := jwks.Static(k)
		if err == nil {
			t.Fatalf("%v was taken", k)
		}
		shows(t, "the error", fmt.Sprintf("%v %+v %#v", err, err, err), [][]byte{short.Secret})
	}
}
