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

// value is that of the single member of an object.
func value(t *testing.T, text string) strictjson.Value {
	t.Helper()
	var found strictjson.Value
	err := strictjson.Object([]byte(`{"a":`+text+`}`), func(_ string, v strictjson.Value) error {
		found = v
		return nil
	})
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return found
}

// nest puts the innermost of so many levels into the others.
func nest(levels int, open, innermost, end string) string {
	return strings.Repeat(open, levels-1) + innermost + strings.Repeat(end, levels-1)
}

func TestNestsNoDeeperThanTheLimit(t *testing.T) {
	t.Parallel()
	for levels, taken := range map[int]bool{1: true, strictjson.MaxDepth - 2: true, strictjson.MaxDepth - 1: true, strictjson.MaxDepth: false, strictjson.MaxDepth + 1: false, 100_000: false} {
		for what, document := range map[string]string{
			"arrays":           `{"a":` + nest(levels, `[`, `[]`, `]`) + `}`,
			"objects":          `{"a":` + nest(levels, `{"a":`, `{}`, `}`) + `}`,
			"after shallow":    `{"a":[[]],"b":` + nest(levels, `[{},[],`, `[0]`, `,[]]`) + `}`,
			"brackets in text": `{"a":` + nest(levels, `["[{",`, `["[[[{{{"]`, `]`) + `}`,
		} {
			if _, err := read(document); (err == nil) != taken || !taken && !strings.HasPrefix(err.Error(), "nested too deep at byte ") {
				t.Errorf("%s, %d levels in an object: got %v", what, levels, err)
			}
		}
		if levels > strictjson.MaxDepth {
			refuses(t, `{"a":`+strings.Repeat(`[`, levels))
			refuses(t, strings.Repeat(`{"a":`, levels))
		}
	}
}

func TestReadsEachKindOnlyAsItself(t *testing.T) {
	t.Parallel()
	for text, kind := range map[string]strictjson.Kind{
		`null`: strictjson.NullKind, `true`: strictjson.BoolKind, `false`: strictjson.BoolKind, `1`: strictjson.NumberKind, `"1"`: strictjson.StringKind, `"\u0031"`: strictjson.StringKind, `["1"]`: strictjson.ArrayKind,
		`{"1":1}`: strictjson.ObjectKind,
	} {
		v := value(t, " "+text+" ")
		if v.Kind() != kind || string(v.Raw()) != text {
			t.Errorf("%s: got kind %d, %q", text, v.Kind(), v.Raw())
		}
		checkReaders(t, v)
	}
	checkReaders(t, strictjson.Value{})
}

// checkReaders reports a method that reads another kind than its own, or not its own.
func checkReaders(t *testing.T, v strictjson.Value) {
	t.Helper()
	text, isText := v.String()
	truth, isBool := v.Bool()
	seconds, isNumber := v.Seconds()
	list, isList := v.Strings()
	ignore := func(strictjson.Value) error { return nil }
	isArray := v.Elements(ignore) == nil
	isObject := v.Members(func(string, strictjson.Value) error { return nil }) == nil
	for kind, got := range map[strictjson.Kind]bool{
		strictjson.StringKind: isText, strictjson.BoolKind: isBool, strictjson.NumberKind: isNumber, strictjson.ArrayKind: isArray && isList, strictjson.ObjectKind: isObject,
	} {
		if got != (v.Kind() == kind) {
			t.Errorf("%q: read as kind %d: %t", v.Raw(), kind, got)
		}
	}
	if !isText && text != "" || truth != (string(v.Raw()) == "true") || !isNumber && seconds != 0 || !isList && list != nil || isArray != isList {
		t.Errorf("%q: got %q, %t, %d, %q", v.Raw(), text, truth, seconds, list)
	}
}

func TestReadsListsOfStringsOnly(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]string{`[]`: {}, `[ ]`: {}, `["a"]`: {"a"}, `["a","a"]`: {"a", "a"}, ` [ "b" , "\u0061" , "" ] `: {"b", "a", ""}} {
		if got, ok := value(t, text).Strings(); !ok || got == nil || !slices.Equal(got, want) {
			t.Errorf("%s: got %q, %t", text, got, ok)
		}
	}
	for _, text := range []string{`"a"`, `null`, `{}`, `{"a":"b"}`, `[null]`, `[1]`, `[true]`, `[["a"]]`, `[{}]`, `["a",null]`, `[null,"a"]`, `["a",1,"b"]`} {
		if got, ok := value(t, text).Strings(); ok || got != nil {
			t.Errorf("%s: got %q, %t", text, got, ok)
		}
	}
}

