// SPDX-License-Identifier: Apache-2.0

package backendtest_test

import (
	"context"
	"fmt"
	"testing"

	"google.golang.org/grpc/metadata"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/backendtest"
)

// badge is a backend of one's own: it knows one caller by the number of her badge.
type badge struct{}

func (badge) Authenticate(_ context.Context, req *grpcauth.Request) (*grpcauth.User, error) {
	number, err := req.Value("x-badge")
	if err != nil {
		return nil, err
	}
	if number != "4711" {
		return nil, grpcauth.Errorf(grpcauth.CodeInvalid, "no such badge")
	}
	return &grpcauth.User{ID: "alice", Method: "badge"}, nil
}

func (badge) Schemes() []grpcauth.Scheme {
	return []grpcauth.Scheme{{Name: "badge", Header: "x-badge"}}
}

// calls are what is known of the backend: a call that it accepts, and some that it does not.
var calls = backendtest.Suite{
	Backend: badge{},
	Good:    metadata.Pairs("x-badge", "4711"),
	Bad:     []metadata.MD{metadata.Pairs("x-badge", "4712"), metadata.Pairs("x-badge", "")},
}

func TestBadge(t *testing.T) {
	t.Parallel()
	backendtest.Run(t, calls)
}

// The test of a backend is one line: see TestBadge of this package, which makes these calls and many like them.
func Example() {
	ctx := context.Background()
	for _, md := range append(calls.Bad, calls.Good) {
		user, err := calls.Backend.Authenticate(ctx, grpcauth.NewRequest(metadata.NewIncomingContext(ctx, md), "/shop.v1.Orders/Get"))
		fmt.Println(user != nil, err)
	}
	// Output:
	// false CREDENTIALS_INVALID: no such badge
	// false CREDENTIALS_MALFORMED: x-badge is empty
	// true <nil>
}
