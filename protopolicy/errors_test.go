// SPDX-License-Identifier: Apache-2.0

package protopolicy_test

import (
	"os"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/durationpb"

	grpcauthv1 "github.com/grpcauth/grpcauth/proto/grpcauth/v1"
	"github.com/grpcauth/grpcauth/protopolicy"
)

// A rule that cannot be checked is never left out: there is no policy then.
func TestRefusesRulesThatCannotBeChecked(t *testing.T) {
	t.Parallel()
	ruleBytes := func(raw ...byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(nil, number, protowire.BytesType), raw)
	}
	age := func(seconds int64, nanos int32) []byte {
		return option(&grpcauthv1.Rule{MaxAge: &durationpb.Duration{Seconds: seconds, Nanos: nanos}})
	}
	const public, optional = grpcauthv1.Access_ACCESS_PUBLIC, grpcauthv1.Access_ACCESS_OPTIONAL
	for _, test := range []struct {
		name    string
		options []byte
		want    string
	}{
		{"backend that is not there", option(&grpcauthv1.Rule{Backends: []string{"jwt", "nobody"}}), `no backend is named "nobody": write one of Options.Backends`},
		{"one of all that is not there", option(&grpcauthv1.Rule{AllBackends: []string{"jwt", "nobody"}}), `no backend is named "nobody"`},
		{"backend in another case", option(&grpcauthv1.Rule{Backends: []string{"JWT"}}), `no backend is named "JWT"`},
		{"both lists of backends", option(&grpcauthv1.Rule{Backends: []string{"jwt"}, AllBackends: []string{"jwt"}}), "Backends and AllBackends are both set"},
		{"public with scopes", option(&grpcauthv1.Rule{Access: public, Scopes: []string{"a"}}), "access Public never has a user"},
		{"public with any of scopes", option(&grpcauthv1.Rule{Access: public, AnyScopes: []string{"a"}}), "access Public never has a user"},
		{"public with permissions", option(&grpcauthv1.Rule{Access: public, Permissions: []string{"a"}}), "access Public never has a user"},
		{"public with any of permissions", option(&grpcauthv1.Rule{Access: public, AnyPermissions: []string{"a"}}), "access Public never has a user"},
		{"public with backends", option(&grpcauthv1.Rule{Access: public, Backends: []string{"jwt"}}), "access Public never has a user"},
		{"public with an age", option(&grpcauthv1.Rule{Access: public, MaxAge: durationpb.New(1)}), "access Public never has a user"},
		{"public with a class", option(&grpcauthv1.Rule{Access: public, Acr: "gold"}), "access Public never has a user"},
		{"public and bound", option(&grpcauthv1.Rule{Access: public, RequireBound: true}), "access Public never has a user"},
		{"optional with scopes", option(&grpcauthv1.Rule{Access: optional, Scopes: []string{"a"}}), "access Optional would let callers without a user past"},
		{"empty scope", option(&grpcauthv1.Rule{Scopes: []string{"a", ""}}), "Scopes has an empty entry"},
		{"empty permission", option(&grpcauthv1.Rule{AnyPermissions: []string{""}}), "AnyPermissions has an empty entry"},
		{"empty backend", option(&grpcauthv1.Rule{Backends: []string{""}}), "Backends has an empty entry"},
		{"class of two words", option(&grpcauthv1.Rule{Acr: "gold silver"}), "ACR has white space"},
		{"no age", age(0, 0), "max_age is out of range"},
		{"negative age", age(-1, 0), "max_age is out of range"},
		{"negative part of a second", age(0, -1), "max_age is out of range"},
		{"two signs", age(1, -1), "max_age is out of range"},
		{"too many parts of a second", age(1, 1_000_000_000), "max_age is out of range"},
		{"longer than Go can say", age(9_223_372_037, 0), "max_age is out of range"},
		{"longer than protobuf can say", age(1<<62, 0), "max_age is out of range"},
		{"unknown access", ruleBytes(1<<3, 5), "access 5 is not known to this version"},
		{"negative access", ruleBytes(1<<3, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1), "access -1 is not known to this version"},
		{"unknown field", ruleBytes(11<<3|2, 1, 'x'), "the rule has fields that this version of grpcauth does not know"},
		{"unknown field of the age", ruleBytes(8<<3|2, 4, 1<<3, 1, 3<<3, 1), "the rule has fields that this version of grpcauth does not know"},
		{"known field of another type", ruleBytes(10<<3|2, 1, 1), "the rule has fields that this version of grpcauth does not know"},
		{"rule that is cut off", ruleBytes(4<<3|2, 9), "the rule cannot be read"},
		{"scope that is not UTF-8", ruleBytes(4<<3|2, 1, 0xff), "the rule cannot be read"},
		{"second piece that is cut off", append(option(scopes("a")), ruleBytes(0xff)...), "the rule cannot be read"},
		{"number instead of a message", protowire.AppendVarint(protowire.AppendTag(nil, number, protowire.VarintType), 3), "the option is not a message: another option has its number"},
		{"group instead of a message", protowire.AppendGroup(protowire.AppendTag(nil, number, protowire.StartGroupType), number, []byte{1 << 3, 3}), "the option is not a message: another option has its number"},
		{"message beside a number", append(option(scopes("a")), protowire.AppendVarint(protowire.AppendTag(nil, number, protowire.VarintType), 3)...), "the option is not a message: another option has its number"},
		{"options that are cut off", []byte{0xff}, "the options cannot be read"},
		{"field that is cut off", []byte{1<<3 | 2, 9}, "the options cannot be read"},
		{"giant rule", option(scopes(strings.Repeat("a", 64<<10))), "the rule has more than 65536 bytes"},
		{"giant rule in pieces", append(option(scopes(strings.Repeat("a", 40<<10))), option(scopes(strings.Repeat("b", 40<<10)))...), "the rule has more than 65536 bytes"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			opts := protopolicy.Options{Backends: []string{"jwt"}}
			policy, err := protopolicy.New(link(t, set(file(service("Orders", scopes("a"), rawMethod("Get", test.options))))), opts)
			wantErr(t, err, "shop.proto: /shop.v1.Orders/Get: "+test.want)
			if policy != nil {
				t.Errorf("got %v beside the error", policy)
			}
			s := service("Orders", nil)
			s.Options = &descriptorpb.ServiceOptions{}
			s.GetOptions().ProtoReflect().SetUnknown(test.options)
			policy, err = protopolicy.New(link(t, set(file(s))), opts)
			wantErr(t, err, "shop.proto: /shop.v1.Orders/*: "+test.want)
			if policy != nil {
				t.Errorf("of a service: got %v beside the error", policy)
			}
		})
	}
}

