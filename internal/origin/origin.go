// SPDX-License-Identifier: Apache-2.0

// Package origin tells whether a connection may carry credentials.
package origin

import (
	"context"
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
