// SPDX-License-Identifier: Apache-2.0

package grpcauth_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/logging"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/basic"
	"github.com/grpcauth/grpcauth/backends/jwt"
	"github.com/grpcauth/grpcauth/grpcauthtest"
	"github.com/grpcauth/grpcauth/internal/canary"
	"github.com/grpcauth/grpcauth/jwks"
	"github.com/grpcauth/grpcauth/password"
)

// sink is everything that is written anywhere.
type sink struct {
	mu   sync.Mutex
	text bytes.Buffer // guarded by mu
}

func (s *sink) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *sink) show(values ...any) { _, _ = io.WriteString(s, canary.Show(values...)) }

// TestNoSecretReachesAnySink marks every secret that the library handles and looks for the marks wherever something can be written.
func TestNoSecretReachesAnySink(t *testing.T) {
	t.Parallel()
	const (
		wrong = "canary-wrong-5f1d7"
		right = "canary-right-83b0c"
		name  = "canary-name-77e2a" // an unknown user's name may be a password that was typed into the wrong field
	)
	out := &sink{}
	secret := []byte("canary-secret-of-at-least-32-bytes-19c4")
	hasher, err := password.New(password.Options{Memory: 64, Time: 1})
	if err != nil {
		t.Fatal(err)
	}
	hash, err := hasher.Hash(t.Context(), right)
	if err != nil {
		t.Fatal(err)
	}
	account := basic.Account{User: &grpcauth.User{ID: "alice"}, PasswordHash: hash}
	passwords, err := basic.New(basic.Options{Hasher: hasher, Lookup: func(_ context.Context, n string) (basic.Account, error) {
		if n == "alice" {
			return account, nil
		}
		return basic.Account{}, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	key := jwks.Key{ID: "a", Algorithm: "HS256", Secret: secret}
	set, err := jwks.Static(key)
	if err != nil {
		t.Fatal(err)
	}
	options := jwt.Options{Issuers: []jwt.Issuer{{URL: "https://idp.example.com", Audiences: []string{"orders"}, Algorithms: []string{"HS256"}, Keys: set}}}
	tokens, err := jwt.New(options)
	if err != nil {
		t.Fatal(err)
	}
	issuer := grpcauthtest.NewIssuer(t, "https://idp.example.com", "orders")
	stranger := issuer.Token("HS256", "alice", nil)
	panicking := grpcauth.BackendFunc(func(_ context.Context, req *grpcauth.Request) (*grpcauth.User, error) {
		if v, err := req.Value("x-panic"); err == nil {
			panic(v)
		}
		out.show(req, *req)
		return nil, grpcauth.ErrNoCredentials
	})
	observer := grpcauth.ObserverFunc(func(_ context.Context, e grpcauth.Event) {
		out.show(e, e.Err)
		slog.New(slog.NewTextHandler(out, nil)).Info("event", "event", e, "cause", e.Err, "user", e.User)
		slog.New(slog.NewJSONHandler(out, nil)).Info("event", "event", e, "cause", e.Err, "user", e.User)
	})
	logger := logging.LoggerFunc(func(_ context.Context, _ logging.Level, msg string, fields ...any) {
		fmt.Fprintln(out, append(fields, msg)...)
	})
	auth := grpcauth.New(grpcauth.Chain(panicking, tokens, passwords), grpcauth.WithObserver(observer))
	cc := grpcauthtest.Dial(t, newServer(auth, "registrar and options", &echo{}, grpc.ChainUnaryInterceptor(logging.UnaryServerInterceptor(logger))), nil)

	encode := base64.StdEncoding.EncodeToString
	for _, md := range []metadata.MD{
		metadata.Pairs("authorization", "Basic "+encode([]byte("alice:"+right))),
		metadata.Pairs("authorization", "Basic "+encode([]byte("alice:"+wrong))),
		metadata.Pairs("authorization", "Basic "+encode([]byte(name+":"+wrong))),
		metadata.Pairs("authorization", "Basic "+encode([]byte(wrong))),
		metadata.Pairs("authorization", "Basic "+wrong),
		metadata.Pairs("authorization", "Basic "+encode([]byte("alice:"+wrong+"\x00"))),
		metadata.Pairs("authorization", "Bearer "+wrong),
		metadata.Pairs("authorization", "Bearer "+wrong+"!"),
		metadata.Pairs("authorization", wrong),
		metadata.Pairs("authorization", wrong, "authorization", right),
		metadata.Pairs("authorization", "Bearer "+stranger),
		metadata.Pairs("x-panic", wrong),
		metadata.Pairs("authorization", "Bearer "+encode([]byte(`{"alg":"`+wrong+`"}`))+".e30."+wrong),
	} {
		for _, call := range calls {
			_, err := call(metadata.NewOutgoingContext(t.Context(), md), cc)
			out.show(status.Convert(err).Proto().String(), err)
		}
	}
	out.show(hasher, passwords, tokens, set, key, &key, account, &account, options, struct{ A, B any }{account, key}, map[string]any{"a": account, "k": key}, auth)
	slog.New(slog.NewTextHandler(out, nil)).Info("values", "hasher", hasher, "set", set, "key", key, "account", account)
	slog.New(slog.NewJSONHandler(out, nil)).Info("values", "hasher", hasher, "set", set, "key", key, "account", account)

	written := out.text.String()
	if !strings.Contains(written, "CREDENTIALS_INVALID") || !strings.Contains(written, "alice") {
		t.Fatal("the sink is not connected")
	}
	for what, s := range map[string]string{"password": right, "wrong password": wrong, "name": name, "secret": string(secret), "hash": hash, "token": stranger, "signature": stranger[strings.LastIndexByte(stranger, '.')+1:]} {
		if form := canary.Find(written, s); form != "" {
			i := strings.Index(written, s)
			t.Errorf("the %s was written as %s: …%s…", what, form, written[max(0, i-100):max(0, i+20)])
		}
	}
}
