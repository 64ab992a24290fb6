// SPDX-License-Identifier: Apache-2.0

package password

import "testing"

// Reserve takes memory as a computation under way does.
func (h *Hasher) Reserve(tb testing.TB, weight int64) (release func()) {
	tb.Helper()
	if !h.memory.TryAcquire(weight) {
		tb.Fatal("there is no memory")
	}
	return func() { h.memory.Release(weight) }
}
