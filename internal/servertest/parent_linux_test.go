// SPDX-License-Identifier: Apache-2.0

package servertest_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/grpcauth/grpcauth/internal/servertest"
)

const parentEnv = "GRPCAUTH_SERVERTEST_PARENT"

// A test that runs out of time is ended without its cleanup.
func TestServersEndWithTheProcessThatStartedThem(t *testing.T) {
	t.Parallel()
	if name := os.Getenv(parentEnv); name != "" {
		s := servertest.Start(t, starts[name])
		fmt.Println(s.Addr)                  //nolint:forbidigo // for the process that started this one
		_, _ = io.Copy(io.Discard, os.Stdin) // until it is killed, or nobody is there to do so
		return
	}
	for name := range starts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, err := os.MkdirTemp("", "") //nolint:usetesting // the name of a socket below it must be short
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = os.RemoveAll(dir) })
			if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // PostgreSQL runs as somebody else
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestServersEndWithTheProcessThatStartedThem$") //nolint:gosec // this very program
			cmd.Env = append(os.Environ(), parentEnv+"="+name, "TMPDIR="+dir)
			stdin, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			defer stdin.Close()
			stdout, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			line, err := bufio.NewReader(stdout).ReadString('\n')
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait() // it was killed
			if err != nil || !strings.HasPrefix(line, "127.0.0.1:") {
				t.Fatalf("got %q and %v, want the server's address", line, err)
			}
			waitUntilGone(t, strings.TrimSpace(line))
		})
	}
}

func waitUntilGone(t *testing.T, addr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		if ctx.Err() != nil {
			t.Fatalf("%s still takes connections", addr)
		}
		if err != nil {
			return
		}
		_ = conn.Close()
	}
}
