// SPDX-License-Identifier: Apache-2.0

package jwt_test

import (
	"testing"

	gojwt "github.com/golang-jwt/jwt/v5"

	"github.com/grpcauth/grpcauth/backends/jwt"
	"github.com/grpcauth/grpcauth/jwks"
)

// TestFirstLookAllocatesLessThanAParserOfMaps keeps the strict parser cheap: it checks more than golang-jwt's and must not cost more. The test is
// not parallel, since it counts what the whole program allocates.
func TestFirstLookAllocatesLessThanAParserOfMaps(t *testing.T) {
	for _, alg := range []string{"RS256", "ES256"} {
		i := newIssuer(t)
		token := i.Token(alg, "alice", map[string]any{"scope": "orders.read orders.write", "name": "Alice", "client_id": "shop", "jti": "4f1c"})
		set, err := jwks.Static(i.Published()...)
		if err != nil {
			t.Fatal(err)
		}
		config := i.Config(alg)
		config.Keys = set
		v := newVerifier(t, jwt.Options{Issuers: []jwt.Issuer{config}})
		ours := testing.AllocsPerRun(50, func() {
			if _, err := v.Verify(t.Context(), token); err != nil {
				t.Error(err)
			}
		})
		parser := gojwt.NewParser(gojwt.WithValidMethods([]string{alg}), gojwt.WithIssuer(issuerURL), gojwt.WithAudience(audience), gojwt.WithExpirationRequired(), gojwt.WithTimeFunc(standing))
		public := i.Published()[0].Public
		theirs := testing.AllocsPerRun(50, func() {
			if _, err := parser.ParseWithClaims(token, gojwt.MapClaims{}, func(*gojwt.Token) (any, error) { return public, nil }); err != nil {
				t.Error(err)
			}
		})
		if ours >= theirs {
			t.Errorf("%s: a first look allocates %v times, golang-jwt's parser %v times", alg, ours, theirs)
		}
	}
}
