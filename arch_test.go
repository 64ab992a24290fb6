// SPDX-License-Identifier: Apache-2.0

package grpcauth_test

import (
	"fmt"
	"go/ast"
	"go/doc"
	"go/parser"
	"go/scanner"
	"go/token"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

const modulePath = "github.com/grpcauth/grpcauth"

// The layers of the module, lowest first. Imports point down: a room imports rooms of lower layers, never one of its own
// layer or above. A room is a folder with all that lies in it, but where a name ends in "/*" each folder there is a room of
// its own, in the layer of the "/*" unless it is named elsewhere.
var layers = [][]string{
	{"internal/*", "proto"},
	{"jwks", "store", "password", "clientauth"},
	{"throttle", "token", "store/*"},
	{"."},
	{"backends/bearer"},
	{"backends/*", "protopolicy", "authlog", "authotel", "gateway"},
	{"backends/oidc", "backends/backendtest", "authservice", "grpcauthtest"},
	{"cmd", "examples", "benchmarks", "internal/interop", "internal/e2e"},
}

const (
	lowest = 0
	root   = 3
)

// Some libraries are the business of few rooms, so that nobody else pays for them nor depends on what they do.
var owners = map[string][]string{
	"github.com/grpc-ecosystem/grpc-gateway/":       {"gateway"},
	"github.com/redis/go-redis/":                    {"store/redisstore"},
	"go.opentelemetry.io/":                          {"authotel"},
	"github.com/golang-jwt/jwt/":                    {"backends/jwt", "token"},
	"github.com/grpc-ecosystem/go-grpc-middleware/": {"."},
	"github.com/spiffe/go-spiffe/":                  nil,
}

// unreleased rooms import what they like: examples show libraries side by side, benchmarks measure them.
var unreleased = []string{"examples", "benchmarks", "internal/interop", "internal/e2e"}

// The root holds contracts and gRPC plumbing alone. Lines are lines of code: comments are free.
const (
	maxRootLines = 1500
	maxRootNames = 70
)

// groups are folders that hold rooms and are none themselves.
var groups = []string{"backends", "store", "internal", "cmd", "examples"}

func TestArchitecture(t *testing.T) {
	t.Parallel()
	tree := readTree(t, os.DirFS("."))
	for name, check := range architecture {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, complaint := range check(tree) {
				t.Error(complaint)
			}
		})
	}
}

var architecture = map[string]func(tree) []string{
	"layers":    checkLayers,
	"libraries": checkLibraries,
	"test kits": checkTestKits,
	"rooms":     checkRooms,
	"root":      checkRoot,
	"comments":  checkComments,
	"examples":  checkExamples,
	"clock":     checkClock,
	"modules":   checkModules,
}

