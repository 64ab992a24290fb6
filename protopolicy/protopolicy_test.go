// SPDX-License-Identifier: Apache-2.0

package protopolicy_test

import (
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/grpcauth/grpcauth"
	grpcauthv1 "github.com/grpcauth/grpcauth/proto/grpcauth/v1"
	"github.com/grpcauth/grpcauth/protopolicy"
	rulesv1 "github.com/grpcauth/grpcauth/protopolicy/internal/gen/rules/v1"
)

// inFiles is what the files of rules/v1 say: one of proto3, one of proto2, one of an edition.
var inFiles = grpcauth.Policy{
	"/rules.v1.OrderService/*": {Scopes: []string{"orders.read"}},
	"/rules.v1.OrderService/Cancel": {
		Backends: []string{"staff", "partners"}, Scopes: []string{"orders.write"}, AnyScopes: []string{"eu", "us"}, Permissions: []string{"orders.cancel"},
		AnyPermissions: []string{"desk", "shift.*"}, MaxAge: 10 * time.Minute, ACR: "urn:example:gold", RequireBound: true,
	},
	"/rules.v1.OrderService/Watch":  {Access: grpcauth.Public},
	"/rules.v1.OrderService/Import": {Access: grpcauth.Denied},
	"/rules.v1.OrderService/Chat":   {},
	"/rules.v1.LedgerService/Read":  {AllBackends: []string{"staff", "partners"}},
	"/rules.v1.LegacyService/*":     {Access: grpcauth.Optional},
}

var known = []string{"staff", "partners"}

// Whoever made the descriptors, and whether the option was known there, the policy is the same.
func TestRulesAreThoseOfTheProto(t *testing.T) {
	t.Parallel()
	image, err := os.ReadFile("testdata/rules.binpb")
	if err != nil {
		t.Fatal(err)
	}
	var unknown, ours, theirs descriptorpb.FileDescriptorSet
	unmarshal(t, image, &unknown, &protoregistry.Types{})
	unmarshal(t, image, &ours, protoregistry.GlobalTypes)
	unmarshal(t, image, &theirs, dynamicpb.NewTypes(link(t, &unknown)))
	for name, files := range map[string]protopolicy.Files{
		"generated code":              protoregistry.GlobalFiles,
		"image, option not known":     link(t, &unknown),
		"image, option known":         link(t, &ours),
		"image, option of its making": link(t, &theirs),
		"options of its making":       dynamicOptions{link(t, &unknown)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := protopolicy.New(files, protopolicy.Options{Backends: known})
			if err != nil {
				t.Fatal(err)
			}
			wantPolicy(t, got, inFiles)
		})
	}
}

// The image is the one that buf makes of internal/proto: buf build --path internal/proto/rules -o protopolicy/testdata/rules.binpb.
func TestImageIsThatOfTheProtos(t *testing.T) {
	t.Parallel()
	image, err := os.ReadFile("testdata/rules.binpb")
	if err != nil {
		t.Fatal(err)
	}
	var set descriptorpb.FileDescriptorSet
	unmarshal(t, image, &set, protoregistry.GlobalTypes)
	found := 0
	for _, file := range set.GetFile() {
		if strings.HasPrefix(file.GetName(), "google/") {
			continue
		}
		found++
		file.SourceCodeInfo = nil
		file.ProtoReflect().SetUnknown(nil) // what buf says of its own
		generated, err := protoregistry.GlobalFiles.FindFileByPath(file.GetName())
		if err != nil {
			t.Fatal(err)
		}
		if want := protodesc.ToFileDescriptorProto(generated); !proto.Equal(file, want) {
			t.Errorf("%s in the image is not that of the generated code: make it again", file.GetName())
		}
	}
	if found != 4 {
		t.Errorf("the image has %d files of this repository, want 4", found)
	}
}

