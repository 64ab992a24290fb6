// SPDX-License-Identifier: Apache-2.0

package authservice_test

import (
	"context"
	"fmt"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/authservice"
	"github.com/grpcauth/grpcauth/backends/session"
	"github.com/grpcauth/grpcauth/password"
	grpcauthv1 "github.com/grpcauth/grpcauth/proto/grpcauth/v1"
	"github.com/grpcauth/grpcauth/store/memstore"
)

func Example() {
	ctx := context.Background()
	hasher, _ := password.New(password.Options{})
	hash, _ := hasher.Hash(ctx, "correct horse")
	users := map[string]authservice.Account{"alice": {User: &grpcauth.User{ID: "alice"}, PasswordHash: hash}}

	records, _ := memstore.New(memstore.Options{})
	sessions, _ := session.New(session.Options{Store: records, MetadataKey: "x-session-id"})
	service, _ := authservice.New(authservice.Options{
		Account:  func(_ context.Context, name string) (authservice.Account, error) { return users[name], nil },
		Hasher:   hasher,
		Sessions: sessions,
	})
	auth := grpcauth.New(sessions, grpcauth.WithPolicy(service.Policy()))
	srv := grpc.NewServer(auth.ServerOptions()...)
	grpcauthv1.RegisterAuthServiceServer(auth.Registrar(srv), service)
	conn := serve(srv)
	defer srv.Stop()
	defer conn.Close()

	client := grpcauthv1.NewAuthServiceClient(conn)
	login, err := client.Login(ctx, &grpcauthv1.LoginRequest{
		Username: "alice", Password: "correct horse", Credential: grpcauthv1.Credential_CREDENTIAL_SESSION_ID,
	})
	fmt.Println(login.GetIssued().GetUser().GetId(), err)

	ctx = metadata.AppendToOutgoingContext(ctx, "x-session-id", login.GetIssued().GetSessionId())
	who, err := client.WhoAmI(ctx, &grpcauthv1.WhoAmIRequest{})
	fmt.Println(who.GetUser().GetId(), err)

	_, err = client.Logout(ctx, &grpcauthv1.LogoutRequest{})
	fmt.Println(err)
	_, err = client.WhoAmI(ctx, &grpcauthv1.WhoAmIRequest{})
	fmt.Println(status.Convert(err).Message())
	// Output:
	// alice <nil>
	// alice <nil>
	// <nil>
	// credentials are invalid
}

func serve(srv *grpc.Server) *grpc.ClientConn {
	listener := bufconn.Listen(1 << 20)
	go srv.Serve(listener)
	conn, err := grpc.NewClient("passthrough:///memory", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	if err != nil {
		panic(err)
	}
	return conn
}
