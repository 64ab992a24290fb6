// SPDX-License-Identifier: Apache-2.0

package grpcauth_test

import (
	"reflect"
	"testing"

	"github.com/grpcauth/grpcauth"
)

func TestHasPermissionMatchesWholeSegments(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		held, asked string
		want        bool
	}{
		{"orders.read", "orders.read", true},
		{"orders.read", "orders.reader", false},
		{"orders.read", "Orders.read", false},
		{"orders.read", "orders", false},
		{"orders.*", "orders.read", true},
		{"orders.*", "orders.read.own", true},
		{"orders.*", "orders", false},
		{"orders.*", "orders.", false},
		{"orders.*", "orders-old.read", false},
		{"orders.*", "ordersx.read", false},
		{"orders*", "orders.read", false},
		{"*.read", "orders.read", false},
		{"orders.*.own", "orders.read.own", false},
		{"*", "orders.read", true},
		{"*", "", false},
		{"", "", false},
		{"", "orders", false},
		{".*", "orders", false},
	} {
		if got := (&grpcauth.User{Permissions: []string{c.held}}).HasPermission(c.asked); got != c.want {
			t.Errorf("%q covers %q: got %v, want %v", c.held, c.asked, got, c.want)
		}
	}
	if (*grpcauth.User)(nil).HasPermission("*") {
		t.Error("nobody has a permission")
	}
}

func TestClaimsMatchExactNames(t *testing.T) {
	t.Parallel()
	user := &grpcauth.User{RawClaims: []byte(`{"tenant":"acme","ADMIN":true,"nested":{"LEVEL":9,"level":1}}`)}
	var claims struct {
		Tenant string `json:"tenant"`
		Admin  bool   `json:"admin"`
		Nested struct {
			Level int `json:"level"`
		} `json:"nested"`
	}
	if err := user.Claims(&claims); err != nil {
		t.Fatal(err)
	}
	if claims.Tenant != "acme" || claims.Admin || claims.Nested.Level != 1 {
		t.Errorf("got %+v, want only members of exactly the fields' names", claims)
	}
	if err := user.Claims(&struct {
		Tenant int `json:"tenant"`
	}{}); err == nil {
		t.Error("a string in an integer: no error")
	}
	if err := (&grpcauth.User{}).Claims(&claims); err == nil {
		t.Error("no claims: no error")
	}
}

func TestCloneSharesNothing(t *testing.T) {
	t.Parallel()
	user := func() *grpcauth.User {
		return &grpcauth.User{
			ID: "alice", Scopes: []string{"a", "b"}, Permissions: []string{"p"}, RawClaims: []byte(`{"sub":"alice"}`),
			Factors: []*grpcauth.User{{ID: "alice", Scopes: []string{"f"}}},
		}
	}
	original := user()
	clone := original.Clone()
	if !reflect.DeepEqual(original, clone) {
		t.Fatalf("got %+v, want %+v", clone, original)
	}
	clone.ID, clone.Scopes[0], clone.Permissions[0], clone.RawClaims[0], clone.Factors[0].Scopes[0] = "x", "x", "x", 'x', "x"
	_ = append(clone.Scopes, "x")
	if !reflect.DeepEqual(original, user()) {
		t.Errorf("changing the clone changed the original: %+v", original)
	}
	if clone.Permissions[0] != "x" {
		t.Error("appending to the clone's scopes reached its permissions")
	}
}

func TestOwnIsTheCallsOwnCopy(t *testing.T) {
	t.Parallel()
	kept := &grpcauth.User{ID: "alice", Scopes: []string{"a"}, Permissions: []string{"p"}}
	req := request(nil)
	first, second := req.Own(kept), req.Own(kept)
	first.Scopes[0], first.ID = "x", "x"
	if kept.Scopes[0] != "a" || second.Scopes[0] != "a" || second.ID != "alice" || kept.ID != "alice" {
		t.Errorf("got %+v and %+v, want copies of their own", kept, second)
	}
}

func TestFromContextFindsWhatNewContextPut(t *testing.T) {
	t.Parallel()
	if user, ok := grpcauth.FromContext(t.Context()); ok || user != nil {
		t.Errorf("got %v, %v of an empty context", user, ok)
	}
	given := &grpcauth.User{ID: "alice"}
	ctx := grpcauth.NewContext(t.Context(), given)
	user, ok := grpcauth.FromContext(ctx)
	if !ok || user.ID != "alice" || user == given {
		t.Errorf("got %v, %v, want a copy of alice", user, ok)
	}
	if user, ok := grpcauth.FromContext(grpcauth.NewContext(ctx, nil)); ok || user != nil {
		t.Errorf("got %v, %v, want nobody", user, ok)
	}
}
