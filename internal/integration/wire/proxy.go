// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Proxy stands between one process and its servers. It counts commands and can
// keep replies back.
type Proxy struct {
	Tally
	via   map[string]string
	delay atomic.Pointer[func(Command) time.Duration]

	mu        sync.Mutex
	listeners []net.Listener
	conns     map[net.Conn]struct{}
	closed    bool
	wg        sync.WaitGroup
}

// Start listens once for each server's address.
func Start(servers ...string) (*Proxy, error) {
	p := &Proxy{via: map[string]string{}, conns: map[net.Conn]struct{}{}}
	for _, addr := range servers {
		l, err := new(net.ListenConfig).Listen(context.Background(), "tcp4", "127.0.0.1:0")
		if err != nil {
			p.Close()
			return nil, err
		}
		p.listeners = append(p.listeners, l)
		p.via[addr] = l.Addr().String()
		p.wg.Go(func() { p.accept(l, addr) })
	}
	return p, nil
}

// Via says where to connect instead of each server's address.
func (p *Proxy) Via() map[string]string { return p.via }

// Delay keeps each reply back for as long as f says of its command; nil ends that.
func (p *Proxy) Delay(f func(Command) time.Duration) {
	if f == nil {
		p.delay.Store(nil)
		return
	}
	p.delay.Store(&f)
}

// Close ends all connections and waits for that.
func (p *Proxy) Close() {
	p.mu.Lock()
	p.closed = true
	for _, l := range p.listeners {
		l.Close()
	}
	for c := range p.conns {
		c.Close()
	}
	p.mu.Unlock()
	p.wg.Wait()
}

func (p *Proxy) accept(l net.Listener, addr string) {
	for {
		client, err := l.Accept()
		if err != nil {
			return
		}
		server, err := new(net.Dialer).DialContext(context.Background(), "tcp4", addr)
		if err != nil {
			client.Close()
			continue
		}
		if !p.keep(client, server) {
			return
		}
		p.pass(client, server)
	}
}

// keep notes the two so that Close ends them.
func (p *Proxy) keep(client, server net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		client.Close()
		server.Close()
		return false
	}
	p.conns[client], p.conns[server] = struct{}{}, struct{}{}
	return true
}

func (p *Proxy) drop(client, server net.Conn) {
	client.Close()
	server.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, client)
	delete(p.conns, server)
}

func (p *Proxy) pass(client, server net.Conn) {
	var held atomic.Int64 // for how long the next reply is kept back
	requests := parser{whole: func(c Command) {
		p.add(c)
		if f := p.delay.Load(); f != nil {
			held.Add(int64((*f)(c)))
		}
	}}
	p.wg.Go(func() {
		defer p.drop(client, server)
		copyAfter(server, client, func(b []byte) { _, _ = requests.Write(b) })
	})
	p.wg.Go(func() {
		defer p.drop(client, server)
		copyAfter(client, server, func([]byte) { time.Sleep(time.Duration(held.Swap(0))) })
	})
}

// copyAfter copies until either end is closed, and calls f before each piece is
// written.
func copyAfter(dst io.Writer, src io.Reader, f func([]byte)) {
	buf := make([]byte, 64<<10)
	for {
		n, err := src.Read(buf)
		if n > 0 {
			f(buf[:n])
			if _, err := dst.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
