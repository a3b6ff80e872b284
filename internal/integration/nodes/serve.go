// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/bradfitz/gomemcache/memcache"
	"github.com/redis/go-redis/v9"

	"github.com/leashcache/leash"
	"github.com/leashcache/leash/backends/memcachestore"
	"github.com/leashcache/leash/backends/redisstore"
	"github.com/leashcache/leash/internal/integration/wire"
)

// node is the process that Main runs.
type node struct {
	config Config
	tally  wire.Tally
	client io.Closer // that makes the connections
	store  store
	rdb    redis.UniversalClient // nil with memcached
	mc     *memcache.Client      // nil with Redis
	peer   *peer
	stall  stall

	mu     sync.Mutex // guards what follows
	caches map[Cache]cache
	log    []Computation // that asked no source
	made   int
}

type store interface {
	leash.Store
	io.Closer
}

// logEnv makes nodes log to the standard error of the process that started them.
const logEnv = "LEASH_INTEGRATION_LOG"

func serve(config string, in io.Reader, out io.Writer) error {
	if os.Getenv(logEnv) == "" {
		slog.SetDefault(slog.New(slog.DiscardHandler))
	}
	n := &node{caches: map[Cache]cache{}, peer: newPeer(out)}
	if err := json.Unmarshal([]byte(config), &n.config); err != nil {
		return err
	}
	if err := n.connect(); err != nil {
		return err
	}
	go n.stall.watch()
	n.peer.handle = n.handle
	n.peer.listen(in)
	return nil
}

func (n *node) connect() error {
	c := n.config
	dial := wire.Dialer(&n.tally, c.Via)
	if c.Memcached {
		s, err := memcachestore.Connect(c.Addrs, memcachestore.ConnectOptions{Conns: 64, Timeout: c.ReadTimeout, Dial: dial})
		if err != nil {
			return err
		}
		n.mc = memcache.New(c.Addrs...)
		n.mc.MaxIdleConns, n.mc.DialContext = 64, dial
		n.client, n.store = n.mc, s
		return nil
	}
	if c.Cluster {
		n.rdb = redis.NewClusterClient(&redis.ClusterOptions{
			Addrs: c.Addrs, Dialer: dial, Username: c.User, Password: c.Password, PoolSize: 64, ReadTimeout: c.ReadTimeout,
		})
		n.client = n.rdb
		n.store = redisstore.New(n.rdb)
		return nil
	}
	plain := redis.NewClient(&redis.Options{
		Addr: c.Addrs[0], Dialer: dial, Username: c.User, Password: c.Password, PoolSize: 64, ReadTimeout: c.ReadTimeout,
	})
	n.client, n.rdb = plain, plain
	if c.AutoPipeline {
		ap, err := plain.AutoPipeline()
		if err != nil {
			return err
		}
		n.rdb = ap
	}
	n.store = redisstore.New(n.rdb)
	return nil
}

// handle is what the parent asks for.
func (n *node) handle(ctx context.Context, method string, in json.RawMessage) (any, error) {
	switch method {
	case "run":
		return decoded(in, func(r Run) (any, error) { return n.run(ctx, r) })
	case "get", "delete", "stats":
		return decoded(in, func(r Run) (any, error) { return n.one(ctx, method, r) })
	case "work":
		return decoded(in, func(w Work) (any, error) { return n.work(ctx, w) })
	case "churn":
		return decoded(in, func(c Churn) (any, error) { return n.churn(ctx, c) })
	case "computations":
		return n.takeLog(), nil
	case "close":
		return nil, n.closeAll(ctx)
	}
	return nil, fmt.Errorf("nodes: no method %q", method)
}

func decoded[T any](in json.RawMessage, f func(T) (any, error)) (any, error) {
	var v T
	if err := json.Unmarshal(in, &v); err != nil {
		return nil, err
	}
	return f(v)
}

func (n *node) one(ctx context.Context, method string, r Run) (any, error) {
	c, err := n.cache(r.Cache)
	if err != nil {
		return nil, err
	}
	switch method {
	case "get":
		return c.get(ctx, r.Key), nil
	case "delete":
		call := Call{Node: n.config.Index, Began: now()}
		err := c.delete(ctx, r.Key)
		call.Ended, call.Err = now(), failureOf(err)
		if err != nil {
			call.Text = err.Error()
		}
		return call, nil
	}
	s := c.stats()
	s.Commands, s.Stall = n.tally.Counts(), n.stall.take()
	return s, nil
}

// closeAll closes the caches and what is beneath them: nothing may hang.
func (n *node) closeAll(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	n.mu.Lock()
	defer n.mu.Unlock()
	var errs []error
	for _, c := range n.caches {
		errs = append(errs, c.close(ctx))
	}
	return errors.Join(append(errs, n.store.Close(), n.client.Close())...)
}

func (n *node) takeLog() []Computation {
	n.mu.Lock()
	defer n.mu.Unlock()
	log := n.log
	n.log = nil
	return log
}
