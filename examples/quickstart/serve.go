// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/grpcauth/grpcauth"
)

// serve runs the server until ctx ends, and prints what it takes to call it.
func serve(ctx context.Context, address, caFile string, stdout, stderr io.Writer) (err error) {
	s, err := startSite(ctx, address, grpcauth.WithObserver(decisions{slog.New(slog.NewTextHandler(stderr, nil))}))
	if err != nil {
		return err
	}
	defer s.stop()
	if caFile == "" {
		if caFile, err = temporary(s.ca); err != nil {
			return err
		}
		defer func() {
			if removeErr := os.Remove(caFile); err == nil {
				err = removeErr
			}
		}()
	} else if err := os.WriteFile(caFile, s.ca, 0o644); err != nil { //nolint:gosec // a certificate is for everyone to read
		return err
	}
	token, err := s.issuer.token(bob, collectScope, time.Hour)
	if err != nil {
		return err
	}
	if _, err := io.WriteString(stdout, instructions(s, caFile, token)); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-s.ended:
		return err
	}
}

func temporary(ca []byte) (name string, err error) {
	f, err := os.CreateTemp("", "quickstart-*.pem")
	if err != nil {
		return "", err
	}
	_, err = f.Write(ca)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		_ = os.Remove(f.Name()) // the error to tell is the first one
		return "", err
	}
	return f.Name(), nil
}

// instructions are lines for a shell. Reflection needs a user like everything else, so a credential is sent there too, even where the call has none.
func instructions(s *site, caFile, token string) string {
	return strings.NewReplacer("$TARGET", s.target, "$CA", quote(caFile), "$BEARER", token, "$PASSWORD", s.password).Replace(
		`Serving on $TARGET until interrupted. The token is good for an hour, the certificate for a day. Paste this into a shell:

target='$TARGET'
ca=$CA
token='$BEARER'
password='$PASSWORD'

and then a call by token, one by user name and password, and one without a credential, which is refused:

buf curl --protocol grpc --cacert "$ca" --reflect-header '*' -H "authorization: Bearer $token" -d '{"text":"hello"}' "https://$target/echo.v1.EchoService/Echo"
buf curl --protocol grpc --cacert "$ca" --reflect-header '*' -u "alice:$password" -d '{"text":"hello"}' "https://$target/echo.v1.EchoService/Echo"
buf curl --protocol grpc --cacert "$ca" --reflect-header "authorization: Bearer $token" -d '{"text":"hello"}' "https://$target/echo.v1.EchoService/Echo"

grpcurl -cacert "$ca" -H "authorization: Bearer $token" -d '{"text":"hello"}' "$target" echo.v1.EchoService/Echo
grpcurl -cacert "$ca" -H "authorization: Basic $(printf %s "alice:$password" | base64)" -d '{"text":"hello"}' "$target" echo.v1.EchoService/Echo
grpcurl -cacert "$ca" -reflect-header "authorization: Bearer $token" -d '{"text":"hello"}' "$target" echo.v1.EchoService/Echo

Each decision is logged below, with the reason that the caller is not told.
`)
}

// quote makes one word of a POSIX shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// decisions logs who was let in, and why others were not. An event holds no credential.
type decisions struct{ log *slog.Logger }

// Observe logs one decision.
func (d decisions) Observe(ctx context.Context, e grpcauth.Event) {
	if e.Err != nil {
		d.log.WarnContext(ctx, "refused", "method", e.Method, "status", e.Status, "cause", e.Err)
		return
	}
	who := ""
	if e.User != nil {
		who = e.User.ID
	}
	d.log.InfoContext(ctx, "let in", "method", e.Method, "access", e.Access, "user", who, "backend", e.Backend)
}
