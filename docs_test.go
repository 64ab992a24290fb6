// SPDX-License-Identifier: Apache-2.0

package grpcauth_test

import (
	"bytes"
	"fmt"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// What the documentation shows compiles. A ```go block of a Markdown file is one of these:
//
//   - a quotation: its lines stand, one after the other, in an example_test.go or in a program under examples/, so it is
//     compiled there and, as an example, run. Indentation and blank lines do not count.
//   - a whole file, which begins with a package clause or with a comment above it;
//   - declarations with the imports they need, and no package clause.
//
// Whole files and declarations are vetted in a module of their own, as a reader would paste them: what they need
// of this repository must be importable from outside.
func TestDocs(t *testing.T) {
	t.Parallel()
	var blocks []block
	for _, pattern := range []string{"*.md", "docs/*.md"} {
		names, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			found, err := goBlocks(name, string(text))
			if err != nil {
				t.Error(err)
			}
			blocks = append(blocks, found...)
		}
	}
	tr := readTree(t, os.DirFS("."))
	blocks = slices.DeleteFunc(blocks, func(b block) bool { return b.quotes(tr) })
	if out := vet(t, blocks); out != "" {
		t.Errorf("blocks that are no quotation and do not compile:\n%s", out)
	}
}

func TestDocsCheckCanFail(t *testing.T) {
	t.Parallel()
	tr := readTree(t, mapFS(map[string]string{
		"jwks/example_test.go": "package jwks_test\n\nfunc Example() {\n\tx := 1\n\n\tprint(x)\n}\n",
		"jwks/jwks_test.go":    "package jwks_test\n\nfunc Test() {\n\ty := 1\n}\n",
	}))
	blocks, err := goBlocks("a.md", strings.Join([]string{
		"```go", "x := 1", "print(x)", "```",
		"```go", "y := 1", "```",
		"- in a list", "  ```go", "  // Comment.", "  package main", "", "  func main() {}", "  ```",
		"```go", "import \"" + modulePath + "\"", "", "var u grpcauth.User", "```",
		"```go", "import \"" + modulePath + "/internal/gen/echo/v1\"", "", "var _ echov1.EchoRequest", "```",
		"```sh", "not Go", "```",
	}, "\n"))
	if err != nil || len(blocks) != 5 {
		t.Fatalf("got %d blocks and %v, want 5", len(blocks), err)
	}
	for i, want := range []bool{true, false, false, false, false} {
		if got := blocks[i].quotes(tr); got != want {
			t.Errorf("block %d is a quotation: got %t, want %t", i, got, want)
		}
	}
	out := vet(t, blocks[1:4])
	if !strings.Contains(out, "a.md:6:") || strings.Contains(out, "block1") || strings.Contains(out, "block2") {
		t.Errorf("want line 6 and nothing else to be reported, got\n%s", out)
	}
	if out := vet(t, blocks[4:]); !strings.Contains(out, "a.md:21:") || !strings.Contains(out, "internal package") {
		t.Errorf("want the internal package to be reported, got\n%s", out)
	}
	if _, err := goBlocks("a.md", "```go\npackage p\n"); err == nil {
		t.Error("a block without an end: no error")
	}
}

// docs/dependencies.md names each direct dependency of the module with its version.
func TestDependencies(t *testing.T) {
	t.Parallel()
	mod, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("docs/dependencies.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, complaint := range checkDependencies(string(mod), string(page)) {
		t.Error(complaint)
	}
}

func TestDependenciesCheckCanFail(t *testing.T) {
	t.Parallel()
	mod := "module m\n\ngo 1.26.0\n\nrequire one.test/a v1.0.0\n\nrequire (\n\ttwo.test/b v2.0.0\n\tthree.test/c v3.0.0 // indirect\n)\n"
	wantComplaint(t, checkDependencies(mod, "`one.test/a` v1.0.0 and `two.test/b` v2.0.0 "), "")
	wantComplaint(t, checkDependencies(mod, "`one.test/a` v1.0.0 and `two.test/b` v2.1.0 "), "`two.test/b` v2.0.0")
	wantComplaint(t, checkDependencies(mod, "`two.test/b` v2.0.0 "), "`one.test/a` v1.0.0")
}

