// SPDX-License-Identifier: Apache-2.0

package strictjson_test

import (
	"fmt"

	"github.com/grpcauth/grpcauth/internal/strictjson"
)

func Example() {
	for _, claims := range []string{
		`{"sub": "alice", "aud": ["orders", "\u0073hop"], "exp": 1772600767.5}`,
		`{"sub": "alice", "Sub": "root"}`,
		`{"sub": "alice"} {}`,
	} {
		err := strictjson.Object([]byte(claims), func(name string, v strictjson.Value) error {
			switch name {
			case "sub":
				text, ok := v.String()
				fmt.Println(name, text, ok)
			case "aud":
				list, ok := v.Strings()
				fmt.Println(name, list, ok)
			case "exp":
				seconds, ok := v.Seconds()
				fmt.Println(name, seconds, ok)
			}
			return nil
		})
		fmt.Println(err)
	}
	// Output:
	// sub alice true
	// aud [orders shop] true
	// exp 1772600767 true
	// <nil>
	// sub alice true
	// two members of one name at byte 17
	// sub alice true
	// text after the object at byte 17
}
