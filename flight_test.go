// SPDX-License-Identifier: Apache-2.0

package leash_test

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leashcache/leash"
	"github.com/leashcache/leash/backends/memstore"
)

// Half of a hundred callers, who come one after another on two nodes, leave at
// random times: the others get the value, and it is computed once.
func TestCallersWhoLeaveHarmNobody(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 1))
			store := newRemote(memstore.New())
			nodes := []*leash.Cache[user]{newCache(t, store, leash.Options{}), newCache(t, store, leash.Options{})}
			src := &source{took: 100 * time.Millisecond}
			var wg sync.WaitGroup
			for i := range 100 {
				arrive, stay := time.Duration(rnd.Int64N(80e6)), time.Duration(rnd.Int64N(80e6))
				node := nodes[rnd.IntN(2)]
				wg.Go(func() {
					time.Sleep(arrive)
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					if i%2 == 1 {
						time.AfterFunc(stay, cancel)
					}
					u, err := node.GetOrCompute(ctx, "42", src.load)
					switch {
					case i%2 == 0 && (err != nil || u.ID != 1):
						t.Errorf("seed %d: a caller who stayed got %v, %v", seed, u, err)
					case i%2 == 1 && err != nil && !errors.Is(err, context.Canceled):
						t.Errorf("seed %d: a caller who left got %v", seed, err)
					}
				})
			}
			wg.Wait()
			src.want(t, 1)
		})
	}
}

// The last caller who leaves cancels the computation, and the lease is given up
// without a back-off: the next caller, on another node, computes at once.
func TestLastCallerCancelsTheComputation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newRemote(memstore.New())
		a, b := newCache(t, store, leash.Options{}), newCache(t, store, leash.Options{})
		cause := make(chan error, 1)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := a.GetOrCompute(ctx, "42", func(ctx context.Context) (user, error) {
			<-ctx.Done()
			cause <- context.Cause(ctx)
			return user{}, ctx.Err()
		})
		if !errors.Is(err, leash.ErrBusy) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the caller got %v, want ErrBusy and DeadlineExceeded", err)
		}
		if err := <-cause; err == nil {
			t.Error("the computation was cancelled without a cause")
		}
		time.Sleep(time.Millisecond) // the lease is given up
		began := time.Now()
		src := &source{}
		if _, err := b.GetOrCompute(t.Context(), "42", src.load); err != nil {
			t.Error(err)
		}
		if d := time.Since(began); d > 10*time.Millisecond {
			t.Errorf("the next caller waited for %v", d)
		}
		src.want(t, 1)
	})
}

// A flight whose callers have all left is dying; who comes then must not get its
// cancellation, nor wait for it. He comes at once, before the flight's goroutine
// knows.
func TestNobodyJoinsAnAbandonedFlight(t *testing.T) {
	for range 50 {
		synctest.Test(t, func(t *testing.T) {
			c := newCache(t, newRemote(memstore.New()), leash.Options{Lease: time.Second})
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := c.GetOrCompute(ctx, "42", func(ctx context.Context) (user, error) {
				<-ctx.Done()
				time.Sleep(100 * time.Millisecond) // takes its time to die
				return user{}, ctx.Err()
			})
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v", err)
			}
			src := &source{}
			if u, err := c.GetOrCompute(t.Context(), "42", src.load); err != nil || u.ID != 1 {
				t.Errorf("got %v, %v", u, err)
			}
		})
	}
}

// A caller who wants a value computed after his call is not answered by a
// computation that had begun, here or elsewhere, nor by what is stored.
func TestRefreshIsNotAnsweredByWhatWasBefore(t *testing.T) {
	for name, on := range map[string]func(a, b *leash.Cache[user]) *leash.Cache[user]{
		"the same node": func(a, _ *leash.Cache[user]) *leash.Cache[user] { return a },
		"another node":  func(_, b *leash.Cache[user]) *leash.Cache[user] { return b },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := newRemote(memstore.New())
				a, b := newCache(t, store, leash.Options{}), newCache(t, store, leash.Options{})
				version := at(1)
				load := versioned(version, time.Second)
				var wg sync.WaitGroup
				wg.Go(func() {
					if u, err := a.GetOrCompute(t.Context(), "k", load); err != nil || u.ID != 1 {
						t.Errorf("the first caller got %v, %v", u, err)
					}
				})
				time.Sleep(500 * time.Millisecond)
				version.Store(2)
				if u, err := on(a, b).GetOrCompute(t.Context(), "k", load, leash.Refresh()); err != nil || u.ID != 2 {
					t.Errorf("during a computation: %v, %v", u, err)
				}
				version.Store(3)
				if u, err := on(a, b).GetOrCompute(t.Context(), "k", load, leash.Refresh()); err != nil || u.ID != 3 {
					t.Errorf("over a fresh value: %v, %v", u, err)
				}
				if u, err := a.GetOrCompute(t.Context(), "k", load); err != nil || u.ID != 3 {
					t.Errorf("the refreshed value is not stored: %v, %v", u, err)
				}
				wg.Wait()
			})
		})
	}
}

