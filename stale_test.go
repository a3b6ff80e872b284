// SPDX-License-Identifier: Apache-2.0

package leash_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leashcache/leash"
	"github.com/leashcache/leash/backends/memstore"
)

// Within stale-while-revalidate everybody gets the old value at once, and the
// cluster computes one new one.
func TestStaleWhileRevalidate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newRemote(memstore.New())
		o := leash.Options{TTL: 10 * time.Second, StaleWhileRevalidate: 10 * time.Second}
		nodes := []*leash.Cache[user]{newCache(t, store, o), newCache(t, store, o), newCache(t, store, o)}
		src := &source{took: time.Second}
		_, _ = nodes[0].GetOrCompute(t.Context(), "42", src.load)
		time.Sleep(11 * time.Second)
		var wg sync.WaitGroup
		for _, c := range nodes {
			for range 50 {
				wg.Go(func() {
					began := time.Now()
					u, out, err := c.Fetch(t.Context(), "42", src.load)
					if err != nil || u.ID != 1 || out.Status != leash.StatusUpdating || out.TTL >= 0 {
						t.Errorf("got %v, %+v, %v", u, out, err)
					}
					if d := time.Since(began); d > 10*time.Millisecond {
						t.Errorf("waited for %v", d)
					}
				})
			}
		}
		wg.Wait()
		time.Sleep(2 * time.Second)
		src.want(t, 2)
		if u, out, _ := nodes[1].Fetch(t.Context(), "42", src.load); u.ID != 2 || out.Status != leash.StatusHit {
			t.Errorf("after the refresh: %v, %+v", u, out)
		}
	})
}

// While a refresh asks for its lease, further stale hits start no other.
func TestOneRefreshAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newRemote(memstore.New())
		c := newCache(t, store, leash.Options{TTL: time.Second, StaleWhileRevalidate: time.Minute})
		src := &source{}
		_, _ = c.GetOrCompute(t.Context(), "42", src.load)
		time.Sleep(2 * time.Second)
		store.Hook(func(op, _ string) error {
			if op == "lease" {
				time.Sleep(100 * time.Millisecond)
			}
			return nil
		}, nil)
		for range 20 {
			if _, out, err := c.Fetch(t.Context(), "42", src.load); err != nil || out.Status != leash.StatusUpdating {
				t.Errorf("got %+v, %v", out, err)
			}
		}
		if n := c.Stats().Count(leash.EventRefresh); n != 1 {
			t.Errorf("%d refreshes, want 1", n)
		}
		time.Sleep(time.Second)
		src.want(t, 2)
	})
}

// A refresh that fails leaves the old value, and is not tried again by anybody
// before the back-off is over.
func TestFailedRefreshKeepsTheValue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newRemote(memstore.New())
		o := leash.Options{TTL: 10 * time.Second, StaleWhileRevalidate: time.Minute, StaleIfError: time.Minute, StaleBackoff: 5 * time.Second}
		a, b := newCache(t, store, o), newCache(t, store, o)
		_, _ = a.GetOrCompute(t.Context(), "42", (&source{}).load)
		time.Sleep(11 * time.Second)
		var calls atomic.Int64
		fail := func(context.Context) (user, error) { calls.Add(1); return user{}, errors.New("down") }
		for i := range 100 { // for ten seconds
			c := []*leash.Cache[user]{a, b}[i%2]
			if u, err := c.GetOrCompute(t.Context(), "42", fail); err != nil || u.ID != 1 {
				t.Fatalf("got %v, %v", u, err)
			}
			time.Sleep(100 * time.Millisecond)
		}
		if n := calls.Load(); n != 2 {
			t.Errorf("%d tries in two back-offs, want 2", n)
		}
	})
}

