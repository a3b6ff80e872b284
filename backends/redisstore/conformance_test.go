// SPDX-License-Identifier: Apache-2.0

package redisstore_test

import (
	"context"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/leashcache/leash"
	"github.com/leashcache/leash/backends/redisstore"
	"github.com/leashcache/leash/backends/storetest"
	"github.com/leashcache/leash/internal/servers"
)

var (
	_ leash.Store      = (*redisstore.Store)(nil)
	_ leash.BatchStore = (*redisstore.Store)(nil)
	_ leash.Waker      = (*redisstore.Store)(nil)
)

// Rights as the package comment has them, for the keys of the suite, which have
// no namespace.
const (
	scripts       = " +eval +evalsha +getrange +setrange +strlen +append +pexpire"
	transactions  = " +watch +unwatch +multi +exec"
	subscriptions = " +subscribe +unsubscribe +ping +publish"
	steps         = "on >secret resetkeys ~storetest/* resetchannels &~leash:* -@all +get +set +del +type +time +pttl"
)

func TestStore(t *testing.T) {
	t.Run("client", func(t *testing.T) { conform(t, client(servers.Redis(t).Addr(), 3), false) })
	t.Run("resp2", func(t *testing.T) { conform(t, client(servers.Redis(t).Addr(), 2), false) })
	t.Run("cluster", func(t *testing.T) {
		addrs := servers.Cluster(t).Addrs()
		conform(t, func() redis.UniversalClient {
			return redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs})
		}, false)
	})
}

func TestStoreOnAutoPipeline(t *testing.T) {
	addr := servers.Redis(t).Addr()
	for name, pipeline := range map[string]func(*redis.Client) (*redis.AutoPipeliner, error){
		"blocking": (*redis.Client).AutoPipeline,
		"async":    (*redis.Client).AsyncAutoPipeline,
	} {
		t.Run(name, func(t *testing.T) {
			rdb := redis.NewClient(&redis.Options{Addr: addr})
			ap, err := pipeline(rdb)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _, _ = ap.Close(), rdb.Close() })
			suite(rdb, func() redis.UniversalClient { return ap }, false).Run(t)
		})
	}
}

// The rights that the package comment lists are enough, and each may be missing.
func TestStoreWithRights(t *testing.T) {
	for name, rights := range map[string]string{
		"all":                   steps + scripts + subscriptions,
		"no scripts":            steps + transactions + subscriptions,
		"no pubsub":             steps + scripts,
		"no scripts, no pubsub": steps + transactions,
		"no channels":           "resetchannels " + steps + scripts + subscriptions + " resetchannels",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			addr := servers.Redis(t, "user app "+rights).Addr()
			admin := redis.NewClient(&redis.Options{Addr: addr})
			t.Cleanup(func() { _ = admin.Close() })
			noHints := name[:2] == "no" && name != "no scripts"
			suite(admin, func() redis.UniversalClient {
				return redis.NewClient(&redis.Options{Addr: addr, Username: "app", Password: "secret"})
			}, noHints).Run(t)
		})
	}
}

func client(addr string, protocol int) func() redis.UniversalClient {
	return func() redis.UniversalClient {
		return redis.NewClient(&redis.Options{Addr: addr, Protocol: protocol})
	}
}

func conform(t *testing.T, dial func() redis.UniversalClient, noHints bool) {
	admin := dial()
	t.Cleanup(func() { _ = admin.Close() })
	suite(admin, dial, noHints).Run(t)
}

// suite plants what a Store cannot write through admin.
func suite(admin redis.UniversalClient, dial func() redis.UniversalClient, noHints bool) storetest.Config {
	open := func(t *testing.T) leash.Store {
		rdb := dial()
		s := redisstore.New(rdb)
		t.Cleanup(func() {
			_ = s.Close()
			if _, shared := rdb.(*redis.AutoPipeliner); !shared {
				_ = rdb.Close()
			}
		})
		return s
	}
	ctx := context.Background()
	return storetest.Config{
		New:     open,
		Node:    func(t *testing.T, _ leash.Store) leash.Store { return open(t) },
		NoHints: noHints,
		Raw: func(_ leash.Store, key string, data []byte) error {
			return admin.Set(ctx, key, data, 0).Err()
		},
		OtherType: func(_ leash.Store, key string) error {
			return admin.RPush(ctx, key, "a", "b").Err()
		},
	}
}
