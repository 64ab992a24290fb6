// SPDX-License-Identifier: Apache-2.0

package mtls_test

import (
	"context"
	"crypto/x509"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/mtls"
	"github.com/grpcauth/grpcauth/grpcauthtest"
)

// watch makes calls by way of an interceptor, which sees whether a verdict came from memory.
func watch(b grpcauth.Backend, opts ...grpcauth.Option) func(testing.TB, credentials.AuthInfo) (answer string, remembered bool) {
	var last grpcauth.Event
	auth := grpcauth.New(b, append(opts, grpcauth.InsecureAllowPlaintext(), grpcauth.WithObserver(grpcauth.ObserverFunc(func(_ context.Context, e grpcauth.Event) { last = e })))...)
	return func(tb testing.TB, info credentials.AuthInfo) (string, bool) {
		tb.Helper()
		_, _ = auth.Authenticate(peer.NewContext(tb.Context(), &peer.Peer{Addr: &net.TCPAddr{}, AuthInfo: info}), method)
		return answer(last.User, last.Err), last.Remembered
	}
}

func TestCertificateIsVerifiedOnceForEachPool(t *testing.T) {
	t.Parallel()
	ca, next := grpcauthtest.NewCA(t), grpcauthtest.NewCA(t)
	old, fresh := verified(issue(t, ca, orders)), verified(issue(t, next, "spiffe://example.org/fresh"))
	both := ca.Pool()
	both.AddCert(next.Certificate)
	first, second, third, again := ca.Pool(), both, next.Pool(), ca.Pool()
	var pool *x509.CertPool
	look := watch(newBackend(t, ca, mtls.Options{Roots: func() *x509.CertPool { return pool }}))
	for i, step := range []struct {
		pool       *x509.CertPool
		info       credentials.TLSInfo
		want       string
		remembered bool
	}{
		{first, old, orders, false},
		{first, old, orders, true},
		{first, fresh, refused, false},
		{first, fresh, refused, false},
		{second, old, orders, false},
		{second, old, orders, true},
		{second, fresh, "spiffe://example.org/fresh", false},
		{second, fresh, "spiffe://example.org/fresh", true},
		{third, old, refused, false},
		{third, old, refused, false},
		{third, fresh, "spiffe://example.org/fresh", false},
		{nil, fresh, undecided, false},
		{nil, old, undecided, false},
		{x509.NewCertPool(), fresh, refused, false},
		{again, old, orders, false},
		{again, fresh, refused, false},
		{third, fresh, "spiffe://example.org/fresh", true},
	} {
		pool = step.pool
		if got, remembered := look(t, step.info); got != step.want || remembered != step.remembered {
			t.Errorf("step %d: got %s, remembered: %v, want %s, %v", i, got, remembered, step.want, step.remembered)
		}
	}
}

func TestRemembersABoundedNumberOfCertificates(t *testing.T) {
	t.Parallel()
	ca := grpcauthtest.NewCA(t)
	leaves := make([]credentials.TLSInfo, 30)
	for i := range leaves {
		leaves[i] = verified(issue(t, ca, orders))
	}
	for limit, bounds := range map[int][2]int{-1: {0, 0}, 1: {1, 1}, 8: {8, 8}, 0: {30, 30}} {
		look := watch(newBackend(t, ca, mtls.Options{MaxRemembered: limit}))
		remembered := 0
		for range 2 {
			remembered = 0
			for _, info := range leaves {
				if got, known := look(t, info); got != orders {
					t.Errorf("got %s", got)
				} else if known {
					remembered++
				}
			}
			slices.Reverse(leaves) // so that the newest are looked for first
		}
		if remembered < bounds[0] || remembered > bounds[1] {
			t.Errorf("limit %d: %d are remembered, want %d", limit, remembered, bounds)
		}
	}
}

func TestCertificatesVerifiedElsewhereAreLookedAtEachTime(t *testing.T) {
	t.Parallel()
	ca := grpcauthtest.NewCA(t)
	look, info := watch(newBackend(t, ca, mtls.Options{Peer: unwrap})), foreign{verified(issue(t, ca, orders))}
	for range 3 {
		if got, remembered := look(t, info); got != orders || remembered {
			t.Errorf("got %s, remembered: %v", got, remembered)
		}
	}
}

// One certificate is many callers' at once while its authority comes and goes; each is judged by the pool of its own moment.
func TestManyCallsAtOnce(t *testing.T) {
	t.Parallel()
	ca, other := grpcauthtest.NewCA(t), grpcauthtest.NewCA(t)
	var pool atomic.Pointer[x509.CertPool]
	pool.Store(ca.Pool())
	clock := grpcauthtest.NewClock(now(ca))
	b := newBackend(t, ca, mtls.Options{Roots: pool.Load, Now: clock.Now, MaxRemembered: 2, Map: func(_ *x509.Certificate, id mtls.ID) (*grpcauth.User, error) {
		return &grpcauth.User{Name: id.Path(), Scopes: []string{"a"}}, nil
	}})
	var ids [4]credentials.TLSInfo
	var want [4]string
	for i := range ids {
		want[i] = "spiffe://example.org/" + string(rune('a'+i))
		ids[i] = verified(issue(t, ca, want[i]))
	}
	var group sync.WaitGroup
	for worker := range 8 {
		group.Go(func() {
			for i := range 200 {
				k := (worker + i) % len(ids)
				user, err := b.Authenticate(t.Context(), request(t, ids[k]))
				switch {
				case err != nil && answer(nil, err) != refused:
					t.Error(err)
				case err == nil && (user.ID != want[k] || user.Scopes[0] != "a"):
					t.Errorf("got %+v, want %s", user, want[k])
				case err == nil:
					user.Scopes[0], user.ID = "changed", "changed"
				}
			}
		})
	}
	for i := range 50 {
		pool.Store([]*x509.CertPool{ca.Pool(), other.Pool()}[i%2])
		clock.Advance(time.Millisecond)
	}
	pool.Store(other.Pool())
	expect(t, b, ids[0], refused) // once the authority is gone, no call in flight may bring it back
	group.Wait()
	for i := range ids {
		expect(t, b, ids[i], refused)
	}
}
