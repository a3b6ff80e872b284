// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/leashcache/leash/internal/integration/nodes"
	"github.com/leashcache/leash/internal/integration/wire"
)

// herd sends the same herd off on all nodes and returns what all callers saw.
func (g *group) herd(t *testing.T, r nodes.Run) []nodes.Call {
	t.Helper()
	r.At, r.Compute.Source = soon(), true
	return slices.Concat(each(t, g, func(n *nodes.Node) ([]nodes.Call, error) {
		return n.Run(t.Context(), r)
	})...)
}

// warm opens the connections, loads the scripts and finds out what the server
// forbids. It leaves the subscriptions as they are: none.
func (g *group) warm(t *testing.T, c nodes.Cache) {
	t.Helper()
	key := newKey("warm")
	for i := range 3 { // on a cluster these lie on different masters
		for _, n := range g.nodes {
			call := nodes.Run{Cache: c, Key: fmt.Sprint(key, i), Callers: 2, At: time.Now().UnixNano(), Compute: nodes.Compute{Source: true}}
			if _, err := n.Run(t.Context(), call); err != nil {
				t.Fatal(err)
			}
			if _, err := n.Delete(t.Context(), c, fmt.Sprint(key, i)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// keyOn returns a new key that lies on the i-th server.
func (b *backend) keyOn(t *testing.T, c nodes.Cache, what string, i int) string {
	t.Helper()
	for b.memcached > 1 {
		key := newKey(what)
		if crc32.ChecksumIEEE([]byte(c.Name+":"+key))%uint32(b.memcached) == uint32(i) {
			return key
		}
	}
	if !b.cluster {
		return newKey(what)
	}
	rdb := b.admin(t, 0)
	for {
		key := newKey(what)
		slot, err := rdb.ClusterKeySlot(t.Context(), c.Name+":"+key).Result()
		if err != nil {
			t.Fatal(err)
		}
		if int(slot)*len(b.servers)/16384 == i {
			return key
		}
	}
}

// mustHave fails unless every caller has the right value of key, and all of them
// the same one.
func mustHave(t *testing.T, key string, calls []nodes.Call) {
	t.Helper()
	for _, c := range calls {
		mustBeRight(t, key, c)
		if c.Row != calls[0].Row {
			t.Fatalf("two values of one computation: %+v and %+v", c, calls[0])
		}
	}
}

func mustBeRight(t *testing.T, key string, c nodes.Call) {
	t.Helper()
	if c.Err != nodes.None || !c.Found || c.Row.Key != key || c.Row.Text != nodes.TextOf(key, c.Row.Version) {
		t.Fatalf("a caller of %q got %+v", key, c)
	}
}

func mustCompute(t *testing.T, g *group, key string, want int) []nodes.Computation {
	t.Helper()
	list := g.source.Computations(key)
	if len(list) != want {
		t.Fatalf("%d computations of %q, want %d: %+v; %s", len(list), key, want, list, g.report(t, plain))
	}
	return list
}

// report is what a failure needs to be understood.
func (g *group) report(t *testing.T, c nodes.Cache) string {
	text := ""
	for i, s := range each(t, g, func(n *nodes.Node) (nodes.Stats, error) { return n.Stats(t.Context(), c) }) {
		text += fmt.Sprintf("\nnode %d: stalled for %v, %d store errors, %v", i, s.Stall, s.StoreErrors, s.Events)
	}
	return text
}

// mostCommands is what an episode may cost in all: it grows with processes.
const mostCommands = 60

// moreCommands is for a larger herd that takes a little longer: some looks by
// each process that waits.
const moreCommands = 4 * nodeCount

// mostPolling is for a herd whose processes are not woken: they look again until the
// value is there.
const mostPolling = 70

func (b *backend) polls() bool { return b.memcached > 0 || b.name == "nopubsub" }

func TestHerdMakesOneComputationAndFewCommands(t *testing.T) {
	onEach(t, func(t *testing.T, b *backend) {
		g := b.shared(t)
		g.warm(t, plain)
		for i := range b.servers {
			few := coldHerd(t, b, g, i, 250)
			many := coldHerd(t, b, g, i, 1000)
			t.Logf("server %d: %d commands for 250 callers per process %v, %d for 1000 %v", i, few.Work(), few, many.Work(), many)
			first, most := mostCommands, few.Work()+moreCommands
			if b.polls() {
				first, most = mostPolling, mostPolling
			}
			if few.Work() > first {
				t.Errorf("server %d: %d commands, want at most %d: %v", i, few.Work(), first, few)
			}
			if many.Work() > most {
				t.Errorf("server %d: %d commands for four times the callers, %d before, want at most %d: %v, %v", i, many.Work(), few.Work(), most, many, few)
			}
		}
	})
}

// coldHerd is one herd on a cold key, and returns what was sent.
func coldHerd(t *testing.T, b *backend, g *group, server, callers int) wire.Counts {
	t.Helper()
	key := b.keyOn(t, plain, "cold", server)
	g.source.Plan(key, nodes.Plan{For: 100 * time.Millisecond})
	before := g.commands()
	calls := g.herd(t, nodes.Run{Cache: plain, Key: key, Callers: callers})
	sent := g.commands().Minus(before)
	if len(calls) != callers*nodeCount {
		t.Fatalf("%d calls, want %d", len(calls), callers*nodeCount)
	}
	mustHave(t, key, calls)
	mustCompute(t, g, key, 1)
	return sent
}

// A hit is one read and nothing else.
func TestHitIsOneCommand(t *testing.T) {
	onEach(t, func(t *testing.T, b *backend) {
		g := b.shared(t)
		for i := range b.servers {
			key := b.keyOn(t, plain, "hit", i)
			hit := nodes.Work{Cache: plain, Keys: []string{key}, Workers: 1, Ops: 1}
			if _, err := g.nodes[0].Work(t.Context(), hit); err != nil {
				t.Fatal(err)
			}
			hit.Ops = 50
			before := g.proxies[0].Counts()
			ops, err := g.nodes[0].Work(t.Context(), hit)
			if err != nil {
				t.Fatal(err)
			}
			sent := g.proxies[0].Counts().Minus(before)
			delete(sent, "ping") // of a subscription that is still there
			for name := range sent {
				if wire.SetsUp(name) { // a connection that go-redis opens in advance
					delete(sent, name)
				}
			}
			if len(ops) != 50 || len(sent) != 1 || sent["get"] != 50 {
				t.Errorf("%d hits sent %v", len(ops), sent)
			}
		}
	})
}

func TestNaiveHerdFailsTheSameChecks(t *testing.T) {
	g := single(t).shared(t)
	key := newKey("naive")
	g.source.Plan(key, nodes.Plan{For: time.Second}) // longer than it takes to open all connections
	naive := nodes.Cache{Kind: nodes.Naive, TTL: time.Minute}
	before := g.commands()
	calls := g.herd(t, nodes.Run{Cache: naive, Key: key, Callers: 50})
	if n := len(g.source.Computations(key)); n < len(calls)/2 {
		t.Errorf("%d computations for %d calls that nothing protects: this harness does not make herds", n, len(calls))
	}
	if sent := g.commands().Minus(before); sent["get"] != len(calls) || sent["set"] != len(g.source.Computations(key)) {
		t.Errorf("%d calls sent %v: this harness can not count", len(calls), sent)
	}
}

// mostPerSecond is what a process that waits for another node may send.
const mostPerSecond = 6

func TestWaitingProcessesSendFewCommands(t *testing.T) {
	onEach(t, func(t *testing.T, b *backend) {
		t.Parallel()
		g := b.shared(t)
		g.warm(t, plain)
		key := newKey("long")
		hold := make(chan struct{})
		g.source.Plan(key, nodes.Plan{Hold: func(nodes.Computation) <-chan struct{} { return hold }})
		done := make(chan []nodes.Call)
		go func() { done <- g.herd(t, nodes.Run{Cache: plain, Key: key, Callers: 50}) }()
		holder := g.began(t, key, 1)[0].Node

		// Without subscriptions a wait begins with a few quick looks, which are
		// not what a long one costs.
		time.Sleep(time.Second)
		const window = 2 * time.Second
		before := make([]wire.Counts, nodeCount)
		for i, p := range g.proxies {
			before[i] = p.Counts()
		}
		time.Sleep(window) // the time itself is what is measured
		for i, p := range g.proxies {
			sent := p.Counts().Minus(before[i])
			t.Logf("node %d (holder %d): %v", i, holder, sent)
			if rate := float64(sent.Work()) / window.Seconds(); i != holder && rate > mostPerSecond {
				t.Errorf("node %d sent %.1f commands a second while it waited, want at most %d: %v", i, rate, mostPerSecond, sent)
			}
		}
		close(hold)
		mustHave(t, key, <-done)
		mustCompute(t, g, key, 1)
	})
}

// began waits until n computations of key have begun.
func (g *group) began(t *testing.T, key string, n int) []nodes.Computation {
	t.Helper()
	return g.wait(t, key, func(list []nodes.Computation) bool { return len(list) >= n })
}

func TestComputationOfManyLeaseTimesIsOne(t *testing.T) {
	onEach(t, func(t *testing.T, b *backend) {
		t.Parallel()
		g := b.shared(t)
		c := plain
		c.Name, c.Lease = "shortlease", 300*time.Millisecond
		g.undisturbed(t, c, c.Lease/3, func() error {
			key := newKey("leases")
			g.source.Plan(key, nodes.Plan{For: 10 * c.Lease})
			calls := g.herd(t, nodes.Run{Cache: c, Key: key, Callers: 50})
			for _, call := range calls {
				mustBeRight(t, key, call)
			}
			if list := g.source.Computations(key); len(list) != 1 {
				return fmt.Errorf("%d computations, want 1: %+v", len(list), list)
			}
			return nil
		})
	})
}

func TestHerdThatArrivesOverTheComputationAndItsPublish(t *testing.T) {
	onEach(t, func(t *testing.T, b *backend) {
		g := b.shared(t)
		during, after := 0, 0
		for round := range 4 {
			key := b.keyOn(t, plain, "spread", round%len(b.servers))
			g.source.Plan(key, nodes.Plan{For: 100 * time.Millisecond})
			if round%2 == 1 {
				g.delayPublish(uint64(round))
			}
			calls := g.herd(t, nodes.Run{Cache: plain, Key: key, Callers: 250, Spread: 150 * time.Millisecond, Seed: uint64(round)})
			g.delayNothing()
			mustHave(t, key, calls)
			ended := mustCompute(t, g, key, 1)[0].Ended
			for _, c := range calls {
				if c.Began > ended {
					after++
				} else {
					during++
				}
			}
		}
		if during == 0 || after == 0 {
			t.Errorf("%d callers came before the end of the computation and %d after: these herds do not spread over it", during, after)
		}
	})
}

// delayPublish keeps the replies to publishing commands back for 1 to 20 ms.
func (g *group) delayPublish(seed uint64) {
	for i, p := range g.proxies {
		p.Delay(func(c wire.Command) time.Duration {
			if !publishes(c) {
				return 0
			}
			r := rand.New(rand.NewPCG(seed, uint64(i)))
			return time.Millisecond + time.Duration(r.Int64N(int64(19*time.Millisecond)))
		})
	}
}

func (g *group) delayNothing() {
	for _, p := range g.proxies {
		p.Delay(nil)
	}
}

// publishes reports whether a command is the publish step: of the scripts the
// one with four arguments, without scripts each transaction, in memcached each
// cas.
func publishes(c wire.Command) bool {
	const words = 3 + 1 + 4
	return (c.Name == "evalsha" || c.Name == "eval") && c.Words == words || c.Name == "exec" || c.Name == "cas"
}

func TestHerdWithADeleteOnAnotherNode(t *testing.T) {
	onEach(t, func(t *testing.T, b *backend) {
		g := b.shared(t)
		hits := 0
		for round := range 6 {
			hits += deleteInHerd(t, b, g, uint64(round))
		}
		if hits == 0 {
			t.Error("no delete of any round fell into a computation")
		}
	})
}

// deleteInHerd changes and deletes a key at a random moment, and returns how many
// computations that cost.
func deleteInHerd(t *testing.T, b *backend, g *group, seed uint64) (extra int) {
	t.Helper()
	key := b.keyOn(t, plain, "delete", int(seed)%len(b.servers))
	g.source.Plan(key, nodes.Plan{For: 60 * time.Millisecond})
	if seed%2 == 1 {
		g.delayPublish(seed)
		defer g.delayNothing()
	}
	random := rand.New(rand.NewPCG(seed, 0))
	deleted := make(chan nodes.Call)
	at := time.Duration(random.Int64N(int64(80 * time.Millisecond)))
	go func() {
		list := g.began(t, key, 1)
		time.Sleep(at)
		g.source.Change(key)
		other := g.nodes[(list[0].Node+1)%nodeCount]
		call, err := other.Delete(t.Context(), plain, key)
		if err != nil || call.Err != nodes.None {
			t.Errorf("delete: %v, %+v", err, call)
		}
		deleted <- call
	}()
	calls := g.herd(t, nodes.Run{Cache: plain, Key: key, Callers: 100, Spread: 250 * time.Millisecond, Seed: seed})
	gone := <-deleted
	after := 0
	for _, c := range calls {
		mustBeRight(t, key, c)
		if c.Began <= gone.Ended {
			continue
		}
		after++
		if c.Row.Version < 2 || c.Row.Began < gone.Began {
			t.Fatalf("round %d: stale: deleted by %+v, but later %+v", seed, gone, c)
		}
	}
	if after == 0 {
		t.Errorf("round %d: no caller came after the delete", seed)
	}
	list := g.source.Computations(key)
	if len(list) > 2 {
		t.Errorf("round %d: %d computations for one delete %v after the first began: %+v", seed, len(list), at, list)
	}
	return len(list) - 1
}

func TestProxyAndClientsCountTheSame(t *testing.T) {
	g := single(t).shared(t)
	all := func() (sum wire.Counts) {
		for _, s := range each(t, g, func(n *nodes.Node) (nodes.Stats, error) { return n.Stats(t.Context(), plain) }) {
			sum = sum.Plus(s.Commands)
		}
		return sum
	}
	g.warm(t, plain)
	key := newKey("counted")
	g.herd(t, nodes.Run{Cache: plain, Key: key, Callers: 20})
	for range 3 { // a ping of an idle subscription may come between the two
		proxies, clients := g.commands(), all()
		if diff := clients.Minus(proxies); len(diff) == 0 {
			return
		} else if len(diff) > 1 || diff["ping"] == 0 {
			t.Fatalf("clients counted %v more than the proxies, in all %s", diff, strconv.Itoa(proxies.Work()))
		}
	}
	t.Error("the clients and the proxies never counted the same")
}
