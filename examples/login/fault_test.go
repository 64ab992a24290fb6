// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/grpcauth/grpcauth/internal/chaos"
	echov1 "github.com/grpcauth/grpcauth/internal/gen/echo/v1"
	"github.com/grpcauth/grpcauth/internal/servertest"
	grpcauthv1 "github.com/grpcauth/grpcauth/proto/grpcauth/v1"
)

const alicesPassword = "correct horse battery staple"

// start starts the program as a server of its own.
func start(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, append([]string{"serve"}, args...)...)
	cmd.Env = append(os.Environ(), asProgram+"=1", "GRPCAUTH_PASSWORD="+alicesPassword)
	cmd.Stderr = t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { kill(cmd) })
	return cmd
}

// kill ends a server at once.
func kill(cmd *exec.Cmd) {
	_ = cmd.Process.Kill() // it may have ended
	_ = cmd.Wait()
}

// dial connects to a server that may just be starting.
func dial(t *testing.T, address string) *client {
	t.Helper()
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.WaitForReady(true)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &client{auth: grpcauthv1.NewAuthServiceClient(conn), echo: echov1.NewEchoServiceClient(conn), password: alicesPassword, out: io.Discard}
}

// logIn returns the client as somebody who has logged in, with a session or with tokens.
func (c *client) logIn(t *testing.T, tokens bool) *client {
	t.Helper()
	who := *c
	who.tokens = tokens
	if err := who.in(within(t, time.Minute), "alice"); err != nil {
		t.Fatal(err)
	}
	return &who
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func (c *client) wantSay(t *testing.T, want codes.Code, why string) {
	t.Helper()
	if err := c.say(within(t, time.Minute), "hello"); status.Code(err) != want {
		t.Errorf("got %v, want %v: %s", err, want, why)
	}
}

// Two servers share a store: who logs out at one is refused by the other, at the next call.
func TestLogoutCountsOnAllServers(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"redis", "postgres", "sqlite"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			place, key := stores[name](t), filepath.Join(t.TempDir(), "key.pem")
			var servers [2]*client
			for i := range servers {
				address := freeAddress(t)
				start(t, "-listen", address, "-store", place, "-key", key, "-user", "alice")
				servers[i] = dial(t, address)
				servers[i].logIn(t, false) // it has started, and has the key
			}
			for _, tokens := range []bool{false, true} {
				here := servers[0].logIn(t, tokens)
				there := *servers[1]
				there.state = here.state
				here.wantSay(t, codes.OK, "she has just logged in")
				there.wantSay(t, codes.OK, "the servers share their logins")
				if err := there.logout(within(t, time.Minute), ""); err != nil {
					t.Fatal(err)
				}
				here.wantSay(t, codes.Unauthenticated, "she has logged out at the other server")
				there.wantSay(t, codes.Unauthenticated, "she has logged out")
			}
		})
	}
}

// A server that is killed while it rotates refresh tokens loses none whose successor it has given away, and lets none work twice.
func TestKilledServerLosesNoLogin(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"redis", "postgres", "sqlite"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			place, key, address := stores[name](t), filepath.Join(t.TempDir(), "key.pem"), freeAddress(t)
			args := []string{"-listen", address, "-store", place, "-key", key, "-user", "alice"}
			server := start(t, args...)
			c := dial(t, address)
			session := c.logIn(t, false)
			clients := make([]*client, 8)
			used, unsure := make([]string, len(clients)), make([]bool, len(clients))
			for i := range clients {
				clients[i] = c.logIn(t, true)
				used[i] = clients[i].state.Refresh
				if err := clients[i].refresh(within(t, time.Minute), ""); err != nil {
					t.Fatal(err)
				}
			}

			enough, stop := make(chan struct{}), make(chan struct{})
			var rotations atomic.Int64
			var all sync.WaitGroup
			for i, who := range clients {
				all.Go(func() {
					for {
						before := who.state.Refresh
						ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
						err := who.refresh(ctx, "")
						cancel()
						if err != nil {
							unsure[i] = true
							if code := status.Code(err); code != codes.Unavailable && code != codes.DeadlineExceeded {
								t.Errorf("a refresh: got %v, want success or an outage", err)
							}
							return
						}
						used[i] = before
						if rotations.Add(1) == 100 {
							close(enough)
						}
						select {
						case <-stop:
							return
						default:
						}
					}
				})
			}
			<-enough
			kill(server)
			close(stop)
			all.Wait()

			start(t, args...)
			session.wantSay(t, codes.OK, "the session was in the store")
			for i, who := range clients {
				err := who.refresh(within(t, time.Minute), "")
				if code := status.Code(err); code != codes.OK && (!unsure[i] || code != codes.Unauthenticated) {
					t.Errorf("client %d: got %v for the newest refresh token; its last attempt was unanswered: %t", i, err, unsure[i])
				}
				who.state.Refresh = used[i]
				if err := who.refresh(within(t, time.Minute), ""); status.Code(err) != codes.Unauthenticated {
					t.Errorf("client %d: got %v for a refresh token that was used", i, err)
				}
				who.wantSay(t, codes.Unauthenticated, "a used refresh token came back, which ends all tokens of the login")
			}
		})
	}
}

