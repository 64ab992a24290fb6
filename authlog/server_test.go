// SPDX-License-Identifier: Apache-2.0

package authlog_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/authlog"
	"github.com/grpcauth/grpcauth/backends/apikey"
	"github.com/grpcauth/grpcauth/backends/basic"
	"github.com/grpcauth/grpcauth/backends/jwt"
	"github.com/grpcauth/grpcauth/grpcauthtest"
	"github.com/grpcauth/grpcauth/internal/canary"
	echov1 "github.com/grpcauth/grpcauth/internal/gen/echo/v1"
	"github.com/grpcauth/grpcauth/password"
	"github.com/grpcauth/grpcauth/store/memstore"
	"github.com/grpcauth/grpcauth/throttle"
)

// lines takes each record as the text that slog's JSON handler wrote.
type lines chan string

func (l lines) Write(p []byte) (int, error) {
	l <- string(p)
	return len(p), nil
}

// next is the next record, without its beginning, which is the same in all.
func (l lines) next(t *testing.T) string {
	t.Helper()
	select {
	case line := <-l:
		const head = `{"time":"2026-03-04T05:06:07Z","level":`
		rest, ok := strings.CutPrefix(line, head)
		if !ok || !strings.HasSuffix(rest, "}\n") {
			t.Fatalf("got %q, want %s...}", line, head)
		}
		return rest
	case <-t.Context().Done():
		t.Fatal("no record")
		return ""
	}
}

// service is the echo service with streams that stay open.
type service struct {
	echov1.UnimplementedEchoServiceServer
}

func (service) Echo(context.Context, *echov1.EchoRequest) (*echov1.EchoResponse, error) {
	return &echov1.EchoResponse{}, nil
}

func (service) Converse(s grpc.BidiStreamingServer[echov1.ConverseRequest, echov1.ConverseResponse]) error {
	_ = s.Send(&echov1.ConverseResponse{})
	<-s.Context().Done()
	return s.Context().Err()
}

// shop is a server with three kinds of credentials whose decisions are on record.
type shop struct {
	*grpc.ClientConn
	clock  *grpcauthtest.Clock
	issuer *grpcauthtest.Issuer
	keys   *apikey.Backend
	out    lines
	hanged chan struct{} // is sent when the account of "hang" is looked up
}

func open(t *testing.T, opts ...grpcauth.Option) *shop {
	t.Helper()
	s := &shop{clock: grpcauthtest.NewClock(start), out: make(lines, 16), hanged: make(chan struct{}, 1)}
	s.issuer = grpcauthtest.NewIssuer(t, "https://idp.example.com", "shop")
	s.issuer.Now = s.clock.Now
	tokens := must(jwt.New(jwt.Options{Issuers: []jwt.Issuer{s.issuer.Config("EdDSA")}, Now: s.clock.Now}))(t)
	s.keys = must(apikey.New(apikey.Options{Store: must(memstore.New(memstore.Options{Now: s.clock.Now}))(t), Prefix: "shop_test", FlushEvery: -1, Now: s.clock.Now}))(t)
	hasher := must(password.New(password.Options{Algorithm: password.Bcrypt, Cost: password.MinCost}))(t)
	hash := must(hasher.Hash(t.Context(), "open sesame"))(t)
	passwords := must(basic.New(basic.Options{
		Hasher: hasher, Now: s.clock.Now,
		Limiter: must(throttle.New(throttle.Options{Account: throttle.Limit{Attempts: 1, Window: time.Minute}, Address: throttle.Limit{Attempts: 1000, Window: time.Minute}, Now: s.clock.Now}))(t),
		Lookup: func(ctx context.Context, username string) (basic.Account, error) {
			switch username {
			case "hang":
				s.hanged <- struct{}{}
				<-ctx.Done()
				return basic.Account{}, ctx.Err()
			case "boom":
				panic("a bug\nof the application")
			case "down":
				return basic.Account{}, errors.New("the database is down")
			}
			return basic.Account{User: &grpcauth.User{ID: username}, PasswordHash: hash}, nil
		},
	}))(t)
	audit := newLogger(t, authlog.Options{Handler: slog.NewJSONHandler(s.out, nil)})
	auth := grpcauth.New(grpcauth.Chain(tokens, passwords, s.keys), append(opts, grpcauth.WithClock(s.clock.Now), grpcauth.WithObserver(audit), grpcauth.WithPolicy(grpcauth.Policy{
		"/echo.v1.EchoService/*":       {},
		"/echo.v1.EchoService/Collect": {Access: grpcauth.Public},
		"/echo.v1.EchoService/Expand":  {Access: grpcauth.Optional},
		"/shop.v1.Orders/Delete":       {Access: grpcauth.Denied},
		"/shop.v1.Orders/Pay":          {MaxAge: time.Minute},
	}))...)
	s.ClientConn = grpcauthtest.Serve(t, auth, func(srv grpcauth.Server) { echov1.RegisterEchoServiceServer(srv, service{}) })
	return s
}

