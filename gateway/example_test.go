// SPDX-License-Identifier: Apache-2.0

package gateway_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/bearer"
	"github.com/grpcauth/grpcauth/gateway"
	echogateway "github.com/grpcauth/grpcauth/gateway/internal/gen/echo/v1"
	echov1 "github.com/grpcauth/grpcauth/internal/gen/echo/v1"
)

func Example() {
	tokens, err := bearer.New(desk{}, bearer.Options{})
	if err != nil {
		panic(err)
	}
	auth := grpcauth.New(tokens)
	trust, err := gateway.TrustHop(gateway.HopOptions{})
	if err != nil {
		panic(err)
	}
	srv := grpc.NewServer(append(auth.ServerOptions(), trust)...)
	defer srv.Stop()
	echov1.RegisterEchoServiceServer(auth.Registrar(srv), &echo{})

	conn, err := gateway.InProcess(srv)
	if err != nil {
		panic(err)
	}
	defer func() { _ = conn.Close() }()
	opts, err := gateway.ServeMuxOptions(gateway.Options{Problems: true})
	if err != nil {
		panic(err)
	}
	mux := runtime.NewServeMux(opts...)
	if err := echogateway.RegisterEchoServiceHandlerClient(context.Background(), mux, echov1.NewEchoServiceClient(conn)); err != nil {
		panic(err)
	}

	for _, authorization := range []string{"Bearer alices", "Bearer guess"} {
		r := httptest.NewRequest(http.MethodGet, "https://example.com/v1/echo/hello", http.NoBody)
		r.Header.Set("Authorization", authorization)
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		fmt.Printf("%d %q\n", w.Code, w.Header()["Www-Authenticate"])
	}
	// Output:
	// 200 []
	// 401 ["Bearer realm=\"grpcauth\", error=\"invalid_token\""]
}

func ExampleMiddleware() {
	tokens, err := bearer.New(desk{}, bearer.Options{})
	if err != nil {
		panic(err)
	}
	auth := grpcauth.New(tokens, grpcauth.WithPolicy(grpcauth.Policy{"/http.Handler/POST": {Scopes: []string{"echo"}}}))
	upload := gateway.Middleware(auth)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, _ := grpcauth.FromContext(r.Context())
		_, _ = fmt.Fprintf(w, "thank you, %s", user.ID)
	}))

	for _, authorization := range []string{"Bearer alices", "Bearer bobs"} {
		r := httptest.NewRequest(http.MethodPost, "https://example.com/upload", http.NoBody)
		r.Header.Set("Authorization", authorization)
		w := httptest.NewRecorder()
		upload.ServeHTTP(w, r)
		if w.Code == http.StatusOK {
			fmt.Println(w.Code, w.Body)
		} else {
			fmt.Println(w.Code)
		}
	}
	// Output:
	// 200 thank you, alice
	// 403
}
