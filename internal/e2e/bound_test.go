// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"net/http"
	"testing"

	"google.golang.org/grpc/credentials"

	"github.com/grpcauth/grpcauth/backends/bearer"
	"github.com/grpcauth/grpcauth/backends/jwt"
	"github.com/grpcauth/grpcauth/grpcauthtest"
	"github.com/grpcauth/grpcauth/jwks"
)

// showing lets a client of the provider show a certificate, as a proxy in front of the provider would.
func showing(cert tls.Certificate) func(*http.Request) {
	return func(req *http.Request) {
		req.Header.Set("X-Certificate", base64.StdEncoding.EncodeToString(cert.Certificate[0]))
	}
}

// trustBound returns a backend that takes the provider's tokens and is told more of how.
func (p *provider) trustBound(t *testing.T, opts bearer.Options) *bearer.Backend {
	t.Helper()
	backend, err := jwt.New(jwt.Options{Bearer: opts, Issuers: []jwt.Issuer{{
		URL: p.issuer, Audiences: []string{audience}, Algorithms: []string{"ES256"}, Keys: p.remote(t, jwks.Options{}),
	}}})
	check(t, err)
	return backend
}

func TestTokenBoundToACertificateIsWorthNothingWithout(t *testing.T) {
	t.Parallel()
	p := start(t, newClient("workload", client{"tls_client_certificate_bound_access_tokens": true}))
	ca := grpcauthtest.NewCA(t)
	own, another := ca.Issue(x509.Certificate{DNSNames: []string{"own.test"}}), ca.Issue(x509.Certificate{DNSNames: []string{"own.test"}})
	bound := p.token(t, resource("jwt/ES256"), as("workload"), showing(own))
	unbound := p.token(t, resource("jwt/ES256"))

	open := serve(t, p.trustBound(t, bearer.Options{}), credentials.NewTLS(ca.ServerTLS()))
	strict := serve(t, p.trustBound(t, bearer.Options{RequireBinding: true}), credentials.NewTLS(ca.ServerTLS()))
	plain := serve(t, p.trustBound(t, bearer.Options{}), nil)
	withOwn, withAnother, without := credentials.NewTLS(ca.ClientTLS(own)), credentials.NewTLS(ca.ClientTLS(another)), credentials.NewTLS(ca.ClientTLS())
	for name, c := range map[string]struct {
		address     string
		creds       credentials.TransportCredentials
		token, want string
	}{
		"its certificate":                  {open, withOwn, bound, "workload"},
		"another certificate":              {open, withAnother, bound, invalid},
		"no certificate":                   {open, without, bound, invalid},
		"plaintext":                        {plain, nil, bound, invalid},
		"not bound":                        {open, without, unbound, "alice"},
		"not bound, with a certificate":    {open, withOwn, unbound, "alice"},
		"binding required":                 {strict, withOwn, bound, "workload"},
		"binding required, another":        {strict, withAnother, bound, invalid},
		"binding required and not there":   {strict, withOwn, unbound, invalid},
		"binding required, no certificate": {strict, without, unbound, invalid},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := dial(t, c.address, c.creds)
			for range 2 { // the second time the token is remembered
				expect(t, client, c.token, c.want)
			}
		})
	}
}
