// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
)

const want = `
the provider is down           Unavailable      UNKNOWN
it is back                     OK               SERVING
a token for another service    Unauthenticated  UNKNOWN
its keys were rotated          OK               SERVING
it is down again               OK               SERVING
its keys were rotated unseen   Unavailable      UNKNOWN
`

func TestRun(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	if err := run(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	if out.String() != want[1:] {
		t.Errorf("got\n%s, want\n%s", out.String(), want)
	}
}
