// SPDX-License-Identifier: Apache-2.0

package memcachestore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/bradfitz/gomemcache/memcache"
)

// ConnectOptions are what [Connect] can be told; the zero value is right for most.
type ConnectOptions struct {
	Options

	// Conns is how many connections are kept open to each server. Default 32: more
	// than two cores can fill, and 30 nodes stay below the 1024 of a server's own
	// default.
	Conns int

	// Timeout is how long one command, or one dial, may take. Default 200 ms,
	// below the 250 ms of leash.Options.OperationTimeout.
	Timeout time.Duration

	// Dial replaces net.Dialer, for TLS as a rule.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

const (
	defaultConns   = 32
	defaultTimeout = 200 * time.Millisecond
)

// Connect returns a Store on servers, "host:port" each. All nodes must list the same
// servers in the same order, or a key is on two of them; nodes with another order or
// number are found out while they run, and an error is logged. Names are looked up now, and what
// can not be found is an error; nothing else is sent. Close the Store when it is
// not used any more.
func Connect(servers []string, o ConnectOptions) (*Store, error) {
	var list memcache.ServerList
	err := o.check()
	if len(servers) == 0 {
		err = errors.Join(err, errors.New("no servers: at least one host:port is needed"))
	}
	for _, server := range servers {
		if host, port, split := net.SplitHostPort(server); split != nil || host == "" || port == "" {
			err = errors.Join(err, fmt.Errorf("server %q is no host:port", server))
		}
	}
	if err == nil {
		err = list.SetServers(servers...)
	}
	if err != nil {
		return nil, fmt.Errorf("memcachestore: %w", err)
	}
	return connect(&list, o, len(servers)), nil
}

// ConnectTo is Connect with a selector of servers, such as a [Discovery].
func ConnectTo(selector memcache.ServerSelector, o ConnectOptions) (*Store, error) {
	err := o.check()
	if d, ok := selector.(*Discovery); selector == nil || ok && d == nil {
		err = errors.Join(err, errors.New("no selector: ConnectTo was given nil"))
	}
	if err != nil {
		return nil, fmt.Errorf("memcachestore: %w", err)
	}
	n := 0
	_ = selector.Each(func(net.Addr) error { n++; return nil })
	if n == 0 {
		return nil, errors.New("memcachestore: the selector has no servers")
	}
	return connect(selector, o, n), nil
}

// Together returns a selector for a client that is given to [New]: it puts a guard on
// the server of its entry, as the Stores of [Connect] do. All nodes must have it, or
// none. Without it a server that is down keeps entries on other servers from being
// refreshed.
func Together(selector memcache.ServerSelector) memcache.ServerSelector { return together{selector} }

type together struct{ memcache.ServerSelector }

func (t together) PickServer(key string) (net.Addr, error) {
	return t.ServerSelector.PickServer(strings.TrimSuffix(key, guardMark))
}

func (o ConnectOptions) check() error {
	var errs []error
	if o.Conns < 0 {
		errs = append(errs, fmt.Errorf("option Conns is %d: it can not be negative", o.Conns))
	}
	if o.Timeout < 0 {
		errs = append(errs, fmt.Errorf("option Timeout is %v: it can not be negative", o.Timeout))
	}
	if o.MaxItem != 0 && o.MaxItem < minItem {
		errs = append(errs, fmt.Errorf("option MaxItem is %d: memcached takes at least %d", o.MaxItem, minItem))
	}
	return errors.Join(errs...)
}

func connect(selector memcache.ServerSelector, o ConnectOptions, servers int) *Store {
	if o.Conns == 0 {
		o.Conns = defaultConns
	}
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	client := func(selector memcache.ServerSelector) *memcache.Client {
		c := memcache.NewFromSelector(selector)
		c.Timeout, c.MaxIdleConns, c.DialContext = o.Timeout, o.Conns, o.Dial
		return c
	}
	c := client(Together(selector))
	c.MaxIdleConns = max(o.Conns, memcache.DefaultMaxIdleConns+1) // New warns of less
	s := New(c, o.Options)
	s.limit = o.Conns * servers
	s.selector = selector
	s.lists = newLists(selector, client, s.log)
	return s
}
