// SPDX-License-Identifier: Apache-2.0

package remember_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/grpcauth/grpcauth/internal/remember"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// epoch is when the tests take place.
var epoch = time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC)

// verdict stands for what the users of the package remember.
type verdict struct{ id int }

// randomKeys returns distinct keys that spread as those of a Keyer do, the same ones on every run.
func randomKeys(n int) []remember.Key {
	source := rand.NewChaCha8([32]byte{1})
	keys := make([]remember.Key, n)

	for i := range keys {
		_, _ = source.Read(keys[i][:])
	}

	return keys
}