// A network that misbehaves between a server and its store makes calls fail, and nothing else; afterwards they succeed again.
func TestTroubleWithTheStoreIsNeverSuccess(t *testing.T) {
	t.Parallel()
	for name, place := range map[string]func(t *testing.T) (target string, place func(address string) string){
		"redis": func(t *testing.T) (string, func(string) string) {
			return servertest.Redis(t), func(address string) string { return "redis://" + address }
		},
		"postgres": func(t *testing.T) (string, func(string) string) {
			url := servertest.Postgres(t)
			_, target, _ := strings.Cut(url, "@")
			target, _, _ = strings.Cut(target, "/")
			return target, func(address string) string { return strings.Replace(url, target, address, 1) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			target, place := place(t)
			proxy := chaos.New(t, target)
			c := serveHere(t, place(proxy.Addr()))
			for _, trouble := range []struct {
				name string
				mode chaos.Mode
			}{
				{"latency", chaos.Latency(30 * time.Millisecond)},
				{"reset", chaos.Reset},
				{"half-open", chaos.HalfOpen},
				{"black hole", chaos.BlackHole},
				{"no answer", chaos.Cut(0)},
				{"half an answer", chaos.Cut(7)},
				{"most of an answer", chaos.Cut(60)},
			} {
				proxy.Set(chaos.Pass)
				recovers(t, c)
				live, dead, owner := c.logIn(t, false), c.logIn(t, false), c.logIn(t, true)
				if err := dead.logout(within(t, time.Minute), ""); err != nil {
					t.Fatal(err)
				}
				proxy.Set(trouble.mode)
				var all sync.WaitGroup
				try := func(what string, call func(ctx context.Context) error, allowed ...codes.Code) {
					all.Go(func() {
						ctx, cancel := context.WithTimeout(t.Context(), 700*time.Millisecond)
						defer cancel()
						err := call(ctx)
						for _, code := range append(allowed, codes.Unavailable, codes.DeadlineExceeded) {
							if status.Code(err) == code {
								return
							}
						}
						t.Errorf("%s, %s: got %v", trouble.name, what, err)
					})
				}
				for range 5 {
					try("a session", func(ctx context.Context) error { return live.say(ctx, "hello") }, codes.OK)
					try("a session that was ended", func(ctx context.Context) error { return dead.say(ctx, "hello") }, codes.Unauthenticated)
					wrong := *c
					wrong.password = "wrong"
					try("a wrong password", func(ctx context.Context) error { return wrong.in(ctx, "alice") }, codes.Unauthenticated, codes.ResourceExhausted)
				}
				before := owner.state.Refresh
				var refreshed error
				try("a refresh", func(ctx context.Context) error {
					refreshed = owner.refresh(ctx, "")
					return refreshed
				}, codes.OK)
				all.Wait()
				proxy.Set(chaos.Pass)
				recovers(t, c)
				live.wantSay(t, codes.OK, trouble.name+": her session was not touched")
				dead.wantSay(t, codes.Unauthenticated, trouble.name+": her session was ended")
				err := owner.refresh(within(t, time.Minute), "")
				if code := status.Code(err); code != codes.OK && (refreshed == nil || code != codes.Unauthenticated) {
					t.Errorf("%s: the newest refresh token got %v, after one that got %v", trouble.name, err, refreshed)
				}
				if refreshed == nil || err == nil {
					owner.state.Refresh = before
					if err := owner.refresh(within(t, time.Minute), ""); status.Code(err) != codes.Unauthenticated {
						t.Errorf("%s: a used refresh token got %v", trouble.name, err)
					}
				}
			}
		})
	}
}

// serveHere serves in this process.
func serveHere(t *testing.T, place string) *client {
	t.Helper()
	s, closeStore, err := openStore(t.Context(), place)
	if err != nil {
		t.Fatal(err)
	}
	key, err := loadKey("")
	if err != nil {
		t.Fatal(err)
	}
	site, err := newSite(s, key, 1_000, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if err := site.firstUser(t.Context(), "alice", alicesPassword, io.Discard); err != nil {
		t.Fatal(err)
	}
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- site.server.Serve(listener) }()
	t.Cleanup(func() {
		site.close()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := closeStore(); err != nil {
			t.Error(err)
		}
	})
	return dial(t, listener.Addr().String())
}

// recovers waits until a login succeeds: connections that are broken are found out one by one.
func recovers(t *testing.T, c *client) {
	t.Helper()
	var err error
	for range 100 {
		who := *c
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		err = who.in(ctx, "alice")
		cancel()
		if err == nil {
			return
		}
		<-time.After(50 * time.Millisecond)
	}
	t.Fatal(fmt.Errorf("it does not recover: %w", err))
}
