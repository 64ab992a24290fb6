// SPDX-License-Identifier: Apache-2.0

package bearer_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/bearer"
	"github.com/grpcauth/grpcauth/grpcauthtest"
)

// watch opens a stream that is judged again every second.
func watch(t *testing.T, b grpcauth.Backend, token string) healthpb.Health_WatchClient {
	t.Helper()
	auth := grpcauth.New(b, grpcauth.WithStreamRecheck(time.Second))
	conn := grpcauthtest.Serve(t, auth, func(s grpcauth.Server) { healthpb.RegisterHealthServer(s, health.NewServer()) })
	stream, err := healthpb.NewHealthClient(conn).Watch(grpcauthtest.WithBearer(t.Context(), token), &healthpb.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	return stream
}

func TestOpenStreamIsJudgedAnewWhateverIsRemembered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var revoked atomic.Bool
		j := &judge{verify: func(context.Context, string) (*grpcauth.User, error) {
			if revoked.Load() {
				return nil, grpcauth.Errorf(grpcauth.CodeRevoked, "signed out")
			}
			return &grpcauth.User{ID: "alice"}, nil
		}}
		b := newBackend(t, j, bearer.Options{Now: time.Now, RememberFor: time.Hour})
		stream := watch(t, b, "a")
		expect(t, b, "a", "alice") // remembered
		expectAsked(t, j, 1)
		time.Sleep(3500 * time.Millisecond)
		expectAsked(t, j, 4)
		revoked.Store(true)
		if _, err := stream.Recv(); status.Code(err) != codes.Unauthenticated {
			t.Errorf("got %v, want UNAUTHENTICATED", err)
		}
		expect(t, b, "a", "CREDENTIALS_REVOKED") // what the recheck found counts for other calls too
	})
}

func TestRecheckThatCannotDecideEndsItsStreamAndForgetsNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var down atomic.Bool
		j := &judge{verify: func(context.Context, string) (*grpcauth.User, error) {
			if down.Load() {
				return nil, errors.New("the store is down")
			}
			return &grpcauth.User{ID: "alice"}, nil
		}}
		b := newBackend(t, j, bearer.Options{Now: time.Now, RememberFor: time.Hour})
		stream := watch(t, b, "a")
		down.Store(true)
		if _, err := stream.Recv(); status.Code(err) != codes.Unavailable {
			t.Errorf("got %v, want UNAVAILABLE", err)
		}
		expect(t, b, "a", "alice")
		expectAsked(t, j, 2)
	})
}
