// SPDX-License-Identifier: Apache-2.0

package mtls_test

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"testing"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/mtls"
	"github.com/grpcauth/grpcauth/grpcauthtest"
)

// foreign is an AuthInfo that hides what is in it, as go-spiffe's does.
type foreign struct{ info credentials.TLSInfo }

func (foreign) AuthType() string { return "foreign" }

// unwrap is Options.Peer for it.
func unwrap(p *peer.Peer) ([]*x509.Certificate, bool) {
	hidden, ok := p.AuthInfo.(foreign)
	return hidden.info.State.PeerCertificates, ok
}

func TestIdentityComesFromTheLeafThatTheTLSStackVerified(t *testing.T) {
	t.Parallel()
	ca := grpcauthtest.NewCA(t)
	leaf, other := issue(t, ca, orders), issue(t, ca, "spiffe://example.org/other")
	stranger := issue(t, grpcauthtest.NewCA(t), orders)
	type chain = []*x509.Certificate
	state := func(shown chain, verified ...chain) credentials.TLSInfo {
		return credentials.TLSInfo{State: tls.ConnectionState{PeerCertificates: shown, VerifiedChains: verified}}
	}
	b := newBackend(t, ca, mtls.Options{})
	for name, test := range map[string]struct {
		info credentials.AuthInfo
		want string
	}{
		"verified":                                 {verified(leaf, ca.Certificate), orders},
		"the first chain of several":               {state(chain{leaf}, chain{leaf, ca.Certificate}, chain{other}), orders},
		"another's certificate behind it":          {state(chain{leaf, other}, chain{leaf, ca.Certificate}), orders},
		"no TLS":                                   {nil, missing},
		"an unknown AuthInfo":                      {foreign{verified(leaf, ca.Certificate)}, missing},
		"TLS without a certificate":                {credentials.TLSInfo{}, missing},
		"not verified":                             {state(chain{leaf}), refused},
		"verified as nothing":                      {state(chain{leaf}, chain{}), refused},
		"verified as nothing, then as itself":      {state(chain{leaf}, chain{}, chain{leaf}), refused},
		"another was verified":                     {state(chain{leaf}, chain{other, ca.Certificate}), refused},
		"verified as well, but first as another":   {state(chain{leaf}, chain{other}, chain{leaf, ca.Certificate}), refused},
		"verified without being shown":             {state(nil, chain{leaf, ca.Certificate}), refused},
		"shown behind another":                     {state(chain{other, leaf}, chain{leaf, ca.Certificate}), refused},
		"verified by the TLS stack, but not by us": {verified(stranger), refused},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			expect(t, b, test.info, test.want)
		})
	}
	t.Run("no peer", func(t *testing.T) {
		t.Parallel()
		if got := answer(b.Authenticate(t.Context(), grpcauth.NewRequest(t.Context(), method))); got != missing {
			t.Errorf("got %s, want %s", got, missing)
		}
	})
}

