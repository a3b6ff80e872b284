// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"slices"
	"time"
)

// drainWithin is how long a phase waits for queries that go on when their
// clients have their answers.
const drainWithin = 30 * time.Second

// phaseResult is a row of the table. Latencies are in milliseconds.
type phaseResult struct {
	Name string `json:"name"`
	// Leash tells the phases that are held to one query per expiry.
	Leash bool `json:"leash"`
	// Expiries is how often a value had to be made: once for each shop at the
	// cold start, and whenever the TTL of what was stored last was over.
	Expiries int `json:"expiries"`
	// Queries is how many the database executed.
	Queries int `json:"queries"`
	// Disturbed is how many more than one per expiry leash's documentation allows
	// for, because the store failed or a lease was lost.
	Disturbed int     `json:"disturbed"`
	Requests  int     `json:"requests"`
	Errors    int     `json:"errors"`
	Error     string  `json:"error,omitempty"` // the first one
	P50       float64 `json:"p50_ms"`
	P99       float64 `json:"p99_ms"`
	Slowest   float64 `json:"slowest_ms"`
}

// runPhase drives the nodes through one protection. It starts cold, because the
// keys are the protection's own, and ends when nothing runs any more.
func runPhase(ctx context.Context, o options, nodes *cluster, p protection, expected map[int64]Report, show *progress) (phaseResult, error) {
	l, err := newLoad(nodes, p.path, expected)
	if err != nil {
		return phaseResult{}, err
	}
	start := time.Now()
	watched := make(chan struct{})
	watching, stop := context.WithCancel(ctx)
	go func() {
		defer close(watched)
		watch(watching, l, nodes, start, show)
	}()
	l.run(ctx, o.rate, o.phase())
	stats, err := drain(ctx, nodes, p.path, start)
	stop()
	<-watched
	if err != nil {
		return phaseResult{}, err
	}
	latencies := l.sorted()
	r := phaseResult{
		Name: p.name, Leash: p.leash,
		Expiries: expiries(stats.Queries, o.ttl), Queries: len(stats.Queries), Disturbed: int(stats.Disturbed),
		Requests: len(latencies), Errors: l.errors,
		P50: millis(quantile(latencies, 0.5)), P99: millis(quantile(latencies, 0.99)), Slowest: millis(quantile(latencies, 1)),
	}
	show.line(stand, time.Since(start).Seconds(), len(latencies), 0, r.Queries)
	if l.firstErr != nil {
		r.Error = l.firstErr.Error()
		show.line("%d requests failed, the first with: %s", r.Errors, r.Error)
	}
	return r, nil
}

func millis(d time.Duration) float64 {
	return float64(d.Round(10*time.Microsecond)) / float64(time.Millisecond)
}

// stand is how a phase stands; with the longest name it must fit into 80 columns,
// because a line that wraps can not be written over.
const stand = "%2.0f s  %4d sent  %4d waiting  %3d queries"

// watch shows how a phase goes on, once per second.
func watch(ctx context.Context, l *load, nodes *cluster, start time.Time, show *progress) {
	for sleep(ctx, time.Second-time.Since(start)%time.Second) {
		stats, err := nodes.stats(ctx, l.path, start)
		if err != nil {
			continue // nodes may be too busy to tell, which is the point of the first phase
		}
		sent, answered := l.sent.Load(), l.answered.Load()
		show.now(stand, time.Since(start).Seconds(), sent, sent-answered, len(stats.Queries))
	}
}

// drain waits until the database has nothing to do, and returns the final count.
func drain(ctx context.Context, nodes *cluster, path string, start time.Time) (nodeStats, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, drainWithin, errors.New("the database does not come to rest"))
	defer cancel()
	for {
		stats, err := nodes.stats(ctx, path, start)
		if err == nil && stats.Running == 0 {
			return stats, nil
		}
		if !sleep(ctx, 50*time.Millisecond) {
			return stats, context.Cause(ctx)
		}
	}
}

// expiries counts how often a value had to be made: once for a shop that is cold,
// and again when nothing was stored for one TTL, each time until a query has
// succeeded. In a stampede all who missed store what they have, one after the
// other, so that the TTL begins anew each time: that is one expiry. The tenth
// allows for a clock that is set while this runs.
func expiries(queries []query, ttl time.Duration) int {
	slices.SortFunc(queries, func(a, b query) int { return a.Start.Compare(b.Start) })
	n := 0
	fresh := map[int64]time.Time{} // by shop: until when; zero while the value is being made
	for _, q := range queries {
		until, known := fresh[q.Shop]
		if !known || !until.IsZero() && q.Start.After(until) {
			n++
			until = time.Time{}
		}
		if end := q.End.Add(ttl - ttl/10); !q.End.IsZero() && end.After(until) {
			until = end
		}
		fresh[q.Shop] = until
	}
	return n
}