// A parser that does not resolve options leaves them as they were written, ours among them.
func TestRefusesOptionsThatWereNotInterpreted(t *testing.T) {
	t.Parallel()
	m := method("Get", nil)
	m.Options = &descriptorpb.MethodOptions{UninterpretedOption: []*descriptorpb.UninterpretedOption{{
		Name:           []*descriptorpb.UninterpretedOption_NamePart{{NamePart: new("grpcauth.v1.method"), IsExtension: new(true)}},
		AggregateValue: new("access: ACCESS_DENIED"),
	}}}
	_, err := protopolicy.New(link(t, set(file(service("Orders", nil, m)))), protopolicy.Options{})
	wantErr(t, err, "shop.proto: /shop.v1.Orders/Get: the options were not interpreted")
}

// Somebody else's option of our number would be read as a rule, and ours under another number not at all.
func TestRefusesOptionsThatWouldBeTakenForOurs(t *testing.T) {
	t.Parallel()
	extension := func(name, extendee string, number int32, kind descriptorpb.FieldDescriptorProto_Type, message string) *descriptorpb.FieldDescriptorProto {
		x := &descriptorpb.FieldDescriptorProto{
			Name: &name, Extendee: new(".google.protobuf." + extendee), Number: &number, Type: &kind, Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(),
		}
		if message != "" {
			x.TypeName = &message
		}
		return x
	}
	const str, msg = descriptorpb.FieldDescriptorProto_TYPE_STRING, descriptorpb.FieldDescriptorProto_TYPE_MESSAGE
	for _, test := range []struct {
		name, pkg string
		nested    bool
		extension *descriptorpb.FieldDescriptorProto
		want      string
	}{
		{"number of the method's", "other.v1", false, extension("hint", "MethodOptions", number, str, ""), "options.proto: other.v1.hint: the option is not ours and has the name or the number, 51973, of grpcauth.v1.method"},
		{"number of the service's", "other.v1", false, extension("hint", "ServiceOptions", number, str, ""), "options.proto: other.v1.hint: the option is not ours and has the name or the number, 51973, of grpcauth.v1.service"},
		{"in a message", "other.v1", true, extension("hint", "MethodOptions", number, str, ""), "options.proto: other.v1.Rule.hint: the option is not ours"},
		{"name with another number", "grpcauth.v1", false, extension("method", "MethodOptions", number+1, msg, ".grpcauth.v1.Rule"), "of grpcauth.v1.method"},
		{"name of another type", "grpcauth.v1", false, extension("method", "MethodOptions", number, str, ""), "of grpcauth.v1.method"},
		{"name of another message", "grpcauth.v1", false, extension("service", "ServiceOptions", number, msg, ".grpcauth.v1.Other"), "of grpcauth.v1.service"},
		{"name on other options", "grpcauth.v1", false, extension("method", "FileOptions", number, msg, ".grpcauth.v1.Rule"), "of grpcauth.v1.method"},
		{"ours", "grpcauth.v1", false, extension("method", "MethodOptions", number, msg, ".grpcauth.v1.Rule"), ""},
		{"number on other options", "other.v1", false, extension("hint", "FileOptions", number, str, ""), ""},
		{"another number", "other.v1", false, extension("hint", "MethodOptions", number+1, str, ""), ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			f := &descriptorpb.FileDescriptorProto{
				Name: new("options.proto"), Package: &test.pkg, Syntax: new("proto3"), Dependency: []string{"google/protobuf/descriptor.proto"},
				MessageType: []*descriptorpb.DescriptorProto{{Name: new("Rule")}, {Name: new("Other")}},
			}
			if test.nested {
				f.MessageType[0].Extension = []*descriptorpb.FieldDescriptorProto{test.extension}
			} else {
				f.Extension = []*descriptorpb.FieldDescriptorProto{test.extension}
			}
			_, err := protopolicy.New(link(t, set(descriptorFile(), f)), protopolicy.Options{})
			wantErr(t, err, test.want)
		})
	}
}

