// SPDX-License-Identifier: Apache-2.0

package grpcauthtest_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"google.golang.org/grpc/status"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/jwt"
	"github.com/grpcauth/grpcauth/grpcauthtest"
	echov1 "github.com/grpcauth/grpcauth/internal/gen/echo/v1"
)

// whoAmI is a handler to test.
type whoAmI struct {
	echov1.UnimplementedEchoServiceServer
}

func (whoAmI) Echo(ctx context.Context, _ *echov1.EchoRequest) (*echov1.EchoResponse, error) {
	user, _ := grpcauth.FromContext(ctx)
	return &echov1.EchoResponse{UserId: user.ID}, nil
}

// callTwice is the body of a test: a call with a token that is good, and one with the same token an hour later.
func callTwice(t testing.TB) {
	issuer := grpcauthtest.NewIssuer(t, "https://idp.example.com", "orders")
	clock := grpcauthtest.NewClock(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	issuer.Now = clock.Now
	tokens, err := jwt.New(jwt.Options{Issuers: []jwt.Issuer{issuer.Config("ES256")}, Now: clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	auth := grpcauth.New(tokens, grpcauth.WithClock(clock.Now))
	conn := grpcauthtest.Serve(t, auth, func(s grpcauth.Server) { echov1.RegisterEchoServiceServer(s, whoAmI{}) })

	ctx := grpcauthtest.WithBearer(t.Context(), issuer.Token("ES256", "alice", nil))
	for range 2 {
		resp, err := echov1.NewEchoServiceClient(conn).Echo(ctx, &echov1.EchoRequest{})
		fmt.Printf("%q %v\n", resp.GetUserId(), status.Code(err))
		clock.Advance(time.Hour)
	}
}

func Example() {
	inTest(callTwice)
	// Output:
	// "alice" OK
	// "" Unauthenticated
}
