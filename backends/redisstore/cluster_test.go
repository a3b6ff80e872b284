// SPDX-License-Identifier: Apache-2.0

package redisstore

import (
	"bytes"
	"net"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/leashcache/leash/internal/servers"
)

// A slot moves to another server, in steps, while one node holds
// a lease and another one waits. The lease, the list of waiters and the fence
// move with the entry, and the waiter is woken from the other server.
func TestSlotMigration(t *testing.T) {
	t.Parallel()
	c := servers.Cluster(t)
	dial := func() node {
		rdb := redis.NewClusterClient(&redis.ClusterOptions{Addrs: c.Addrs()})
		return node{newStore(t, rdb), nil}
	}
	a, b := dial(), dial()
	key := "users:1"
	m := newMove(t, c, key)

	token, wake := waiter(t, a, b, key)
	m.begin(t)
	if held, err := a.Renew(t.Context(), key, token[:], 10*time.Second); err != nil || !held {
		t.Errorf("renew before the entry moves: %v, %v", held, err)
	}
	m.migrate(t, key)
	if held, err := a.Renew(t.Context(), key, token[:], 10*time.Second); err != nil || !held {
		t.Errorf("renew after the entry has moved: %v, %v", held, err)
	}
	b.refuse(t, key, nil)
	v := a.publish(t, key, token, "v")
	if got := hint(t, wake, 5*time.Second); !bytes.Equal(got, v) {
		t.Errorf("told %q", got)
	}
	if got := b.get(t, key); !bytes.Equal(got, v) {
		t.Errorf("read %q while the slot moves", got)
	}
	if all, err := b.GetMany(t.Context(), []string{key, "users:2", "users:3"}); err != nil || !bytes.Equal(all[0], v) {
		t.Errorf("read %q, %v while the slot moves", all, err)
	}
	token = a.take(t, key, v)
	b.refuse(t, key, v)
	m.end(t)
	if held, err := a.Abandon(t.Context(), key, token[:], 0); err != nil || !held {
		t.Errorf("abandon after the slot has moved: %v, %v", held, err)
	}
	hint(t, wake, 5*time.Second)
	if got := b.get(t, key); !bytes.Equal(got, v) {
		t.Errorf("read %q after the slot has moved", got)
	}
	if err := b.Delete(t.Context(), key); err != nil {
		t.Error(err)
	}
	a.take(t, key, nil)
}

// move is a slot on its way from one server to the next.
type move struct {
	slot           int
	from, to       *redis.Client
	fromID, toID   string
	toHost, toPort string
	all            []*redis.Client
}

func newMove(t *testing.T, c *servers.RedisCluster, key string) *move {
	t.Helper()
	m := &move{}
	for _, addr := range c.Addrs() {
		rdb := redis.NewClient(&redis.Options{Addr: addr})
		t.Cleanup(func() { _ = rdb.Close() })
		m.all = append(m.all, rdb)
	}
	m.slot = int(m.all[0].ClusterKeySlot(t.Context(), key).Val())
	owner := m.slot * 3 / 16384
	m.from, m.to = m.all[owner], m.all[(owner+1)%3]
	m.toHost, m.toPort, _ = net.SplitHostPort(m.to.Options().Addr)
	m.fromID = m.from.Do(t.Context(), "cluster", "myid").Val().(string)
	m.toID = m.to.Do(t.Context(), "cluster", "myid").Val().(string)
	return m
}

func (m *move) order(t *testing.T, rdb *redis.Client, args ...any) {
	t.Helper()
	if err := rdb.Do(t.Context(), args...).Err(); err != nil {
		t.Fatal(args, err)
	}
}

func (m *move) begin(t *testing.T) {
	t.Helper()
	m.order(t, m.to, "cluster", "setslot", m.slot, "importing", m.fromID)
	m.order(t, m.from, "cluster", "setslot", m.slot, "migrating", m.toID)
}

func (m *move) migrate(t *testing.T, key string) {
	t.Helper()
	m.order(t, m.from, "migrate", m.toHost, m.toPort, key, 0, 5000)
}

func (m *move) end(t *testing.T) {
	t.Helper()
	for _, rdb := range []*redis.Client{m.to, m.from, m.all[0], m.all[1], m.all[2]} {
		m.order(t, rdb, "cluster", "setslot", m.slot, "node", m.toID)
	}
}
