// SPDX-License-Identifier: Apache-2.0

package chaos_test

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/grpcauth/grpcauth/internal/chaos"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server hands out its connections, so that a test is the server.
type server struct {
	*chaos.Proxy

	t     *testing.T
	conns chan net.Conn
}

func newServer(t *testing.T) *server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, conns: make(chan net.Conn, 10)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.conns <- c
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	s.Proxy = chaos.New(t, l.Addr().String())
	return s
}

// dial returns both ends of a connection through the proxy. A peer that could not be reached is nil.
func (s *server) dial(reached bool) (client, peer net.Conn) {
	s.t.Helper()
	client, err := net.Dial("tcp", s.Addr())
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { client.Close() })
	if reached {
		peer = <-s.conns
		s.t.Cleanup(func() { peer.Close() })
	}
	return client, peer
}

// write writes what is not to be refused at once.
func write(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
}

// arrives waits for a text.
func arrives(t *testing.T, c net.Conn, want string) {
	t.Helper()
	c.SetReadDeadline(time.Time{})
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
		t.Fatalf("read %q, %v, want %q", got, err, want)
	}
}

// silent asks whether a connection neither says anything nor ends, for a moment.
func silent(t *testing.T, c net.Conn) {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	if n, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("read %d bytes, %v, want silence", n, err)
	}
}

// ends waits for the end of a connection, in which want is the error of Read.
func ends(t *testing.T, c net.Conn, want error) {
	t.Helper()
	c.SetReadDeadline(time.Time{})
	if n, err := c.Read(make([]byte, 1)); !errors.Is(err, want) {
		t.Fatalf("read %d bytes, %v, want %v", n, err, want)
	}
}

// refuses makes a connection that is reset, at once or soon.
func refuses(t *testing.T, p *chaos.Proxy) {
	t.Helper()
	client, err := net.Dial("tcp", p.Addr())
	if err == nil {
		defer client.Close()
		_, err = client.Read(make([]byte, 1))
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("the error is %v, want a reset", err)
	}
}

func TestPassPassesOnBothWaysAndTheEnd(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	client, peer := s.dial(true)
	write(t, client, "request")
	arrives(t, peer, "request")
	write(t, peer, "answer")
	arrives(t, client, "answer")
	if n := s.Conns(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
	peer.Close()
	ends(t, client, io.EOF)
	other, peer := s.dial(true)
	other.Close()
	ends(t, peer, io.EOF)
}

func TestLatencyHoldsBackAnswersOnly(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	client, peer := s.dial(true)
	s.Set(chaos.Latency(time.Hour))
	write(t, client, "request")
	arrives(t, peer, "request")
	write(t, peer, "answer")
	silent(t, client)
	s.Set(chaos.Latency(time.Millisecond))
	arrives(t, client, "answer")
}

func TestResetEndsOpenAndNewConnections(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	client, _ := s.dial(true)
	s.Set(chaos.Reset)
	ends(t, client, syscall.ECONNRESET)
	refuses(t, s.Proxy)
	s.Set(chaos.Pass)
	client, peer := s.dial(true)
	write(t, client, "request")
	arrives(t, peer, "request")
}

func TestHalfOpenSwallowsWritesAndTheEnd(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	client, peer := s.dial(true)
	open, openPeer := s.dial(true)
	idle, idlePeer := s.dial(true)
	s.Set(chaos.HalfOpen)
	fresh, _ := s.dial(false)
	write(t, client, "request")
	silent(t, peer)
	write(t, open, "request")
	silent(t, openPeer)
	peer.Close()
	silent(t, client)
	silent(t, fresh)
	s.Set(chaos.Pass)
	ends(t, client, syscall.ECONNRESET)
	ends(t, open, syscall.ECONNRESET)
	ends(t, fresh, syscall.ECONNRESET)
	write(t, idle, "nothing was lost")
	arrives(t, idlePeer, "nothing was lost")
}

func TestBlackHoleHoldsBackUntilItIsOver(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	client, peer := s.dial(true)
	s.Set(chaos.BlackHole)
	fresh, _ := s.dial(false)
	write(t, fresh, "fresh")
	write(t, client, "request")
	write(t, peer, "answer")
	silent(t, peer)
	silent(t, client)
	s.Set(chaos.Pass)
	arrives(t, peer, "request")
	arrives(t, client, "answer")
	arrives(t, <-s.conns, "fresh")
}

func TestBlackHoleDeliversWhatAClientWroteThatIsGone(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	client, peer := s.dial(true)
	s.Set(chaos.BlackHole)
	write(t, client, "request")
	client.Close()
	silent(t, peer)
	s.Set(chaos.Pass)
	arrives(t, peer, "request")
	ends(t, peer, io.EOF)
}

func TestCutEndsAnAnswerInTheMiddle(t *testing.T) {
	t.Parallel()
	for _, before := range []bool{true, false} {
		s := newServer(t)
		var client, peer net.Conn
		if before {
			client, peer = s.dial(true)
			write(t, peer, "earlier")
			arrives(t, client, "earlier")
		}
		s.Set(chaos.Cut(5))
		if !before {
			client, peer = s.dial(true)
		}
		write(t, client, "request")
		arrives(t, peer, "request")
		write(t, peer, "one")
		arrives(t, client, "one")
		write(t, peer, "two")
		arrives(t, client, "tw")
		ends(t, client, io.EOF)
	}
}

func TestCutAtNothingLosesTheWholeAnswer(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	client, peer := s.dial(true)
	s.Set(chaos.Cut(0))
	write(t, client, "request")
	arrives(t, peer, "request")
	write(t, peer, "answer")
	ends(t, client, io.EOF)
}

func TestTargetThatIsDownResets(t *testing.T) {
	t.Parallel()
	refuses(t, chaos.New(t, "127.0.0.1:1"))
}

func TestCloseEndsEverythingInEachMode(t *testing.T) {
	t.Parallel()
	for _, mode := range []chaos.Mode{chaos.Pass, chaos.Latency(time.Hour), chaos.HalfOpen, chaos.BlackHole, chaos.Cut(1000)} {
		s := newServer(t)
		client, peer := s.dial(true)
		s.Set(mode)
		write(t, client, "request")
		write(t, peer, "answer")
		s.Close()
		s.Close()
		if n := s.Conns(); n != 0 {
			t.Errorf("%d connections are open", n)
		}
	}
}
