// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/stats"

	"github.com/grpcauth/grpcauth"
)

// What a gateway says of a call. Callers cannot send these keys through it, and those who send them to the server directly are not believed.
const (
	callerKey  = "grpcauth-caller"  // an address or "unix"
	requestKey = "grpcauth-request" // the method and the URL
	securedKey = "grpcauth-secured" // "tls", if the caller's connection was encrypted
)

// annotate tells the server what is known of a call.
func annotate(ctx context.Context, _ *http.Request) metadata.MD {
	cl, ok := ctx.Value(callKey{}).(*call)
	if !ok {
		return nil
	}
	md := metadata.MD{callerKey: {cl.caller.String()}, requestKey: {cl.method + " " + cl.url}}
	if cl.encrypted {
		md[securedKey] = []string{"tls"}
	}
	return md
}

// HopOptions say which connections are a gateway's. Those of [InProcess] always are.
type HopOptions struct {
	// Certificates are the SPIFFE IDs and DNS names of gateways in other processes, which prove themselves by a client certificate that the
	// server verifies: "spiffe://example.com/gateway", "gateway.example.com".
	Certificates []string
}

// TrustHop returns a server option that believes gateways, and nobody else, what they say of their callers.
//
// The peer of a call through a gateway is then the caller: her address is the one that is throttled and put on record, whether her connection was
// encrypted decides whether her credentials are taken, and the gateway's own certificate and address authenticate nobody. An error names the field that
// is wrong. Use [Target] for DPoP proofs.
func TrustHop(opts HopOptions) (grpc.ServerOption, error) {
	h := &hop{certificates: slices.Clone(opts.Certificates)}
	for _, name := range h.certificates {
		if u, err := url.Parse(name); name == "" || err != nil || strings.ContainsAny(name, "* ") || u.Scheme != "" && (u.Scheme != "spiffe" || u.Host == "" || u.Path == "") {
			return nil, errors.New(`gateway: HopOptions.Certificates: a name is none: write a SPIFFE ID or a DNS name, such as "spiffe://example.com/gateway"`)
		}
	}
	return grpc.StatsHandler(h), nil
}

// hop is a stats handler because that is what gRPC asks first, before any interceptor and before the handlers of a Registrar.
type hop struct{ certificates []string }

// TagRPC implements [stats.Handler].
func (h *hop) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context {
	p, ok := peer.FromContext(ctx)
	if !ok || !h.trusts(p) {
		return ctx
	}
	return peer.NewContext(ctx, forwarded(ctx, p))
}

// HandleRPC implements [stats.Handler].
func (*hop) HandleRPC(context.Context, stats.RPCStats) {}

// TagConn implements [stats.Handler].
func (*hop) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

// HandleConn implements [stats.Handler].
func (*hop) HandleConn(context.Context, stats.ConnStats) {}

func (h *hop) trusts(p *peer.Peer) bool {
	if _, ok := p.Addr.(memoryAddr); ok {
		return true
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok || len(info.State.VerifiedChains) == 0 || len(info.State.VerifiedChains[0]) == 0 {
		return false
	}
	return slices.ContainsFunc(h.certificates, func(name string) bool { return isNamed(info.State.VerifiedChains[0][0], name) })
}

func isNamed(certificate *x509.Certificate, name string) bool {
	if strings.HasPrefix(name, "spiffe:") {
		// A SPIFFE certificate has exactly one URI (X.509-SVID, section 2).
		return len(certificate.URIs) == 1 && certificate.URIs[0].String() == name
	}
	return slices.ContainsFunc(certificate.DNSNames, func(dns string) bool { return strings.EqualFold(dns, name) })
}

// Forwarded is the AuthInfo of a peer that came through a gateway.
type Forwarded struct {
	credentials.CommonAuthInfo

	// Method and URL are those of the caller's request, without the query. The URL is a path alone if the gateway has no Options.PublicURL.
	Method, URL string
}

// AuthType implements [credentials.AuthInfo].
func (*Forwarded) AuthType() string { return "gateway" }

func (f *Forwarded) target() (method, address string) { return f.Method, f.URL }

// forwarded is the caller in place of her gateway. What is said twice or makes no sense says nothing: then nobody is known, nothing encrypted, and no credential taken.
func forwarded(ctx context.Context, gateway *peer.Peer) *peer.Peer {
	info := &Forwarded{CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.NoSecurity}}
	if one(ctx, securedKey) == "tls" {
		info.SecurityLevel = credentials.PrivacyAndIntegrity
	}
	info.Method, info.URL, _ = strings.Cut(one(ctx, requestKey), " ")
	return &peer.Peer{Addr: address(one(ctx, callerKey)), LocalAddr: gateway.LocalAddr, AuthInfo: info}
}

func one(ctx context.Context, key string) string {
	if values := metadata.ValueFromIncomingContext(ctx, key); len(values) == 1 {
		return values[0]
	}
	return ""
}

func address(text string) net.Addr {
	ip, _ := netip.ParseAddr(text)
	return caller{ip: ip, unix: text == "unix"}.address()
}

// Target is the Target of bearer.DPoP: the method and the URL that the caller used, if the call came through a gateway that [TrustHop] believes or is
// a request to a handler behind [Middleware]. It takes Options.PublicURL there.
func Target(req *grpcauth.Request) (method, rawURL string) {
	if p := req.Peer(); p != nil {
		for _, known := range []any{p.AuthInfo, p.Addr} {
			if t, ok := known.(interface {
				target() (method, address string)
			}); ok {
				return t.target()
			}
		}
	}
	return "", ""
}
