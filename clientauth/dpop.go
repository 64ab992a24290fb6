// SPDX-License-Identifier: Apache-2.0

package clientauth

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/grpcauth/grpcauth/internal/jws"
)

// maxNonces is of how many servers nonces are remembered.
const maxNonces = 100

// DPoP sends tokens that are bound to a key, with a proof for each call that the program has the key (RFC 9449). It implements
// [credentials.PerRPCCredentials] and is safe for concurrent use. Make it with [NewDPoP].
//
// Servers that want nonces in proofs need its interceptors too, [DPoP.Unary] and [DPoP.Stream].
type DPoP struct {
	guard
	key  crypto.Signer
	jwk  json.RawMessage
	src  Source
	opts Options

	mu     sync.Mutex
	nonces map[string]string // guarded by mu; by authority
}

// NewDPoP returns credentials that send the tokens of a source, and prove with the key, which is ECDSA on P-256, P-384 or P-521, Ed25519, or RSA of 2048 bits or more.
//
// The source gives tokens that are bound to the key: the request for one shows it to the provider. A key that is used for nothing else, and made anew by each
// process, is best.
func NewDPoP(key crypto.Signer, src Source, opts Options) (*DPoP, error) {
	if key == nil || src == nil {
		return nil, errors.New("clientauth: the key or the source is nil")
	}
	opts, err := opts.ready()
	if err != nil {
		return nil, err
	}
	if _, err := jws.Algorithm(key.Public()); err != nil {
		return nil, fmt.Errorf("clientauth: %w", err)
	}
	return &DPoP{guard: newGuard(&opts), key: key, jwk: json.RawMessage(jws.JWK(key.Public())), src: src, opts: opts, nonces: map[string]string{}}, nil
}

// Thumbprint is that of the key (RFC 7638), by which tokens are bound to it: their cnf.jkt, and the dpop_jkt of requests for them.
func (d *DPoP) Thumbprint() string { return jws.Thumbprint(d.key.Public()) }

// Format keeps key and tokens out of texts.
func (*DPoP) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "clientauth.DPoP") }

// MarshalText gives the same as Format, for JSON and its like.
func (*DPoP) MarshalText() ([]byte, error) { return []byte("clientauth.DPoP"), nil }

// GetRequestMetadata returns the authorization header and a proof. It is called by gRPC, and refuses where the connection does not keep a token private.
func (d *DPoP) GetRequestMetadata(ctx context.Context, uri ...string) (map[string]string, error) {
	if err := d.check(ctx, uri); err != nil {
		return nil, err
	}
	target, authority, err := targetOf(ctx, uri)
	if err != nil {
		return nil, err
	}
	token, err := tokenOf(ctx, d.src)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	nonce := d.nonces[authority]
	d.mu.Unlock()
	if u, ok := ctx.Value(usedKey{}).(*used); ok {
		u.authority.Store(&authority)
	}
	proof, err := d.Proof("POST", target, token.Value, nonce)
	if err != nil {
		return nil, status.Errorf(codes.Unavailable, "clientauth: a proof could not be made: %v", err)
	}
	return map[string]string{authorization: "DPoP " + token.Value, "dpop": proof}, nil
}

// targetOf is the URL of a call. gRPC gives that of the service, and the method apart from it.
func targetOf(ctx context.Context, uri []string) (target, authority string, err error) {
	info, ok := credentials.RequestInfoFromContext(ctx)
	if !ok || len(uri) != 1 {
		return "", "", status.Error(codes.Internal, "clientauth: gRPC does not say what is called")
	}
	u, err := url.Parse(uri[0])
	if err != nil || u.Host == "" {
		return "", "", status.Error(codes.Internal, "clientauth: the authority of the call has no place in a URL")
	}
	authority = strings.TrimSuffix(strings.ToLower(u.Host), ":443")
	return "https://" + authority + info.Method, authority, nil
}

// Proof makes a proof (RFC 9449, section 4.2) for a request with that HTTP method to that URL, which has neither query nor fragment. It is for requests that are not
// gRPC calls, above all the request to the provider for a token, which has no token yet: both it and the nonce may be empty.
func (d *DPoP) Proof(method, target, token, nonce string) (string, error) {
	claims := map[string]any{"jti": rand.Text(), "htm": method, "htu": target, "iat": d.opts.Now().Unix()}
	if token != "" {
		sum := sha256.Sum256([]byte(token))
		claims["ath"] = base64.RawURLEncoding.EncodeToString(sum[:])
	}
	if nonce != "" {
		claims["nonce"] = nonce
	}
	return jws.Sign(d.key, map[string]any{"typ": "dpop+jwt", "jwk": d.jwk}, claims)
}

// learn remembers the nonce that a server wants next. It reports whether it is another one.
func (d *DPoP) learn(authority *string, header metadata.MD) bool {
	values := header.Get("dpop-nonce")
	if authority == nil || len(values) != 1 || !isNonce(values[0]) {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.nonces[*authority] == values[0] {
		return false
	}
	if len(d.nonces) >= maxNonces {
		clear(d.nonces) // whoever is called again says it again
	}
	d.nonces[*authority] = values[0]
	return true
}

// isNonce is NQCHAR of RFC 6749, appendix A, as RFC 9449, section 8.1, has it.
func isNonce(s string) bool {
	return s != "" && len(s) <= 1024 && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' })
}

// wantsNonce reports whether a server refused a call since its proof had no nonce of now.
func wantsNonce(err error, header metadata.MD) bool {
	return status.Code(err) == codes.Unauthenticated &&
		slices.ContainsFunc(header.Get("www-authenticate"), func(challenge string) bool { return strings.Contains(challenge, `error="use_dpop_nonce"`) })
}

// Unary returns an interceptor that remembers the nonces of servers, and makes a call once more if the server wants another nonce.
func (d *DPoP) Unary() grpc.UnaryClientInterceptor {
	return func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		ctx, u := noting(ctx)
		header := metadata.MD{}
		err := invoke(ctx, method, req, reply, cc, append(slices.Clip(opts), grpc.Header(&header))...)
		if !d.learn(u.authority.Load(), header) || !wantsNonce(err, header) {
			return err
		}
		return invoke(ctx, method, req, reply, cc, opts...)
	}
}

// Stream returns an interceptor that remembers the nonces of servers. A stream that is refused for want of one is not opened again: the program does that.
func (d *DPoP) Stream() grpc.StreamClientInterceptor {
	return func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
		ctx, u := noting(ctx)
		stream, err := open(ctx, desc, cc, method, opts...)
		if err != nil {
			return nil, err
		}
		return &dpopStream{ClientStream: stream, d: d, u: u}, nil
	}
}

type dpopStream struct {
	grpc.ClientStream
	d    *DPoP
	u    *used
	once sync.Once
}

// RecvMsg looks at the header once, when it is there.
func (s *dpopStream) RecvMsg(message any) error {
	err := s.ClientStream.RecvMsg(message)
	s.once.Do(func() {
		if header, e := s.Header(); e == nil {
			s.d.learn(s.u.authority.Load(), header)
		}
	})
	return err
}