func checkDependencies(mod, page string) (complaints []string) {
	for line := range strings.Lines(mod) {
		fields := strings.Fields(strings.TrimPrefix(line, "require "))
		if len(fields) != 2 || !strings.HasPrefix(fields[1], "v") {
			continue // no requirement, or an indirect one
		}
		if want := "`" + fields[0] + "` " + fields[1] + " "; !strings.Contains(page, want) {
			complaints = append(complaints, "docs/dependencies.md does not name "+want)
		}
	}
	return complaints
}

type block struct {
	name string // of the Markdown file
	line int    // of its first line
	text string
}

func goBlocks(name, markdown string) (blocks []block, err error) {
	var open *block
	indent := ""
	for i, line := range strings.Split(markdown, "\n") {
		bare := strings.TrimSpace(line)
		switch {
		case open == nil && (bare == "```go" || strings.HasPrefix(bare, "```go ")):
			open = &block{name: name, line: i + 2}
			indent, _, _ = strings.Cut(line, "`")
		case open != nil && bare == "```":
			blocks = append(blocks, *open)
			open = nil
		case open != nil:
			open.text += strings.TrimPrefix(line, indent) + "\n"
		}
	}
	if open != nil {
		return blocks, fmt.Errorf("%s:%d: the block has no end", name, open.line)
	}
	return blocks, nil
}

// quotes reports whether the block stands in an example.
func (b block) quotes(tr tree) bool {
	return slices.ContainsFunc(tr.files, func(f file) bool {
		example := strings.HasPrefix(f.name, "example") && f.test() || strings.HasPrefix(f.dir+"/", "examples/")
		return example && strings.Contains(dense(f.text), dense(b.text))
	})
}

// dense leaves out indentation and blank lines. Whole lines match alone, since each is enclosed in line feeds.
func dense(text string) string {
	var b strings.Builder
	b.WriteString("\n")
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			b.WriteString(line + "\n")
		}
	}
	return b.String()
}

// vet type-checks each block as a package of a module outside of this repository. It returns what is wrong, by the lines
// of the Markdown files.
func vet(t *testing.T, blocks []block) string {
	t.Helper()
	if len(blocks) == 0 {
		return ""
	}
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	mod, sum := outsideModule(t)
	write("go.mod", mod)
	write("go.sum", sum)
	for i, b := range blocks {
		text := fmt.Sprintf("//line %s:%d\n%s", b.name, b.line, b.text)
		if _, err := parser.ParseFile(token.NewFileSet(), "", b.text, parser.PackageClauseOnly); err != nil {
			text = "package docs\n\n" + text
		}
		write(fmt.Sprintf("block%d/block.go", i), text)
	}
	cmd := exec.CommandContext(t.Context(), "go", "vet", "./...")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=mod")
	out, err := cmd.CombinedOutput()
	if err != nil && len(out) == 0 {
		t.Fatal(err)
	}
	if err == nil {
		return "" // what is left is news about downloads
	}
	return string(out)
}

// outsideModule returns the go.mod and go.sum of a module that uses all released modules as they are in this tree.
func outsideModule(t *testing.T) (mod, sum string) {
	t.Helper()
	modules, err := os.ReadFile("modules.txt")
	if err != nil {
		t.Fatal(err)
	}
	var m, s bytes.Buffer
	m.WriteString("module docs.test\n\ngo 1.26.0\n")
	for name := range strings.FieldsSeq(string(modules)) {
		if slices.Contains(unreleased, name) {
			continue
		}
		abs, err := filepath.Abs(name)
		if err != nil {
			t.Fatal(err)
		}
		path := strings.TrimSuffix(modulePath+"/"+name, "/.")
		fmt.Fprintf(&m, "require %s v0.0.0\nreplace %s => %s\n", path, path, abs)
		sums, err := os.ReadFile(filepath.Join(name, "go.sum"))
		if err != nil {
			t.Fatal(err)
		}
		s.Write(sums)
	}
	return m.String(), s.String()
}
