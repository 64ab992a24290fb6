// SPDX-License-Identifier: Apache-2.0

package grpcauth_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/logging"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/grpcauthtest"
	echov1 "github.com/grpcauth/grpcauth/internal/gen/echo/v1"
)

func TestAnswerSaysReasonMethodAndChallenges(t *testing.T) {
	t.Parallel()
	basic := describing{scheme("Basic"), []grpcauth.Scheme{{Name: "basic", Header: "authorization", AuthScheme: "Basic", Params: map[string]string{"charset": "UTF-8", "realm": "staff"}}}}
	auth := grpcauth.New(grpcauth.Chain(scheme("Bearer"), basic, keyed("x-api-key", "apikey"), scheme("Bearer")), grpcauth.WithErrorDomain("orders.example.com"))
	for _, mode := range modes {
		client := echov1.NewEchoServiceClient(grpcauthtest.Dial(t, newServer(auth, mode, &echo{}), nil))
		for name, c := range map[string]struct {
			md     metadata.MD
			reason string
			error  string
		}{
			"nothing":   {nil, "CREDENTIALS_MISSING", ""},
			"malformed": {metadata.Pairs("authorization", "Bearer"), "CREDENTIALS_MALFORMED", `, error="invalid_request"`},
			"twice":     {metadata.Pairs("authorization", "a", "authorization", "b"), "CREDENTIALS_AMBIGUOUS", `, error="invalid_request"`},
			"wrong":     {metadata.Pairs("authorization", "Bearer bad"), "CREDENTIALS_INVALID", `, error="invalid_token"`},
		} {
			want := []string{`Bearer realm="orders.example.com"` + c.error, `Basic realm="staff", charset="UTF-8"`}
			check := func(kind, method string, header, trailer metadata.MD, err error) {
				t.Helper()
				i := info(err)
				if i.GetReason() != c.reason || i.GetDomain() != "orders.example.com" || i.GetMetadata()["method"] != method || i.GetMetadata()["www-authenticate"] != strings.Join(want, ", ") {
					t.Errorf("%s, %s, %s: got %v", mode, name, kind, i)
				}
				if got := header.Get("www-authenticate"); !slices.Equal(got, want) {
					t.Errorf("%s, %s, %s: got the challenges %q, want %q", mode, name, kind, got, want)
				}
				if got := trailer.Get("www-authenticate"); len(got) != 0 {
					t.Errorf("%s, %s, %s: challenges in trailers, which HTTP drops: %q", mode, name, kind, got)
				}
			}
			ctx := metadata.NewOutgoingContext(t.Context(), c.md)
			var header, trailer metadata.MD
			_, err := client.Echo(ctx, &echov1.EchoRequest{}, grpc.Header(&header), grpc.Trailer(&trailer))
			check("unary", echoMethod, header, trailer, err)
			s, err := client.Converse(ctx)
			if err != nil {
				t.Fatal(err)
			}
			_, err = s.Recv()
			header, _ = s.Header()
			check("stream", converseMethod, header, s.Trailer(), err)
		}
	}
}

func TestAnswerNamesWhatALoginMustReach(t *testing.T) {
	t.Parallel()
	clock := grpcauthtest.NewClock(start)
	backend := describing{grpcauth.BackendFunc(func(context.Context, *grpcauth.Request) (*grpcauth.User, error) {
		return &grpcauth.User{ID: "alice", AuthTime: start, ACR: "silver"}, nil
	}), []grpcauth.Scheme{{Name: "jwt", Header: "authorization", AuthScheme: "Bearer"}}}
	with := func(r grpcauth.Rule) error {
		_, err := grpcauth.New(backend, grpcauth.WithClock(clock.Now), grpcauth.WithPolicy(grpcauth.Policy{echoMethod: r})).Authenticate(incoming(nil), echoMethod)
		return err
	}
	if err := errors.Join(with(grpcauth.Rule{MaxAge: time.Minute}), with(grpcauth.Rule{ACR: "silver"})); err != nil {
		t.Errorf("a fresh login of the right class: %v", err)
	}
	clock.Advance(time.Minute)
	if err := with(grpcauth.Rule{MaxAge: time.Minute}); err != nil {
		t.Errorf("a login of exactly that age: %v", err)
	}
	clock.Advance(1)
	err := with(grpcauth.Rule{MaxAge: time.Minute, ACR: "silver"})
	const want = `Bearer realm="grpcauth", error="insufficient_user_authentication", acr_values="silver", max_age="60"`
	if status.Code(err) != codes.Unauthenticated || info(err).GetReason() != "STEP_UP_REQUIRED" || info(err).GetMetadata()["www-authenticate"] != want {
		t.Errorf("an old login: got %v", info(err))
	}
	if err := with(grpcauth.Rule{ACR: "gold"}); info(err).GetReason() != "STEP_UP_REQUIRED" {
		t.Errorf("another class: got %v", err)
	}
}

func TestLoginOfUnknownTimeIsTooOld(t *testing.T) {
	t.Parallel()
	auth := grpcauth.New(scheme("Bearer"), grpcauth.WithPolicy(grpcauth.Policy{echoMethod: {MaxAge: time.Hour}}))
	if got := judge(auth, metadata.Pairs("authorization", "Bearer alice")); got != "STEP_UP_REQUIRED" {
		t.Errorf("got %s", got)
	}
}

func TestUndecidedIsUnavailableAndSaysWhenToRetry(t *testing.T) {
	t.Parallel()
	client := serve(t, grpcauth.New(keyed("x-api-key", "apikey")), &echo{})
	var header, trailer metadata.MD
	_, err := client.Echo(metadata.AppendToOutgoingContext(t.Context(), "x-api-key", "down"), &echov1.EchoRequest{}, grpc.Header(&header), grpc.Trailer(&trailer))
	if status.Code(err) != codes.Unavailable || info(err).GetReason() != "AUTHENTICATION_UNAVAILABLE" || retryDelay(err) != time.Second {
		t.Errorf("got %v %v", err, info(err))
	}
	if got := trailer.Get("grpc-retry-pushback-ms"); !slices.Equal(got, []string{"1000"}) {
		t.Errorf("got the pushback %q", got)
	}
	if strings.Contains(err.Error(), "store") {
		t.Errorf("%v shows the cause", err)
	}
}