func TestReadsSeconds(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{
		`0`: 0, `1`: 1, `1772600767`: 1772600767, `9007199254740991`: 1<<53 - 1, `9007199254740992`: 1 << 53, `0.0`: 0, `0.999999999`: 0, `1772600767.5`: 1772600767, `1772600767.999`: 1772600767, `1e3`: 1000, `1E+3`: 1000,
		`1.7726e9`: 1772600000, `15e-1`: 1, `1e-400`: 0, `0e999`: 0, `9.007199254740992e15`: 1 << 53, `9007199254740991.0`: 1<<53 - 1, `0.1e1`: 1,
	} {
		if got, ok := value(t, text).Seconds(); !ok || got != want {
			t.Errorf("%s: got %d, %t; want %d", text, got, ok, want)
		}
	}
	for _, text := range []string{
		`-1`, `-0.5`, `-1e9`, `9007199254740993`, `9007199254740994.0`, `9.1e15`, `1e16`, `1e308`, `1e309`, `1e999`, `9223372036854775807`, `9223372036854775808`, `18446744073709551617`, `1` + strings.Repeat("0", 400), `"1772600767"`, `null`,
		`true`, `[1772600767]`, `{}`, `""`,
	} {
		if got, ok := value(t, text).Seconds(); ok || got != 0 {
			t.Errorf("%s: got %d, %t", text, got, ok)
		}
	}
}

func TestStopsAtTheErrorOfAVisitor(t *testing.T) {
	t.Parallel()
	mine := errors.New("enough")
	const list = `["a","b",{"a":1,"b":2,"c":3},[1,2,3]]`
	document := `{"a":` + list + `,"b":1,"c":}` // what comes after the second member is never looked at
	var seen []string
	stop := func(what string) error {
		if seen = append(seen, what); what == "b" {
			return mine
		}
		return nil
	}
	err := strictjson.Object([]byte(document), func(name string, _ strictjson.Value) error { return stop(name) })
	if !errors.Is(err, mine) || fmt.Sprint(seen) != "[a b]" {
		t.Errorf("Object: got %v after %v", err, seen)
	}
	seen = nil
	err = value(t, list).Elements(func(v strictjson.Value) error {
		text, _ := v.String()
		return stop(text)
	})
	if !errors.Is(err, mine) || fmt.Sprint(seen) != "[a b]" {
		t.Errorf("Elements: got %v after %v", err, seen)
	}
	seen = nil
	err = value(t, `{"x":{"b":1},"b":2,"c":3}`).Members(func(name string, _ strictjson.Value) error { return stop(name) })
	if !errors.Is(err, mine) || fmt.Sprint(seen) != "[x b]" {
		t.Errorf("Members: got %v after %v", err, seen)
	}
}

func TestVisitsTheOutermostMembersOnly(t *testing.T) {
	t.Parallel()
	var seen []string
	err := strictjson.Object([]byte(`{"a":{"sub":"root"},"b":[{"sub":"root"},["sub"]],"sub":"alice"}`), func(name string, v strictjson.Value) error {
		seen = append(seen, name+" "+string(v.Raw()))
		return nil
	})
	want := []string{`a {"sub":"root"}`, `b [{"sub":"root"},["sub"]]`, `sub "alice"`}
	if err != nil || !slices.Equal(seen, want) {
		t.Errorf("got %q, %v", seen, err)
	}
}

func TestChecksWithoutAVisitor(t *testing.T) {
	t.Parallel()
	if err := strictjson.Object([]byte(`{"a":[1,{"b":2}]}`), nil); err != nil {
		t.Error(err)
	}
	if err := strictjson.Object([]byte(`{"a":[1,{"b":2,"B":3}]}`), nil); err == nil {
		t.Error("two members of one name were taken")
	}
}

func TestAllocatesOnlyWhatIsRead(t *testing.T) {
	// Claims of a usual size: what a visitor does not read costs the name of its member at most, however much there is of it.
	nested := []byte(`{"a":{"x":[1,2.5,"text",{"y":null,"z":[true,false]}],"w":"more text"},"b":"` + strings.Repeat("long ", 200) + `"}`)
	if got := testing.AllocsPerRun(100, func() { _ = strictjson.Object(nested, nil) }); got > 1 {
		t.Errorf("a check without a visitor: %v allocations", got)
	}
	if got := testing.AllocsPerRun(100, func() { _ = strictjson.Object(nested, func(string, strictjson.Value) error { return nil }) }); got > 3 {
		t.Errorf("two names: %v allocations", got)
	}
}
