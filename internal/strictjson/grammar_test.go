// SPDX-License-Identifier: Apache-2.0

package strictjson_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/grpcauth/grpcauth/internal/strictjson"
)

// read gives the members of a document, each as its quoted name, an equals sign and its value as show writes it.
func read(document string) (string, error) {
	var b strings.Builder
	err := strictjson.Object([]byte(document), member(&b))
	return strings.TrimSuffix(b.String(), " "), err
}

func member(b *strings.Builder) func(string, strictjson.Value) error {
	return func(name string, v strictjson.Value) error {
		_, err := fmt.Fprintf(b, "%+q=%s ", name, show(v))
		return err
	}
}

// show writes strings quoted as in Go and in ASCII, numbers as they stand, and arrays and objects by their parts.
func show(v strictjson.Value) string {
	var b strings.Builder
	var err error
	switch v.Kind() {
	case strictjson.NullKind:
		return "null"
	case strictjson.BoolKind:
		truth, _ := v.Bool()
		return fmt.Sprint(truth)
	case strictjson.NumberKind:
		return string(v.Raw())
	case strictjson.StringKind:
		text, _ := v.String()
		return fmt.Sprintf("%+q", text)
	case strictjson.ArrayKind:
		err = v.Elements(func(e strictjson.Value) error {
			_, err := b.WriteString(show(e) + " ")
			return err
		})
		return fmt.Sprintf("[%s]%s", strings.TrimSuffix(b.String(), " "), wrong(err))
	case strictjson.ObjectKind:
		err = v.Members(member(&b))
		return fmt.Sprintf("{%s}%s", strings.TrimSuffix(b.String(), " "), wrong(err))
	default:
		return "no value"
	}
}

func wrong(err error) string {
	if err != nil {
		return " but " + err.Error()
	}
	return ""
}

func TestReadsWhatTheGrammarAllows(t *testing.T) {
	t.Parallel()
	documents := map[string]string{
		`{}`: ``, " \t\r\n{ \t\r\n} \t\r\n": ``, `{"":""}`: `""=""`, `{" ":0}`: `" "=0`, `{"a":{}}`: `"a"={}`, `{"a":[]}`: `"a"=[]`,
		"\n{\t\"a\"\r:\n1 , \"b\"\t: [ 1 ,\n2 ]\t}\n": `"a"=1 "b"=[1 2]`,
		`{"b":1,"a":2,"c":3}`:                         `"b"=1 "a"=2 "c"=3`,
		`{"a":{"a":{"a":1}}}`:                         `"a"={"a"={"a"=1}}`,
		`{"a":[{"b":1},{"b":2}],"b":3}`:               `"a"=[{"b"=1} {"b"=2}] "b"=3`,
		`{"a":[null,true,false,0,"",[],{}]}`:          `"a"=[null true false 0 "" [] {}]`,
		`{"\u0061\/\n":1}`:                            `"a/\n"=1`,
		`{"é":1,"e\u0301":2}`:                         `"\u00e9"=1 "e\u0301"=2`,
		`{"a":1,"a\u0020":2," a":3,"aa":4,"а":5}`:     `"a"=1 "a "=2 " a"=3 "aa"=4 "\u0430"=5`,
	}
	for value, want := range map[string]string{
		`null`: `null`, `true`: `true`, `false`: `false`,
		`0`: `0`, `-0`: `-0`, `1`: `1`, `-1`: `-1`, `10`: `10`, `1234567890`: `1234567890`, `0.0`: `0.0`, `-0.10`: `-0.10`, `1.5`: `1.5`, `0e0`: `0e0`, `1e5`: `1e5`, `1E5`: `1E5`,
		`1e+5`: `1e+5`, `1E-05`: `1E-05`, `1.25e10`: `1.25e10`, `-9.9E+99`: `-9.9E+99`, `1e999`: `1e999`, `123456789012345678901234567890`: `123456789012345678901234567890`,
		`""`: `""`, `" "`: `" "`, `"a"`: `"a"`, `"/"`: `"/"`, `"\/"`: `"/"`, `"\""`: `"\""`, `"\\"`: `"\\"`, `"\\\\n"`: `"\\\\n"`, `"\b\f\n\r\t"`: `"\b\f\n\r\t"`, `"'"`: `"'"`,
		`"\u0041\u005a"`: `"AZ"`, `"\u00e9\u00E9"`: `"\u00e9\u00e9"`, `"\u20ac"`: `"\u20ac"`, `"\ud83d\uDE00"`: `"\U0001f600"`, `"\uD800\uDC00\udbff\udfff"`: `"\U00010000\U0010ffff"`, `"\ud83d\ude00x"`: `"\U0001f600x"`,
		`"\u0001\u001f"`: `"\x01\x1f"`, `"\uFFFF\uFFFD"`: `"\uffff\ufffd"`, `"\ud7ff\ue000"`: `"\ud7ff\ue000"`, `"\u005cu0041"`: `"\\u0041"`, `"\\u0000"`: `"\\u0000"`, `"\u0022"`: `"\""`,
		"\"\u007f\"": `"\x7f"`, "\"\u0080\u07ff\u0800\uffff\"": `"\u0080\u07ff\u0800\uffff"`, "\"\U00010000\U0010ffff\"": `"\U00010000\U0010ffff"`,
		"\"\u2028\u2029\"": `"\u2028\u2029"`, "\"\ufeff\"": `"\ufeff"`, `"{\"a\":1}"`: `"{\"a\":1}"`, `"]},:["`: `"]},:["`,
	} {
		documents[`{"a":`+value+`}`] = `"a"=` + want
		documents[` { "a" : [ `+value+` , `+value+` ] } `] = `"a"=[` + want + ` ` + want + `]`
	}
	for document, want := range documents {
		if got, err := read(document); got != want || err != nil {
			t.Errorf("%q: got %s, %v; want %s", document, got, err, want)
		}
	}
}

