// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/leashcache/leash/internal/integration/nodes"
	"github.com/leashcache/leash/internal/integration/wire"
)

// deleteLoad is the load under which deletes race with computations.
func (g *group) deleteLoad(t *testing.T, b *backend, c nodes.Cache, ops int) []nodes.Op {
	t.Helper()
	w := nodes.Work{Cache: c, Workers: 6, Ops: ops, Deletes: 0.1, Gets: 0.2, Seed: 1}
	for i := range 3 {
		key := b.keyOn(t, c, "raced", i%len(b.servers))
		g.source.Plan(key, nodes.Plan{Vary: 3 * time.Millisecond})
		w.Keys = append(w.Keys, key)
	}
	g.delayAtRandom()
	defer g.delayNothing()
	return slices.Concat(each(t, g, func(n *nodes.Node) ([]nodes.Op, error) { return n.Work(t.Context(), w) })...)
}

// delayAtRandom keeps one reply in ten back for up to 3 ms: what was decided at
// the server is known late.
func (g *group) delayAtRandom() {
	for _, p := range g.proxies {
		p.Delay(func(wire.Command) time.Duration {
			if rand.IntN(10) > 0 {
				return 0
			}
			return time.Duration(rand.Int64N(int64(3 * time.Millisecond)))
		})
	}
}

func TestNothingStaleAfterDelete(t *testing.T) {
	onEach(t, func(t *testing.T, b *backend) {
		g := b.shared(t)
		ops := g.deleteLoad(t, b, plain, 200)
		t.Log(describe(t, g, ops))
		for _, op := range ops {
			if op.Err != nodes.None || op.Found && !op.Right || op.Kind == nodes.FetchOp && !op.Found {
				t.Fatalf("no operation may fail here: %+v", op)
			}
			if reached := g.source.Version(op.Key); op.Version > reached {
				t.Fatalf("version %d of a source at %d: %+v", op.Version, reached, op)
			}
		}
		bad, wrong := stale(ops), illegal(ops)
		for _, what := range slices.Concat(bad, wrong) {
			t.Error(what)
		}
		if t.Failed() {
			for key := range byKey(ops) {
				printHistory(t, ops, key)
			}
		}
		mustHaveRaced(t, g, ops)
	})
}

// mustHaveRaced fails when the load was too tame to show anything.
func mustHaveRaced(t *testing.T, g *group, ops []nodes.Op) {
	t.Helper()
	during, found := 0, 0
	for key, list := range byKey(ops) {
		computed := g.source.Computations(key)
		for _, op := range list {
			if op.Kind == nodes.GetOp && op.Found {
				found++
			}
			if op.Kind == nodes.DeleteOp && slices.ContainsFunc(computed, func(c nodes.Computation) bool {
				return c.Began < op.Ended && op.Began < c.Ended
			}) {
				during++
			}
		}
	}
	if during < len(ops)/200 || found == 0 {
		t.Errorf("of %d operations %d were deletes during a computation, and %d found something: too tame", len(ops), during, found)
	}
}

func describe(t *testing.T, g *group, ops []nodes.Op) string {
	t.Helper()
	kinds, computed := map[nodes.OpKind]int{}, 0
	for key, list := range byKey(ops) {
		computed += len(g.source.Computations(key))
		for _, op := range list {
			kinds[op.Kind]++
		}
	}
	return fmt.Sprintf("%v, %d computations; %s", kinds, computed, g.report(t, plain))
}

func TestNaiveCacheIsCaughtServingStaleValues(t *testing.T) {
	b := single(t)
	g := b.shared(t)
	ops := g.deleteLoad(t, b, nodes.Cache{Kind: nodes.Naive, TTL: time.Minute}, 150)
	if len(stale(ops)) == 0 || len(illegal(ops)) == 0 {
		t.Errorf("a cache without a fence was found stale %d times, on the keys %q: this load finds nothing", len(stale(ops)), illegal(ops))
	}
}
