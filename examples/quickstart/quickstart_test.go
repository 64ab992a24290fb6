// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/grpcauth/grpcauth"
)

const wantTable = `
CALL                     CREDENTIAL                    CODE              REASON                 USER
Health/Check             none                          OK                -                      -
Echo                     none                          Unauthenticated   CREDENTIALS_MISSING    -
Echo                     password                      OK                -                      alice
Echo                     wrong password                Unauthenticated   CREDENTIALS_INVALID    -
Echo                     unknown user                  Unauthenticated   CREDENTIALS_INVALID    -
Echo                     token                         OK                -                      bob
Echo                     expired token                 Unauthenticated   CREDENTIALS_EXPIRED    -
Echo                     token of a stranger's key     Unauthenticated   CREDENTIALS_INVALID    -
Echo                     token of two words            Unauthenticated   CREDENTIALS_MALFORMED  -
Echo                     scheme nobody reads           Unauthenticated   CREDENTIALS_INVALID    -
Echo                     token and password            Unauthenticated   CREDENTIALS_AMBIGUOUS  -
Collect (client stream)  token with the scope          OK                -                      bob
Collect (client stream)  password, which has no scope  PermissionDenied  PERMISSION_DENIED      -
Expand (server stream)   token                         OK                -                      bob
Expand (server stream)   none                          Unauthenticated   CREDENTIALS_MISSING    -
Converse (kept open)     token of four seconds         Unauthenticated   CREDENTIALS_EXPIRED    bob
Shout (no such method)   token                         Unimplemented     -                      -
Shout (no such method)   none                          Unauthenticated   CREDENTIALS_MISSING    -
`

func TestCalls(t *testing.T) {
	t.Parallel()
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), nil, &stdout, &stderr); code != 0 || stderr.Len() > 0 {
		t.Errorf("got code %d and %q, want 0 and nothing", code, &stderr)
	}
	if got, want := stdout.String(), wantTable[1:]; got != want {
		t.Errorf("got\n%s, want\n%s", got, want)
	}
}

// A table that cannot fail shows nothing: each part of an answer counts.
func TestReportNamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	good := letIn(bob)
	for _, got := range []answer{letIn(alice), letIn(""), refused(grpcauth.CodeInvalid), {code: codes.OK, user: bob, reason: "X"}} {
		err := report(io.Discard, []outcome{
			{attempt{callEcho, "token", nil, good}, good},
			{attempt{callExpand, "password", nil, good}, got},
		})
		if err == nil || !strings.HasPrefix(err.Error(), "Expand (server stream), password: got ") || strings.Contains(err.Error(), "Echo") {
			t.Errorf("%s: got %v, want the second row", got, err)
		}
	}
}

func TestListen(t *testing.T) {
	t.Parallel()
	kept := filepath.Join(t.TempDir(), "it's mine.pem")
	for name, test := range map[string]struct {
		args []string
		kept bool
	}{
		"temporary file": {[]string{"-listen", "127.0.0.1:0"}, false},
		"file":           {[]string{"-listen", "127.0.0.1:0", "-ca", kept}, true},
		"every address":  {[]string{"-listen", ":0"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			stdout, code := make(firstWrite, 1), make(chan int, 1)
			var stderr bytes.Buffer
			go func() { code <- run(ctx, test.args, stdout, &stderr) }()
			var text string
			select {
			case text = <-stdout:
			case c := <-code:
				t.Fatalf("got code %d and %q, want a server", c, &stderr)
			}

			caFile, token, password := valueOf(t, text, "ca"), valueOf(t, text, "token"), valueOf(t, text, "password")
			ca, err := os.ReadFile(caFile)
			if err != nil {
				t.Fatal(err)
			}
			c, err := dial(&site{target: valueOf(t, text, "target"), ca: ca})
			if err != nil {
				t.Fatal(err)
			}
			defer c.close()
			for _, o := range c.makeAll(ctx, []attempt{
				{callEcho, "token", []string{bearer(token)}, letIn(bob)},
				{callCollect, "token", []string{bearer(token)}, letIn(bob)},
				{callEcho, "bad token", []string{bearer(token[:len(token)-10])}, refused(grpcauth.CodeInvalid)},
				{callExpand, "bad token", []string{bearer(token[1:])}, refused(grpcauth.CodeInvalid)},
				{callEcho, "password", []string{basicOf(alice, password)}, letIn(alice)},
				{callEcho, "none", nil, refused(grpcauth.CodeMissing)},
			}) {
				if o.got != o.want {
					t.Errorf("%s: got %s, want %s", o.credential, o.got, o.want)
				}
			}

			cancel()
			if c := <-code; c != 0 {
				t.Errorf("got code %d and %q, want 0", c, &stderr)
			}
			if _, err := os.Stat(caFile); test.kept && err != nil || !test.kept && !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the file with the certificate: got %v, want it kept: %t", err, test.kept)
			}
			log := stderr.String()
			if strings.Count(log, "let in") != 3 || strings.Count(log, "refused") != 3 || strings.Contains(log, token[1:20]) || strings.Contains(log, password) {
				t.Errorf("want three decisions of each kind and no credential in the log, got\n%s", log)
			}
		})
	}
}

