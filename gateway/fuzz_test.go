// SPDX-License-Identifier: Apache-2.0

package gateway_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"strings"
	"testing"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/bearer"
	"github.com/grpcauth/grpcauth/gateway"
	echogateway "github.com/grpcauth/grpcauth/gateway/internal/gen/echo/v1"
	echov1 "github.com/grpcauth/grpcauth/internal/gen/echo/v1"
)

// oracle says who may come of header lines: the user of the one Authorization header, if nothing else could be taken for one; else nobody.
func oracle(lines []string) string {
	user, found := "", 0
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ":")
		odd := strings.Contains(name, "_")
		name = strings.ToLower(strings.ReplaceAll(name, "_", "-"))
		for _, prefix := range []string{"grpc-metadata-", "grpcgateway-", "grpcauth-", "x-forwarded-", "x-user-", "x-auth-", "x-authenticated-", "x-real-"} {
			odd = odd || strings.HasPrefix(name, prefix)
		}
		if name == "authorization" || odd && strings.HasSuffix(name, "-authorization") {
			found++
		}
		if name == "authorization" {
			scheme, token, _ := strings.Cut(textproto.TrimString(value), " ")
			if !strings.EqualFold(scheme, "bearer") {
				continue
			}
			user = map[string]string{"alices": "alice", "bobs": "bob"}[token]
		}
	}
	if found != 1 {
		return ""
	}
	return user
}

func FuzzHeaders(f *testing.F) {
	for _, lines := range []string{
		"Authorization: Bearer alices", "authorization: bearer bobs\nX-User: root", "Authorization: Bearer alices\nGrpc-Metadata-Authorization: Bearer bobs",
		"Grpc-Metadata-Authorization: Bearer bobs", "grpc_metadata_authorization: Bearer bobs", "Authorization: Bearer alices\nAuthorization: Bearer alices",
		"Authorization: Bearer alices\nConnection: authorization", "Connection: close, x\nAuthorization: Bearer bobs", "Grpcgateway-Authorization: Bearer bobs",
		"X-Forwarded-Authorization: Bearer bobs\nAuthorization: Bearer alices", "Cookie: __Host-session=alices\nAuthorization: Bearer alices", "X-Api-Key: alices",
		"Authorization:\nAuthorization: Bearer bobs", "Authorization: Bearer alices\xff", "Authorization: Bearer alices, Bearer bobs", "Proxy-Authorization: Bearer bobs",
		"grpcauth-caller: 127.0.0.1\nGrpc-Metadata-Grpcauth-Caller: ::1", "Grpc-Timeout: 1S\nAuthorization: Bearer alices", "Grpc-Metadata-X-Bin: !\nAuthorization: Bearer bobs",
		"Connection: close\nConnection: Authorization\nAuthorization: Bearer alices", "A_uthorization: Bearer alices", "AUTHORIZATION : Bearer alices",
	} {
		f.Add(lines)
	}
	tokens, err := bearer.New(desk{}, bearer.Options{})
	if err != nil {
		f.Fatal(err)
	}
	auth := grpcauth.New(tokens)
	trust, err := gateway.TrustHop(gateway.HopOptions{})
	if err != nil {
		f.Fatal(err)
	}
	srv := grpc.NewServer(append(auth.ServerOptions(), trust)...)
	echov1.RegisterEchoServiceServer(auth.Registrar(srv), &echo{})
	conn, err := gateway.InProcess(srv)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		_ = conn.Close()
		srv.Stop()
	})
	opts, err := gateway.ServeMuxOptions(gateway.Options{})
	if err != nil {
		f.Fatal(err)
	}
	mux := runtime.NewServeMux(opts...)
	if err := echogateway.RegisterEchoServiceHandlerClient(context.Background(), mux, echov1.NewEchoServiceClient(conn)); err != nil {
		f.Fatal(err)
	}
	behind := gateway.Middleware(auth)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, _ := grpcauth.FromContext(r.Context())
		_, _ = fmt.Fprintf(w, `{"userId":%q}`, user.ID)
	}))
	f.Fuzz(func(t *testing.T, text string) {
		lines := strings.Split(text, "\n")
		for name, handler := range map[string]http.Handler{"gateway": mux, "middleware": behind} {
			r := httptest.NewRequest(http.MethodGet, "https://example.com/v1/echo/hello", http.NoBody)
			for _, line := range lines {
				name, value, _ := strings.Cut(line, ":")
				r.Header.Add(name, textproto.TrimString(value))
			}
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, r)
			var answer struct {
				UserID string `json:"userId"`
			}
			if w.Code == http.StatusOK {
				if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
					t.Fatal(err)
				}
			}
			// To refuse what the oracle takes is right where the request is refused for something else.
			if got, want := answer.UserID, oracle(lines); got != "" && got != want {
				t.Errorf("%s: %q: got the user %q, want %q", name, lines, got, want)
			} else if got == "" && want != "" && simple(lines) {
				t.Errorf("%s: %q: got %d, want the user %q", name, lines, w.Code, want)
			}
		}
	})
}

// simple reports whether headers are of those that have to be taken.
func simple(lines []string) bool {
	for _, line := range lines {
		name, _, _ := strings.Cut(line, ":")
		if !strings.EqualFold(name, "Authorization") && !strings.EqualFold(name, "X-User") {
			return false
		}
	}
	return true
}
