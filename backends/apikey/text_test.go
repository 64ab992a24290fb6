// SPDX-License-Identifier: Apache-2.0

package apikey_test

import (
	"math/big"
	"regexp"
	"strings"
	"testing"
	"unicode"

	"github.com/grpcauth/grpcauth/backends/apikey"
	"github.com/grpcauth/grpcauth/store"
)

// shape is what a key looks like, said another way than the parser has it.
var shape = regexp.MustCompile(`^([a-z](?:[a-z0-9]|_[a-z0-9])+)_([0-9A-Za-z]{16})_([0-9A-Za-z]{43})_([0-9A-Za-z]{6})$`)

// parts are what a text consists of; none of a text that is no key.
type parts struct{ prefix, id, secret string }

// oracle takes a key apart, slowly.
func oracle(text string) (p parts) {
	if found := shape.FindStringSubmatch(text); len(found) == 5 && len(found[1]) <= 32 && found[4] == checksum(text[:len(text)-7]) {
		p = parts{found[1], found[2], found[3]}
	}
	return p
}

// checksum computes the CRC-32 of IEEE 802.3 bit by bit and writes it with the digits of base62 before its letters, large ones first.
func checksum(body string) string {
	crc := ^uint32(0)
	for _, c := range []byte(body) {
		crc ^= uint32(c)
		for range 8 {
			crc = crc>>1 ^ 0xedb88320*(crc&1)
		}
	}
	digits := big.NewInt(int64(^crc)).Text(62) // which has the small letters first
	swapped := strings.Map(func(r rune) rune {
		if unicode.IsLower(r) {
			return unicode.ToUpper(r)
		}
		return unicode.ToLower(r)
	}, digits)
	return strings.Repeat("0", 6-len(swapped)) + swapped
}

// mended gives a text whose checksum is wrong the right one.
func mended(text string) string {
	if len(text) < 7 {
		return text
	}
	return text[:len(text)-7] + "_" + checksum(text[:len(text)-7])
}

func TestKeysAreOfOneShapeAndDiffer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, apikey.Options{MaxPerOwner: -1})
	seen, characters := map[string]bool{}, map[rune]bool{}
	for range 500 {
		text, id := w.create(t, apikey.Key{})
		key := oracle(text)
		if key.prefix != "orders_live" || key.id != id || seen[key.id] || seen[key.secret] {
			t.Fatal("a key is of another shape, or one of an earlier key")
		}
		seen[key.id], seen[key.secret] = true, true
		for _, c := range key.secret {
			characters[c] = true
		}
		if got, ok := w.ID(text); !ok || got != id {
			t.Errorf("ID: got %q, %t", got, ok)
		}
	}
	if len(characters) != 62 {
		t.Errorf("secrets have %d characters, want 62", len(characters))
	}
}

func TestTypoIsRefusedWithoutAskingTheStore(t *testing.T) {
	t.Parallel()
	w := newWorld(t, apikey.Options{})
	text, _ := w.create(t, apikey.Key{})
	typos := map[string]string{
		"upper case": strings.ToUpper(text), "lower case": strings.ToLower(text), "twice": text + text, "a suffix": text + "0", "an underscore": text + "_", "nothing": "",
		"quoted": `"` + text + `"`, "a space": text + " ", "a line": text + "\n", "NUL": text + "\x00", "a scheme": "ApiKey " + text, "no prefix": text[len("orders_live_"):],
		"full-width underscores": strings.ReplaceAll(text, "_", "＿"), "hyphens": strings.ReplaceAll(text, "_", "-"), "double underscores": strings.ReplaceAll(text, "_", "__"),
		"no underscores": strings.ReplaceAll(text, "_", ""), "long": strings.Repeat(text, 1000), "percent": strings.ReplaceAll(text, "_", "%5F"),
	}
	for i := range len(text) {
		typos["a beginning"+text[:i]] = text[:i]
		typos["an end"+text[i+1:]] = text[i+1:]
		typos["left out"+text[i:]] = text[:i] + text[i+1:]
		typos["doubled"+text[i:]] = text[:i+1] + text[i:]
		for _, c := range "0aZ_-. \u0660\uff10\u00e9" {
			typos["replaced"+text[i:]+string(c)] = text[:i] + string(c) + text[i+1:]
		}
		if c := text[i : i+1]; i+1 < len(text) {
			typos["swapped"+text[i:]] = text[:i] + text[i+1:i+2] + c + text[i+2:]
			typos["other case"+text[i:]] = text[:i] + strings.ToUpper(c) + text[i+1:]
			typos["another case"+text[i:]] = text[:i] + strings.ToLower(c) + text[i+1:]
		}
	}
	before := w.store.asked.Load()
	for name, typo := range typos {
		if typo == text {
			continue
		}
		if got := w.look(t.Context(), typo); got != "CREDENTIALS_MALFORMED" {
			t.Errorf("%.10s: got %s", name, got)
		}
		if _, ok := w.ID(typo); ok {
			t.Errorf("%.10s has an ID", name)
		}
	}
	if asked := w.store.asked.Load() - before; asked != 0 {
		t.Errorf("the store was asked %d times", asked)
	}
	w.expect(t, text, "alice")
}

