// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/x509"
	"reflect"
	"sync"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffegrpc/grpccredentials"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/mtls"
	echov1 "github.com/grpcauth/grpcauth/internal/gen/echo/v1"
)

// newServer makes a server whose connections and authorities come from go-spiffe. Which workloads are let in is said here once, in Allow.
func newServer(source *workloadapi.X509Source) (*grpc.Server, error) {
	workloads, err := mtls.New(mtls.Options{Peer: certificates, Roots: authorities(source), Allow: []string{"spiffe://example.org/ns/shop/sa/*"}})
	if err != nil {
		return nil, err
	}
	auth := grpcauth.New(workloads, grpcauth.WithTransportSecurity(encrypted))
	creds := grpccredentials.MTLSServerCredentials(source, source, tlsconfig.AuthorizeMemberOf(trustDomain))
	srv := grpc.NewServer(append(auth.ServerOptions(), grpc.Creds(creds))...)
	echov1.RegisterEchoServiceServer(auth.Registrar(srv), echo{})
	return srv, nil
}

// encrypted reports whether go-spiffe made the connection, which gRPC cannot tell: its AuthInfo is of a type of its own.
func encrypted(p *peer.Peer) bool {
	_, ok := grpccredentials.PeerIDFromPeer(p)
	return ok
}

// certificates finds what the client showed in a connection that go-spiffe made. Its type is not exported but embeds what crypto/tls says; should that
// change, nothing is found and calls are refused. Credentials made by credentials.NewTLS(tlsconfig.MTLSServerConfig(...)) do without this: theirs is a credentials.TLSInfo.
func certificates(p *peer.Peer) ([]*x509.Certificate, bool) {
	if !encrypted(p) {
		return nil, false
	}
	wrapper := reflect.Indirect(reflect.ValueOf(p.AuthInfo))
	if wrapper.Kind() != reflect.Struct {
		return nil, false
	}
	embedded := wrapper.FieldByName("AuthInfo")
	if !embedded.IsValid() || !embedded.CanInterface() {
		return nil, false
	}
	info, ok := reflect.TypeAssert[credentials.TLSInfo](embedded)
	return info.State.PeerCertificates, ok
}

// authorities returns a pool of what the trust domain's bundle holds now, and a new one only if that has changed: so certificates are verified once for each bundle.
func authorities(source x509bundle.Source) func() *x509.CertPool {
	var mu sync.Mutex
	var known *x509bundle.Bundle
	var pool *x509.CertPool
	return func() *x509.CertPool {
		bundle, err := source.GetX509BundleForTrustDomain(trustDomain)
		if err != nil {
			return nil // nothing can be decided
		}
		mu.Lock()
		defer mu.Unlock()
		if known == nil || !known.Equal(bundle) {
			known, pool = bundle.Clone(), x509.NewCertPool()
			for _, authority := range known.X509Authorities() {
				pool.AddCert(authority)
			}
		}
		return pool
	}
}

var trustDomain = spiffeid.RequireTrustDomainFromString("example.org")

// echo answers with the caller's SPIFFE ID.
type echo struct {
	echov1.UnimplementedEchoServiceServer
}

func (echo) Echo(ctx context.Context, _ *echov1.EchoRequest) (*echov1.EchoResponse, error) {
	user, _ := grpcauth.FromContext(ctx) // never nil here: the method needs a user
	return &echov1.EchoResponse{UserId: user.ID}, nil
}
