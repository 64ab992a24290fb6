// SPDX-License-Identifier: Apache-2.0

package benchmarks

import (
	"fmt"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/grpcauth/grpcauth"
	echov1 "github.com/grpcauth/grpcauth/internal/gen/echo/v1"
	grpcauthv1 "github.com/grpcauth/grpcauth/proto/grpcauth/v1"
	"github.com/grpcauth/grpcauth/protopolicy"
)

// annotated is the interceptor alone with the rules of so many methods from their .proto, beside the same with one rule in Go.
func annotated(n int) contest {
	return contest{ready: func(w *world) (ours, peer op) {
		files, err := protopolicy.FromSet(annotatedSet(n))
		if err != nil {
			w.Fatal(err)
		}
		policy, err := protopolicy.New(files, protopolicy.Options{})
		if err != nil {
			w.Fatal(err)
		}
		if len(policy) != n {
			w.Fatalf("got %d rules, want %d", len(policy), n)
		}
		with := func(policy grpcauth.Policy) op {
			return w.alone(w.guard("RS256", grpcauth.WithPolicy(policy)).Unary(), "Bearer "+w.tokens["RS256"])
		}
		return with(policy), with(grpcauth.Policy{method: {Scopes: []string{"orders.read"}}})
	}}
}

// annotatedSet has the service that is called, with one method, and others with the rest.
func annotatedSet(n int) *descriptorpb.FileDescriptorSet {
	file := &descriptorpb.FileDescriptorProto{Name: new("all.proto"), Package: new("echo.v1"), MessageType: []*descriptorpb.DescriptorProto{{Name: new("Empty")}}}
	add := func(service *descriptorpb.ServiceDescriptorProto, name, scope string) {
		options := &descriptorpb.MethodOptions{}
		proto.SetExtension(options, grpcauthv1.E_Method, &grpcauthv1.Rule{Scopes: []string{scope}})
		service.Method = append(service.Method, &descriptorpb.MethodDescriptorProto{
			Name: &name, InputType: new(".echo.v1.Empty"), OutputType: new(".echo.v1.Empty"), Options: options,
		})
	}
	called := echov1.File_echo_v1_echo_proto.Services().Get(0)
	service := &descriptorpb.ServiceDescriptorProto{Name: new(string(called.Name()))}
	add(service, string(called.Methods().Get(0).Name()), "orders.read")
	file.Service = append(file.Service, service)
	for k := 1; k < n; k++ {
		if k%10 == 1 {
			service = &descriptorpb.ServiceDescriptorProto{Name: new(fmt.Sprintf("Orders%d", k))}
			file.Service = append(file.Service, service)
		}
		add(service, fmt.Sprintf("Get%d", k), "orders.write")
	}
	return &descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{file}}
}

func BenchmarkAnnotated(b *testing.B) { benchmark(b, annotated(1_000)) }
