// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// runReport is the result of a run.
type runReport struct {
	Nodes    int           `json:"nodes"`
	Rate     int           `json:"requests_per_second"`
	TTL      float64       `json:"ttl_ms"`
	Store    string        `json:"store"`
	Rows     int           `json:"rows"`
	QueryMS  float64       `json:"query_ms"`
	Seconds  float64       `json:"seconds"`
	Phases   []phaseResult `json:"phases"`
	Problems []string      `json:"problems"`
}

func newReport(o options, st *store, size size) *runReport {
	return &runReport{
		Nodes: nodeCount, Rate: o.rate, TTL: millis(o.ttl), Store: st.name,
		Rows: size.rows, QueryMS: millis(size.query), Problems: []string{},
	}
}

// check lists what leash should not have let happen.
func (r *runReport) check() {
	for _, p := range r.Phases {
		if !p.Leash {
			continue
		}
		if p.Errors > 0 {
			r.Problems = append(r.Problems, fmt.Sprintf("%s: %d of %d requests failed: %s", p.Name, p.Errors, p.Requests, p.Error))
		}
		if p.Queries > p.Expiries+p.Disturbed {
			r.Problems = append(r.Problems, fmt.Sprintf("%s: %d queries for %d expiries", p.Name, p.Queries, p.Expiries))
		}
	}
}

// print writes the report. The error says that something is wrong with leash.
func (r *runReport) print(out io.Writer, asJSON bool) error {
	r.check()
	var err error
	if asJSON {
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		err = e.Encode(r)
	} else {
		err = r.table(out)
	}
	if len(r.Problems) > 0 {
		return errors.New("leash did not hold its promise: " + strings.Join(r.Problems, "; "))
	}
	return err
}

func (r *runReport) table(out io.Writer) error {
	fmt.Fprintln(out)
	const heads, cells = "%-*s %9s %8s %11s %9s %7s %8s %8s %8s\n", "%-*s %9d %8d %11.1f %9d %7d %8s %8s %8s\n"
	fmt.Fprintf(out, heads, nameWidth(), "", "expiries", "queries", "per expiry", "requests", "errors", "p50", "p99", "slowest")
	for _, p := range r.Phases {
		fmt.Fprintf(out, cells, nameWidth(), p.Name,
			p.Expiries, p.Queries, float64(p.Queries)/float64(max(p.Expiries, 1)), p.Requests, p.Errors,
			milliseconds(p.P50), milliseconds(p.P99), milliseconds(p.Slowest))
	}
	for _, p := range r.Phases {
		if p.Disturbed > 0 {
			fmt.Fprintf(out, "%s: the shared cache failed or a lease was lost %d times, each of which may cost a query.\n", p.Name, p.Disturbed)
		}
	}
	_, err := fmt.Fprintf(out, `
An expiry is a value that had to be made: %d at the cold start of each phase, one
for each shop, and again when the TTL was over. Queries are counted by the
database, latencies from when a request was due. At a cold start the last phase
has no stale value yet, so its first requests wait, too. The run took %.0f s.
`, len(shops()), r.Seconds)
	return err
}

func milliseconds(ms float64) string {
	if ms < 10 {
		return fmt.Sprintf("%.1f ms", ms)
	}
	return fmt.Sprintf("%.0f ms", ms)
}

func nameWidth() int {
	width := 0
	for _, p := range protections {
		width = max(width, len(p.name))
	}
	return width
}