func TestClientGetsExactlyTheErrorThatABackendOrHandlerBuilt(t *testing.T) {
	t.Parallel()
	built := grpcauth.FromHTTPStatus(401, "db-7 said no").WithPublicMessage("Please sign in again.").
		WithHeader("WWW-Authenticate", `Custom realm="x"`).WithHeader("x-login", "https://login.example.com")
	for name, c := range map[string]struct {
		auth *grpcauth.Interceptor
		impl *echo
	}{
		"backend": {grpcauth.New(describing{grpcauth.BackendFunc(func(context.Context, *grpcauth.Request) (*grpcauth.User, error) {
			return nil, fmt.Errorf("wrapped: %w", built)
		}), scheme("Bearer").(grpcauth.Describer).Schemes()}), &echo{}},
		"handler": {grpcauth.New(connection("w")), &echo{unary: func(context.Context) error { return fmt.Errorf("wrapped: %w", built) }}},
	} {
		for _, mode := range modes {
			client := echov1.NewEchoServiceClient(grpcauthtest.Dial(t, newServer(c.auth, mode, c.impl), nil))
			var header metadata.MD
			_, err := client.Echo(t.Context(), &echov1.EchoRequest{}, grpc.Header(&header))
			if status.Code(err) != codes.Unauthenticated || status.Convert(err).Message() != "Please sign in again." || info(err).GetReason() != "CREDENTIALS_INVALID" {
				t.Errorf("%s, %s: got %v", name, mode, err)
			}
			if got := header.Get("www-authenticate"); !slices.Equal(got, []string{`Custom realm="x"`}) || !slices.Equal(header.Get("x-login"), []string{"https://login.example.com"}) {
				t.Errorf("%s, %s: got the headers %v", name, mode, header)
			}
		}
	}
}

func TestSetHeaderReachesTheClientOnSuccessAndOnFailure(t *testing.T) {
	t.Parallel()
	inner := scheme("Bearer")
	backend := grpcauth.BackendFunc(func(ctx context.Context, req *grpcauth.Request) (*grpcauth.User, error) {
		req.SetHeader("set-cookie", "a=1")
		req.SetHeader("set-cookie", "b=2")
		return inner.Authenticate(ctx, req)
	})
	for _, mode := range modes {
		client := echov1.NewEchoServiceClient(grpcauthtest.Dial(t, newServer(grpcauth.New(backend), mode, &echo{}), nil))
		for token, want := range map[string]codes.Code{"alice": codes.OK, "bad": codes.Unauthenticated} {
			var header metadata.MD
			_, err := client.Echo(grpcauthtest.WithBearer(t.Context(), token), &echov1.EchoRequest{}, grpc.Header(&header))
			if status.Code(err) != want || !slices.Equal(header.Get("set-cookie"), []string{"a=1", "b=2"}) {
				t.Errorf("%s, %s: got %v, %v", mode, token, err, header)
			}
		}
	}
}

func TestCallIsJudgedOnce(t *testing.T) {
	t.Parallel()
	for _, mode := range modes {
		var judged atomic.Int64
		inner := scheme("Bearer")
		auth := grpcauth.New(grpcauth.BackendFunc(func(ctx context.Context, req *grpcauth.Request) (*grpcauth.User, error) {
			judged.Add(1)
			return inner.Authenticate(ctx, req)
		}))
		cc := grpcauthtest.Dial(t, newServer(auth, mode, &echo{}), nil)
		for kind, call := range calls {
			judged.Store(0)
			if _, err := call(grpcauthtest.WithBearer(t.Context(), "alice"), cc); err != nil || judged.Load() != 1 {
				t.Errorf("%s, %s: judged %d times, %v", mode, kind, judged.Load(), err)
			}
		}
	}
}

func TestContextReusedForAnotherMethodOrCallIsJudgedAgain(t *testing.T) {
	t.Parallel()
	var auth *grpcauth.Interceptor
	policy := grpcauth.Policy{collectMethod: {Access: grpcauth.Denied}}
	impl := &echo{unary: func(ctx context.Context) error {
		if _, err := auth.Authenticate(ctx, echoMethod); err != nil {
			return fmt.Errorf("the same method: %w", err)
		}
		if _, err := auth.Authenticate(ctx, collectMethod); status.Code(err) != codes.PermissionDenied {
			return status.Errorf(codes.DataLoss, "another method: %v", err)
		}
		other := metadata.NewIncomingContext(grpc.NewContextWithServerTransportStream(ctx, &bare{echoMethod}), metadata.Pairs("authorization", "Bearer bad"))
		if _, err := auth.Authenticate(other, echoMethod); status.Code(err) != codes.Unauthenticated {
			return status.Errorf(codes.DataLoss, "another call: %v", err)
		}
		return nil
	}}
	auth = grpcauth.New(scheme("Bearer"), grpcauth.WithPolicy(policy))
	if _, err := serve(t, auth, impl).Echo(grpcauthtest.WithBearer(t.Context(), "alice"), &echov1.EchoRequest{}); err != nil {
		t.Error(err)
	}
}

// broken sends bytes that are no message.
type broken struct{ size int }

func (b broken) Marshal(any) ([]byte, error) { return slices.Repeat([]byte{0xff}, b.size), nil }
func (broken) Unmarshal([]byte, any) error   { return nil }
func (broken) Name() string                  { return "proto" }

