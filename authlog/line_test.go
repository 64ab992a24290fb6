// SPDX-License-Identifier: Apache-2.0

package authlog

import (
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func FuzzLine(f *testing.F) {
	for _, text := range []string{"", "alice", "a\r\nb", "\x1b[31mred", "\u202e", "\u2028", "\xff", "\\x41", `\`, strings.Repeat("é", 200), "x" + strings.Repeat("é", 200), strings.Repeat("\x00", 300), "a\u0301", "\U000e0001", "\xed\xa0\x80"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got := line(text)
		switch {
		case !utf8.ValidString(got):
			t.Fatalf("%q: %q is not UTF-8", text, got)
		case strings.ContainsFunc(got, func(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError }):
			t.Fatalf("%q: %q is not one line of printable characters", text, got)
		case len(got) > maxText*len(`\U0010ffff`)+len("…"):
			t.Fatalf("%q: %d bytes", text, len(got))
		}
		whole, cut := strings.CutSuffix(got, "…")
		if len(text) > maxText != cut && !strings.HasSuffix(text, "…") {
			t.Fatalf("%q: %q does not show whether it was cut off", text, got)
		}
		// What was escaped can be read back, so no two texts look alike.
		if len(text) <= maxText {
			whole = got
		}
		back, err := strconv.Unquote(`"` + strings.ReplaceAll(whole, `"`, `\"`) + `"`)
		if err != nil || !strings.HasPrefix(text, back) || len(text) <= maxText && back != text {
			t.Fatalf("%q: %q reads back as %q, %v", text, got, back, err)
		}
		if utf8.ValidString(text) && !utf8.ValidString(back) {
			t.Fatalf("%q: %q is cut off within a character", text, got)
		}
	})
}
