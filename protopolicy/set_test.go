// SPDX-License-Identifier: Apache-2.0

package protopolicy_test

import (
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/grpcauth/grpcauth/protopolicy"
)

func generatedFile(file protoreflect.FileDescriptor) *descriptorpb.FileDescriptorProto {
	return protodesc.ToFileDescriptorProto(file)
}

// importing is a file of its own package with these imports, all of them public if that is asked for.
func importing(name string, public bool, imports ...string) *descriptorpb.FileDescriptorProto {
	f := &descriptorpb.FileDescriptorProto{Name: &name, Dependency: imports}
	for i := range imports {
		if public {
			f.PublicDependency = append(f.PublicDependency, int32(i))
		}
	}
	return f
}

func TestSetsAreLinked(t *testing.T) {
	t.Parallel()
	for name, files := range map[string]*descriptorpb.FileDescriptorSet{
		"one file":                     set(file()),
		"imports first":                set(importing("a", false), importing("b", false, "a")),
		"imports last":                 set(importing("b", false, "a"), importing("a", false)),
		"public imports":               set(importing("c", false, "b"), importing("b", true, "a"), importing("a", false)),
		"options that are not there":   set(edition(descriptorpb.Edition_EDITION_2024, "options.proto")),
		"edition":                      set(edition(descriptorpb.Edition_EDITION_2023)),
		"public imports on many ways":  set(ladder(12)...),
		"messages in messages":         set(nested(64)),
		"methods":                      set(crowded(1_000)),
		"import that is there already": set(importing("a", false), importing("b", false, "a"), importing("c", false, "a", "b")),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			linked, err := protopolicy.FromSet(files)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := linked.NumFiles(), len(files.GetFile()); got != want {
				t.Errorf("got %d files, want %d", got, want)
			}
		})
	}
}

// A set may come from anywhere: what protobuf would panic at, hang on, or end the process for is refused before.
func TestRefusesHostileSets(t *testing.T) {
	t.Parallel()
	var many []*descriptorpb.FileDescriptorProto
	for i := range 20_001 {
		many = append(many, importing(fmt.Sprint(i), false))
	}
	big := file()
	big.SourceCodeInfo = &descriptorpb.SourceCodeInfo{Location: []*descriptorpb.SourceCodeInfo_Location{{Span: []int32{1, 2, 3}, LeadingComments: new(strings.Repeat("a", 128<<20))}}}
	unknownEdition := edition(99)
	unknownEdition.Name = new("cmd/protoc-gen-go/testdata/a.proto") // protobuf checks no editions there
	noEdition := edition(0)
	noEdition.Name = unknownEdition.Name
	for _, test := range []struct {
		name string
		set  *descriptorpb.FileDescriptorSet
		want string
	}{
		{"nil", nil, "protopolicy: the set has no files"},
		{"empty", set(), "protopolicy: the set has no files"},
		{"files that are nil", set(nil), "protopolicy: "},
		{"services that are nil", set(file(nil)), "protopolicy: shop.proto: "},
		{"methods that are nil", set(file(service("Orders", nil, nil))), "protopolicy: shop.proto: "},
		{"missing import", set(importing("a", false, "b")), `protopolicy: a: the set does not have "b", which the file imports: write it with imports`},
		{"missing import of an import", set(importing("a", false, "b"), importing("b", false, "c")), `protopolicy: b: the set does not have "c"`},
		{"file twice", set(importing("a", false), importing("a", false)), "protopolicy: a: the file is in the set twice"},
		{"file that imports itself", set(importing("a", false, "a")), `protopolicy: a: the file imports itself through "a"`},
		{"imports in a circle", set(importing("a", false, "b"), importing("b", false, "c"), importing("c", true, "a")), `protopolicy: c: the file imports itself through "a"`},
		{"public imports in a circle", set(importing("a", true, "b"), importing("b", true, "a")), `protopolicy: b: the file imports itself through "a"`},
		{"public import that is not there", set(edit(importing("a", true, "b"), func(f *descriptorpb.FileDescriptorProto) { f.PublicDependency[0] = 7 }), importing("b", false)), "protopolicy: a: "},
		{"negative public import", set(edit(importing("a", true, "b"), func(f *descriptorpb.FileDescriptorProto) { f.PublicDependency[0] = -1 }), importing("b", false)), "protopolicy: a: "},
		{"service twice", set(file(service("Orders", nil), service("Orders", nil))), "protopolicy: shop.proto: "},
		{"method twice", set(file(service("Orders", nil, method("Get", nil), method("Get", nil)))), "protopolicy: shop.proto: "},
		{"service in two files", set(file(service("Orders", nil)), edit(file(service("Orders", nil)), func(f *descriptorpb.FileDescriptorProto) { f.Name = new("two.proto") })), "protopolicy: two.proto: "},
		{"method without a name", set(file(service("Orders", nil, method("", nil)))), "protopolicy: shop.proto: "},
		{"method with the name of all", set(file(service("Orders", nil, method("*", nil)))), "protopolicy: shop.proto: "},
		{"method with a path", set(file(service("Orders", nil, method("Get/x", nil)))), "protopolicy: shop.proto: "},
		{"service with a path", set(file(service("Or/ders", nil))), "protopolicy: shop.proto: "},
		{"message that is not there", set(file(service("Orders", nil, edit(method("Get", nil), func(m *descriptorpb.MethodDescriptorProto) { m.InputType = new(".shop.v1.None") })))), "protopolicy: shop.proto: "},
		{"unknown syntax", set(edit(file(), func(f *descriptorpb.FileDescriptorProto) { f.Syntax = new("proto4") })), "protopolicy: shop.proto: "},
		{"unknown edition", set(edition(99)), "edition 99 is not known"},
		{"edition in the making", set(edition(descriptorpb.Edition_EDITION_UNSTABLE)), "edition 9999 is not known"},
		{"unknown edition where protobuf does not look", set(unknownEdition), "edition 99 is not known"},
		{"no edition where protobuf does not look", set(noEdition), "edition 0 is not known"},
		{"too many files", set(many...), "protopolicy: the set has 20001 files, more than 20000"},
		{"too many methods", set(crowded(100_001)), "more than 100000 methods"},
		{"too many methods in two files", set(crowded(60_000), edit(crowded(60_000), func(f *descriptorpb.FileDescriptorProto) { f.Name, f.Package = new("two.proto"), new("two.v1") })), "two.proto: the services up to here have more than 100000 methods"},
		{"too deep", set(nested(65)), "messages are nested more than 64 deep"},
		{"too deep to measure", set(nested(1_000_000)), "messages are nested more than 64 deep"},
		{"too large", set(big), "more than 134217728: leave out"},
		{"public imports on too many ways", set(ladder(60)...), "more than 1000000 ways"},
		{"package of many packages", set(edit(file(), func(f *descriptorpb.FileDescriptorProto) { f.Package = new(strings.Repeat("a.", 1<<20) + "a") })), "the name of the package has more than 512 bytes"},
		{"long names in a message with a long name", set(edit(file(), func(f *descriptorpb.FileDescriptorProto) {
			f.MessageType = []*descriptorpb.DescriptorProto{{Name: new(strings.Repeat("a", 1<<20))}}
			for range 200 {
				f.MessageType[0].Field = append(f.MessageType[0].Field, &descriptorpb.FieldDescriptorProto{})
			}
		})), "the names up to here have more than 134217728 bytes"},
		{"names that are sought in many scopes", set(edit(nested(64), func(f *descriptorpb.FileDescriptorProto) {
			f.Package = new(strings.Repeat("a.", 250) + "a")
			m := f.GetMessageType()[0]
			for len(m.GetNestedType()) > 0 {
				m = m.GetNestedType()[0]
			}
			m.Field = []*descriptorpb.FieldDescriptorProto{{TypeName: new(strings.Repeat("a", 1<<20))}}
		})), "the names up to here have more than 134217728 bytes"},
		{"file with a name for the terminal", set(importing("a\x1b[2J", false, "b")), `protopolicy: "a\x1b[2J": `},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			linked, err := protopolicy.FromSet(test.set)
			wantErr(t, err, test.want)
			if linked != nil {
				t.Error("got files beside the error")
			}
		})
	}
}

