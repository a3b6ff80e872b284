// SPDX-License-Identifier: Apache-2.0

// Command herd measures what a herd on one cold key costs: how long after the
// computation's time the last caller has its value, against the same herd that
// talks to no server. It starts a Redis of its own, or memcached servers, where
// plain polling is measured, too. Build it without the race detector, and look at
// ratios within one run.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/leashcache/leash/internal/integration/nodes"
	"github.com/leashcache/leash/internal/integration/wire"
	"github.com/leashcache/leash/internal/servers"
)

var (
	rounds    = flag.Int("rounds", 15, "rounds of each")
	processes = flag.Int("processes", 4, "node processes")
	callers   = flag.Int("callers", 250, "callers per process")
	compute   = flag.Duration("compute", 100*time.Millisecond, "what a computation takes")
	auto      = flag.Bool("autopipeline", false, "give leash an AutoPipeline client")
	memcached = flag.Int("memcached", 0, "take so many memcached servers in place of Redis")
	naive     = flag.Bool("naive", false, "also measure callers that nothing protects")
)

func main() {
	nodes.Main()
	flag.Parse()
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "herd:", err)
		os.Exit(1)
	}
}

func run() error {
	config := nodes.Config{AutoPipeline: *auto, Memcached: *memcached > 0}
	for range max(1, *memcached) {
		start := func() (*servers.Server, error) { return servers.StartRedis() }
		if config.Memcached {
			start = func() (*servers.Server, error) { return servers.StartMemcached() }
		}
		srv, err := start()
		if err != nil {
			return err
		}
		defer srv.Close()
		config.Addrs = append(config.Addrs, srv.Addr())
	}
	fleet, err := nodes.StartFleet(*processes, config, nodes.NewSource())
	if err != nil {
		return err
	}
	defer fleet.Close(context.Background())

	contenders := []*contender{
		{name: "floor", cache: nodes.Cache{Kind: nodes.Floor}},
		{name: "leash", cache: nodes.Cache{Name: "herd", TTL: time.Minute}},
	}
	if config.Memcached {
		contenders[1].name = "leash, duration known"
		contenders = append(contenders,
			&contender{name: "leash, first computation", cache: nodes.Cache{Name: "herd", TTL: time.Minute}, fresh: true},
			&contender{name: "a poll each 10 ms", cache: nodes.Cache{Kind: nodes.Poll, Every: 10 * time.Millisecond}},
			&contender{name: "a poll each 100 ms", cache: nodes.Cache{Kind: nodes.Poll, Every: 100 * time.Millisecond}})
	}
	if *naive {
		contenders = append(contenders, &contender{name: "naive", cache: nodes.Cache{Kind: nodes.Naive, TTL: time.Minute}})
	}
	for i := range *rounds + 1 {
		for _, c := range contenders {
			if err := c.round(fleet, i); err != nil {
				return err
			}
		}
	}
	floor := median(contenders[0].beyond)
	for _, c := range contenders {
		m := median(c.beyond)
		fmt.Printf("%s: median of %d rounds: last caller %v beyond the computation, %.2f x the floor; median of commands %d, the most %d; "+
			"other nodes had the value %v after it was computed (median)\n",
			c.name, len(c.beyond), m.Round(time.Microsecond), float64(m)/float64(floor), median(c.commands), slices.Max(c.commands),
			median(c.after).Round(time.Microsecond))
	}
	return nil
}

// contender is one kind of cache.
type contender struct {
	name     string
	cache    nodes.Cache
	fresh    bool // another cache each time, which has computed nothing yet
	beyond   []time.Duration
	after    []time.Duration // how long a node that did not compute had no value yet
	commands []int
}

// round is one herd; the first only warms up.
func (c *contender) round(fleet nodes.Fleet, i int) error {
	before, err := commands(fleet)
	if err != nil {
		return err
	}
	cache := c.cache
	if c.fresh {
		cache.Name += fmt.Sprint(i)
	}
	at := time.Now().Add(200 * time.Millisecond).UnixNano()
	results, err := nodes.Each(fleet, func(n *nodes.Node) ([]nodes.Call, error) {
		return n.Run(context.Background(), nodes.Run{
			Cache: cache, Key: fmt.Sprint("herd-", i), Callers: *callers, At: at, Compute: nodes.Compute{For: *compute},
		})
	})
	if err != nil {
		return err
	}
	last, byStatus := int64(0), map[string]time.Duration{}
	for _, call := range slices.Concat(results...) {
		if call.Err != nodes.None {
			return fmt.Errorf("a caller got %+v", call)
		}
		last = max(last, call.Ended)
		byStatus[call.Status] = max(byStatus[call.Status], time.Duration(call.Ended-at)-*compute)
	}
	computed, err := nodes.Each(fleet, func(n *nodes.Node) ([]nodes.Computation, error) { return n.Computations(context.Background()) })
	if err != nil {
		return err
	}
	after, err := commands(fleet)
	if err != nil || i == 0 {
		return err
	}
	beyond, sent := time.Duration(last-at)-*compute, after.Minus(before)
	c.beyond, c.commands = append(c.beyond, beyond), append(c.commands, sent.Work())
	list := slices.Concat(computed...)
	began, ended := int64(0), int64(0)
	for _, one := range list {
		began, ended = max(began, one.Began), max(ended, one.Ended)
	}
	for node, calls := range results {
		if len(list) == 1 && node != list[0].Node {
			first := slices.MinFunc(calls, func(a, b nodes.Call) int { return int(a.Ended - b.Ended) })
			c.after = append(c.after, time.Duration(first.Ended-ended))
		}
	}
	fmt.Printf("round %d, %s: last caller %v beyond the computation %v, which began after %v and ended %v before the last caller; %d computations, %d commands %v\n",
		i, c.name, beyond.Round(time.Microsecond), byStatus, time.Duration(began-at).Round(time.Microsecond),
		time.Duration(last-ended).Round(time.Microsecond), len(list), sent.Work(), sent)
	return nil
}

// commands is what all nodes have sent, by what their connections wrote.
func commands(fleet nodes.Fleet) (sum wire.Counts, err error) {
	stats, err := nodes.Each(fleet, func(n *nodes.Node) (nodes.Stats, error) {
		return n.Stats(context.Background(), nodes.Cache{Kind: nodes.Floor})
	})
	for _, s := range stats {
		sum = sum.Plus(s.Commands)
	}
	return sum, err
}

func median[T int | time.Duration](list []T) T {
	if len(list) == 0 {
		return 0
	}
	list = slices.Clone(list)
	slices.Sort(list)
	return list[len(list)/2]
}
