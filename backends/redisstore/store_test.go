// SPDX-License-Identifier: Apache-2.0

package redisstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/leashcache/leash/internal/entry"
	"github.com/leashcache/leash/internal/servers"
)

func TestCheck(t *testing.T) {
	ring := redis.NewRing(&redis.RingOptions{Addrs: map[string]string{"a": "127.0.0.1:1"}})
	defer ring.Close()
	var none *redis.Client
	var noCluster *redis.ClusterClient
	var noPipeline *redis.AutoPipeliner
	for want, clients := range map[error][]redis.UniversalClient{
		errNoClient: {nil, none, noCluster, noPipeline},
		errRing:     {ring},
	} {
		for _, rdb := range clients {
			s := New(rdb)
			_, getErr := s.Get(t.Context(), "k", nil)
			_, manyErr := s.GetMany(t.Context(), []string{"k"})
			_, _, leaseErr := s.Lease(t.Context(), "k", entry.NewLease(newToken(), time.Second, 0), nil, false, time.Second)
			_, publishErr := s.Publish(t.Context(), "k", nil, time.Second, true)
			_, renewErr := s.Renew(t.Context(), "k", nil, time.Second)
			_, abandonErr := s.Abandon(t.Context(), "k", nil, 0)
			deleteErr := s.Delete(t.Context(), "k")
			for i, err := range []error{s.Check(), getErr, manyErr, leaseErr, publishErr, renewErr, abandonErr, deleteErr} {
				if !errors.Is(err, want) {
					t.Errorf("%T, %d: %v, want %v", rdb, i, err, want)
				}
			}
			if wake, stop := s.Watch("k"); wake != nil {
				t.Errorf("%T can be watched", rdb)
			} else {
				stop()
			}
			_ = s.Close()
		}
	}
	rdb := redis.NewClient(&redis.Options{})
	defer rdb.Close()
	if err := New(rdb).Check(); err != nil {
		t.Error(err)
	}
}

// A plain client has room for as many commands as its pool has connections, if it
// may open them.
func TestLimit(t *testing.T) {
	rdb := redis.NewClient(&redis.Options{PoolSize: 7})
	defer rdb.Close()
	few := redis.NewClient(&redis.Options{PoolSize: 20, MaxActiveConns: 7})
	defer few.Close()
	cluster := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{"127.0.0.1:1"}, PoolSize: 7})
	defer cluster.Close()
	var none *redis.Client
	for want, list := range map[int][]redis.UniversalClient{7: {rdb}, 3: {few}, 0: {cluster, none, nil}} {
		for _, c := range list {
			if got := New(c).Limit(); got != want {
				t.Errorf("%T: %d, want %d", c, got, want)
			}
		}
	}
}

func TestLeaseWantsAHead(t *testing.T) {
	n := newNode(t, servers.Redis(t))
	for _, b := range [][]byte{nil, []byte("x"), make([]byte, entry.HeadSize), append(entry.NewLease(newToken(), 1, 0), 0)} {
		if _, _, err := n.Lease(t.Context(), "users:1", b, nil, false, time.Second); !errors.Is(err, errLease) {
			t.Errorf("%q: %v", b, err)
		}
	}
}

// stream plays go-redis's ReadRawReplyWriteTo.
func stream(r *reply, line, payload string, src func(io.Reader) io.Reader) error {
	if _, err := r.Write([]byte(line)); err != nil {
		return err
	}
	if _, err := r.Write(crlf); err != nil {
		return err
	}
	if payload == "" {
		return nil
	}
	_, err := io.CopyN(r, src(strings.NewReader(payload)), int64(len(payload)))
	return err
}

func TestReply(t *testing.T) {
	whole := func(r io.Reader) io.Reader { return r }
	for _, c := range []struct {
		line, payload string
		src           func(io.Reader) io.Reader
		want          string
		ok            bool
	}{
		{"$5", "hello\r\n", whole, "hello", true},
		{"$5", "hello\r\n", iotest.OneByteReader, "hello", true},
		{"$0", "\r\n", whole, "", true},
		{"$5", "hel", whole, "", false},
		{"$-1", "", whole, "nil", true},
		{"_", "", whole, "nil", true},
		{"-ERR no", "", whole, "", false},
		{"-MOVED 1 127.0.0.1:1", "", whole, "", false},
		{"+OK", "", whole, "", false},
		{":1", "", whole, "", false},
		{"!3", "ERR\r\n", whole, "", false},
		{"=7", "txt:abc\r\n", whole, "", false},
		{"$99999999999999999999", "", whole, "", false},
		{"$9999999999999", "", whole, "", false},
		{"$x", "", whole, "", false},
		{"", "", whole, "", false},
	} {
		for _, room := range []int{0, 3, 5, 7, 100} {
			r := &reply{buf: make([]byte, 0, room)}
			err := stream(r, c.line, c.payload, c.src)
			got, ok := r.entry(err)
			text := string(got)
			if ok && got == nil {
				text = "nil"
			}
			if ok != c.ok || text != c.want {
				t.Errorf("%q %q with room for %d: %q, %v (%v)", c.line, c.payload, room, text, ok, err)
			}
		}
	}
}

