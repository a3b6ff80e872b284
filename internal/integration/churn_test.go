// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"testing"
	"time"

	"github.com/leashcache/leash/internal/integration/nodes"
)

const (
	churnTTL     = time.Second
	churnCompute = 20 * time.Millisecond
	churnFor     = 4 * time.Second
)

// churning returns a cache for one churn.
func churning(name string) nodes.Cache {
	return nodes.Cache{Name: newKey(name), TTL: churnTTL, OperationTimeout: plain.OperationTimeout}
}

// churn lets many keys expire several times. What begins less than ttl after the
// computation before it counts as early.
func (g *group) churn(t *testing.T, c nodes.Cache, ttl time.Duration) nodes.ChurnTotal {
	t.Helper()
	ch := nodes.Churn{
		Cache: c, Keys: 1000, Zipf: 1.1, Rate: 400, At: soon(), For: churnFor, Compute: churnCompute, Seed: 1,
	}
	results := each(t, g, func(n *nodes.Node) (nodes.ChurnResult, error) { return n.Churn(t.Context(), ch) })
	total := nodes.Total(results, ttl)
	t.Logf("%d calls, %d computations, %d early, %.4f per expiry, %.3f at once, %.2f commands per call, oldest %v, p99.9 %v",
		total.Calls, total.Computations, total.Early, total.PerExpiry(), total.AtOnceShare(), total.PerCall(), total.Oldest, total.Quantile(0.999))
	for _, wrong := range total.Wrong {
		t.Error(wrong)
	}
	if total.Overlapping > 0 {
		t.Errorf("%d computations of a key began while another ran", total.Overlapping)
	}
	return total
}

// commandsPerCall holds where scripts may be used; without them each step of a
// miss is a transaction of several commands.
const commandsPerCall = 2

func TestChurnComputesEachExpiryOnce(t *testing.T) {
	onEach(t, func(t *testing.T, b *backend) {
		g := b.shared(t)
		g.warm(t, plain)
		// What is served when a call begins is younger than its TTL. Who waits for a
		// value that is stored late because the machine is busy gets it all the same.
		const noise = 250 * time.Millisecond
		g.undisturbed(t, plain, noise/5, func() error {
			total := g.churn(t, churning("fresh"), churnTTL)
			if total.Early > 0 {
				t.Errorf("%d of %d computations began before the value had expired", total.Early, total.Computations)
			}
			// The busiest key alone expires this often.
			if least := int(churnFor / (churnTTL + 10*churnCompute)); total.Computations < least {
				t.Errorf("%d computations, want at least %d: values live too long", total.Computations, least)
			}
			if got := total.PerCall(); got > commandsPerCall && b.name != "noscript" {
				return fmt.Errorf("%.2f commands per call, want at most %d: %v", got, commandsPerCall, total.Commands)
			}
			if limit := churnTTL + churnCompute + noise; total.Oldest > limit {
				return fmt.Errorf("a call was served what had been computed %v before, want at most %v", total.Oldest, limit)
			}
			return nil
		})
	})
}

func TestChurnWithStaleValuesWaitsForNothing(t *testing.T) {
	b := single(t)
	g := b.shared(t)
	c := churning("stale")
	c.StaleWhileRevalidate = time.Minute
	total := g.churn(t, c, churnTTL)
	if total.Early > 0 {
		t.Errorf("%d of %d computations began before the value had expired", total.Early, total.Computations)
	}
	// The first call for a key must wait, and in a short run that is most of what does.
	waited, first := total.Calls-total.AtOnce, total.Calls/50+distinct(total)
	if waited > first {
		t.Errorf("%d of %d calls waited, want at most %d", waited, total.Calls, first)
	}
}

// distinct is how many calls can have come for a key before it had a value.
func distinct(total nodes.ChurnTotal) int { return total.Keys + total.Keys/2 }

func TestChurnWithJitterAndRefreshAhead(t *testing.T) {
	b := single(t)
	g := b.shared(t)
	c := churning("ahead")
	c.Jitter, c.RefreshAhead = 0.1, 1
	// Jitter takes at most a tenth, and a refresh 20 computations ahead of the end
	// has the probability e^-20: what begins before that is a second computation
	// of what was there.
	total := g.churn(t, c, churnTTL*9/10-20*churnCompute)
	if total.Early > 0 {
		t.Errorf("%d of %d computations were one too many", total.Early, total.Computations)
	}
	refreshed := int64(0)
	for _, s := range each(t, g, func(n *nodes.Node) (nodes.Stats, error) { return n.Stats(t.Context(), c) }) {
		refreshed += s.Events["refresh"]
	}
	if refreshed == 0 {
		t.Error("nothing was refreshed before its time")
	}
}
