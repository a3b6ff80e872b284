// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"errors"
	"flag"
	"log/slog"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/leashcache/leash"
	"github.com/leashcache/leash/backends/memstore"
	"github.com/leashcache/leash/internal/far"
)

var (
	seeds = flag.Uint64("seeds", 2000, "how many seeded histories TestHistoriesInBubbles runs")
	first = flag.Uint64("seed", 0, "the first of them")
)

// TestHistoriesInBubbles runs seeded interleavings of calls, deletes, failures
// and lost messages on three nodes, in fake time, and gives every history to a
// checker of linearizability. A failure names its seed: run it again with -seed.
func TestHistoriesInBubbles(t *testing.T) {
	var seen tally
	for seed := *first; seed < *first+*seeds; seed++ {
		var h *chronicle
		synctest.Test(t, func(t *testing.T) { h = play(t, seed) })
		if got := porcupine.CheckOperations(bubbleModel, h.ops); !got {
			t.Errorf("seed %d: a stale read", seed)
			for _, op := range h.ops {
				t.Logf("[%d %d] client %d %+v -> %v", op.Call, op.Return, op.ClientId, op.Input, op.Output)
			}
			return
		}
		seen.add(h.seen)
	}
	t.Logf("%d histories: %+v", *seeds, seen)
	if least := int64(*seeds / 20); seen.During < least || seen.Stale < least || seen.Elsewhere < least || seen.Voided < least || seen.Lost < least {
		t.Errorf("too tame to show anything: %+v", seen)
	}
}

// tally counts what the histories were made of.
type tally struct{ Deletes, During, Stale, Elsewhere, Voided, Lost int64 }

func (a *tally) add(b tally) {
	a.Deletes += b.Deletes
	a.During += b.During
	a.Stale += b.Stale
	a.Elsewhere += b.Elsewhere
	a.Voided += b.Voided
	a.Lost += b.Lost
}

// deletion and reading are the operations of a history.
type deletion struct{ version int }
type reading struct{}

// bubbleModel: a read returns a version at or after the last delete; one that
// failed may happen at any time, so its return is never.
var bubbleModel = porcupine.Model{
	Init: func() any { return 0 },
	Step: func(state, input, output any) (bool, any) {
		oldest := state.(int)
		if d, ok := input.(deletion); ok {
			return true, max(oldest, d.version)
		}
		return output.(int) >= oldest, oldest
	},
}

// chronicle writes a history down. Its clock ticks once for each event, so that
// what happens at one moment of fake time still has an order.
type chronicle struct {
	mu      sync.Mutex
	clock   int64
	version int
	running int
	ops     []porcupine.Operation
	seen    tally
}

func (h *chronicle) tick() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.clock++
	return h.clock
}

func (h *chronicle) write() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.version++
	if h.running > 0 {
		h.seen.During++
	}
	return h.version
}

func (h *chronicle) read(took time.Duration) int {
	h.mu.Lock()
	v := h.version
	h.running++
	h.mu.Unlock()
	time.Sleep(took)
	h.mu.Lock()
	h.running--
	h.mu.Unlock()
	return v
}

func (h *chronicle) note(client int, in, out any, began, ended int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, porcupine.Operation{ClientId: client, Input: in, Output: out, Call: began, Return: ended})
}

// options differ from seed to seed.
func options(rnd *rand.Rand) leash.Options {
	ms := func(n int64) time.Duration { return time.Duration(rnd.Int64N(n*1e6)) + 1 }
	o := leash.Options{
		TTL: ms(60) + time.Millisecond, Lease: 100 * time.Millisecond, Backoff: ms(20),
		FinishAbandoned: rnd.IntN(4) == 0, Logger: slog.New(slog.DiscardHandler),
	}
	if rnd.IntN(2) == 0 {
		o.StaleIfError, o.StaleBackoff = ms(60), ms(20)
	}
	if rnd.IntN(2) == 0 {
		o.StaleWhileRevalidate = ms(60)
	}
	return o
}

func play(t *testing.T, seed uint64) *chronicle {
	rnd := rand.New(rand.NewPCG(seed, 2))
	store := far.New(memstore.New())
	store.Shake(rnd.Uint64(), 3*time.Millisecond, rnd.Float64()*0.1)
	store.Room = rnd.IntN(4) // reads queue, in three of four
	o := options(rnd)
	h := &chronicle{}
	var caches []*leash.Cache[int]
	for range 3 {
		c, err := leash.New[int]("bubble", store, o)
		if err != nil {
			t.Fatal(err)
		}
		caches = append(caches, c)
	}
	var wg sync.WaitGroup
	for client := range 40 {
		c, at, took, patience, what := caches[rnd.IntN(3)], time.Duration(rnd.Int64N(120e6)), time.Duration(rnd.Int64N(15e6)), time.Duration(rnd.Int64N(400e6)), rnd.IntN(10)
		wg.Go(func() {
			time.Sleep(at)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			h.act(ctx, c, client, what, took)
		})
	}
	wg.Wait()
	for _, c := range caches {
		s := c.Stats()
		h.seen.Stale += s.Count(leash.EventStale) + s.Count(leash.EventUpdating)
		h.seen.Elsewhere += s.Count(leash.EventElsewhere)
		h.seen.Voided += s.Count(leash.EventVoided)
		h.seen.Lost += s.Count(leash.EventStoreError)
		if err := c.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
	return h
}

// act is one client's one operation.
func (h *chronicle) act(ctx context.Context, c *leash.Cache[int], client, what int, took time.Duration) {
	const key = "k"
	switch what {
	case 0, 1:
		v, began, ended := h.write(), h.tick(), int64(math.MaxInt64)
		if c.Delete(context.WithoutCancel(ctx), key) == nil {
			ended = h.tick()
		}
		h.seenDelete()
		h.note(client, deletion{v}, nil, began, ended)
	case 2:
		_, _ = c.GetOrCompute(ctx, key, func(context.Context) (int, error) { time.Sleep(took); return 0, errors.New("down") })
	case 3:
		began := h.tick()
		if v, ok, err := c.Get(ctx, key); err == nil && ok {
			h.note(client, reading{}, v, began, h.tick())
		}
	default:
		began := h.tick()
		if v, err := c.GetOrCompute(ctx, key, func(context.Context) (int, error) { return h.read(took), nil }); err == nil {
			h.note(client, reading{}, v, began, h.tick())
		}
	}
}

func (h *chronicle) seenDelete() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.seen.Deletes++
}