// The result uses the caller's memory when that is enough, and is the caller's.
func TestGetUsesBuffer(t *testing.T) {
	n := newNode(t, servers.Redis(t))
	v := n.publish(t, "users:1", n.take(t, "users:1", nil), "v")
	buf := make([]byte, 0, 1024)
	got, err := n.Get(t.Context(), "users:1", buf)
	if err != nil || !bytes.Equal(got, v) || &got[0] != &buf[:1][0] {
		t.Errorf("got %q, %v, in memory of its own", got, err)
	}
	clear(got)
	if again := n.get(t, "users:1"); !bytes.Equal(again, v) {
		t.Errorf("got %q", again)
	}
}

// Keys and seen bytes that look like this package's own words.
func TestWrongType(t *testing.T) {
	ways(t, func(t *testing.T, n node, c *counter) {
		key := "users:" + t.Name()
		c.rdb.HSet(t.Context(), key, "a", "b")
		seen := n.get(t, key)
		if string(seen) != "redis:wrongtype:hash" {
			t.Fatalf("got %q", seen)
		}
		c.rdb.Del(t.Context(), key)
		c.rdb.RPush(t.Context(), key, "a")
		o, err := n.try(t, key, newToken(), seen)
		if err != nil || string(o.entry) != "redis:wrongtype:list" || o.left != 0 {
			t.Fatalf("%q, %v: a list was seen as a hash", o.entry, err)
		}
		c.rdb.Set(t.Context(), key, seen, 0) // bytes with just that name
		if o, err = n.try(t, key, newToken(), n.get(t, key)); err != nil || o.entry != nil {
			t.Fatalf("%q, %v", o.entry, err)
		}
		c.rdb.Del(t.Context(), key)
		c.rdb.RPush(t.Context(), key, "a")
		if all, err := n.GetMany(t.Context(), []string{"users:none", key}); err != nil || string(all[1]) != "redis:wrongtype:list" {
			t.Fatalf("%q, %v", all, err)
		}
		if err := n.Delete(t.Context(), key); err != nil || n.get(t, key) != nil {
			t.Fatal(err)
		}
	})
}

// Odd replies are errors.
func TestNonsense(t *testing.T) {
	for _, answer := range []string{":7\r\n", "+maybe\r\n", "*1\r\n:7\r\n", "*3\r\n:0\r\n+x\r\n:1\r\n", "%1\r\n+a\r\n+b\r\n", "#t\r\n"} {
		t.Run(fmt.Sprintf("%q", answer), func(t *testing.T) {
			n := newNode(t, servers.Redis(t))
			n.refuse(t, keyWithLease(t, n, "users:1"), n.get(t, "users:1"))
			n.line.set(func() {
				n.line.answers = map[string]string{"\r\nevalsha\r\n": answer, "\r\nset\r\n": answer}
			})
			token := newToken()
			for _, seen := range [][]byte{nil, []byte("x")} {
				if o, err := n.try(t, "users:2", token, seen); err == nil && o.entry == nil && o.left == 0 {
					t.Error("a lease was granted")
				}
			}
			if held, err := n.Renew(t.Context(), "users:1", token[:], time.Second); held {
				t.Errorf("renew: %v", err)
			}
			if stored, err := n.Publish(t.Context(), "users:1", newValue("users:1", token, ""), time.Second, false); stored {
				t.Errorf("publish: %v", err)
			}
		})
	}
}

// A deadline that has passed is told as such, and nothing is sent again.
func TestDeadline(t *testing.T) {
	srv := servers.Redis(t)
	n := newNode(t, srv, func(o *redis.Options) { o.ContextTimeoutEnabled = true })
	if n.get(t, "users:1") != nil {
		t.Fatal("something is there")
	}
	if err := srv.Pause(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = srv.Resume() }()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, err := n.Get(ctx, "users:1", nil)
	if !timedOut(err) && !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > 2*time.Second {
		t.Errorf("after %v: %v", time.Since(start), err)
	}
}
