// SPDX-License-Identifier: Apache-2.0

package redisstore

import (
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/leashcache/leash"
	"github.com/leashcache/leash/backends/storetest"
	"github.com/leashcache/leash/internal/servers"
)

// There is no Redis 6 here. What it would refuse is refused on the way.
func TestRedis6(t *testing.T) {
	t.Parallel()
	srv := servers.Redis(t)
	storetest.Run(t, func(t *testing.T) leash.Store {
		n := newNode(t, srv, func(o *redis.Options) { o.MaxRetries = -1 })
		n.line.answers = map[string]string{
			"\r\nnx\r\n$3\r\nget\r\n": "-ERR syntax error\r\n",
			"#!lua":                   "-ERR Error compiling script (new function): user_script:1: unexpected symbol near '#' \r\n",
		}
		t.Cleanup(func() {
			if !t.Failed() && n.noSetGet.Load() && n.noScript.Load() {
				t.Error("scripts are taken to be forbidden")
			}
		})
		return n.Store
	})
}