// Whoever mends the checksum gains nothing: it is for typos, not for attackers.
func TestForgeryWithARightChecksumIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, apikey.Options{})
	text, _ := w.create(t, apikey.Key{})
	key := oracle(text)
	swapCase := func(s string) string {
		return strings.Map(func(r rune) rune {
			if unicode.IsLower(r) {
				return unicode.ToUpper(r)
			}
			return unicode.ToLower(r)
		}, s)
	}
	for name, test := range map[string]struct {
		body, want string
		asks       int64
	}{
		"ID in the other case":     {key.prefix + "_" + swapCase(key.id) + "_" + key.secret, "CREDENTIALS_INVALID", 1},
		"secret in the other case": {key.prefix + "_" + key.id + "_" + swapCase(key.secret), "CREDENTIALS_INVALID", 1},
		"secret of zeros":          {key.prefix + "_" + key.id + "_" + strings.Repeat("0", 43), "CREDENTIALS_INVALID", 1},
		"secret a bit shorter":     {key.prefix + "_" + key.id + "_" + key.secret[:42], "CREDENTIALS_MALFORMED", 0},
		"secret a bit longer":      {key.prefix + "_" + key.id + "_" + key.secret + "0", "CREDENTIALS_MALFORMED", 0},
		"no secret":                {key.prefix + "_" + key.id + "_", "CREDENTIALS_MALFORMED", 0},
		"no ID":                    {key.prefix + "__" + key.secret, "CREDENTIALS_MALFORMED", 0},
		"ID a bit shorter":         {key.prefix + "_" + key.id[1:] + "_" + key.secret + "0", "CREDENTIALS_MALFORMED", 0},
		"another environment":      {"orders_test_" + key.id + "_" + key.secret, "CREDENTIALS_INVALID", 0},
		"another case":             {"Orders_live_" + key.id + "_" + key.secret, "CREDENTIALS_MALFORMED", 0},
		"more before the prefix":   {"x" + key.prefix + "_" + key.id + "_" + key.secret, "CREDENTIALS_INVALID", 0},
		"a beginning of it":        {"orders_" + key.id + "_" + key.secret, "CREDENTIALS_INVALID", 0},
		"no prefix":                {"_" + key.id + "_" + key.secret, "CREDENTIALS_MALFORMED", 0},
		"a long prefix":            {strings.Repeat("x", 33) + "_" + key.id + "_" + key.secret, "CREDENTIALS_MALFORMED", 0},
		"an underscore in the ID":  {key.prefix + "_" + key.id[:8] + "_" + key.id[9:] + "_" + key.secret, "CREDENTIALS_MALFORMED", 0},
	} {
		before := w.store.asked.Load()
		if got := w.look(t.Context(), test.body+"_"+checksum(test.body)); got != test.want {
			t.Errorf("%s: got %s, want %s", name, got, test.want)
		}
		if asked := w.store.asked.Load() - before; asked != test.asks {
			t.Errorf("%s: the store was asked %d times, want %d", name, asked, test.asks)
		}
	}
}