func TestRegistrarJudgesBeforeTheMessageIsDecoded(t *testing.T) {
	t.Parallel()
	for mode, want := range map[string]codes.Code{"registrar": codes.Unauthenticated, "registrar and options": codes.Unauthenticated, "options": codes.Internal} {
		client := echov1.NewEchoServiceClient(grpcauthtest.Dial(t, newServer(grpcauth.New(scheme("Bearer")), mode, &echo{}), nil))
		if _, err := client.Echo(t.Context(), &echov1.EchoRequest{}, grpc.ForceCodec(broken{10})); status.Code(err) != want {
			t.Errorf("%s, garbage: got %v, want %v", mode, err, want)
		}
	}
	client := serve(t, grpcauth.New(scheme("Bearer")), &echo{})
	if _, err := client.Echo(t.Context(), &echov1.EchoRequest{}, grpc.ForceCodec(broken{5 << 20})); status.Code(err) != codes.Unauthenticated {
		t.Errorf("more than the server reads: got %v", err)
	}
}

func TestRegistrarLeavesTheServiceDescriptionAlone(t *testing.T) {
	t.Parallel()
	open := grpc.NewServer()
	grpcauth.New(scheme("Bearer")).Registrar(grpc.NewServer()).RegisterService(&echov1.EchoService_ServiceDesc, &echo{})
	echov1.RegisterEchoServiceServer(open, &echo{})
	if user, err := calls["unary"](t.Context(), grpcauthtest.Dial(t, open, nil)); err != nil || user != "-" {
		t.Errorf("a server without authentication got %q, %v", user, err)
	}
}

func TestOuterStreamKeepsItsContext(t *testing.T) {
	t.Parallel()
	seen := make(chan string, 1)
	auth := grpcauth.New(scheme("Bearer"))
	outer := func(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		wrapped := &recording{ServerStream: ss}
		err := handler(srv, wrapped)
		seen <- userID(wrapped.Context())
		return err
	}
	srv := grpc.NewServer(grpc.ChainStreamInterceptor(outer, auth.Stream()))
	echov1.RegisterEchoServiceServer(srv, &echo{})
	if _, err := calls["bidirectional stream"](grpcauthtest.WithBearer(t.Context(), "alice"), grpcauthtest.Dial(t, srv, nil)); err != nil {
		t.Fatal(err)
	}
	if got := <-seen; got != "-" {
		t.Errorf("the outer stream's context has the user %q", got)
	}
}

type recording struct{ grpc.ServerStream }

func TestLoggingShowsTheUser(t *testing.T) {
	t.Parallel()
	auth := grpcauth.New(scheme("Bearer"))
	for name, order := range map[string]func(grpc.UnaryServerInterceptor) []grpc.UnaryServerInterceptor{
		"logging after": func(l grpc.UnaryServerInterceptor) []grpc.UnaryServerInterceptor {
			return []grpc.UnaryServerInterceptor{auth.Unary(), l}
		},
		"logging before": func(l grpc.UnaryServerInterceptor) []grpc.UnaryServerInterceptor {
			return []grpc.UnaryServerInterceptor{l, auth.Unary()}
		},
	} {
		var mu sync.Mutex
		lines := ""
		logger := logging.LoggerFunc(func(_ context.Context, _ logging.Level, msg string, fields ...any) {
			mu.Lock()
			defer mu.Unlock()
			if msg == "finished call" || msg == "handler" {
				lines += fmt.Sprintln(append(fields, msg)...)
			}
		})
		impl := &echo{unary: func(ctx context.Context) error {
			logging.AddFields(ctx, logging.Fields{"handler.field", "seen"})
			logger(ctx, logging.LevelInfo, "handler", logging.ExtractFields(ctx)...)
			return nil
		}}
		srv := grpc.NewServer(grpc.ChainUnaryInterceptor(order(logging.UnaryServerInterceptor(logger, logging.WithLogOnEvents(logging.FinishCall)))...))
		echov1.RegisterEchoServiceServer(srv, impl)
		if _, err := calls["unary"](grpcauthtest.WithBearer(t.Context(), "alice"), grpcauthtest.Dial(t, srv, nil)); err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		for _, line := range strings.SplitAfter(strings.TrimSpace(lines), "\n") {
			if !strings.Contains(line, "auth.user alice") || !strings.Contains(line, "handler.field seen") {
				t.Errorf("%s: %q lacks the user or the handler's field", name, line)
			}
		}
		if strings.Count(lines, "\n") != 2 {
			t.Errorf("%s: got %q, want a line of the handler and one of the interceptor", name, lines)
		}
		mu.Unlock()
	}
}

func TestLogFieldsWithoutALoggingInterceptor(t *testing.T) {
	t.Parallel()
	ctx, err := grpcauth.New(scheme("Bearer")).Authenticate(incoming(metadata.Pairs("authorization", "Bearer alice")), echoMethod)
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(logging.ExtractFields(ctx)); got != "[auth.user alice]" {
		t.Errorf("got %s", got)
	}
	if got := logging.ExtractFields(grpcauth.NewContext(t.Context(), nil)); len(got) != 0 {
		t.Errorf("nobody: got %v", got)
	}
}