func TestRefusesTwoServicesOfOneName(t *testing.T) {
	t.Parallel()
	files := both{link(t, set(file(service("Orders", nil)))), link(t, set(file(service("Orders", scopes("a")))))}
	_, err := protopolicy.New(files, protopolicy.Options{})
	wantErr(t, err, `the files declare the service "shop.v1.Orders" more than once`)
}

type both struct{ first, second protopolicy.Files }

func (b both) RangeFiles(f func(protoreflect.FileDescriptor) bool) {
	b.first.RangeFiles(f)
	b.second.RangeFiles(f)
}

// An image of buf tells where each option stands.
func TestErrorsNameTheLine(t *testing.T) {
	t.Parallel()
	image, err := os.ReadFile("testdata/rules.binpb")
	if err != nil {
		t.Fatal(err)
	}
	var files descriptorpb.FileDescriptorSet
	unmarshal(t, image, &files, protoregistry.GlobalTypes)
	for range 20 { // files come in the order of a map
		_, err = protopolicy.New(link(t, &files), protopolicy.Options{Backends: []string{"partners"}})
		wantText(t, err,
			`rules/v1/editions.proto:16: /rules.v1.LedgerService/Read: no backend is named "staff": write one of Options.Backends, or add it there and to WithBackends`,
			`rules/v1/rules.proto:22: /rules.v1.OrderService/Cancel: no backend is named "staff": write one of Options.Backends, or add it there and to WithBackends`,
		)
	}
	// Generated code has no lines.
	_, err = protopolicy.New(protoregistry.GlobalFiles, protopolicy.Options{Backends: []string{"staff"}, Services: []string{"rules.v1.LedgerService"}})
	wantText(t, err, `rules/v1/editions.proto: /rules.v1.LedgerService/Read: no backend is named "partners": write one of Options.Backends, or add it there and to WithBackends`)
}