// Descriptors of services are compiled all over the world: neither name nor number can ever change.
func TestOptionsHaveTheirNamesAndNumberForEver(t *testing.T) {
	t.Parallel()
	for want, x := range map[protoreflect.FullName]protoreflect.ExtensionType{"grpcauth.v1.service": grpcauthv1.E_Service, "grpcauth.v1.method": grpcauthv1.E_Method} {
		if d := x.TypeDescriptor(); d.FullName() != want || d.Number() != 51973 {
			t.Errorf("got %s with number %d, want %s with 51973", d.FullName(), d.Number(), want)
		}
	}
}

// A field that were added to the option and forgotten here would be a restriction that nobody checks.
func TestEveryFieldOfTheOptionIsInTheRule(t *testing.T) {
	t.Parallel()
	said := &grpcauthv1.Rule{}
	fields := said.ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		raw := map[protoreflect.Kind][]byte{
			protoreflect.EnumKind: {1 << 3, 4}, protoreflect.BoolKind: {byte(f.Number()) << 3, 1},
			protoreflect.StringKind: {byte(f.Number())<<3 | 2, 1, 'a'}, protoreflect.MessageKind: {byte(f.Number())<<3 | 2, 2, 1 << 3, 1},
		}[f.Kind()]
		one := &grpcauthv1.Rule{}
		unmarshal(t, raw, one, &protoregistry.Types{})
		policy, err := protopolicy.New(link(t, set(file(service("Orders", nil, method("Get", one))))), protopolicy.Options{Backends: []string{"a"}})
		if err != nil || reflect.DeepEqual(policy["/shop.v1.Orders/Get"], grpcauth.Rule{}) {
			t.Errorf("%s: got %v and %v, want a rule that is not empty", f.Name(), policy, err)
		}
	}
	if got, want := fields.Len(), reflect.TypeFor[grpcauth.Rule]().NumField(); got != want {
		t.Errorf("the option has %d fields, the rule %d", got, want)
	}
}

func TestMethodsRuleReplacesTheServices(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		file *descriptorpb.FileDescriptorProto
		want grpcauth.Policy
	}{
		{
			"service alone",
			file(service("Orders", scopes("read"), method("Get", nil))),
			grpcauth.Policy{"/shop.v1.Orders/*": {Scopes: []string{"read"}}},
		},
		{
			"method alone",
			file(service("Orders", nil, method("Get", scopes("read")), method("List", nil))),
			grpcauth.Policy{"/shop.v1.Orders/Get": {Scopes: []string{"read"}}},
		},
		{
			"both: nothing is merged",
			file(service("Orders", scopes("read"), method("Delete", &grpcauthv1.Rule{Permissions: []string{"delete"}}))),
			grpcauth.Policy{"/shop.v1.Orders/*": {Scopes: []string{"read"}}, "/shop.v1.Orders/Delete": {Permissions: []string{"delete"}}},
		},
		{
			"an empty rule is one",
			file(service("Orders", scopes("read"), method("Ping", &grpcauthv1.Rule{}))),
			grpcauth.Policy{"/shop.v1.Orders/*": {Scopes: []string{"read"}}, "/shop.v1.Orders/Ping": {}},
		},
		{
			"no package",
			edit(file(service("Orders", nil, method("Get", scopes("read")))), func(f *descriptorpb.FileDescriptorProto) {
				f.Package = nil
				f.Service[0].Method[0].InputType, f.Service[0].Method[0].OutputType = new(".Empty"), new(".Empty")
			}),
			grpcauth.Policy{"/Orders/Get": {Scopes: []string{"read"}}},
		},
		{
			"streams",
			edit(file(service("Orders", nil, method("Watch", scopes("read")))), func(f *descriptorpb.FileDescriptorProto) {
				f.Service[0].Method[0].ClientStreaming, f.Service[0].Method[0].ServerStreaming = new(true), new(true)
			}),
			grpcauth.Policy{"/shop.v1.Orders/Watch": {Scopes: []string{"read"}}},
		},
		{
			"said and the same as not said",
			file(service("Orders", nil, method("Get", &grpcauthv1.Rule{Access: grpcauthv1.Access_ACCESS_REQUIRED}))),
			grpcauth.Policy{"/shop.v1.Orders/Get": {Access: grpcauth.Required}},
		},
		{
			"a rule in several pieces is merged as protobuf does",
			file(service("Orders", nil, rawMethod("Get", append(
				option(&grpcauthv1.Rule{Scopes: []string{"a"}, Acr: "silver", Access: grpcauthv1.Access_ACCESS_PUBLIC}),
				option(&grpcauthv1.Rule{Scopes: []string{"b"}, Acr: "gold", Access: grpcauthv1.Access_ACCESS_DENIED})...)))),
			grpcauth.Policy{"/shop.v1.Orders/Get": {Access: grpcauth.Denied, Scopes: []string{"a", "b"}, ACR: "gold"}},
		},
		{
			"a piece beside an option that was known",
			edit(file(service("Orders", nil, method("Get", scopes("a")))), func(f *descriptorpb.FileDescriptorProto) {
				f.GetService()[0].GetMethod()[0].GetOptions().ProtoReflect().SetUnknown(option(scopes("b")))
			}),
			grpcauth.Policy{"/shop.v1.Orders/Get": {Scopes: []string{"a", "b"}}},
		},
		{
			"options of others",
			file(service("Orders", nil, edit(rawMethod("Get", []byte{0xc0, 0x3e, 7}), func(m *descriptorpb.MethodDescriptorProto) { m.Options.Deprecated = new(true) }))),
			grpcauth.Policy{},
		},
		{"no rule anywhere", file(service("Orders", nil, method("Get", nil))), grpcauth.Policy{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, err := protopolicy.New(link(t, set(test.file)), protopolicy.Options{})
			if err != nil {
				t.Fatal(err)
			}
			wantPolicy(t, got, test.want)
		})
	}
}

