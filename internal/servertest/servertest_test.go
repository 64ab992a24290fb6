// SPDX-License-Identifier: Apache-2.0

package servertest_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/grpcauth/grpcauth/internal/servertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var starts = map[string]func() (*servertest.Server, error){"redis": servertest.StartRedis, "postgres": servertest.StartPostgres}

func TestServersTakeConnectionsAgainAfterARestart(t *testing.T) {
	t.Parallel()
	for name, start := range starts {
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

// verdict is a test that notes how it ended.
type verdict struct {
	testing.TB

	ended string
}

func (v *verdict) Helper()        {}
func (v *verdict) Skip(a ...any)  { v.end("skipped", a) }
func (v *verdict) Fatal(a ...any) { v.end("failed", a) }

func (v *verdict) end(how string, a []any) {
	v.ended = how + ": " + fmt.Sprint(a...)
	runtime.Goexit()
}

// Nobody is to believe that everything was tested where nothing was.
func TestProgramThatIsMissingSkipsTheTestButFailsInCI(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	for ci, want := range map[string]string{"": "skipped", "true": "failed"} {
		t.Setenv("CI", ci)
		v := &verdict{TB: t}
		done := make(chan struct{})
		go func() {
			defer close(done)
			servertest.Redis(v)
		}()
		<-done
		if !strings.HasPrefix(v.ended, want) || !strings.Contains(v.ended, "apt-get install redis-server") {
			t.Errorf("CI=%q: %q, want it to be %s", ci, v.ended, want)
		}
	}
	if _, err := servertest.StartRedis(); !errors.Is(err, servertest.ErrMissing) {
		t.Errorf("got %v, want ErrMissing", err)
	}
}
