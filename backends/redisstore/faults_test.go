// SPDX-License-Identifier: Apache-2.0

package redisstore

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/leashcache/leash/internal/entry"
	"github.com/leashcache/leash/internal/servers"
)

const (
	noScripts   = "user noscripts on >secret ~* &* +@all -@scripting"
	noChannels  = "user nochannels on >secret ~* resetchannels +@all"
	noSubscribe = "user nosubscribe on >secret ~* &* +@all -subscribe"
)

// ways runs f with scripts, on go-redis's two kinds of clients, and without.
func ways(t *testing.T, f func(t *testing.T, n node, c *counter)) {
	srv := servers.Redis(t, noScripts)
	c := newCounter(t, srv)
	t.Run("scripts", func(t *testing.T) { f(t, newNode(t, srv), c) })
	t.Run("autopipeline", func(t *testing.T) {
		n := newNode(t, srv)
		ap, err := n.rdb.AutoPipeline()
		if err != nil {
			t.Fatal(err)
		}
		f(t, node{newStore(t, ap), n.line}, c)
	})
	t.Run("transactions", func(t *testing.T) {
		n := newNode(t, srv, asUser("noscripts"))
		f(t, n, c)
		if !n.noScript.Load() {
			t.Error("scripts were not found to be forbidden")
		}
	})
}

// Fact 1: a lease command is sent once, whatever becomes of its reply.
func TestLeaseIsSentOnce(t *testing.T) {
	t.Parallel()
	ways(t, func(t *testing.T, n node, c *counter) {
		key := "users:" + t.Name()
		n.refuse(t, key, n.get(t, keyWithLease(t, n, key))) // scripts are known now
		if err := n.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		command, counted := "\r\nset\r\n", "set"
		for _, seen := range [][]byte{nil, newValue(key, newToken(), "v")} {
			if seen != nil {
				if _, err := n.Publish(t.Context(), key, seen, time.Minute, true); err != nil {
					t.Fatal(err)
				}
				command, counted = "\r\nevalsha\r\n", "evalsha"
				if n.noScript.Load() {
					command, counted = "\r\nexec\r\n", "exec"
				}
			}
			c.count(t)
			n.line.loseReplyTo(command)
			token := newToken()
			if _, err := n.try(t, key, token, seen); err == nil {
				t.Fatal("the reply was lost, and Lease knows one")
			} else if strings.Contains(err.Error(), key) {
				t.Errorf("the key is in the error: %v", err)
			}
			if got := c.count(t); got[counted] != 1 || n.line.replies() != 1 {
				t.Errorf("sent %v, and %d replies lost", got, n.line.replies())
			}
			if h, ok := entry.HeadOf(n.get(t, key)); !ok || h.Token() != token {
				t.Error("the lease does not stand")
			}
		}
	})
}

func keyWithLease(t *testing.T, n node, key string) string {
	t.Helper()
	n.take(t, key, nil)
	return key
}

// A step that may be done twice survives a lost reply with scripts; without
// them its outcome is unknown and it may be asked for again.
func TestLostReplies(t *testing.T) {
	t.Parallel()
	ways(t, func(t *testing.T, n node, c *counter) {
		key := "users:" + t.Name()
		keyWithLease(t, n, key)
		n.refuse(t, key, n.get(t, key))
		if err := n.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		lose := "\r\nevalsha\r\n"
		if n.noScript.Load() {
			lose = "\r\nexec\r\n"
		}
		again := func(step string, do func() (bool, error)) {
			t.Helper()
			n.line.loseReplyTo(lose)
			done, err := do()
			if n.line.replies() != 1 {
				t.Fatalf("%s: %d replies lost", step, n.line.replies())
			}
			if n.noScript.Load() {
				if err == nil {
					t.Fatalf("%s: an unknown outcome is no error", step)
				}
				done, err = do()
			}
			if err != nil || !done {
				t.Fatalf("%s: %v, %v", step, done, err)
			}
		}
		token := n.take(t, key, nil)
		again("renew", func() (bool, error) { return n.Renew(t.Context(), key, token[:], time.Minute) })
		v := newValue(key, token, "v")
		again("publish", func() (bool, error) { return n.Publish(t.Context(), key, v, time.Minute, false) })

		for _, command := range []string{"\r\nget\r\n", "\r\nget\r\n"} {
			n.line.loseReplyTo(command)
			if b := n.get(t, key); !bytes.Equal(b, v) || n.line.replies() != 1 {
				t.Fatalf("got %q", b)
			}
		}
		n.line.loseReplyTo("\r\nget\r\n")
		if all, err := n.GetMany(t.Context(), []string{key, "users:none"}); err != nil || !bytes.Equal(all[0], v) || all[1] != nil {
			t.Fatalf("got %q, %v", all, err)
		}

		token = n.take(t, key, v)
		n.line.loseReplyTo(lose)
		_, err := n.Abandon(t.Context(), key, token[:], 0) // that it stood, nobody knows any more
		if (err != nil) != n.noScript.Load() {
			t.Fatalf("abandon: %v", err)
		}
		if h, _ := entry.HeadOf(n.get(t, key)); !h.Token().IsZero() {
			t.Error("the lease still stands")
		}
		n.line.loseReplyTo("\r\n" + map[bool]string{false: "evalsha", true: "del"}[n.noScript.Load()] + "\r\n")
		if err := n.Delete(t.Context(), key); err != nil || n.line.replies() != 1 {
			t.Fatalf("delete: %v", err)
		}
		if b := n.get(t, key); b != nil {
			t.Errorf("%q is left", b)
		}
	})
}