func TestLineIsThatOfTheOption(t *testing.T) {
	t.Parallel()
	location := func(line int32, path ...int32) *descriptorpb.SourceCodeInfo_Location {
		return &descriptorpb.SourceCodeInfo_Location{Path: path, Span: []int32{line - 1, 0, 9}}
	}
	methodAt, serviceAt := location(20, 6, 0, 2, 0), location(10, 6, 0)
	for _, test := range []struct {
		name      string
		locations []*descriptorpb.SourceCodeInfo_Location
		want      string
	}{
		{"none", nil, "shop.proto: /shop.v1.Orders/*: | shop.proto: /shop.v1.Orders/Get: "},
		{"of service and method", []*descriptorpb.SourceCodeInfo_Location{serviceAt, methodAt}, "shop.proto:10: /shop.v1.Orders/*: | shop.proto:20: /shop.v1.Orders/Get: "},
		{
			"of the options",
			[]*descriptorpb.SourceCodeInfo_Location{serviceAt, location(12, 6, 0, 3, number), methodAt, location(22, 6, 0, 2, 0, 4, number)},
			"shop.proto:12: /shop.v1.Orders/*: | shop.proto:22: /shop.v1.Orders/Get: ",
		},
		{
			"of a field of the options",
			[]*descriptorpb.SourceCodeInfo_Location{serviceAt, location(13, 6, 0, 3, number, 4), methodAt, location(23, 6, 0, 2, 0, 4, number, 1)},
			"shop.proto:13: /shop.v1.Orders/*: | shop.proto:23: /shop.v1.Orders/Get: ",
		},
		{"of another option", []*descriptorpb.SourceCodeInfo_Location{methodAt, location(23, 6, 0, 2, 0, 4, 33)}, "shop.proto: /shop.v1.Orders/*: | shop.proto:20: /shop.v1.Orders/Get: "},
		{"before the first line", []*descriptorpb.SourceCodeInfo_Location{location(-3, 6, 0)}, "shop.proto: /shop.v1.Orders/*: | shop.proto: /shop.v1.Orders/Get: "},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			f := file(service("Orders", scopes(""), method("Get", scopes(""))))
			f.SourceCodeInfo = &descriptorpb.SourceCodeInfo{Location: test.locations}
			_, err := protopolicy.New(link(t, set(f)), protopolicy.Options{})
			first, second, _ := strings.Cut(test.want, "| ")
			wantText(t, err, first+"Scopes has an empty entry: take it out or write its name", second+"Scopes has an empty entry: take it out or write its name")
		})
	}
}

// Everything that is wrong is said at once, in one order: what is wrong with the options of New, then files, then lines.
func TestErrorsAreSorted(t *testing.T) {
	t.Parallel()
	first := file(service("Orders", nil, method("Zap", &grpcauthv1.Rule{Access: 9, Backends: []string{"b", "a", "b", ""}}), method("Add", scopes(""))))
	first.Name = new("b.proto")
	first.SourceCodeInfo = &descriptorpb.SourceCodeInfo{Location: []*descriptorpb.SourceCodeInfo_Location{
		{Path: []int32{6, 0, 2, 0}, Span: []int32{8, 0, 9}}, {Path: []int32{6, 0, 2, 1}, Span: []int32{9, 0, 9}},
	}}
	second := &descriptorpb.FileDescriptorProto{Name: new("a\n\x1b[31m.proto"), Package: new("a"), Dependency: []string{"b.proto"}, Service: []*descriptorpb.ServiceDescriptorProto{
		service("A", scopes("")),
	}}
	for range 20 {
		_, err := protopolicy.New(link(t, set(second, first)), protopolicy.Options{Services: []string{"x", "a.A", "shop.v1.Orders", "w"}})
		wantText(t, err,
			`protopolicy: Options.Services: "w" is no service of the files: write its full name, such as "shop.v1.OrderService"`,
			`protopolicy: Options.Services: "x" is no service of the files: write its full name, such as "shop.v1.OrderService"`,
			`"a\n\x1b[31m.proto": /a.A/*: Scopes has an empty entry: take it out or write its name`,
			`b.proto:9: /shop.v1.Orders/Zap: Backends has an empty entry: take it out or write its name`,
			`b.proto:9: /shop.v1.Orders/Zap: access 9 is not known to this version of grpcauth: update it`,
			`b.proto:9: /shop.v1.Orders/Zap: no backend is named "a": write one of Options.Backends, or add it there and to WithBackends`,
			`b.proto:9: /shop.v1.Orders/Zap: no backend is named "b": write one of Options.Backends, or add it there and to WithBackends`,
			`b.proto:10: /shop.v1.Orders/Add: Scopes has an empty entry: take it out or write its name`,
		)
	}
}

func wantText(t *testing.T, err error, lines ...string) {
	t.Helper()
	if want := strings.Join(lines, "\n"); err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

// descriptorFile is google/protobuf/descriptor.proto.
func descriptorFile() *descriptorpb.FileDescriptorProto {
	return generatedFile(descriptorpb.File_google_protobuf_descriptor_proto)
}
