// SPDX-License-Identifier: Apache-2.0

package token_test

import (
	"testing"
	"time"

	"github.com/grpcauth/grpcauth/store"
	"github.com/grpcauth/grpcauth/store/memstore"
	"github.com/grpcauth/grpcauth/token/tokentest"
)

// TestOnMemory runs what is promised of refresh tokens and denylists; other stores are tested where they are.
func TestOnMemory(t *testing.T) {
	t.Parallel()
	tokentest.Test(t, func(t *testing.T, now func() time.Time) store.Store { return newStore(t, now) })
}

func newStore(t testing.TB, now func() time.Time) *memstore.Store {
	t.Helper()
	s, err := memstore.New(memstore.Options{Now: now})
	if err != nil {
		t.Fatal(err)
	}
	return s
}
