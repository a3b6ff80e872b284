// SPDX-License-Identifier: Apache-2.0

package redisstore

import (
	"bytes"
	"log/slog"
	"testing"
	"time"

	"github.com/leashcache/leash/internal/servers"
)

// A subscription that was cut is made again, everybody is told to look, and
// what is published after that comes through.
func TestSubscriptionCut(t *testing.T) {
	t.Parallel()
	srv := servers.Redis(t)
	a, b := newNode(t, srv), newNode(t, srv)
	token, wake := waiter(t, a, b, "users:1")
	for range 3 {
		if n := a.rdb.Do(t.Context(), "client", "kill", "type", "pubsub"); n.Err() != nil || n.Val() != int64(1) {
			t.Fatal(n)
		}
		if got := hint(t, wake, 5*time.Second); got != nil {
			t.Errorf("told %q", got)
		}
	}
	v := a.publish(t, "users:1", token, "v")
	if got := hint(t, wake, 5*time.Second); !bytes.Equal(got, v) {
		t.Errorf("told %q", got)
	}
}

// A connection that is silent is noticed after 2 s, though nothing ends it.
func TestSubscriptionSilent(t *testing.T) {
	t.Parallel()
	srv := servers.Redis(t)
	a, b := newNode(t, srv), newNode(t, srv)
	token, wake := waiter(t, a, b, "users:1")
	b.line.silence()
	start := time.Now()
	a.publish(t, "users:1", token, "lost on the way")
	if got := hint(t, wake, 20*time.Second); got != nil {
		t.Errorf("told %q", got)
	}
	t.Logf("noticed after %v", time.Since(start))
	token, wake = waiter(t, a, b, "users:2")
	v := a.publish(t, "users:2", token, "v")
	if got := hint(t, wake, 5*time.Second); !bytes.Equal(got, v) {
		t.Errorf("told %q", got)
	}
}

// A restart of the server loses leases, lists and subscriptions, and all of it
// comes back. A lease may meet a dead connection of the pool, which is an error:
// it is sent once.
func TestRestart(t *testing.T) {
	t.Parallel()
	srv := servers.Redis(t)
	a, b := newNode(t, srv), newNode(t, srv)
	_, wake := waiter(t, a, b, "users:1")
	if err := srv.Restart(); err != nil {
		t.Fatal(err)
	}
	if got := hint(t, wake, 10*time.Second); got != nil {
		t.Errorf("told %q", got)
	}
	eventually(t, "a lease", 10*time.Second, func() bool {
		o, err := a.try(t, "users:1", newToken(), nil)
		return err == nil && o.left == 0
	})
	eventually(t, "a refusal", 10*time.Second, func() bool {
		o, err := b.try(t, "users:1", newToken(), nil)
		return err == nil && o.left > 0
	})
	if err := a.Delete(t.Context(), "users:1"); err != nil {
		t.Fatal(err)
	}
	hint(t, wake, 5*time.Second)
}

// A server that stays away is left alone after some seconds.
func TestServerGone(t *testing.T) {
	t.Parallel()
	srv := servers.Redis(t)
	a, b := newNode(t, srv), newNode(t, srv)
	b.wake.log = slog.New(slog.DiscardHandler)
	waiter(t, a, b, "users:1")
	done := b.wake.done
	srv.Stop()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Fatal("it is tried for ever")
	}
	if wake, stop := b.Watch("users:1"); wake != nil {
		t.Error("there is a channel that nothing will come through")
	} else {
		stop()
	}
	start := time.Now()
	if _, err := b.Get(t.Context(), "users:1", nil); err == nil || time.Since(start) > 5*time.Second {
		t.Errorf("after %v: %v", time.Since(start), err)
	}
	if err := srv.Restart(); err != nil {
		t.Fatal(err)
	}
	b.wake.mu.Lock()
	clear(b.wake.blocked) // half a minute later
	b.wake.mu.Unlock()
	var token [16]byte
	eventually(t, "a lease", 10*time.Second, func() bool {
		token = newToken()
		o, err := a.try(t, "users:2", token, nil)
		return err == nil && o.entry == nil
	})
	wake, stop := b.Watch("users:2")
	defer stop()
	eventually(t, "a refusal", 10*time.Second, func() bool {
		o, err := b.try(t, "users:2", newToken(), nil)
		return err == nil && o.left > 0
	})
	v := a.publish(t, "users:2", token, "v")
	if got := hint(t, wake, 5*time.Second); !bytes.Equal(got, v) {
		t.Errorf("told %q", got)
	}
}