func TestPatternFindsKeysAndNothingElse(t *testing.T) {
	t.Parallel()
	w := newWorld(t, apikey.Options{})
	pattern := regexp.MustCompile(w.Pattern())
	text, _ := w.create(t, apikey.Key{})
	for _, around := range [][2]string{
		{"", ""},
		{"ORDERS_KEY=", "\n"},
		{`{"key":"`, `"}`},
		{"x-api-key: ", "\r\n"},
		{"`", "`"},
		{"https://api.test/?key=", "&page=2"},
		{"key%3D", "%26"},
		{`first line\n`, `\nlast line`},
		{"curl -H 'x-api-key:", "'"},
		{"see ", "."},
		{"(", ")"},
		{"é", "é"},
	} {
		if got := pattern.FindString(around[0] + text + around[1]); got != text {
			t.Errorf("between %q and %q: not found", around[0], around[1])
		}
	}
	key := oracle(text)
	for name, miss := range map[string]string{
		"cut off": text[:len(text)-1], "too long": text + "0", "goes on": text + "_x", "another environment": strings.Replace(text, "live", "test", 1),
		"another case": strings.ToUpper(text), "hyphens": strings.ReplaceAll(text, "_", "-"), "the ID alone": "orders_live_" + key.id, "no checksum": text[:len(text)-7],
		"the prefix alone": "orders_live_", "a short ID": "orders_live_" + key.id[1:] + "_" + key.secret + text[len(text)-7:], "across lines": strings.Replace(text, "_"+key.secret, "_\n"+key.secret, 1),
		"another character": strings.Replace(text, key.secret[:1], "+", 1), "the pattern itself": w.Pattern(),
	} {
		if pattern.MatchString(miss) {
			t.Errorf("%s: found", name)
		}
	}
	other := newWorld(t, apikey.Options{Prefix: "orders_test"})
	if foreign, _ := other.create(t, apikey.Key{}); pattern.MatchString(foreign) {
		t.Error("a key of another environment is found")
	}
}

func FuzzKey(f *testing.F) {
	w := newWorld(f, apikey.Options{FlushEvery: -1})
	good, _ := w.create(f, apikey.Key{})
	pattern := regexp.MustCompile(w.Pattern())
	for _, text := range []string{
		good, good[1:], good[:70], good + "0", strings.ToUpper(good), strings.Replace(good, "live", "test", 1), strings.ReplaceAll(good, "_", "＿"), "", "_", "___", "orders_live_",
		strings.Repeat("0", 79), strings.Repeat("_", 79), "a0_" + good, good + "\n", "\x00" + good, "ab" + good[11:], strings.Repeat("x", 32) + good[11:], strings.Repeat("x", 33) + good[11:],
		"a_" + good[11:], "a__b" + good[11:], good[:11] + "_" + strings.Repeat("٠", 8) + good[28:],
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, given string) {
		for _, text := range []string{given, mended(given)} {
			want, asks := "CREDENTIALS_MALFORMED", int64(0)
			key := oracle(text)
			ours := key.prefix == "orders_live"
			switch {
			case text == good:
				want, asks = "alice", 1
			case ours:
				want, asks = "CREDENTIALS_INVALID", 1
			case key.id != "":
				want = "CREDENTIALS_INVALID"
			}
			before := w.store.asked.Load()
			got := w.look(t.Context(), text)
			if asked := w.store.asked.Load() - before; got != want || asked != asks {
				t.Errorf("%q: got %s after %d calls of the store, want %s after %d", text, got, asked, want, asks)
			}
			if id, ok := w.ID(text); ok != ours || ok && (id != key.id || !pattern.MatchString(text)) {
				t.Errorf("%q: ID is %q, %t", text, id, ok)
			}
		}
	})
}

// A store sees keys only under their prefix, and only such as the checksum lets through.
func TestStoreSeesTheIDAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, apikey.Options{})
	text, id := w.create(t, apikey.Key{})
	rec, err := store.Get(t.Context(), w.store, "apikey/orders_live/"+id)
	if err != nil || strings.Contains(string(rec.Value), secretOf(text)) || rec.Owner != "apikey/orders_live/\x00alice" {
		t.Errorf("got %+v, %v", rec, err)
	}
}
