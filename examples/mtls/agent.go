// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// agent serves the Workload API. A real one recognises workloads by their processes; this one has a socket for each.
type agent struct {
	dir     string
	servers []*grpc.Server
	sources []*workloadapi.X509Source

	mu        sync.Mutex
	authority *x509.Certificate // guarded by mu, like all below
	key       *ecdsa.PrivateKey
	replaced  chan struct{} // closed when the authority is
}

func startAgent() (*agent, error) {
	dir, err := os.MkdirTemp("", "mtls-*")
	if err != nil {
		return nil, err
	}
	a := &agent{dir: dir, replaced: make(chan struct{})}
	if err := a.replace(); err != nil {
		a.stop()
		return nil, err
	}
	return a, nil
}

func (a *agent) stop() {
	for _, source := range a.sources {
		_ = source.Close()
	}
	for _, server := range a.servers {
		server.Stop()
	}
	_ = os.RemoveAll(a.dir)
}

func (*agent) id(path string) spiffeid.ID { return spiffeid.RequireFromPath(trustDomain, path) }

// source is how a workload gets its certificates: from a socket that in real life the variable SPIFFE_ENDPOINT_SOCKET names.
func (a *agent) source(ctx context.Context, path string) (*workloadapi.X509Source, error) {
	file := filepath.Join(a.dir, strconv.Itoa(len(a.servers)))
	listener, err := new(net.ListenConfig).Listen(ctx, "unix", file)
	if err != nil {
		return nil, err
	}
	server := grpc.NewServer()
	workload.RegisterSpiffeWorkloadAPIServer(server, &socket{agent: a, id: a.id(path)})
	a.servers = append(a.servers, server)
	go func() { _ = server.Serve(listener) }() // ends with stop
	source, err := workloadapi.NewX509Source(ctx, workloadapi.WithClientOptions(workloadapi.WithAddr("unix://"+file)))
	if err != nil {
		return nil, err
	}
	a.sources = append(a.sources, source)
	return source, nil
}

// rotate replaces the authority, and returns when all workloads know.
func (a *agent) rotate(ctx context.Context) error {
	if err := a.replace(); err != nil {
		return err
	}
	for _, source := range a.sources {
		if err := source.WaitUntilUpdated(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (a *agent) replace() error {
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "mesh"}, URIs: []*url.URL{{Scheme: "spiffe", Host: trustDomain.Name()}},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	authority, key, err := certify(template, nil, nil)
	if err != nil {
		return err
	}
	close(a.replaced)
	a.authority, a.key, a.replaced = authority, key, make(chan struct{})
	return nil
}

// socket is the Workload API as one workload sees it.
type socket struct {
	workload.UnimplementedSpiffeWorkloadAPIServer

	agent *agent
	id    spiffeid.ID
}

// FetchX509SVID sends a certificate, its key and the authority, and again whenever they change.
func (s *socket) FetchX509SVID(_ *workload.X509SVIDRequest, stream grpc.ServerStreamingServer[workload.X509SVIDResponse]) error {
	ctx := stream.Context()
	if header := metadata.ValueFromIncomingContext(ctx, "workload.spiffe.io"); len(header) != 1 || header[0] != "true" {
		return status.Error(codes.InvalidArgument, "the header of the Workload API is missing")
	}
	for {
		svid, replaced, err := s.issue()
		if err != nil {
			return err
		}
		if err := stream.Send(&workload.X509SVIDResponse{Svids: []*workload.X509SVID{svid}}); err != nil {
			return err
		}
		select {
		case <-replaced:
		case <-ctx.Done():
			return status.FromContextError(ctx.Err()).Err()
		}
	}
}

// issue makes a certificate that lives for an hour.
func (s *socket) issue() (svid *workload.X509SVID, replaced <-chan struct{}, err error) {
	s.agent.mu.Lock()
	defer s.agent.mu.Unlock()
	template := &x509.Certificate{
		URIs: []*url.URL{s.id.URL()}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	leaf, key, err := certify(template, s.agent.authority, s.agent.key)
	if err != nil {
		return nil, nil, err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	return &workload.X509SVID{SpiffeId: s.id.String(), X509Svid: leaf.Raw, X509SvidKey: secret, Bundle: s.agent.authority.Raw}, s.agent.replaced, err
}

// certify issues a certificate for a new key, signed by the parent's key, or by its own if there is no parent.
func certify(template, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)); err != nil {
		return nil, nil, err
	}
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Minute), time.Now().Add(time.Hour)
	if parent == nil {
		parent, parentKey = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, parentKey)
	if err != nil {
		return nil, nil, err
	}
	made, err := x509.ParseCertificate(der)
	return made, key, err
}
