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

type user struct {
	ID   int
	Name string
	Tags []string
}

// newCache returns a cache of users that ends with the test.
func newCache(t *testing.T, s leash.Store, o leash.Options) *leash.Cache[user] {
	t.Helper()
	if o.TTL == 0 {
		o.TTL = time.Minute
	}
	if o.Jitter == 0 {
		o.Jitter = -1
	}
	c, err := leash.New[user]("users", s, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
		defer cancel()
		if err := c.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return c
}

// source is a database that counts.
type source struct {
	calls atomic.Int64
	took  time.Duration
}

func (s *source) load(ctx context.Context) (user, error) {
	n := s.calls.Add(1)
	select {
	case <-time.After(s.took):
		return user{ID: int(n), Name: "Ann", Tags: []string{"a"}}, nil
	case <-ctx.Done():
		return user{}, ctx.Err()
	}
}

func (s *source) want(t *testing.T, n int64) {
	t.Helper()
	if got := s.calls.Load(); got != n {
		t.Errorf("%d computations, want %d", got, n)
	}
}

func TestHerdOnThreeNodesComputesOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newRemote(memstore.New())
		src := &source{took: 100 * time.Millisecond}
		var wg sync.WaitGroup
		for range 3 {
			c := newCache(t, store, leash.Options{})
			for range 300 {
				wg.Go(func() {
					u, err := c.GetOrCompute(t.Context(), "42", src.load)
					if err != nil || u.ID != 1 {
						t.Errorf("got %v, %v", u, err)
					}
				})
			}
		}
		wg.Wait()
		src.want(t, 1)
	})
}

func TestHitAfterMiss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, newRemote(memstore.New()), leash.Options{TTL: time.Minute})
		src := &source{took: time.Second}
		for i := range 3 {
			_, out, err := c.Fetch(t.Context(), "42", src.load)
			if err != nil {
				t.Fatal(err)
			}
			want := leash.StatusHit
			if i == 0 {
				want = leash.StatusMiss
			}
			if out.Status != want {
				t.Errorf("call %d: status %v, want %v", i, out.Status, want)
			}
		}
		src.want(t, 1)
		time.Sleep(time.Minute)
		if _, err := c.GetOrCompute(t.Context(), "42", src.load); err != nil {
			t.Fatal(err)
		}
		src.want(t, 2)
	})
}

func TestErrorReachesTheWholeClusterOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newRemote(memstore.New())
		boom := errors.New("boom")
		var calls atomic.Int64
		var wg sync.WaitGroup
		for range 3 {
			c := newCache(t, store, leash.Options{})
			for range 50 {
				wg.Go(func() {
					_, err := c.GetOrCompute(t.Context(), "42", func(context.Context) (user, error) {
						calls.Add(1)
						time.Sleep(50 * time.Millisecond)
						return user{}, boom
					})
					if ce := (*leash.ComputeError)(nil); !errors.Is(err, boom) && (!errors.As(err, &ce) || ce.Text != "boom") {
						t.Errorf("got %v", err)
					}
				})
			}
		}
		wg.Wait()
		if n := calls.Load(); n != 1 {
			t.Errorf("%d computations, want 1", n)
		}
	})
}
