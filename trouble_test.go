// SPDX-License-Identifier: Apache-2.0

package leash_test

import (
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
)

func down(string, string) error { return errors.New("connection refused") }

func frozen(string, string) error { time.Sleep(5 * time.Second); return errors.New("i/o timeout") }

// A store that fails costs no caller his answer: values are computed, coalesced
// per key.
func TestStoreDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newRemote(memstore.New())
		store.Hook(down, nil)
		c := newCache(t, store, leash.Options{Logger: quiet})
		src := &source{took: 100 * time.Millisecond}
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				u, out, err := c.Fetch(t.Context(), "k", src.load)
				if err != nil || u.Name != "Ann" || out.Stored {
					t.Errorf("got %v, %+v, %v", u, out, err)
				}
			})
		}
		wg.Wait()
		// One for the first caller, whose read they could not share, and one for the rest.
		if n := src.calls.Load(); n > 2 {
			t.Errorf("%d computations, want at most 2", n)
		}
		if err := c.Delete(t.Context(), "k"); !errors.Is(err, leash.ErrStore) {
			t.Errorf("Delete: %v", err)
		}
		if err := c.Set(t.Context(), "k", user{}); !errors.Is(err, leash.ErrStore) {
			t.Errorf("Set: %v", err)
		}
		if _, ok, err := c.Get(t.Context(), "k"); ok || !errors.Is(err, leash.ErrStore) {
			t.Errorf("Get: %v", err)
		}
		if n := c.Stats().StoreErrors(leash.OpGet); n == 0 {
			t.Error("no store error was counted")
		}
	})
}

// A frozen store costs its first callers the operation's time and no more, and
// only so many goroutines are left behind.
func TestStoreFrozen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newRemote(memstore.New())
		store.Hook(frozen, nil)
		c := newCache(t, store, leash.Options{Logger: quiet, MaxUnleased: 1000})
		src := &source{}
		var wg sync.WaitGroup
		for i := range 300 {
			wg.Go(func() {
				time.Sleep(time.Duration(i) * 10 * time.Millisecond)
				began := time.Now()
				if _, err := c.GetOrCompute(t.Context(), fmt.Sprint(i), src.load); err != nil {
					t.Error(err)
				}
				if d := time.Since(began); d > 260*time.Millisecond || i > 100 && d > time.Millisecond {
					t.Errorf("caller %d waited %v", i, d)
				}
			})
		}
		wg.Wait()
		if n := store.Steps(); n > 64+26 {
			t.Errorf("%d steps are under way at a frozen store", n)
		}
		store.Hook(nil, nil)
		time.Sleep(10 * time.Second)
		if _, out, err := c.Fetch(t.Context(), "later", src.load); err != nil || !out.Stored {
			t.Errorf("after the thaw: %+v, %v", out, err)
		}
	})
}

// The same where the store freezes in any other step.
func TestStoreFrozenAtEachStep(t *testing.T) {
	key := func(i int) string { return fmt.Sprint(i) }
	for op, test := range map[string]struct {
		most int64
		call func(c *leash.Cache[user], i int)
	}{
		"lease": {64, func(c *leash.Cache[user], i int) {
			_, _ = c.GetOrCompute(context.Background(), key(i), (&source{}).load)
		}},
		"get": {64, func(c *leash.Cache[user], i int) { _, _, _ = c.Get(context.Background(), key(i)) }},
		"publish": {64, func(c *leash.Cache[user], i int) {
			_ = c.Set(context.Background(), key(i), user{})
		}},
		"delete": {128, func(c *leash.Cache[user], i int) { _ = c.Delete(context.Background(), key(i)) }}, // are tried for longer
	} {
		t.Run(op, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := newRemote(memstore.New())
				var now, most atomic.Int64
				store.Hook(func(step, key string) error {
					if step != op {
						return nil
					}
					most.Store(max(most.Load(), now.Add(1)))
					defer now.Add(-1)
					return frozen(step, key)
				}, nil)
				c := newCache(t, store, leash.Options{Logger: quiet, MaxUnleased: 1000})
				var wg sync.WaitGroup
				for i := range 300 {
					wg.Go(func() {
						time.Sleep(time.Duration(i) * 10 * time.Millisecond)
						test.call(c, i)
					})
				}
				wg.Wait()
				// 25 come within the time of one step.
				if n := most.Load(); n < test.most || n > test.most+26 {
					t.Errorf("%d steps at a time at a frozen store, want %d and those within their time", n, test.most)
				}
			})
		})
	}
}

