// SPDX-License-Identifier: Apache-2.0

package strictjson_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/grpcauth/grpcauth/internal/strictjson"
)

// FuzzObject compares with two other readers. What is taken, both of them take, with the same names and values; and what jsontext takes, which
// refuses invalid UTF-8 and two equal names too, is taken unless it breaks one of the rules that it does not know.
func FuzzObject(f *testing.F) {
	for _, document := range []string{
		`{}`, ` {"a" : [1, -0.5e+10, "x", null, true, false, {}, []] } `, `{"iss":"https://issuer.example","sub":"alice","aud":["orders"],"exp":1772600767,"cnf":{"x5t#S256":"bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2"}}`,
		`{"a":1,"a":2}`, `{"a":1,"A":2}`, `{"s":1,"ſ":2}`, `{"k":1,"\u212a":2}`, `{"a":{"b":1,"\u0062":2}}`, `{"a":"\ud83d\ude00"}`, `{"a":"\ud83d"}`, `{"a":"\ude00\ud83d"}`, `{"a":"\u0000"}`, "{\"a\":\"\x00\"}", `{"\u0000":1}`,
		"{\"a\":\"\xff\"}", "{\"a\":\"\xed\xa0\x80\"}", "{\"a\":\"\xc0\xaf\"}", "\ufeff{}", "{}\ufeff", "{\x00}\x00", `{}{}`, `{},`, `[]`, `"a"`, `1`, ``, `{"a":01}`, `{"a":1.}`, `{"a":.5}`, `{"a":1e}`, `{"a":+1}`, `{"a":1,}`, `{"a":[1,]}`,
		`{"a":tru}`, `{"a":nulll}`, `{"a" 1}`, `{a:1}`, `{"a":"\x41"}`, `{"a":"\u00g0"}`, "{\"a\":\"\n\"}", `{"a":1e999}`, `{"a":123456789012345678901234567890}`, many(20), many(20, "name 3"),
		strings.Repeat(`{"a":`, 31) + `{}` + strings.Repeat(`}`, 31), strings.Repeat(`{"a":`, 32) + `{}` + strings.Repeat(`}`, 32), `{"a":` + strings.Repeat(`[`, 31) + strings.Repeat(`]`, 31) + `}`,
	} {
		f.Add([]byte(document))
	}
	f.Fuzz(func(t *testing.T, document []byte) {
		given := bytes.Clone(document)
		mine := map[string]any{}
		err := strictjson.Object(document, into(mine))
		if !bytes.Equal(document, given) {
			t.Fatalf("the document was changed: %q became %q", given, document)
		}
		o := oracle{jsontext.NewDecoder(bytes.NewReader(document)), 0, false}
		theirs, oracleErr := o.document()
		_, isObject := theirs.(map[string]any)
		if should := oracleErr == nil && isObject && !o.extra; (err == nil) != should {
			t.Fatalf("%q: got %v; jsontext says %v, and a rule of ours is broken: %t", document, err, oracleErr, o.extra || !isObject)
		}
		if err != nil {
			var e *strictjson.Error
			if !errors.As(err, &e) || e.Offset < 0 || e.Offset > len(document) {
				t.Fatalf("%q: got %v", document, err)
			}
			return
		}
		var standard map[string]any
		decoder := json.NewDecoder(bytes.NewReader(document))
		decoder.UseNumber()
		if err := decoder.Decode(&standard); err != nil || !json.Valid(document) {
			t.Fatalf("%q: encoding/json refuses it: %v", document, err)
		}
		if !reflect.DeepEqual(mine, theirs) || !reflect.DeepEqual(mine, standard) {
			t.Errorf("%q: got %q; jsontext reads %q, encoding/json %q", document, mine, theirs, standard)
		}
	})
}

// into puts members into a map, with values of the types of encoding/json.
func into(m map[string]any) func(string, strictjson.Value) error {
	return func(name string, v strictjson.Value) (err error) {
		m[name], err = tree(v)
		return err
	}
}

func tree(v strictjson.Value) (any, error) {
	switch v.Kind() {
	case strictjson.BoolKind:
		truth, _ := v.Bool()
		return truth, nil
	case strictjson.NumberKind:
		return json.Number(v.Raw()), nil
	case strictjson.StringKind:
		text, _ := v.String()
		return text, nil
	case strictjson.ArrayKind:
		list := []any{}
		err := v.Elements(func(e strictjson.Value) error {
			part, err := tree(e)
			list = append(list, part)
			return err
		})
		return list, err
	case strictjson.ObjectKind:
		m := map[string]any{}
		return m, v.Members(into(m))
	default:
		return nil, nil
	}
}

// oracle reads with jsontext, and notes whether a rule is broken that jsontext does not know: of depth, of folding, of NUL.
type oracle struct {
	*jsontext.Decoder
	depth int
	extra bool
}

func (o *oracle) document() (any, error) {
	v, err := o.value()
	if err != nil {
		return nil, err
	}
	if _, err := o.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, errors.Join(errors.New("text after the value"), err)
	}
	return v, nil
}

func (o *oracle) value() (any, error) {
	token, err := o.ReadToken()
	if err != nil {
		return nil, err
	}
	switch token.Kind() {
	case 't', 'f':
		return token.Bool(), nil
	case '0':
		return json.Number(token.String()), nil
	case '"':
		return o.text(token), nil
	case '[', '{':
		o.depth++
		o.extra = o.extra || o.depth > strictjson.MaxDepth
		defer func() { o.depth-- }()
		if token.Kind() == '{' {
			return o.object()
		}
		list := []any{}
		for o.PeekKind() != ']' {
			v, err := o.value()
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err = o.ReadToken()
		return list, err
	default:
		return nil, nil
	}
}

func (o *oracle) object() (any, error) {
	m := map[string]any{}
	for o.PeekKind() != '}' {
		token, err := o.ReadToken()
		if err != nil {
			return nil, err
		}
		name := o.text(token)
		for other := range m {
			o.extra = o.extra || strings.EqualFold(name, other)
		}
		if m[name], err = o.value(); err != nil {
			return nil, err
		}
	}
	_, err := o.ReadToken()
	return m, err
}

func (o *oracle) text(token jsontext.Token) string {
	text := token.String()
	o.extra = o.extra || strings.ContainsRune(text, 0)
	return text
}
