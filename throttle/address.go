// SPDX-License-Identifier: Apache-2.0

package throttle

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
)

// maxHops is how many entries of x-forwarded-for are read at the most.
const maxHops = 32

// checkProxies returns the prefixes as addresses are compared with them.
func checkProxies(proxies []netip.Prefix) ([]netip.Prefix, error) {
	proxies = slices.Clone(proxies)
	for i, p := range proxies {
		if p.Addr().Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		switch {
		case !p.IsValid() || p.Addr().Is4In6():
			return nil, fmt.Errorf(`throttle: Options.Proxies: the prefix number %d is not valid: write one like netip.MustParsePrefix("10.0.0.0/8")`, i+1)
		case p.Bits() == 0:
			return nil, fmt.Errorf("throttle: Options.Proxies: %v is everybody, who could then say that she is anybody: write the addresses of the proxies", p)
		}
		proxies[i] = p.Masked()
	}
	return proxies, nil
}

// Address returns the address of the client that makes a call, as [Limiter.Reserve], [Limiter.Blocked] and [Limiter.Fail] want it: its
// IPv4 address, or the first 64 bits of its IPv6 address, since whoever has one address of those has all of them. A peer that has no such address is
// its network, such as "unix" or "bufconn".
//
// That is the peer's address, unless the peer is one of Options.Proxies. Then it is the right-most entry of all x-forwarded-for
// fields that is no such proxy: what stands left of it is only what the client says. An entry that is no address ends the search, and the proxy that
// wrote it is what is known. Other headers are not read.
func (l *Limiter) Address(ctx context.Context) string {
	p, ok := peer.FromContext(ctx)
	if !ok || p.Addr == nil {
		return "unknown"
	}
	ip := parseAddr(p.Addr.String())
	if tcp, ok := p.Addr.(*net.TCPAddr); ok {
		ip = bare(tcp.AddrPort().Addr())
	}
	if !ip.IsValid() {
		return p.Addr.Network()
	}
	if l.proxy(ip) {
		ip = l.forwardedFor(metadata.ValueFromIncomingContext(ctx, "x-forwarded-for"), ip)
	}
	if ip.Is6() {
		return netip.PrefixFrom(ip, 64).Masked().String()
	}
	return ip.String()
}

// forwardedFor returns the last address, from the right, of which a proxy says that it asked it.
func (l *Limiter) forwardedFor(fields []string, proxy netip.Addr) netip.Addr {
	hops := 0
	for _, field := range slices.Backward(fields) {
		for more := true; more; hops++ {
			if hops == maxHops {
				return proxy
			}
			var entry string
			field, entry, more = cutLast(field)
			ip := parseAddr(strings.Trim(entry, " \t"))
			if !ip.IsValid() {
				return proxy
			}
			if !l.proxy(ip) {
				return ip
			}
			proxy = ip
		}
	}
	return proxy
}

// cutLast returns what stands before and after the last comma.
func cutLast(list string) (before, entry string, more bool) {
	i := strings.LastIndexByte(list, ',')
	if i < 0 {
		return "", list, false
	}
	return list[:i], list[i+1:], true
}

func (l *Limiter) proxy(ip netip.Addr) bool {
	return slices.ContainsFunc(l.opts.Proxies, func(p netip.Prefix) bool { return p.Contains(ip) })
}

// parseAddr reads an address that may have a port, as some proxies write it. What is none is not valid.
func parseAddr(text string) netip.Addr {
	if len(text) > 64 {
		return netip.Addr{}
	}
	if ip, err := netip.ParseAddr(text); err == nil {
		return bare(ip)
	}
	if inside, ok := strings.CutPrefix(text, "["); ok && strings.HasSuffix(text, "]") {
		ip, err := netip.ParseAddr(strings.TrimSuffix(inside, "]"))
		if err != nil || !ip.Is6() {
			return netip.Addr{}
		}
		return bare(ip)
	}
	at, _ := netip.ParseAddrPort(text) // the zero one if it is none
	return bare(at.Addr())
}

// bare is an address of which there is one spelling.
func bare(ip netip.Addr) netip.Addr { return ip.WithZone("").Unmap() }
