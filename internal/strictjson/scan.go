// SPDX-License-Identifier: Apache-2.0

package strictjson

import "unicode/utf16"

// scanner walks once over a document.
type scanner struct {
	data    []byte
	at      int
	visit   func(name string, v Value) error // for members of the outermost object
	element func(v Value) error              // for elements of the outermost array
}

func (s *scanner) fail(reason string) error { return &Error{Reason: reason, Offset: s.at} }

// peek is the next byte, or 0 at the end; a NUL is in no JSON text.
func (s *scanner) peek() byte {
	if s.at < len(s.data) {
		return s.data[s.at]
	}
	return 0
}

func (s *scanner) space() {
	for s.at < len(s.data) {
		switch s.data[s.at] {
		case ' ', '\t', '\n', '\r':
			s.at++
		default:
			return
		}
	}
}

// value checks the value that begins here and steps over it.
func (s *scanner) value(depth int) (Value, error) {
	begin, kind, bare := s.at, NoKind, false
	var err error
	switch c := s.peek(); {
	case c == '"':
		kind = StringKind
		bare, err = s.text()
	case c == '{':
		kind, err = ObjectKind, s.nested(depth, (*scanner).object)
	case c == '[':
		kind, err = ArrayKind, s.nested(depth, (*scanner).array)
	case c == '-' || '0' <= c && c <= '9':
		kind, err = NumberKind, s.number()
	case c == 't':
		kind, err = BoolKind, s.word("true")
	case c == 'f':
		kind, err = BoolKind, s.word("false")
	case c == 'n':
		kind, err = NullKind, s.word("null")
	default:
		err = s.fail("no value")
	}
	return Value{raw: s.data[begin:s.at], kind: kind, bare: bare}, err
}

// nested checks an array or object whose parts nobody visits.
func (s *scanner) nested(depth int, check func(*scanner, int) error) error {
	if depth >= MaxDepth {
		return s.fail("nested too deep")
	}
	visit, element := s.visit, s.element
	s.visit, s.element = nil, nil
	err := check(s, depth+1)
	s.visit, s.element = visit, element
	return err
}

func (s *scanner) word(w string) error {
	if len(s.data)-s.at < len(w) || string(s.data[s.at:s.at+len(w)]) != w {
		return s.fail("no value")
	}
	s.at += len(w)
	return nil
}

func (s *scanner) object(depth int) error {
	visit := s.visit
	var seen names
	s.at++ // the brace
	s.space()
	if s.peek() == '}' {
		s.at++
		return nil
	}
	for {
		if s.peek() != '"' {
			return s.fail("no member name")
		}
		begin := s.at
		bare, err := s.text()
		if err != nil {
			return err
		}
		name := Value{raw: s.data[begin:s.at], kind: StringKind, bare: bare}
		if !seen.add(name) {
			return &Error{Reason: "two members of one name", Offset: begin}
		}
		s.space()
		if s.peek() != ':' {
			return s.fail("no colon")
		}
		s.at++
		s.space()
		v, err := s.value(depth)
		if err != nil {
			return err
		}
		if visit != nil {
			text, _ := name.String()
			if err := visit(text, v); err != nil {
				return err
			}
		}
		if done, err := s.next('}'); done || err != nil {
			return err
		}
	}
}

func (s *scanner) array(depth int) error {
	element := s.element
	s.at++ // the bracket
	s.space()
	if s.peek() == ']' {
		s.at++
		return nil
	}
	for {
		v, err := s.value(depth)
		if err != nil {
			return err
		}
		if element != nil {
			if err := element(v); err != nil {
				return err
			}
		}
		if done, err := s.next(']'); done || err != nil {
			return err
		}
	}
}

// next steps over a comma, or over the end of an array or object.
func (s *scanner) next(end byte) (done bool, err error) {
	s.space()
	switch s.peek() {
	case end:
		s.at++
		return true, nil
	case ',':
		s.at++
		s.space()
		return false, nil
	}
	return false, s.fail("no comma")
}

// text checks a string and reports whether it has no escapes. That its bytes are UTF-8 was checked before.
func (s *scanner) text() (bare bool, err error) {
	bare = true
	for s.at++; s.at < len(s.data); s.at++ {
		switch c := s.data[s.at]; {
		case c == '"':
			s.at++
			return bare, nil
		case c < ' ':
			return false, s.fail("control character in a string")
		case c == '\\':
			bare = false
			if err := s.escape(); err != nil {
				return false, err
			}
		}
	}
	return false, s.fail("no end of a string")
}

// escape checks an escape and stops at its last byte.
func (s *scanner) escape() error {
	s.at++
	switch s.peek() {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return nil
	case 'u':
	default:
		return s.fail("unknown escape")
	}
	r := hex4(s.data[s.at+1:])
	switch {
	case r < 0:
		return s.fail("unknown escape")
	case r == 0:
		return s.fail("NUL in a string")
	case utf16.IsSurrogate(r):
		rest := s.data[s.at+5:]
		if len(rest) < 6 || rest[0] != '\\' || rest[1] != 'u' || utf16.DecodeRune(r, hex4(rest[2:])) == '\uFFFD' {
			return s.fail("lone surrogate")
		}
		s.at += 6
	}
	s.at += 4
	return nil
}

func (s *scanner) number() error {
	if s.peek() == '-' {
		s.at++
	}
	if s.peek() == '0' {
		s.at++
	} else if !s.digits() {
		return s.fail("malformed number")
	}
	if s.peek() == '.' {
		s.at++
		if !s.digits() {
			return s.fail("malformed number")
		}
	}
	if c := s.peek(); c == 'e' || c == 'E' {
		s.at++
		if c := s.peek(); c == '+' || c == '-' {
			s.at++
		}
		if !s.digits() {
			return s.fail("malformed number")
		}
	}
	return nil
}

// digits steps over at least one digit.
func (s *scanner) digits() bool {
	begin := s.at
	for s.at < len(s.data) && '0' <= s.data[s.at] && s.data[s.at] <= '9' {
		s.at++
	}
	return s.at > begin
}
