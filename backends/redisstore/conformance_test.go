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
	for name, dial := range map[string]func(addr string) redis.UniversalClient{
		"resp3": func(addr string) redis.UniversalClient {
			return redis.NewClient(&redis.Options{Addr: addr})
		},
		"resp2": func(addr string) redis.UniversalClient {
			return redis.NewClient(&redis.Options{Addr: addr, Protocol: 2})
		},
		"autopipeline": func(addr string) redis.UniversalClient {
			return pipeline(redis.NewClient(&redis.Options{Addr: addr}).AutoPipeline())
		},
		"async autopipeline": func(addr string) redis.UniversalClient {
			return pipeline(redis.NewClient(&redis.Options{Addr: addr}).AsyncAutoPipeline())
		},
		"full-duplex autopipeline": func(addr string) redis.UniversalClient {
			return pipeline(redis.NewClient(&redis.Options{
				Addr: addr, AutoPipelineOptions: &redis.AutoPipelineOptions{FullDuplex: true},
			}).AutoPipeline())
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rdb := dial(servers.Redis(t).Addr())
			suite(t, rdb, rdb, false).Run(t)
		})
	}
}

func TestStoreOnCluster(t *testing.T) {
	t.Parallel()
	c := redis.NewClusterClient(&redis.ClusterOptions{Addrs: servers.Cluster(t).Addrs()})
	suite(t, c, c, false).Run(t)
	t.Run("autopipeline", func(t *testing.T) { suite(t, c, pipeline(c.AutoPipeline()), false).Run(t) })
}

func pipeline(ap *redis.AutoPipeliner, err error) redis.UniversalClient {
	if err != nil {
		panic(err) // only for options that contradict each other
	}
	return ap
}

// The rights that the package comment lists are enough, and each may be missing.
func TestStoreWithRights(t *testing.T) {
	for name, test := range map[string]struct {
		rights  string
		noHints bool
	}{
		"all":                   {steps + scripts + subscriptions, false},
		"no scripts":            {steps + transactions + subscriptions, false},
		"no pubsub":             {steps + scripts, true},
		"no channels":           {steps + scripts + subscriptions + " resetchannels", true},
		"no scripts, no pubsub": {steps + transactions, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			addr := servers.Redis(t, "user app "+test.rights).Addr()
			suite(t,
				redis.NewClient(&redis.Options{Addr: addr}),
				redis.NewClient(&redis.Options{Addr: addr, Username: "app", Password: "secret"}),
				test.noHints,
			).Run(t)
		})
	}
}

// suite is about two nodes that share a client. What a Store cannot write, admin does.
func suite(t *testing.T, admin, rdb redis.UniversalClient, noHints bool) storetest.Config {
	t.Cleanup(func() { _, _ = rdb.Close(), admin.Close() })
	open := func(t *testing.T) leash.Store {
		s := redisstore.New(rdb)
		t.Cleanup(func() { _ = s.Close() })
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
