// SPDX-License-Identifier: Apache-2.0

// Package origin tells what is known of the connection that a call came over.
package origin

import (
	"context"
	"crypto/x509"
	"net"
	"net/netip"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
)

// Confidential reports whether credentials may be read from the call's connection: it is private, or does not leave the machine.
// A connection of which nothing is known may not.
func Confidential(ctx context.Context) bool {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return false
	}
	// Not credentials.CheckSecurityLevel: that takes AuthInfo of an unknown kind for secure.
	info, ok := p.AuthInfo.(interface {
		GetCommonAuthInfo() credentials.CommonAuthInfo
	})
	return ok && info.GetCommonAuthInfo().SecurityLevel >= credentials.PrivacyAndIntegrity || isLocal(p.Addr)
}

// Certificate returns the client certificate of the call's connection: the leaf of the first chain that the TLS stack verified.
func Certificate(ctx context.Context) (*x509.Certificate, bool) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return nil, false
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok || len(info.State.VerifiedChains) == 0 || len(info.State.VerifiedChains[0]) == 0 {
		return nil, false
	}
	return info.State.VerifiedChains[0][0], true
}

func isLocal(addr net.Addr) bool {
	switch a := addr.(type) {
	case nil:
		return false
	case *net.TCPAddr:
		return a.IP.IsLoopback()
	}
	switch addr.Network() {
	case "unix", "pipe", "bufconn":
		return true
	case "tcp", "tcp4", "tcp6": // what the http.Handler transport says
		ap, err := netip.ParseAddrPort(addr.String())
		return err == nil && ap.Addr().Unmap().IsLoopback()
	}
	return false
}