func TestRefusesWhatIsNotInTheGrammar(t *testing.T) {
	t.Parallel()
	documents := []string{
		"", " ", "\n", "null", "true", "0", `"a"`, `"{}"`, "[]", "[{}]", "{", "}", "{]", "[}", "{{}}", "{[]}", `{"a"}`, `{"a":}`, `{"a" 1}`, `{"a"=1}`, `{"a"::1}`, `{:1}`, `{1:1}`, `{a:1}`, `{'a':1}`, `{null:1}`,
		`{"a":1,}`, `{,}`, `{,"a":1}`, `{"a":1,,"b":2}`, `{"a":1 "b":2}`, `{"a":1;"b":2}`, `{"a":1`, `{"a":1,`, `{"a":1,"`, `{"a":1,"b`, `{"a":1,"b"`, `{"a":1,"b":`, `{"a`, `{"a"`, `{"a":`, `{"a":1]`, `{"a":[1}`, `{"a":{1}}`,
		`{} {}`, `{}{}`, `{}}`, `{}]`, `{},`, `{}null`, `{}x`, "{}\x00", "\x00{}", "{\x00}", "{}//", "/**/{}", "{}#", "{}\v", "\f{}", "{\v}", "\u00a0{}", "{}\u00a0", "{\u2003}", "{}\u0085", "{}\u2028",
		"\ufeff{}", "{}\ufeff", "{\ufeff}", "{\x00}\x00", "\xff\xfe{\x00}\x00", "\x00{\x00}", "\xfe\xff\x00{\x00}", "\x00\x00\x00{\x00\x00\x00}", "+ADw-", "{\x00\"\x00a\x00\"\x00:\x001\x00}\x00",
		"a{}", "{}\u200b", `{"a":1}"`, `{"a":1}:`, `{"a":1,"b":2,}`, `{/**/}`, "{\"a\"\x00:1}", "{\"a\":1\x00}", `{"\a":1}`, `{"\u00":1}`, "{\"\n\":1}", `{"a\":1}`, "{\"\x00\":1}", `{"\u0000":1}`, `{"\ud800":1}`,
	}
	for _, value := range []string{
		"", "nul", "nulll", "Null", "NULL", "nil", "undefined", "tru", "truee", "True", "t", "fals", "falsey", "FALSE", "NaN", "nan", "Infinity", "-Infinity", "inf", "none", "truefalse", "null null",
		"-", "+", "+1", "--1", "-+1", "01", "00", "-01", "-00", "007", ".5", "-.5", "1.", "-1.", "0.", "1.e5", ".e5", "1e", "1E", "1e+", "1e-", "1e5.5", "1e 5", "1 e5", "1. 5", "- 1", "1e++5", "e5", "1e5e5", "1.2.3",
		"0x10", "0b1", "0o7", "1_000", "1,000.0x", "1f", "1n", "1L", "1'000", "½", "١", "１", "−1", "1\x00", "1 1", "1a", "0a", "1-1", "1+1", "1/2", "$1", "(1)",
		"[", "]", "[1", "[1,", "[1,]", "[,]", "[,1]", "[1,,2]", "[1 2]", "[1;2]", "[1:2]", `["a":1]`, "[[]", "[]]", "[1}", `[{"a":1]`, "[\x00]", "[1,\x002]", "[\v]", "[null,nul]", "[01]", "{", "{}}", `{"a":1,}`, `{"a"}`, "{1}",
		`"`, `"a`, `a"`, `'a'`, `"a" "b"`, `"a"b`, "`a`", `"\"`, `"\\\"`, `"\`, `"\ "`, `"\x41"`, `"\a"`, `"\v"`, `"\0"`, `"\101"`, `"\e"`, `"\'"`, `"\B"`, `"\N"`, `"\U00000041"`, `"\{41}"`, "\"\\\n\"", "\"\\\x00\"", `"\é"`,
		`"\u"`, `"\u1"`, `"\u12"`, `"\u123"`, `"\u123g"`, `"\ug123"`, `"\u+123"`, `"\u-123"`, `"\u 123"`, `"\u12 3"`, `"\u{41}"`, `"\u１２３４"`, `"\u00`, `"\u0041`, `"\u:000"`, `"\u/000"`, `"\u@000"`, "\"\\u`000\"", `"\u000"0`,
		`"\u0000"`, `"a\u0000b"`, `"\\\u0000"`, `"\ud83d\ude00\u0000"`, "\"\x00\"", "\"a\x00", "\u00a01", "1\u2009", "“a”",
	} {
		documents = append(documents, `{"a":`+value+`}`)
	}
	for c := range byte(' ') {
		documents = append(documents, fmt.Sprintf(`{"a":"x%cy"}`, c), fmt.Sprintf(`{"x%cy":1}`, c), fmt.Sprintf(`{"a":["%c"]}`, c))
	}
	for _, document := range documents {
		refuses(t, document)
	}
}

