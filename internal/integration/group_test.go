// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"testing"
	"time"

	"github.com/leashcache/leash/internal/integration/nodes"
)

// wait waits until the computations of key are as wanted.
func (g *group) wait(t *testing.T, key string, wanted func([]nodes.Computation) bool) []nodes.Computation {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	list, err := g.source.Wait(ctx, key, wanted)
	if err != nil {
		t.Error(err)
	}
	return list
}

// undisturbed runs f until the machine let all nodes run: a process that gets no
// processor for longer than bound may lose a lease, and that is right.
func (g *group) undisturbed(t *testing.T, c nodes.Cache, bound time.Duration, f func() error) {
	t.Helper()
	const rounds = 5
	for range rounds {
		stalled(t, g, c)
		err := f()
		if err == nil {
			return
		}
		longest := stalled(t, g, c)
		if longest < bound {
			t.Fatalf("%v; no node stood still for longer than %v; %s", err, longest, g.report(t, c))
		}
		t.Logf("again: %v, but a node stood still for %v", err, longest)
	}
	t.Fatalf("in %d rounds the machine did not let the nodes run", rounds)
}

// stalled returns for how long any node stood still since it was asked last.
func stalled(t *testing.T, g *group, c nodes.Cache) (longest time.Duration) {
	t.Helper()
	for _, s := range each(t, g, func(n *nodes.Node) (nodes.Stats, error) { return n.Stats(t.Context(), c) }) {
		longest = max(longest, s.Stall)
	}
	return longest
}

// sent is what became of a run.
type sent struct {
	calls []nodes.Call
	err   error
}

func (s sent) must(t *testing.T) []nodes.Call {
	t.Helper()
	if s.err != nil {
		t.Fatal(s.err)
	}
	return s.calls
}

// send starts a run on one node.
func (g *group) send(t *testing.T, r nodes.Run, node int) <-chan sent {
	ch := make(chan sent, 1)
	go func() {
		calls, err := g.nodes[node].Run(t.Context(), r)
		ch <- sent{calls, err}
	}()
	return ch
}

// sendAll starts a run on all nodes.
func (g *group) sendAll(t *testing.T, r nodes.Run) []<-chan sent {
	t.Helper()
	r.At, r.Compute.Source = soon(), true
	var all []<-chan sent
	for i := range g.nodes {
		all = append(all, g.send(t, r, i))
	}
	return all
}

// allBusy waits until all nodes but one have been refused a lease of the cache.
func (g *group) allBusy(t *testing.T, c nodes.Cache, holder int) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		waiting := 0
		for i, n := range g.nodes {
			if i == holder {
				continue
			}
			s, err := n.Stats(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			if s.Events["busy"] > 0 {
				waiting++
			}
		}
		if waiting == len(g.nodes)-1 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("only %d nodes wait", waiting)
		}
	}
}
