// SPDX-License-Identifier: Apache-2.0

package memcachestore

import (
	"context"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/leashcache/leash"
	"github.com/leashcache/leash/internal/entry"
	"github.com/leashcache/leash/internal/servers"
)

// A lease on a value of which one reply is lost is had all the same: its value is
// stored, and nobody waits for it to end.
func TestLostReplyBelowACache(t *testing.T) {
	for _, lost := range []string{"add a:k~~lease", "cas a:k"} {
		t.Run(lost, func(t *testing.T) {
			p := newPeer(t, servers.Memcached(t).Addr())
			c, err := leash.New[int]("a", p.Store, leash.Options{
				TTL: 50 * time.Millisecond, Jitter: -1, StaleIfError: time.Minute, OperationTimeout: 5 * time.Second,
			})
			if err != nil {
				t.Fatal(err)
			}
			n := 0
			load := func(ctx context.Context) (int, error) {
				if n++; n == 2 {
					leash.SetTTL(ctx, time.Minute)
				}
				return n, nil
			}
			if _, err := c.GetOrCompute(t.Context(), "k", load); err != nil {
				t.Fatal(err)
			}
			time.Sleep(50 * time.Millisecond) // its TTL
			p.line.onReply(lost, func() error { return syscall.ECONNRESET })
			v, out, err := c.Fetch(t.Context(), "k", load)
			if err != nil || v != 2 || !out.Stored {
				t.Errorf("got %d, %+v, %v", v, out, err)
			}
			if v, out, err := c.Fetch(t.Context(), "k", load); err != nil || v != 2 || out.Status != leash.StatusHit {
				t.Errorf("then %d, %+v, %v", v, out, err)
			}
		})
	}
}

// A back-off is kept although the reply to the abandon is lost.
func TestLostReplyToAbandon(t *testing.T) {
	addr := servers.Memcached(t).Addr()
	a, b := newPeer(t, addr), newPeer(t, addr)
	v := a.store(t, "k", "stale", time.Minute)
	holder := a.lease(t, "k", v, time.Second)
	a.line.onReply("cas k", func() error { return syscall.ECONNRESET })
	if held, err := a.Abandon(t.Context(), "k", holder[:], time.Minute); err != nil || !held {
		t.Errorf("abandon: %v, %v", held, err)
	}
	b.refused(t, "k", v, entry.Token{})
}

// With one of three servers frozen a GetMany has what is on the others, in time.
func TestGetManyWithAFrozenServer(t *testing.T) {
	var all []*servers.Server
	var addrs []string
	for range 3 {
		s := servers.Memcached(t)
		all, addrs = append(all, s), append(addrs, s.Addr())
	}
	s, err := Connect(addrs, ConnectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c, err := leash.New[int]("many", s, leash.Options{TTL: time.Minute, MaxUnleased: 100, OperationTimeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	computed := map[int]bool{}
	l := leash.Loader[int, int]{Cache: c, LoadMany: func(_ context.Context, ids []int) (map[int]int, error) {
		values := map[int]int{}
		for _, id := range ids {
			values[id], computed[id] = id, true
		}
		return values, nil
	}}
	var ids []int
	for i := range 30 {
		ids = append(ids, i)
	}
	if _, err := l.GetMany(t.Context(), ids); err != nil {
		t.Fatal(err)
	}
	clear(computed)
	if err := all[0].Pause(); err != nil {
		t.Fatal(err)
	}
	values, err := l.GetMany(t.Context(), ids)
	if resume := all[0].Resume(); resume != nil {
		t.Fatal(resume)
	}
	if err != nil || len(values) != len(ids) {
		t.Errorf("%d values, %v", len(values), err)
	}
	for _, id := range ids {
		addr, err := s.selector.PickServer(serverKey(fmt.Sprintf("many:%d", id)))
		if err != nil {
			t.Fatal(err)
		}
		if frozen := addr.String() == addrs[0]; computed[id] != frozen {
			t.Errorf("%d: computed %v, on the frozen server %v", id, computed[id], frozen)
		}
	}
}
