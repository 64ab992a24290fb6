// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
)

const want = `
alice                                OK
alice, once more                     OK
a thief, as a bearer token           Unauthenticated
a thief, without a proof             Unauthenticated
a thief, with a key of his own       Unauthenticated
a proof for another method           Unauthenticated
the same proof, once more            Unauthenticated
a proof for another server           Unauthenticated
the same proof, once more            Unauthenticated
a proof for this call                OK
the same proof, once more            Unauthenticated
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
