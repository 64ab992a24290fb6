// SPDX-License-Identifier: Apache-2.0

package grpcauth_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/grpcauth/grpcauth"
)

// keys is a backend in a few lines: who holds one of these keys is somebody.
var keys = grpcauth.BackendFunc(func(_ context.Context, req *grpcauth.Request) (*grpcauth.User, error) {
	key, err := req.Value("x-team-key")
	if err != nil {
		return nil, err // absent, or given twice
	}
	if key != "open sesame" {
		return nil, grpcauth.Errorf(grpcauth.CodeInvalid, "unknown key")
	}
	return &grpcauth.User{ID: "alice", Method: "team-key", Scopes: []string{"orders.read"}}, nil
})

// called is the context of a call from this machine, as a server sees it.
func called(pairs ...string) context.Context {
	ctx := peer.NewContext(context.Background(), &peer.Peer{Addr: &net.UnixAddr{Net: "unix"}})
	return metadata.NewIncomingContext(ctx, metadata.Pairs(pairs...))
}

func Example() {
	auth := grpcauth.New(keys)
	srv := grpc.NewServer(auth.ServerOptions()...)
	defer srv.Stop()
	healthpb.RegisterHealthServer(auth.Registrar(srv), health.NewServer()) // and your services, in the same way

	ctx, err := auth.Authenticate(called("x-team-key", "open sesame"), "/shop.v1.Orders/Get")
	user, _ := grpcauth.FromContext(ctx)
	fmt.Println(user.ID, err)

	_, err = auth.Authenticate(called("x-team-key", "guess"), "/shop.v1.Orders/Get")
	fmt.Println(err)
	// Output:
	// alice <nil>
	// Unauthenticated: CREDENTIALS_INVALID: unknown key
}

func ExampleChain() {
	badges := grpcauth.BackendFunc(func(_ context.Context, req *grpcauth.Request) (*grpcauth.User, error) {
		badge, err := req.Authorization("Badge")
		if err != nil {
			return nil, err
		}
		return &grpcauth.User{ID: "badge " + badge}, nil
	})
	auth := grpcauth.New(grpcauth.Chain(keys, badges))
	for _, md := range [][]string{{"x-team-key", "open sesame"}, {"authorization", "Badge 42"}, {"x-team-key", "guess"}, {}} {
		ctx, err := auth.Authenticate(called(md...), "/shop.v1.Orders/Get")
		if err != nil {
			fmt.Println(grpcauth.CodeOf(err))
			continue
		}
		user, _ := grpcauth.FromContext(ctx)
		fmt.Println(user.ID)
	}
	// Output:
	// alice
	// badge 42
	// CREDENTIALS_INVALID
	// CREDENTIALS_MISSING
}

func ExampleWithPolicy() {
	auth := grpcauth.New(keys, grpcauth.WithPolicy(grpcauth.Policy{
		"/shop.v1.Orders/Get":    {Scopes: []string{"orders.read"}},
		"/shop.v1.Orders/Delete": {Scopes: []string{"orders.write"}, MaxAge: time.Hour},
		"/shop.v1.Catalog/*":     {Access: grpcauth.Public},
	}), grpcauth.WithPolicy(grpcauth.HealthPolicy(grpcauth.Public)))

	alice := called("x-team-key", "open sesame")
	for _, method := range []string{"/shop.v1.Orders/Get", "/shop.v1.Orders/Delete", "/shop.v1.Orders/New"} {
		_, err := auth.Authenticate(alice, method)
		fmt.Println(method, err == nil)
	}
	_, err := auth.Authenticate(called(), "/shop.v1.Catalog/List")
	fmt.Println("/shop.v1.Catalog/List", err == nil)
	// Output:
	// /shop.v1.Orders/Get true
	// /shop.v1.Orders/Delete false
	// /shop.v1.Orders/New true
	// /shop.v1.Catalog/List true
}

func ExampleWithLoader() {
	type customer struct{ plan string }
	auth := grpcauth.New(keys, grpcauth.WithLoader(func(_ context.Context, user *grpcauth.User) (*customer, error) {
		if user.ID != "alice" {
			return nil, grpcauth.Errorf(grpcauth.CodeForbidden, "no customer")
		}
		return &customer{plan: "gold"}, nil
	}))
	ctx, err := auth.Authenticate(called("x-team-key", "open sesame"), "/shop.v1.Orders/Get")
	if err != nil {
		fmt.Println(err)
		return
	}
	record, _ := grpcauth.Loaded[*customer](ctx)
	fmt.Println(record.plan)
	// Output: gold
}

func ExampleWithObserver() {
	auth := grpcauth.New(keys, grpcauth.WithObserver(grpcauth.ObserverFunc(func(_ context.Context, e grpcauth.Event) {
		who := "nobody"
		if e.User != nil {
			who = e.User.ID
		}
		fmt.Println(e.Method, e.Status, who)
	})))
	_, _ = auth.Authenticate(called("x-team-key", "open sesame"), "/shop.v1.Orders/Get")
	_, _ = auth.Authenticate(called(), "/shop.v1.Orders/Get")
	// Output:
	// /shop.v1.Orders/Get OK alice
	// /shop.v1.Orders/Get Unauthenticated nobody
}

func ExampleErrorf() {
	err := grpcauth.Errorf(grpcauth.CodeRevoked, "session %d was ended: %w", 7, errors.New("signed out elsewhere"))
	fmt.Println(err)                        // for the server's log
	fmt.Println(err.GRPCStatus().Message()) // for the caller
	// Output:
	// CREDENTIALS_REVOKED: session 7 was ended: signed out elsewhere
	// credentials were revoked
}

func ExampleFromHTTPStatus() {
	err := grpcauth.FromHTTPStatus(401, "no row in sessions").
		WithPublicMessage("Please sign in again.").
		WithHeader("www-authenticate", `Bearer realm="shop"`)
	fmt.Println(err.GRPCStatus().Code(), err.GRPCStatus().Message())
	// Output: Unauthenticated Please sign in again.
}

func ExampleUser_HasPermission() {
	user := &grpcauth.User{ID: "alice", Permissions: []string{"orders.*"}}
	fmt.Println(user.HasPermission("orders.read"), user.HasPermission("users.read"))
	// Output: true false
}

func ExampleUser_Claims() {
	user := &grpcauth.User{ID: "alice", RawClaims: []byte(`{"sub":"alice","tenant":"acme"}`)}
	var claims struct {
		Tenant string `json:"tenant"`
	}
	err := user.Claims(&claims)
	fmt.Println(claims.Tenant, err)
	// Output: acme <nil>
}

func ExampleInterceptor_Check() {
	auth := grpcauth.New(keys, grpcauth.WithPolicy(grpcauth.Policy{"/shop.v1.Orders/Gte": {Access: grpcauth.Public}}))
	err := auth.Check(grpc.NewServer(auth.ServerOptions()...))
	fmt.Println(strings.ReplaceAll(err.Error(), "grpcauth: ", ""))
	// Output: policy for "/shop.v1.Orders/Gte": the server has no service "shop.v1.Orders"
}
