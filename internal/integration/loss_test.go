// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"testing"
	"time"

	"github.com/leashcache/leash/internal/integration/nodes"
)

// losses are what can happen to a store during a computation.
var losses = []struct {
	name  string
	extra int // computations that it may cost
	do    func(t *testing.T, b *backend)
}{
	{"scripts flushed", 0, func(t *testing.T, b *backend) {
		for i := range b.servers {
			if b.memcached > 0 {
				break // there are none
			}
			if err := b.admin(t, i).ScriptFlush(t.Context()).Err(); err != nil {
				t.Fatal(err)
			}
		}
	}},
	{"data flushed", 1, func(t *testing.T, b *backend) { b.flush(t) }},
	// While the store is down each process may compute once for itself, and who came
	// to the holder's while it computed is not served by what could not be stored.
	{"restarted without data", nodeCount, func(t *testing.T, b *backend) {
		for _, s := range b.servers {
			if err := s.Restart(); err != nil {
				t.Fatal(err)
			}
		}
		if err := b.ready(); err != nil {
			t.Fatal(err)
		}
	}},
}

func TestStoreThatLosesDataDuringAComputation(t *testing.T) {
	onEach(t, func(t *testing.T, b *backend) {
		g := b.shared(t)
		for _, loss := range losses {
			t.Run(loss.name, func(t *testing.T) {
				c, key := mortal("lost"), newKey("lost")
				c.Lease = 10 * time.Second
				first, second := make(chan struct{}), make(chan struct{})
				g.source.Plan(key, holdFirst(first, second))
				herd := g.sendAll(t, nodes.Run{Cache: c, Key: key, Callers: 20})
				g.allBusy(t, c, g.began(t, key, 1)[0].Node)
				loss.do(t, b)
				if loss.extra > 0 {
					g.began(t, key, 2) // a waiter finds the lease gone
				}
				close(first)
				close(second)
				for _, ch := range herd {
					for _, call := range (<-ch).must(t) {
						mustBeRight(t, key, call)
					}
				}
				if list := g.source.Computations(key); len(list) > 1+loss.extra {
					t.Errorf("%d computations, want at most %d: %+v", len(list), 1+loss.extra, list)
				}
				g.mustWork(t, c)
			})
		}
	})
}

// mustWork checks that a cache is what it should be again.
func (g *group) mustWork(t *testing.T, c nodes.Cache) {
	t.Helper()
	key := newKey("again")
	g.source.Plan(key, nodes.Plan{For: 100 * time.Millisecond})
	for range 2 {
		mustHave(t, key, g.herd(t, nodes.Run{Cache: c, Key: key, Callers: 20}))
	}
	mustCompute(t, g, key, 1)
}