// Computations without a lease are bounded; who gets no place is told so.
func TestUnleasedComputationsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newRemote(memstore.New())
		store.Hook(down, nil)
		c := newCache(t, store, leash.Options{Logger: quiet, MaxUnleased: 3})
		var running, most, overloaded atomic.Int64
		var wg sync.WaitGroup
		for i := range 10 {
			wg.Go(func() {
				_, err := c.GetOrCompute(t.Context(), fmt.Sprint(i), func(context.Context) (user, error) {
					most.Store(max(most.Load(), running.Add(1)))
					time.Sleep(time.Second)
					running.Add(-1)
					return user{}, nil
				})
				if errors.Is(err, leash.ErrOverloaded) {
					overloaded.Add(1)
				} else if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if most.Load() != 3 || overloaded.Load() != 7 {
			t.Errorf("%d ran at once, %d were turned away; want 3 and 7", most.Load(), overloaded.Load())
		}
	})
}

// A lease command that is answered after its time is cleaned up: the orphan does
// not keep others waiting.
func TestOrphanLeaseIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newRemote(memstore.New())
		store.Hook(nil, func(op, _ string) error {
			if op == "lease" {
				time.Sleep(400 * time.Millisecond)
			}
			return nil
		})
		c := newCache(t, store, leash.Options{Logger: quiet, Lease: time.Hour})
		if _, _, err := c.Fetch(t.Context(), "k", (&source{}).load); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		store.Hook(nil, nil)
		if n := store.Len(); n != 0 {
			t.Errorf("%d orphan leases", n)
		}
	})
}

// A store that freezes while a value is published keeps nobody longer than the
// operation's time; who came during the computation is served in a new flight.
func TestStoreFreezesAtThePublish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newRemote(memstore.New())
		c := newCache(t, store, leash.Options{Logger: quiet})
		store.Hook(func(op, _ string) error {
			if op == "publish" {
				time.Sleep(5 * time.Second)
			}
			return nil
		}, nil)
		src := &source{took: time.Second}
		var wg sync.WaitGroup
		ask := func(after, within time.Duration) {
			wg.Go(func() {
				time.Sleep(after)
				began := time.Now()
				if u, err := c.GetOrCompute(t.Context(), "k", src.load); err != nil || u.Name != "Ann" {
					t.Errorf("got %v, %v", u, err)
				}
				if d := time.Since(began); d > within {
					t.Errorf("waited %v, want at most %v", d, within)
				}
			})
		}
		ask(0, 1260*time.Millisecond)
		ask(500*time.Millisecond, 6*time.Second) // finds the lease, and then the value
		wg.Wait()
		src.want(t, 1)
	})
}

// The caller's own patience is his alone: he leaves a frozen store at once, and
// those who wait with him are answered.
func TestLeadingCallerLeavesDuringTheRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newRemote(memstore.New())
		store.Hook(func(op, _ string) error { time.Sleep(100 * time.Millisecond); return nil }, nil)
		c := newCache(t, store, leash.Options{})
		src := &source{}
		var wg sync.WaitGroup
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			began := time.Now()
			if _, err := c.GetOrCompute(ctx, "k", src.load); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 50*time.Millisecond {
				t.Errorf("got %v after %v", err, time.Since(began))
			}
		})
		time.Sleep(time.Millisecond)
		if _, err := c.GetOrCompute(t.Context(), "k", src.load); err != nil {
			t.Error(err)
		}
		wg.Wait()
		src.want(t, 1)
	})
}