// refuses reports a document that is taken, or an error that is not one of a byte of the document or that shows what is in it.
func refuses(t *testing.T, document string) {
	t.Helper()
	got, err := read(document)
	var e *strictjson.Error
	if !errors.As(err, &e) || e.Reason == "" || e.Offset < 0 || e.Offset > len(document) {
		t.Errorf("%q: got %s, %v", document, got, err)
	}
}

func TestRefusesInvalidUTF8(t *testing.T) {
	t.Parallel()
	for what, bad := range map[string]string{
		"a continuation alone": "\x80", "the last continuation alone": "\xbf", "two continuations": "\x80\xbf", "overlong NUL": "\xc0\x80", "overlong slash": "\xc0\xaf", "overlong quote": "\xc0\xa2", "overlong s": "\xc1\xb3",
		"overlong, three bytes": "\xe0\x80\xaf", "overlong, three bytes, largest": "\xe0\x9f\xbf", "overlong, four bytes": "\xf0\x80\x80\xaf", "overlong, four bytes, largest": "\xf0\x8f\xbf\xbf",
		"five bytes": "\xf8\x88\x80\x80\x80", "six bytes": "\xfc\x84\x80\x80\x80\x80", "a surrogate": "\xed\xa0\x80", "the last surrogate": "\xed\xbf\xbf", "a pair of surrogates": "\xed\xa0\xbd\xed\xb8\x80",
		"above U+10FFFF": "\xf4\x90\x80\x80", "far above U+10FFFF": "\xf7\xbf\xbf\xbf", "cut after one of two": "\xc3", "cut after one of three": "\xe2", "cut after two of three": "\xe2\x82", "cut after three of four": "\xf0\x9f\x98",
		"a lead before a letter": "\xc3a", "a lead before a lead": "\xc3\xc3\xa9", "Latin-1": "caf\xe9", "FE": "\xfe", "FF": "\xff", "a replaced continuation": "\xe2\x28\xa1",
	} {
		for _, document := range []string{`{"a":"%s"}`, `{"%s":1}`, `{"a":{"b":["x%sy"]}}`, `{"a":1}%s`, `%s{"a":1}`, `{%s}`, `{"a":"\%s"}`, `{"a":"%s`} {
			if got, err := read(fmt.Sprintf(document, bad)); err == nil || err.Error() != "invalid UTF-8 at byte 0" || got != "" {
				t.Errorf("%s in %q: got %s, %v", what, document, got, err)
			}
		}
	}
}