// An open stream does not keep the program from ending.
func TestListenStopsWithOpenStreams(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s, err := startSite(ctx, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c, err := dial(s)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	got := make(chan answer, 1)
	go func() {
		got <- c.make(ctx, attempt{method: callConverse, authorization: []string{basicOf(alice, s.password)}})
	}()
	awaitHandler(t, c, s)
	s.stop()
	if a := <-got; a.code != codes.Unavailable && a.code != codes.Canceled {
		t.Errorf("got %s, want the end of the connection", a)
	}
	if err := <-s.ended; err != nil {
		t.Errorf("Serve: got %v, want nil", err)
	}
}

// awaitHandler makes a call behind another one on the same connection.
func awaitHandler(t *testing.T, c *client, s *site) {
	t.Helper()
	if a := c.make(t.Context(), attempt{method: callEcho, authorization: []string{basicOf(alice, s.password)}}); a != letIn(alice) {
		t.Fatalf("got %s, want alice", a)
	}
}

func TestWrongArguments(t *testing.T) {
	t.Parallel()
	busy, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = busy.Close() }) // later than a deferred call: the parallel subtests need it
	for _, test := range []struct {
		name string
		args []string
		code int
		want string // in what is said about it
	}{
		{"help", []string{"-h"}, 0, "-listen address"},
		{"unknown flag", []string{"-lisen", "127.0.0.1:0"}, 2, "-lisen"},
		{"argument", []string{"serve"}, 2, `unexpected argument "serve"`},
		{"no value", []string{"-listen"}, 2, "flag needs an argument"},
		{"empty address", []string{"-listen", ""}, 2, "write a host and a port"},
		{"nonsense", []string{"-listen", "nonsense"}, 2, "missing port in address"},
		{"no such port", []string{"-listen", "127.0.0.1:99999"}, 1, "invalid port"},
		{"busy port", []string{"-listen", busy.Addr().String()}, 1, "address already in use"},
		{"file without a server", []string{"-ca", "ca.pem"}, 2, "-ca needs -listen"},
		{"file in no folder", []string{"-listen", "127.0.0.1:0", "-ca", filepath.Join(t.TempDir(), "none", "ca.pem")}, 1, "no such file"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var stdout, stderr bytes.Buffer
			code := run(t.Context(), test.args, &stdout, &stderr)
			if code != test.code || !strings.Contains(stderr.String(), test.want) || stdout.Len() > 0 {
				t.Errorf("got code %d, %q and %q on stdout, want %d, %q and nothing", code, &stderr, &stdout, test.code, test.want)
			}
		})
	}
}

// firstWrite hands over what is written first, which a program writes when it is ready.
type firstWrite chan string

func (w firstWrite) Write(p []byte) (int, error) {
	w <- string(p)
	return len(p), nil
}

// valueOf reads an assignment as a shell would.
func valueOf(t *testing.T, text, name string) string {
	t.Helper()
	match := regexp.MustCompile(`(?m)^` + name + `='(.*)'$`).FindStringSubmatch(text)
	if match == nil {
		t.Fatalf("no %s in\n%s", name, text)
	}
	return strings.ReplaceAll(match[1], `'\''`, `'`)
}