// A check that cannot fail checks nothing: each one is shown trees that it must accept and trees that it must not.
func TestArchitectureChecksCanFail(t *testing.T) {
	t.Parallel()
	imports := func(path string) string { return "package p\nimport _ \"" + path + "\"\n" }
	own := func(path string) string { return imports(modulePath + path) }
	for _, test := range []struct {
		name, check string
		files       map[string]string
		want        string // part of the one complaint; empty: none
	}{
		{"down", "layers", map[string]string{"backends/jwt/a.go": own("/backends/bearer"), "backends/bearer/a.go": own("")}, ""},
		{"up", "layers", map[string]string{"jwks/a.go": own("/token")}, "jwks/a.go imports token: imports point down"},
		{"to the root", "layers", map[string]string{"password/a.go": own("")}, "password/a.go imports ."},
		{"sibling", "layers", map[string]string{"backends/jwt/a.go": own("/backends/basic")}, "backends/jwt/a.go imports backends/basic"},
		{"internal sibling", "layers", map[string]string{"internal/a/a.go": own("/internal/b")}, "internal/a/a.go imports internal/b"},
		{"within a room", "layers", map[string]string{"authservice/a.go": own("/authservice/internal/b")}, ""},
		{"root to internal", "layers", map[string]string{"a.go": own("/internal/b")}, ""},
		{"root to jwks", "layers", map[string]string{"a.go": own("/jwks")}, "a.go imports jwks: the root imports internal and proto alone"},
		{"tests are free", "layers", map[string]string{"jwks/a_test.go": own("/grpcauthtest")}, ""},
		{"programs are imported by nobody", "layers", map[string]string{"authservice/a.go": own("/examples/quickstart")}, "authservice/a.go imports examples"},
		{"unknown room", "layers", map[string]string{"util/a.go": "package util"}, "util has no layer"},
		{"unknown room imported", "layers", map[string]string{"a.go": own("/util")}, "a.go imports util: it has no layer"},

		{"owner", "libraries", map[string]string{"token/a.go": imports("github.com/golang-jwt/jwt/v5")}, ""},
		{"not the owner", "libraries", map[string]string{"backends/basic/a.go": imports("github.com/golang-jwt/jwt/v5")}, "backends/basic/a.go imports github.com/golang-jwt/jwt/v5"},
		{"nobody's", "libraries", map[string]string{"backends/mtls/a.go": imports("github.com/spiffe/go-spiffe/v2/spiffeid")}, "imports github.com/spiffe/go-spiffe/v2/spiffeid"},
		{"unreleased", "libraries", map[string]string{"benchmarks/peers/a.go": imports("github.com/golang-jwt/jwt/v5")}, ""},

		{"test kit", "test kits", map[string]string{"store/storetest/a.go": imports("testing")}, ""},
		{"testing in a library", "test kits", map[string]string{"jwks/a.go": imports("net/http/httptest")}, "jwks/a.go imports net/http/httptest"},

		{"room with code", "rooms", map[string]string{"jwks/a.go": "package jwks\nvar A int"}, ""},
		{"room with protos", "rooms", map[string]string{"internal/proto/echo/v1/echo.proto": ""}, ""},
		{"room with a client in another language", "rooms", map[string]string{"internal/interop/client.mjs": ""}, ""},
		{"room with a package clause alone", "rooms", map[string]string{"jwks/doc.go": "// Package jwks.\npackage jwks"}, "jwks is an empty room"},
		{"room in a group", "rooms", map[string]string{"store/a.go": "package store\nvar A int", "store/sqlstore/schema.sql": ""}, "store/sqlstore is an empty room"},
		{"not a room", "rooms", map[string]string{"docs/a.md": "", ".ci/run": "", "tools/go.mod": "", "jwks/testdata/a": "", "jwks/a.go": "package jwks\nvar A int"}, ""},

		{"small root", "root", map[string]string{"a.go": "package p\n" + strings.Repeat("// A comment.\n\n", 2000)}, ""},
		{"long root", "root", map[string]string{"a.go": "package p\n", "b.go": "package p\n" + strings.Repeat("var _ = 1\n", 1499)}, "1501 lines"},
		{"many names", "root", map[string]string{"a.go": "package p\n" + manyNames(71)}, "71 exported names"},
		{"names that are not exported", "root", map[string]string{"a.go": "package p\ntype t int\n" + strings.Repeat("func (t) Method() {}\n", 99), "jwks/a.go": "package jwks\n" + manyNames(71)}, ""},

		{"comment", "comments", map[string]string{"a.go": "package p", "doc.go": "// Package p is good.\npackage p"}, ""},
		{"no comment", "comments", map[string]string{"jwks/a.go": "package jwks"}, "jwks has no package comment"},
		{"another package's comment", "comments", map[string]string{"jwks/a.go": "// Package jwts is good.\npackage jwks"}, "jwks has no package comment"},
		{"two comments", "comments", map[string]string{"a.go": "// Package p is good.\npackage p", "b.go": "// Package p is better.\npackage p"}, ". has 2 package comments"},
		{"generated", "comments", map[string]string{"proto/a.pb.go": generated + "package p"}, ""},

		{"example", "examples", map[string]string{"a.go": "package p", "a_test.go": "package p_test\nfunc Example() {\n\t// Output: x\n}"}, ""},
		{"no example", "examples", map[string]string{"a.go": "package p", "jwks/a_test.go": "package p_test\nfunc Example() {\n\t// Output: x\n}"}, ". has no example"},
		{"example that is not run", "examples", map[string]string{"jwks/a.go": "package p", "jwks/a_test.go": "package p_test\nfunc Example() {}"}, "jwks has no example"},
		{"internal", "examples", map[string]string{"internal/a/a.go": "package a", "jwks/a.go": own("/internal/a"), "jwks/a_test.go": "package p_test\nfunc Example() {\n\t// Output: x\n}"}, "internal/a has no example"},
		{"for tests alone", "examples", map[string]string{"internal/a/a.go": "package a", "cmd/grpcauth/main.go": "package main", "grpcauthtest/a.go": "package grpcauthtest"}, ""},

		{"bubble", "clock", map[string]string{"a_test.go": "package p\nimport _ \"testing/synctest\"\nvar _ = time.Sleep"}, ""},
		{"sleep", "clock", map[string]string{"a_test.go": "package p\nimport \"time\"\nvar _ = time.Sleep"}, "a_test.go uses time.Sleep"},
		{"elapsed time", "clock", map[string]string{"a_test.go": "package p\nimport \"time\"\nvar _ = time.Since(x) < 1"}, "a_test.go uses time.Since"},
		{"server", "clock", map[string]string{"a.go": "package p\nimport \"time\"\nvar _ = time.Since"}, ""},

		{"all modules", "modules", map[string]string{"modules.txt": ".\nexamples\n", "go.mod": "", "a.go": "package p", "examples/go.mod": "", "examples/a/a.go": "package a"}, ""},
		{"forgotten module", "modules", map[string]string{"modules.txt": ".\n", "go.mod": "", "a.go": "package p", "gateway/go.mod": "", "gateway/a.go": "package p"}, "gateway is a module that modules.txt does not name"},
		{"module without code", "modules", map[string]string{"modules.txt": ".\ngateway\n", "go.mod": "", "a.go": "package p", "gateway/go.mod": ""}, "modules.txt names gateway, which is no module with code"},
		{"tools", "modules", map[string]string{"modules.txt": ".\n", "go.mod": "", "a.go": "package p", "tools/buf/go.mod": ""}, ""},
	} {
		t.Run(test.check+"/"+test.name, func(t *testing.T) {
			t.Parallel()
			wantComplaint(t, architecture[test.check](readTree(t, mapFS(test.files))), test.want)
		})
	}
}

