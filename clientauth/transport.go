// SPDX-License-Identifier: Apache-2.0

package clientauth

import (
	"context"
	"net/netip"
	"net/url"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/grpcauth/grpcauth/internal/origin"
)

// guard keeps credentials off connections that others can read.
type guard struct{ loopback, anything bool }

func newGuard(opts *Options) guard {
	return guard{opts.InsecureAllowLoopback || opts.InsecureAllowPlaintext, opts.InsecureAllowPlaintext}
}

// RequireTransportSecurity is true unless [Options] allow plaintext. gRPC then refuses to send the credentials before they are asked for.
func (g guard) RequireTransportSecurity() bool { return !g.loopback }

// errPlaintext has the code that gRPC itself gives credentials that require a secure connection and do not have one.
var errPlaintext = status.Error(codes.Unauthenticated, "clientauth: the connection does not keep credentials private")

// check judges the connection of a call. gRPC tells of it by the peer, which is that of the connection made, and by the request info.
func (g guard) check(ctx context.Context, uri []string) error {
	if g.anything || encrypted(ctx) || g.loopback && stays(ctx, uri) {
		return nil
	}
	return errPlaintext
}

func encrypted(ctx context.Context) bool {
	ri, _ := credentials.RequestInfoFromContext(ctx)
	// Not credentials.CheckSecurityLevel: that takes AuthInfo of an unknown kind for secure.
	info, ok := ri.AuthInfo.(interface {
		GetCommonAuthInfo() credentials.CommonAuthInfo
	})
	return ok && info.GetCommonAuthInfo().SecurityLevel >= credentials.PrivacyAndIntegrity
}

func stays(ctx context.Context, uri []string) bool {
	if !origin.Confidential(ctx) {
		return false
	}
	p, _ := peer.FromContext(ctx)
	return !strings.HasPrefix(p.Addr.Network(), "tcp") || len(uri) == 1 && namesLoopback(uri[0])
}

// namesLoopback reports whether the authority of a call is a loopback name or address.
func namesLoopback(uri string) bool {
	u, err := url.Parse(uri)
	if err != nil {
		return false
	}
	addr, err := netip.ParseAddr(u.Hostname())
	return strings.EqualFold(u.Hostname(), "localhost") || err == nil && addr.Unmap().IsLoopback()
}
