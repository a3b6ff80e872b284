// SPDX-License-Identifier: Apache-2.0

package leash_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leashcache/leash"
	"github.com/leashcache/leash/backends/memstore"
)

var seeds = flag.Uint64("seeds", 400, "how many seeded histories TestDeleteWins runs")

// history is a source with versions, and what callers may see of it.
type history struct {
	mu      sync.Mutex
	version int
	deleted int // the version of the last delete that returned nil
	running int
	most    int
}

func (h *history) write() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.version++
	return h.version
}

func (h *history) gone(version int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.deleted = max(h.deleted, version)
}

func (h *history) floor() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.deleted
}

// read is the computation: what it returns was true when it began.
func (h *history) read(took time.Duration) user {
	h.mu.Lock()
	v := h.version
	h.running++
	h.most = max(h.most, h.running)
	h.mu.Unlock()
	time.Sleep(took)
	h.mu.Lock()
	h.running--
	h.mu.Unlock()
	return user{ID: v}
}

// TestDeleteWins runs random histories of calls, writes with deletes, failures
// and lost replies on three nodes: a call that begins after a delete returned nil
// never gets what was computed before it.
func TestDeleteWins(t *testing.T) {
	for seed := range *seeds {
		if !t.Run(fmt.Sprint(seed), func(t *testing.T) { synctest.Test(t, func(t *testing.T) { deleteWins(t, seed) }) }) {
			return
		}
	}
}

func deleteWins(t *testing.T, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 2))
	ms := func(n int64) time.Duration { return time.Duration(rnd.Int64N(n * 1e6)) }
	store := newRemote(memstore.New())
	store.Shake(rnd.Uint64(), 3*time.Millisecond, rnd.Float64()*0.1)
	o := leash.Options{TTL: ms(60) + time.Millisecond, Lease: 100 * time.Millisecond, Backoff: ms(20) + 1, FinishAbandoned: rnd.IntN(4) == 0}
	if rnd.IntN(2) == 0 {
		o.StaleIfError, o.StaleBackoff = ms(60)+1, ms(20)+1
	}
	if rnd.IntN(2) == 0 {
		o.StaleWhileRevalidate = ms(60)
	}
	var nodes []*leash.Cache[user]
	for range 3 {
		nodes = append(nodes, newCache(t, store, o))
	}
	h := &history{}
	var wg sync.WaitGroup
	for range 60 {
		node, at, took, patience := nodes[rnd.IntN(3)], ms(150), ms(15), ms(400)
		what := rnd.IntN(10)
		wg.Go(func() {
			time.Sleep(at)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			switch {
			case what < 2:
				v := h.write()
				if node.Delete(context.WithoutCancel(ctx), "42") == nil {
					h.gone(v)
				}
				return
			case what == 2:
				_, _ = node.GetOrCompute(ctx, "42", func(context.Context) (user, error) { time.Sleep(took); return user{}, errors.New("down") })
				return
			}
			floor := h.floor()
			if what == 3 {
				if u, ok, err := node.Get(ctx, "42"); err == nil && ok && u.ID < floor {
					t.Errorf("Get returned version %d after version %d was deleted", u.ID, floor)
				}
				return
			}
			u, out, err := node.Fetch(ctx, "42", func(context.Context) (user, error) { return h.read(took), nil })
			if err == nil && u.ID < floor {
				t.Errorf("version %d was returned (%+v) after version %d was deleted", u.ID, out, floor)
			}
		})
	}
	wg.Wait()
}
