// SPDX-License-Identifier: Apache-2.0

package memcachestore

import (
	"testing"
	"time"

	"github.com/bradfitz/gomemcache/memcache"

	"github.com/leashcache/leash"
	"github.com/leashcache/leash/backends/storetest"
	"github.com/leashcache/leash/internal/servers"
)

func node(t *testing.T, addrs []string) *Store {
	t.Helper()
	s, err := Connect(addrs, ConnectOptions{Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func fleet(t *testing.T, n int) (addrs []string) {
	t.Helper()
	for range n {
		addrs = append(addrs, servers.Memcached(t).Addr())
	}
	return addrs
}

func TestConformance(t *testing.T) {
	for name, n := range map[string]int{"one": 1, "three": 3} {
		t.Run(name, func(t *testing.T) {
			addrs := fleet(t, n)
			storetest.Config{
				New:  func(t *testing.T) leash.Store { return node(t, addrs) },
				Node: func(t *testing.T, _ leash.Store) leash.Store { return node(t, addrs) },
				Raw: func(s leash.Store, key string, data []byte) error {
					return s.(*Store).c.Set(&memcache.Item{Key: serverKey(key), Value: data})
				},
				Grain: grain,
			}.Run(t)
		})
	}
}