// What is wrong is said in the order of the files, whatever that of a map.
func TestErrorsOfSetsAreTheSameEachTime(t *testing.T) {
	t.Parallel()
	var files []*descriptorpb.FileDescriptorProto
	for i := range 20 {
		files = append(files, importing(fmt.Sprint("file", i), false, fmt.Sprint("missing", i)))
	}
	for range 10 {
		_, err := protopolicy.FromSet(set(files...))
		wantErr(t, err, `protopolicy: file0: the set does not have "missing0"`)
	}
}

func edition(e descriptorpb.Edition, options ...string) *descriptorpb.FileDescriptorProto {
	return &descriptorpb.FileDescriptorProto{Name: new("a.proto"), Syntax: new("editions"), Edition: &e, OptionDependency: options}
}

// ladder are files each of which publicly imports the two before it, so that the ways along imports double with every other file.
func ladder(n int) (files []*descriptorpb.FileDescriptorProto) {
	for i := range n {
		var imports []string
		for k := max(0, i-2); k < i; k++ {
			imports = append(imports, fmt.Sprint(k))
		}
		files = append(files, importing(fmt.Sprint(i), true, imports...))
	}
	return files
}

// nested is a file of messages in messages.
func nested(depth int) *descriptorpb.FileDescriptorProto {
	m := &descriptorpb.DescriptorProto{Name: new("M")}
	for range depth - 1 {
		m = &descriptorpb.DescriptorProto{Name: new("M"), NestedType: []*descriptorpb.DescriptorProto{m}}
	}
	return edit(file(), func(f *descriptorpb.FileDescriptorProto) { f.MessageType = []*descriptorpb.DescriptorProto{m} })
}

// crowded is a file of one service with many methods.
func crowded(methods int) *descriptorpb.FileDescriptorProto {
	s := service("Orders", nil)
	for i := range methods {
		s.Method = append(s.Method, method(fmt.Sprint("Get", i), nil))
	}
	return file(s)
}