func manyNames(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "const A%d, b%d = 1, 2\n", i, i)
	}
	return b.String()
}

func checkLayers(tr tree) (complaints []string) {
	for _, f := range tr.production() {
		from, layer, ok := roomOf(f.dir)
		if !ok {
			complaints = append(complaints, f.dir+" has no layer: give it one in arch_test.go")
			continue
		}
		for _, imported := range f.imports() {
			rest, own := strings.CutPrefix(imported+"/", modulePath+"/")
			if !own {
				continue
			}
			to, toLayer, ok := roomOf(path.Clean("./" + rest))
			reason := ""
			switch {
			case !ok:
				to, reason = path.Clean(rest), "it has no layer"
			case from == to:
			case layer == root && toLayer != lowest:
				reason = "the root imports internal and proto alone"
			case toLayer >= layer:
				reason = "imports point down"
			}
			if reason != "" {
				complaints = append(complaints, f.path()+" imports "+to+": "+reason)
			}
		}
	}
	return complaints
}

func checkLibraries(tr tree) (complaints []string) {
	for _, f := range tr.production() {
		room, _, _ := roomOf(f.dir)
		if slices.Contains(unreleased, room) {
			continue
		}
		for _, imported := range f.imports() {
			for library, rooms := range owners {
				if strings.HasPrefix(imported+"/", library) && !slices.Contains(rooms, room) {
					complaints = append(complaints, fmt.Sprintf("%s imports %s, which is left to %q", f.path(), imported, rooms))
				}
			}
		}
	}
	return complaints
}

// checkTestKits keeps package testing, and the flags and certificates that it brings along, out of servers.
func checkTestKits(tr tree) (complaints []string) {
	for _, f := range tr.production() {
		room, _, _ := roomOf(f.dir)
		if slices.Contains(unreleased, room) || strings.HasSuffix(f.dir, "test") {
			continue
		}
		for _, imported := range f.imports() {
			if imported == "testing" || strings.HasPrefix(imported, "testing/") || imported == "net/http/httptest" {
				complaints = append(complaints, f.path()+" imports "+imported+", which is left to packages named ...test")
			}
		}
	}
	return complaints
}

// checkRooms finds folders that were made before there was something to put into them.
func checkRooms(tr tree) (complaints []string) {
	for _, dir := range tr.dirs {
		parent, name := path.Split(dir)
		parent = strings.TrimSuffix(parent, "/")
		if parent != "" && !slices.Contains(groups, parent) || dir == "docs" || dir == "tools" || name == "testdata" {
			continue
		}
		inside := func(d string) bool { return d == dir || strings.HasPrefix(d, dir+"/") }
		if !slices.ContainsFunc(tr.files, func(f file) bool { return inside(f.dir) && f.declares() }) && !slices.ContainsFunc(tr.foreign, inside) {
			complaints = append(complaints, dir+" is an empty room: a folder appears with its first code")
		}
	}
	return complaints
}

