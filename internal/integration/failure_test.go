// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/leashcache/leash/internal/integration/nodes"
)

// failing is how computations end without a value, and what callers get.
var failing = []struct {
	how  nodes.How
	own  nodes.Failure // on the node that computed
	text string        // in every caller's error
	kept bool          // by everybody, for longer than the test takes
}{
	{nodes.Fail, nodes.OwnError, "the source is broken", true},
	{nodes.Panic, nodes.PanicFailure, "the source is broken", true},
	{nodes.Goexit, nodes.GoexitError, "Goexit", true},
	{nodes.NotFound, nodes.Missing, "", false},
	{nodes.NoRows, nodes.Missing, "", false},
}

func TestComputationThatFailsIsTriedOncePerBackoff(t *testing.T) {
	onEach(t, func(t *testing.T, b *backend) {
		t.Parallel()
		g := b.shared(t)
		c := plain
		c.Name, c.Backoff = "failing", 2*time.Second
		first := map[string]nodes.How{}
		for _, f := range failing {
			if !f.kept {
				continue
			}
			key := newKey("failing")
			first[key] = f.how
			g.source.Plan(key, nodes.Plan{How: f.how, For: 200 * time.Millisecond})
			calls := g.herd(t, nodes.Run{Cache: c, Key: key, Callers: 50})
			computed := g.source.Computations(key)
			mustFail(t, calls, nodes.Nodes(computed), f.own, nodes.SharedError, f.text)
			if !slices.ContainsFunc(calls, func(c nodes.Call) bool { return c.Err == f.own }) {
				t.Errorf("%s: nobody got %q", f.how, f.own)
			}
			calls = g.herd(t, nodes.Run{Cache: c, Key: key, Callers: 50})
			mustFail(t, calls, nodes.Nodes(g.source.Computations(key)[1:]), f.own, nodes.SharedError, f.text)
		}
		for key, how := range first {
			g.source.Plan(key, nodes.Plan{})
			call := g.untilComputed(t, c, key)
			mustBeRight(t, key, call)
			mustBackOff(t, how, g.source.Computations(key), c.Backoff)
		}
	})
}

// untilComputed calls until the back-off is over, and returns what it got then.
func (g *group) untilComputed(t *testing.T, c nodes.Cache, key string) nodes.Call {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		calls, err := g.nodes[1].Run(t.Context(), nodes.Run{Cache: c, Key: key, Callers: 1, Compute: nodes.Compute{Source: true}})
		if err != nil {
			t.Fatal(err)
		}
		if calls[0].Err != nodes.SharedError {
			return calls[0]
		}
	}
	t.Fatalf("the back-off of %q never ends", key)
	return nodes.Call{}
}

// mustBackOff fails when a computation began before the back-off of the one
// before it was over.
func mustBackOff(t *testing.T, how nodes.How, list []nodes.Computation, backoff time.Duration) {
	t.Helper()
	if len(list) < 2 {
		t.Errorf("%s: %d computations, want a second one after the back-off", how, len(list))
	}
	for i := 1; i < len(list); i++ {
		if pause := time.Duration(list[i].Began - list[i-1].Ended); pause < backoff {
			t.Errorf("%s: a computation %v after the one before, within the back-off of %v: %+v", how, pause, backoff, list)
		}
	}
}

// mustFail checks that callers on the nodes that computed got the failure itself,
// or, like all others, what is shared of it.
func mustFail(t *testing.T, calls []nodes.Call, computed []int, own, shared nodes.Failure, text string) {
	t.Helper()
	for _, c := range calls {
		ok := c.Err == shared || c.Err == own && slices.Contains(computed, c.Node)
		if !ok || c.Found || !strings.Contains(c.Text, text) {
			t.Fatalf("computed on nodes %v, and a caller got %+v; want %q or %q with %q in it", computed, c, own, shared, text)
		}
		if c.Err == nodes.SharedError && strings.Contains(c.Text, "goroutine") {
			t.Fatalf("a stack went to another node: %s", c.Text)
		}
	}
}

func TestNotFoundIsKeptOnlyWhenAskedFor(t *testing.T) {
	onEach(t, func(t *testing.T, b *backend) {
		t.Parallel()
		g := b.shared(t)
		for _, f := range failing {
			if f.kept {
				continue
			}
			for kept, c := range map[bool]nodes.Cache{
				false: plain,
				true:  {Name: "missing", TTL: time.Minute, NotFoundTTL: time.Minute, OperationTimeout: plain.OperationTimeout},
			} {
				key := newKey("missing")
				g.source.Plan(key, nodes.Plan{How: f.how, For: 300 * time.Millisecond})
				for round, want := range []int{1, 2} {
					if kept {
						want = 1
					}
					calls := g.herd(t, nodes.Run{Cache: c, Key: key, Callers: 50})
					list := mustCompute(t, g, key, want)
					mustFail(t, calls, nodes.Nodes(list), nodes.Missing, nodes.Missing, "")
					if n := nodes.AtATime(list); n != 1 {
						t.Errorf("round %d: %d computations at a time", round, n)
					}
				}
			}
		}
	})
}

func TestNotFoundThatIsNotKeptReachesAllWhoWaited(t *testing.T) {
	onEach(t, func(t *testing.T, b *backend) {
		t.Parallel()
		g := b.shared(t)
		key := newKey("missing")
		g.source.Plan(key, nodes.Plan{How: nodes.NotFound, For: 2 * time.Second})
		calls := g.herd(t, nodes.Run{Cache: plain, Key: key, Callers: 50, Spread: 400 * time.Millisecond})
		list := g.source.Computations(key)
		mustFail(t, calls, nodes.Nodes(list), nodes.Missing, nodes.Missing, "")
		for _, c := range calls {
			if c.Began > list[0].Ended {
				t.Fatal("a caller came more than a second late, when the computation had ended")
			}
		}
		if len(list) != 1 {
			t.Errorf("%d computations for callers who all came while the first ran: %+v", len(list), list)
		}
	})
}