func TestStaleIfError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newRemote(memstore.New())
		o := leash.Options{TTL: 10 * time.Second, StaleIfError: time.Minute}
		a, b := newCache(t, store, o), newCache(t, store, o)
		_, _ = a.GetOrCompute(t.Context(), "42", (&source{}).load)
		time.Sleep(11 * time.Second)
		var calls atomic.Int64
		fail := func(context.Context) (user, error) {
			calls.Add(1)
			time.Sleep(100 * time.Millisecond)
			return user{}, errors.New("down")
		}
		var wg sync.WaitGroup
		for _, c := range []*leash.Cache[user]{a, b} {
			for range 20 {
				wg.Go(func() {
					u, out, err := c.Fetch(t.Context(), "42", fail)
					if err != nil || u.ID != 1 || out.Status != leash.StatusStale {
						t.Errorf("got %v, %+v, %v", u, out, err)
					}
				})
			}
		}
		wg.Wait()
		if n := calls.Load(); n != 1 {
			t.Errorf("%d tries, want 1", n)
		}
		time.Sleep(11 * time.Second) // the back-off
		src := &source{}
		if _, out, err := b.Fetch(t.Context(), "42", src.load); err != nil || out.Status != leash.StatusExpired || !out.Stored {
			t.Errorf("after the back-off: %+v, %v", out, err)
		}
		// Beyond the window the error comes through.
		time.Sleep(71 * time.Second)
		if _, err := a.GetOrCompute(t.Context(), "42", fail); err == nil {
			t.Error("a value beyond StaleIfError was returned")
		}
	})
}

// A forced refresh that fails does not cost the others their good value.
func TestFailedForcedRefreshKeepsTheValue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, newRemote(memstore.New()), leash.Options{})
		_, _ = c.GetOrCompute(t.Context(), "42", (&source{}).load)
		boom := errors.New("boom")
		if _, err := c.GetOrCompute(t.Context(), "42", func(context.Context) (user, error) { return user{}, boom }, leash.Refresh()); !errors.Is(err, boom) {
			t.Errorf("got %v", err)
		}
		if _, out, err := c.Fetch(t.Context(), "42", (&source{}).load); err != nil || out.Status != leash.StatusHit {
			t.Errorf("got %+v, %v", out, err)
		}
	})
}

// Who asks for a new value does not get an old one, whatever happens.
func TestRefreshGetsNoStaleValue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, newRemote(memstore.New()), leash.Options{TTL: time.Second, StaleIfError: time.Hour, StaleBackoff: -1})
		_, _ = c.GetOrCompute(t.Context(), "42", (&source{}).load)
		time.Sleep(2 * time.Second)
		boom := errors.New("boom")
		fail := func(context.Context) (user, error) { time.Sleep(5 * time.Second); return user{}, boom }
		if u, err := c.GetOrCompute(t.Context(), "42", fail, leash.Refresh()); !errors.Is(err, boom) {
			t.Errorf("got %v, %v", u, err)
		}
		if u, err := c.GetOrCompute(t.Context(), "42", fail, leash.Refresh(), leash.MaxWait(time.Second)); !errors.Is(err, leash.ErrBusy) {
			t.Errorf("got %v, %v", u, err)
		}
		if u, err := c.GetOrCompute(t.Context(), "42", fail, leash.MaxWait(time.Second)); err != nil || u.ID != 1 {
			t.Errorf("at the end of its wait an ordinary caller got %v, %v", u, err)
		}
		time.Sleep(time.Minute)
	})
}

// XFetch alone computes e^(1/beta) times per expiry in expectation when calls
// come all the time; with the lease it is once. The value never expires under
// anybody: nobody waits.
func TestRefreshAheadIsLeased(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newRemote(memstore.New())
		o := leash.Options{TTL: 10 * time.Second, RefreshAhead: 1}
		nodes := []*leash.Cache[user]{newCache(t, store, o), newCache(t, store, o)}
		src := &source{took: 500 * time.Millisecond}
		_, _ = nodes[0].GetOrCompute(t.Context(), "42", src.load)
		var waited atomic.Int64
		began := time.Now()
		for time.Since(began) < 1000*time.Second {
			for _, c := range nodes {
				t0 := time.Now()
				if _, err := c.GetOrCompute(t.Context(), "42", src.load); err != nil {
					t.Fatal(err)
				}
				if time.Since(t0) > 10*time.Millisecond {
					waited.Add(1)
				}
			}
			time.Sleep(20 * time.Millisecond)
		}
		n := float64(src.calls.Load())
		// A generation lasts from one value to the next: 10 s less the gap, which
		// is the greatest of the draws in it, plus the computation.
		if n < 95 || n > 1000/7.0 {
			t.Errorf("%v computations in 100 TTLs", n)
		}
		if w := waited.Load(); w > 3 {
			t.Errorf("%d of %v expiries were waited for", w, n)
		}
		s := nodes[0].Stats()
		if s.Count(leash.EventRefresh) == 0 {
			t.Error("nothing was refreshed ahead")
		}
	})
}

func TestJitterShortensOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, memstore.New(), leash.Options{TTL: 100 * time.Second, Jitter: 0.2})
		var least, most time.Duration = time.Hour, 0
		for i := range 500 {
			key := string(rune('a'+i%26)) + string(rune('a'+i/26))
			_, _ = c.GetOrCompute(t.Context(), key, (&source{}).load)
			_, out, _ := c.Fetch(t.Context(), key, (&source{}).load)
			least, most = min(least, out.TTL), max(most, out.TTL)
		}
		if least < 80*time.Second || least > 82*time.Second || most > 100*time.Second || most < 98*time.Second {
			t.Errorf("TTLs from %v to %v, want 80 s to 100 s", least, most)
		}
	})
}

func TestPerCallAndPerValueTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, newRemote(memstore.New()), leash.Options{TTL: time.Minute})
		ttl := func(key string) time.Duration {
			_, out, err := c.Fetch(t.Context(), key, func(context.Context) (user, error) { return user{}, errors.New("not stored") })
			if err != nil {
				return 0
			}
			return out.TTL.Round(time.Second)
		}
		_, _ = c.GetOrCompute(t.Context(), "call", (&source{}).load, leash.TTL(time.Hour))
		_, _ = c.GetOrCompute(t.Context(), "value", func(ctx context.Context) (user, error) {
			leash.SetTTL(ctx, 10*time.Second)
			return user{}, nil
		}, leash.TTL(time.Hour))
		_, _ = c.GetOrCompute(t.Context(), "none", func(ctx context.Context) (user, error) {
			leash.NoStore(ctx)
			return user{}, nil
		})
		_ = c.Set(t.Context(), "set", user{}, leash.TTL(2*time.Hour))
		for key, want := range map[string]time.Duration{"call": time.Hour, "value": 10 * time.Second, "none": 0, "set": 2 * time.Hour} {
			if got := ttl(key); got != want {
				t.Errorf("%s: TTL %v, want %v", key, got, want)
			}
		}
	})
}

// Who asks for a new value computes during a back-off, too, and starts no refresh
// besides.
func TestRefreshDuringBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, newRemote(memstore.New()), leash.Options{
			TTL: time.Second, StaleWhileRevalidate: time.Minute, StaleIfError: time.Hour, StaleBackoff: time.Minute,
		})
		src := &source{}
		_, _ = c.GetOrCompute(t.Context(), "42", src.load)
		time.Sleep(2 * time.Second)
		if _, err := c.GetOrCompute(t.Context(), "42", src.load, leash.Refresh()); err != nil {
			t.Error(err)
		}
		if n := c.Stats().Count(leash.EventRefresh); n != 0 {
			t.Errorf("%d background refreshes beside the forced one", n)
		}
		time.Sleep(2 * time.Minute)
		_, err := c.GetOrCompute(t.Context(), "42", func(context.Context) (user, error) { return user{}, errors.New("boom") })
		if err != nil {
			t.Errorf("got %v, want the stale value", err)
		}
		began := time.Now()
		u, out, err := c.Fetch(t.Context(), "42", src.load, leash.Refresh())
		if err != nil || u.ID != 3 || out.Status != leash.StatusExpired {
			t.Errorf("got %v, %+v, %v", u, out, err)
		}
		if d := time.Since(began); d > 10*time.Millisecond {
			t.Errorf("waited %v for the back-off", d)
		}
		src.want(t, 3)
	})
}