// A caller whose time is over at the very moment of his answer is counted out
// once, or the flight would end under those who still wait.
func TestLeavingAtTheMomentOfTheAnswer(t *testing.T) {
	for range 300 {
		synctest.Test(t, func(t *testing.T) {
			store := newRemote(memstore.New())
			store.Wire = 0
			c := newCache(t, store, leash.Options{})
			src := &source{took: time.Second}
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() {
					ctx, cancel := context.WithTimeout(t.Context(), time.Second)
					defer cancel()
					_, _ = c.GetOrCompute(ctx, "42", src.load)
				})
			}
			stay, cancel := context.WithCancel(t.Context())
			defer cancel()
			wg.Go(func() { _, _ = c.GetOrCompute(stay, "42", src.load) }) // keeps the computation going
			time.Sleep(time.Second / 2)
			if u, err := c.GetOrCompute(t.Context(), "42", src.load, leash.Refresh()); err != nil || u.ID != 2 {
				t.Errorf("got %v, %v", u, err)
			}
			wg.Wait()
		})
	}
}

func TestFinishAbandonedFills(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, newRemote(memstore.New()), leash.Options{FinishAbandoned: true})
		src := &source{took: 2 * time.Second}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.GetOrCompute(ctx, "42", src.load); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		if u, err := c.GetOrCompute(t.Context(), "42", src.load); err != nil || u.ID != 1 {
			t.Errorf("a later caller can not join: %v, %v", u, err)
		}
		src.want(t, 1)
	})
}

// What a computation does to its goroutine reaches everybody as a typed error,
// here and on other nodes, and the key is not held.
func TestPanicAndGoexitReachEverybody(t *testing.T) {
	boom := errors.New("boom")
	for name, tt := range map[string]struct {
		do   func()
		here func(error) bool
		text string
	}{
		"panic": {func() { panic("boom") }, func(err error) bool {
			p, ok := errors.AsType[*leash.PanicError](err)
			return ok && p.Value == "boom" && strings.Contains(string(p.Stack), "flight_test.go")
		}, "leash: computation panicked: boom"},
		"panic with an error": {func() { panic(boom) }, func(err error) bool { return errors.Is(err, boom) }, "leash: computation panicked: boom"},
		"goexit":              {runtime.Goexit, func(err error) bool { return errors.Is(err, leash.ErrGoexit) }, leash.ErrGoexit.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := newRemote(memstore.New())
				var calls atomic.Int64
				var wg sync.WaitGroup
				for range 2 {
					c := newCache(t, store, leash.Options{})
					for range 50 {
						wg.Go(func() {
							_, err := c.GetOrCompute(t.Context(), "42", func(context.Context) (user, error) {
								calls.Add(1)
								time.Sleep(time.Millisecond)
								tt.do()
								return user{}, nil
							})
							ce, _ := errors.AsType[*leash.ComputeError](err)
							if !tt.here(err) && (ce == nil || ce.Text != tt.text) {
								t.Errorf("got %v", err)
							}
						})
					}
				}
				wg.Wait()
				if calls.Load() != 1 {
					t.Errorf("%d computations, want 1", calls.Load())
				}
				time.Sleep(time.Second) // the back-off
				c := newCache(t, store, leash.Options{})
				if _, err := c.GetOrCompute(t.Context(), "42", (&source{}).load); err != nil {
					t.Errorf("after the back-off: %v", err)
				}
			})
		})
	}
}

// A value that panics when it is written is returned, not stored, and takes
// nobody along.
type explosive struct{ N int }

func (explosive) MarshalBinary() ([]byte, error) { panic("no") }
func (*explosive) UnmarshalBinary([]byte) error  { return nil }

func TestPanicInMarshaler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := leash.New[explosive]("x", newRemote(memstore.New()), leash.Options{TTL: time.Minute, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		v, out, err := c.Fetch(t.Context(), "k", func(context.Context) (explosive, error) { return explosive{1}, nil })
		if err != nil || v.N != 1 || out.Stored {
			t.Errorf("got %v, %+v, %v", v, out, err)
		}
	})
}

func TestRecursionIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newRemote(memstore.New())
		c, other := newCache(t, store, leash.Options{}), newCache(t, store, leash.Options{})
		_, err := c.GetOrCompute(t.Context(), "a", func(ctx context.Context) (user, error) {
			return c.GetOrCompute(ctx, "b", func(ctx context.Context) (user, error) {
				return other.GetOrCompute(ctx, "a", (&source{}).load)
			})
		})
		if !errors.Is(err, leash.ErrRecursive) {
			t.Errorf("got %v, want ErrRecursive", err)
		}
	})
}