// call makes one call of any kind, and does not care how it ends.
func (s *shop) call(ctx context.Context, method string) {
	_ = s.Invoke(ctx, method, &emptypb.Empty{}, &emptypb.Empty{})
}

// Every kind of decision, as a file of the log has it.
func TestServerWritesOneRecordForEachDecision(t *testing.T) {
	t.Parallel()
	s := open(t)
	key, made, err := s.keys.Create(t.Context(), apikey.Key{Owner: "ci"})
	if err != nil {
		t.Fatal(err)
	}
	const echo, status = "/echo.v1.EchoService/Echo", `"rpc.response.status_code":`
	bearer := func(token string) context.Context { return grpcauthtest.WithBearer(t.Context(), token) }
	with := func(pairs ...string) context.Context { return metadata.AppendToOutgoingContext(t.Context(), pairs...) }
	basicAuth := func(username, secret string) context.Context {
		return grpcauthtest.WithBasic(t.Context(), username, secret)
	}
	token := s.issuer.Token("EdDSA", "alice", nil)
	record := func(level, outcome, method, rest string) string {
		return `"` + level + `","msg":"grpcauth decision","grpcauth.outcome":"` + outcome + `","rpc.method":"` + method + `",` + rest + `,"network.peer.address":"bufconn","grpcauth.duration":0`
	}
	const rule, issuer = `,"grpcauth.rule":"/echo.v1.EchoService/*"`, `,"grpcauth.issuer":"https://idp.example.com"`
	for _, c := range []struct {
		name   string
		ctx    context.Context
		method string
		want   string
	}{
		{"accepted", bearer(token), echo, record("INFO", "accepted", echo[1:], status+`"OK"`+rule+`,"grpcauth.backend":"jwt","user.id":"alice"`+issuer) + "}\n"},
		{"remembered", bearer(token), echo, record("INFO", "accepted", echo[1:], status+`"OK"`+rule+`,"grpcauth.backend":"jwt","user.id":"alice"`+issuer) + `,"grpcauth.remembered":true}` + "\n"},
		{"password", basicAuth("bob", "open sesame"), echo, record("INFO", "accepted", echo[1:], status+`"OK"`+rule+`,"grpcauth.backend":"basic","user.id":"bob"`) + "}\n"},
		{"key", with("x-api-key", key), echo, record("INFO", "accepted", echo[1:], status+`"OK"`+rule+`,"grpcauth.backend":"apikey","user.id":"ci","grpcauth.key.hash":"`+authlog.KeyHash(made.ID)+`"`) + "}\n"},
		{"public", t.Context(), "/echo.v1.EchoService/Collect", record("INFO", "public", "echo.v1.EchoService/Collect", status+`"OK","grpcauth.rule":"/echo.v1.EchoService/Collect"`) + "}\n"},
		{"public, with a bad token", bearer("bad"), "/echo.v1.EchoService/Collect", record("INFO", "public", "echo.v1.EchoService/Collect", status+`"OK","grpcauth.rule":"/echo.v1.EchoService/Collect"`) + "}\n"},
		{"anonymous", t.Context(), "/echo.v1.EchoService/Expand", record("INFO", "anonymous", "echo.v1.EchoService/Expand", status+`"OK","grpcauth.rule":"/echo.v1.EchoService/Expand"`) + "}\n"},
		{"missing", t.Context(), echo, record("WARN", "refused", echo[1:], status+`"UNAUTHENTICATED","error.type":"CREDENTIALS_MISSING"`+rule) + "}\n"},
		{"malformed", bearer("no token"), echo, record("WARN", "refused", echo[1:], status+`"UNAUTHENTICATED","error.type":"CREDENTIALS_MALFORMED"`+rule+`,"grpcauth.backend":"jwt"`) + "}\n"},
		{"ambiguous", with("authorization", "Bearer "+token, "x-api-key", key), echo, record("WARN", "refused", echo[1:], status+`"UNAUTHENTICATED","error.type":"CREDENTIALS_AMBIGUOUS"`+rule) + "}\n"},
		{"expired", bearer(s.issuer.Token("EdDSA", "alice", map[string]any{"exp": start.Unix() - 1})), echo, record("WARN", "refused", echo[1:], status+`"UNAUTHENTICATED","error.type":"CREDENTIALS_EXPIRED"`+rule+`,"grpcauth.backend":"jwt"`) + "}\n"},
		{"wrong password", basicAuth("carol", "open barley"), echo, record("WARN", "refused", echo[1:], status+`"UNAUTHENTICATED","error.type":"CREDENTIALS_INVALID"`+rule+`,"grpcauth.backend":"basic"`) + "}\n"},
		{"throttled", basicAuth("carol", "open sesame"), echo, record("WARN", "refused", echo[1:], status+`"RESOURCE_EXHAUSTED","error.type":"TOO_MANY_ATTEMPTS"`+rule+`,"grpcauth.backend":"basic"`) + "}\n"},
		{"denied", bearer(token), "/shop.v1.Orders/Delete", record("WARN", "refused", "shop.v1.Orders/Delete", status+`"PERMISSION_DENIED","error.type":"PERMISSION_DENIED","grpcauth.rule":"/shop.v1.Orders/Delete","grpcauth.backend":"jwt"`) + `,"grpcauth.remembered":true}` + "\n"},
		{"step-up", with("x-api-key", key), "/shop.v1.Orders/Pay", record("WARN", "refused", "shop.v1.Orders/Pay", status+`"UNAUTHENTICATED","error.type":"STEP_UP_REQUIRED","grpcauth.rule":"/shop.v1.Orders/Pay","grpcauth.backend":"apikey"`) + "}\n"},
		{"no such method", bearer(token), "/no.such/Method\u202e\u2028\xff" + `"\`, record("INFO", "accepted", `no.such/Method\\u202e\\u2028\\ufffd\"\\\\`, status+`"OK","grpcauth.backend":"jwt","user.id":"alice"`+issuer) + `,"grpcauth.remembered":true}` + "\n"},
		{"outage", basicAuth("down", "open sesame"), echo, record("ERROR", "undecided", echo[1:], status+`"UNAVAILABLE","error.type":"AUTHENTICATION_UNAVAILABLE"`+rule+`,"grpcauth.backend":"basic"`) + "}\n"},
		{"bug", basicAuth("boom", "open sesame"), echo, record("ERROR", "undecided", echo[1:], status+`"INTERNAL","error.type":"AUTHENTICATION_FAILED"`+rule) + "}\n"},
	} {
		s.call(c.ctx, c.method)
		if len(s.out) != 1 {
			t.Fatalf("%s: %d records", c.name, len(s.out))
		}
		got := s.out.next(t)
		if got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
		md, _ := metadata.FromOutgoingContext(c.ctx)
		for _, credential := range append(md["authorization"], md["x-api-key"]...) {
			for _, secret := range canary.Secrets(credential) {
				if form := canary.Find(got, secret); form != "" {
					t.Errorf("%s: the record holds the credential as %s", c.name, form)
				}
			}
		}
	}
}

func TestCallThatItsCallerGaveUpIsAbandoned(t *testing.T) {
	t.Parallel()
	s := open(t)
	ctx, cancel := context.WithCancel(grpcauthtest.WithBasic(t.Context(), "hang", "open sesame"))
	go func() {
		<-s.hanged
		cancel()
	}()
	s.call(ctx, "/echo.v1.EchoService/Echo")
	const want = `"WARN","msg":"grpcauth decision","grpcauth.outcome":"abandoned","rpc.method":"echo.v1.EchoService/Echo","rpc.response.status_code":"CANCELLED","grpcauth.rule":"/echo.v1.EchoService/*","grpcauth.backend":"basic","network.peer.address":"bufconn","grpcauth.duration":0}` + "\n"
	if got := s.out.next(t); got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
}

// converse opens a stream and waits until it is let in.
func (s *shop) converse(ctx context.Context, t *testing.T) grpc.BidiStreamingClient[echov1.ConverseRequest, echov1.ConverseResponse] {
	t.Helper()
	stream, err := echov1.NewEchoServiceClient(s).Converse(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	if got := s.out.next(t); !strings.Contains(got, `"accepted"`) || strings.Contains(got, "recheck") {
		t.Errorf("the stream was let in: %s", got)
	}
	return stream
}

const converses = `"rpc.method":"echo.v1.EchoService/Converse","rpc.response.status_code":`

func TestEndOfAStreamIsOnRecord(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := open(t)
		s.converse(grpcauthtest.WithBearer(t.Context(), s.issuer.Token("EdDSA", "alice", map[string]any{"exp": start.Add(time.Minute).Unix()})), t)
		s.clock.Advance(time.Minute)
		const want = `"WARN","msg":"grpcauth decision","grpcauth.outcome":"ended",` + converses + `"UNAUTHENTICATED","error.type":"CREDENTIALS_EXPIRED","grpcauth.rule":"/echo.v1.EchoService/*","network.peer.address":"bufconn","grpcauth.duration":0,"grpcauth.recheck":true}` + "\n"
		if got := s.out.next(t); got != want {
			t.Errorf("\n got %s\nwant %s", got, want)
		}
	})
}

