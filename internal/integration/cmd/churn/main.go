// SPDX-License-Identifier: Apache-2.0

// Command churn measures many keys that expire again and again, on several
// processes: computations per key and expiry, commands per call, latencies. It
// starts a Redis of its own. Build it without the race detector.
package main

import (
	"context"
	"flag"
	"fmt"
	"math"
	"os"
	"time"

	"github.com/leashcache/leash/internal/integration/nodes"
	"github.com/leashcache/leash/internal/servers"
)

var (
	length    = flag.Duration("for", 20*time.Second, "how long each load lasts")
	processes = flag.Int("processes", 4, "node processes")
	keys      = flag.Int("keys", 1000, "keys")
	zipf      = flag.Float64("zipf", 1.1, "exponent of Zipf's law")
	rate      = flag.Float64("rate", 4000, "calls per second in all")
	ttl       = flag.Duration("ttl", time.Second, "TTL")
	compute   = flag.Duration("compute", 20*time.Millisecond, "what a computation takes")
	auto      = flag.Bool("autopipeline", false, "give leash an AutoPipeline client")
	naive     = flag.Bool("naive", false, "also measure callers that nothing protects")
)

func main() {
	nodes.Main()
	flag.Parse()
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "churn:", err)
		os.Exit(1)
	}
}

func run() error {
	srv, err := servers.StartRedis()
	if err != nil {
		return err
	}
	defer srv.Close()
	fleet, err := nodes.StartFleet(*processes, nodes.Config{Addrs: []string{srv.Addr()}, AutoPipeline: *auto}, nodes.NewSource())
	if err != nil {
		return err
	}
	defer fleet.Close(context.Background())

	const beta = 1
	fmt.Printf("XFetch alone, without a lease: %.2f computations per expiry\n", math.Exp(1.0/beta))
	loads := []struct {
		name  string
		cache nodes.Cache
	}{
		{"fresh", nodes.Cache{Name: "fresh", TTL: *ttl}},
		{"stale while revalidate", nodes.Cache{Name: "stale", TTL: *ttl, StaleWhileRevalidate: time.Minute}},
		{"jitter and refresh ahead", nodes.Cache{Name: "ahead", TTL: *ttl, Jitter: 0.1, RefreshAhead: beta}},
		{"naive", nodes.Cache{Kind: nodes.Naive, TTL: *ttl}},
	}
	if !*naive {
		loads = loads[:len(loads)-1]
	}
	for _, l := range loads {
		if err := churn(fleet, l.name, l.cache); err != nil {
			return err
		}
	}
	return nil
}

func churn(fleet nodes.Fleet, name string, c nodes.Cache) error {
	load := nodes.Churn{
		Cache: c, Keys: *keys, Zipf: *zipf, Rate: *rate / float64(len(fleet)),
		At: time.Now().Add(200 * time.Millisecond).UnixNano(), For: *length, Compute: *compute, Seed: 1,
	}
	results, err := nodes.Each(fleet, func(n *nodes.Node) (nodes.ChurnResult, error) { return n.Churn(context.Background(), load) })
	if err != nil {
		return err
	}
	t := nodes.Total(results, *ttl)
	fmt.Printf("%s: %d calls, %d computations of %d keys, %d before the TTL was over, %d overlapping\n", name, t.Calls, t.Computations, t.Keys, t.Early, t.Overlapping)
	fmt.Printf("  %.4f computations per key and expiry (overlapping only: %.4f)\n", t.PerExpiry(), float64(t.Computations)/float64(t.Computations-t.Overlapping))
	fmt.Printf("  %.4f of the calls answered at once, %.4f within half a computation\n", t.AtOnceShare(), t.Within(*compute/2))
	fmt.Printf("  %.2f commands per call %v\n", t.PerCall(), t.Commands)
	fmt.Printf("  oldest value served %v after its computation; p50 %v, p99 %v, p99.9 %v, slowest %v\n", t.Oldest, t.Quantile(0.5), t.Quantile(0.99), t.Quantile(0.999), t.Quantile(1))
	for _, wrong := range t.Wrong {
		fmt.Println("  wrong:", wrong)
	}
	return nil
}
