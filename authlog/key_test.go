// SPDX-License-Identifier: Apache-2.0

package authlog_test

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/authlog"
)

func TestKeysAreKnownByTheirHashAlone(t *testing.T) {
	t.Parallel()
	if got := authlog.KeyHash("abc"); got != "ba7816bf8f01cfea" { // the beginning of its SHA-256 (FIPS 180-2, B.1)
		t.Errorf("KeyHash: got %s", got)
	}
	key := &grpcauth.User{ID: "ci", Method: "apikey", RawClaims: []byte(`{"key_id":"abc"}`)}
	for name, user := range map[string]*grpcauth.User{
		"alone":          key,
		"among claims":   {ID: "ci", Method: "apikey", RawClaims: []byte(`{"key_id":"abc","team":"x"}`)},
		"escaped":        {ID: "ci", Method: "apikey", RawClaims: []byte(`{"key_id":"\u0061bc"}`)},
		"a second proof": {ID: "alice", Method: "jwt", Factors: []*grpcauth.User{{ID: "alice", Method: "jwt", RawClaims: []byte(`{"key_id":"other"}`)}, key}},
	} {
		out := &book{}
		newLogger(t, authlog.Options{Handler: slog.NewJSONHandler(out, nil)}).Observe(t.Context(), grpcauth.Event{User: user})
		record := out.records(t)[0]
		if got := record["grpcauth.key.hash"]; got != "ba7816bf8f01cfea" || strings.Contains(fmt.Sprint(record), "abc") {
			t.Errorf("%s: got %v in %v", name, got, record)
		}
	}
}

func TestClaimsOfOtherCredentialsAreNoKeys(t *testing.T) {
	t.Parallel()
	out := &book{}
	l := newLogger(t, authlog.Options{Handler: slog.NewJSONHandler(out, nil)})
	l.Observe(t.Context(), grpcauth.Event{User: &grpcauth.User{ID: "u", Method: "jwt", RawClaims: []byte(`{"key_id":"k"}`)}})
	l.Observe(t.Context(), grpcauth.Event{User: &grpcauth.User{ID: "u", Method: "apikey", RawClaims: []byte(`{"key_id":7}`)}})
	l.Observe(t.Context(), grpcauth.Event{User: &grpcauth.User{ID: "u", Method: "apikey"}})
	for _, record := range out.records(t) {
		if hash, there := record["grpcauth.key.hash"]; there {
			t.Errorf("got the key %v", hash)
		}
	}
}
