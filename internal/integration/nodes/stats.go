// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"cmp"
	"slices"
	"time"

	"github.com/leashcache/leash/internal/integration/wire"
)

// ChurnTotal is what all nodes saw of a churn.
type ChurnTotal struct {
	Calls, AtOnce, Computations int
	Keys                        int // that were computed at all

	// Early is how many computations began before the value of the one before
	// had expired; Overlapping, before the one before had ended.
	Early, Overlapping int

	Latency  []int64 // in order of length
	Oldest   time.Duration
	Wrong    []string
	Commands wire.Counts
}

// Total adds up what the nodes saw of values that live for ttl.
func Total(results []ChurnResult, ttl time.Duration) (t ChurnTotal) {
	byKey := map[string][]Computation{}
	for _, r := range results {
		t.Calls += r.Calls
		t.AtOnce += r.AtOnce
		t.Computations += len(r.Computations)
		t.Latency = append(t.Latency, r.Latency...)
		t.Oldest = max(t.Oldest, r.Oldest)
		t.Wrong = append(t.Wrong, r.Wrong...)
		t.Commands = t.Commands.Plus(r.Commands)
		for _, c := range r.Computations {
			byKey[c.Key] = append(byKey[c.Key], c)
		}
	}
	slices.Sort(t.Latency)
	t.Keys = len(byKey)
	for _, list := range byKey {
		slices.SortFunc(list, func(a, b Computation) int { return cmp.Compare(a.Began, b.Began) })
		for i := 1; i < len(list); i++ {
			pause := time.Duration(list[i].Began - list[i-1].Ended)
			if pause < ttl {
				t.Early++
			}
			if pause < 0 {
				t.Overlapping++
			}
		}
	}
	return t
}

// PerExpiry is the computations for each one that an expiry, or the first call
// for a key, made necessary.
func (t ChurnTotal) PerExpiry() float64 {
	return float64(t.Computations) / float64(t.Computations-t.Early)
}

// AtOnceShare is the share of calls that did not wait for a computation.
func (t ChurnTotal) AtOnceShare() float64 { return float64(t.AtOnce) / float64(t.Calls) }

// PerCall is the commands per call.
func (t ChurnTotal) PerCall() float64 { return float64(t.Commands.Work()) / float64(t.Calls) }

// Quantile returns the latency below which the share q of all calls stayed.
func (t ChurnTotal) Quantile(q float64) time.Duration {
	if len(t.Latency) == 0 {
		return 0
	}
	return time.Duration(t.Latency[min(int(q*float64(len(t.Latency))), len(t.Latency)-1)])
}

// Within is the share of calls that took less than d.
func (t ChurnTotal) Within(d time.Duration) float64 {
	n, _ := slices.BinarySearch(t.Latency, int64(d))
	return float64(n) / float64(len(t.Latency))
}
