// SPDX-License-Identifier: Apache-2.0

package canary_test

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// shortest is the size of a text below which it is not looked for: it would be found in what is no secret.
const shortest = 8

// forms are the ways in which a secret may be written, by their names. Of base64 it is what does not depend on the neighbours, wherever in them the secret begins.
func forms(secret string) map[string]string {
	raw := []byte(secret)
	document, _ := json.Marshal(secret)
	decimal := strings.Trim(fmt.Sprint(raw), "[]") //nolint:staticcheck // the bytes as numbers
	all := map[string]string{
		"text":          secret,
		"hexadecimal":   hex.EncodeToString(raw),
		"HEXADECIMAL":   strings.ToUpper(hex.EncodeToString(raw)),
		"numbers":       decimal,
		"JSON numbers":  strings.ReplaceAll(decimal, " ", ","),
		"Go bytes":      strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%#v", raw), "[]byte{"), "}"),
		"a query":       url.QueryEscape(secret),
		"a path":        url.PathEscape(secret),
		"JSON":          strings.Trim(string(document), `"`),
		"quoted":        strings.Trim(strconv.Quote(secret), `"`),
		"quoted ASCII":  strings.Trim(strconv.QuoteToASCII(secret), `"`),
		"lower case":    strings.ToLower(secret),
		"quoted twice":  strings.Trim(strconv.Quote(strings.Trim(strconv.Quote(secret), `"`)), `"`),
		"hex of base64": hex.EncodeToString([]byte(base64.StdEncoding.EncodeToString(raw[:len(raw)/3*3]))),
	}
	for skip := range 3 {
		part := raw[skip : skip+(len(raw)-skip)/3*3]
		all[fmt.Sprint("base64 from byte ", skip)] = base64.RawStdEncoding.EncodeToString(part)
		all[fmt.Sprint("base64url from byte ", skip)] = base64.RawURLEncoding.EncodeToString(part)
	}
	return all
}

// finder finds many texts at once. It is not changed once it is made.
type finder struct {
	heads  map[uint64][]pattern // by their first bytes
	filter [1 << 13]uint64      // bits of those that there are
}

type pattern struct{ text, kind, form, secret string }

// hit is where a secret was found.
type hit struct {
	pattern

	at int
}

// newFinder finds these secrets, which have their kinds, in all forms.
func newFinder(secrets map[string]string) *finder {
	f := &finder{heads: map[uint64][]pattern{}}
	for secret, kind := range secrets {
		seen := map[string]bool{}
		all := forms(secret)
		for _, form := range append([]string{"text"}, slices.Sorted(maps.Keys(all))...) {
			text := all[form]
			if len(text) < shortest || seen[text] {
				continue
			}
			seen[text] = true
			head := binary.LittleEndian.Uint64([]byte(text))
			f.heads[head] = append(f.heads[head], pattern{text, kind, form, secret})
			bit := bitOf(head)
			f.filter[bit/64] |= 1 << (bit % 64)
		}
	}
	return f
}

func bitOf(head uint64) uint64 { return head * 0x9E3779B97F4A7C15 >> 45 }

// find returns the first hit of each secret in a text.
func (f *finder) find(text []byte) []hit {
	var hits []hit
	found := map[string]bool{}
	for i := 0; i+shortest <= len(text); i++ {
		head := binary.LittleEndian.Uint64(text[i:])
		if bit := bitOf(head); f.filter[bit/64]&(1<<(bit%64)) == 0 {
			continue
		}
		for _, p := range f.heads[head] {
			if !found[p.secret] && len(text)-i >= len(p.text) && string(text[i:i+len(p.text)]) == p.text {
				found[p.secret] = true
				hits = append(hits, hit{p, i})
			}
		}
	}
	return hits
}

func TestSecretIsFoundHoweverItIsWritten(t *testing.T) {
	t.Parallel()
	const secret = "canary 5f1d7c/?é\"<\x01 and more"
	f := newFinder(map[string]string{secret: "the secret"})
	for name, text := range map[string]string{
		"text": secret, "%x": fmt.Sprintf("%x", secret), "%X": fmt.Sprintf("%X", secret), "%q": fmt.Sprintf("%q", secret), "%+q": fmt.Sprintf("%+q", secret),
		"%v of bytes": fmt.Sprintf("%v", []byte(secret)), "%#v of bytes": fmt.Sprintf("%#v", []byte(secret)), "in a struct": fmt.Sprintf("%#v", struct{ a []string }{[]string{secret}}),
		"lower case": strings.ToLower(secret), "query": url.Values{"a": {secret}}.Encode(), "path": url.PathEscape(secret), "quoted twice": fmt.Sprintf("%q", fmt.Sprintf("%q", secret)),
		"JSON": string(must(json.Marshal(map[string]string{"a": secret}))(t)), "JSON bytes": string(must(json.Marshal([]byte(secret)))(t)),
		"base64": base64.StdEncoding.EncodeToString([]byte(secret)), "one on": base64.StdEncoding.EncodeToString([]byte("x" + secret + "y")), "two on": base64.URLEncoding.EncodeToString([]byte("xy" + secret)),
		"%x of base64": fmt.Sprintf("%x", base64.StdEncoding.EncodeToString([]byte(secret))),
	} {
		if hits := f.find([]byte("before " + text + " after")); len(hits) != 1 {
			t.Errorf("%s: %d hits in %q", name, len(hits), text)
		}
	}
	for _, text := range []string{"", "canary", secret[:len(secret)-1], "canary 5f1d7c"} {
		if hits := f.find([]byte(text)); len(hits) != 0 {
			t.Errorf("found %v in %q", hits, text)
		}
	}
}