func checkRoot(tr tree) (complaints []string) {
	lines, names := 0, 0
	for _, f := range tr.production() {
		if f.dir == "." {
			lines += f.linesOfCode()
			names += f.exportedNames()
		}
	}
	if lines > maxRootLines {
		complaints = append(complaints, fmt.Sprintf("the root has %d lines of code, more than %d: what is no contract and no plumbing lives elsewhere", lines, maxRootLines))
	}
	if names > maxRootNames {
		complaints = append(complaints, fmt.Sprintf("the root has %d exported names, more than %d", names, maxRootNames))
	}
	return complaints
}

func checkComments(tr tree) (complaints []string) {
	for dir, files := range tr.packages() {
		comments := 0
		for _, f := range files {
			if text := f.ast.Doc.Text(); f.ast.Name.Name == "main" && text != "" || strings.HasPrefix(text, "Package "+f.ast.Name.Name+" ") {
				comments++
			}
		}
		switch comments {
		case 0:
			complaints = append(complaints, dir+" has no package comment (// Package NAME ...)")
		case 1:
		default:
			complaints = append(complaints, fmt.Sprintf("%s has %d package comments", dir, comments))
		}
	}
	return complaints
}

// checkExamples asks each package for an example that is run. It spares programs, what only tests import, and test kits,
// whose functions want a *testing.T that no example has.
func checkExamples(tr tree) (complaints []string) {
	imported := map[string]bool{}
	for _, f := range tr.production() {
		for _, i := range f.imports() {
			imported[i] = true
		}
	}
	for dir, files := range tr.packages() {
		room, _, _ := roomOf(dir)
		switch {
		case slices.Contains(unreleased, room), files[0].ast.Name.Name == "main", strings.HasSuffix(dir, "test"):
			continue
		case strings.HasPrefix(dir, "internal/") && !imported[modulePath+"/"+dir]:
			continue
		}
		var tests []*ast.File
		for _, f := range tr.files {
			if f.dir == dir && f.test() {
				tests = append(tests, f.ast)
			}
		}
		if !slices.ContainsFunc(doc.Examples(tests...), func(e *doc.Example) bool { return e.Output != "" || e.EmptyOutput }) {
			complaints = append(complaints, dir+" has no example with // Output:")
		}
	}
	return complaints
}

// checkClock keeps tests from sleeping and from measuring time. In a bubble of testing/synctest both are harmless, and a file
// with one is trusted to do so there alone. Benchmarks of their own module measure for a living.
func checkClock(tr tree) (complaints []string) {
	for _, f := range tr.files {
		room, _, _ := roomOf(f.dir)
		if !f.test() || slices.Contains(unreleased, room) || slices.Contains(f.imports(), "testing/synctest") {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok {
				x, ok := s.X.(*ast.Ident)
				if ok && x.Name == "time" && slices.Contains([]string{"Sleep", "Since", "Until"}, s.Sel.Name) {
					complaints = append(complaints, f.path()+" uses time."+s.Sel.Name+": inject a clock, or use testing/synctest")
				}
			}
			return true
		})
	}
	return complaints
}

// checkModules keeps modules.txt complete, since what it does not name is not tested.
func checkModules(tr tree) (complaints []string) {
	var want []string
	for _, module := range tr.modules {
		inside := func(f file) bool { return f.dir == module || module == "." || strings.HasPrefix(f.dir, module+"/") }
		if slices.ContainsFunc(tr.files, inside) {
			want = append(want, module)
		}
	}
	for _, module := range want {
		if !slices.Contains(tr.listed, module) {
			complaints = append(complaints, module+" is a module that modules.txt does not name")
		}
	}
	for _, module := range tr.listed {
		if !slices.Contains(want, module) {
			complaints = append(complaints, "modules.txt names "+module+", which is no module with code")
		}
	}
	return complaints
}

// roomOf returns the room that a folder belongs to, and its layer.
func roomOf(dir string) (room string, layer int, ok bool) {
	segments := strings.SplitN(dir, "/", 3)
	if room = segments[0]; len(segments) > 1 && layerOf(room+"/*") >= 0 {
		room += "/" + segments[1]
		if layer = layerOf(room); layer < 0 {
			layer = layerOf(segments[0] + "/*")
		}
		return room, layer, true
	}
	layer = layerOf(room)
	return room, layer, layer >= 0
}

func layerOf(name string) int {
	return slices.IndexFunc(layers, func(names []string) bool { return slices.Contains(names, name) })
}

