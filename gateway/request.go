// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/grpcauth/grpcauth/internal/values"
)

// request is the context by which an HTTP request is judged as a call of gRPC is: it is the metadata, the peer and the stream of the call at
// once, to cost one allocation.
type request struct {
	context.Context //nolint:containedctx // it is a context

	config *config
	header http.Header
	sealed atomic.Bool // the header belongs to the handler again

	peer peer.Peer
	info info
	addr net.TCPAddr
	ip   [16]byte

	mu sync.Mutex
	w  http.ResponseWriter // guarded by mu; nil once it is the handler's, whose stream may end at any time
}

// Format prints the type alone, whatever the verb: a context is soon printed, and this one holds credentials.
func (*request) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "gateway.request") }

// The keys of what gRPC puts into a context, learnt by listening to what its packages ask a context for.
var (
	metadataKey = values.KeyAskedFor(func(ctx context.Context) { metadata.FromIncomingContext(ctx) })
	peerKey     = values.KeyAskedFor(func(ctx context.Context) { peer.FromContext(ctx) })
	streamKey   = values.KeyAskedFor(func(ctx context.Context) { grpc.ServerTransportStreamFromContext(ctx) })
)

// request makes a request ready to be judged. One that is kept has headers of its own, which its handler cannot change.
func (c *config) request(w http.ResponseWriter, r *http.Request, kept bool) (*request, error) {
	caller, encrypted := c.origin(r)
	judged := r
	if kept || !isClean(r.Header) {
		judged = r.WithContext(r.Context())
		judged.Header = c.clean(r.Header)
	}
	if err := c.admit(judged, encrypted || caller.isLocal()); err != nil {
		return nil, err
	}
	q := &request{Context: r.Context(), config: c, header: judged.Header, w: w}
	q.info.r, q.info.config = r, c
	q.info.SecurityLevel = credentials.NoSecurity
	if encrypted {
		q.info.SecurityLevel = credentials.PrivacyAndIntegrity
	}
	q.setPeer(caller)
	return q, nil
}

// setPeer says who made the request. A certificate that its TLS connection verified authenticates, unless it is that of a proxy.
func (q *request) setPeer(caller caller) {
	r := q.info.r
	q.peer.AuthInfo = &q.info
	if caller.ip.IsValid() {
		q.ip = caller.ip.As16()
		q.addr.IP = q.ip[:]
		q.peer.Addr = &q.addr
	} else {
		q.peer.Addr = caller.address()
	}
	if local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
		q.peer.LocalAddr = local
	}
	if r.TLS != nil && len(r.TLS.VerifiedChains) > 0 && !caller.proxied {
		q.peer.AuthInfo = credentials.TLSInfo{State: *r.TLS, CommonAuthInfo: q.info.CommonAuthInfo}
		q.peer.Addr = targeted{q.peer.Addr, &q.info}
	}
}

// targeted is an address that tells the request's target, for peers whose AuthInfo is their certificate.
type targeted struct {
	net.Addr

	of *info
}

func (t targeted) target() (method, address string) { return t.of.target() }

// Value finds what gRPC has in the context of a call.
func (q *request) Value(key any) any {
	switch key {
	case streamKey:
		return q
	case peerKey:
		return &q.peer
	case metadataKey:
		return q.metadata()
	}
	return q.Context.Value(key)
}

// metadata is a copy of what the backends may see, and nothing once the handler has its headers back.
func (q *request) metadata() metadata.MD {
	md := metadata.MD{}
	for key := range q.config.names {
		if found := q.IncomingValues(key); len(found) > 0 {
			md[key] = append([]string(nil), found...)
		}
	}
	return md
}

// IncomingValues implements what the root asks of contexts that have metadata without a copy.
func (q *request) IncomingValues(key string) []string {
	if q.sealed.Load() {
		return nil
	}
	return q.header[q.config.names[key]]
}

// Method implements [grpc.ServerTransportStream].
func (*request) Method() string { return "" }

// SetHeader implements [grpc.ServerTransportStream].
func (q *request) SetHeader(md metadata.MD) error {
	lower := make(metadata.MD, len(md))
	for key, values := range md {
		lower[strings.ToLower(key)] = values
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.w == nil {
		return errHandlers
	}
	q.config.forward(q.w.Header(), lower)
	return nil
}

var errHandlers = errors.New("gateway: the answer is the handler's")

// handOver leaves the answer to the handler.
func (q *request) handOver() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.w = nil
}

// SendHeader implements [grpc.ServerTransportStream].
func (q *request) SendHeader(md metadata.MD) error { return q.SetHeader(md) }

// SetTrailer implements [grpc.ServerTransportStream].
func (*request) SetTrailer(metadata.MD) error { return nil }

// WriteStatus tells interceptors that the end of the handler's context is the end of its request.
func (*request) WriteStatus(*status.Status) error { return nil }

// info is the AuthInfo of a request's peer.
type info struct {
	credentials.CommonAuthInfo

	r      *http.Request
	config *config
}

// Format prints the type alone, for the same reason.
func (*info) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "gateway.info") }

// AuthType implements [credentials.AuthInfo].
func (*info) AuthType() string { return "http" }

func (i *info) target() (method, address string) {
	return i.r.Method, i.config.target(i.r)
}

// caller is where a request comes from.
type caller struct {
	ip      netip.Addr // not valid: not known, or a Unix socket
	unix    bool
	proxied bool
}

// String is what a gateway tells a server.
func (c caller) String() string {
	switch {
	case c.unix:
		return "unix"
	case c.ip.IsValid():
		return c.ip.String()
	}
	return ""
}

// isLocal reports whether a caller is on this machine.
func (c caller) isLocal() bool { return c.unix || c.ip.IsLoopback() }

func (c caller) address() net.Addr {
	switch {
	case c.unix:
		return &net.UnixAddr{Net: "unix"}
	case c.ip.IsValid():
		return net.TCPAddrFromAddrPort(netip.AddrPortFrom(c.ip, 0))
	}
	return nowhere{}
}

// nowhere is the address of a caller of whom nothing is known.
type nowhere struct{}

func (nowhere) Network() string { return "unknown" }
func (nowhere) String() string  { return "unknown" }
