// SPDX-License-Identifier: Apache-2.0

package redisstore

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/leashcache/leash/internal/servers"
)

// documented finds a line of ACL rules in the package comment.
func documented(t *testing.T, user string) string {
	t.Helper()
	b, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if _, rules, ok := strings.Cut(line, "ACL SETUSER "+user+" "); ok {
			return "user " + user + " " + strings.TrimSpace(rules)
		}
	}
	t.Fatalf("the package comment has no rules for %s", user)
	return ""
}

// The documented rules allow every step, and the waiter is woken.
func TestDocumentedRights(t *testing.T) {
	t.Parallel()
	for _, user := range []string{"app", "plain"} {
		t.Run(user, func(t *testing.T) {
			srv := servers.Redis(t, documented(t, user))
			a, b := newNode(t, srv, asUser(user)), newNode(t, srv, asUser(user))
			useAll(t, a, b)
			if a.noScript.Load() != (user == "plain") {
				t.Errorf("scripts are forbidden: %v", a.noScript.Load())
			}
			if _, err := a.Get(t.Context(), "orders:1", nil); !redis.IsPermissionError(err) {
				t.Errorf("another namespace: %v", err)
			}
		})
	}
}

func TestDocumentedRightsOnCluster(t *testing.T) {
	t.Parallel()
	onCluster := strings.TrimPrefix(documented(t, "app-on-cluster"), "user app-on-cluster")
	c := servers.Cluster(t, documented(t, "app")+onCluster, documented(t, "plain")+onCluster)
	for _, user := range []string{"app", "plain"} {
		t.Run(user, func(t *testing.T) {
			dial := func() node {
				rdb := redis.NewClusterClient(&redis.ClusterOptions{Addrs: c.Addrs(), Username: user, Password: "secret"})
				return node{newStore(t, rdb), nil}
			}
			useAll(t, dial(), dial())
		})
	}
}

// useAll takes every step as a, with b waiting.
func useAll(t *testing.T, a, b node) {
	t.Helper()
	key := "users:1"
	if a.get(t, key) != nil {
		t.Fatal("something is there")
	}
	token, wake := waiter(t, a, b, key)
	v := a.publish(t, key, token, "v")
	if got := hint(t, wake, 5*time.Second); !bytes.Equal(got, v) {
		t.Errorf("told %q", got)
	}
	if all, err := a.GetMany(t.Context(), []string{key, "users:2"}); err != nil || !bytes.Equal(all[0], v) {
		t.Errorf("got %q, %v", all, err)
	}
	for _, backoff := range []time.Duration{0, time.Second} {
		token = a.take(t, key, v)
		b.refuse(t, key, v)
		if held, err := a.Renew(t.Context(), key, token[:], time.Hour); err != nil || !held {
			t.Errorf("renew: %v, %v", held, err)
		}
		if held, err := a.Abandon(t.Context(), key, token[:], backoff); err != nil || !held {
			t.Errorf("abandon: %v, %v", held, err)
		}
		hint(t, wake, 5*time.Second)
	}
	b.refuse(t, key, v)
	if err := a.Delete(t.Context(), key); err != nil {
		t.Errorf("delete: %v", err)
	}
	hint(t, wake, 5*time.Second)
	if o, err := a.try(t, key, newToken(), []byte("foreign, and gone")); err != nil || o.left != 0 || o.entry != nil {
		t.Errorf("lease instead of something foreign: %v, %v", o, err)
	}
	if err := a.Delete(t.Context(), key); err != nil {
		t.Error(err)
	}
}

// A key outside of the rules says nothing about scripts.
func TestForeignKeyIsNoLackOfScripts(t *testing.T) {
	t.Parallel()
	srv := servers.Redis(t, "user app on >secret ~users:* +@all")
	n := newNode(t, srv, asUser("app"))
	if err := n.Delete(t.Context(), "orders:eval"); !redis.IsPermissionError(err) {
		t.Errorf("delete: %v", err)
	}
	if n.noScript.Load() {
		t.Error("scripts are taken to be forbidden")
	}
}
