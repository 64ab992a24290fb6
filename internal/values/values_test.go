// SPDX-License-Identifier: Apache-2.0

package values_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/grpcauth/grpcauth/internal/values"
)

func Example() {
	var dropped *struct{}
	fmt.Println(values.IsNil(dropped), values.IsNil(&struct{}{}))
	// Output: true false
}

func TestIsNilLooksIntoInterfaces(t *testing.T) {
	t.Parallel()
	var (
		pointer  *int
		function func()
		table    map[string]int
		err      error
	)
	for _, v := range []any{nil, pointer, function, table, err} {
		if !values.IsNil(v) {
			t.Errorf("%T is not nil", v)
		}
	}
	for _, v := range []any{0, "", new(int), func() {}, map[string]int{}, errors.New("x"), struct{}{}} {
		if values.IsNil(v) {
			t.Errorf("%T is nil", v)
		}
	}
}

func TestIdentityIsNotSharedByWhatCannotBeCompared(t *testing.T) {
	t.Parallel()
	p := new(int)
	if values.Identity(p) != any(p) || values.Identity([]int{1}) == values.Identity([]int{1}) {
		t.Error("a value is another, or not itself")
	}
	if values.Comparable([]int{}) || values.Comparable(nil) || !values.Comparable(p) {
		t.Error("what can be compared is not known")
	}
}

func TestKeyAskedForHearsTheKey(t *testing.T) {
	t.Parallel()
	type key struct{}
	if got := values.KeyAskedFor(func(ctx context.Context) { ctx.Value(key{}) }); got != (key{}) {
		t.Errorf("heard %v", got)
	}
	if got := values.KeyAskedFor(func(context.Context) {}); got != nil {
		t.Errorf("heard %v of nothing", got)
	}
}
