// SPDX-License-Identifier: Apache-2.0

package benchmarks

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/bearer"
	"github.com/grpcauth/grpcauth/backends/introspect"
	"github.com/grpcauth/grpcauth/jwks"
)

// opaque is an authorization server on loopback, over TLS as it has to be, that does no more than RFC 7662 demands: it knows its client, reads
// the form, and calls every token active.
func (w *world) opaque(opts bearer.Options) (o op, asked *atomic.Int64) {
	w.Helper()
	asked = &atomic.Int64{}
	idp := httptest.NewTLSServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if id, password, _ := r.BasicAuth(); id != "orders-service" || password != "from+a+vault" || r.PostFormValue("token") == "" {
			rw.WriteHeader(http.StatusUnauthorized)
			return
		}
		rw.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(rw, `{"active":true,"sub":%q,"aud":%q,"scope":"orders.read orders.write","client_id":"web"}`, userName, audience)
	}))
	w.Cleanup(idp.Close)
	backend, err := introspect.New(introspect.Options{
		URL: idp.URL, ClientID: "orders-service", ClientSecret: "from a vault", Audiences: []string{audience}, Client: idp.Client(), Bearer: opts,
	})
	if err != nil {
		w.Fatal(err)
	}
	return w.alone(grpcauth.New(backend).Unary(), "Bearer 2YotnFZFEjr1zCsicMWpAA"), asked
}

// introspection is our interceptor alone with a remembered token, beside a request to the server each time.
func introspection() contest {
	return contest{ready: func(w *world) (ours, peer op) {
		ours, _ = w.opaque(bearer.Options{RememberFor: time.Hour})
		peer, _ = w.opaque(bearer.Options{MaxRemembered: -1})
		return ours, peer
	}}
}

// introspected counts the requests of calls with a remembered token.
func introspected(w *world, e effort) reading {
	w.Helper()
	var requests float64
	w.scoped(func(w *world) {
		o, asked := w.opaque(bearer.Options{RememberFor: time.Hour})
		if err := repeat(o, 1, 1); err != nil {
			w.Fatal(err)
		}
		asked.Store(0)
		if err := repeat(o, e.batch, 1); err != nil {
			w.Fatal(err)
		}
		requests = float64(asked.Load())
	})
	return reading{number(requests), "", "", requests}
}

// usedProofs remembers proofs as a server must, and then takes them again: it would take longer to sign new ones than to check them.
type usedProofs struct {
	mu   sync.Mutex
	seen map[string]time.Time
}

func (u *usedProofs) Use(_ context.Context, key string, until time.Time) (bool, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.seen[key] = until
	return true, nil
}

// possession is our interceptor alone with a remembered token and a proof, beside a bare check of the proof's signature.
func possession() contest {
	return contest{ready: func(w *world) (ours, peer op) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			w.Fatal(err)
		}
		token := w.issuer.Token("ES256", userName, map[string]any{
			"exp": time.Now().Add(time.Hour).Unix(), "cnf": map[string]string{"jkt": jwks.Key{Public: &key.PublicKey}.Thumbprint()},
		})
		published := w.issuer.Published()
		set, err := jwks.Static(published...)
		if err != nil {
			w.Fatal(err)
		}
		opts := w.jwtOptions("ES256", bearer.Options{DPoP: &bearer.DPoP{
			Origins: []string{"https://orders.example.com"}, MaxAge: time.Hour, Replays: &usedProofs{seen: map[string]time.Time{}},
		}})
		opts.Issuers[0].Keys = set
		signed, signature := w.proof(key, token)
		ctx, md := w.incoming("DPoP " + token)
		md.Set("dpop", signed+"."+base64.RawURLEncoding.EncodeToString(signature))
		interceptor, info := grpcauth.New(w.backend(opts)).Unary(), &grpc.UnaryServerInfo{FullMethod: method}
		digest := sha256.Sum256([]byte(signed))
		r, s := new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])
		return opFunc(func() error {
				_, err := interceptor(ctx, nil, info, nothing)
				return err
			}), opFunc(func() error {
				if !ecdsa.Verify(&key.PublicKey, digest[:], r, s) {
					return errors.New("the signature is wrong")
				}
				return nil
			})
	}}
}

// proof signs a proof of possession (RFC 9449, section 4.2).
func (w *world) proof(key *ecdsa.PrivateKey, token string) (signed string, signature []byte) {
	w.Helper()
	point, err := key.PublicKey.Bytes()
	if err != nil {
		w.Fatal(err)
	}
	text := base64.RawURLEncoding.EncodeToString
	hash := sha256.Sum256([]byte(token))
	header := fmt.Sprintf(`{"typ":"dpop+jwt","alg":"ES256","jwk":{"kty":"EC","crv":"P-256","x":%q,"y":%q}}`, text(point[1:33]), text(point[33:]))
	claims := fmt.Sprintf(`{"jti":%q,"htm":"POST","htu":"https://orders.example.com%s","iat":%d,"ath":%q}`, rand.Text(), method, time.Now().Unix(), text(hash[:]))
	signed = text([]byte(header)) + "." + text([]byte(claims))
	digest := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, key, digest[:])
	if err != nil {
		w.Fatal(err)
	}
	return signed, append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
}
