// SPDX-License-Identifier: Apache-2.0

package redisstore

import (
	"bytes"
	"fmt"
	"maps"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/leashcache/leash/internal/servers"
)

var statLine = regexp.MustCompile(`(?m)^cmdstat_([^:]+):calls=(\d+)`)

// counter counts what a server was asked to do.
type counter struct {
	rdb    *redis.Client
	before map[string]int
}

func newCounter(t *testing.T, srv *servers.Server) *counter {
	rdb := redis.NewClient(&redis.Options{Addr: srv.Addr()})
	t.Cleanup(func() { _ = rdb.Close() })
	c := &counter{rdb: rdb}
	c.count(t)
	return c
}

// count returns the calls since the last one. What scripts call counts, too, and
// is left out, as is what go-redis says on a new connection.
func (c *counter) count(t *testing.T) map[string]int {
	t.Helper()
	text, err := c.rdb.Info(t.Context(), "commandstats").Result()
	if err != nil {
		t.Fatal(err)
	}
	now, diff := map[string]int{}, map[string]int{}
	for _, m := range statLine.FindAllStringSubmatch(text, -1) {
		now[m[1]], _ = strconv.Atoi(m[2])
		if d := now[m[1]] - c.before[m[1]]; d > 0 {
			diff[m[1]] = d
		}
	}
	for _, name := range []string{"info", "hello", "client|setinfo", "client|maint_notifications", "ping"} {
		delete(diff, name)
	}
	c.before = now
	return diff
}

// The table in the package comment: what is sent in each step.
func TestCommands(t *testing.T) {
	srv := servers.Redis(t)
	a, b := newNode(t, srv), newNode(t, srv)
	// Each script is once sent as a whole.
	token := a.take(t, "warm:1", nil)
	a.refuse(t, "warm:1", a.get(t, "warm:1"))
	v := a.publish(t, "warm:1", token, "v")
	token = a.take(t, "warm:1", v)
	_, _ = a.Renew(t.Context(), "warm:1", token[:], time.Second)
	_, _ = a.Abandon(t.Context(), "warm:1", token[:], 0)
	if err := a.Delete(t.Context(), "warm:1"); err != nil {
		t.Fatal(err)
	}

	c := newCounter(t, srv)
	expect := func(step string, want map[string]int) {
		t.Helper()
		if got := c.count(t); !maps.Equal(got, want) {
			t.Errorf("%s: %v, want %v", step, got, want)
		}
	}
	type m = map[string]int
	key := "users:1"
	if a.get(t, key) != nil {
		t.Fatal("something is there")
	}
	token = a.take(t, key, nil)
	expect("read and lease of a miss", m{"get": 1, "set": 1})
	v = a.publish(t, key, token, "v")
	expect("publish", m{"evalsha": 1, "getrange": 1, "set": 1})
	if got := a.get(t, key); !bytes.Equal(got, v) {
		t.Fatalf("got %q", got)
	}
	expect("hit", m{"get": 1})
	if _, err := a.GetMany(t.Context(), []string{key, "users:2", "users:3"}); err != nil {
		t.Fatal(err)
	}
	expect("GetMany of 3", m{"get": 3})
	if o, err := b.try(t, key, newToken(), nil); err != nil || o.left != 0 || !bytes.Equal(o.entry, v) {
		t.Fatal(o, err)
	}
	expect("lease where a value has come", m{"set": 1})
	token = a.take(t, key, v)
	expect("lease on a value", m{"evalsha": 1, "type": 1, "getrange": 1, "time": 1, "pttl": 1, "setrange": 1})
	wake, stop := b.Watch(key)
	defer stop()
	c.count(t)
	b.refuse(t, key, v)
	expect("first refusal", m{"evalsha": 2, "type": 2, "getrange": 3, "time": 2, "pttl": 2, "strlen": 1, "append": 1, "subscribe": 1})
	b.refuse(t, key, v)
	expect("second refusal", m{"evalsha": 1, "type": 1, "getrange": 2, "time": 1, "pttl": 1, "strlen": 1})
	if held, err := a.Renew(t.Context(), key, token[:], time.Second); err != nil || !held {
		t.Fatal(held, err)
	}
	expect("renew", m{"evalsha": 1, "type": 1, "getrange": 1, "time": 1, "pttl": 1, "setrange": 1})
	v = a.publish(t, key, token, "v2")
	if got := hint(t, wake, 5*time.Second); !bytes.Equal(got, v) {
		t.Fatalf("told %q", got)
	}
	expect("publish to one waiter", m{"evalsha": 1, "type": 1, "getrange": 3, "set": 1, "publish": 1})
	if err := a.Delete(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	expect("delete", m{"evalsha": 1, "type": 1, "getrange": 2, "del": 1})
}

// What stands in Redis is a format that other versions must read.
func TestGolden(t *testing.T) {
	srv := servers.Redis(t)
	a, b := newNode(t, srv), newNode(t, srv)
	b.wake.id = "00112233445566778899aabbccddeeff"
	key := "users:1"
	token := [16]byte{0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf}
	if o, err := a.try(t, key, token, nil); err != nil || o.entry != nil {
		t.Fatal(o, err)
	}
	const lease = "4c534801" + "a0a1a2a3a4a5a6a7a8a9aaabacadaeaf" + // magic, token
		"0000000000000000" + "0000000000000000" + // until, end
		"00000000" + "00002710" + "00000000" + "00000000" + // counter, length, expected, flags
		"00000000000000000000000000000000" + "00000000" // publisher, size
	if got := fmt.Sprintf("%x", a.get(t, key)); got != lease {
		t.Errorf("lease:\n%s, want\n%s", got, lease)
	}
	_, stop := b.Watch(key)
	defer stop()
	b.refuse(t, key, nil)
	list := fmt.Sprintf("2d%x", "users:~leash:00112233445566778899aabbccddeeff")
	if got := fmt.Sprintf("%x", a.get(t, key)); got != lease+list {
		t.Errorf("lease with a waiter:\n%s, want\n%s", got, lease+list)
	}
}
