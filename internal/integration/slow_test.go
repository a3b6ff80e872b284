// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"testing"
	"time"

	"github.com/leashcache/leash/internal/integration/nodes"
	"github.com/leashcache/leash/internal/integration/wire"
)

// asksForLease reports whether a command is the lease step.
func asksForLease(c wire.Command) bool {
	const words = 3 + 1 + 8
	return c.Name == "set" || (c.Name == "evalsha" || c.Name == "eval") && c.Words == words
}

// slowLeases keeps replies to the lease step back. The step itself is taken at once.
func (g *group) slowLeases(d time.Duration) {
	for _, p := range g.proxies {
		p.Delay(func(c wire.Command) time.Duration {
			if asksForLease(c) {
				return d
			}
			return 0
		})
	}
}

// A lease that was granted too late is held by nobody: it must be given up, or
// all callers of the key wait for its end.
func TestLeasesGrantedTooLateAreGivenUp(t *testing.T) {
	b := single(t)
	for name, by := range map[string]struct {
		keys int
		late time.Duration
	}{
		"later than the cache waits":                       {20, 700 * time.Millisecond},
		"more of them than operations that may be stuck":   {100, 700 * time.Millisecond},
		"later than the client waits: it reports an error": {5, 1500 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			config := b.config
			config.ReadTimeout = time.Second
			g := b.with(t, config)
			c := nodes.Cache{Name: "slow", TTL: time.Minute, Lease: time.Minute} // with the default OperationTimeout
			g.warm(t, c)
			var keys []string
			for range by.keys {
				keys = append(keys, newKey("slow"))
			}
			g.slowLeases(by.late)
			mustBeQuick(t, g, c, keys, 0, nodes.Overloaded)
			time.Sleep(by.late) // now all of it has come, however late
			g.delayNothing()
			mustBeQuick(t, g, c, keys, 1, nodes.None)
		})
	}
}

// mustBeQuick calls for all keys at once, and fails if somebody waits for long or
// gets an error other than the allowed one.
func mustBeQuick(t *testing.T, g *group, c nodes.Cache, keys []string, node int, allowed nodes.Failure) {
	t.Helper()
	var all []<-chan sent
	for _, key := range keys {
		all = append(all, g.send(t, nodes.Run{
			Cache: c, Key: key, Callers: 1, At: soon(), MaxWait: 5 * time.Second, Compute: nodes.Compute{Source: true},
		}, node))
	}
	waited := 0
	for i, ch := range all {
		if call := (<-ch).must(t)[0]; call.Err == nodes.Busy {
			waited++
		} else if call.Err != allowed || allowed == nodes.None {
			mustBeRight(t, keys[i], call)
		}
	}
	if waited > 0 {
		t.Errorf("on node %d callers of %d of %d keys waited for leases that nobody held; %s", node, waited, len(keys), g.report(t, c))
	}
}

// A refresh that gets no lease has nobody to compute for: its value would be
// stored nowhere.
func TestRefreshWithoutALeaseComputesNothing(t *testing.T) {
	b := single(t)
	config := b.config
	config.ReadTimeout = 100 * time.Millisecond // the client gives up before the cache does
	g := b.with(t, config)
	c := nodes.Cache{Name: "refresh", TTL: 50 * time.Millisecond, StaleWhileRevalidate: time.Minute}
	key := newKey("refresh")
	r := nodes.Run{Cache: c, Key: key, Callers: 1, Compute: nodes.Compute{Source: true}}
	mustHave(t, key, (<-g.send(t, r, 0)).must(t))
	time.Sleep(c.TTL)
	g.slowLeases(700 * time.Millisecond)
	for range 5 {
		mustHave(t, key, (<-g.send(t, r, 0)).must(t))
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		s, err := g.nodes[0].Stats(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		if s.StoreErrors >= 2 { // both sendings of the lease command
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the refresh got its lease: this test tests nothing")
		}
	}
	g.close() // waits for the refresh
	if list := g.source.Computations(key); len(list) != 1 {
		t.Errorf("a refresh that got no lease computed all the same: %+v", list)
	}
}
