// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
)

// store is what the nodes share: a Redis, or memcached.
type store struct {
	name      string
	url       string               // of the Redis
	embedded  *miniredis.Miniredis // nil if it is a real one
	memcached []string             // host:port of each server
}

// openStore starts a Redis of our own on the loopback interface, or looks
// whether what the flags name answers.
func openStore(ctx context.Context, o options) (*store, error) {
	switch {
	case o.memcached != "":
		return findMemcached(strings.Split(o.memcached, ","))
	case o.redis != "":
		return findRedis(ctx, o.redis)
	default:
		return embed()
	}
}

// findRedis looks whether the Redis at addr answers.
func findRedis(ctx context.Context, addr string) (*store, error) {
	url := addr
	if !strings.Contains(addr, "://") {
		if _, _, err := net.SplitHostPort(addr); err != nil {
			return nil, fmt.Errorf("-redis %s: it must be host:port or a redis:// URL: %w", addr, err)
		}
		url = "redis://" + addr
	}
	o, err := redis.ParseURL(url)
	if err != nil {
		return nil, fmt.Errorf("-redis: %w", err)
	}
	o.MaxRetries = -1
	redis.SetLogger(silent{}) // it would tell what the error below tells
	rdb := redis.NewClient(o)
	defer rdb.Close()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := rdb.Ping(ctx).Err(); err != nil {
		return nil, fmt.Errorf("no Redis answers at %s: %w", o.Addr, err)
	}
	return &store{url: url, name: "Redis at " + o.Addr}, nil
}

// silent is a logger for go-redis.
type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

// embed starts a server that speaks Redis's protocol in this process.
func embed() (*store, error) {
	m := miniredis.NewMiniRedis()
	if err := m.StartAddr("127.0.0.1:0"); err != nil {
		return nil, fmt.Errorf("starting the embedded Redis: %w", err)
	}
	m.ClockTTL(true) // else nothing ever expires
	return &store{url: "redis://" + m.Addr(), name: "embedded (miniredis)", embedded: m}, nil
}

// forget deletes what a run has left in the store. What it can not delete has a
// TTL anyhow.
func (s *store) forget(config nodeConfig) {
	if s.embedded != nil {
		return
	}
	n, err := newNode(config) // of this process, and never served from
	if err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	for _, service := range n.services {
		_ = service.forget(ctx)
	}
	_ = n.close(ctx)
}

func (s *store) close() {
	if s.embedded != nil {
		s.embedded.Close()
	}
}
