// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/grpcauth/grpcauth/internal/servertest"
)

// asProgram makes the test binary the program itself, so that servers run in processes of their own and can be killed.
const asProgram = "GRPCAUTH_LOGIN_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	os.Exit(m.Run())
}

// stores are what -store takes, each new and empty.
var stores = map[string]func(t *testing.T) string{
	"sqlite":   func(t *testing.T) string { return "sqlite:" + filepath.Join(t.TempDir(), "login.db") },
	"memory":   func(*testing.T) string { return "memory" },
	"postgres": func(t *testing.T) string { return servertest.Postgres(t) },
	"redis":    func(t *testing.T) string { return "redis://" + servertest.Redis(t) },
}

// The walk through README.md does what it says, on each store. Only memory forgets.
func TestWalkThrough(t *testing.T) {
	t.Parallel()
	script, printed := walkThrough(t)
	for name, open := range stores {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			place, address := open(t), freeAddress(t)
			want := strings.ReplaceAll(printed, "127.0.0.1:50051", address)
			if name == "memory" {
				want = strings.Replace(want, "alice says still here\n", refused, 1)
			}
			got := runScript(t, script, place, address)
			servers, commands := byServer(got)
			if wantServers, wantCommands := byServer(want); !slices.Equal(servers, wantServers) || !slices.Equal(commands, wantCommands) {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

const refused = "login: rpc error: code = Unauthenticated desc = credentials are invalid\n"

// walkThrough returns the commands of README.md but for the first, which builds, and what they print.
func walkThrough(t *testing.T) (script, printed string) {
	t.Helper()
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, block, _ := strings.Cut(string(text), "```sh\ngo build -o ./login ./examples/login\n")
	block, _, ok := strings.Cut(block, "```")
	if !ok {
		t.Fatal("README.md has no walk-through")
	}
	var commands, output strings.Builder
	prose := true // a comment behind an empty line is for people
	for line := range strings.Lines(block) {
		comment, isComment := strings.CutPrefix(line, "# ")
		switch {
		case line == "\n":
			prose = true
		case !isComment:
			commands.WriteString(line)
			prose = false
		case !prose:
			output.WriteString(comment)
		}
	}
	return commands.String(), output.String()
}

// runScript runs commands in a shell, in which ./login is this program with a store and an address.
func runScript(t *testing.T, script, place, address string) string {
	t.Helper()
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	login := fmt.Sprintf(`#!/bin/sh
export %s=1
command=$1
shift
case $command in
serve) exec '%s' serve -listen '%s' -store '%s' "$@" ;;
*) exec '%s' "$command" -to '%s' "$@" ;;
esac
`, asProgram, self, address, place, self, address)
	if err := os.WriteFile(filepath.Join(dir, "login"), []byte(login), 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-c", script)
	cmd.Dir = dir
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Logf("the shell ended with %v", err)
	}
	return out.String()
}

// byServer tells the lines of a server, which come when they come, from those of commands, which come in order.
func byServer(text string) (servers, commands []string) {
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "made ") || strings.HasPrefix(line, "serving ") || strings.HasPrefix(line, "a used ") {
			servers = append(servers, line)
		} else {
			commands = append(commands, line)
		}
	}
	slices.Sort(servers)
	return servers, commands
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