func TestLoaderLoadsTheApplicationsRecord(t *testing.T) {
	t.Parallel()
	type account struct{ plan string }
	policy := grpcauth.Policy{echoMethod: {Permissions: []string{"orders.read"}}, collectMethod: {Access: grpcauth.Public}, expandMethod: {Access: grpcauth.Optional}}
	auth := grpcauth.New(scheme("Bearer"), grpcauth.WithPolicy(policy), grpcauth.WithLoader(func(_ context.Context, u *grpcauth.User) (*account, error) {
		switch u.ID {
		case "gone":
			return nil, grpcauth.Errorf(grpcauth.CodeInvalid, "no such account")
		case "down":
			return nil, errors.New("db-7 is down")
		case "odd":
			return nil, grpcauth.ErrNoCredentials
		case "panic":
			panic("canary")
		case "alice":
			u.Permissions = append(u.Permissions, "orders.*")
		}
		return &account{u.ID + "'s plan"}, nil
	}))
	for token, want := range map[string]string{
		"alice": "", "bob": "PERMISSION_DENIED", "gone": "CREDENTIALS_INVALID", "down": "AUTHENTICATION_UNAVAILABLE", "odd": "AUTHENTICATION_FAILED", "panic": "AUTHENTICATION_FAILED",
	} {
		ctx, err := auth.Authenticate(incoming(metadata.Pairs("authorization", "Bearer "+token)), echoMethod)
		if info(err).GetReason() != want || status.Convert(err).Message() != "" && strings.Contains(status.Convert(err).Proto().String(), "canary") {
			t.Errorf("%s: got %v, want %q", token, err, want)
		}
		if err != nil {
			continue
		}
		if record, ok := grpcauth.Loaded[*account](ctx); !ok || record.plan != "alice's plan" {
			t.Errorf("%s: loaded %v, %v", token, record, ok)
		}
		if record, ok := grpcauth.Loaded[string](ctx); ok || record != "" {
			t.Errorf("%s: loaded %q of another type", token, record)
		}
	}
	for _, method := range []string{collectMethod, expandMethod} {
		ctx, err := auth.Authenticate(incoming(nil), method)
		if _, ok := grpcauth.Loaded[*account](ctx); err != nil || ok {
			t.Errorf("%s: %v, and a record of nobody", method, err)
		}
	}
	if _, ok := grpcauth.Loaded[*account](t.Context()); ok {
		t.Error("a record of an empty context")
	}
}

func TestEveryDecisionIsObservedOnce(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var events []grpcauth.Event
	remembering := grpcauth.BackendFunc(func(ctx context.Context, req *grpcauth.Request) (*grpcauth.User, error) {
		u, err := keyed("x-key", "key").Authenticate(ctx, req)
		if err == nil {
			req.Remembered()
		}
		return u, err
	})
	clock := grpcauthtest.NewClock(start)
	auth := grpcauth.New(scheme("Bearer"), grpcauth.WithClock(clock.Now), grpcauth.WithBackends(map[string]grpcauth.Backend{"keys": remembering}),
		grpcauth.WithPolicy(grpcauth.Policy{collectMethod: {Access: grpcauth.Public}, expandMethod: {Access: grpcauth.Optional}, "/echo.v1.EchoService/*": {Backends: []string{"keys"}}, echoMethod: {}}),
		grpcauth.WithObserver(grpcauth.ObserverFunc(func(_ context.Context, e grpcauth.Event) {
			mu.Lock()
			defer mu.Unlock()
			events = append(events, e)
		})))
	cancelled, cancel := context.WithCancel(incoming(metadata.Pairs("x-key", "down")))
	cancel()
	for name, c := range map[string]struct {
		ctx        context.Context
		method     string
		backend    string
		user       string
		code       grpcauth.Code
		status     codes.Code
		remembered bool
	}{
		"accepted":  {incoming(metadata.Pairs("authorization", "Bearer alice")), echoMethod, "Bearer", "alice", 0, codes.OK, false},
		"refused":   {incoming(metadata.Pairs("authorization", "Bearer bad")), echoMethod, "Bearer", "", grpcauth.CodeInvalid, codes.Unauthenticated, false},
		"missing":   {incoming(nil), echoMethod, "", "", grpcauth.CodeMissing, codes.Unauthenticated, false},
		"public":    {incoming(nil), collectMethod, "", "", 0, codes.OK, false},
		"anonymous": {incoming(nil), expandMethod, "", "", 0, codes.OK, false},
		"named":     {incoming(metadata.Pairs("x-key", "carol")), converseMethod, "keys", "carol", 0, codes.OK, true},
		"outage":    {incoming(metadata.Pairs("x-key", "down")), converseMethod, "keys", "", grpcauth.CodeUnavailable, codes.Unavailable, false},
		"cancelled": {cancelled, converseMethod, "keys", "", grpcauth.CodeUnavailable, codes.Canceled, false},
		"long name": {incoming(nil), "/" + strings.Repeat("x", 1000), "", "", grpcauth.CodeMissing, codes.Unauthenticated, false},
	} {
		events = nil
		_, err := auth.Authenticate(c.ctx, c.method)
		if len(events) != 1 {
			t.Fatalf("%s: %d events", name, len(events))
		}
		e := events[0]
		if e.Method != c.method[:min(256, len(c.method))] || e.Backend != c.backend || e.Status != c.status || e.Remembered != c.remembered || (e.Err == nil) != (err == nil) || e.Err != nil && e.Code != c.code {
			t.Errorf("%s: got %+v", name, e)
		}
		if c.user == "" && e.User != nil || c.user != "" && (e.User == nil || e.User.ID != c.user) {
			t.Errorf("%s: got the user %v, want %q", name, e.User, c.user)
		}
		if want := map[string]string{collectMethod: collectMethod, expandMethod: expandMethod, echoMethod: echoMethod, converseMethod: "/echo.v1.EchoService/*"}[c.method]; e.Rule != want {
			t.Errorf("%s: got the rule %q, want %q", name, e.Rule, want)
		}
		if e.Peer == nil || e.Peer.String() != "127.0.0.1:1" {
			t.Errorf("%s: got the peer %v", name, e.Peer)
		}
		if text := fmt.Sprintf("%v %+v %#v", e, e, e); strings.Contains(text, "Bearer alice") || strings.Contains(text, "Bearer bad") {
			t.Errorf("%s: shows the credential: %s", name, text)
		}
	}
}

func TestObserverThatPanicsStopsTheCall(t *testing.T) {
	t.Parallel()
	impl := &echo{}
	auth := grpcauth.New(scheme("Bearer"), grpcauth.WithObserver(grpcauth.ObserverFunc(func(context.Context, grpcauth.Event) { panic("canary") })))
	_, err := serve(t, auth, impl).Echo(grpcauthtest.WithBearer(t.Context(), "alice"), &echov1.EchoRequest{})
	if status.Code(err) != codes.Internal || impl.calls.Load() != 0 || strings.Contains(err.Error(), "canary") {
		t.Errorf("got %v, %d handlers", err, impl.calls.Load())
	}
}

