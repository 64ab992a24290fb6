// SPDX-License-Identifier: Apache-2.0

package session_test

import (
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/session"
	"github.com/grpcauth/grpcauth/grpcauthtest"
)

// watch opens a stream of a new session and returns how long it lasted and how it ended, as well as the headers of its answer.
func watch(t *testing.T, opts session.Options, during func(other *session.Backend, s *session.Session), auth ...grpcauth.Option) (lasted time.Duration, header metadata.MD, end error) {
	t.Helper()
	opts.Store = newStore(t, time.Now)
	b, err := session.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	other, err := session.New(session.Options{Store: opts.Store})
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	id, s, err := b.Create(t.Context(), &grpcauth.User{ID: "alice"}, session.Device{})
	if err != nil {
		t.Fatal(err)
	}
	conn := grpcauthtest.Serve(t, grpcauth.New(b, auth...), func(s grpcauth.Server) { healthpb.RegisterHealthServer(s, health.NewServer()) })
	ctx := metadata.AppendToOutgoingContext(t.Context(), "cookie", "__Host-session="+id)
	stream, err := healthpb.NewHealthClient(conn).Watch(ctx, &healthpb.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	if during != nil {
		during(other, s)
	}
	_, end = stream.Recv()
	header, _ = stream.Header()
	ctx = metadata.NewIncomingContext(t.Context(), cookie(id))
	if user, err := b.Authenticate(ctx, grpcauth.NewRequest(ctx, method)); user != nil || err == nil {
		t.Error("the stream has ended, and its session has not")
	}
	return time.Since(began), header, end
}

func TestStreamEndsWhenItsSessionIsIdle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		lasted, _, err := watch(t, session.Options{Idle: 10 * time.Minute}, nil)
		if lasted != 10*time.Minute || status.Code(err) != codes.Unauthenticated {
			t.Errorf("it lasted %v and ended with %v", lasted, err)
		}
	})
}

func TestStreamThatIsJudgedAgainIsAUseUpToTheAbsoluteEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		lasted, header, err := watch(t, session.Options{Idle: 10 * time.Minute, Absolute: time.Hour}, nil, grpcauth.WithStreamRecheck(4*time.Minute))
		if lasted != time.Hour || status.Code(err) != codes.Unauthenticated {
			t.Errorf("it lasted %v and ended with %v", lasted, err)
		}
		if len(header["set-cookie"]) != 0 {
			t.Errorf("a recheck set %d cookies", len(header["set-cookie"]))
		}
	})
}

func TestStreamEndsWhenItsSessionIsRevoked(t *testing.T) {
	t.Parallel()
	for _, remember := range []time.Duration{0, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			revoke := func(b *session.Backend, s *session.Session) {
				time.Sleep(5 * time.Minute)
				if err := b.Revoke(t.Context(), s.User, s.Handle); err != nil {
					t.Fatal(err)
				}
			}
			lasted, _, err := watch(t, session.Options{RememberFor: remember, RenewEvery: 25 * time.Minute}, revoke, grpcauth.WithStreamRecheck(4*time.Minute))
			if lasted != 8*time.Minute || status.Code(err) != codes.Unauthenticated {
				t.Errorf("it lasted %v and ended with %v", lasted, err)
			}
		})
	}
}
