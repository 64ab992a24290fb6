// SPDX-License-Identifier: Apache-2.0

package grpcauth_test

import (
	"fmt"
	"go/ast"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Each guarantee names the tests that prove it, and each of those tests is there. docs/guarantees.md says how it is written.
func TestGuarantees(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("docs/guarantees.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, complaint := range checkGuarantees(string(text), readTree(t, os.DirFS("."))) {
		t.Error(complaint)
	}
}

func TestGuaranteesCheckCanFail(t *testing.T) {
	t.Parallel()
	tr := readTree(t, mapFS(map[string]string{
		"a_test.go":              "package p\nfunc TestRoot() {}",
		"backends/jwt/a_test.go": "package p\nfunc TestJWT() {}\nfunc FuzzJWT() {}\nfunc (x) TestMethod() {}\nfunc helper() {}",
		"backends/jwt/a.go":      "package p\nfunc TestNoTest() {}",
	}))
	for _, test := range []struct{ name, row, want string }{
		{"one test", "| 1 | It holds. | `.: TestRoot` |", ""},
		{"several", "| 1 | It holds. | `backends/jwt: TestJWT`, `backends/jwt: FuzzJWT` |", ""},
		{"subtest", "| 1 | It holds. | `.: TestRoot/any name` |", ""},
		{"pipe in the text", "| 1 | It `a \\| b` holds. | `.: TestRoot` |", ""},
		{"no proof", "| 1 | It holds. | |", "guarantee 1 names no test"},
		{"proof in words", "| 1 | It holds. | see `.: TestRoot` |", "guarantee 1: the proof is not a list"},
		{"no package", "| 1 | It holds. | `TestRoot` |", "guarantee 1: the proof is not a list"},
		{"no test", "| 1 | It holds. | `.: TestGone` |", "guarantee 1: . has no TestGone"},
		{"other package", "| 1 | It holds. | `.: TestJWT` |", "guarantee 1: . has no TestJWT"},
		{"method", "| 1 | It holds. | `backends/jwt: TestMethod` |", "has no TestMethod"},
		{"helper", "| 1 | It holds. | `backends/jwt: helper` |", "the proof is not a list"},
		{"not in a test file", "| 1 | It holds. | `backends/jwt: TestNoTest` |", "has no TestNoTest"},
		{"two of a number", "| 1 | It holds. | `.: TestRoot` |\n| 1 | So does this. | `.: TestRoot` |", "guarantee 1 is there twice"},
		{"no number", "| | It holds. | `.: TestRoot` |", "has no number"},
		{"no text", "| 1 | | `.: TestRoot` |", "guarantee 1 says nothing"},
		{"too few cells", "| 1 | `.: TestRoot` |", "has 2 cells, not 3"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			table := "Text, and `words: in it`.\n\n| No. | Guarantee | Proof |\n|---|:--|---|\n" + test.row + "\n\nMore text.\n"
			wantComplaint(t, checkGuarantees(table, tr), test.want)
		})
	}
	t.Run("no table", func(t *testing.T) {
		t.Parallel()
		wantComplaint(t, checkGuarantees("Text.\n", tr), "has no table")
	})
}

var (
	proof     = regexp.MustCompile("^`([^`:]+): ((?:Test|Fuzz|Example)\\w*)(?:/[^`]+)?`$")
	separator = regexp.MustCompile(`^\|[-:|\s]+\|$`)
)

func checkGuarantees(markdown string, tr tree) (complaints []string) {
	complain := func(format string, args ...any) { complaints = append(complaints, fmt.Sprintf(format, args...)) }
	seen, tables, inTable := map[string]bool{}, 0, false
	for line := range strings.Lines(markdown) {
		line = strings.TrimSpace(line)
		switch {
		case !strings.HasPrefix(line, "|"):
			inTable = false
			continue
		case separator.MatchString(line):
			tables++
			inTable = true
			continue
		case !inTable: // the header
			continue
		}
		cells := cellsOf(line)
		if len(cells) != 3 {
			complain("the row %q has %d cells, not 3", line, len(cells))
			continue
		}
		number, text, proofs := cells[0], cells[1], cells[2]
		switch {
		case number == "":
			complain("the row %q has no number", line)
			continue
		case seen[number]:
			complain("guarantee %s is there twice", number)
		case text == "":
			complain("guarantee %s says nothing", number)
		case proofs == "":
			complain("guarantee %s names no test", number)
			continue
		}
		seen[number] = true
		for name := range strings.SplitSeq(proofs, ", ") {
			match := proof.FindStringSubmatch(name)
			if match == nil {
				complain("guarantee %s: the proof is not a list of `folder: TestName`: %s", number, name)
			} else if !tr.hasTest(match[1], match[2]) {
				complain("guarantee %s: %s has no %s", number, match[1], match[2])
			}
		}
	}
	if tables == 0 {
		complain("docs/guarantees.md has no table")
	}
	return complaints
}

func cellsOf(row string) []string {
	const pipe = "\x00"
	row = strings.ReplaceAll(strings.Trim(row, "|"), `\|`, pipe)
	cells := strings.Split(row, "|")
	for i, cell := range cells {
		cells[i] = strings.TrimSpace(strings.ReplaceAll(cell, pipe, "|"))
	}
	return cells
}

func (tr tree) hasTest(dir, name string) bool {
	return slices.ContainsFunc(tr.files, func(f file) bool {
		return f.test() && f.dir == path.Clean(dir) && slices.ContainsFunc(f.ast.Decls, func(d ast.Decl) bool {
			fn, ok := d.(*ast.FuncDecl)
			return ok && fn.Recv == nil && fn.Name.Name == name
		})
	})
}
