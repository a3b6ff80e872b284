// SPDX-License-Identifier: Apache-2.0

package leash_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leashcache/leash"
	"github.com/leashcache/leash/backends/memstore"
	"github.com/leashcache/leash/codec"
)

// narrow is a store whose client has room for two commands, and what its reads
// saw of each other.
func narrow(t *testing.T) (*remote, *atomic.Int64, *atomic.Int64) {
	t.Helper()
	store := newRemote(memstore.New())
	store.Room, store.Wire = 2, 10*time.Millisecond
	var now, most atomic.Int64
	store.Hook(func(op, _ string) error {
		if op == "get" {
			most.Store(max(most.Load(), now.Add(1)))
			time.Sleep(10 * time.Millisecond)
			now.Add(-1)
		}
		return nil
	}, nil)
	return store, &now, &most
}

// No more reads are sent than the client has room for, and each gets its turn.
func TestReadsTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, _, most := narrow(t)
		c := newCache(t, store, leash.Options{Logger: quiet})
		for i := range 10 {
			if err := c.Set(t.Context(), fmt.Sprint(i), user{Name: "Ann"}); err != nil {
				t.Fatal(err)
			}
		}
		for range 3 {
			began := time.Now()
			var wg sync.WaitGroup
			for i := range 10 {
				wg.Go(func() {
					if _, out, err := c.Fetch(t.Context(), fmt.Sprint(i), (&source{}).load); err != nil || out.Status != leash.StatusHit {
						t.Errorf("%+v, %v", out, err)
					}
				})
			}
			wg.Wait()
			if took := time.Since(began); took != 5*30*time.Millisecond {
				t.Errorf("ten reads, two at a time, each of 30 ms, took %v", took)
			}
		}
		if most.Load() != 2 {
			t.Errorf("%d reads at a time, want 2", most.Load())
		}
	})
}

// Who comes while the read waits for its turn is answered by it.
func TestQueuedReadCoversWhoComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, _, _ := narrow(t)
		c := newCache(t, store, leash.Options{Logger: quiet})
		if err := c.Set(t.Context(), "hot", user{Name: "Ann"}); err != nil {
			t.Fatal(err)
		}
		before := store.Steps()
		var wg sync.WaitGroup
		call := func(key string) {
			wg.Go(func() {
				if u, err := c.GetOrCompute(t.Context(), key, (&source{}).load); err != nil || u.Name != "Ann" {
					t.Errorf("%q: %v, %v", key, u, err)
				}
			})
		}
		call("a")
		call("b")
		time.Sleep(time.Millisecond)
		for range 20 {
			call("hot")
			time.Sleep(time.Millisecond)
		}
		wg.Wait()
		if n := store.Steps() - before; n != 2*3+1 {
			t.Errorf("%d steps, want 3 for each of two misses and one for twenty hits", n)
		}
	})
}

// A read that nobody waits for any more when its turn comes is not sent.
func TestQueuedReadIsDroppedWithItsCallers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, _, _ := narrow(t)
		c := newCache(t, store, leash.Options{Logger: quiet})
		for range 2 { // the second time with what the first left behind
			before := store.Steps()
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
			var wg sync.WaitGroup
			for i := range 10 {
				wg.Go(func() {
					_, err := c.GetOrCompute(ctx, fmt.Sprint("x", i), (&source{}).load)
					if !errors.Is(err, context.DeadlineExceeded) {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			cancel()
			time.Sleep(time.Second)
			if n := store.Steps() - before; n != 2 {
				t.Errorf("%d steps for callers who have left, want the two reads that were under way", n)
			}
		}
		if _, err := c.GetOrCompute(t.Context(), "y", (&source{}).load); err != nil {
			t.Error(err)
		}
	})
}

// Waiting for a turn is a part of the read's time. Reads that get none leave
// nothing behind when the store comes back.
func TestQueuedReadsHaveTheirTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, _, _ := narrow(t)
		store.Hook(frozen, nil)
		c := newCache(t, store, leash.Options{Logger: quiet, MaxUnleased: 1000})
		var wg sync.WaitGroup
		for i := range 30 {
			wg.Go(func() {
				began := time.Now()
				if _, err := c.GetOrCompute(t.Context(), fmt.Sprint(i), (&source{}).load); err != nil {
					t.Error(err)
				}
				if d := time.Since(began); d > 260*time.Millisecond {
					t.Errorf("caller %d waited %v", i, d)
				}
			})
		}
		wg.Wait()
		time.Sleep(10 * time.Second)
		if n := store.Steps(); n != 2 {
			t.Errorf("%d reads were sent to a frozen store, want as many as it has room for", n)
		}
		for i := range 6 { // frozen a second time, it costs no more than the first time
			began := time.Now()
			_, _ = c.GetOrCompute(t.Context(), fmt.Sprint("again", i), (&source{}).load)
			if d := time.Since(began); i >= 2 && d > time.Millisecond {
				t.Errorf("with two reads left behind, caller %d waited %v", i, d)
			}
		}
		time.Sleep(10 * time.Second)
		store.Hook(nil, nil)
		for i := range 3 {
			if _, out, err := c.Fetch(t.Context(), fmt.Sprint("later", i), (&source{}).load); err != nil || !out.Stored {
				t.Errorf("%+v, %v", out, err)
			}
		}
	})
}

// Callers who leave early do not make a slow store count as failed.
func TestImpatientCallersAreNotTheStoresFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newRemote(memstore.New())
		store.Wire = 100 * time.Millisecond
		c := newCache(t, store, leash.Options{Logger: quiet})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				if _, _, err := c.Get(ctx, "k"); !errors.Is(err, context.DeadlineExceeded) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if _, _, err := c.Get(t.Context(), "k"); err != nil {
			t.Error(err)
		}
		if n := c.Stats().StoreErrors(leash.OpGet); n != 0 {
			t.Errorf("%d errors of the store", n)
		}
	})
}

// Callers whom one queued read answers all decode what it brought, and nobody reads
// another entry into the same place meanwhile.
func TestQueuedReadIsDecodedInPeace(t *testing.T) {
	store := newRemote(memstore.New())
	store.Room, store.Wire = 2, 0
	c, err := leash.New[[]byte]("blobs", store, leash.Options{TTL: time.Hour, Codec: codec.Bytes})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(context.Background())
	var want [6][]byte
	for i := range want {
		want[i] = bytes.Repeat([]byte{byte('a' + i)}, 32<<10)
		if err := c.Set(t.Context(), fmt.Sprint(i), want[i]); err != nil {
			t.Fatal(err)
		}
	}
	var wg sync.WaitGroup
	for g := range 32 {
		wg.Go(func() {
			for n := range 1000 {
				i := (g + n*n) % len(want)
				got, err := c.GetOrCompute(context.Background(), fmt.Sprint(i), func(context.Context) ([]byte, error) { return want[i], nil })
				if err != nil || !bytes.Equal(got, want[i]) {
					t.Errorf("key %d: %d bytes that begin with %.3q, %v", i, len(got), got, err)
					return
				}
			}
		})
	}
	wg.Wait()
}
