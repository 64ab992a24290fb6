// SPDX-License-Identifier: Apache-2.0

package bearer_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/bearer"
	"github.com/grpcauth/grpcauth/grpcauthtest"
)

const check = "/grpc.health.v1.Health/Check"

// line calls a backend over a connection in memory.
type line struct{ client healthpb.HealthClient }

func connect(t *testing.T, b grpcauth.Backend) line {
	t.Helper()
	conn := grpcauthtest.Serve(t, grpcauth.New(b), func(s grpcauth.Server) { healthpb.RegisterHealthServer(s, health.NewServer()) })
	return line{healthpb.NewHealthClient(conn)}
}

// call gives the headers of the answer too.
func (l line) call(t *testing.T, authorization string, proofs ...string) (metadata.MD, error) {
	t.Helper()
	ctx := metadata.NewOutgoingContext(t.Context(), metadata.MD{"authorization": {authorization}, "dpop": proofs})
	var header metadata.MD
	_, err := l.client.Check(ctx, &healthpb.HealthCheckRequest{}, grpc.Header(&header))
	return header, err
}

// nonce is what a call with a proof is answered: whether it was let in, and a nonce for the next.
func (l line) nonce(t *testing.T, nonce any) (accepted bool, next string) {
	t.Helper()
	header, err := l.call(t, "DPoP "+token, alice.proof(map[string]any{"htu": origin + check, "nonce": nonce}))
	asks := strings.Contains(strings.Join(header["www-authenticate"], "\n"), `error="use_dpop_nonce"`)
	if asks != (err != nil) || len(header["dpop-nonce"]) > 1 || err != nil && len(header["dpop-nonce"]) == 0 {
		t.Errorf("got %v with %v", err, header)
	}
	return err == nil, strings.Join(header["dpop-nonce"], "")
}

// noncesAt is a server that demands nonces, and its clock. Proofs do not age: they are issued at the start.
func noncesAt(t *testing.T, opts bearer.DPoP) (line, *grpcauthtest.Clock) {
	t.Helper()
	clock := grpcauthtest.NewClock(start)
	opts.RequireNonce, opts.MaxAge = true, time.Hour
	return connect(t, possessionAt(t, opts, clock.Now)), clock
}

func TestProofNeedsANonceWhereOneIsRequired(t *testing.T) {
	t.Parallel()
	server, _ := noncesAt(t, bearer.DPoP{})
	accepted, nonce := server.nonce(t, nil)
	if accepted || nonce == "" {
		t.Fatalf("without a nonce: let in %t, given %q", accepted, nonce)
	}
	for range 2 {
		if accepted, next := server.nonce(t, nonce); !accepted || next != "" {
			t.Errorf("with the nonce: let in %t, given %q", accepted, next)
		}
	}
	for _, wrong := range []string{"x", nonce + "=", nonce[:len(nonce)-1], strings.ToLower(nonce), strings.Repeat("A", 22), nonce + nonce} {
		if accepted, next := server.nonce(t, wrong); accepted || next != nonce {
			t.Errorf("with the nonce %q: let in %t, given %q", wrong, accepted, next)
		}
	}
	if accepted, _ := server.nonce(t, nil); accepted {
		t.Error("without a nonce: let in once nonces were given")
	}
}

func TestNonceIsTakenForThePeriodAfterItsOwn(t *testing.T) {
	t.Parallel()
	server, clock := noncesAt(t, bearer.DPoP{NonceFor: time.Minute})
	clock.Advance(time.Minute - time.Duration(start.Second())*time.Second) // a period begins
	_, nonce := server.nonce(t, nil)
	for _, step := range []struct {
		after          time.Duration
		accepted, next bool
	}{
		{0, true, false}, {time.Minute - 1, true, false}, {1, true, true}, {time.Minute - 1, true, true}, {1, false, true}, {time.Minute, false, true}, {30 * time.Minute, false, true},
	} {
		clock.Advance(step.after)
		accepted, next := server.nonce(t, nonce)
		if accepted != step.accepted || (next != "") != step.next || next == nonce {
			t.Errorf("at %v: let in %t, given %q", clock.Now(), accepted, next)
		}
		if next != "" {
			if accepted, more := server.nonce(t, next); !accepted || more != "" {
				t.Errorf("at %v, with the next nonce: let in %t, given %q", clock.Now(), accepted, more)
			}
		}
	}
}

func TestServersWithOneSecretTakeEachOthersNonces(t *testing.T) {
	t.Parallel()
	secret := bytes.Repeat([]byte("s"), 32)
	one, _ := noncesAt(t, bearer.DPoP{NonceSecret: secret})
	two, _ := noncesAt(t, bearer.DPoP{NonceSecret: bytes.Clone(secret)})
	longer, _ := noncesAt(t, bearer.DPoP{NonceSecret: append(bytes.Clone(secret), 's')})
	own, _ := noncesAt(t, bearer.DPoP{})
	clear(secret) // the servers have copies
	_, nonce := one.nonce(t, nil)
	for name, test := range map[string]struct {
		server line
		want   bool
	}{"the other": {two, true}, "the same": {one, true}, "a longer secret": {longer, false}, "a secret of its own": {own, false}} {
		if accepted, _ := test.server.nonce(t, nonce); accepted != test.want {
			t.Errorf("%s: let in %t", name, accepted)
		}
	}
}

func TestNonceIsAskedForBeforeAProofIsUsedUp(t *testing.T) {
	t.Parallel()
	replays := &ledger{}
	b := possession(t, bearer.DPoP{RequireNonce: true, Replays: replays})
	expectProof(t, b, refused, alice.proof(nil))
	expectProof(t, b, refused, alice.proof(map[string]any{"nonce": "x"}))
	if len(replays.keys) != 0 {
		t.Errorf("the memory was asked about %v", replays.keys)
	}
}
