// SPDX-License-Identifier: Apache-2.0

package protopolicy_test

import (
	"reflect"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/grpcauth/grpcauth"
	grpcauthv1 "github.com/grpcauth/grpcauth/proto/grpcauth/v1"
	"github.com/grpcauth/grpcauth/protopolicy"
)

// number is that of both options.
const number = 51973

func scopes(names ...string) *grpcauthv1.Rule { return &grpcauthv1.Rule{Scopes: names} }

// option is a rule as it stands in the bytes of options.
func option(rule *grpcauthv1.Rule) []byte {
	raw, err := proto.Marshal(rule)
	if err != nil {
		panic(err)
	}
	return protowire.AppendBytes(protowire.AppendTag(nil, number, protowire.BytesType), raw)
}

func method(name string, rule *grpcauthv1.Rule) *descriptorpb.MethodDescriptorProto {
	m := &descriptorpb.MethodDescriptorProto{Name: &name, InputType: new(".shop.v1.Empty"), OutputType: new(".shop.v1.Empty")}
	if rule != nil {
		m.Options = &descriptorpb.MethodOptions{}
		proto.SetExtension(m.GetOptions(), grpcauthv1.E_Method, rule)
	}
	return m
}

// rawMethod is a method whose options are not known to whom read them.
func rawMethod(name string, options []byte) *descriptorpb.MethodDescriptorProto {
	m := method(name, nil)
	m.Options = &descriptorpb.MethodOptions{}
	m.GetOptions().ProtoReflect().SetUnknown(options)
	return m
}

func service(name string, rule *grpcauthv1.Rule, methods ...*descriptorpb.MethodDescriptorProto) *descriptorpb.ServiceDescriptorProto {
	s := &descriptorpb.ServiceDescriptorProto{Name: &name, Method: methods}
	if rule != nil {
		s.Options = &descriptorpb.ServiceOptions{}
		proto.SetExtension(s.GetOptions(), grpcauthv1.E_Service, rule)
	}
	return s
}

// file is shop.proto, of the package shop.v1.
func file(services ...*descriptorpb.ServiceDescriptorProto) *descriptorpb.FileDescriptorProto {
	return &descriptorpb.FileDescriptorProto{
		Name: new("shop.proto"), Package: new("shop.v1"), Syntax: new("proto3"),
		MessageType: []*descriptorpb.DescriptorProto{{Name: new("Empty")}}, Service: services,
	}
}

func set(files ...*descriptorpb.FileDescriptorProto) *descriptorpb.FileDescriptorSet {
	return &descriptorpb.FileDescriptorSet{File: files}
}

func edit[T any](v T, change func(T)) T {
	change(v)
	return v
}

func link(tb testing.TB, set *descriptorpb.FileDescriptorSet) *protoregistry.Files {
	tb.Helper()
	files, err := protopolicy.FromSet(set)
	if err != nil {
		tb.Fatal(err)
	}
	return files
}

// unmarshal reads a message with the extensions that the resolver knows.
func unmarshal(tb testing.TB, raw []byte, into proto.Message, resolver interface {
	protoregistry.MessageTypeResolver
	protoregistry.ExtensionTypeResolver
},
) {
	tb.Helper()
	if err := (proto.UnmarshalOptions{Resolver: resolver}).Unmarshal(raw, into); err != nil {
		tb.Fatal(err)
	}
}

// raw is a set's bytes.
func raw(tb testing.TB, set *descriptorpb.FileDescriptorSet) []byte {
	tb.Helper()
	b, err := proto.MarshalOptions{Deterministic: true, AllowPartial: true}.Marshal(set)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func wantPolicy(t *testing.T, got, want grpcauth.Policy) {
	t.Helper()
	for pattern, rule := range want {
		if found, ok := got[pattern]; !ok || !reflect.DeepEqual(found, rule) {
			t.Errorf("%s: got %+v (there: %t), want %+v", pattern, found, ok, rule)
		}
	}
	for pattern, rule := range got {
		if _, ok := want[pattern]; !ok {
			t.Errorf("%s: got %+v, want no rule", pattern, rule)
		}
	}
}

// wantErr wants an error with this in its text; none if want is empty.
func wantErr(t *testing.T, err error, want string) {
	t.Helper()
	if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
		t.Errorf("got error %v, want %q", err, want)
	}
}

// dynamicOptions are descriptors by somebody whose options are messages of no generated type.
type dynamicOptions struct{ *protoregistry.Files }

func (d dynamicOptions) RangeFiles(f func(protoreflect.FileDescriptor) bool) {
	d.Files.RangeFiles(func(file protoreflect.FileDescriptor) bool { return f(dynamicFile{file}) })
}

type (
	dynamicFile     struct{ protoreflect.FileDescriptor }
	dynamicServices struct {
		protoreflect.ServiceDescriptors
	}
	dynamicService struct{ protoreflect.ServiceDescriptor }
	dynamicMethods struct{ protoreflect.MethodDescriptors }
	dynamicMethod  struct{ protoreflect.MethodDescriptor }
)

func (f dynamicFile) Services() protoreflect.ServiceDescriptors {
	return dynamicServices{f.FileDescriptor.Services()}
}

func (s dynamicServices) Get(i int) protoreflect.ServiceDescriptor {
	return dynamicService{s.ServiceDescriptors.Get(i)}
}

func (s dynamicService) Options() protoreflect.ProtoMessage {
	return dynamic(s.ServiceDescriptor.Options())
}

func (s dynamicService) Methods() protoreflect.MethodDescriptors {
	return dynamicMethods{s.ServiceDescriptor.Methods()}
}

func (m dynamicMethods) Get(i int) protoreflect.MethodDescriptor {
	return dynamicMethod{m.MethodDescriptors.Get(i)}
}

func (m dynamicMethod) Options() protoreflect.ProtoMessage {
	return dynamic(m.MethodDescriptor.Options())
}

// dynamic is a message in a type that is made of a copy of its descriptor.
func dynamic(m proto.Message) proto.Message {
	file, err := protodesc.NewFile(protodesc.ToFileDescriptorProto(descriptorpb.File_google_protobuf_descriptor_proto), nil)
	if err != nil {
		panic(err)
	}
	raw, err := proto.Marshal(m)
	if err != nil {
		panic(err)
	}
	made := dynamicpb.NewMessage(file.Messages().ByName(m.ProtoReflect().Descriptor().Name()))
	if err := proto.Unmarshal(raw, made); err != nil {
		panic(err)
	}
	return made
}
