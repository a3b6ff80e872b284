// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// run is the whole demo: store, database, nodes, four phases, table.
func run(ctx context.Context, o options) error {
	began := time.Now()
	show := newProgress(os.Stdout)
	if o.json {
		show = newProgress(os.Stderr)
	}
	defer show.end()

	st, err := openStore(ctx, o)
	if err != nil {
		return err
	}
	defer st.close()

	dir, err := os.MkdirTemp("", "leash-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)

	show.now("filling the database")
	file := filepath.Join(dir, "sales.db")
	size, err := fill(ctx, file)
	if err != nil {
		return interrupted(ctx, fmt.Errorf("filling the database: %w", err))
	}
	expected, err := answers(ctx, file)
	if err != nil {
		return interrupted(ctx, fmt.Errorf("reading the database: %w", err))
	}

	config := nodeConfig{
		Database: file, Redis: st.url, Embedded: st.embedded != nil, Memcached: st.memcached,
		Run: "leash-demo-" + strings.ToLower(rand.Text()[:8]), TTL: o.ttl,
	}
	defer st.forget(config)
	nodes, ctx, err := startCluster(ctx, config)
	if err != nil {
		return interrupted(ctx, err)
	}
	defer nodes.stop() // before the keys are deleted

	show.line("%d nodes, each a process; %d requests per second; values are fresh for %v", nodeCount, o.rate, o.ttl)
	show.line("database: %d rows, a query takes %v alone; shared cache: %s; ready after %.1f s",
		size.rows, size.query.Round(time.Millisecond), st.name, time.Since(began).Seconds())

	report := newReport(o, st, size)
	for i, p := range protections {
		show.prefix = fmt.Sprintf("%d/%d %-*s  ", i+1, len(protections), nameWidth(), p.name)
		r, err := runPhase(ctx, o, nodes, p, expected, show)
		if err != nil {
			return interrupted(ctx, err)
		}
		report.Phases = append(report.Phases, r)
	}
	show.end()
	report.Seconds = time.Since(began).Seconds()
	return report.print(os.Stdout, o.json)
}

// interrupted returns why ctx ended, if it has: that is then why err came about.
func interrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
