// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/rand"
	"net"
	"time"

	"google.golang.org/grpc"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/basic"
	"github.com/grpcauth/grpcauth/password"
)

// The two users: alice has a password, bob comes with tokens of the issuer.
const (
	alice = "alice"
	bob   = "bob"
)

// patience is how long open streams may take to end once the server was told to stop.
const patience = 2 * time.Second

// site is a server that is running, and what its callers need. All secrets are made at the start, so none can be left over from an example.
type site struct {
	target   string // host and port that callers dial
	ca       []byte // whom they trust, in PEM
	password string // alice's
	issuer   *issuer
	server   *grpc.Server
	ended    chan error // the end of Serve
}

// startSite serves on a TCP address; port 0 is any free one.
func startSite(ctx context.Context, address string, opts ...grpcauth.Option) (*site, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	s := &site{password: rand.Text(), ended: make(chan error, 1)}
	if err := s.prepare(ctx, address, listener.Addr(), opts); err != nil {
		_ = listener.Close() // the error to tell is the first one
		return nil, err
	}
	go func() { s.ended <- s.server.Serve(listener) }()
	return s, nil
}

func (s *site) prepare(ctx context.Context, address string, bound net.Addr, opts []grpcauth.Option) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost" // the server is everywhere, which is no name to call
	}
	_, port, err := net.SplitHostPort(bound.String())
	if err != nil {
		return err
	}
	s.target = net.JoinHostPort(host, port)

	ca, certificate, err := newCertificate(host)
	if err != nil {
		return err
	}
	s.ca = ca
	if s.issuer, err = newIssuer(); err != nil {
		return err
	}
	keys, err := s.issuer.keys()
	if err != nil {
		return err
	}

	// Where accounts are made, a Hasher turns passwords into what is stored.
	hasher, err := password.New(password.Options{})
	if err != nil {
		return err
	}
	hash, err := hasher.Hash(ctx, s.password)
	if err != nil {
		return err
	}
	users := accounts{alice: basic.Account{User: &grpcauth.User{ID: alice, Name: "Alice"}, PasswordHash: hash}}

	s.server, err = newServer(certificate, keys, users, opts...)
	return err
}

// stop lets calls that are under way end, but a stream only for as long as patience lasts.
func (s *site) stop() {
	impatient := time.AfterFunc(patience, s.server.Stop)
	defer impatient.Stop()
	s.server.GracefulStop()
}
