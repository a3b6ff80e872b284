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
