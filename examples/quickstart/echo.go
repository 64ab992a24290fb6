// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"io"
	"strings"

	"google.golang.org/grpc"

	"github.com/grpcauth/grpcauth"
	echov1 "github.com/grpcauth/grpcauth/internal/gen/echo/v1"
)

// echo is a service that knows nothing of credentials: it finds its caller in the context.
type echo struct {
	echov1.UnimplementedEchoServiceServer
}

// Echo says back what it hears.
func (echo) Echo(ctx context.Context, req *echov1.EchoRequest) (*echov1.EchoResponse, error) {
	user, _ := grpcauth.FromContext(ctx) // never nil here: the method needs a user
	return &echov1.EchoResponse{Text: req.GetText(), UserId: user.ID}, nil
}

// Collect says back all that it heard.
func (echo) Collect(stream grpc.ClientStreamingServer[echov1.CollectRequest, echov1.CollectResponse]) error {
	user, _ := grpcauth.FromContext(stream.Context())
	var heard []string
	for {
		req, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return stream.SendAndClose(&echov1.CollectResponse{Text: strings.Join(heard, " "), UserId: user.ID})
		}
		if err != nil {
			return err
		}
		heard = append(heard, req.GetText())
	}
}

// Expand says back what it hears, word by word.
func (echo) Expand(req *echov1.ExpandRequest, stream grpc.ServerStreamingServer[echov1.ExpandResponse]) error {
	user, _ := grpcauth.FromContext(stream.Context())
	for word := range strings.FieldsSeq(req.GetText()) {
		if err := stream.Send(&echov1.ExpandResponse{Text: word, UserId: user.ID}); err != nil {
			return err
		}
	}
	return nil
}

// Converse answers as long as the caller talks. When the caller's credential expires, Recv returns an error: a handler has nothing to do for it.
func (echo) Converse(stream grpc.BidiStreamingServer[echov1.ConverseRequest, echov1.ConverseResponse]) error {
	user, _ := grpcauth.FromContext(stream.Context())
	for {
		req, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := stream.Send(&echov1.ConverseResponse{Text: req.GetText(), UserId: user.ID}); err != nil {
			return err
		}
	}
}
