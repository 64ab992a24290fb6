// SPDX-License-Identifier: Apache-2.0

package protopolicy

import (
	"errors"
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
)

// The limits of a set. All public APIs of a large provider stay far below them.
const (
	maxSet     = 128 << 20 // bytes
	maxFiles   = 20_000
	maxMethods = 100_000
	maxPackage = 512       // bytes; each of a package's parents is a name
	maxNames   = 128 << 20 // bytes of all full names, and of those that are tried to find one
	maxDepth   = 64        // of messages in messages
	maxPublic  = 1_000_000 // ways along public imports, which protobuf follows one by one
)

// FromSet links the files of a set, which has all that they import: protoc --include_imports -o FILE, or buf build -o FILE.
//
// The set may come from anywhere. What is not a valid set, or larger than 128 MiB or than any set of real services, is an error.
func FromSet(set *descriptorpb.FileDescriptorSet) (*protoregistry.Files, error) {
	l := linker{protos: map[string]*descriptorpb.FileDescriptorProto{}, public: map[string]int{}, files: &protoregistry.Files{}}
	switch n := len(set.GetFile()); {
	case n == 0:
		return nil, errors.New("protopolicy: the set has no files")
	case n > maxFiles:
		return nil, fmt.Errorf("protopolicy: the set has %d files, more than %d", n, maxFiles)
	}
	for _, file := range set.GetFile() {
		if err := l.measure(file); err != nil {
			return nil, fmt.Errorf("protopolicy: %s: %w", place{file: file.GetName()}.source(), err)
		}
		if _, twice := l.protos[file.GetName()]; twice {
			return nil, fmt.Errorf("protopolicy: %s: the file is in the set twice", place{file: file.GetName()}.source())
		}
		l.protos[file.GetName()] = file
	}
	if n := proto.Size(set); n > maxSet {
		return nil, fmt.Errorf("protopolicy: the set has %d bytes, more than %d: leave out what is not called, or source information", n, maxSet)
	}
	for _, file := range set.GetFile() {
		if err := l.link(file); err != nil {
			return nil, fmt.Errorf("protopolicy: %w", err)
		}
	}
	return l.files, nil
}

type linker struct {
	protos         map[string]*descriptorpb.FileDescriptorProto
	public         map[string]int // ways along public imports from a file that is linked; linking: not yet
	ways           int
	names, methods int
	files          *protoregistry.Files
}

const linking = -1

// link adds a file after those that it imports.
func (l *linker) link(file *descriptorpb.FileDescriptorProto) error {
	name := file.GetName()
	if _, known := l.public[name]; known {
		return nil
	}
	l.public[name] = linking
	at := place{file: name}.source()
	for _, imported := range file.GetDependency() {
		if l.protos[imported] == nil {
			return fmt.Errorf("%s: the set does not have %q, which the file imports: write it with imports (protoc --include_imports, buf build)", at, imported)
		}
		if err := l.link(l.protos[imported]); err != nil {
			return err
		}
		if l.public[imported] == linking {
			return fmt.Errorf("%s: the file imports itself through %q", at, imported)
		}
		l.ways += 1 + l.public[imported]
	}
	if l.ways > maxPublic {
		return fmt.Errorf("%s: the public imports lead to files on more than %d ways", at, maxPublic)
	}
	ways := 0
	for _, i := range file.GetPublicDependency() {
		if i >= 0 && int(i) < len(file.GetDependency()) {
			ways += 1 + l.public[file.GetDependency()[i]]
		}
	}
	made, err := protodesc.NewFile(file, l.files)
	if err != nil {
		return fmt.Errorf("%s: %w", at, err)
	}
	if err := l.files.RegisterFile(made); err != nil {
		return fmt.Errorf("%s: %w", at, err)
	}
	l.public[name] = ways
	return nil
}

// measure refuses a file that would cost more to link than its size tells.
func (l *linker) measure(file *descriptorpb.FileDescriptorProto) error {
	if edition := file.GetEdition(); file.GetSyntax() == "editions" && edition != descriptorpb.Edition_EDITION_2023 && edition != descriptorpb.Edition_EDITION_2024 {
		// protobuf ends the process for some editions that it does not know.
		return fmt.Errorf("edition %d is not known to this version of grpcauth", edition)
	}
	if len(file.GetPackage()) > maxPackage {
		return fmt.Errorf("the name of the package has more than %d bytes", maxPackage)
	}
	in := scope{bytes: len(file.GetPackage()) + 1, levels: strings.Count(file.GetPackage(), ".") + 2}
	l.names += in.bytes
	for _, s := range file.GetService() {
		inner := in.enter(s.GetName())
		l.names += inner.bytes
		for _, m := range s.GetMethod() {
			l.names += inner.bytes + len(m.GetName()) + inner.search(m.GetInputType()) + inner.search(m.GetOutputType())
		}
		l.methods += len(s.GetMethod())
	}
	l.enums(file.GetEnumType(), in)
	l.fields(file.GetExtension(), in)
	if err := l.messages(file.GetMessageType(), in, 1); err != nil {
		return err
	}
	switch {
	case l.names > maxNames:
		return fmt.Errorf("the names up to here have more than %d bytes", maxNames)
	case l.methods > maxMethods:
		return fmt.Errorf("the services up to here have more than %d methods", maxMethods)
	}
	return nil
}

func (l *linker) messages(messages []*descriptorpb.DescriptorProto, in scope, depth int) error {
	if len(messages) > 0 && depth > maxDepth {
		return fmt.Errorf("messages are nested more than %d deep", maxDepth)
	}
	for _, m := range messages {
		inner := in.enter(m.GetName())
		l.names += inner.bytes
		l.enums(m.GetEnumType(), inner)
		l.fields(m.GetField(), inner)
		l.fields(m.GetExtension(), inner)
		for _, o := range m.GetOneofDecl() {
			l.names += inner.bytes + len(o.GetName())
		}
		if err := l.messages(m.GetNestedType(), inner, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (l *linker) enums(enums []*descriptorpb.EnumDescriptorProto, in scope) {
	for _, e := range enums {
		l.names += in.bytes + len(e.GetName())
		for _, v := range e.GetValue() {
			l.names += in.bytes + len(v.GetName())
		}
	}
}

func (l *linker) fields(fields []*descriptorpb.FieldDescriptorProto, in scope) {
	for _, f := range fields {
		l.names += in.bytes + len(f.GetName()) + in.search(f.GetTypeName()) + in.search(f.GetExtendee())
	}
}

// scope is where names are declared: each begins with that of its scope.
type scope struct{ bytes, levels int }

func (s scope) enter(name string) scope { return scope{s.bytes + len(name) + 1, s.levels + 1} }

// search is how many bytes of names are tried to find a name that is not complete: in the scope, and in all that it lies in.
func (s scope) search(name string) int {
	if name == "" || name[0] == '.' {
		return 0
	}
	return s.levels * (s.bytes + len(name))
}
