// SPDX-License-Identifier: Apache-2.0

package origin_test

import (
	"context"
	"fmt"
	"net"
	"testing"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/grpcauth/grpcauth/internal/origin"
)

func Example() {
	far := &peer.Peer{Addr: &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1)}}
	near := &peer.Peer{Addr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}}
	ctx := context.Background()
	fmt.Println(origin.Confidential(peer.NewContext(ctx, far)), origin.Confidential(peer.NewContext(ctx, near)))
	// Output: false true
}

// addr is an address of any network, as the http.Handler transport has it.
type addr struct{ network, text string }

func (a addr) Network() string { return a.network }
func (a addr) String() string  { return a.text }

// foreign is an AuthInfo of which nothing is known.
type foreign struct{}

func (foreign) AuthType() string { return "foreign" }

func level(l credentials.SecurityLevel) credentials.AuthInfo {
	return credentials.TLSInfo{CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: l}}
}

func TestConfidential(t *testing.T) {
	t.Parallel()
	far := &net.TCPAddr{IP: net.ParseIP("192.0.2.1"), Port: 1}
	for name, c := range map[string]struct {
		peer *peer.Peer
		want bool
	}{
		"far, plaintext":            {&peer.Peer{Addr: far}, false},
		"far, TLS":                  {&peer.Peer{Addr: far, AuthInfo: level(credentials.PrivacyAndIntegrity)}, true},
		"far, integrity only":       {&peer.Peer{Addr: far, AuthInfo: level(credentials.IntegrityOnly)}, false},
		"far, level not set":        {&peer.Peer{Addr: far, AuthInfo: level(0)}, false},
		"far, unknown AuthInfo":     {&peer.Peer{Addr: far, AuthInfo: foreign{}}, false},
		"IPv4 loopback":             {&peer.Peer{Addr: &net.TCPAddr{IP: net.ParseIP("127.0.0.9")}}, true},
		"IPv6 loopback":             {&peer.Peer{Addr: &net.TCPAddr{IP: net.IPv6loopback}}, true},
		"mapped loopback":           {&peer.Peer{Addr: addr{"tcp", "[::ffff:127.0.0.1]:1"}}, true},
		"private network":           {&peer.Peer{Addr: &net.TCPAddr{IP: net.ParseIP("10.0.0.1")}}, false},
		"unspecified":               {&peer.Peer{Addr: &net.TCPAddr{}}, false},
		"unix socket":               {&peer.Peer{Addr: &net.UnixAddr{Name: "@", Net: "unix"}}, true},
		"in memory":                 {&peer.Peer{Addr: addr{"bufconn", "bufconn"}}, true},
		"pipe":                      {&peer.Peer{Addr: addr{"pipe", "pipe"}}, true},
		"HTTP handler, loopback":    {&peer.Peer{Addr: addr{"tcp", "127.0.0.1:1"}}, true},
		"HTTP handler, far":         {&peer.Peer{Addr: addr{"tcp", "192.0.2.1:1"}}, false},
		"a name is not an address":  {&peer.Peer{Addr: addr{"tcp", "localhost:1"}}, false},
		"an unknown kind":           {&peer.Peer{Addr: addr{"", ""}}, false},
		"a peer without an address": {&peer.Peer{}, false},
	} {
		if got := origin.Confidential(peer.NewContext(t.Context(), c.peer)); got != c.want {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
	if origin.Confidential(t.Context()) {
		t.Error("no peer: got true")
	}
}
