// SPDX-License-Identifier: Apache-2.0

package authlog

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxText is the size of the longest text in a record, before it is escaped.
const maxText = 256

// line makes one line of printable characters of a text, with what is none escaped as in Go, and the backslash doubled, so that nothing that is escaped
// looks like something that was written so. A text that is longer than 256 bytes is cut off and ends in "…".
func line(text string) string {
	if len(text) <= maxText && plain(text) {
		return text
	}
	cut := len(text) > maxText
	if cut {
		end := maxText
		for end > maxText-utf8.UTFMax && !utf8.RuneStart(text[end]) {
			end--
		}
		text = text[:end]
	}
	if !strings.ContainsFunc(text, unsafeRune) {
		if cut {
			return text + "…"
		}
		return text
	}
	out := make([]byte, 0, len(text)+32)
	for rest := text; rest != ""; {
		r, n := utf8.DecodeRuneInString(rest)
		switch {
		case r == utf8.RuneError && n == 1:
			out = append(out, `\x`...)
			out = append(out, "0123456789abcdef"[rest[0]>>4], "0123456789abcdef"[rest[0]&15])
		case r == '\\':
			out = append(out, `\\`...)
		case unsafeRune(r):
			quoted := strconv.QuoteRuneToASCII(r)
			out = append(out, quoted[1:len(quoted)-1]...)
		default:
			out = append(out, rest[:n]...)
		}
		rest = rest[n:]
	}
	if cut {
		out = append(out, "…"...)
	}
	return string(out)
}

// plain reports whether a text is in ASCII and needs no escape, which nearly all are.
func plain(text string) bool {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' || c == '\\' {
			return false
		}
	}
	return true
}

// unsafeRune reports whether a character does something else than to be seen: line breaks, escape sequences, direction marks, and what no font shows.
func unsafeRune(r rune) bool { return r == utf8.RuneError || r == '\\' || !unicode.IsPrint(r) }
