// SPDX-License-Identifier: Apache-2.0

package memcachestore

import (
	"context"
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

// A server keeps whole seconds; a value is fresh for its TTL, and not until the
// server forgets it.
func TestShortTTLIsExact(t *testing.T) {
	c, err := leash.New[int]("short", node(t, fleet(t, 1)), leash.Options{TTL: 300 * time.Millisecond, Jitter: -1})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	load := func(context.Context) (int, error) { n++; return n, nil }
	if _, err := c.GetOrCompute(t.Context(), "k", load); err != nil {
		t.Fatal(err)
	}
	hits := 0
	for {
		v, out, err := c.Fetch(t.Context(), "k", load)
		switch {
		case err != nil:
			t.Fatal(err)
		case out.Status == leash.StatusHit:
			if hits++; v != 1 || out.Age >= 300*time.Millisecond {
				t.Fatalf("a hit of %v: %d", out.Age, v)
			}
			continue
		case out.Status != leash.StatusMiss || v != 2:
			t.Errorf("after its TTL: %d, %v", v, out.Status)
		}
		break
	}
	if hits == 0 {
		t.Error("no hit within the TTL")
	}
}
