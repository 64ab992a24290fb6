// SPDX-License-Identifier: Apache-2.0

package throttle_test

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/realip"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/grpcauth/grpcauth/throttle"
)

var proxies = []netip.Prefix{
	netip.MustParsePrefix("10.1.2.3/8"), // written carelessly
	netip.MustParsePrefix("::ffff:172.16.0.0/108"),
	netip.MustParsePrefix("2001:db8:9::/48"),
}

// from is a call of a peer with metadata.
func from(addr string, pairs ...string) context.Context {
	tcp := net.TCPAddrFromAddrPort(netip.MustParseAddrPort(addr))
	ctx := peer.NewContext(context.Background(), &peer.Peer{Addr: tcp})
	return metadata.NewIncomingContext(ctx, metadata.Pairs(pairs...))
}

const xff = "x-forwarded-for"

func TestAddressIsThatOfTheClient(t *testing.T) {
	t.Parallel()
	l := newLimiter(t, throttle.Options{Proxies: proxies})
	for _, test := range []struct {
		name string
		ctx  context.Context
		want string
	}{
		{"the peer", from("192.0.2.1:5"), "192.0.2.1"},
		{"a peer that is mapped", from("[::ffff:192.0.2.1]:5"), "192.0.2.1"},
		{"a peer with IPv6", from("[2001:db8:1:2:3:4:5:6]:5"), "2001:db8:1:2::/64"},
		{"a peer with a zone", from("[fe80::1%eth0]:5"), "fe80::/64"},
		{"a peer that forges", from("192.0.2.1:5", xff, "203.0.113.7"), "192.0.2.1"},
		{"other headers", from("10.0.0.1:5", "x-real-ip", "203.0.113.7", "forwarded", "for=203.0.113.7", "true-client-ip", "203.0.113.7", "x_forwarded_for", "203.0.113.7"), "10.0.0.1"},
		{"a proxy without the header", from("10.0.0.1:5"), "10.0.0.1"},
		{"a proxy with an empty header", from("10.0.0.1:5", xff, ""), "10.0.0.1"},
		{"a proxy that is mapped", from("[::ffff:10.0.0.1]:5", xff, "203.0.113.7"), "203.0.113.7"},
		{"a proxy of a mapped prefix", from("172.31.0.1:5", xff, "203.0.113.7"), "203.0.113.7"},
		{"a proxy with IPv6", from("[2001:db8:9::1]:5", xff, "203.0.113.7"), "203.0.113.7"},
		{"the client forges", from("10.0.0.1:5", xff, "198.51.100.1, 203.0.113.7"), "203.0.113.7"},
		{"the client forges a proxy", from("10.0.0.1:5", xff, "198.51.100.1, 10.0.0.9, 203.0.113.7"), "203.0.113.7"},
		{"two proxies", from("10.0.0.1:5", xff, "198.51.100.1, 203.0.113.7, 10.0.0.2"), "203.0.113.7"},
		{"several fields", from("10.0.0.1:5", xff, "198.51.100.1", xff, "203.0.113.7,172.16.0.1", xff, "10.0.0.2"), "203.0.113.7"},
		{"proxies alone", from("10.0.0.1:5", xff, "10.0.0.3, 10.0.0.2"), "10.0.0.3"},
		{"not an address", from("10.0.0.1:5", xff, "203.0.113.7, unknown, 10.0.0.2"), "10.0.0.2"},
		{"nothing at the end", from("10.0.0.1:5", xff, "203.0.113.7,"), "10.0.0.1"},
		{"nothing between", from("10.0.0.1:5", xff, "203.0.113.7,,10.0.0.2"), "10.0.0.2"},
		{"an empty field", from("10.0.0.1:5", xff, "203.0.113.7", xff, ""), "10.0.0.1"},
		{"space", from("10.0.0.1:5", xff, " \t203.0.113.7\t , 10.0.0.2"), "203.0.113.7"},
		{"space inside", from("10.0.0.1:5", xff, "203.0.113.7 198.51.100.1"), "10.0.0.1"},
		{"a port", from("10.0.0.1:5", xff, "203.0.113.7:8080, 10.0.0.2:1"), "203.0.113.7"},
		{"IPv6 and a port", from("10.0.0.1:5", xff, "[2001:db8:1:2:3::]:8080"), "2001:db8:1:2::/64"},
		{"IPv6 in brackets", from("10.0.0.1:5", xff, "[2001:db8:1:2:3::]"), "2001:db8:1:2::/64"},
		{"IPv4 in brackets", from("10.0.0.1:5", xff, "[203.0.113.7]"), "10.0.0.1"},
		{"half a bracket", from("10.0.0.1:5", xff, "[2001:db8::1"), "10.0.0.1"},
		{"brackets with text behind", from("10.0.0.1:5", xff, "[2001:db8::1]x"), "10.0.0.1"},
		{"a bad port", from("10.0.0.1:5", xff, "203.0.113.7:99999"), "10.0.0.1"},
		{"a mapped entry", from("10.0.0.1:5", xff, "::ffff:203.0.113.7"), "203.0.113.7"},
		{"a mapped entry that is a proxy", from("10.0.0.1:5", xff, "203.0.113.7, ::ffff:10.0.0.2"), "203.0.113.7"},
		{"a zone", from("10.0.0.1:5", xff, "2001:db8:1:2::7%x"), "2001:db8:1:2::/64"},
		{"a mapped entry with a zone", from("10.0.0.1:5", xff, "::ffff:203.0.113.7%x"), "203.0.113.7"},
		{"a zone to hide that it is a proxy", from("10.0.0.1:5", xff, "203.0.113.7, 2001:db8:9::7%x"), "203.0.113.7"},
		{"leading zeros", from("10.0.0.1:5", xff, "203.0.113.007"), "10.0.0.1"},
		{"a long entry", from("10.0.0.1:5", xff, "2001:db8::1%"+strings.Repeat("x", 1<<20)), "10.0.0.1"},
		{"as many proxies as are followed", from("10.0.0.1:5", xff, "203.0.113.7"+strings.Repeat(",10.0.0.2", 31)), "203.0.113.7"},
		{"more than are followed", from("10.0.0.1:5", xff, "203.0.113.7"+strings.Repeat(",10.0.0.2", 32)), "10.0.0.2"},
		{"a socket", at("unix", "@"), "unix"},
		{"a socket that forges", at("unix", "@", xff, "203.0.113.7"), "unix"},
		{"in memory", at("bufconn", "bufconn"), "bufconn"},
		{"an address of another type", at("tcp", "192.0.2.1:5"), "192.0.2.1"},
		{"no address", peer.NewContext(t.Context(), &peer.Peer{}), "unknown"},
		{"no peer", t.Context(), "unknown"},
	} {
		if got := l.Address(test.ctx); got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
	trustsNobody := newLimiter(t, throttle.Options{})
	if got := trustsNobody.Address(from("10.0.0.1:5", xff, "203.0.113.7")); got != "10.0.0.1" {
		t.Errorf("without Proxies: got %q", got)
	}
}

// address is a net.Addr.
type address struct{ network, text string }

func (a address) Network() string { return a.network }
func (a address) String() string  { return a.text }

func at(network, text string, pairs ...string) context.Context {
	ctx := peer.NewContext(context.Background(), &peer.Peer{Addr: address{network, text}})
	return metadata.NewIncomingContext(ctx, metadata.Pairs(pairs...))
}

func TestProxiesAreNotChangedLater(t *testing.T) {
	t.Parallel()
	mine := slices.Clone(proxies)
	l := newLimiter(t, throttle.Options{Proxies: mine})
	mine[0] = netip.MustParsePrefix("192.0.2.0/24")
	if got := l.Address(from("192.0.2.1:5", xff, "203.0.113.7")); got != "192.0.2.1" {
		t.Errorf("got %q", got)
	}
	if mine[1] != proxies[1] {
		t.Error("the caller's prefixes were changed")
	}
}

// Why go-grpc-middleware's realip is not used. Each line is a call for which it names something that a client may choose, or a proxy
// where a client is known; an entry of the attacker's choice is a limit that she has for herself.
func TestRealIPIsNotEnough(t *testing.T) {
	t.Parallel()
	masked := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8:9::/48")}
	l := newLimiter(t, throttle.Options{Proxies: masked})
	middleware := realip.UnaryServerInterceptorOpts(realip.WithTrustedPeers(masked), realip.WithTrustedProxies(masked), realip.WithHeaders([]string{realip.XForwardedFor}))
	for _, test := range []struct {
		name         string
		ctx          context.Context
		theirs, ours string
	}{
		{"reads the first of several fields, which is the client's", from("10.0.0.1:5", xff, "198.51.100.1", xff, "203.0.113.7"), "198.51.100.1", "203.0.113.7"},
		{"does not know a mapped proxy", from("10.0.0.1:5", xff, "203.0.113.7, ::ffff:10.0.0.2"), "::ffff:10.0.0.2", "203.0.113.7"},
		{"does not know a proxy with a zone", from("10.0.0.1:5", xff, "203.0.113.7, 2001:db8:9::7%x"), "2001:db8:9::7%x", "203.0.113.7"},
		{"tells zones apart, which are the client's to choose", from("10.0.0.1:5", xff, "2001:db8:1:2::7%x"), "2001:db8:1:2::7%x", "2001:db8:1:2::/64"},
		{"tells the addresses of one client apart", from("10.0.0.1:5", xff, "2001:db8:1:2::7"), "2001:db8:1:2::7", "2001:db8:1:2::/64"},
		{"does not know ports", from("10.0.0.1:5", xff, "203.0.113.7:8080"), "10.0.0.1", "203.0.113.7"},
		{"forgets the last hop that is known", from("10.0.0.1:5", xff, "unknown, 10.0.0.2"), "10.0.0.1", "10.0.0.2"},
		{"agrees on the rest", from("10.0.0.1:5", xff, "198.51.100.1, 203.0.113.7, 10.0.0.2"), "203.0.113.7", "203.0.113.7"},
	} {
		var theirs string
		_, err := middleware(test.ctx, nil, nil, func(ctx context.Context, _ any) (any, error) {
			ip, _ := realip.FromContext(ctx)
			theirs = ip.String()
			return nil, nil
		})
		if ours := l.Address(test.ctx); err != nil || theirs != test.theirs || ours != test.ours {
			t.Errorf("%s: realip says %q and %v, want %q; this package %q, want %q", test.name, theirs, err, test.theirs, ours, test.ours)
		}
	}
}

// FuzzForwardedFor compares with what the rule says: of all entries, the right-most that is no proxy, if nothing right of it is malformed.
func FuzzForwardedFor(f *testing.F) {
	for _, fields := range [][2]string{
		{"203.0.113.7", ""},
		{"198.51.100.1, 203.0.113.7", "10.0.0.2"},
		{"", "203.0.113.7,"},
		{"10.0.0.2,10.0.0.3", "2001:db8:9::1"},
		{"[2001:db8::1]:80", "::ffff:10.0.0.1"},
		{"unknown", "fe80::1%eth0,10.0.0.1:99999"},
		{strings.Repeat("10.0.0.1,", 40), ",,,"},
		{"\x00", "10.0.0.1\n203.0.113.7"},
	} {
		f.Add(fields[0], fields[1])
	}
	l, err := throttle.New(throttle.Options{Proxies: proxies})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, first, second string) {
		got := l.Address(from("10.0.0.1:5", xff, first, xff, second))
		if want := oracle([]string{first, second}); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if got := l.Address(from("192.0.2.1:5", xff, first, xff, second)); got != "192.0.2.1" {
			t.Errorf("got %q of a peer that is no proxy", got)
		}
	})
}

