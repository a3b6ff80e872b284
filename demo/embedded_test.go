// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/leashcache/leash"
	"github.com/leashcache/leash/backends/redisstore"
	"github.com/leashcache/leash/backends/storetest"
)

// The embedded server keeps every rule that a real one keeps; it is what users
// of the library may test with as well.
func TestEmbeddedServerConforms(t *testing.T) {
	s, err := embed()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	o, err := redis.ParseURL(s.url)
	if err != nil {
		t.Fatal(err)
	}
	storetest.Run(t, func(t *testing.T) leash.Store {
		rdb := redis.NewClient(o)
		t.Cleanup(func() { rdb.Close() })
		store := redisstore.New(rdb)
		t.Cleanup(func() { store.Close() })
		return store
	})
}
