// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"testing"
	"time"

	"github.com/leashcache/leash/internal/integration/nodes"
)

func TestOldAndNewStructSideBySide(t *testing.T) {
	onEach(t, func(t *testing.T, b *backend) {
		t.Parallel()
		g := b.shared(t)
		key := newKey("rollout")
		g.source.Plan(key, nodes.Plan{For: 20 * time.Millisecond})
		old := plain
		old.Name, old.Type = "rollout", nodes.TypeV1
		young := old
		young.Type = nodes.TypeV2
		versions := []nodes.Cache{old, young, old, young}

		r := nodes.Run{Key: key, Callers: 100, Spread: time.Second, At: soon(), Compute: nodes.Compute{Source: true}}
		var herd []<-chan sent
		for i := range g.nodes {
			r.Cache, r.Seed = versions[i], uint64(i)
			herd = append(herd, g.send(t, r, i))
		}
		for _, ch := range herd {
			for _, call := range (<-ch).must(t) {
				mustBeRight(t, key, call)
			}
		}
		list := g.source.Computations(key)
		if n := nodes.AtATime(list); n != 1 {
			t.Errorf("%d computations of one key at a time: %+v", n, list)
		}
		undecodable := int64(0)
		for i, n := range g.nodes {
			s, err := n.Stats(t.Context(), versions[i])
			if err != nil {
				t.Fatal(err)
			}
			undecodable += s.Events["undecodable"]
		}
		if len(list) < 2 || undecodable == 0 {
			t.Errorf("%d computations and %d entries of the other type: the versions did not meet", len(list), undecodable)
		}
	})
}