// oracle goes from the left, and forgets what it thought of the client whenever something is right of it that must not be.
func oracle(fields []string) string {
	entries := strings.Split(strings.Join(fields, ","), ",")
	entries = append([]string{"malformed"}, entries...)
	entries = append(entries, "10.0.0.1")
	entries = entries[max(0, len(entries)-33):]
	var client netip.Addr
	for _, entry := range entries {
		ip := plain(strings.Trim(entry, " \t"))
		if !client.IsValid() || !trusted(ip) { // also if ip is none: what stands left of it counts for nothing
			client = ip
		}
	}
	if client.Is6() {
		p, _ := client.Prefix(64)
		return p.String()
	}
	return client.String()
}

func trusted(ip netip.Addr) bool {
	return ip.Is4() && (ip.As4()[0] == 10 || ip.As4()[0] == 172 && ip.As4()[1]&0xf0 == 16) ||
		ip.Is6() && netip.MustParsePrefix("2001:db8:9::/48").Contains(ip)
}

// plain reads an address with or without a port.
func plain(text string) netip.Addr {
	if len(text) > 64 {
		return netip.Addr{}
	}
	ip, err := netip.ParseAddr(text)
	if err != nil {
		var ap netip.AddrPort
		if ap, err = netip.ParseAddrPort(text); err != nil && strings.HasSuffix(text, "]") {
			ap, err = netip.ParseAddrPort(text + ":0")
		}
		ip = ap.Addr()
	}
	if err != nil {
		return netip.Addr{}
	}
	return ip.WithZone("").Unmap()
}
