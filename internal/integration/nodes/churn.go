// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/leashcache/leash/internal/integration/wire"
)

// Churn is a load of many keys that expire again and again. Callers come at
// random, whether earlier ones have their answers or not.
type Churn struct {
	Cache   Cache
	Keys    int
	Zipf    float64
	Rate    float64 // calls per second of this node
	At      int64
	For     time.Duration
	Compute time.Duration
	Seed    uint64
}

// ChurnResult is what one node saw.
type ChurnResult struct {
	Calls        int
	AtOnce       int           // answered from the store, without waiting for a computation
	Latency      []int64       // of all calls in order of length
	Oldest       time.Duration // the longest time from the end of a computation to a call that got its value
	Wrong        []string      // answers that are errors or wrong rows; the first few
	Computations []Computation
	Commands     wire.Counts
}

const wrongShown = 10

func (n *node) churn(ctx context.Context, ch Churn) (ChurnResult, error) {
	c, err := n.cache(ch.Cache)
	if err != nil {
		return ChurnResult{}, err
	}
	random := rand.New(rand.NewPCG(ch.Seed, uint64(n.config.Index)))
	zipf := rand.NewZipf(random, ch.Zipf, 1, uint64(ch.Keys-1))
	n.takeLog()
	before := n.tally.Counts()
	var r ChurnResult
	var mu sync.Mutex
	var wg sync.WaitGroup
	next := time.Unix(0, ch.At)
	for end := next.Add(ch.For); next.Before(end); {
		time.Sleep(time.Until(next))
		key := fmt.Sprint("churn-", zipf.Uint64())
		wg.Go(func() {
			began := now()
			a := c.fetch(ctx, key, n.compute(key, Compute{For: ch.Compute}))
			ended := now()
			mu.Lock()
			defer mu.Unlock()
			r.note(key, a, began, ended)
		})
		next = next.Add(time.Duration(random.ExpFloat64() / ch.Rate * float64(time.Second)))
	}
	wg.Wait()
	slices.Sort(r.Latency)
	r.Computations, r.Commands = n.takeLog(), n.tally.Counts().Minus(before)
	return r, nil
}

func (r *ChurnResult) note(key string, a Answer, began, ended int64) {
	r.Calls++
	r.Latency = append(r.Latency, ended-began)
	if a.Err != None || a.Row.Key != key || a.Row.Text != TextOf(key, a.Row.Version) {
		if len(r.Wrong) < wrongShown {
			r.Wrong = append(r.Wrong, fmt.Sprintf("%s: %+v", key, a))
		}
		return
	}
	switch a.Status {
	case "HIT", "UPDATING":
		r.AtOnce++
	}
	r.Oldest = max(r.Oldest, time.Duration(began-a.Row.Ended))
}
