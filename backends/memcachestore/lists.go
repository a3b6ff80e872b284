// SPDX-License-Identifier: Apache-2.0

package memcachestore

import (
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/bradfitz/gomemcache/memcache"
)

// lists finds nodes that list their servers in another order or number. Such nodes put
// one key on two servers, so that two hold its lease and a delete misses. Each node leaves on every server a note of the place that
// the server has in its list, for each namespace (the part of a key up to its first
// colon), and reads what stands there already.
type lists struct {
	selector memcache.ServerSelector
	client   func(memcache.ServerSelector) *memcache.Client
	log      *slog.Logger

	mu     sync.Mutex
	looked map[string]time.Time // namespaces, and when
	closed bool
	wg     sync.WaitGroup
}

const (
	lookEvery = time.Minute
	noteLives = 2 * lookEvery
	listMark  = mark + "lists" // no longer than guardMark
)

func newLists(selector memcache.ServerSelector, client func(memcache.ServerSelector) *memcache.Client, log *slog.Logger) *lists {
	return &lists{selector: selector, client: client, log: log, looked: map[string]time.Time{}}
}

// look compares the lists now and then, on a goroutine of its own.
func (l *lists) look(key string) {
	if l == nil {
		return
	}
	namespace := key[:strings.IndexByte(key, ':')+1]
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || time.Since(l.looked[namespace]) < lookEvery {
		return
	}
	l.looked[namespace] = time.Now()
	l.wg.Go(func() {
		if err := l.compare(namespace); err != nil {
			l.log.Error("memcachestore: another node lists its memcached servers differently, or did so minutes ago: "+
				"one key is on two servers, deletes miss and two nodes compute; give all nodes the same servers in the same order",
				"namespace", namespace, "err", err)
		}
	})
}

func (l *lists) close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.wg.Wait()
}

// one is a selector of one server.
type one struct{ net.Addr }

func (o one) PickServer(string) (net.Addr, error) { return o.Addr, nil }
func (o one) Each(f func(net.Addr) error) error   { return f(o.Addr) }

// compare leaves this node's notes and reads the others'. A server that can not be
// asked is compared the next time.
func (l *lists) compare(namespace string) error {
	var servers []net.Addr // each once
	places := map[string][]int{}
	n := 0
	_ = l.selector.Each(func(a net.Addr) error {
		if n++; places[a.String()] == nil {
			servers = append(servers, a)
		}
		places[a.String()] = append(places[a.String()], n)
		return nil
	})
	for _, addr := range servers {
		c := l.client(one{addr})
		defer c.Close()
		place := fmt.Sprintf("%s of %d", strings.Trim(fmt.Sprint(places[addr.String()]), "[]"), n)
		it := &memcache.Item{Key: serverKey(namespace) + listMark, Value: []byte(place), Expiration: expiration(noteLives, time.Now())}
		if c.Add(it) == nil {
			continue
		}
		there, err := c.Get(it.Key)
		if err != nil {
			continue
		}
		if string(there.Value) != place {
			return fmt.Errorf("server %s is %s here and %s there", addr, place, there.Value)
		}
		there.Expiration = it.Expiration
		_ = c.CompareAndSwap(there) // it lives on
	}
	return nil
}
