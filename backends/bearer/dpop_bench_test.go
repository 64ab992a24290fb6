// SPDX-License-Identifier: Apache-2.0

package bearer_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/base64"
	"math/big"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/metadata"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/bearer"
)

// forgetful takes every proof for new, so that one can be measured many times.
type forgetful struct{}

func (forgetful) Use(context.Context, string, time.Time) (bool, error) { return true, nil }

// BenchmarkDPoP is a call with a token that is remembered.
func BenchmarkDPoP(b *testing.B) {
	backend := possession(b, bearer.DPoP{Replays: forgetful{}})
	ctx := metadata.NewIncomingContext(b.Context(), metadata.Pairs("authorization", "DPoP "+token, "dpop", alice.proof(nil)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := backend.Authenticate(ctx, grpcauth.NewRequest(ctx, method)); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDPoPNew is the same with proofs that are new, each noted.
func BenchmarkDPoPNew(b *testing.B) {
	now := start
	backend := possessionAt(b, bearer.DPoP{}, func() time.Time { return now })
	var fresh []context.Context
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		if len(fresh) == 0 {
			b.StopTimer()
			now = now.Add(3 * time.Minute) // the memory forgets
			for range min(b.N, 5_000) {
				proof := alice.proof(map[string]any{"iat": now.Unix()})
				fresh = append(fresh, metadata.NewIncomingContext(b.Context(), metadata.Pairs("authorization", "DPoP "+token, "dpop", proof)))
			}
			b.StartTimer()
		}
		ctx := fresh[len(fresh)-1]
		fresh = fresh[:len(fresh)-1]
		if _, err := backend.Authenticate(ctx, grpcauth.NewRequest(ctx, method)); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkES256 is the cryptography of a proof alone.
func BenchmarkES256(b *testing.B) {
	proof := alice.proof(nil)
	cut := strings.LastIndexByte(proof, '.')
	signature, err := base64.RawURLEncoding.DecodeString(proof[cut+1:])
	if err != nil {
		b.Fatal(err)
	}
	r, s := new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])
	b.ReportAllocs()
	for b.Loop() {
		sum := sha256.Sum256([]byte(proof[:cut]))
		if !ecdsa.Verify(&alice.key.PublicKey, sum[:], r, s) {
			b.Fatal("refused")
		}
	}
}
