// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bradfitz/gomemcache/memcache"
	"github.com/redis/go-redis/v9"

	"github.com/leashcache/leash/internal/integration/nodes"
	"github.com/leashcache/leash/internal/integration/wire"
	"github.com/leashcache/leash/internal/servers"
)

// backend is a way to run servers, and a way to talk to them.
type backend struct {
	name      string
	lines     []string // of the Redis servers' configuration
	cluster   bool
	memcached int // how many of them, in place of Redis
	config    nodes.Config

	once    sync.Once
	failed  error
	servers []*servers.Server
	ready   func() error // waits until a cluster is one again
	close   func()
	group   *group // that all tests share which do not harm their nodes
}

const nodeCount = 4

var backends = []*backend{
	{name: "single"},
	{name: "cluster", cluster: true},
	{
		name:   "noscript",
		lines:  []string{"user ann on >pw ~* &* +@all -@scripting"},
		config: nodes.Config{User: "ann", Password: "pw"},
	},
	{
		name:   "nopubsub",
		lines:  []string{"user ann on >pw ~* resetchannels +@all -@pubsub"},
		config: nodes.Config{User: "ann", Password: "pw"},
	},
	{name: "autopipeline", config: nodes.Config{AutoPipeline: true}},
	{name: "memcached", memcached: 1},
	{name: "fleet", memcached: 3},
}

// onEach runs a test on every backend.
func onEach(t *testing.T, f func(t *testing.T, b *backend)) {
	for _, b := range backends {
		t.Run(b.name, func(t *testing.T) {
			b.start(t)
			f(t, b)
		})
	}
}

// single returns the backend for tests that one is enough for.
func single(t *testing.T) *backend {
	t.Helper()
	backends[0].start(t)
	return backends[0]
}

func (b *backend) start(t *testing.T) {
	t.Helper()
	b.once.Do(func() { b.failed = b.launch() })
	if b.failed != nil {
		t.Fatal(b.failed)
	}
}

func (b *backend) launch() error {
	if b.memcached > 0 {
		return b.launchMemcached()
	}
	if b.cluster {
		c, err := servers.StartCluster(b.lines...)
		if err != nil {
			return err
		}
		b.servers, b.ready, b.close = c.Nodes(), c.Ready, c.Close
	} else {
		s, err := servers.StartRedis(b.lines...)
		if err != nil {
			return err
		}
		b.servers, b.ready, b.close = []*servers.Server{s}, func() error { return nil }, s.Close
	}
	b.config.Cluster = b.cluster
	for _, s := range b.servers {
		b.config.Addrs = append(b.config.Addrs, s.Addr())
	}
	return nil
}

func (b *backend) launchMemcached() error {
	b.config.Memcached, b.ready = true, func() error { return nil }
	b.config.ReadTimeout = plain.OperationTimeout
	b.close = func() {
		for _, s := range b.servers {
			s.Close()
		}
	}
	for range b.memcached {
		s, err := servers.StartMemcached()
		if err != nil {
			return err
		}
		b.servers = append(b.servers, s)
		b.config.Addrs = append(b.config.Addrs, s.Addr())
	}
	return nil
}

func tearDown() {
	for _, b := range backends {
		if b.group != nil {
			b.group.close()
		}
		if b.close != nil {
			b.close()
		}
	}
}

// admin returns a client with all rights on the i-th server.
func (b *backend) admin(t *testing.T, i int) *redis.Client {
	rdb := redis.NewClient(&redis.Options{Addr: b.servers[i].Addr()})
	t.Cleanup(func() { rdb.Close() })
	return rdb
}

// flush takes all data from all servers.
func (b *backend) flush(t *testing.T) {
	t.Helper()
	for i, s := range b.servers {
		var err error
		if b.memcached > 0 {
			err = memcache.New(s.Addr()).FlushAll()
		} else {
			err = b.admin(t, i).FlushAll(t.Context()).Err()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// group is some processes with a source, each behind a proxy of its own.
type group struct {
	nodes   []*nodes.Node
	proxies []*wire.Proxy
	source  *nodes.Source
	killed  map[int]bool
}

// shared returns the nodes that tests share, warm.
func (b *backend) shared(t *testing.T) *group {
	t.Helper()
	if b.group == nil {
		g, err := newGroup(b.config)
		if err != nil {
			t.Fatal(err)
		}
		b.group = g
	}
	return b.group
}

// own returns nodes for this test alone.
func (b *backend) own(t *testing.T) *group {
	t.Helper()
	return b.with(t, b.config)
}

// with returns nodes of another configuration for this test alone.
func (b *backend) with(t *testing.T, config nodes.Config) *group {
	t.Helper()
	g, err := newGroup(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.close)
	return g
}

func newGroup(config nodes.Config) (*group, error) {
	g := &group{source: nodes.NewSource(), killed: map[int]bool{}}
	for i := range nodeCount {
		p, err := wire.Start(config.Addrs...)
		if err != nil {
			g.close()
			return nil, err
		}
		g.proxies = append(g.proxies, p)
		config.Index, config.Via = i, p.Via()
		n, err := nodes.Start(config, g.source)
		if err != nil {
			g.close()
			return nil, err
		}
		g.nodes = append(g.nodes, n)
	}
	return g, nil
}

func (g *group) close() {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	for _, n := range g.nodes {
		if err := n.Close(ctx); err != nil && !g.killed[n.Index] {
			fmt.Printf("node %d does not close: %v\n", n.Index, err)
		}
	}
	for _, p := range g.proxies {
		p.Close()
	}
}

// commands is what the clients of all nodes have sent so far, by the proxies.
func (g *group) commands() wire.Counts {
	sum := wire.Counts{}
	for _, p := range g.proxies {
		sum = sum.Plus(p.Counts())
	}
	return sum
}

// each calls f for all nodes at the same time.
func each[T any](t *testing.T, g *group, f func(n *nodes.Node) (T, error)) []T {
	t.Helper()
	results, errs := make([]T, len(g.nodes)), make([]error, len(g.nodes))
	var wg sync.WaitGroup
	for i, n := range g.nodes {
		wg.Go(func() { results[i], errs[i] = f(n) })
	}
	wg.Wait()
	for i, err := range errs {
		if err != nil {
			t.Fatalf("node %d: %v", i, err)
		}
	}
	return results
}

var keys atomic.Int64

// newKey returns a key that no other test uses. Numbers in a row lie on
// different masters of a cluster.
func newKey(what string) string { return fmt.Sprintf("%s-%d", what, keys.Add(1)) }

// soon is when a herd sets out: time enough to make all of its callers.
func soon() int64 { return time.Now().Add(100 * time.Millisecond).UnixNano() }

// plain is the cache of most tests. A loaded machine must not turn into a store
// that does not answer: the counts would be others.
var plain = nodes.Cache{Name: "plain", TTL: time.Minute, OperationTimeout: 5 * time.Second}

// patience is for what must happen, and happens at once unless something is wrong.
const patience = 20 * time.Second
