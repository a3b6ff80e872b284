// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/leashcache/leash"
	"github.com/leashcache/leash/backends/redisstore"
)

// sharedCache is a node's connection to the cache that the nodes share. The plain
// phases use its first three methods, the leash phases the store.
type sharedCache interface {
	get(ctx context.Context, key string) ([]byte, error) // nil if nothing is there
	set(ctx context.Context, key string, value []byte, ttl time.Duration) error
	delete(ctx context.Context, key string) error
	store() leash.Store
	close() error
}

// storeWithin is how long a step of the shared cache may take. Nodes, database,
// cache and load share one machine here, and it may be a busy one: a store that
// is only starved must not count as failed.
const storeWithin = 2 * time.Second

// connect opens what the configuration names.
func (c nodeConfig) connect() (sharedCache, error) {
	if len(c.Memcached) > 0 {
		return connectMemcached(c.Memcached)
	}
	o, err := redis.ParseURL(c.Redis)
	if err != nil {
		return nil, err
	}
	return redisCache{redis.NewClient(o), c.logger()}, nil
}

// redisCache is a Redis, or the embedded server.
type redisCache struct {
	rdb *redis.Client
	log *slog.Logger
}

func (c redisCache) get(ctx context.Context, key string) ([]byte, error) {
	b, err := c.rdb.Get(ctx, key).Bytes()
	if errors.Is(err, redis.Nil) {
		return nil, nil
	}
	return b, err
}

func (c redisCache) set(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	return c.rdb.Set(ctx, key, value, ttl).Err()
}

func (c redisCache) delete(ctx context.Context, key string) error {
	return c.rdb.Del(ctx, key).Err()
}

func (c redisCache) store() leash.Store {
	return redisstore.New(c.rdb, redisstore.Options{Logger: c.log})
}

func (c redisCache) close() error { return c.rdb.Close() }
