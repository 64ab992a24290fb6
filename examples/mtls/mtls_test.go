// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net"
	"strings"
	"testing"
)

const want = `
a workload of the shop         OK               spiffe://example.org/ns/shop/sa/web
a workload of its tests        Unauthenticated  -
a client without certificate   Unavailable      -
the mesh has a new authority   Unauthenticated  -
the same, connected again      OK               spiffe://example.org/ns/shop/sa/web
`

// far accepts connections as if they came from another machine, where TLS is what makes them secure.
type far struct{ net.Listener }

type farConn struct{ net.Conn }

func (f far) Accept() (net.Conn, error) {
	conn, err := f.Listener.Accept()
	return farConn{conn}, err
}

func (farConn) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1} }

func TestRun(t *testing.T) {
	t.Parallel()
	for name, wrap := range map[string]func(net.Listener) net.Listener{
		"loopback": func(l net.Listener) net.Listener { return l }, "another machine": func(l net.Listener) net.Listener { return far{l} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			var out strings.Builder
			if err := run(t.Context(), &out, wrap(listener)); err != nil {
				t.Fatal(err)
			}
			if out.String() != want[1:] {
				t.Errorf("got\n%s, want\n%s", out.String(), want)
			}
		})
	}
}
