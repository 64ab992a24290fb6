// SPDX-License-Identifier: Apache-2.0

// Package servertest starts the databases that tests need: real ones, on loopback, each in a directory of its own, until the test ends.
package servertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// ErrMissing means that a program is not installed. The error that wraps it says how to get it.
var ErrMissing = errors.New("not installed")

// patience is how long a server may take to start.
const patience = 30 * time.Second

// Redis starts a Redis server for a test and returns its address. Without redis-server the test is skipped, but fails if CI=true.
func Redis(tb testing.TB) string {
	tb.Helper()
	return forTest(tb, StartRedis).Addr
}

// Postgres starts a PostgreSQL server for a test and returns the URL of its database. Without it the test is skipped, but fails if CI=true.
func Postgres(tb testing.TB) string {
	tb.Helper()
	return forTest(tb, StartPostgres).URL
}

// Start starts a server for a test that kills and restarts it.
func Start(tb testing.TB, start func() (*Server, error)) *Server {
	tb.Helper()
	return forTest(tb, start)
}

func forTest(tb testing.TB, start func() (*Server, error)) *Server {
	tb.Helper()
	s, err := start()
	switch {
	case errors.Is(err, ErrMissing) && os.Getenv("CI") != "true":
		tb.Skip(err)
	case err != nil:
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Stop(); err != nil {
			tb.Error(err)
		}
	})
	return s
}

// Server is a running server. Its methods are for one goroutine at a time.
type Server struct {
	// Addr is its address, and URL what clients are given.
	Addr, URL string

	dir     string
	command func() *exec.Cmd
	process *exec.Cmd
	output  *bytes.Buffer // of the process that runs
	exited  chan struct{} // closed when it has ended
}

// StartRedis starts a Redis server that has written down what it has answered, so that it survives a restart.
func StartRedis() (*Server, error) {
	program, err := find("redis-server", "redis-server")
	if err != nil {
		return nil, err
	}
	return start(func(s *Server, port string) error {
		s.URL = "redis://" + s.Addr
		s.command = func() *exec.Cmd {
			return run(program, "--port", port, "--bind", "127.0.0.1", "--dir", s.dir, "--save", "", "--appendonly", "yes", "--appendfsync", "always")
		}
		return nil
	})
}

// StartPostgres starts a PostgreSQL server with an empty database.
func StartPostgres() (*Server, error) {
	initdb, err := find("initdb", "postgresql")
	if err != nil {
		return nil, err
	}
	postgres, err := find("postgres", "postgresql")
	if err != nil {
		return nil, err
	}
	return start(func(s *Server, port string) error {
		s.URL = "postgres://postgres@" + s.Addr + "/postgres?sslmode=disable"
		data := filepath.Join(s.dir, "data")
		run := run
		if os.Geteuid() == 0 {
			nobody, err := user.Lookup("nobody") // PostgreSQL refuses to run as root
			if err != nil {
				return err
			}
			uid, _ := strconv.ParseUint(nobody.Uid, 10, 32)
			gid, _ := strconv.ParseUint(nobody.Gid, 10, 32)
			if err := os.Chown(s.dir, int(uid), int(gid)); err != nil {
				return err
			}
			plain := run
			run = func(program string, args ...string) *exec.Cmd {
				cmd := plain(program, args...)
				cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}} //nolint:gosec // they have 32 bits
				return cmd
			}
		}
		init := run(initdb, "-D", data, "-U", "postgres", "--no-sync", "-A", "trust", "-E", "UTF8", "--locale", "C")
		init.Dir = s.dir
		if output, err := init.CombinedOutput(); err != nil {
			return fmt.Errorf("initdb: %w: %s", err, output)
		}
		s.command = func() *exec.Cmd {
			return run(postgres, "-D", data, "-h", "127.0.0.1", "-p", port, "-k", s.dir, "-c", "fsync=off", "-c", "max_connections=200")
		}
		return nil
	})
}

// run is a command that ends when it is killed.
func run(program string, args ...string) *exec.Cmd {
	return exec.CommandContext(context.Background(), program, args...) //nolint:gosec // the programs are those that find found
}