type ctxKey struct{}

func TestComputeContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, newRemote(memstore.New()), leash.Options{ComputeTimeout: 7 * time.Second})
		ctx, cancel := context.WithTimeout(context.WithValue(t.Context(), ctxKey{}, "trace"), time.Hour)
		defer cancel()
		began := time.Now()
		_, err := c.GetOrCompute(ctx, "42", func(ctx context.Context) (user, error) {
			if v := ctx.Value(ctxKey{}); v != "trace" {
				t.Errorf("the caller's value is lost: %v", v)
			}
			if d, ok := ctx.Deadline(); !ok || d.Sub(began) > 8*time.Second {
				t.Errorf("deadline %v, want the computation's own", d.Sub(began))
			}
			<-ctx.Done()
			return user{}, ctx.Err()
		})
		if !errors.Is(err, leash.ErrComputeTimeout) {
			t.Errorf("got %v, want ErrComputeTimeout", err)
		}
	})
}

// A computation that ignores its context keeps no caller longer than the
// timeout, and Close names it.
func TestComputationThatIgnoresItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := leash.New[user]("users", newRemote(memstore.New()), leash.Options{TTL: time.Minute, ComputeTimeout: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		release := make(chan struct{})
		began := time.Now()
		_, err = c.GetOrCompute(t.Context(), "42", func(context.Context) (user, error) { <-release; return user{}, nil })
		if !errors.Is(err, leash.ErrComputeTimeout) || time.Since(began) > 1100*time.Millisecond {
			t.Errorf("got %v after %v", err, time.Since(began))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := c.Close(ctx); err == nil || !strings.Contains(err.Error(), `"42"`) {
			t.Errorf("Close does not name the key: %v", err)
		}
		close(release)
		if err := c.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// Who came while such a computation ran is not lost with it: he has a new one when
// its lease has ended.
func TestCallerBehindAComputationThatIgnoresItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, newRemote(memstore.New()), leash.Options{ComputeTimeout: time.Second, Lease: 2 * time.Second})
		release := make(chan struct{})
		var n atomic.Int64
		load := func(context.Context) (user, error) {
			if n.Add(1) == 1 {
				<-release
			}
			return user{ID: int(n.Load())}, nil
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := c.GetOrCompute(t.Context(), "42", load); !errors.Is(err, leash.ErrComputeTimeout) {
				t.Error(err)
			}
		})
		time.Sleep(500 * time.Millisecond)
		began := time.Now()
		u, err := c.GetOrCompute(t.Context(), "42", load)
		if d := time.Since(began); err != nil || u.ID != 2 || d > 3*time.Second {
			t.Errorf("got %v, %v after %v", u, err, d)
		}
		close(release)
		wg.Wait()
	})
}

// What a computation returns after its time is no value: it may be a part of one.
func TestValueAfterTheTimeoutIsNone(t *testing.T) {
	for range 30 {
		synctest.Test(t, func(t *testing.T) {
			c := newCache(t, newRemote(memstore.New()), leash.Options{ComputeTimeout: time.Second})
			u, err := c.GetOrCompute(t.Context(), "42", func(ctx context.Context) (user, error) {
				<-ctx.Done()
				return user{Name: "half"}, nil
			})
			if !errors.Is(err, leash.ErrComputeTimeout) || u.Name != "" {
				t.Errorf("got %v, %v", u, err)
			}
			if _, ok, _ := c.Get(t.Context(), "42"); ok {
				t.Error("it was stored")
			}
		})
	}
}

// A context's error, of whatever origin, is the caller's own: an impatient node
// spoils nothing for the others.
func TestContextErrorsAreNotShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newRemote(memstore.New())
		a, b := newCache(t, store, leash.Options{}), newCache(t, store, leash.Options{})
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := a.GetOrCompute(t.Context(), "42", func(context.Context) (user, error) {
				time.Sleep(time.Second)
				return user{}, context.DeadlineExceeded // of a client of its own
			})
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("the computing node got %v", err)
			}
		})
		time.Sleep(100 * time.Millisecond)
		src := &source{}
		if u, err := b.GetOrCompute(t.Context(), "42", src.load); err != nil || u.ID != 1 {
			t.Errorf("the other node got %v, %v", u, err)
		}
		wg.Wait()
	})
}