func TestServicesAreChosenByName(t *testing.T) {
	t.Parallel()
	files := link(t, set(file(service("Orders", scopes("read"), method("Get", nil)), service("Carts", nil, method("Get", scopes("read"))), service("Plain", nil, method("Get", nil)))))
	for _, test := range []struct {
		name     string
		services []string
		want     []string
		err      string
	}{
		{"all that have an option", nil, []string{"/shop.v1.Carts/Get", "/shop.v1.Orders/*"}, ""},
		{"one", []string{"shop.v1.Carts"}, []string{"/shop.v1.Carts/Get"}, ""},
		{"one twice", []string{"shop.v1.Carts", "shop.v1.Carts"}, []string{"/shop.v1.Carts/Get"}, ""},
		{"one without options", []string{"shop.v1.Plain"}, nil, ""},
		{"unknown", []string{"shop.v1.Carts", "shop.v1.Cart"}, nil, `Options.Services: "shop.v1.Cart" is no service`},
		{"as gRPC writes it", []string{"/shop.v1.Carts"}, nil, `Options.Services: "/shop.v1.Carts" is no service`},
		{"another case", []string{"shop.v1.carts"}, nil, `Options.Services: "shop.v1.carts" is no service`},
		{"message", []string{"shop.v1.Empty"}, nil, `Options.Services: "shop.v1.Empty" is no service`},
		{"empty", []string{""}, nil, `Options.Services: "" is no service`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, err := protopolicy.New(files, protopolicy.Options{Services: test.services})
			wantErr(t, err, test.err)
			if keys := slices.Sorted(maps.Keys(got)); !slices.Equal(keys, test.want) {
				t.Errorf("got rules for %q, want %q", keys, test.want)
			}
		})
	}
}

