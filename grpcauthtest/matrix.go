// SPDX-License-Identifier: Apache-2.0

package grpcauthtest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/grpcauth/grpcauth"
)

// updateMatrix is the environment variable that has [Matrix] write its golden tables.
const updateMatrix = "GRPCAUTHTEST_UPDATE"

// answerWithin is how long a call may go unanswered until it counts as let in: a refusal needs no handler, and so comes at once.
const answerWithin = 5 * time.Second

// Caller is a column of a [Matrix]: somebody who really calls every method.
type Caller struct {
	// Name heads the column. One that is called "bad" replaces the bad credential that Matrix has of its own.
	Name string
	// Metadata are the credentials of the calls, such as {"authorization": "Bearer …"}.
	Metadata map[string]string
}

// Matrix calls every method of a server as various callers and compares who was let in with a golden table, so that the review of a change shows
// who gains access.
//
// The table is testdata/NAME.matrix, after the test; set GRPCAUTHTEST_UPDATE=1 to write it. It has a line for each method: its rule, what the rule asks,
// and a cell for each caller, which is "yes" or the reason of the refusal. Matrix also fails if [grpcauth.Interceptor.Check] does.
//
// Callers with no credential ("nothing") and with a wrong bearer token ("bad") come over a connection, as do those given; these methods' handlers really
// run where they are let in, with an empty message. "no rights" and "rights" are users whom the rule is applied to without a call: one who has nothing
// but a name, and one who has all that the rule asks. The server is registered and not served yet; its TLS, if it has any, is left out.
func Matrix(tb testing.TB, server *grpc.Server, auth *grpcauth.Interceptor, callers ...Caller) {
	tb.Helper()
	if err := auth.Check(server); err != nil {
		tb.Errorf("grpcauthtest: Matrix: %v", err)
	}
	named := map[string]bool{"nothing": true, "no rights": true, "rights": true}
	for _, c := range callers {
		if named[c.Name] || c.Name == "" || strings.ContainsAny(c.Name, "\t\r\n|") {
			tb.Fatalf("grpcauthtest: Matrix: the name %q of a caller is empty, taken, or not one line", c.Name)
		}
		named[c.Name] = true
	}
	if !named["bad"] {
		callers = append([]Caller{{"bad", map[string]string{"authorization": "Bearer not.a.credential"}}}, callers...)
	}
	got := matrix(tb, server, auth, append([]Caller{{Name: "nothing"}}, callers...))

	file := filepath.Join("testdata", strings.NewReplacer("/", "-", " ", "_").Replace(tb.Name())+".matrix")
	if os.Getenv(updateMatrix) != "" {
		if err := errors.Join(os.MkdirAll("testdata", 0o750), os.WriteFile(file, got, 0o600)); err != nil {
			tb.Fatalf("grpcauthtest: Matrix: %v", err)
		}
		return
	}
	want, err := os.ReadFile(file) //nolint:gosec // the name is the test's
	switch {
	case errors.Is(err, fs.ErrNotExist):
		tb.Errorf("grpcauthtest: Matrix: there is no %s yet: review this table and write it with %s=1\n%s", file, updateMatrix, got)
	case err != nil:
		tb.Errorf("grpcauthtest: Matrix: %v", err)
	case !bytes.Equal(got, want):
		tb.Errorf("grpcauthtest: Matrix: access changed; if that is meant, write %s with %s=1\n%s", file, updateMatrix, changed(string(want), string(got)))
	}
}

// matrix makes the table.
func matrix(tb testing.TB, server *grpc.Server, auth *grpcauth.Interceptor, callers []Caller) []byte {
	tb.Helper()
	conn := dialHandler(tb, server)
	var out bytes.Buffer // its columns are not aligned: a long name would change every line, and hide the one that counts
	out.WriteString("method | rule | asks")
	for _, c := range callers {
		out.WriteString(" | " + c.Name)
	}
	out.WriteString(" | no rights | rights\n")
	services := server.GetServiceInfo()
	for _, service := range slices.Sorted(maps.Keys(services)) {
		methods := slices.SortedFunc(slices.Values(services[service].Methods), func(a, b grpc.MethodInfo) int { return cmp.Compare(a.Name, b.Name) })
		for _, m := range methods {
			name := "/" + service + "/" + m.Name
			pattern, rule := auth.Rule(name)
			fmt.Fprintf(&out, "%s | %s | %s", name, cmp.Or(pattern, "(none)"), asks(rule))
			for _, c := range callers {
				out.WriteString(" | " + cell(call(tb, conn, name, m, c)))
			}
			fmt.Fprintf(&out, " | %s | %s\n", cell(auth.Allows(name, &grpcauth.User{ID: "somebody"})), cell(auth.Allows(name, entitled(rule))))
		}
	}
	return out.Bytes()
}

