// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"io"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	echov1 "github.com/grpcauth/grpcauth/internal/gen/echo/v1"
)

// callTimeout bounds each call; the longest one waits for a token of four seconds to expire.
const callTimeout = 10 * time.Second

// client calls the server over TLS.
type client struct {
	conn *grpc.ClientConn
	echo echov1.EchoServiceClient
}

func dial(s *site) (*client, error) {
	trusted := x509.NewCertPool()
	if !trusted.AppendCertsFromPEM(s.ca) {
		return nil, errors.New("the certificate to trust is not PEM")
	}
	conn, err := grpc.NewClient(s.target, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: trusted, MinVersion: tls.VersionTLS13})))
	if err != nil {
		return nil, err
	}
	return &client{conn, echov1.NewEchoServiceClient(conn)}, nil
}

func (c *client) close() { _ = c.conn.Close() } // fails only if it is closed already

// makeAll makes the calls, one after the other.
func (c *client) makeAll(ctx context.Context, attempts []attempt) []outcome {
	outcomes := make([]outcome, 0, len(attempts))
	for _, a := range attempts {
		outcomes = append(outcomes, outcome{a, c.make(ctx, a)})
	}
	return outcomes
}

// make makes one call with its credentials as metadata, and tells how it was answered.
func (c *client) make(ctx context.Context, a attempt) answer {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	ctx = metadata.NewOutgoingContext(ctx, metadata.MD{"authorization": a.authorization})
	user, err := a.method.call(ctx, c)
	return answer{code: status.Code(err), reason: reasonOf(err), user: user}
}

// reasonOf is the reason that programs go by: unlike a message, it is part of what a server promises.
func reasonOf(err error) string {
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			return info.GetReason()
		}
	}
	return ""
}

func bearer(token string) string { return "Bearer " + token }

// basicOf writes a user name and a password as RFC 7617 wants them.
func basicOf(name, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(name+":"+password))
}

// method is a way to call the server. Its call returns who the server says that the caller is.
type method struct {
	name string
	call func(ctx context.Context, c *client) (user string, err error)
}

var (
	callHealth = method{"Health/Check", func(ctx context.Context, c *client) (string, error) {
		_, err := healthpb.NewHealthClient(c.conn).Check(ctx, &healthpb.HealthCheckRequest{})
		return "", err
	}}

	callEcho = method{"Echo", func(ctx context.Context, c *client) (string, error) {
		resp, err := c.echo.Echo(ctx, &echov1.EchoRequest{Text: "hello"})
		return resp.GetUserId(), err
	}}

	callCollect = method{"Collect (client stream)", func(ctx context.Context, c *client) (string, error) {
		stream, err := c.echo.Collect(ctx)
		if err != nil {
			return "", err
		}
		// A server that refuses ends the stream, after which Send says EOF; the answer comes with CloseAndRecv.
		if err := stream.Send(&echov1.CollectRequest{Text: "hello"}); err != nil && !errors.Is(err, io.EOF) {
			return "", err
		}
		resp, err := stream.CloseAndRecv()
		return resp.GetUserId(), err
	}}

	callExpand = method{"Expand (server stream)", func(ctx context.Context, c *client) (user string, err error) {
		stream, err := c.echo.Expand(ctx, &echov1.ExpandRequest{Text: "hello there"})
		if err != nil {
			return "", err
		}
		return lastUser(stream.Recv)
	}}

	callConverse = method{"Converse (kept open)", func(ctx context.Context, c *client) (string, error) {
		stream, err := c.echo.Converse(ctx)
		if err != nil {
			return "", err
		}
		if err := stream.Send(&echov1.ConverseRequest{Text: "hello"}); err != nil && !errors.Is(err, io.EOF) {
			return "", err
		}
		return lastUser(stream.Recv) // nothing more is said, but the stream stays open until the server ends it
	}}

	callUnknown = method{"Shout (no such method)", func(ctx context.Context, c *client) (string, error) {
		return "", c.conn.Invoke(ctx, "/echo.v1.EchoService/Shout", &emptypb.Empty{}, &emptypb.Empty{})
	}}
)

// lastUser receives until the stream ends, and returns the user of its last message.
func lastUser[M interface{ GetUserId() string }](receive func() (M, error)) (user string, err error) {
	for {
		message, err := receive()
		if errors.Is(err, io.EOF) {
			return user, nil
		}
		if err != nil {
			return user, err
		}
		user = message.GetUserId()
	}
}