func TestEachCallerHasItsOwnCopy(t *testing.T) {
	for _, share := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			store := newRemote(memstore.New())
			src := &source{took: time.Second}
			var mu sync.Mutex
			seen := map[*string]int{}
			var wg sync.WaitGroup
			for range 2 {
				c := newCache(t, store, leash.Options{Share: share})
				for range 10 {
					wg.Go(func() {
						u, err := c.GetOrCompute(t.Context(), "42", src.load)
						if err != nil {
							t.Error(err)
							return
						}
						mu.Lock()
						seen[&u.Tags[0]]++
						mu.Unlock()
						if !share {
							u.Tags[0] = "mine" // the race detector looks on
						}
					})
				}
			}
			wg.Wait()
			if want := map[bool]int{false: 20, true: 2}[share]; len(seen) != want {
				t.Errorf("share %v: %d copies, want %d", share, len(seen), want)
			}
		})
	}
}

func TestMaxWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, newRemote(memstore.New()), leash.Options{})
		src := &source{took: time.Minute / 4}
		go func() { _, _ = c.GetOrCompute(t.Context(), "42", src.load) }()
		synctest.Wait()
		began := time.Now()
		_, err := c.GetOrCompute(t.Context(), "42", src.load, leash.MaxWait(time.Second))
		if !errors.Is(err, leash.ErrBusy) || time.Since(began) != time.Second {
			t.Errorf("got %v after %v", err, time.Since(began))
		}
	})
}

func TestOnBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newRemote(memstore.New())
		holder := newCache(t, store, leash.Options{})
		src := &source{took: 10 * time.Second}
		go func() { _, _ = holder.GetOrCompute(t.Context(), "42", src.load) }()
		time.Sleep(time.Second)

		if _, err := newCache(t, store, leash.Options{OnBusy: leash.Fail}).GetOrCompute(t.Context(), "42", src.load); !errors.Is(err, leash.ErrBusy) {
			t.Errorf("Fail: got %v", err)
		}
		quick := &source{}
		u, out, err := newCache(t, store, leash.Options{OnBusy: leash.Compute}).Fetch(t.Context(), "42", quick.load)
		if err != nil || u.ID != 1 || out.Stored {
			t.Errorf("Compute: got %v, %+v, %v", u, out, err)
		}
		quick.want(t, 1)
		src.want(t, 1)
	})
}

func TestNotFound(t *testing.T) {
	for _, kept := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			store := newRemote(memstore.New())
			o := leash.Options{NotFound: []error{sql.ErrNoRows}}
			if kept {
				o.NotFoundTTL = 10 * time.Second
			}
			var calls atomic.Int64
			load := func(context.Context) (user, error) {
				calls.Add(1)
				time.Sleep(100 * time.Millisecond)
				return user{}, sql.ErrNoRows
			}
			ask := func(c *leash.Cache[user]) {
				_, err := c.GetOrCompute(t.Context(), "42", load)
				if !errors.Is(err, leash.ErrNotFound) || !errors.Is(err, sql.ErrNoRows) {
					t.Errorf("got %v", err)
				}
			}
			var wg sync.WaitGroup
			for range 2 {
				c := newCache(t, store, o)
				for range 20 {
					wg.Go(func() { ask(c) })
				}
			}
			wg.Wait()
			if calls.Load() != 1 {
				t.Errorf("kept %v: the herd made %d computations, want 1", kept, calls.Load())
			}
			ask(newCache(t, store, o))
			if want := map[bool]int64{false: 2, true: 1}[kept]; calls.Load() != want {
				t.Errorf("kept %v: a later caller makes it %d computations, want %d", kept, calls.Load(), want)
			}
			time.Sleep(10 * time.Second)
			ask(newCache(t, store, o))
			if want := map[bool]int64{false: 3, true: 2}[kept]; calls.Load() != want {
				t.Errorf("kept %v: after its TTL %d computations, want %d", kept, calls.Load(), want)
			}
		})
	}
}

// A computation of many lease times is renewed and computed once.
func TestSlowComputationIsComputedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newRemote(memstore.New())
		src := &source{took: 10 * time.Second}
		var wg sync.WaitGroup
		for range 3 {
			c := newCache(t, store, leash.Options{Lease: time.Second})
			for range 10 {
				wg.Go(func() {
					if _, err := c.GetOrCompute(t.Context(), "42", src.load); err != nil {
						t.Error(err)
					}
				})
			}
		}
		wg.Wait()
		src.want(t, 1)
	})
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newRemote(memstore.New())
		c := newCache(t, store, leash.Options{})
		src := &source{took: time.Hour}
		errs := make(chan error, 1)
		go func() { _, err := c.GetOrCompute(t.Context(), "42", src.load); errs <- err }()
		time.Sleep(time.Second)
		if err := c.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if err := <-errs; !errors.Is(err, leash.ErrClosed) {
			t.Errorf("the waiting caller got %v", err)
		}
		if _, err := c.GetOrCompute(t.Context(), "42", src.load); !errors.Is(err, leash.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
		if n := store.Len(); n != 0 {
			t.Errorf("%d leases left", n)
		}
	})
}
