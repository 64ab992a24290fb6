// SPDX-License-Identifier: Apache-2.0

// Package strictjson reads small JSON objects that decide about security: the header and the claims of a token, and key sets.
//
// It takes only what every reader understands the same way: RFC 8259 in UTF-8, no two members of one object whose names are equal under Unicode's
// simple case folding, no NUL, no lone surrogate, nothing nested deeper than [MaxDepth].
package strictjson

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// MaxDepth is how deep arrays and objects may be nested, the outermost object included.
const MaxDepth = 32

// Error says why a document is refused and at which byte, and shows none of it.
type Error struct {
	// Reason is what is wrong.
	Reason string
	// Offset is the byte at which it was noticed.
	Offset int
}

// Error is the reason and the offset.
func (e *Error) Error() string { return fmt.Sprintf("%s at byte %d", e.Reason, e.Offset) }

// Kind is the type of a value.
type Kind uint8

// The types of JSON values (RFC 8259, section 3). The zero Kind is that of the zero Value, which is no value.
const (
	NoKind Kind = iota
	NullKind
	BoolKind
	NumberKind
	StringKind
	ArrayKind
	ObjectKind
)

// Value is a value in a document that was checked. It aliases the document.
type Value struct {
	raw  []byte
	kind Kind
	bare bool // a string without escapes
}

// Kind is the type of the value.
func (v Value) Kind() Kind { return v.kind }

// Raw is the text of the value, part of the document.
func (v Value) Raw() []byte { return v.raw }

// String is the text of a string; false if the value is none.
func (v Value) String() (string, bool) {
	if v.kind != StringKind {
		return "", false
	}
	inner := v.raw[1 : len(v.raw)-1]
	if v.bare {
		return string(inner), true
	}
	return string(unescape(make([]byte, 0, len(inner)), inner)), true
}

// Bool is the truth of a boolean; not ok if the value is none.
func (v Value) Bool() (value, ok bool) {
	return v.kind == BoolKind && v.raw[0] == 't', v.kind == BoolKind
}

// Strings are the elements of an array of strings; false if the value is anything else.
func (v Value) Strings() ([]string, bool) {
	if v.kind != ArrayKind {
		return nil, false
	}
	list, ok := []string{}, true
	_ = v.Elements(func(e Value) error {
		s, isString := e.String()
		list, ok = append(list, s), ok && isString
		return nil
	})
	if !ok {
		return nil, false
	}
	return list, true
}

// Seconds is a NumericDate (RFC 7519, section 2) in whole seconds, a fraction rounded down; false unless it is a number from 0 to 2^53.
//
// A number without fraction and exponent is read exactly; any other as the nearest IEEE 754 double, the same on every machine.
func (v Value) Seconds() (int64, bool) {
	const most = 1 << 53
	if v.kind != NumberKind || v.raw[0] == '-' {
		return 0, false
	}
	if !bytes.ContainsAny(v.raw, ".eE") {
		n, err := strconv.ParseInt(string(v.raw), 10, 64)
		if err != nil || n > most {
			return 0, false
		}
		return n, true
	}
	f, err := strconv.ParseFloat(string(v.raw), 64)
	if err != nil || f > most {
		return 0, false
	}
	return int64(math.Floor(f)), true
}

// Members calls visit for each member of an object, in order; the error is visit's.
func (v Value) Members(visit func(name string, v Value) error) error {
	if v.kind != ObjectKind {
		return &Error{Reason: "not an object"}
	}
	s := scanner{data: v.raw, visit: visit}
	s.space()
	return s.object(1)
}

// Elements calls visit for each element of an array, in order; the error is visit's.
func (v Value) Elements(visit func(v Value) error) error {
	if v.kind != ArrayKind {
		return &Error{Reason: "not an array"}
	}
	s := scanner{data: v.raw, element: visit}
	return s.array(1)
}

// Object checks a document, which is one object with nothing but white space around it, and calls visit for each of its members, in order.
//
// Members are visited before the rest of the document is checked: what visit stores counts only if Object returns nil. An error of visit ends it
// and is returned; all others are an [*Error].
func Object(data []byte, visit func(name string, v Value) error) error {
	if !utf8.Valid(data) {
		return &Error{Reason: "invalid UTF-8"}
	}
	s := scanner{data: data, visit: visit}
	s.space()
	if s.peek() != '{' {
		return s.fail("not an object")
	}
	if err := s.object(1); err != nil {
		return err
	}
	s.space()
	if s.at < len(s.data) {
		return s.fail("text after the object")
	}
	return nil
}

// unescape appends the text of a checked string's inside.
func unescape(dst, src []byte) []byte {
	for i := 0; i < len(src); i++ {
		if src[i] != '\\' {
			dst = append(dst, src[i])
			continue
		}
		i++
		switch src[i] {
		case 'b':
			dst = append(dst, '\b')
		case 'f':
			dst = append(dst, '\f')
		case 'n':
			dst = append(dst, '\n')
		case 'r':
			dst = append(dst, '\r')
		case 't':
			dst = append(dst, '\t')
		case 'u':
			r := hex4(src[i+1:])
			i += 4
			if utf16.IsSurrogate(r) {
				r = utf16.DecodeRune(r, hex4(src[i+3:]))
				i += 6
			}
			dst = utf8.AppendRune(dst, r)
		default:
			dst = append(dst, src[i])
		}
	}
	return dst
}

// hex4 reads four hexadecimal digits; negative if they are not there.
func hex4(b []byte) rune {
	if len(b) < 4 {
		return -1
	}
	var r rune
	for _, c := range b[:4] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return -1
		}
		r = r<<4 | rune(c)
	}
	return r
}
