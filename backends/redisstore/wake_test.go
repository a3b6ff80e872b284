// SPDX-License-Identifier: Apache-2.0

package redisstore

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/leashcache/leash/internal/servers"
)

// waiter has b wait for a's lease on key, and returns that lease.
func waiter(t *testing.T, a, b node, key string) (token [16]byte, wake <-chan []byte) {
	t.Helper()
	token = a.take(t, key, nil)
	wake, stop := b.Watch(key)
	t.Cleanup(stop)
	b.refuse(t, key, nil)
	return token, wake
}

func TestHint(t *testing.T) {
	t.Parallel()
	srv := servers.Redis(t)
	a, b := newNode(t, srv), newNode(t, srv)
	for _, c := range []struct {
		name    string
		payload int
		told    bool
	}{{"small", 100, true}, {"at the limit", defaultHintLimit - 114, true}, {"too big", defaultHintLimit - 113, false}} {
		t.Run(c.name, func(t *testing.T) {
			key := "users:" + c.name
			token, wake := waiter(t, a, b, key)
			v := a.publish(t, key, token, strings.Repeat("x", c.payload))
			got := hint(t, wake, 5*time.Second)
			if c.told != bytes.Equal(got, v) || !c.told && got != nil {
				t.Errorf("told %d bytes of %d", len(got), len(v))
			}
		})
	}
	t.Run("off", func(t *testing.T) {
		s := node{New(a.rdb, Options{HintLimit: -1}), nil}
		token, wake := waiter(t, s, b, "users:off")
		s.publish(t, "users:off", token, "v")
		if got := hint(t, wake, 5*time.Second); got != nil {
			t.Errorf("told %d bytes", len(got))
		}
	})
}

// Several namespaces share one connection, and messages find their keys.
func TestNamespaces(t *testing.T) {
	t.Parallel()
	srv := servers.Redis(t)
	a, b := newNode(t, srv), newNode(t, srv)
	keys := []string{"users:1", "orders:1", "users:2", "no namespace", "a:b:c"}
	wakes, tokens := map[string]<-chan []byte{}, map[string][16]byte{}
	for _, key := range keys {
		tokens[key], wakes[key] = waiter(t, a, b, key)
	}
	for _, key := range keys {
		v := a.publish(t, key, tokens[key], "of "+key)
		if got := hint(t, wakes[key], 5*time.Second); !bytes.Equal(got, v) {
			t.Errorf("%s: told %q", key, got)
		}
	}
	if n := strings.Count(clients(t, a, "pubsub"), "\n"); n != 1 {
		t.Errorf("%d connections are subscribed", n)
	}
	if long, _ := a.Watch(strings.Repeat("n", 300) + ":1"); long != nil {
		t.Error("a namespace too long for the list can be watched")
	}
}

func clients(t *testing.T, n node, kind string) string {
	t.Helper()
	text, err := n.rdb.Do(t.Context(), "client", "list", "type", kind).Text()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestNoSubscriptionWithoutNeed(t *testing.T) {
	t.Parallel()
	srv := servers.Redis(t)
	a, b := newNode(t, srv), newNode(t, srv)
	b.wake.idle = 50 * time.Millisecond
	b.refuse(t, keyWithLease(t, a, "users:1"), nil) // nobody watches
	_, stop := b.Watch("users:1")
	b.take(t, "users:2", nil) // nobody is refused
	if got := clients(t, a, "pubsub"); got != "" {
		t.Fatalf("subscribed without need: %s", got)
	}
	for range 2 {
		b.refuse(t, "users:1", nil)
		if got := clients(t, a, "pubsub"); strings.Count(got, "\n") != 1 {
			t.Fatalf("subscriptions: %q", got)
		}
		done := b.wake.done
		stop()
		select {
		case <-done:
		case <-time.After(5 * time.Second):
			t.Fatal("the listener does not end")
		}
		eventually(t, "no subscription", 5*time.Second, func() bool { return clients(t, a, "pubsub") == "" })
		_, stop = b.Watch("users:1")
	}
	stop()
	if n := len(b.wake.watches.byKey); n != 0 {
		t.Errorf("%d keys are still watched", n)
	}
}

func TestClose(t *testing.T) {
	t.Parallel()
	srv := servers.Redis(t)
	a, b := newNode(t, srv), newNode(t, srv)
	waiter(t, a, b, "users:1")
	done := b.wake.done
	_ = b.Close()
	select {
	case <-done:
	default:
		t.Error("the listener is still there")
	}
	if wake, stop := b.Watch("users:1"); wake != nil {
		t.Error("a closed store can be watched")
	} else {
		stop()
	}
	b.refuse(t, "users:1", nil)
	_ = b.Close()
}

// Without the right to subscribe nobody is told, it is said once, and nobody
// tries again for half a minute.
func TestSubscribeForbidden(t *testing.T) {
	t.Parallel()
	srv := servers.Redis(t, noSubscribe, noChannels)
	for _, user := range []string{"nosubscribe", "nochannels"} {
		t.Run(user, func(t *testing.T) {
			var said bytes.Buffer
			a, b := newNode(t, srv), newNode(t, srv, asUser(user))
			b.wake.log = slog.New(slog.NewTextHandler(&said, nil))
			key := "users:" + user
			a.take(t, key, nil)
			wake, stop := b.Watch(key)
			defer stop()
			if wake == nil {
				t.Fatal("it was not tried yet")
			}
			c := newCounter(t, srv)
			for range 3 {
				b.refuse(t, key, nil)
				if wake, stop := b.Watch(key); wake != nil {
					t.Error("there is a channel that nothing will come through")
					stop()
				}
			}
			if got := c.count(t); got["subscribe"] > 1 {
				t.Errorf("tried %d times", got["subscribe"])
			}
			done := b.wake.done
			<-done
			if got := strings.Count(said.String(), "\n"); got != 1 {
				t.Errorf("said %d times: %s", got, &said)
			}
			b.wake.mu.Lock()
			clear(b.wake.blocked) // half a minute later
			b.wake.mu.Unlock()
			if wake, stop := b.Watch(key); wake == nil {
				t.Error("it is not tried again")
			} else {
				stop()
			}
		})
	}
}

// The wake must not spoil the publish. Here the publisher may not
// publish messages, and the waiter may subscribe.
func TestWakeForbidden(t *testing.T) {
	t.Parallel()
	srv := servers.Redis(t, noChannels)
	a, b := newNode(t, srv, asUser("nochannels")), newNode(t, srv)
	token, _ := waiter(t, a, b, "users:1")
	v := a.publish(t, "users:1", token, "v")
	if got := b.get(t, "users:1"); !bytes.Equal(got, v) {
		t.Errorf("stored is %q", got)
	}
	if err := a.Delete(t.Context(), "users:1"); err != nil {
		t.Error(err)
	}
}

// The list of waiters has an end; who does not get on it is refused all the same.
func TestListIsBounded(t *testing.T) {
	t.Parallel()
	ways(t, func(t *testing.T, n node, c *counter) {
		key := "users:" + t.Name()
		n.take(t, key, nil)
		full := append(n.get(t, key), bytes.Repeat(item("users:~leash:somebody"), maxList/22)...)
		c.rdb.Set(t.Context(), key, full, redis.KeepTTL)
		_, stop := n.Watch(key)
		defer stop()
		n.refuse(t, key, nil)
		if got := n.get(t, key); len(got) != len(full) {
			t.Errorf("the list grew from %d to %d", len(full), len(got))
		}
	})
}