func TestRefusesCertificatesThatAreNotGoodClientCertificates(t *testing.T) {
	t.Parallel()
	ca, stranger := grpcauthtest.NewCA(t), grpcauthtest.NewCA(t)
	day := func(days int) time.Time { return now(ca).AddDate(0, 0, days) }
	made := func(change func(*x509.Certificate)) []*x509.Certificate {
		template := workload(t, orders)
		if change != nil {
			change(&template)
		}
		return []*x509.Certificate{ca.Issue(template).Leaf}
	}
	authority := func(change func(*x509.Certificate)) tls.Certificate {
		template := x509.Certificate{Subject: pkix.Name{CommonName: "intermediate"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
		if change != nil {
			change(&template)
		}
		return ca.Issue(template)
	}
	under := func(issuer tls.Certificate) []*x509.Certificate {
		return []*x509.Certificate{issueUnder(t, issuer, workload(t, orders)).Leaf, issuer.Leaf}
	}
	intermediate := authority(nil)
	self := selfSigned(t, workload(t, orders)).Leaf
	type cert = x509.Certificate
	for name, test := range map[string]struct {
		chain []*x509.Certificate
		want  string
		// elsewhere is the answer where Options.Peer vouches for the chain.
		elsewhere string
	}{
		"good":                             {made(nil), orders, orders},
		"good, for clients alone":          {made(func(c *cert) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }), orders, orders},
		"good, for any usage":              {made(func(c *cert) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} }), orders, orders},
		"good, for no usage in particular": {made(func(c *cert) { c.ExtKeyUsage = []x509.ExtKeyUsage{} }), orders, orders},
		"good, of an intermediate":         {under(intermediate), orders, orders},

		"intermediate not sent":    {under(intermediate)[:1], refused, orders},
		"other authority":          {[]*cert{issue(t, stranger, orders)}, refused, orders},
		"other authority, sent":    {[]*cert{issue(t, stranger, orders), stranger.Certificate}, refused, orders},
		"self-signed":              {[]*cert{self}, refused, orders},
		"expired":                  {made(func(c *cert) { c.NotBefore, c.NotAfter = day(-2), day(-1) }), refused, expired}, // before its authority was valid
		"expired and a stranger's": {[]*cert{stranger.Issue(x509.Certificate{URIs: workload(t, orders).URIs, NotAfter: now(ca).Add(-time.Minute)}).Leaf}, refused, expired},
		"expired, just now":        {made(func(c *cert) { c.NotAfter = now(ca).Add(-time.Second) }), expired, expired},
		"expires at this moment":   {made(func(c *cert) { c.NotAfter = now(ca) }), expired, expired},
		"expired, without a name":  {[]*cert{ca.Issue(x509.Certificate{NotAfter: now(ca).Add(-time.Second)}).Leaf}, refused, refused},
		"not valid yet":            {made(func(c *cert) { c.NotBefore = now(ca).Add(time.Second) }), refused, refused},
		"of an expired intermediate": {
			under(authority(func(c *cert) { c.NotAfter = now(ca).Add(-time.Second) })), refused, expired,
		},
		"of an intermediate of the future": {
			under(authority(func(c *cert) { c.NotBefore = now(ca).Add(time.Second) })), refused, refused,
		},
		"for servers alone": {made(func(c *cert) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }), refused, refused},
		"for an unknown usage": {made(func(c *cert) {
			c.ExtKeyUsage, c.UnknownExtKeyUsage = []x509.ExtKeyUsage{}, []asn1.ObjectIdentifier{{1, 2, 3}}
		}), refused, refused},
		"authority for servers":  {under(authority(func(c *cert) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })), refused, orders},
		"an authority":           {made(func(c *cert) { c.IsCA, c.BasicConstraintsValid = true, true }), refused, refused},
		"may sign certificates":  {made(func(c *cert) { c.KeyUsage = x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign }), refused, refused},
		"may sign lists":         {made(func(c *cert) { c.KeyUsage = x509.KeyUsageDigitalSignature | x509.KeyUsageCRLSign }), refused, refused},
		"issued by no authority": {under(ca.Issue(workload(t, "spiffe://example.org/leaf"))), refused, orders},
		"an unknown critical extension": {
			made(func(c *cert) {
				c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}}}
			}), refused, orders,
		},
		"a name that its authority may not give": {
			under(authority(func(c *cert) {
				c.PermittedURIDomains, c.PermittedDNSDomainsCritical = []string{"team.example.org"}, true
			})), refused, orders,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			clock := grpcauthtest.NewClock(now(ca))
			pool := ca.Pool()
			roots := func() *x509.CertPool { return pool }
			for _, way := range []struct {
				opts mtls.Options
				info credentials.AuthInfo
				want string
			}{
				{mtls.Options{Roots: roots}, verified(test.chain...), test.want},
				{mtls.Options{Roots: roots, MaxRemembered: -1}, verified(test.chain...), test.want},
				{mtls.Options{Roots: roots, Peer: unwrap}, foreign{verified(test.chain...)}, test.want},
				{mtls.Options{Peer: unwrap}, foreign{verified(test.chain...)}, test.elsewhere},
			} {
				way.opts.Now = clock.Now
				b := newBackend(t, ca, way.opts)
				for range 2 { // looked at, and perhaps remembered
					expect(t, b, way.info, way.want)
				}
			}
		})
	}
}

