// SPDX-License-Identifier: Apache-2.0

// Package chaos puts a TCP proxy between a client and a server that misbehaves when it is told to, as networks do when nobody told them.
package chaos

import (
	"context"
	"net"
	"sync"
	"time"
)

// Mode is how a proxy behaves.
type Mode struct {
	kind  kind
	delay time.Duration
	bytes int
}

type kind uint8

const (
	pass kind = iota
	latency
	reset
	halfOpen
	blackHole
	cut
)

// Modes without a number.
var (
	// Pass passes on what is sent, both ways.
	Pass = Mode{kind: pass}
	// Reset ends connections with RST, those that are open and those that are made.
	Reset = Mode{kind: reset}
	// HalfOpen is a peer that is gone and did not say so: what is written to it vanishes, and it never closes. A connection that lost
	// bytes is reset when the mode is over.
	HalfOpen = Mode{kind: halfOpen}
	// BlackHole holds back what is sent, both ways, until the mode is over: requests may arrive long after they were given up.
	BlackHole = Mode{kind: blackHole}
)

// Latency holds back each part of an answer for a while.
func Latency(d time.Duration) Mode { return Mode{kind: latency, delay: d} }

// Cut passes on requests, and n bytes of the answers on each connection, which it then closes.
func Cut(n int) Mode { return Mode{kind: cut, bytes: n} }

// Proxy passes connections on to a target. It is safe for concurrent use.
type Proxy struct {
	target   string
	listener net.Listener
	ctx      context.Context //nolint:containedctx // it ends what Close must not wait for
	cancel   context.CancelFunc
	running  sync.WaitGroup

	mu    sync.Mutex
	state *state
	links map[*link]bool
}

// state is a mode and the time for which it lasts.
type state struct {
	Mode

	over chan struct{}
}

func newState(m Mode) *state { return &state{Mode: m, over: make(chan struct{})} }

// link is one connection of a client, and the one to the target that belongs to it. The proxy's mu guards the fields below.
type link struct {
	*Proxy

	client net.Conn

	server net.Conn // nil until it is made
	lossy  bool     // bytes have vanished, or an end
	cutBy  *state   // what left belongs to
	left   int
}

// TB is what a proxy wants of a testing.TB.
type TB interface {
	Helper()
	Fatal(args ...any)
	Cleanup(f func())
}

// New starts a proxy on the loopback interface. It is closed at the end of the test.
func New(tb TB, target string) *Proxy {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		cancel()
		tb.Fatal(err)
	}
	p := &Proxy{target: target, listener: listener, ctx: ctx, cancel: cancel, state: newState(Pass), links: map[*link]bool{}}
	p.running.Go(p.accept)
	tb.Cleanup(p.Close)
	return p
}

// Addr is where the proxy listens.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Set changes the mode, for connections that are open too.
func (p *Proxy) Set(m Mode) {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.state.over)
	p.state = newState(m)
	for l := range p.links {
		if m.kind == reset || l.lossy && m.kind != halfOpen {
			l.abort()
		}
	}
}

// Conns is how many connections of clients are open.
func (p *Proxy) Conns() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.links)
}

// Close ends all connections and waits until nothing runs.
func (p *Proxy) Close() {
	p.cancel()
	_ = p.listener.Close()
	p.mu.Lock()
	for l := range p.links {
		l.abort()
	}
	p.mu.Unlock()
	p.running.Wait()
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		l := &link{Proxy: p, client: client}
		p.mu.Lock()
		p.links[l] = true
		p.mu.Unlock()
		p.running.Go(l.serve)
	}
}

// now returns the present state, and false when there will be none.
func (p *Proxy) now() (*state, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state, p.ctx.Err() == nil
}

// outlast waits until the state is over.
func (p *Proxy) outlast(s *state) {
	select {
	case <-s.over:
	case <-p.ctx.Done():
	}
}

func (l *link) serve() {
	defer l.end()
	if !l.connect() {
		return
	}
	var answers sync.WaitGroup
	answers.Go(func() {
		defer l.end()
		l.pump(l.server, l.answer)
	})
	l.pump(l.client, l.request)
	l.end()
	answers.Wait()
}

// connect makes the connection to the target, once the mode lets it.
func (l *link) connect() bool {
	for {
		s, ok := l.now()
		switch {
		case !ok || s.kind == reset:
			l.reset()
			return false
		case s.kind == halfOpen:
			l.lose()
			l.outlast(s)
		case s.kind == blackHole:
			l.outlast(s)
		default:
			return l.dial()
		}
	}
}

func (l *link) dial() bool {
	server, err := (&net.Dialer{}).DialContext(l.ctx, "tcp", l.target)
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err != nil:
		l.abort()
		return false
	case !l.links[l] || l.lossy:
		_ = server.Close()
		l.abort()
		return false
	}
	l.server = server
	return true
}

// pump reads until the connection ends, and hands on what it reads. What is handed on returns false to end both connections; an end is
// handed on as no bytes.
func (l *link) pump(from net.Conn, to func([]byte) bool) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 && !to(buf[:n]) || err != nil && !to(nil) || err != nil {
			return
		}
	}
}

// request hands on what a client sends.
func (l *link) request(b []byte) bool {
	for {
		s, ok := l.now()
		switch {
		case !ok:
			return false
		case s.kind == blackHole:
			l.outlast(s)
		case s.kind == halfOpen:
			l.lose()
			return len(b) > 0
		default:
			return l.send(l.server, b)
		}
	}
}

// answer hands on what the server sends.
func (l *link) answer(b []byte) bool {
	for {
		s, ok := l.now()
		switch {
		case !ok:
			return false
		case s.kind == blackHole:
			l.outlast(s)
		case s.kind == halfOpen:
			l.lose()
			if len(b) > 0 {
				return true
			}
			l.outlast(s)
		case s.kind == latency && len(b) > 0:
			timer := time.NewTimer(s.delay)
			select {
			case <-timer.C:
				return l.send(l.client, b)
			case <-s.over:
			case <-l.ctx.Done():
			}
			timer.Stop()
		case s.kind == cut && len(b) > 0:
			part, whole := l.cut(s, b)
			return l.send(l.client, part) && whole
		default:
			return l.send(l.client, b)
		}
	}
}

// send writes, or says that the connections are to end: a lossy one has nothing to say any more.
func (l *link) send(to net.Conn, b []byte) bool {
	l.mu.Lock()
	lossy := l.lossy
	l.mu.Unlock()
	if lossy {
		l.reset()
		return false
	}
	if len(b) == 0 {
		return true
	}
	_, err := to.Write(b)
	return err == nil
}

// cut returns what may still be answered, and whether that is not the end.
func (l *link) cut(s *state, b []byte) (part []byte, whole bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cutBy != s {
		l.cutBy, l.left = s, s.bytes
	}
	if len(b) < l.left {
		l.left -= len(b)
		return b, true
	}
	return b[:l.left], false
}

func (l *link) lose() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lossy = true
}

func (l *link) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.abort()
}

// abort ends both connections with RST, that of the client at least. The proxy's mu is held.
func (l *link) abort() {
	if tcp, ok := l.client.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	l.close()
}

// end closes both connections.
func (l *link) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.close()
}

func (l *link) close() {
	_ = l.client.Close()
	if l.server != nil {
		_ = l.server.Close()
	}
	delete(l.links, l)
}