func TestBackendThatEndsItsGoroutineIsInternal(t *testing.T) {
	t.Parallel()
	impl := &echo{}
	var events atomic.Int64
	auth := grpcauth.New(grpcauth.BackendFunc(func(context.Context, *grpcauth.Request) (*grpcauth.User, error) {
		runtime.Goexit()
		return nil, nil
	}), grpcauth.WithObserver(grpcauth.ObserverFunc(func(_ context.Context, e grpcauth.Event) {
		if e.Err != nil && e.Code == grpcauth.CodeInternal {
			events.Add(1)
		}
	})))
	for _, mode := range modes {
		cc := grpcauthtest.Dial(t, newServer(auth, mode, impl), nil)
		for kind, call := range calls {
			if _, err := call(eventually(t), cc); status.Code(err) != codes.Internal || info(err).GetReason() != "AUTHENTICATION_FAILED" {
				t.Errorf("%s, %s: got %v", mode, kind, err)
			}
		}
	}
	if impl.calls.Load() != 0 || events.Load() != int64(len(modes)*len(calls)) {
		t.Errorf("%d handlers ran, %d events", impl.calls.Load(), events.Load())
	}
}

func TestCallerThatGaveUpIsCanceled(t *testing.T) {
	t.Parallel()
	waiting := grpcauth.New(grpcauth.BackendFunc(func(ctx context.Context, _ *grpcauth.Request) (*grpcauth.User, error) {
		<-ctx.Done()
		return nil, fmt.Errorf("db-7: %w", ctx.Err())
	}))
	ctx, cancel := context.WithCancel(incoming(nil))
	cancel()
	if _, err := waiting.Authenticate(ctx, echoMethod); status.Code(err) != codes.Canceled || strings.Contains(status.Convert(err).Message(), "db-7") {
		t.Errorf("cancelled: got %v", err)
	}
	late, cancel := context.WithDeadline(incoming(nil), time.Unix(1, 0))
	defer cancel()
	if _, err := waiting.Authenticate(late, echoMethod); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("late: got %v", err)
	}
	own := grpcauth.New(grpcauth.BackendFunc(func(context.Context, *grpcauth.Request) (*grpcauth.User, error) { return nil, context.Canceled }))
	if _, err := own.Authenticate(incoming(nil), echoMethod); status.Code(err) != codes.Unavailable {
		t.Errorf("a cancellation that is not the caller's: got %v", err)
	}
}

func TestIdentityCannotBeForged(t *testing.T) {
	t.Parallel()
	var outgoing metadata.MD
	impl := &echo{unary: func(ctx context.Context) error {
		outgoing, _ = metadata.FromOutgoingContext(ctx)
		return nil
	}}
	policy := grpcauth.Policy{"/echo.v1.EchoService/*": {Access: grpcauth.Public}}
	forging := grpc.UnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		return handler(grpcauth.NewContext(ctx, &grpcauth.User{ID: "root"}), req)
	})
	srv := newServer(grpcauth.New(scheme("Bearer"), grpcauth.WithPolicy(policy)), "interceptors", impl, forging)
	md := metadata.Pairs("authorization", "Bearer alice", "user", "root", "x-user-id", "root", "grpcauth-user", "root", "auth.user", "root")
	r, err := echov1.NewEchoServiceClient(grpcauthtest.Dial(t, srv, nil)).Echo(metadata.NewOutgoingContext(t.Context(), md), &echov1.EchoRequest{})
	if err != nil || r.GetUserId() != "-" {
		t.Errorf("a public method saw %q, %v", r.GetUserId(), err)
	}
	if len(outgoing) != 0 {
		t.Errorf("the handler's own calls would carry %v", outgoing)
	}
}

func TestPlaintextIsRefusedBeforeTheCredentialIsRead(t *testing.T) {
	t.Parallel()
	far := peer.NewContext(metadata.NewIncomingContext(t.Context(), metadata.Pairs("authorization", "Bearer alice")), &peer.Peer{Addr: &net.TCPAddr{IP: net.ParseIP("192.0.2.1")}})
	inner := scheme("Bearer")
	read := false
	backend := grpcauth.BackendFunc(func(ctx context.Context, req *grpcauth.Request) (*grpcauth.User, error) {
		read = true
		return inner.Authenticate(ctx, req)
	})
	policy := grpcauth.Policy{collectMethod: {Access: grpcauth.Optional}, expandMethod: {Access: grpcauth.Public}}
	auth := grpcauth.New(backend, grpcauth.WithPolicy(policy))
	for _, method := range []string{echoMethod, collectMethod} {
		if _, err := auth.Authenticate(far, method); status.Code(err) != codes.PermissionDenied || info(err).GetReason() != "TRANSPORT_INSECURE" || read {
			t.Errorf("%s: got %v, read %v", method, err, read)
		}
	}
	if _, err := auth.Authenticate(far, expandMethod); err != nil {
		t.Errorf("a public method: %v", err)
	}
	if _, err := auth.Authenticate(t.Context(), echoMethod); info(err).GetReason() != "TRANSPORT_INSECURE" {
		t.Errorf("no peer: %v", err)
	}
	if _, err := grpcauth.New(backend, grpcauth.InsecureAllowPlaintext()).Authenticate(far, echoMethod); err != nil || !read {
		t.Errorf("allowed: %v", err)
	}
}

// hidden is AuthInfo that tells gRPC nothing, as wrapped transport credentials have it.
type hidden struct{ private bool }

func (hidden) AuthType() string { return "hidden" }

