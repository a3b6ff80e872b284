// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/bradfitz/gomemcache/memcache"

	"github.com/leashcache/leash"
	"github.com/leashcache/leash/backends/memcachestore"
)

// findMemcached looks whether each of the servers answers.
func findMemcached(servers []string) (*store, error) {
	for _, server := range servers {
		c, err := connectMemcached([]string{server})
		if err != nil {
			return nil, fmt.Errorf("-memcached %s: %w", server, err)
		}
		err = c.plain.Ping() // asks for the version
		_ = c.close()        // all that was sent has its answer
		if err != nil {
			return nil, fmt.Errorf("no memcached answers at %s: %w", server, err)
		}
	}
	return &store{memcached: servers, name: "memcached at " + strings.Join(servers, ", ")}, nil
}

// memcachedCache is memcached on one server or more.
type memcachedCache struct {
	plain  *memcache.Client
	leased *memcachestore.Store
}

func connectMemcached(servers []string) (c memcachedCache, err error) {
	c.leased, err = memcachestore.Connect(servers, memcachestore.ConnectOptions{Timeout: storeWithin})
	if err != nil {
		return c, err
	}
	var list memcache.ServerList
	if err := list.SetServers(servers...); err != nil {
		return c, err
	}
	c.plain = memcache.NewFromSelector(&list)
	c.plain.Timeout, c.plain.MaxIdleConns = storeWithin, 32
	return c, nil
}

// endSize is the size of what stands before a value: the end of its life. memcached
// keeps whole seconds, and all phases are to have the same TTL.
const endSize = 8

func (c memcachedCache) get(_ context.Context, key string) ([]byte, error) {
	it, err := c.plain.Get(key)
	if errors.Is(err, memcache.ErrCacheMiss) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if len(it.Value) < endSize || time.Now().UnixMilli() >= int64(binary.BigEndian.Uint64(it.Value)) {
		return nil, nil
	}
	return it.Value[endSize:], nil
}

func (c memcachedCache) set(_ context.Context, key string, value []byte, ttl time.Duration) error {
	end := binary.BigEndian.AppendUint64(nil, uint64(time.Now().Add(ttl).UnixMilli()))
	return c.plain.Set(&memcache.Item{
		Key: key, Value: append(end, value...),
		Expiration: int32(ttl/time.Second) + 2, // n lives for more than n-1 seconds
	})
}

func (c memcachedCache) delete(_ context.Context, key string) error {
	if err := c.plain.Delete(key); !errors.Is(err, memcache.ErrCacheMiss) {
		return err
	}
	return nil
}

func (c memcachedCache) store() leash.Store { return c.leased }

func (c memcachedCache) close() error { return errors.Join(c.leased.Close(), c.plain.Close()) }
