// SPDX-License-Identifier: Apache-2.0

package protopolicy_test

import (
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/grpcauth/grpcauth"
	grpcauthv1 "github.com/grpcauth/grpcauth/proto/grpcauth/v1"
	"github.com/grpcauth/grpcauth/protopolicy"
	rulesv1 "github.com/grpcauth/grpcauth/protopolicy/internal/gen/rules/v1"
)

// No set panics, and a policy that comes of one says what protobuf itself reads in the options, word by word.
func FuzzSet(f *testing.F) {
	full := &grpcauthv1.Rule{
		Backends: []string{"staff"}, Scopes: []string{"a"}, AnyScopes: []string{"b"}, Permissions: []string{"c"}, AnyPermissions: []string{"d"},
		MaxAge: durationpb.New(1e9), Acr: "gold", RequireBound: true,
	}
	for _, seed := range []*descriptorpb.FileDescriptorSet{
		set(),
		set(edit(generatedFile(rulesv1.File_rules_v1_rules_proto), func(f *descriptorpb.FileDescriptorProto) { f.Dependency = nil })),
		set(file(service("Orders", scopes("a"), method("Get", full), method("List", nil)))),
		set(file(service("Orders", nil, method("Get", &grpcauthv1.Rule{Access: grpcauthv1.Access_ACCESS_PUBLIC}), method("List", nil)))),
		set(file(service("Orders", nil, method("Get", &grpcauthv1.Rule{Access: 7, AllBackends: []string{"nobody"}})))),
		set(file(service("Orders", nil, rawMethod("Get", append(option(scopes("a")), option(scopes("b"))...))))),
		set(file(service("Orders", nil, rawMethod("Get", []byte{0xa8, 0xb0, 0x19, 3})))),
		set(edition(descriptorpb.Edition_EDITION_2023), importing("b", true, "a.proto")),
		set(edit(edition(0), func(f *descriptorpb.FileDescriptorProto) { f.Name = new("cmd/protoc-gen-go/testdata/a.proto") })),
		set(importing("a", true, "b"), importing("b", true, "a")),
		set(ladder(8)...),
		set(nested(70)),
		set(edit(file(), func(f *descriptorpb.FileDescriptorProto) {
			f.Syntax = new("proto2")
			f.MessageType[0].Field = []*descriptorpb.FieldDescriptorProto{{
				Name: new("f"), Number: new(int32(1)), Type: descriptorpb.FieldDescriptorProto_TYPE_BYTES.Enum(), DefaultValue: new(`\377`), OneofIndex: new(int32(0)),
			}}
			f.EnumType = []*descriptorpb.EnumDescriptorProto{{Name: new("E"), Value: []*descriptorpb.EnumValueDescriptorProto{{Name: new("A"), Number: new(int32(0))}}}}
		})),
	} {
		f.Add(raw(f, seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var unknown, known descriptorpb.FileDescriptorSet
		if (proto.UnmarshalOptions{Resolver: &protoregistry.Types{}}).Unmarshal(raw, &unknown) != nil {
			return
		}
		files, err := protopolicy.FromSet(&unknown)
		if err != nil {
			return
		}
		backends := []string{"staff", "partners"}
		policy, err := protopolicy.New(files, protopolicy.Options{Backends: backends})
		if err != nil {
			if policy != nil {
				t.Fatalf("%v beside error %v", policy, err)
			}
			return
		}
		if err := policy.Validate(); err != nil {
			t.Fatal(err)
		}
		if (proto.UnmarshalOptions{Resolver: protoregistry.GlobalTypes, AllowPartial: true}).Unmarshal(raw, &known) != nil {
			t.Fatalf("options that protobuf cannot read made %v", policy)
		}
		said := 0
		for pattern, rule := range options(&known) {
			said++
			if got, ok := policy[pattern]; !ok || !says(got, rule, backends) {
				t.Fatalf("%s: got %+v (there: %t), want %v", pattern, got, ok, rule)
			}
		}
		if said != len(policy) {
			t.Fatalf("got %d rules of %d options", len(policy), said)
		}
	})
}

// options are the rules of a set, as protobuf knows them.
func options(set *descriptorpb.FileDescriptorSet) map[string]*grpcauthv1.Rule {
	found := map[string]*grpcauthv1.Rule{}
	add := func(pattern string, options proto.Message, x protoreflect.ExtensionType) {
		if proto.HasExtension(options, x) {
			found[pattern] = proto.GetExtension(options, x).(*grpcauthv1.Rule)
		}
	}
	for _, file := range set.GetFile() {
		prefix := "/"
		if file.GetPackage() != "" {
			prefix += file.GetPackage() + "."
		}
		for _, s := range file.GetService() {
			add(prefix+s.GetName()+"/*", s.GetOptions(), grpcauthv1.E_Service)
			for _, m := range s.GetMethod() {
				add(prefix+s.GetName()+"/"+m.GetName(), m.GetOptions(), grpcauthv1.E_Method)
			}
		}
	}
	return found
}

// says reports whether a rule asks for all that the option asks for, and the option for nothing that this version does not know.
func says(got grpcauth.Rule, want *grpcauthv1.Rule, backends []string) bool {
	access := map[grpcauthv1.Access]grpcauth.Access{0: grpcauth.Required, 1: grpcauth.Required, 2: grpcauth.Optional, 3: grpcauth.Public, 4: grpcauth.Denied}
	wanted, ok := access[want.GetAccess()]
	for _, name := range slices.Concat(want.GetBackends(), want.GetAllBackends()) {
		ok = ok && slices.Contains(backends, name)
	}
	return ok && got.Access == wanted && len(want.ProtoReflect().GetUnknown()) == 0 &&
		slices.Equal(got.Backends, want.GetBackends()) && slices.Equal(got.AllBackends, want.GetAllBackends()) &&
		slices.Equal(got.Scopes, want.GetScopes()) && slices.Equal(got.AnyScopes, want.GetAnyScopes()) &&
		slices.Equal(got.Permissions, want.GetPermissions()) && slices.Equal(got.AnyPermissions, want.GetAnyPermissions()) &&
		sameAge(got.MaxAge, want.GetMaxAge()) &&
		got.ACR == want.GetAcr() && got.RequireBound == want.GetRequireBound()
}

func sameAge(got time.Duration, want *durationpb.Duration) bool {
	return want == nil && got == 0 || want != nil && got > 0 && proto.Equal(durationpb.New(got), want)
}