// A transaction whose first command meets a dead connection starts again.
func TestWatchOnDeadConnection(t *testing.T) {
	t.Parallel()
	n := newNode(t, servers.Redis(t, noScripts), asUser("noscripts"))
	n.noScript.Store(true)
	token := n.take(t, "users:1", nil)
	n.line.loseReplyTo("\r\npttl\r\n")
	n.publish(t, "users:1", token, "v")
	if n.line.replies() != 1 {
		t.Error("no reply was lost")
	}
}

// Fact 5: a server that is full refuses a publish, and the lease can be given up.
func TestOutOfMemory(t *testing.T) {
	t.Parallel()
	srv := servers.Redis(t, "maxmemory-policy noeviction")
	n := newNode(t, srv)
	admin := newCounter(t, srv).rdb
	for _, stale := range []bool{false, true} {
		admin.ConfigSet(t.Context(), "maxmemory", "0")
		key := map[bool]string{false: "users:1", true: "users:2"}[stale]
		var v []byte
		if stale {
			v = n.publish(t, key, n.take(t, key, nil), "stale")
		}
		token := n.take(t, key, v)
		admin.ConfigSet(t.Context(), "maxmemory", "1")
		if _, err := n.Publish(t.Context(), key, newValue(key, token, "v"), time.Minute, false); !redis.IsOOMError(err) {
			t.Fatalf("publish: %v, want OOM", err)
		}
		if held, err := n.Renew(t.Context(), key, token[:], time.Minute); err != nil || !held {
			t.Errorf("renew: %v, %v", held, err)
		}
		if _, err := n.try(t, "users:3", newToken(), nil); !redis.IsOOMError(err) {
			t.Errorf("lease: %v, want OOM", err)
		}
		if held, err := n.Abandon(t.Context(), key, token[:], 0); err != nil || !held {
			t.Errorf("abandon: %v, %v", held, err)
		}
		if b := n.get(t, key); !bytes.Equal(b, v) {
			t.Errorf("left is %q, want %q", b, v)
		}
		if err := n.Delete(t.Context(), key); err != nil {
			t.Errorf("delete: %v", err)
		}
	}
}

// A renewal or an abandonment that comes after the publish.
func TestLateSteps(t *testing.T) {
	t.Parallel()
	ways(t, func(t *testing.T, n node, c *counter) {
		key := "users:" + t.Name()
		token := n.take(t, key, nil)
		v := n.publish(t, key, token, "v")
		life := c.rdb.PTTL(t.Context(), key).Val()
		for range 2 {
			if held, err := n.Renew(t.Context(), key, token[:], time.Hour); err != nil || held {
				t.Errorf("renew: %v, %v", held, err)
			}
			if held, err := n.Abandon(t.Context(), key, token[:], time.Hour); err != nil || held {
				t.Errorf("abandon: %v, %v", held, err)
			}
		}
		if b := n.get(t, key); !bytes.Equal(b, v) {
			t.Errorf("the value became %q", b)
		}
		if now := c.rdb.PTTL(t.Context(), key).Val(); now > life || now < life-10*time.Second {
			t.Errorf("its life went from %v to %v", life, now)
		}
	})
}

// An entry that is about to end lives as long as a lease on it,
// and goes back to its own end.
func TestLifeOfLeasedValue(t *testing.T) {
	t.Parallel()
	ways(t, func(t *testing.T, n node, c *counter) {
		key := "users:" + t.Name()
		v := newValue(key, newToken(), "v")
		if _, err := n.Publish(t.Context(), key, v, 5*time.Second, true); err != nil {
			t.Fatal(err)
		}
		token := n.take(t, key, v) // of 10 s
		if life := c.rdb.PTTL(t.Context(), key).Val(); life <= 5*time.Second {
			t.Errorf("under the lease it lives for %v", life)
		}
		if held, err := n.Abandon(t.Context(), key, token[:], 0); err != nil || !held {
			t.Fatal(held, err)
		}
		if life := c.rdb.PTTL(t.Context(), key).Val(); life <= 0 || life > 5*time.Second {
			t.Errorf("without the lease it lives for %v", life)
		}
		// Without an end it stays so, also when waiters are cut off.
		c.rdb.Persist(t.Context(), key)
		token = n.take(t, key, v)
		_, stop := n.Watch(key)
		defer stop()
		n.refuse(t, key, v)
		if held, err := n.Abandon(t.Context(), key, token[:], time.Second); err != nil || !held {
			t.Fatal(held, err)
		}
		if life := c.rdb.PTTL(t.Context(), key).Val(); life != -1 {
			t.Errorf("a persistent key now lives for %v", life)
		}
		if b := n.get(t, key); len(b) != len(v) {
			t.Errorf("%d bytes stand there, want the %d without waiters", len(b), len(v))
		}
	})
}

// An entry that was changed by others is nobody's to crash on.
func TestOddEntries(t *testing.T) {
	t.Parallel()
	ways(t, func(t *testing.T, n node, c *counter) {
		key, token := "users:"+t.Name(), newToken()
		far := entry.Head(newValue(key, newToken(), "v"))
		far.SetLease(entry.NewLease(token, time.Second, 0), 1<<62, 1<<62)
		cut := newValue(key, newToken(), "cut short")[:100]
		junk := append(newValue(key, newToken(), "v"), strings.Repeat("junk", 1000)...)
		for name, b := range map[string][]byte{"until and end far away": far, "cut": cut, "junk behind": junk} {
			c.rdb.Set(t.Context(), key, b, time.Minute)
			_, stop := n.Watch(key)
			first := n.take(t, key, n.get(t, key))
			n.refuse(t, key, b)
			stop()
			if held, err := n.Abandon(t.Context(), key, first[:], time.Second); err != nil || !held {
				t.Errorf("%s: abandon: %v, %v", name, held, err)
			}
			if err := n.Delete(t.Context(), key); err != nil {
				t.Errorf("%s: delete: %v", name, err)
			}
		}
	})
}
