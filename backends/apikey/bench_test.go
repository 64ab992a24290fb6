// SPDX-License-Identifier: Apache-2.0

package apikey_test

import (
	"slices"
	"testing"

	"google.golang.org/grpc/metadata"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/apikey"
)

// The two refusals run in turns, so that what else the machine does falls on both. The metric, a median, is to stay within 1.1 of 1, either way.
func BenchmarkUnknownIDAgainstWrongSecret(b *testing.B) {
	w := newWorld(b, apikey.Options{})
	wrong, id := w.create(b, apikey.Key{Name: "nightly", Scopes: []string{"orders.read", "orders.write"}})
	if _, err := w.Rotate(b.Context(), id, 0); err != nil {
		b.Fatal(err)
	}
	unknown, id := w.create(b, apikey.Key{})
	if err := w.Revoke(b.Context(), id); err != nil {
		b.Fatal(err)
	}
	refuse := func(text string) {
		ctx := metadata.NewIncomingContext(b.Context(), metadata.Pairs("x-api-key", text))
		for range 100 {
			if _, err := w.Authenticate(ctx, grpcauth.NewRequest(ctx, method)); grpcauth.CodeOf(err) != grpcauth.CodeInvalid {
				b.Fatal(err)
			}
		}
	}
	var ratios []float64
	for b.Loop() {
		begun := b.Elapsed()
		refuse(unknown)
		between := b.Elapsed()
		refuse(wrong)
		ratios = append(ratios, float64(between-begun)/float64(b.Elapsed()-between))
	}
	slices.Sort(ratios)
	b.ReportMetric(ratios[len(ratios)/2], "unknown/wrong")
	b.ReportMetric(float64(b.Elapsed())/200/float64(b.N), "ns/refusal")
}

func BenchmarkRightKey(b *testing.B) {
	w := newWorld(b, apikey.Options{})
	text, _ := w.create(b, apikey.Key{Name: "nightly", Scopes: []string{"orders.read", "orders.write"}})
	ctx := metadata.NewIncomingContext(b.Context(), metadata.Pairs("x-api-key", text))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := w.Authenticate(ctx, grpcauth.NewRequest(ctx, method)); err != nil {
			b.Fatal(err)
		}
	}
}
