// SPDX-License-Identifier: Apache-2.0

package dpop_test

import (
	"fmt"

	"github.com/grpcauth/grpcauth/backends/bearer/internal/dpop"
)

// The proof and the token are those of RFC 9449, section 7.1.
func Example() {
	proof, err := dpop.Parse(rfcProof, dpop.Algorithms())
	if err != nil {
		panic(err)
	}
	fmt.Println(proof.ID, proof.Method, dpop.NormalURL(proof.URL), proof.IssuedAt)
	fmt.Println(proof.Key.Thumbprint())
	fmt.Println(proof.TokenHash == dpop.TokenHash("Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU"), proof.Verify())
	// Output:
	// e1j3V_bKic8-LAEB GET https://resource.example.org/protectedresource 1562262618
	// 0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I
	// true <nil>
}
