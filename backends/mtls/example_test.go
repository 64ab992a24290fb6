// SPDX-License-Identifier: Apache-2.0

package mtls_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/big"
	"net/url"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/mtls"
)

func Example() {
	authority, key := certify(&x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, nil, nil)
	authorities := x509.NewCertPool()
	authorities.AddCert(authority)
	backend, err := mtls.New(mtls.Options{
		Roots: func() *x509.CertPool { return authorities }, // or what is read from a file again when it changes
		Allow: []string{"spiffe://example.org/ns/shop/**"},
		Map: func(_ *x509.Certificate, id mtls.ID) (*grpcauth.User, error) {
			return &grpcauth.User{Name: id.Path(), Scopes: []string{"orders.read"}}, nil
		},
	})
	if err != nil {
		panic(err)
	}

	for _, path := range []string{"/ns/shop/sa/web", "/ns/shop-test/sa/web"} {
		uri := &url.URL{Scheme: "spiffe", Host: "example.org", Path: path}
		leaf, _ := certify(&x509.Certificate{URIs: []*url.URL{uri}}, authority, key)
		user, err := backend.Authenticate(context.Background(), over(leaf, authority))
		if err != nil {
			fmt.Println(grpcauth.CodeOf(err))
			continue
		}
		fmt.Println(user.ID, user.Name, user.Scopes, user.Method)
	}
	// Output:
	// spiffe://example.org/ns/shop/sa/web /ns/shop/sa/web [orders.read] mtls
	// CREDENTIALS_INVALID
}

// over is a call over a connection whose client showed this certificate.
func over(chain ...*x509.Certificate) *grpcauth.Request {
	info := credentials.TLSInfo{State: tls.ConnectionState{PeerCertificates: chain[:1], VerifiedChains: [][]*x509.Certificate{chain}}}
	return grpcauth.NewRequest(peer.NewContext(context.Background(), &peer.Peer{AuthInfo: info}), "/shop.v1.Orders/Get")
}

// certify issues a certificate for a new key, signed by the parent's key, or by its own if there is no parent.
func certify(template, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	template.SerialNumber, template.NotBefore, template.NotAfter = big.NewInt(1), time.Now().Add(-time.Minute), time.Now().Add(time.Hour)
	if parent == nil {
		parent, parentKey = template, key
	}
	der, _ := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, parentKey)
	made, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return made, key
}
