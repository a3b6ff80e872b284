// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"context"
	"net"
	"syscall"
)

// Dialer returns a dialer whose connections count into t what is
// written to them. via says where to connect instead of an address, if there.
func Dialer(t *Tally, via map[string]string) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		if other, ok := via[addr]; ok {
			addr = other
		}
		var d net.Dialer
		c, err := d.DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &counted{c, parser{whole: t.add}}, nil
	}
}

type counted struct {
	net.Conn
	p parser
}

// SyscallConn lets go-redis see that a pooled connection was closed meanwhile.
func (c *counted) SyscallConn() (syscall.RawConn, error) {
	return c.Conn.(*net.TCPConn).SyscallConn()
}

func (c *counted) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	_, _ = c.p.Write(b[:n]) // never fails
	return n, err
}
