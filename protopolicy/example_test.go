// SPDX-License-Identifier: Apache-2.0

package protopolicy_test

import (
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/protopolicy"
	_ "github.com/grpcauth/grpcauth/protopolicy/internal/gen/rules/v1" // the generated code of the service
)

func Example() {
	policy, err := protopolicy.New(protoregistry.GlobalFiles, protopolicy.Options{
		Backends: []string{"staff", "partners"}, // as in WithBackends
		Services: []string{"rules.v1.LedgerService"},
		Default:  grpcauth.Rule{Scopes: []string{"ledger.write"}},
		Overlay:  grpcauth.HealthPolicy(grpcauth.Public),
	})
	if err != nil {
		panic(err)
	}
	for _, pattern := range slices.Sorted(maps.Keys(policy)) {
		rule := policy[pattern]
		fmt.Println(pattern, rule.Access, rule.AllBackends, rule.Scopes)
	}

	_, err = protopolicy.New(protoregistry.GlobalFiles, protopolicy.Options{
		Backends: []string{"staff"},
		Services: []string{"rules.v1.LedgerService"},
	})
	fmt.Println(err)
	// Output:
	// /grpc.health.v1.Health/* public [] []
	// /rules.v1.LedgerService/Post required [] [ledger.write]
	// /rules.v1.LedgerService/Read required [staff partners] []
	// rules/v1/editions.proto: /rules.v1.LedgerService/Read: no backend is named "partners": write one of Options.Backends, or add it there and to WithBackends
}