func TestRefusesLoneSurrogatesInEveryOrder(t *testing.T) {
	t.Parallel()
	// Every sequence of up to three of these is one of good pairs and letters, or it is refused.
	parts := []string{`\ud83d`, `\ude00`, `\uDBFF`, `\uDC00`, "x", `\n`, `\u0041`}
	high := func(part string) bool { return part == `\ud83d` || part == `\uDBFF` }
	low := func(part string) bool { return part == `\ude00` || part == `\uDC00` }
	var try func(sequence []string)
	try = func(sequence []string) {
		good := true
		for i := 0; i < len(sequence); i++ {
			switch {
			case high(sequence[i]) && i+1 < len(sequence) && low(sequence[i+1]):
				i++
			case high(sequence[i]) || low(sequence[i]):
				good = false
			}
		}
		text := strings.Join(sequence, "")
		for _, document := range []string{`{"a":"` + text + `"}`, `{"` + text + `":1}`} {
			if got, err := read(document); (err == nil) != good {
				t.Errorf("%s: got %s, %v", document, got, err)
			}
		}
		if len(sequence) < 3 {
			for _, part := range parts {
				try(append(slices.Clip(sequence), part))
			}
		}
	}
	try(nil)
	for _, text := range []string{`\ud83d\u`, `\ud83d\ude0`, `\ud83d\\ude00`, `\ud83d\Ude00`, `\ud83d ude00`, `\ud83dude00`, `\ud83d\ude0g`, `\ud83d\ud83`, `\ud83d` + "\xed\xb8\x80"} {
		refuses(t, `{"a":"`+text+`"}`)
		refuses(t, `{"a":"`+text)
	}
}

func TestErrorsShowNothingOfTheDocument(t *testing.T) {
	t.Parallel()
	for _, document := range []string{`{"canary":canary}`, `{"canary":1,"canary":2}`, `{"canary\q":1}`, `{"canary`, `canary`, `{}canary`, "{\"canary\xff\":1}", `{"canary" canary}`, `{"a":"canary` + "\n\"}"} {
		if _, err := read(document); err == nil || strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, err), "canary") {
			t.Errorf("%q: got %v", document, err)
		}
	}
}
