// SPDX-License-Identifier: Apache-2.0

//go:build grpcauth_canary

package grpcauth

import (
	"context"
	"fmt"
	"os"
	"strings"

	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/grpcauth/grpcauth/internal/canary"
)

// In builds with this tag, which only tests make, every decision of every interceptor is looked through for the credentials of its own call. One that
// shows them ends the process.
func init() { watchers = []Observer{ObserverFunc(watch)} }

func watch(ctx context.Context, e Event) {
	c, ok := ctx.Value(callKey{}).(*call)
	if !ok || c.interceptor == nil {
		return
	}
	written := canary.Show(e, e.Err, &c.req)
	if e.Err != nil {
		written += canary.Show(status.Convert(c.interceptor.answer(context.Background(), e.Method, c.interceptor.rules.of(c.req.method), e.Err)).Proto().String())
	}
	written += fmt.Sprint(c.req.header)
	md, _ := metadata.FromIncomingContext(ctx)
	for _, place := range c.interceptor.places {
		key := place.Header
		if place.Cookie != "" {
			key = "cookie"
		}
		for _, credential := range md[key] {
			for _, secret := range canary.Secrets(credential) {
				if e.User != nil && strings.Contains(canary.Show(e.User), secret) && !strings.Contains(secret, "canary") {
					continue // a test's backend that makes users of tokens
				}
				if form := canary.Find(written, secret); form != "" {
					fmt.Fprintf(os.Stderr, "grpcauth: the %s of a call to %s was written as %s: %q in %s\n", key, e.Method, form, secret, written)
					os.Exit(1) // a panic would be an answer
				}
			}
		}
	}
}
