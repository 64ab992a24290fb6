// SPDX-License-Identifier: Apache-2.0

package servertest_test

import (
	"net"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/grpcauth/grpcauth/internal/servertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestServersTakeConnectionsAgainAfterARestart(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func() (*servertest.Server, error){"redis": servertest.StartRedis, "postgres": servertest.StartPostgres} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := servertest.Start(t, start)
			reach(t, s, true)
			if err := s.Kill(); err != nil {
				t.Fatal(err)
			}
			reach(t, s, false)
			if err := s.Restart(); err != nil {
				t.Fatal(err)
			}
			reach(t, s, true)
		})
	}
}

func reach(t *testing.T, s *servertest.Server, want bool) {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", s.Addr)
	if err == nil {
		_ = conn.Close()
	}
	if got := err == nil; got != want {
		t.Errorf("%s is reached: %v (%v), want %v", s.URL, got, err, want)
	}
}

func TestServersLeaveNothingBehind(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // PostgreSQL runs as somebody else
		t.Fatal(err)
	}
	s := servertest.Start(t, servertest.StartRedis)
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}