// find returns the path of a program, also where Debian hides those of PostgreSQL, which look for each other beside themselves.
func find(program, debian string) (string, error) {
	if paths, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + program); len(paths) > 0 {
		return paths[len(paths)-1], nil
	}
	path, err := exec.LookPath(program)
	if err != nil {
		return "", fmt.Errorf("%s is %w: get it by `apt-get install %s`", program, ErrMissing, debian)
	}
	return path, nil
}

// start tries a few ports: somebody else may take one before the server does.
func start(prepare func(s *Server, port string) error) (s *Server, err error) {
	for range 3 {
		if s, err = startOnce(prepare); err == nil {
			return s, nil
		}
	}
	return nil, err
}

func startOnce(prepare func(s *Server, port string) error) (s *Server, err error) {
	s = &Server{}
	if s.dir, err = os.MkdirTemp("", "servertest-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(s.dir))
		}
	}()
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	s.Addr = net.JoinHostPort("127.0.0.1", port)
	if err := prepare(s, port); err != nil {
		return nil, err
	}
	err = s.Restart()
	return s, err
}

// freePort is a port that nobody had a moment ago: servers want to be told one.
func freePort() (string, error) {
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port, l.Close()
}

// Restart starts the server again, at the same address and with the same data, after Kill. It returns when connections are taken.
func (s *Server) Restart() error {
	s.output, s.exited = &bytes.Buffer{}, make(chan struct{})
	s.process = s.command()
	s.process.Dir = s.dir
	if s.process.SysProcAttr == nil {
		s.process.SysProcAttr = &syscall.SysProcAttr{}
	}
	s.process.SysProcAttr.Setpgid = true // so that its children go with it
	s.process.Stdout, s.process.Stderr = s.output, s.output
	endWithParent(s.process.SysProcAttr)
	process, exited, started := s.process, s.exited, make(chan error)
	go func() { // ends with the process
		runtime.LockOSThread() // whose end would be taken for that of the parent
		defer runtime.UnlockOSThread()
		err := process.Start()
		started <- err
		if err == nil {
			_ = process.Wait()
		}
		close(exited)
	}()
	if err := <-started; err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.wait(ctx); err != nil {
		return errors.Join(fmt.Errorf("%s does not start: %w", filepath.Base(s.process.Path), err), s.Kill(), errors.New(s.output.String()))
	}
	return nil
}

// wait returns when the server answers.
func (s *Server) wait(ctx context.Context) error {
	for {
		if s.answers(ctx) {
			return nil
		}
		select {
		case <-s.exited:
			return errors.New("it has ended")
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// answers asks for something that only a server that is ready answers as it should.
func (s *Server) answers(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", s.Addr)
	if err != nil {
		return false
	}
	defer conn.Close() //nolint:errcheck // nothing is lost
	deadline, _ := ctx.Deadline()
	_ = conn.SetDeadline(deadline)
	question, answer := "PING\r\n", "+PONG"
	if strings.HasPrefix(s.URL, "postgres:") {
		// A start-up message of protocol 3.0, which is answered with R once connections are taken, and with E before.
		const params = "user\x00postgres\x00database\x00postgres\x00\x00"
		question, answer = "\x00\x00\x00"+string([]byte{byte(8 + len(params))})+"\x00\x03\x00\x00"+params, "R"
	}
	if _, err := io.WriteString(conn, question); err != nil {
		return false
	}
	got := make([]byte, len(answer))
	_, err = io.ReadFull(conn, got)
	return err == nil && string(got) == answer
}

// Kill ends the server at once, as a failure of the machine does.
func (s *Server) Kill() error {
	err := syscall.Kill(-s.process.Process.Pid, syscall.SIGKILL)
	if errors.Is(err, syscall.ESRCH) {
		err = nil
	}
	<-s.exited
	return err
}

// Stop ends the server and removes its data.
func (s *Server) Stop() error { return errors.Join(s.Kill(), os.RemoveAll(s.dir)) }
