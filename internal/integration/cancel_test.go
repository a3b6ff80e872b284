// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"slices"
	"testing"
	"time"

	"github.com/leashcache/leash/internal/integration/nodes"
)

// forever is a computation that only its context ends.
func forever(nodes.Computation) <-chan struct{} { return nil }

func TestWhoLeavesHarmsNobody(t *testing.T) {
	onEach(t, func(t *testing.T, b *backend) {
		t.Parallel()
		g := b.shared(t)
		key := newKey("leaving")
		g.source.Plan(key, nodes.Plan{For: time.Second})
		calls := g.herd(t, nodes.Run{
			Cache: plain, Key: key, Callers: 25, Spread: 400 * time.Millisecond, Seed: 1,
			Leaving: nodes.EachSecond, Stay: 400 * time.Millisecond,
		})
		var stayed []nodes.Call
		left := 0
		for _, c := range calls {
			switch {
			case c.Leaves && c.Err == nodes.Left:
				left++
			default:
				stayed = append(stayed, c)
			}
		}
		if left < len(calls)/4 {
			t.Errorf("%d of %d callers left, want about half", left, len(calls))
		}
		mustHave(t, key, stayed)
		if list := mustCompute(t, g, key, 1); list[0].Cancelled {
			t.Errorf("cancelled although callers waited: %+v", list)
		}
	})
}

func TestLastCallerWhoLeavesCancelsAndGivesTheLeaseUp(t *testing.T) {
	onEach(t, func(t *testing.T, b *backend) {
		t.Parallel()
		g := b.shared(t)
		c := plain
		c.Name, c.Lease, c.Backoff = "cancelled", time.Minute, time.Minute
		for name, waits := range map[string]bool{"next caller": false, "waiting caller": true} {
			key := newKey("abandoned")
			g.source.Plan(key, nodes.Plan{Hold: forever})
			run := nodes.Run{
				Cache: c, Key: key, Callers: 20, At: soon(), Compute: nodes.Compute{Source: true},
				Leaving: nodes.Everybody, Stay: time.Second,
			}
			leaving := g.send(t, run, 0)
			g.began(t, key, 1)
			g.source.Plan(key, nodes.Plan{})
			run.Leaving, run.At = nodes.Nobody, 0
			var next <-chan sent
			if waits {
				next = g.send(t, run, 1)
			}
			for _, call := range (<-leaving).must(t) {
				if call.Err != nodes.Left {
					t.Fatalf("%s: who left got %+v", name, call)
				}
			}
			gone := g.wait(t, key, func(list []nodes.Computation) bool { return list[0].Ended > 0 })[0]
			if !gone.Cancelled {
				t.Fatalf("%s: the computation went on: %+v", name, gone)
			}
			if !waits {
				next = g.send(t, run, 1)
			}
			mustHave(t, key, (<-next).must(t))
			list := mustCompute(t, g, key, 2)
			if pause := time.Duration(list[1].Began - list[0].Ended); pause > 5*time.Second {
				t.Errorf("%s: had to wait %v for the lease that was given up", name, pause)
			}
		}
	})
}

func TestImpatientNodeGivesNobodyItsError(t *testing.T) {
	onEach(t, func(t *testing.T, b *backend) {
		t.Parallel()
		g := b.shared(t)
		key := newKey("impatient")
		hold := make(chan struct{})
		g.source.Plan(key, nodes.Plan{Hold: func(nodes.Computation) <-chan struct{} { return hold }})
		run := nodes.Run{Cache: plain, Key: key, Callers: 20, Compute: nodes.Compute{Source: true}}
		var patient []<-chan sent
		patient = append(patient, g.send(t, run, 0))
		g.began(t, key, 1)
		patient = append(patient, g.send(t, run, 1))
		run.MaxWait = 50 * time.Millisecond
		hasty := slices.Concat((<-g.send(t, run, 2)).must(t), (<-g.send(t, run, 0)).must(t))
		for _, c := range hasty {
			if c.Err != nodes.Busy {
				t.Fatalf("who waits no longer than %v got %+v", run.MaxWait, c)
			}
		}
		close(hold)
		for _, p := range patient {
			mustHave(t, key, (<-p).must(t))
		}
		mustCompute(t, g, key, 1)
	})
}
