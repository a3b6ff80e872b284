// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/leashcache/leash/internal/integration/nodes"
)

// A history is right when each read that found something returned a version at or
// after the last delete that had returned nil before the read began, and one that
// its source had reached. Deletes that failed stay concurrent for ever.

// stale returns the reads that break the rule, by comparing times: it is exact,
// because a source has no version before a delete of it is called. Nor may the
// computation of what is read have begun before such a delete was called.
func stale(ops []nodes.Op) (bad []string) {
	for _, list := range byKey(ops) {
		past := returned(list)
		for _, op := range list {
			if op.Kind == nodes.DeleteOp || !op.Found {
				continue
			}
			n, _ := slices.BinarySearchFunc(past, op.Began, func(p gone, at int64) int { return cmp.Compare(p.at, at) })
			if n == 0 {
				continue
			}
			if p := past[n-1]; op.Version < p.version || op.Made < p.began {
				bad = append(bad, fmt.Sprintf("%s: the deletes that had returned allow version %d, computed after %d", show(op), p.version, p.began))
			}
		}
	}
	return bad
}

// gone is what the deletes that have returned at a time allow.
type gone struct{ at, version, began int64 }

// returned is what successful deletes allow, in the order of their returns.
func returned(list []nodes.Op) (past []gone) {
	for _, op := range list {
		if op.Kind == nodes.DeleteOp && op.Err == nodes.None {
			past = append(past, gone{op.Ended, op.Version, op.Began})
		}
	}
	slices.SortFunc(past, func(a, b gone) int { return cmp.Compare(a.at, b.at) })
	for i := 1; i < len(past); i++ {
		past[i].version = max(past[i].version, past[i-1].version)
		past[i].began = max(past[i].began, past[i-1].began)
	}
	return past
}

func show(op nodes.Op) string {
	return fmt.Sprintf("node %d worker %d %s [%d %d] version %d made %d %s%s",
		op.Node, op.Worker, op.Kind, op.Began, op.Ended, op.Version, op.Made, op.Err, op.Text)
}

func byKey(ops []nodes.Op) map[string][]nodes.Op {
	m := map[string][]nodes.Op{}
	for _, op := range ops {
		m[op.Key] = append(m[op.Key], op)
	}
	return m
}

// legal is the same rule as a model for a checker of linearizability: the state
// is the oldest version that may still be read.
var legal = porcupine.Model{
	Init: func() any { return int64(1) },
	Step: func(state, input, output any) (bool, any) {
		oldest, op := state.(int64), input.(nodes.Op)
		if op.Kind == nodes.DeleteOp {
			return true, max(oldest, op.Version)
		}
		return !op.Found || op.Version >= oldest, state
	},
	DescribeOperation: func(input, _ any) string { return show(input.(nodes.Op)) },
}

// linearizable gives each key's history to porcupine.
func linearizable(ops []nodes.Op) map[string]porcupine.CheckResult {
	results := map[string]porcupine.CheckResult{}
	for key, list := range byKey(ops) {
		var history []porcupine.Operation
		for _, op := range list {
			ended := op.Ended
			if op.Err != nodes.None && op.Kind == nodes.DeleteOp {
				ended = math.MaxInt64
			}
			history = append(history, porcupine.Operation{
				ClientId: op.Node*1000 + op.Worker, Input: op, Call: op.Began, Return: ended,
			})
		}
		results[key] = porcupine.CheckOperationsTimeout(legal, history, 20*time.Second)
	}
	return results
}

// printHistory shows a key's history in the order of calls.
func printHistory(t *testing.T, ops []nodes.Op, key string) {
	t.Helper()
	list := byKey(ops)[key]
	slices.SortFunc(list, func(a, b nodes.Op) int { return cmp.Compare(a.Began, b.Began) })
	var text strings.Builder
	for _, op := range list {
		text.WriteString(show(op) + "\n")
	}
	t.Logf("history of %s:\n%s", key, text.String())
}

func TestCheckersFindAStaleRead(t *testing.T) {
	right := []nodes.Op{
		{Kind: nodes.FetchOp, Key: "k", Began: 10, Ended: 40, Version: 1, Found: true, Made: 15},
		{Kind: nodes.DeleteOp, Key: "k", Began: 20, Ended: 30, Version: 2},
		{Kind: nodes.DeleteOp, Key: "k", Began: 21, Ended: 22, Version: 3, Err: nodes.StoreFailed},
		{Kind: nodes.GetOp, Key: "k", Began: 35, Ended: 36, Found: false},
		{Kind: nodes.FetchOp, Key: "k", Began: 50, Ended: 60, Version: 2, Found: true, Made: 51},
	}
	late := nodes.Op{Worker: 1, Kind: nodes.FetchOp, Key: "k", Began: 31, Ended: 70, Version: 1, Found: true, Made: 15}
	for name, c := range map[string]struct {
		ops  []nodes.Op
		want int
	}{
		"right": {right, 0},
		"stale": {append(slices.Clone(right), late), 1},
	} {
		if got := stale(c.ops); len(got) != c.want {
			t.Errorf("%s: found %q, want %d", name, got, c.want)
		}
		if got := linearizable(c.ops)["k"]; (got == porcupine.Illegal) != (c.want > 0) || got == porcupine.Unknown {
			t.Errorf("%s: porcupine says %v", name, got)
		}
	}
}

// illegal returns the keys of which porcupine does not say that they are right.
func illegal(ops []nodes.Op) (keys []string) {
	results := linearizable(ops)
	for _, key := range slices.Sorted(maps.Keys(results)) {
		if results[key] != porcupine.Ok {
			keys = append(keys, fmt.Sprintf("%s: %s", key, results[key]))
		}
	}
	return keys
}