func TestTransportSecurityIsAskedOnlyWhereItIsNotKnown(t *testing.T) {
	t.Parallel()
	asked := 0
	auth := grpcauth.New(scheme("Bearer"), grpcauth.WithTransportSecurity(func(p *peer.Peer) bool {
		asked++
		info, ok := p.AuthInfo.(hidden)
		return ok && info.private
	}))
	call := func(p *peer.Peer) error {
		ctx := metadata.NewIncomingContext(t.Context(), metadata.Pairs("authorization", "Bearer alice"))
		if p != nil {
			ctx = peer.NewContext(ctx, p)
		}
		_, err := auth.Authenticate(ctx, echoMethod)
		return err
	}
	far := &net.TCPAddr{IP: net.ParseIP("192.0.2.1")}
	for _, c := range []struct {
		name     string
		peer     *peer.Peer
		accepted bool
		asked    int
	}{
		{"private, it says", &peer.Peer{Addr: far, AuthInfo: hidden{private: true}}, true, 1},
		{"not private, it says", &peer.Peer{Addr: far, AuthInfo: hidden{}}, false, 1},
		{"plaintext", &peer.Peer{Addr: far}, false, 1},
		{"no peer", nil, false, 0},
		{"local", &peer.Peer{Addr: &net.TCPAddr{IP: net.IPv6loopback}}, true, 0},
	} {
		asked = 0
		if err := call(c.peer); (err == nil) != c.accepted || !c.accepted && info(err).GetReason() != "TRANSPORT_INSECURE" || asked != c.asked {
			t.Errorf("%s: got %v, asked %d times", c.name, err, asked)
		}
	}
}

func TestChallengeErrorIsSaidByItsSchemeAlone(t *testing.T) {
	t.Parallel()
	refusal := grpcauth.Errorf(grpcauth.CodeInvalid, "x")
	for name, c := range map[string]struct {
		refusal *grpcauth.AuthenticationError
		want    string
	}{
		"none":                 {refusal, `Bearer realm="grpcauth", error="invalid_token", DPoP realm="grpcauth", error="invalid_token", Basic realm="grpcauth"`},
		"DPoP's":               {refusal.WithChallengeError("DPoP", "use_dpop_nonce"), `Bearer realm="grpcauth", DPoP realm="grpcauth", error="use_dpop_nonce", Basic realm="grpcauth"`},
		"one not on the table": {refusal.WithChallengeError("Basic", "x"), `Bearer realm="grpcauth", DPoP realm="grpcauth", Basic realm="grpcauth"`},
		"a line break":         {refusal.WithChallengeError("DPoP", "a\r\nb"), `Bearer realm="grpcauth", error="invalid_token", DPoP realm="grpcauth", error="invalid_token", Basic realm="grpcauth"`},
	} {
		var schemes []grpcauth.Scheme
		for _, s := range []string{"Bearer", "DPoP", "Basic"} {
			schemes = append(schemes, grpcauth.Scheme{Name: s, Header: "authorization", AuthScheme: s})
		}
		auth := grpcauth.New(describing{grpcauth.BackendFunc(func(context.Context, *grpcauth.Request) (*grpcauth.User, error) { return nil, c.refusal }), schemes},
			grpcauth.InsecureAllowPlaintext())
		if _, err := auth.Authenticate(t.Context(), echoMethod); info(err).GetMetadata()["www-authenticate"] != c.want {
			t.Errorf("%s: got %q, want %q", name, info(err).GetMetadata()["www-authenticate"], c.want)
		}
	}
}

func TestRulesAskWhatTheySay(t *testing.T) {
	t.Parallel()
	backend := grpcauth.BackendFunc(func(context.Context, *grpcauth.Request) (*grpcauth.User, error) {
		return &grpcauth.User{ID: "alice", Scopes: []string{"a", "b"}, Permissions: []string{"orders.*"}}, nil
	})
	bound := grpcauth.BackendFunc(func(context.Context, *grpcauth.Request) (*grpcauth.User, error) {
		return &grpcauth.User{ID: "alice", Binding: grpcauth.Binding{JKT: "x"}}, nil
	})
	for name, c := range map[string]struct {
		rule grpcauth.Rule
		want string
	}{
		"nothing":                 {grpcauth.Rule{}, "alice"},
		"both scopes":             {grpcauth.Rule{Scopes: []string{"a", "b"}}, "alice"},
		"one scope too many":      {grpcauth.Rule{Scopes: []string{"a", "c"}}, "PERMISSION_DENIED"},
		"scopes have cases":       {grpcauth.Rule{Scopes: []string{"A"}}, "PERMISSION_DENIED"},
		"any scope":               {grpcauth.Rule{AnyScopes: []string{"c", "b"}}, "alice"},
		"any permission":          {grpcauth.Rule{AnyPermissions: []string{"users.read", "orders.read"}}, "alice"},
		"none of the permissions": {grpcauth.Rule{AnyPermissions: []string{"users.read", "orders"}}, "PERMISSION_DENIED"},
		"none of the scopes":      {grpcauth.Rule{AnyScopes: []string{"c", "d"}}, "PERMISSION_DENIED"},
		"permission":              {grpcauth.Rule{Permissions: []string{"orders.read"}}, "alice"},
		"other permission":        {grpcauth.Rule{Permissions: []string{"orders.read", "users.read"}}, "PERMISSION_DENIED"},
		"not bound":               {grpcauth.Rule{RequireBound: true}, "CREDENTIALS_INVALID"},
		"bound":                   {grpcauth.Rule{RequireBound: true, Backends: []string{"bound"}}, "alice"},
		"denied":                  {grpcauth.Rule{Access: grpcauth.Denied}, "PERMISSION_DENIED"},
	} {
		auth := grpcauth.New(backend, grpcauth.WithBackends(map[string]grpcauth.Backend{"bound": bound}), grpcauth.WithPolicy(grpcauth.Policy{echoMethod: c.rule}))
		if got := judge(auth, nil); got != c.want {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}
	}
}

