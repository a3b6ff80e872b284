// SPDX-License-Identifier: Apache-2.0

package servers

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
)

// Servers get ports from here. The range lies below the ports that operating
// systems give to outgoing connections, also after adding busOffset: thousands
// of clients cannot take the port of a server that is down for a moment.
const (
	firstPort = 15000
	ports     = 7000

	// busOffset is how far above its port a Redis Cluster node listens for the
	// other nodes.
	busOffset = 10000
)

// A reservation keeps other processes that use this package off a port. It
// holds the UDP port of the same number, which none of the servers uses: the
// operating system then frees it however this process ends.
type reservation struct {
	port int
	held []io.Closer
}

// reserve finds a port that is free now, as is the one busOffset above it.
func reserve() (*reservation, error) {
	var err error
	for range 100 {
		r := &reservation{port: firstPort + rand.N(ports)}
		if err = errors.Join(r.hold(r.port), r.hold(r.port+busOffset)); err == nil {
			return r, nil
		}
		r.release()
	}
	return nil, fmt.Errorf("servers: no free port on 127.0.0.1: %w", err)
}

// hold takes the UDP port and makes sure that nobody listens on the TCP port.
func (r *reservation) hold(port int) error {
	udp, err := net.ListenPacket("udp4", loopback(port))
	if err != nil {
		return err
	}
	r.held = append(r.held, udp)
	tcp, err := net.Listen("tcp4", loopback(port))
	if err != nil {
		return err
	}
	return tcp.Close()
}

func (r *reservation) release() {
	for _, c := range r.held {
		_ = c.Close() // a closed socket is all that is wanted
	}
	r.held = nil
}

func loopback(port int) string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}