// The default is for what no rule names, each method by its name, so that a method that is added later is not opened with them.
func TestDefaultIsForMethodsWithoutAnyRule(t *testing.T) {
	t.Parallel()
	files := link(t, set(file(service("Orders", nil, method("Get", scopes("read")), method("List", nil), method("Find", nil)), service("Carts", scopes("all"), method("Get", nil)), service("Plain", nil, method("Get", nil)))))
	public := grpcauth.Rule{Access: grpcauth.Public}
	for _, test := range []struct {
		name string
		opts protopolicy.Options
		want grpcauth.Policy
		err  string
	}{
		{"zero", protopolicy.Options{}, grpcauth.Policy{}, ""},
		{"zero but for an empty list", protopolicy.Options{Default: grpcauth.Rule{Scopes: []string{}}}, grpcauth.Policy{}, ""},
		{"of services with options", protopolicy.Options{Default: public}, grpcauth.Policy{"/shop.v1.Orders/List": public, "/shop.v1.Orders/Find": public}, ""},
		{
			"of services that were chosen",
			protopolicy.Options{Default: public, Services: []string{"shop.v1.Plain", "shop.v1.Carts"}},
			grpcauth.Policy{"/shop.v1.Plain/Get": public, "/shop.v1.Orders/Get": {}},
			"",
		},
		{
			"not beside a rule in Go",
			protopolicy.Options{Default: public, Overlay: grpcauth.Policy{"/shop.v1.Orders/List": {Access: grpcauth.Denied}}},
			grpcauth.Policy{"/shop.v1.Orders/List": {Access: grpcauth.Denied}, "/shop.v1.Orders/Find": public},
			"",
		},
		{
			"not under a wide rule in Go",
			protopolicy.Options{Default: public, Overlay: grpcauth.Policy{"/shop.v1.Orders/*": {Access: grpcauth.Denied}}},
			grpcauth.Policy{"/shop.v1.Orders/*": {Access: grpcauth.Denied}},
			"",
		},
		{"contradiction", protopolicy.Options{Default: grpcauth.Rule{Access: grpcauth.Public, ACR: "gold"}}, nil, "protopolicy: Options.Default: access Public never has a user"},
		{"backend", protopolicy.Options{Default: grpcauth.Rule{AllBackends: []string{"nobody"}}}, nil, `protopolicy: Options.Default: no backend is named "nobody"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, err := protopolicy.New(files, test.opts)
			wantErr(t, err, test.err)
			if test.want == nil {
				return
			}
			// What the files say is there in any case, where their service is chosen.
			want := maps.Clone(test.want)
			want["/shop.v1.Orders/Get"], want["/shop.v1.Carts/*"] = grpcauth.Rule{Scopes: []string{"read"}}, grpcauth.Rule{Scopes: []string{"all"}}
			if test.opts.Services != nil {
				delete(want, "/shop.v1.Orders/Get")
			}
			wantPolicy(t, got, want)
		})
	}
}

func TestOverlayIsForWhatHasNoOption(t *testing.T) {
	t.Parallel()
	files := link(t, set(file(service("Orders", nil, method("Get", scopes("read")), method("List", nil)), service("Carts", scopes("all"), method("Get", nil)))))
	for _, test := range []struct {
		name, pattern string
		rule          grpcauth.Rule
		err           string
	}{
		{"service of others", "/grpc.health.v1.Health/*", grpcauth.Rule{Access: grpcauth.Public}, ""},
		{"method without a rule", "/shop.v1.Orders/List", grpcauth.Rule{Access: grpcauth.Public}, ""},
		{"rest of a service without a rule", "/shop.v1.Orders/*", grpcauth.Rule{Access: grpcauth.Public}, ""},
		{"method with a rule", "/shop.v1.Orders/Get", grpcauth.Rule{}, `Options.Overlay["/shop.v1.Orders/Get"]: the option of /shop.v1.Orders/Get says so already, at shop.proto`},
		{"service with a rule", "/shop.v1.Carts/*", grpcauth.Rule{}, `Options.Overlay["/shop.v1.Carts/*"]: the option of /shop.v1.Carts/* says so already, at shop.proto`},
		{"method of a service with a rule", "/shop.v1.Carts/Get", grpcauth.Rule{}, `Options.Overlay["/shop.v1.Carts/Get"]: the option of /shop.v1.Carts/* says so already, at shop.proto`},
		{"contradiction", "/a.B/C", grpcauth.Rule{Access: grpcauth.Public, Scopes: []string{"read"}}, `Options.Overlay["/a.B/C"]: access Public never has a user`},
		{"backend", "/a.B/C", grpcauth.Rule{Backends: []string{"nobody"}}, `Options.Overlay["/a.B/C"]: no backend is named "nobody"`},
		{"no method", "a.B/C", grpcauth.Rule{}, `Options.Overlay["a.B/C"]: write "/package.Service/Method"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, err := protopolicy.New(files, protopolicy.Options{Overlay: grpcauth.Policy{test.pattern: test.rule}})
			wantErr(t, err, test.err)
			if test.err == "" && !reflect.DeepEqual(got[test.pattern], test.rule) {
				t.Errorf("got %+v, want %+v", got[test.pattern], test.rule)
			}
			if test.err == "" && !reflect.DeepEqual(got["/shop.v1.Orders/Get"].Scopes, []string{"read"}) {
				t.Errorf("the option is gone: %+v", got)
			}
		})
	}
}

// What the caller does to the options later changes no rule.
func TestPolicyIsItsOwn(t *testing.T) {
	t.Parallel()
	list := []string{"read"}
	opts := protopolicy.Options{Default: grpcauth.Rule{Scopes: list}, Overlay: grpcauth.Policy{"/a.B/C": {Scopes: list}}}
	got, err := protopolicy.New(link(t, set(file(service("Orders", nil, method("Get", scopes("x")), method("List", nil), method("Find", nil))))), opts)
	if err != nil {
		t.Fatal(err)
	}
	list[0] = "changed"
	got["/shop.v1.Orders/Find"].Scopes[0] = "changed"
	for _, pattern := range []string{"/a.B/C", "/shop.v1.Orders/List"} {
		if scopes := got[pattern].Scopes; !slices.Equal(scopes, []string{"read"}) {
			t.Errorf("%s: got %q", pattern, scopes)
		}
	}
	if len(opts.Overlay) != 1 {
		t.Errorf("the overlay became %v", opts.Overlay)
	}
}

// Compiled or not, a service that nobody annotated has no rule, and its methods need a user.
func TestGeneratedServicesWithoutRulesAreLeftOut(t *testing.T) {
	t.Parallel()
	policy, err := protopolicy.New(protoregistry.GlobalFiles, protopolicy.Options{Backends: known, Default: grpcauth.Rule{Access: grpcauth.Denied}})
	if err != nil {
		t.Fatal(err)
	}
	plain := string(rulesv1.File_rules_v1_rules_proto.Services().ByName("PlainService").FullName())
	for pattern := range policy {
		if strings.HasPrefix(pattern, "/"+plain+"/") || !strings.HasPrefix(pattern, "/rules.v1.") {
			t.Errorf("%s has a rule", pattern)
		}
	}
	if got := policy["/rules.v1.LedgerService/Post"].Access; got != grpcauth.Denied {
		t.Errorf("the method beside one with a rule: got %v, want denied", got)
	}
}

func TestNoFilesAreNoPolicy(t *testing.T) {
	t.Parallel()
	var none *protoregistry.Files
	for name, files := range map[string]protopolicy.Files{"nil": nil, "nil files": none} {
		if policy, err := protopolicy.New(files, protopolicy.Options{}); err == nil || policy != nil {
			t.Errorf("%s: got %v and %v, want an error", name, policy, err)
		}
	}
	_, err := protopolicy.New(&protoregistry.Files{}, protopolicy.Options{Backends: []string{"a", ""}})
	wantErr(t, err, "protopolicy: Options.Backends has an empty entry")
}
