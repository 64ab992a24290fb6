// SPDX-License-Identifier: Apache-2.0

// Package browser_test uses the page of examples/gateway as its users do, in a browser, and its API by clients that are not this project's.
package browser_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/grpcauth/grpcauth/grpcauthtest"
)

const password = "open sesame"

// example is the program, in a process of its own.
type example struct {
	url, grpc, ca string
}

// built builds the program once.
var built = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "browser")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "gateway")
	cmd := exec.Command("go", "build", "-o", path, "./gateway")
	cmd.Dir, cmd.Env = filepath.Join("..", "..", "..", "examples"), append(os.Environ(), "GOWORK=off")
	out, err := cmd.CombinedOutput()
	if err != nil {
		_, _ = os.Stderr.Write(out)
	}
	return path, err
})

func TestMain(m *testing.M) {
	code := m.Run()
	if path, err := built(); err == nil {
		_ = os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(code)
}

func start(t *testing.T, args ...string) example {
	t.Helper()
	path, err := built()
	check(t, err)
	e := example{ca: filepath.Join(t.TempDir(), "ca.pem")}
	cmd := exec.Command(path, append([]string{"-listen", "127.0.0.1:0", "-grpc", "127.0.0.1:0", "-ca", e.ca}, args...)...)
	cmd.Env = append(os.Environ(), "GRPCAUTH_PASSWORD="+password)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	check(t, err)
	check(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		kill := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
		defer kill.Stop()
		if err := cmd.Wait(); err != nil || strings.Contains(stderr.String(), "panic") {
			t.Errorf("the program ended with %v: %s", err, &stderr)
		}
	})
	lines := bufio.NewScanner(stdout)
	for e.grpc == "" && lines.Scan() {
		if _, url, ok := strings.Cut(lines.Text(), " on http"); ok {
			e.url = "http" + url
		} else if address, ok := strings.CutPrefix(lines.Text(), "gRPC on "); ok {
			e.grpc = address
		}
	}
	if e.grpc == "" {
		t.Fatalf("the program did not start: %s", &stderr)
	}
	return e
}

func TestPage(t *testing.T) { //nolint:tparallel // the scenarios have run when they are told of
	t.Parallel()
	node, chromium := program(t, "node", "nodejs"), program(t, "chromium", "chromium")
	installed(t)
	// The scenarios sign in one after the other, more often than a person would.
	here, hasty := start(t, "-guesses", "100"), start(t, "-guesses", "2")
	input, err := json.Marshal(map[string]string{
		"url": here.url, "hasty": hasty.url, "password": password, "program": chromium, "screenshots": os.Getenv("GRPCAUTH_SCREENSHOTS"),
		"certificate": string(certificate(t, grpcauthtest.NewCA(t))),
	})
	check(t, err)
	cmd := exec.Command(node, "scenarios.mjs", string(input))
	cmd.Env = append(os.Environ(), "NODE_EXTRA_CA_CERTS="+here.ca)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	check(t, err)
	check(t, cmd.Start())
	kill := time.AfterFunc(4*time.Minute, func() { _ = cmd.Process.Kill() })
	defer kill.Stop()
	n := 0
	for lines := bufio.NewScanner(stdout); lines.Scan(); n++ {
		var scenario struct {
			Name  string
			Wrong []string
		}
		if err := json.Unmarshal(lines.Bytes(), &scenario); err != nil {
			t.Fatalf("%v: %s", err, lines.Bytes())
		}
		t.Run(scenario.Name, func(t *testing.T) {
			for _, what := range scenario.Wrong {
				t.Error(what)
			}
		})
	}
	_, _ = io.Copy(io.Discard, stdout)
	if err := cmd.Wait(); err != nil || n != 27 {
		t.Errorf("%d scenarios, and it ended with %v: %s", n, err, &stderr)
	}
}

// program finds a program that tests need. Where changes are checked, it has to be there.
func program(t *testing.T, name, debian string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err == nil {
		return path
	}
	const advice = "%v: these tests need it; apt-get install %s"
	if os.Getenv("CI") == "true" {
		t.Fatalf(advice, err, debian)
	}
	t.Skipf(advice, err, debian)
	return ""
}

// installed puts the packages that package-lock.json names beside it, unless they are there.
func installed(t *testing.T) {
	t.Helper()
	npm := program(t, "npm", "npm")
	check(t, install(npm))
}

var installing sync.Mutex

func install(npm string) error {
	installing.Lock()
	defer installing.Unlock()
	stamp := filepath.Join("node_modules", ".installed")
	lock, err := os.ReadFile("package-lock.json")
	if err != nil {
		return err
	}
	if before, err := os.ReadFile(stamp); err == nil && bytes.Equal(before, lock) {
		return nil
	}
	cmd := exec.Command(npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error")
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return err
	}
	return os.WriteFile(stamp, lock, 0o600) //nolint:gosec // the path is fixed
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
