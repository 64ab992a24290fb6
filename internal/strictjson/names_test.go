// SPDX-License-Identifier: Apache-2.0

package strictjson_test

import (
	"fmt"
	"strings"
	"testing"
	"unicode"
)

const duplicate = "two members of one name"

// refusesTwins reports a document that is not refused for its two members of one name, at the name that comes second.
func refusesTwins(t *testing.T, document, second string) {
	t.Helper()
	want := fmt.Sprintf("%s at byte %d", duplicate, strings.LastIndex(document, second))
	if _, err := read(document); err == nil || err.Error() != want {
		t.Errorf("%q: got %v, want %s", document, err, want)
	}
}

func TestRefusesTwoMembersOfOneName(t *testing.T) {
	t.Parallel()
	for _, names := range [][2]string{
		{`"a"`, `"a"`},
		{`""`, `""`},
		{`"a"`, `"\u0061"`},
		{`"\u0061"`, `"a"`},
		{`"s"`, `"\u0073"`},
		{`"/"`, `"\/"`},
		{`"\n"`, `"\u000a"`},
		{`"\""`, `"\u0022"`},
		{`"\\"`, `"\u005c"`},
		{`"é"`, `"\u00E9"`},
		{`"😀"`, `"\ud83d\ude00"`},
		{`"\uD83D\uDE00"`, `"\ud83d\ude00"`},
	} {
		for _, document := range []string{`{%s:1,%s:2}`, `{%s:1,%s:1}`, `{"x":0,%s:1,"y":0,%s:2,"z":0}`, `{"x":{%s:1,%s:2}}`, `{"x":[0,{"y":{%s:null,%s:null}}]}`, `{%s:{},%s:[]}`} {
			refusesTwins(t, fmt.Sprintf(document, names[0], names[1]), names[1])
		}
	}
}

func TestRefusesNamesEqualUnderFolding(t *testing.T) {
	t.Parallel()
	for _, names := range [][2]string{
		{"sub", "SUB"},
		{"sub", "Sub"},
		{"sub", "ſub"},
		{"SUB", "ſub"},
		{"ſub", "ſUB"},
		{"iss", "iſs"},
		{"kid", "\u212aid"},
		{"KID", "\u212aid"},
		{"jwk", "jw\u212a"},
		{"é", "É"},
		{"å", "\u212b"},
		{"Å", "\u212b"},
		{"σ", "ς"},
		{"Σ", "ς"},
		{"ß", "ẞ"},
		{"µ", "μ"},
		{"Ω", "\u2126"},
		{"θ", "ϑ"},
		{"ǆ", "ǅ"},
		{"д", "ᲁ"},
		{"ა", "Ა"},
		{"ꭰ", "Ꭰ"},
		{"𐐀", "𐐨"},
		{"sub", `\u017fub`},
		{`\u0053ub`, `\u017fub`},
		{"kid", `\u212aid`},
		{`\u212a`, `\u004b`},
	} {
		for _, document := range []string{`{"%s":1,"%s":2}`, `{"cnf":{"%s":1,"%s":2}}`, `{"a":[{"%s":1,"b":2,"%s":3}]}`} {
			for i := range names {
				refusesTwins(t, fmt.Sprintf(document, names[i], names[1-i]), `"`+names[1-i]+`"`)
			}
		}
	}
}

func TestFoldsEveryRuneAsUnicodeDoes(t *testing.T) {
	t.Parallel()
	for r := rune(1); r <= unicode.MaxRune; r++ {
		other := unicode.SimpleFold(r)
		if other == r {
			continue
		}
		if _, err := read(fmt.Sprintf(`{"x%c":1,"x%c":2}`, r, other)); err == nil {
			t.Errorf("%U and %U: both were taken", r, other)
		}
	}
}

func TestTakesNamesThatOnlyLookAlike(t *testing.T) {
	t.Parallel()
	// Full folding, normalisation, Turkish rules and look-alikes are none of simple folding's business.
	for _, names := range [][2]string{
		{"a", "b"}, {"a", "aa"}, {"a", "a "}, {"ß", "ss"}, {"ﬁ", "fi"}, {"é", "e\u0301"}, {"i", "ı"}, {"I", "ı"}, {"i", "İ"}, {"a", "а"}, {"K", "\u039a"}, {"sub", "sub\u200b"}, {"1", "１"}, {"a", "ａ"}, {"[", "{"}, {"@", "`"}, {"^", "~"},
	} {
		for _, layout := range []string{`{"%s":1,"%s":2}`, `{"%[1]s":{"%[1]s":1},"%[2]s":[{"%[1]s":1},{"%[1]s":1}]}`} {
			document := fmt.Sprintf(layout, names[0], names[1])
			if _, err := read(document); err != nil {
				t.Errorf("%s: got %v", document, err)
			}
		}
	}
}

// many is an object of n members of different names, none of them bare, and those of more.
func many(n int, more ...string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `"name\u0020%d":%d,`, i, i)
	}
	for _, name := range more {
		fmt.Fprintf(&b, `"%s":null,`, name)
	}
	return "{" + strings.TrimSuffix(b.String(), ",") + "}"
}

func TestComparesAllOfManyNames(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 2, 14, 15, 16, 17, 18, 33, 5000} {
		got, err := read(many(n, "ſ"))
		if count := strings.Count(got, "="); count != n+1 || err != nil {
			t.Errorf("%d names: got %d members, %v", n+1, count, err)
		}
		for _, i := range []int{0, n / 2, n - 1} {
			for _, twin := range []string{"name %d", "NAME %d", `\u004eame\u0020%d`} {
				twin = fmt.Sprintf(twin, i)
				refusesTwins(t, many(n, twin), `"`+twin+`"`)
				refusesTwins(t, `{"a":[`+many(n, "b", twin)+`]}`, `"`+twin+`"`)
			}
		}
		refusesTwins(t, many(n, "ſ", "S"), `"S"`)
	}
}
