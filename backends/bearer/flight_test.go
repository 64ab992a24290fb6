// SPDX-License-Identifier: Apache-2.0

package bearer_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/bearer"
	"github.com/grpcauth/grpcauth/grpcauthtest"
)

// many is how many callers look at one token at a time.
const many = 50

func TestConcurrentFirstLooksShareOneJudgement(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		err  error
		want string
	}{
		"accepted": {nil, "a"}, "refused": {grpcauth.Errorf(grpcauth.CodeInvalid, "x"), refused}, "undecided": {errors.New("down"), undecided},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				release := make(chan struct{})
				j := &judge{verify: func(_ context.Context, token string) (*grpcauth.User, error) {
					<-release
					if test.err != nil {
						return nil, test.err
					}
					return &grpcauth.User{ID: token}, nil
				}}
				b := newBackend(t, j, bearer.Options{})
				for range many {
					go expect(t, b, "a", test.want)
				}
				synctest.Wait()
				expectAsked(t, j, 1)
				close(release)
				synctest.Wait()
				expectAsked(t, j, 1)
			})
		})
	}
}

func TestConcurrentLooksAtManyTokensGetTheirOwnUsers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		j := &judge{verify: func(_ context.Context, token string) (*grpcauth.User, error) {
			<-release
			return &grpcauth.User{ID: token}, nil
		}}
		b := newBackend(t, j, bearer.Options{})
		for i := range 20 * many {
			token := fmt.Sprint(i % many)
			go expect(t, b, token, token)
		}
		synctest.Wait()
		expectAsked(t, j, many) // nobody waits for another token's judgement
		close(release)
		synctest.Wait()
	})
}

func TestLeaderThatGivesUpFailsNobodyElse(t *testing.T) {
	t.Parallel()
	for name, give := range map[string]struct {
		ctx  func(context.Context) (context.Context, context.CancelFunc)
		want error
	}{
		"cancelled": {context.WithCancel, context.Canceled},
		"out of its time": {func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, time.Second)
		}, context.DeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				j := &judge{verify: func(ctx context.Context, token string) (*grpcauth.User, error) {
					select {
					case <-ctx.Done():
						return nil, fmt.Errorf("asked in vain: %w", context.Cause(ctx))
					case <-time.After(time.Minute):
						return &grpcauth.User{ID: token}, nil
					}
				}}
				b := newBackend(t, j, bearer.Options{})
				leader, cancel := give.ctx(t.Context())
				defer cancel()
				go func() {
					user, err := b.Authenticate(leader, request(t, "a"))
					if user != nil || !errors.Is(err, give.want) || grpcauth.CodeOf(err) != grpcauth.CodeUnavailable {
						t.Errorf("leader: got %v, %v, want %v", user, err, give.want)
					}
				}()
				synctest.Wait()
				for range many {
					go expect(t, b, "a", "a")
				}
				synctest.Wait()
				if give.want == context.Canceled {
					cancel()
				}
				time.Sleep(time.Hour)
				expectAsked(t, j, 2) // the leader's, and one for all the others
				expect(t, b, "a", "a")
				expectAsked(t, j, 2)
			})
		})
	}
}

func TestVerdictThatWasReachedCountsThoughTheCallerGaveUp(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	j := &judge{verify: func(context.Context, string) (*grpcauth.User, error) {
		cancel()
		return nil, grpcauth.Errorf(grpcauth.CodeInvalid, "x")
	}}
	b := newBackend(t, j, bearer.Options{})
	if got := look(ctx, b, "a"); got != refused {
		t.Errorf("got %s, want the verdict that was reached", got)
	}
	expect(t, b, "a", refused)
	expectAsked(t, j, 1)
}

func TestFollowerWaitsNoLongerThanItsOwnDeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		j := &judge{verify: func(_ context.Context, token string) (*grpcauth.User, error) {
			time.Sleep(time.Hour)
			return &grpcauth.User{ID: token}, nil
		}}
		b := newBackend(t, j, bearer.Options{})
		go expect(t, b, "a", "a")
		synctest.Wait()
		for _, wait := range []time.Duration{time.Second, 3 * time.Second, time.Minute} {
			go func() {
				ctx, cancel := context.WithTimeout(t.Context(), wait)
				defer cancel()
				began := time.Now()
				user, err := b.Authenticate(ctx, request(t, "a"))
				if took := time.Since(began); took != wait || user != nil || !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("after %v got %v, %v, want %v after %v", took, user, err, context.DeadlineExceeded, wait)
				}
			}()
		}
		time.Sleep(2 * time.Hour)
		expectAsked(t, j, 1)
	})
}

func TestCallerThatGaveUpBeforehandHasNothingJudged(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	j := anybody()
	b := newBackend(t, j, bearer.Options{})
	if user, err := b.Authenticate(ctx, grpcauthtest.Request(ctx, method, "authorization", "Bearer a")); user != nil || !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, %v, want %v", user, err, context.Canceled)
	}
	expectAsked(t, j, 0)
	expect(t, b, "a", "a")
}

func TestVerifierGetsTheCallersContext(t *testing.T) {
	t.Parallel()
	type key struct{}
	b := newBackend(t, &judge{verify: func(ctx context.Context, _ string) (*grpcauth.User, error) {
		name, _ := ctx.Value(key{}).(string)
		return &grpcauth.User{ID: name}, nil
	}}, bearer.Options{})
	if got := look(context.WithValue(t.Context(), key{}, "alice"), b, "a"); got != "alice" {
		t.Errorf("got %q, want alice", got)
	}
}

// guarded is one call through an interceptor, as servers make them.
func guarded(ctx context.Context, b grpcauth.Backend) error {
	ctx = metadata.NewIncomingContext(peer.NewContext(ctx, &peer.Peer{}), metadata.Pairs("authorization", "Bearer a"))
	_, err := grpcauth.New(b, grpcauth.InsecureAllowPlaintext()).Authenticate(ctx, method)
	return err
}

func TestJudgementThatDoesNotReturnIsInternalForAllAndNotRemembered(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(){
		"panic": func() { panic("boom") }, "panic with nil": func() { panic(nil) }, "end of the goroutine": runtime.Goexit, //nolint:govet // a nil panic is one as well
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				release := make(chan struct{})
				healthy := false
				j := &judge{verify: func(_ context.Context, token string) (*grpcauth.User, error) {
					if !healthy {
						<-release
						end()
					}
					return &grpcauth.User{ID: token}, nil
				}}
				b := newBackend(t, j, bearer.Options{})
				var mu sync.Mutex
				answers := map[codes.Code]int{}
				for range many {
					go func() {
						code := codes.Unknown // stands if the goroutine is ended, of which only the server itself can tell
						defer func() {
							mu.Lock()
							defer mu.Unlock()
							answers[code]++
						}()
						code = status.Code(guarded(t.Context(), b))
					}()
				}
				synctest.Wait()
				expectAsked(t, j, 1)
				close(release)
				synctest.Wait() // nobody waits for ever
				if internal := answers[codes.Internal]; internal+answers[codes.Unknown] != many || internal < many-1 {
					t.Errorf("got %v, want INTERNAL for all", answers)
				}
				expectAsked(t, j, 1)
				healthy = true
				if err := guarded(t.Context(), b); err != nil {
					t.Errorf("the next call got %v, want a user", err)
				}
				expectAsked(t, j, 2)
			})
		})
	}
}
