// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"slices"
	"testing"
	"time"

	"github.com/leashcache/leash/internal/integration/nodes"
)

// One of three memcached servers goes away under load, by a kill or frozen: nobody
// gets an error or a wrong value, keys on the others are computed once, and no key
// moves to another server. When it is back its keys are computed once more.
func TestOneServerOfThreeGoesAway(t *testing.T) {
	for name, gone := range map[string]struct {
		leave func(b *backend) error
		back  func(b *backend) error
	}{
		"killed": {
			func(b *backend) error { b.servers[0].Stop(); return nil },
			func(b *backend) error { return b.servers[0].Restart() },
		},
		"frozen": {
			func(b *backend) error { return b.servers[0].Pause() },
			func(b *backend) error { return b.servers[0].Resume() },
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := &backend{name: name, memcached: 3}
			b.start(t)
			t.Cleanup(b.close)
			b.config.ReadTimeout = 200 * time.Millisecond
			g := b.own(t)
			c := nodes.Cache{Name: "away", TTL: time.Minute} // with the default OperationTimeout
			w := nodes.Work{Cache: c, Workers: 4, Ops: 150, Seed: 1}
			var on [3][]string // keys by server
			for i := range 9 {
				key := b.keyOn(t, c, "away", i%3)
				on[i%3], w.Keys = append(on[i%3], key), append(w.Keys, key)
			}
			load := func() []nodes.Op {
				return slices.Concat(each(t, g, func(n *nodes.Node) ([]nodes.Op, error) { return n.Work(t.Context(), w) })...)
			}
			ops := load()
			w.Ops = 5 // each may cost the operation's time
			during := make(chan []nodes.Op)
			go func() { during <- load() }()
			if err := gone.leave(b); err != nil {
				t.Fatal(err)
			}
			ops = append(ops, <-during...)
			away := computed(g, on[0])
			ops = append(ops, load()...)
			if computed(g, on[0]) == away {
				t.Error("nothing was computed while the server was away: this test tests nothing")
			}
			if err := gone.back(b); err != nil {
				t.Fatal(err)
			}
			for _, n := range g.nodes { // connections that are dead are found out
				for _, key := range on[0] {
					ops = append(ops, one(t, n, c, key))
				}
			}
			away = computed(g, on[0])
			ops = append(ops, load()...)
			if more := computed(g, on[0]) - away; more > 0 {
				t.Errorf("%d computations after every key was read again", more)
			}
			for _, op := range ops {
				if op.Err != nodes.None || !op.Found || !op.Right {
					t.Fatalf("nobody may see it: %+v", op)
				}
			}
			for _, key := range slices.Concat(on[1], on[2]) {
				if list := g.source.Computations(key); len(list) != 1 {
					t.Errorf("%d computations of a key on a server that stayed: %+v", len(list), list)
				}
			}
		})
	}
}

// While a server is away, values on the others that expire are computed once for each
// expiry.
func TestExpiryWhileAServerIsAway(t *testing.T) {
	b := &backend{name: "expiry", memcached: 3}
	b.start(t)
	t.Cleanup(b.close)
	g := b.own(t)
	c := nodes.Cache{Name: "expiry", TTL: 300 * time.Millisecond, StaleIfError: time.Minute, OperationTimeout: plain.OperationTimeout}
	var w nodes.Work
	for i := range 12 {
		w.Keys = append(w.Keys, b.keyOn(t, c, "expiry", 1+i%2))
	}
	w.Cache, w.Workers, w.Ops, w.Seed = c, 4, 1000, 1
	b.servers[0].Stop()
	began := time.Now()
	ops := slices.Concat(each(t, g, func(n *nodes.Node) ([]nodes.Op, error) { return n.Work(t.Context(), w) })...)
	took := time.Since(began)
	for _, op := range ops {
		if op.Err != nodes.None || !op.Found || !op.Right {
			t.Fatalf("nobody may see it: %+v", op)
		}
	}
	expiries := 0
	for _, key := range w.Keys {
		list := g.source.Computations(key)
		if n := nodes.AtATime(list); n > 1 {
			t.Errorf("%d computations of %q at a time: %+v", n, key, list)
		}
		if most := int(took/c.TTL) + 1; len(list) > most {
			t.Errorf("%d computations of %q in %v, want at most %d", len(list), key, took, most)
		}
		expiries += len(list) - 1
	}
	if expiries == 0 {
		t.Errorf("nothing expired in %v: this test tests nothing", took)
	}
}

func computed(g *group, keys []string) (n int) {
	for _, key := range keys {
		n += len(g.source.Computations(key))
	}
	return n
}

// one is a single call on a node.
func one(t *testing.T, n *nodes.Node, c nodes.Cache, key string) nodes.Op {
	t.Helper()
	ops, err := n.Work(t.Context(), nodes.Work{Cache: c, Keys: []string{key}, Workers: 1, Ops: 1})
	if err != nil {
		t.Fatal(err)
	}
	return ops[0]
}