func TestAuthorityNamesNobody(t *testing.T) {
	t.Parallel()
	ca := grpcauthtest.NewCA(t)
	leaf := issue(t, ca, orders)
	pool := ca.Pool()
	pool.AddCert(leaf)
	b := newBackend(t, ca, mtls.Options{Roots: func() *x509.CertPool { return pool }})
	expect(t, b, verified(leaf), refused)
	expect(t, b, verified(issue(t, ca, orders)), orders)
}

func TestCertificateExpiresOnAnOpenConnection(t *testing.T) {
	t.Parallel()
	ca := grpcauthtest.NewCA(t)
	template := workload(t, orders)
	template.NotBefore, template.NotAfter = now(ca), now(ca).Add(time.Minute)
	info := verified(ca.Issue(template).Leaf)
	for name, opts := range map[string]mtls.Options{"verified again": {}, "remembered by nobody": {MaxRemembered: -1}, "verified elsewhere": {Peer: func(*peer.Peer) ([]*x509.Certificate, bool) {
		return info.State.PeerCertificates, true
	}}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			clock := grpcauthtest.NewClock(now(ca))
			opts.Now = clock.Now
			b := newBackend(t, ca, opts)
			for _, step := range []struct {
				by   time.Duration
				want string
			}{{0, orders}, {-time.Nanosecond, refused}, {time.Nanosecond, orders}, {59 * time.Second, orders}, {time.Second - time.Nanosecond, orders}, {time.Nanosecond, expired}, {time.Hour, expired}} {
				clock.Advance(step.by)
				expect(t, b, info, step.want)
			}
			clock.Advance(-2*time.Hour - time.Minute)
			expect(t, b, info, refused) // the clock was set back to before the certificate
		})
	}
}

func TestUserExpiresWithTheFirstCertificateOfTheBestChain(t *testing.T) {
	t.Parallel()
	ca := grpcauthtest.NewCA(t)
	in := func(minutes int) time.Time { return now(ca).Add(time.Duration(minutes) * time.Minute) }
	authority := x509.Certificate{Subject: pkix.Name{CommonName: "root"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, NotAfter: in(20)}
	root := ca.Issue(authority)
	authority.Subject.CommonName, authority.NotAfter = "intermediate", in(10)
	short := issueUnder(t, root, authority)
	again := *short.Leaf
	again.NotAfter = in(15)
	long := sign(t, root, &again, short.Leaf.PublicKey)
	leafUnder := func(issuer tls.Certificate, notAfter time.Time) *x509.Certificate {
		template := workload(t, orders)
		template.NotAfter = notAfter
		return issueUnder(t, issuer, template).Leaf
	}
	pool := x509.NewCertPool()
	pool.AddCert(root.Leaf)
	type chain = []*x509.Certificate
	for name, test := range map[string]struct {
		chain chain
		want  time.Time
	}{
		"the leaf":               {chain{leafUnder(short, in(9)), short.Leaf}, in(9)},
		"the intermediate":       {chain{leafUnder(short, in(30)), short.Leaf}, in(10)},
		"the better of two":      {chain{leafUnder(short, in(30)), short.Leaf, long}, in(15)},
		"the better, sent first": {chain{leafUnder(short, in(30)), long, short.Leaf}, in(15)},
		"the authority":          {chain{leafUnder(root, in(30))}, in(20)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			clock := grpcauthtest.NewClock(now(ca))
			b := newBackend(t, ca, mtls.Options{Now: clock.Now, Roots: func() *x509.CertPool { return pool }})
			for range 2 {
				if user := accept(t, b, verified(test.chain...)); !user.Expiry.Equal(test.want) {
					t.Errorf("got %v, want %v", user.Expiry, test.want)
				}
			}
			clock.Advance(test.want.Sub(now(ca)))
			if got := call(t, b, verified(test.chain...)); got != expired && got != refused {
				t.Errorf("got %s after the end", got)
			}
		})
	}
}
