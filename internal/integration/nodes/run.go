// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/leashcache/leash"
)

// run sends the callers of a herd off and waits for their answers.
func (n *node) run(ctx context.Context, r Run) ([]Call, error) {
	c, err := n.cache(r.Cache)
	if err != nil {
		return nil, err
	}
	random := rand.New(rand.NewPCG(r.Seed, uint64(n.config.Index)))
	calls := make([]Call, r.Callers)
	var wg sync.WaitGroup
	for i := range calls {
		arrives, stays := within(random, r.Spread), within(random, r.Stay)
		if i == 0 {
			arrives = 0
		}
		leaves := r.Leaving == Everybody || r.Leaving == EachSecond && i%2 == 1
		wg.Go(func() {
			time.Sleep(time.Until(time.Unix(0, r.At).Add(arrives)))
			ctx := ctx
			if leaves {
				var leave context.CancelFunc
				ctx, leave = context.WithCancel(ctx)
				defer time.AfterFunc(stays, leave).Stop()
			}
			var opts []leash.Option
			if r.MaxWait > 0 {
				opts = append(opts, leash.MaxWait(r.MaxWait))
			}
			call := Call{Node: n.config.Index, Leaves: leaves, Began: now()}
			call.Answer = c.fetch(ctx, r.Key, n.compute(r.Key, r.Compute), opts...)
			call.Ended = now()
			calls[i] = call
		})
	}
	wg.Wait()
	return calls, nil
}

// within returns a random time below d.
func within(r *rand.Rand, d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return time.Duration(r.Int64N(int64(d)))
}
