// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"testing"
	"time"

	"github.com/leashcache/leash/internal/integration/nodes"
)

// mortal is a cache whose holders are killed and paused. Its name is used once,
// so that its events tell of one herd.
func mortal(name string) nodes.Cache {
	c := plain
	c.Name, c.Lease = newKey(name), time.Second
	return c
}

// succession is by when a dead holder has a successor: at the end of its lease of
// a second, and a second for a busy machine. memcached may keep the lease for two
// more.
func (b *backend) succession() time.Duration {
	if b.memcached > 0 {
		return 4 * time.Second
	}
	return 2 * time.Second
}

// holdFirst lets the first computation of a key wait for a channel, and the
// second for another.
func holdFirst(first, second <-chan struct{}) nodes.Plan {
	begun := make(chan struct{}, 1)
	return nodes.Plan{Hold: func(nodes.Computation) <-chan struct{} {
		select {
		case begun <- struct{}{}:
			return first
		default:
			return second
		}
	}}
}

func closed() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

// crash is a herd whose holder is about to be lost.
type crash struct {
	g      *group
	c      nodes.Cache
	key    string
	herd   []<-chan sent
	holder int
}

// newCrash sends a herd off and waits until all nodes but the holder wait for it.
// It begins anew when the machine stood still for so long that the lease was
// lost before anything was done to its holder.
func newCrash(t *testing.T, b *backend, what string, first, second <-chan struct{}) *crash {
	t.Helper()
	g := b.own(t)
	for range 10 {
		early := make(chan struct{})
		c := &crash{g: g, c: mortal(what), key: newKey(what)}
		g.source.Plan(c.key, holdFirst(either(first, early), either(second, early)))
		c.herd = g.sendAll(t, nodes.Run{Cache: c.c, Key: c.key, Callers: 20})
		c.holder = g.began(t, c.key, 1)[0].Node
		g.allBusy(t, c.c, c.holder)
		if len(g.source.Computations(c.key)) == 1 {
			return c
		}
		close(early)
		for _, ch := range c.herd {
			(<-ch).must(t)
		}
	}
	t.Fatal("this machine does not let a holder keep its lease")
	return nil
}

// either is closed when one of two channels is.
func either(a, b <-chan struct{}) <-chan struct{} {
	c := make(chan struct{})
	go func() {
		select {
		case <-a:
		case <-b:
		}
		close(c)
	}()
	return c
}

func TestKilledHolderIsSucceededOnce(t *testing.T) {
	onEach(t, func(t *testing.T, b *backend) {
		c := newCrash(t, b, "killed", nil, closed())
		killed := time.Now()
		c.g.nodes[c.holder].Kill()
		c.g.killed[c.holder] = true
		var calls []nodes.Call
		for i, ch := range c.herd {
			if s := <-ch; i != c.holder {
				calls = append(calls, s.must(t)...)
			} else if s.err == nil {
				t.Error("the killed node answered")
			}
		}
		mustHave(t, c.key, calls)
		mustSucceed(t, b, c.g, c.key, c.holder, killed)
	})
}

// mustSucceed checks that one other node computed, in time.
func mustSucceed(t *testing.T, b *backend, g *group, key string, holder int, gone time.Time) {
	t.Helper()
	list := g.source.Computations(key)
	if len(list) != 2 || list[1].Node == holder {
		t.Fatalf("node %d had to be succeeded once, but: %+v", holder, list)
	}
	after := time.Unix(0, list[1].Began).Sub(gone)
	t.Logf("succeeded after %v", after)
	if after > b.succession() {
		t.Errorf("succeeded after %v, want at most %v", after, b.succession())
	}
}

func TestPausedHolderIsSucceededAndItsValueNeverStored(t *testing.T) {
	onEach(t, func(t *testing.T, b *backend) {
		for name, early := range map[string]bool{
			"zombie publishes after its successor":  false,
			"zombie publishes before its successor": true,
		} {
			t.Run(name, func(t *testing.T) { pauseHolder(t, b, early) })
		}
	})
}

func pauseHolder(t *testing.T, b *backend, early bool) {
	first, second := make(chan struct{}), make(chan struct{})
	c := newCrash(t, b, "paused", first, second)
	g, key, holder := c.g, c.key, c.holder

	g.source.Change(key) // tells the zombie's value from its successor's
	paused := time.Now()
	if err := g.nodes[holder].Pause(); err != nil {
		t.Fatal(err)
	}
	g.began(t, key, 2)
	mustSucceed(t, b, g, key, holder, paused)

	if !early {
		close(second)
		others(t, key, c.herd, holder)
	}
	close(first)
	if err := g.nodes[holder].Resume(); err != nil {
		t.Fatal(err)
	}
	for _, call := range (<-c.herd[holder]).must(t) {
		mustBeRight(t, key, call) // its own callers may have either value
	}
	if early {
		close(second)
		others(t, key, c.herd, holder)
	}
	for i, n := range g.nodes {
		a, err := n.Get(t.Context(), c.c, key)
		if err != nil || !a.Found || a.Row.Version != 2 {
			t.Errorf("node %d reads %+v (%v), want the successor's value", i, a, err)
		}
	}
	s, err := g.nodes[holder].Stats(t.Context(), c.c)
	if err != nil || s.Events["voided"]+s.Events["lease_lost"] == 0 {
		t.Errorf("the zombie was told nothing: %v %v", s.Events, err)
	}
	mustSucceed(t, b, g, key, holder, paused)
}

// others checks that the callers on all nodes but one have the second value.
func others(t *testing.T, key string, herd []<-chan sent, holder int) {
	t.Helper()
	for i, ch := range herd {
		if i == holder {
			continue
		}
		for _, call := range (<-ch).must(t) {
			mustBeRight(t, key, call)
			if call.Row.Version != 2 {
				t.Fatalf("node %d was served the zombie's value: %+v", i, call)
			}
		}
	}
}