// The clock stands still, so a stream is judged again exactly when the test moves it.
func TestEachRecheckOfAStreamIsOnRecord(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := open(t, grpcauth.WithStreamRecheck(time.Second))
		key, made, err := s.keys.Create(t.Context(), apikey.Key{Owner: "ci"})
		if err != nil {
			t.Fatal(err)
		}
		stream := s.converse(metadata.AppendToOutgoingContext(t.Context(), "x-api-key", key), t)
		again := func() string {
			synctest.Wait() // until the next recheck is due by the clock as it stands
			s.clock.Advance(time.Second)
			return s.out.next(t)
		}
		const tail = `"network.peer.address":"bufconn","grpcauth.duration":0,"grpcauth.recheck":true}` + "\n"
		want := `"INFO","msg":"grpcauth decision","grpcauth.outcome":"accepted",` + converses + `"OK","grpcauth.rule":"/echo.v1.EchoService/*","grpcauth.backend":"apikey","user.id":"ci","grpcauth.key.hash":"` + authlog.KeyHash(made.ID) + `",` + tail
		for range 3 {
			if got := again(); got != want {
				t.Errorf("judged again:\n got %s\nwant %s", got, want)
			}
		}
		if err := s.keys.Revoke(t.Context(), made.ID); err != nil {
			t.Fatal(err)
		}
		want = `"WARN","msg":"grpcauth decision","grpcauth.outcome":"ended",` + converses + `"UNAUTHENTICATED","error.type":"CREDENTIALS_INVALID","grpcauth.rule":"/echo.v1.EchoService/*","grpcauth.backend":"apikey",` + tail
		if got := again(); got != want {
			t.Errorf("revoked:\n got %s\nwant %s", got, want)
		}
		if _, err := stream.Recv(); err == nil {
			t.Error("the stream goes on")
		}
	})
}
