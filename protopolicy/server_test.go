// SPDX-License-Identifier: Apache-2.0

package protopolicy_test

import (
	"context"
	"io"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/grpcauthtest"
	"github.com/grpcauth/grpcauth/protopolicy"
	rulesv1 "github.com/grpcauth/grpcauth/protopolicy/internal/gen/rules/v1"
)

// orders answers with who it believes to be calling.
type orders struct {
	rulesv1.UnimplementedOrderServiceServer
}

func caller(ctx context.Context) string {
	user, ok := grpcauth.FromContext(ctx)
	if !ok {
		return "nobody"
	}
	return user.ID
}

func (orders) Get(ctx context.Context, _ *rulesv1.GetRequest) (*rulesv1.GetResponse, error) {
	return &rulesv1.GetResponse{UserId: caller(ctx)}, nil
}

func (orders) Cancel(context.Context, *rulesv1.CancelRequest) (*rulesv1.CancelResponse, error) {
	return &rulesv1.CancelResponse{}, nil
}

func (orders) Watch(_ *rulesv1.WatchRequest, stream grpc.ServerStreamingServer[rulesv1.WatchResponse]) error {
	return stream.Send(&rulesv1.WatchResponse{UserId: caller(stream.Context())})
}

func (orders) Import(stream grpc.ClientStreamingServer[rulesv1.ImportRequest, rulesv1.ImportResponse]) error {
	return stream.SendAndClose(&rulesv1.ImportResponse{})
}

func (orders) Chat(grpc.BidiStreamingServer[rulesv1.ChatRequest, rulesv1.ChatResponse]) error {
	return nil
}

// ledger would like to be public, and has a method of that name to say so.
type ledger struct {
	rulesv1.UnimplementedLedgerServiceServer
}

func (ledger) AuthPolicy() grpcauth.Policy {
	return grpcauth.Policy{"/rules.v1.LedgerService/*": {Access: grpcauth.Public}}
}

func (ledger) Read(context.Context, *rulesv1.ReadRequest) (*rulesv1.ReadResponse, error) {
	return &rulesv1.ReadResponse{}, nil
}

func (ledger) Post(context.Context, *rulesv1.PostRequest) (*rulesv1.PostResponse, error) {
	return &rulesv1.PostResponse{}, nil
}

// named accepts the token NAME/SCOPE/SCOPE of these names.
func named(names ...string) grpcauth.Backend {
	return grpcauth.BackendFunc(func(_ context.Context, req *grpcauth.Request) (*grpcauth.User, error) {
		token, err := req.Authorization("Bearer")
		if err != nil {
			return nil, err
		}
		name, scopes, _ := strings.Cut(token, "/")
		if !slices.Contains(names, name) {
			return nil, grpcauth.Errorf(grpcauth.CodeInvalid, "unknown")
		}
		return &grpcauth.User{ID: name, Scopes: strings.Split(scopes, "/")}, nil
	})
}

// A server whose rules stand in its .proto, called with each kind of call.
func TestServerIsGuardedByItsProto(t *testing.T) {
	t.Parallel()
	policy, err := protopolicy.New(protoregistry.GlobalFiles, protopolicy.Options{
		Backends: known,
		Services: []string{"rules.v1.OrderService", "rules.v1.LedgerService"},
		Overlay:  grpcauth.Policy{"/grpc.health.v1.Health/Check": {Access: grpcauth.Public}},
	})
	if err != nil {
		t.Fatal(err)
	}
	auth := grpcauth.New(named("alice", "sam"), grpcauth.WithPolicy(policy),
		grpcauth.WithBackends(map[string]grpcauth.Backend{"staff": named("sam"), "partners": named("pat")}))
	var server grpcauth.Server
	conn := grpcauthtest.Serve(t, auth, func(s grpcauth.Server) {
		rulesv1.RegisterOrderServiceServer(s, orders{})
		rulesv1.RegisterLedgerServiceServer(s, ledger{})
		healthpb.RegisterHealthServer(s, health.NewServer())
		server = s
	})
	if err := auth.Check(server); err != nil {
		t.Error(err)
	}
	client, books := rulesv1.NewOrderServiceClient(conn), rulesv1.NewLedgerServiceClient(conn)
	calls := map[string]func(context.Context) (string, error){
		"Get": func(ctx context.Context) (string, error) {
			resp, err := client.Get(ctx, &rulesv1.GetRequest{})
			return resp.GetUserId(), err
		},
		"Cancel": func(ctx context.Context) (string, error) {
			_, err := client.Cancel(ctx, &rulesv1.CancelRequest{})
			return "", err
		},
		"Watch": func(ctx context.Context) (string, error) {
			stream, err := client.Watch(ctx, &rulesv1.WatchRequest{})
			if err != nil {
				return "", err
			}
			resp, err := stream.Recv()
			return resp.GetUserId(), err
		},
		"Import": func(ctx context.Context) (string, error) {
			stream, err := client.Import(ctx)
			if err != nil {
				return "", err
			}
			_, err = stream.CloseAndRecv()
			return "", err
		},
		"Chat": func(ctx context.Context) (string, error) {
			stream, err := client.Chat(ctx)
			if err != nil {
				return "", err
			}
			if _, err = stream.Recv(); err == io.EOF {
				err = nil
			}
			return "", err
		},
		"Read": func(ctx context.Context) (string, error) {
			_, err := books.Read(ctx, &rulesv1.ReadRequest{})
			return "", err
		},
		"Post": func(ctx context.Context) (string, error) {
			_, err := books.Post(ctx, &rulesv1.PostRequest{})
			return "", err
		},
		"health Check": func(ctx context.Context) (string, error) {
			_, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{})
			return "", err
		},
		"health List": func(ctx context.Context) (string, error) {
			_, err := healthpb.NewHealthClient(conn).List(ctx, &healthpb.HealthListRequest{})
			return "", err
		},
	}
	const ok, unauthenticated, denied = codes.OK, codes.Unauthenticated, codes.PermissionDenied
	for _, test := range []struct {
		method, token string
		want          codes.Code
		user          string
	}{
		{"Get", "", unauthenticated, ""},
		{"Get", "alice", denied, ""},
		{"Get", "alice/orders.read", ok, "alice"},
		{"Get", "mallory/orders.read", unauthenticated, ""},
		{"Cancel", "alice/orders.read/orders.write/eu", unauthenticated, ""}, // no backend of the rule knows her
		{"Cancel", "sam/orders.read", unauthenticated, ""},                   // not bound to a key
		{"Watch", "", ok, "nobody"},
		{"Watch", "alice/orders.read", ok, "nobody"},
		{"Watch", "mallory", ok, "nobody"},
		{"Import", "", unauthenticated, ""},
		{"Import", "alice/orders.read", denied, ""},
		{"Chat", "", unauthenticated, ""},
		{"Chat", "alice", ok, ""},
		{"Read", "", unauthenticated, ""},
		{"Read", "sam", unauthenticated, ""}, // staff, and no partner
		{"Post", "", unauthenticated, ""},    // beside a rule, and without one
		{"Post", "alice", ok, ""},
		{"health Check", "", ok, ""},
		{"health List", "", unauthenticated, ""}, // one method of it is public, not the service
	} {
		ctx := t.Context()
		if test.token != "" {
			ctx = grpcauthtest.WithBearer(ctx, test.token)
		}
		user, err := calls[test.method](ctx)
		if status.Code(err) != test.want || user != test.user {
			t.Errorf("%s with %q: got %q and %v, want %q and %v", test.method, test.token, user, err, test.user, test.want)
		}
	}
}

