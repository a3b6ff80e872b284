// SPDX-License-Identifier: Apache-2.0

package benchmarks

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/bradfitz/gomemcache/memcache"
	"github.com/vmihailenco/msgpack/v5"

	"github.com/leashcache/leash"
	"github.com/leashcache/leash/backends/memcachestore"
)

// conns is what Connect keeps by itself.
const conns = 32

func connect(b *testing.B) *memcachestore.Store {
	s, err := memcachestore.Connect([]string{memcached.Addr()}, memcachestore.ConnectOptions{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	return s
}

// hits returns a hit through the cache on s, and one of the bare client c with the
// same decoding.
func hits(b *testing.B, s leash.Store, c *memcache.Client) (ours, bare func() error) {
	ctx := context.Background()
	cache, err := leash.New[record]("hits", s, leash.Options{TTL: time.Hour})
	if err != nil {
		b.Fatal(err)
	}
	var ks, names [keys]string
	plain, _ := msgpack.Marshal(sample())
	for i := range keys {
		ks[i], names[i] = fmt.Sprint(i), fmt.Sprintf("bare:%d", i)
		if err := cache.Set(ctx, ks[i], sample()); err != nil {
			b.Fatal(err)
		}
		if err := c.Set(&memcache.Item{Key: names[i], Value: plain}); err != nil {
			b.Fatal(err)
		}
	}
	ours = func() error {
		_, err := cache.GetOrCompute(ctx, ks[key()], never[record])
		return err
	}
	return ours, func() error {
		it, err := c.Get(names[key()])
		if err != nil {
			return err
		}
		var r record
		return msgpack.Unmarshal(it.Value, &r)
	}
}

func hitMemcached(b *testing.B, n int) {
	c := memcache.New(memcached.Addr())
	c.MaxIdleConns = conns
	defer c.Close()
	ours, bare := hits(b, connect(b), c)
	b.ResetTimer()
	versus(b, n, ours, bare)
}

// BenchmarkPool compares what Connect makes with the client's own default of two
// idle connections, both below a cache.
func BenchmarkPool(b *testing.B) {
	c := memcache.New(memcached.Addr())
	defer c.Close()
	ours, _ := hits(b, connect(b), c)
	theirs, _ := hits(b, memcachestore.New(c), c)
	b.ResetTimer()
	versus(b, 512, ours, theirs)
}
