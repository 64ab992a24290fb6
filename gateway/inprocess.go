// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"
)

// Conn is a connection with a server in the same process. It is safe for concurrent use.
type Conn struct {
	*grpc.ClientConn

	listener *bufconn.Listener
	served   chan struct{}
}

const (
	memoryBuffer = 256 << 10
	// connectFor is how long a server in the same process may take to accept a connection.
	connectFor = 10 * time.Second
)

// InProcess connects with a server in memory, through all its interceptors, for the RegisterXHandlerClient functions of a gateway.
//
// Services and options are to be registered before. A server with transport credentials needs them wrapped by [Credentials]. The connection ends with Close,
// and with the server. An error means that the server did not take the connection.
func InProcess(server *grpc.Server, opts ...grpc.DialOption) (*Conn, error) {
	if server == nil {
		return nil, errors.New("gateway: InProcess: the server is nil")
	}
	c := &Conn{listener: bufconn.Listen(memoryBuffer), served: make(chan struct{})}
	dial := []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return c.listener.DialContext(ctx) }),
	}
	client, err := grpc.NewClient("passthrough:///in-process", append(dial, opts...)...)
	if err != nil {
		return nil, fmt.Errorf("gateway: InProcess: %w", err)
	}
	c.ClientConn = client
	go func() {
		defer close(c.served)
		_ = server.Serve(memoryListener{c.listener}) // ends with the listener or the server
	}()
	if err := c.wait(); err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

// wait returns once the server has taken the connection. One that fails now fails always.
func (c *Conn) wait() error {
	ctx, cancel := context.WithTimeout(context.Background(), connectFor)
	defer cancel()
	c.Connect()
	for state := c.GetState(); state != connectivity.Ready; state = c.GetState() {
		if state == connectivity.TransientFailure || !c.WaitForStateChange(ctx, state) {
			return errors.New("gateway: InProcess: the server does not take a connection in memory: has it stopped, or transport credentials that gateway.Credentials does not wrap?")
		}
	}
	return nil
}

// Close ends the connection and waits until the server has let go of it. The server goes on.
func (c *Conn) Close() error {
	err := c.ClientConn.Close()
	_ = c.listener.Close() // never fails
	<-c.served
	return err
}

// memoryListener marks its connections, so that a server knows them from all others.
type memoryListener struct{ net.Listener }

// Accept implements [net.Listener].
func (l memoryListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return memoryConn{conn}, nil
}

type memoryConn struct{ net.Conn }

// RemoteAddr implements [net.Conn].
func (memoryConn) RemoteAddr() net.Addr { return memoryAddr{} }

// memoryAddr is the other end of a connection in memory. Nothing that comes over a network has an address of this type.
type memoryAddr struct{}

func (memoryAddr) Network() string { return "bufconn" }
func (memoryAddr) String() string  { return "in-process" }

// Credentials let the connections of [InProcess] in beside those that the given credentials protect.
func Credentials(creds credentials.TransportCredentials) credentials.TransportCredentials {
	return besideMemory{creds}
}

type besideMemory struct {
	credentials.TransportCredentials
}

// ServerHandshake implements [credentials.TransportCredentials].
func (b besideMemory) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	if _, ok := conn.(memoryConn); ok {
		return insecure.NewCredentials().ServerHandshake(conn)
	}
	return b.TransportCredentials.ServerHandshake(conn)
}

// Clone implements [credentials.TransportCredentials].
func (b besideMemory) Clone() credentials.TransportCredentials {
	return besideMemory{b.TransportCredentials.Clone()}
}
