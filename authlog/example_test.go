// SPDX-License-Identifier: Apache-2.0

package authlog_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/authlog"
)

func Example() {
	audit, err := authlog.New(authlog.Options{
		Handler: slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{ReplaceAttr: withoutTimes}),
		Sample:  100, // one of a hundred calls that are let in; all that are not
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	tokens := grpcauth.BackendFunc(func(_ context.Context, req *grpcauth.Request) (*grpcauth.User, error) {
		if _, err := req.Authorization("Bearer"); err != nil {
			return nil, err
		}
		return nil, grpcauth.Errorf(grpcauth.CodeExpired, "it expired yesterday")
	})
	auth := grpcauth.New(tokens, grpcauth.WithObserver(audit))
	_, _ = auth.Authenticate(from(context.Background(), local, "authorization", "Bearer old"), "/shop.v1.Orders/Get")
	// Output:
	// level=WARN msg="grpcauth decision" grpcauth.outcome=refused rpc.method=shop.v1.Orders/Get rpc.response.status_code=UNAUTHENTICATED error.type=CREDENTIALS_EXPIRED network.peer.address=127.0.0.1
}

func withoutTimes(_ []string, a slog.Attr) slog.Attr {
	if a.Key == slog.TimeKey || a.Key == "grpcauth.duration" {
		return slog.Attr{}
	}
	return a
}