// dialHandler serves a server as an HTTP handler, which needs no certificates where the server has some, until the test ends.
func dialHandler(tb testing.TB, server *grpc.Server) *grpc.ClientConn {
	tb.Helper()
	listener, err := new(net.ListenConfig).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatalf("grpcauthtest: Matrix: %v", err)
	}
	handler := &http.Server{Handler: server, Protocols: new(http.Protocols), ReadHeaderTimeout: answerWithin}
	handler.Protocols.SetUnencryptedHTTP2(true)
	served := make(chan error, 1)
	go func() { served <- handler.Serve(listener) }()
	conn, err := grpc.NewClient("passthrough:///"+listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		tb.Fatalf("grpcauthtest: Matrix: %v", err)
	}
	tb.Cleanup(func() {
		_ = conn.Close()
		_ = handler.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			tb.Errorf("grpcauthtest: Matrix: the server ended with %v", err)
		}
	})
	return conn
}

// call calls a method with an empty message, or with none if the client streams. It returns what the call ended with, and nil as soon as there is an answer.
func call(tb testing.TB, conn *grpc.ClientConn, method string, info grpc.MethodInfo, caller Caller) error {
	tb.Helper()
	ctx, cancel := context.WithTimeout(metadata.NewOutgoingContext(tb.Context(), metadata.New(caller.Metadata)), answerWithin)
	defer cancel()
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, method)
	if err != nil {
		tb.Fatalf("grpcauthtest: Matrix: %s could not be called: %v", method, err)
	}
	if !info.IsClientStream {
		_ = stream.SendMsg(&emptypb.Empty{}) // what went wrong is what is received
	}
	_ = stream.CloseSend()
	return stream.RecvMsg(&emptypb.Empty{})
}

// cell is "yes", or the reason of a refusal. What a handler ends with is no refusal: it was reached.
func cell(err error) string {
	if refusal, ok := errors.AsType[*grpcauth.AuthenticationError](err); ok {
		return refusal.Code().String()
	}
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok && isReason(info.GetReason()) {
			return info.GetReason()
		}
	}
	return "yes"
}

func isReason(text string) bool {
	for code := grpcauth.CodeInternal; code <= grpcauth.CodeUnavailable; code++ {
		if code.String() == text {
			return true
		}
	}
	return false
}

// entitled is a user who has all that a rule asks.
func entitled(r grpcauth.Rule) *grpcauth.User {
	return &grpcauth.User{
		ID: "somebody", Scopes: slices.Concat(r.Scopes, r.AnyScopes), Permissions: slices.Concat(r.Permissions, r.AnyPermissions),
		ACR: r.ACR, Binding: grpcauth.Binding{JKT: "key"},
		AuthTime: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC), // whatever the interceptor's clock says
	}
}

// asks is a rule in one line.
func asks(r grpcauth.Rule) string {
	text := []string{r.Access.String()}
	for _, list := range []struct {
		name, between string
		entries       []string
	}{
		{"backends", "|", r.Backends},
		{"backends", "+", r.AllBackends},
		{"scopes", "+", r.Scopes},
		{"scopes", "|", r.AnyScopes},
		{"permissions", "+", r.Permissions},
		{"permissions", "|", r.AnyPermissions},
	} {
		if len(list.entries) > 0 {
			text = append(text, list.name+"="+strings.Join(list.entries, list.between))
		}
	}
	if r.MaxAge > 0 {
		text = append(text, "max_age="+r.MaxAge.String())
	}
	if r.ACR != "" {
		text = append(text, "acr="+r.ACR)
	}
	if r.RequireBound {
		text = append(text, "bound")
	}
	return strings.Join(text, " ")
}

// changed lists the lines that only one of two tables has.
func changed(want, got string) string {
	var out strings.Builder
	before, after := strings.Split(want, "\n"), strings.Split(got, "\n")
	for _, line := range before {
		if !slices.Contains(after, line) {
			fmt.Fprintf(&out, "- %s\n", line)
		}
	}
	for _, line := range after {
		if !slices.Contains(before, line) {
			fmt.Fprintf(&out, "+ %s\n", line)
		}
	}
	return out.String()
}