func TestExactRuleReplacesTheWideOne(t *testing.T) {
	t.Parallel()
	auth := grpcauth.New(scheme("Bearer"), grpcauth.WithPolicy(grpcauth.Policy{"/echo.v1.EchoService/*": {Access: grpcauth.Public}, collectMethod: {Scopes: []string{"a"}}}))
	for method, want := range map[string]codes.Code{
		echoMethod: codes.OK, collectMethod: codes.Unauthenticated, "/echo.v1.EchoServiceX/Echo": codes.Unauthenticated, "/echo.v1.EchoService": codes.Unauthenticated,
		"/echo.v1.EchoService/": codes.OK, "//echo.v1.EchoService/Echo": codes.Unauthenticated, "/echo.v1.EchoService/Echo/": codes.Unauthenticated, "": codes.Unauthenticated, "/": codes.Unauthenticated,
		"echo.v1.EchoService/Echo": codes.Unauthenticated, "/echo.v1.EchoService/*": codes.OK,
	} {
		if _, err := auth.Authenticate(incoming(nil), method); status.Code(err) != want {
			t.Errorf("%q: got %v, want %v", method, err, want)
		}
	}
}

func TestOptionalRefusesWhatItCannotAccept(t *testing.T) {
	t.Parallel()
	auth := grpcauth.New(scheme("Bearer"), grpcauth.WithPolicy(grpcauth.Policy{echoMethod: {Access: grpcauth.Optional}}))
	for name, c := range map[string]struct {
		md   metadata.MD
		want string
	}{
		"nothing": {nil, "-"}, "good": {metadata.Pairs("authorization", "Bearer alice"), "alice"},
		"bad":      {metadata.Pairs("authorization", "Bearer bad"), "CREDENTIALS_INVALID"},
		"nobody's": {metadata.Pairs("authorization", "Negotiate abc"), "CREDENTIALS_INVALID"},
		"empty":    {metadata.Pairs("authorization", ""), "CREDENTIALS_INVALID"},
		"twice":    {metadata.Pairs("authorization", "Bearer alice", "authorization", "Bearer alice"), "CREDENTIALS_AMBIGUOUS"},
	} {
		if got := judge(auth, c.md); got != c.want {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}
	}
}

func TestHandlersUserIsItsOwnEvenIfTheBackendSharesOne(t *testing.T) {
	t.Parallel()
	shared := &grpcauth.User{ID: "alice", Scopes: []string{"a"}, RawClaims: []byte(`{}`)}
	auth := grpcauth.New(grpcauth.BackendFunc(func(context.Context, *grpcauth.Request) (*grpcauth.User, error) { return shared, nil }))
	ctx, err := auth.Authenticate(incoming(nil), echoMethod)
	if err != nil {
		t.Fatal(err)
	}
	user, _ := grpcauth.FromContext(ctx)
	user.ID, user.Scopes[0], user.RawClaims[0] = "root", "root", '!'
	if shared.ID != "alice" || shared.Scopes[0] != "a" || shared.RawClaims[0] != '{' {
		t.Errorf("the backend's user became %+v", shared)
	}
}

func TestCheckComparesPolicyAndServer(t *testing.T) {
	t.Parallel()
	auth := grpcauth.New(scheme("Bearer"), grpcauth.WithPolicy(grpcauth.Policy{echoMethod: {}, "/echo.v1.EchoService/Nope": {}, "/no.Such/*": {}, "/no.Such/Method": {}}))
	srv := grpc.NewServer()
	echov1.RegisterEchoServiceServer(srv, &echo{})
	err := auth.Check(srv)
	for _, want := range []string{`"/echo.v1.EchoService/Nope"`, `"/no.Such/*"`, `"/no.Such/Method"`, `"/echo.v1.EchoService/Converse" is open`, `"/echo.v1.EchoService/Echo" is open`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	right := grpcauth.New(scheme("Bearer"), grpcauth.WithPolicy(grpcauth.Policy{echoMethod: {}, "/echo.v1.EchoService/*": {}}))
	_ = right.Unary()
	if err := right.Check(srv); err == nil || strings.Contains(err.Error(), "Echo\" is open") || !strings.Contains(err.Error(), "Stream()") {
		t.Errorf("streams without Stream(): got %v", err)
	}
	_ = right.Stream()
	if err := right.Check(srv); err != nil {
		t.Errorf("both interceptors: %v", err)
	}
	guarded := grpcauth.New(scheme("Bearer"))
	behind := newServer(guarded, "registrar", &echo{})
	if err := errors.Join(guarded.Check(behind), guarded.Check(guarded.Registrar(behind))); err != nil {
		t.Errorf("everything through Registrar: %v", err)
	}
	if err := guarded.Check(srv); err == nil {
		t.Error("the same service, open on another server: no error")
	}
}

func TestCheckFindsMethodsThatNoRuleNames(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		policy grpcauth.Policy
		want   []string // the methods that are reported
	}{
		"no rule at all":         {nil, []string{echoMethod, collectMethod, expandMethod, converseMethod}},
		"some methods":           {grpcauth.Policy{echoMethod: {}, collectMethod: {}}, []string{expandMethod, converseMethod}},
		"the rest of a service":  {grpcauth.Policy{echoMethod: {}, "/echo.v1.EchoService/*": {}}, nil},
		"a rule that denies all": {grpcauth.Policy{"/echo.v1.EchoService/*": {Access: grpcauth.Denied}}, nil},
	} {
		auth := grpcauth.New(scheme("Bearer"), grpcauth.WithPolicy(c.policy), grpcauth.WithExplicitRules())
		srv := grpc.NewServer()
		echov1.RegisterEchoServiceServer(auth.Registrar(srv), &echo{})
		err := auth.Check(srv)
		if (err == nil) != (c.want == nil) {
			t.Errorf("%s: got %v", name, err)
		}
		for _, method := range []string{echoMethod, collectMethod, expandMethod, converseMethod} {
			if reported := err != nil && strings.Contains(err.Error(), `no rule names "`+method+`"`); reported != slices.Contains(c.want, method) {
				t.Errorf("%s: %s: got %v", name, method, err)
			}
		}
		lenient := grpcauth.New(scheme("Bearer"), grpcauth.WithPolicy(c.policy))
		open := grpc.NewServer()
		echov1.RegisterEchoServiceServer(lenient.Registrar(open), &echo{})
		if err := lenient.Check(open); err != nil {
			t.Errorf("%s: without WithExplicitRules: %v", name, err)
		}
	}
}

