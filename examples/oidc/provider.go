// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

// provider stands in for an identity provider, which yours has already: it publishes a discovery document and keys, and signs tokens.
type provider struct {
	url string

	mu   sync.Mutex
	down bool // guarded by mu, like all below
	keys []*ecdsa.PrivateKey
}

func startProvider(ctx context.Context) (p *provider, stop func() error, err error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	p = &provider{url: "http://" + listener.Addr().String()}
	server := &http.Server{Handler: p, ReadHeaderTimeout: time.Second}
	go func() { _ = server.Serve(listener) }() // ends with stop
	err = p.rotate()
	return p, server.Close, err
}

// rotate replaces the signing key.
func (p *provider) rotate() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keys = append(p.keys, key)
	return err
}

func (p *provider) setDown(down bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = down
}

func (p *provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.down:
		http.Error(w, "out of order", http.StatusInternalServerError)
	case r.URL.Path == "/.well-known/openid-configuration":
		write(w, map[string]any{"issuer": p.url, "jwks_uri": p.url + "/jwks"})
	case r.URL.Path == "/jwks":
		point, err := p.keys[len(p.keys)-1].PublicKey.Bytes()
		if err != nil {
			http.Error(w, "no key", http.StatusInternalServerError)
			return
		}
		write(w, map[string]any{"keys": []map[string]string{{
			"kty": "EC", "crv": "P-256", "kid": p.keyID(), "x": encode(point[1:33]), "y": encode(point[33:]),
		}}})
	default:
		http.NotFound(w, r)
	}
}

func write(w io.Writer, document map[string]any) {
	text, err := json.Marshal(document)
	if err == nil {
		_, err = w.Write(text)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "oidc:", err)
	}
}

// keyID is the ID of the key that signs. The lock is held.
func (p *provider) keyID() string { return fmt.Sprint("key-", len(p.keys)) }

// token signs an access token.
func (p *provider) token(subject, audience string) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	header, err := json.Marshal(map[string]string{"typ": "at+jwt", "alg": "ES256", "kid": p.keyID()})
	if err != nil {
		return "", err
	}
	claims, err := json.Marshal(map[string]any{"iss": p.url, "sub": subject, "aud": audience, "exp": time.Now().Add(time.Minute).Unix()})
	if err != nil {
		return "", err
	}
	signed := encode(header) + "." + encode(claims)
	digest := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, p.keys[len(p.keys)-1], digest[:])
	if err != nil {
		return "", err
	}
	return signed + "." + encode(append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)), nil
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