// tree is the Go code of the repository, all modules and all build tags, without what belongs to tools.
type tree struct {
	files   []file
	dirs    []string // all folders but the root
	foreign []string // folders that hold protos, or a program in another language
	modules []string // folders that hold a go.mod
	listed  []string // what modules.txt says
}

type file struct {
	dir, name, text string
	fset            *token.FileSet
	ast             *ast.File
}

func readTree(t *testing.T, fsys fs.FS) (tr tree) {
	t.Helper()
	fset := token.NewFileSet()
	err := fs.WalkDir(fsys, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		dir, name := path.Dir(p), d.Name()
		switch {
		case p == ".":
		case d.IsDir() && (strings.HasPrefix(name, ".") || name == "node_modules"):
			return fs.SkipDir
		case d.IsDir() && name == "testdata":
			return fs.SkipDir
		case d.IsDir():
			tr.dirs = append(tr.dirs, p)
		case p == "modules.txt":
			text, err := fs.ReadFile(fsys, p)
			tr.listed = strings.Fields(string(text))
			return err
		case name == "go.mod":
			tr.modules = append(tr.modules, dir)
		case strings.HasSuffix(name, ".proto"), strings.HasSuffix(name, ".mjs"):
			tr.foreign = append(tr.foreign, dir)
		case strings.HasSuffix(name, ".go"):
			text, err := fs.ReadFile(fsys, p)
			if err != nil {
				return err
			}
			parsed, err := parser.ParseFile(fset, p, text, parser.ParseComments|parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			tr.files = append(tr.files, file{dir, name, string(text), fset, parsed})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func mapFS(files map[string]string) fs.FS {
	fsys := fstest.MapFS{}
	for name, text := range files {
		fsys[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return fsys
}

// wantComplaint checks that there is exactly one complaint and that it contains want, or none if want is empty.
func wantComplaint(t *testing.T, complaints []string, want string) {
	t.Helper()
	switch {
	case want == "" && len(complaints) > 0:
		t.Errorf("got %q, want no complaint", complaints)
	case want != "" && (len(complaints) != 1 || !strings.Contains(complaints[0], want)):
		t.Errorf("got %q, want one complaint with %q", complaints, want)
	}
}

func (tr tree) production() []file {
	return slices.DeleteFunc(slices.Clone(tr.files), file.test)
}

// packages returns the files of each folder that somebody wrote, tests left out.
func (tr tree) packages() map[string][]file {
	packages := map[string][]file{}
	for _, f := range tr.production() {
		if !f.generated() {
			packages[f.dir] = append(packages[f.dir], f)
		}
	}
	return packages
}

func (f file) path() string    { return path.Join(f.dir, f.name) }
func (f file) generated() bool { return ast.IsGenerated(f.ast) }

// test reports whether only tests build the file.
func (f file) test() bool {
	return strings.HasSuffix(f.name, "_test.go") || strings.Contains(f.text, "\n//go:build grpcauth_canary\n")
}

func (f file) imports() (paths []string) {
	for _, i := range f.ast.Imports {
		paths = append(paths, strings.Trim(i.Path.Value, "\"`"))
	}
	return paths
}

// declares reports whether the file holds more than its package clause and imports.
func (f file) declares() bool {
	return slices.ContainsFunc(f.ast.Decls, func(d ast.Decl) bool {
		g, ok := d.(*ast.GenDecl)
		return !ok || g.Tok != token.IMPORT
	})
}

// linesOfCode counts the lines on which a token stands that is no comment.
func (f file) linesOfCode() int {
	fset := token.NewFileSet()
	source := fset.AddFile(f.name, -1, len(f.text))
	var s scanner.Scanner
	s.Init(source, []byte(f.text), nil, 0)
	lines := map[int]bool{}
	for {
		pos, tok, literal := s.Scan()
		if tok == token.EOF {
			return len(lines)
		}
		if tok == token.SEMICOLON && literal == "\n" {
			continue
		}
		for line := range strings.Count(literal, "\n") + 1 {
			lines[source.Line(pos)+line] = true
		}
	}
}

func (f file) exportedNames() (n int) {
	count := func(names ...*ast.Ident) {
		for _, name := range names {
			if name.IsExported() {
				n++
			}
		}
	}
	for _, d := range f.ast.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Recv == nil {
				count(d.Name)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch spec := spec.(type) {
				case *ast.TypeSpec:
					count(spec.Name)
				case *ast.ValueSpec:
					count(spec.Names...)
				}
			}
		}
	}
	return n
}
