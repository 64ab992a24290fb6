// SPDX-License-Identifier: Apache-2.0

package jwt_test

import (
	"bytes"
	"encoding/json"
	"io"
	"math/big"
	"slices"
	"strings"
	"unicode/utf8"
)

// objection is why a token with this header and these claims, signed by the secret of the fuzz targets, must not be accepted as this user; empty if
// there is no reason. It is written on top of encoding/json, to share nothing with what it judges.
func objection(header, claims []byte, id string) string {
	h, c := members(header), members(claims)
	switch {
	case h == nil:
		return "the header is not one strict object"
	case c == nil:
		return "the claims are not one strict object"
	case h["alg"] != "HS256":
		return "the algorithm is not the issuer's"
	case c["iss"] != issuerURL:
		return "the issuer is another one"
	case c["sub"] != id || id == "" || len(id) > 255:
		return "the subject is another one"
	}
	for _, name := range []string{"crit", "b64", "zip", "enc", "p2c"} {
		if _, there := h[name]; there {
			return "the header has " + name
		}
	}
	if kid, there := h["kid"]; there && kid != "k" {
		return "the key is another one"
	}
	if typ, there := h["typ"]; there {
		if s, _ := typ.(string); !slices.Contains([]string{"jwt", "at+jwt"}, strings.TrimPrefix(strings.ToLower(s), "application/")) {
			return "the type is another one"
		}
	}
	if aud := c["aud"]; aud != audience {
		many, _ := aud.([]any)
		if !slices.Contains(many, any(audience)) || slices.ContainsFunc(many, func(v any) bool { _, ok := v.(string); return !ok }) {
			return "the audience is another one"
		}
	}
	return untimely(c)
}

func untimely(c map[string]any) string {
	if exp, ok := seconds(c["exp"]); !ok || exp.Cmp(whole(now.Unix())) <= 0 {
		return "it has expired, or never does"
	}
	for _, name := range []string{"nbf", "iat"} {
		if v, there := c[name]; there {
			if at, ok := seconds(v); !ok || at.Cmp(whole(now.Unix()+1)) >= 0 {
				return "it is not valid yet by its " + name
			}
		}
	}
	return ""
}

func whole(n int64) *big.Float { return new(big.Float).SetInt64(n) }

// seconds is a NumericDate from 0 to 2^53, and to the next number since that is rounded to it.
func seconds(v any) (*big.Float, bool) {
	n, ok := v.(json.Number)
	if !ok {
		return nil, false
	}
	f, _, err := big.ParseFloat(n.String(), 10, 256, big.ToZero)
	return f, err == nil && f.Sign() >= 0 && f.Cmp(whole(1<<53+1)) <= 0
}

// members are those of a document that is one object: valid UTF-8, no deeper than 32, without lone surrogates and NULs, and no object in it with two
// members of names that are equal under case folding. Otherwise it is nil.
func members(document []byte) map[string]any {
	if !utf8.Valid(document) || !json.Valid(document) {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(document))
	d.UseNumber()
	w := walker{Decoder: d}
	if !w.value(0) {
		return nil
	}
	if _, err := d.Token(); err != io.EOF {
		return nil
	}
	text := strings.ToLower(string(document))
	if w.replaced > strings.Count(text, "\ufffd")+strings.Count(text, `\ufffd`) {
		return nil // encoding/json puts the replacement character for a lone surrogate
	}
	d = json.NewDecoder(bytes.NewReader(document))
	d.UseNumber()
	var found map[string]any
	if d.Decode(&found) != nil {
		return nil
	}
	return found
}

type walker struct {
	*json.Decoder
	replaced int // replacement characters in strings
}

func (w *walker) value(depth int) bool {
	token, err := w.Token()
	if err != nil || depth > 32 {
		return false
	}
	switch token {
	case json.Delim('{'):
		var names []string
		for w.More() {
			token, err := w.Token()
			name, ok := token.(string)
			if err != nil || !ok || !w.text(name) || slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, name) }) || !w.value(depth+1) {
				return false
			}
			names = append(names, name)
		}
		_, err = w.Token()
		return err == nil
	case json.Delim('['):
		for w.More() {
			if !w.value(depth + 1) {
				return false
			}
		}
		_, err = w.Token()
		return err == nil
	}
	if s, ok := token.(string); ok {
		return w.text(s)
	}
	return true
}

func (w *walker) text(s string) bool {
	w.replaced += strings.Count(s, "\ufffd")
	return !strings.Contains(s, "\x00")
}