func TestAllBackendsOfARuleMustAccept(t *testing.T) {
	t.Parallel()
	var backend string
	auth := grpcauth.New(scheme("Bearer"),
		grpcauth.WithBackends(map[string]grpcauth.Backend{"tokens": scheme("Bearer"), "keys": keyed("x-key", "key")}),
		grpcauth.WithPolicy(grpcauth.Policy{echoMethod: {AllBackends: []string{"tokens", "keys"}}}),
		grpcauth.WithObserver(grpcauth.ObserverFunc(func(_ context.Context, e grpcauth.Event) { backend = e.Backend })))
	for name, c := range map[string]struct {
		md   metadata.MD
		want string
	}{
		"both":       {metadata.Pairs("authorization", "Bearer alice", "x-key", "carol"), "alice"},
		"one":        {metadata.Pairs("authorization", "Bearer alice"), "CREDENTIALS_MISSING"},
		"other":      {metadata.Pairs("x-key", "carol"), "CREDENTIALS_MISSING"},
		"none":       {nil, "CREDENTIALS_MISSING"},
		"one is bad": {metadata.Pairs("authorization", "Bearer bad", "x-key", "carol"), "CREDENTIALS_INVALID"},
		"one down":   {metadata.Pairs("authorization", "Bearer alice", "x-key", "down"), "AUTHENTICATION_UNAVAILABLE"},
	} {
		ctx, err := auth.Authenticate(incoming(c.md), echoMethod)
		got := info(err).GetReason()
		if err == nil {
			got = userID(ctx)
		}
		if got != c.want {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}
		if name == "both" && backend != "tokens+keys" {
			t.Errorf("the event names %q", backend)
		}
	}
}

func TestAllowsAppliesARuleToAUser(t *testing.T) {
	t.Parallel()
	auth := grpcauth.New(scheme("Bearer"), grpcauth.WithClock(grpcauthtest.NewClock(start).Now), grpcauth.WithPolicy(grpcauth.Policy{
		echoMethod: {Scopes: []string{"a"}, MaxAge: time.Hour}, collectMethod: {Access: grpcauth.Public}, expandMethod: {Access: grpcauth.Optional},
		converseMethod: {Access: grpcauth.Denied},
	}))
	fresh := &grpcauth.User{ID: "alice", Scopes: []string{"a"}, AuthTime: start}
	old := &grpcauth.User{ID: "alice", Scopes: []string{"a"}, AuthTime: start.Add(-2 * time.Hour)}
	for name, c := range map[string]struct {
		method string
		user   *grpcauth.User
		want   string
	}{
		"right":                  {echoMethod, fresh, "allowed"},
		"too old":                {echoMethod, old, "STEP_UP_REQUIRED"},
		"no scope":               {echoMethod, &grpcauth.User{ID: "bob", AuthTime: start}, "PERMISSION_DENIED"},
		"nobody":                 {echoMethod, nil, "CREDENTIALS_MISSING"},
		"nobody where public":    {collectMethod, nil, "allowed"},
		"nobody where optional":  {expandMethod, nil, "allowed"},
		"somebody where denied":  {converseMethod, fresh, "PERMISSION_DENIED"},
		"nobody where denied":    {converseMethod, nil, "CREDENTIALS_MISSING"},
		"a method without rules": {"/no.Such/Method", fresh, "allowed"},
		"nobody without rules":   {"/no.Such/Method", nil, "CREDENTIALS_MISSING"},
	} {
		got := "allowed"
		if err := auth.Allows(c.method, c.user); err != nil {
			got = grpcauth.CodeOf(err).String()
		}
		if got != c.want {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}
	}
}

func TestRuleTellsWhichOneIsApplied(t *testing.T) {
	t.Parallel()
	auth := grpcauth.New(scheme("Bearer"), grpcauth.WithPolicy(grpcauth.Policy{echoMethod: {ACR: "gold"}, "/echo.v1.EchoService/*": {ACR: "silver"}}))
	for method, want := range map[string][2]string{
		echoMethod: {echoMethod, "gold"}, collectMethod: {"/echo.v1.EchoService/*", "silver"}, "/no.Such/Method": {"", ""}, "echo.v1.EchoService/Echo": {"", ""}, "": {"", ""},
	} {
		if pattern, rule := auth.Rule(method); pattern != want[0] || rule.ACR != want[1] {
			t.Errorf("%q: got %q %q, want %q", method, pattern, rule.ACR, want)
		}
	}
}

func TestErrorsOfInterceptorsKeepTheCauseForTheServer(t *testing.T) {
	t.Parallel()
	cause := errors.New("db-7 is down")
	auth := grpcauth.New(grpcauth.BackendFunc(func(context.Context, *grpcauth.Request) (*grpcauth.User, error) { return nil, cause }))
	_, err := auth.Authenticate(incoming(nil), echoMethod)
	if !errors.Is(err, cause) || !strings.Contains(err.Error(), "db-7") {
		t.Errorf("got %v, want the cause for the server's logs", err)
	}
	if document, _ := json.Marshal(status.Convert(err).Proto()); strings.Contains(string(document), "db-7") {
		t.Errorf("the status shows the cause: %s", document)
	}
	refused := grpcauth.New(scheme("Bearer"))
	_, err = refused.Authenticate(incoming(metadata.Pairs("authorization", "Bearer bad")), echoMethod)
	var refusal *grpcauth.AuthenticationError
	if !errors.As(err, &refusal) || refusal.Code() != grpcauth.CodeInvalid {
		t.Errorf("got %v, want an AuthenticationError for errors.As", err)
	}
}
