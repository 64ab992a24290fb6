// SPDX-License-Identifier: Apache-2.0

// Package canary_test runs one server with everything that the library has, makes right and wrong calls of every kind, and looks for their secrets wherever
// something was written.
package canary_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"log"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/grpclog"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/grpcauth/grpcauth"
	grpcauthv1 "github.com/grpcauth/grpcauth/proto/grpcauth/v1"
	"github.com/grpcauth/grpcauth/store"
)

// Whatever the process logs by the loggers that it shares is one more sink.
func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(process.handlers("slog's default")[0]))
	log.SetOutput(process.writer("package log")) // which SetDefault would undo
	log.SetFlags(0)
	grpclog.SetLoggerV2(grpclogger{process})
	redis.SetLogger(redislogger{process})
	goleak.VerifyTestMain(m)
}

func TestNoSecretReachesAnySink(t *testing.T) {
	t.Parallel()
	for name, open := range places {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := open(t)
			w := newSite(t, p)
			c := w.enter(t)
			w.try(t, c, 3)
			p.dump(t, w)
			p.fail(t)
			w.try(t, c, 3)
			p.mend(t)
			w.try(t, c, 1)
			w.ask(t)
			w.leave(t, c)
			w.print(t)
			w.mistakes(t)
			controls := w.confessAll(t, c)
			p.dump(t, w)
			p.dumpFiles(t, w)
			w.traces.collect(t)
			w.search(t, controls)
		})
	}
}

// reasons are those of all refusals that there are, but for that of a connection in plaintext, which this server has none of.
var reasons = []grpcauth.Code{
	grpcauth.CodeInternal, grpcauth.CodeMissing, grpcauth.CodeMalformed, grpcauth.CodeAmbiguous, grpcauth.CodeInvalid, grpcauth.CodeExpired, grpcauth.CodeRevoked,
	grpcauth.CodeStepUp, grpcauth.CodeForbidden, grpcauth.CodeThrottled, grpcauth.CodeUnavailable,
}

// search looks for all secrets in all sinks. Those are connected only if what was written there on purpose is found in each.
func (w *site) search(t *testing.T, controls map[string][]string) {
	t.Helper()
	secrets := w.book.all()
	if len(secrets) < 200 {
		t.Errorf("%d secrets were looked for, fewer than there must be", len(secrets))
	}
	marks := map[string]string{}
	for mark := range controls {
		marks[mark] = mark
	}
	find, confirm := newFinder(secrets), newFinder(marks)
	confirmed := map[string][]string{}
	bytes, told := 0, map[string]bool{}
	look := func(where string, text []byte) {
		bytes += len(text)
		for _, h := range find.find(text) {
			if what := h.kind + " as " + h.form + " in " + where; !told[what] {
				told[what] = true
				t.Errorf("%s: …%q…", what, text[max(0, h.at-150):min(len(text), h.at+len(h.text)+20)])
			}
		}
		for _, h := range confirm.find(text) {
			confirmed[h.secret] = append(confirmed[h.secret], where)
		}
		if where == "statuses" {
			for _, code := range reasons {
				if !strings.Contains(string(text), `"`+code.String()+`"`) {
					t.Errorf("no call failed with %v", code)
				}
			}
		}
	}
	unproven := map[string]bool{}
	for _, s := range []*sinks{w.sinks, process} {
		s.each(func(where string, _ []byte) { unproven[where] = true })
		s.each(look)
	}
	for mark, wheres := range controls {
		for _, where := range wheres {
			delete(unproven, where)
			if !slices.Contains(confirmed[mark], where) {
				t.Errorf("what was written to %q on purpose is not found there", where)
			}
		}
	}
	for where := range unproven {
		t.Errorf("nothing was written to %q on purpose", where)
	}
	t.Logf("%d secrets, %d bytes", len(secrets), bytes)
}

// control is a text that is written on purpose.
func control() string { return "control-" + strings.ToLower(rand.Text()) }

// confessAll writes a text to each sink in the way that secrets would get there, and returns which is to be found where.
func (w *site) confessAll(t *testing.T, c *caller) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	mark := func(where ...string) string {
		m := control()
		all[m] = where
		return m
	}
	good := metadata.Pairs("authorization", basicOf("alice", w.renewed))
	echo := func(md metadata.MD, text string) { _ = w.call(t.Context(), md, ways["Echo"](w.plain, text)) }
	echo(metadata.Pairs("x-control", mark("events", "events by slog", "audit log", "call log", "requests", "package log", "slog's default", "spans")), "hello")
	echo(good, "control "+mark("statuses", "headers", "spans", "metrics", "handlers", "call log"))
	echo(good, "control panic "+mark("recovered panics"))
	echo(metadata.Join(good, metadata.Pairs("x-load", mark("hooks"))), "hello")
	_, _ = w.login(t.Context(), w.plain, nil, &grpcauthv1.LoginRequest{Username: mark("events of logins"), Password: w.wrong})
	if _, err := w.login(t.Context(), w.plain, nil, &grpcauthv1.LoginRequest{Username: "alice", Password: w.renewed, DeviceName: mark("messages", "answers")}); err != nil {
		t.Error(err)
	}
	kept := mark("store", "the store itself")
	if err := w.store.Put(t.Context(), store.Record{Key: kept, Owner: kept, Value: []byte(kept)}); err != nil {
		t.Error(err)
	}
	w.store.failed(fmt.Errorf("wrapped: %w", fmt.Errorf("inner: %s", mark("errors of the store"))))
	w.show("values", struct{ a []byte }{[]byte(mark("values"))})
	w.show("errors of configuration", fmt.Errorf("wrapped: %w", fmt.Errorf("inner: %x", mark("errors of configuration"))))
	w.show("errors of introspection", fmt.Errorf("wrapped: %q", mark("errors of introspection")))
	grpclog.Info(mark("gRPC's own log"))
	redislogger{process}.Printf(t.Context(), "%s", mark("go-redis' own log"))
	_ = c
	return all
}

// confess is what a handler does that writes a text wherever it can.
func (w *site) confess(ctx context.Context, text string) error {
	if strings.HasPrefix(text, "control panic") {
		panic(text)
	}
	w.show("handlers", context.WithValue(ctx, errOwn, text))
	w.traces.confess(ctx, text)
	_ = grpc.SetHeader(ctx, metadata.Pairs("x-said", text))
	st, err := status.New(codes.Internal, text).WithDetails(&errdetails.DebugInfo{Detail: text})
	if err != nil {
		return err
	}
	return st.Err()
}
