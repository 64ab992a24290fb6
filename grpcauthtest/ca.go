// SPDX-License-Identifier: Apache-2.0

package grpcauthtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"testing"
	"time"
)

// CA is a certificate authority that lives for one test.
type CA struct {
	// Certificate is the authority's own.
	Certificate *x509.Certificate

	tb  testing.TB
	key *ecdsa.PrivateKey
}

// NewCA returns a new authority. Its certificates are valid for an hour around the time of the machine.
func NewCA(tb testing.TB) *CA {
	tb.Helper()
	ca := &CA{tb: tb}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "grpcauthtest"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := ca.issue(template)
	ca.Certificate, ca.key = leaf.Leaf, leaf.PrivateKey.(*ecdsa.PrivateKey) //nolint:errcheck // issue makes no other
	return ca
}

// Issue returns a certificate made from the template, whose serial number and, if they are zero, validity and key usages for both ends are filled in.
func (ca *CA) Issue(template x509.Certificate) tls.Certificate {
	ca.tb.Helper()
	if template.KeyUsage == 0 {
		template.KeyUsage = x509.KeyUsageDigitalSignature
	}
	if template.ExtKeyUsage == nil {
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	}
	return ca.issue(&template)
}

func (ca *CA) issue(template *x509.Certificate) tls.Certificate {
	ca.tb.Helper()
	check := func(err error) {
		if err != nil {
			ca.tb.Fatalf("grpcauthtest: %v", err)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(err)
	template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	check(err)
	if template.NotBefore.IsZero() {
		template.NotBefore = time.Now().Add(-30 * time.Minute)
	}
	if template.NotAfter.IsZero() {
		template.NotAfter = time.Now().Add(30 * time.Minute)
	}
	parent, signer := ca.Certificate, ca.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	check(err)
	leaf, err := x509.ParseCertificate(der)
	check(err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// Pool holds the authority alone.
func (ca *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.Certificate)
	return pool
}

// ServerTLS is for a server named "server.test" that verifies client certificates of the authority where a client has one.
func (ca *CA) ServerTLS() *tls.Config {
	ca.tb.Helper()
	return &tls.Config{
		Certificates: []tls.Certificate{ca.Issue(x509.Certificate{DNSNames: []string{"server.test"}})},
		ClientCAs:    ca.Pool(), ClientAuth: tls.VerifyClientCertIfGiven, MinVersion: tls.VersionTLS13,
	}
}

// ClientTLS is for clients of a server named "server.test" that show the certificates, if any.
func (ca *CA) ClientTLS(certificates ...tls.Certificate) *tls.Config {
	return &tls.Config{RootCAs: ca.Pool(), ServerName: "server.test", Certificates: certificates, MinVersion: tls.VersionTLS13}
}