// Names that look like that of a public method are not it.
func TestLookAlikesOfAPublicMethodAreNotPublic(t *testing.T) {
	t.Parallel()
	policy, err := protopolicy.New(protoregistry.GlobalFiles, protopolicy.Options{Backends: known})
	if err != nil {
		t.Fatal(err)
	}
	auth := grpcauth.New(named("alice"), grpcauth.WithPolicy(policy), grpcauth.InsecureAllowPlaintext(),
		grpcauth.WithBackends(map[string]grpcauth.Backend{"staff": named("sam"), "partners": named("pat")}))
	ctx := metadata.NewIncomingContext(t.Context(), nil)
	if _, err := auth.Authenticate(ctx, "/rules.v1.OrderService/Watch"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		"rules.v1.OrderService/Watch", "//rules.v1.OrderService/Watch", "/rules.v1.OrderService/Watch/", "/rules.v1.OrderService/watch",
		"/rules.v1.orderservice/Watch", "/rules.v1.OrderService%2FWatch", "/rules.v1.OrderService/Watch ", "/rules.v1.OrderService//Watch", "/.rules.v1.OrderService/Watch",
	} {
		if _, err := auth.Authenticate(ctx, name); grpcauth.CodeOf(err) != grpcauth.CodeMissing {
			t.Errorf("%q: got %v, want CREDENTIALS_MISSING", name, err)
		}
	}
}

// A rule about a method that the server does not have is an error at its start, and with explicit rules so is a method without one.
func TestCheckComparesTheProtoWithTheServer(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		opts   protopolicy.Options
		option []grpcauth.Option
		want   string
	}{
		{"rule without a service", protopolicy.Options{Backends: known}, nil, "rules.v1.LegacyService"},
		{"method without a rule", protopolicy.Options{Backends: known, Services: []string{"rules.v1.LedgerService"}}, []grpcauth.Option{grpcauth.WithExplicitRules()}, "/rules.v1.LedgerService/Post"},
		{"default", protopolicy.Options{Backends: known, Services: []string{"rules.v1.LedgerService"}, Default: grpcauth.Rule{Access: grpcauth.Denied}}, []grpcauth.Option{grpcauth.WithExplicitRules()}, ""},
		{"wrong name in the overlay", protopolicy.Options{Backends: known, Services: []string{"rules.v1.LedgerService"}, Overlay: grpcauth.Policy{"/rules.v1.LedgerService/Pots": {}}}, nil, "/rules.v1.LedgerService/Pots"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			policy, err := protopolicy.New(protoregistry.GlobalFiles, test.opts)
			if err != nil {
				t.Fatal(err)
			}
			auth := grpcauth.New(named("alice"), append(test.option, grpcauth.WithPolicy(policy),
				grpcauth.WithBackends(map[string]grpcauth.Backend{"staff": named("sam"), "partners": named("pat")}))...)
			server := grpc.NewServer(auth.ServerOptions()...)
			rulesv1.RegisterLedgerServiceServer(server, ledger{})
			wantErr(t, auth.Check(server), test.want)
		})
	}
}
