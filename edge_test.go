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
	"github.com/leashcache/leash/internal/entry"
	"github.com/leashcache/leash/internal/far"
)

// A publish that is answered just after its time: who calls after a delete that
// came in between gets nothing older.
func TestPublishAnsweredJustAfterItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newRemote(memstore.New())
		slow := observerFunc(func(e leash.Event) { // makes the moment of being late a long one
			if e.Kind == leash.EventStoreError {
				time.Sleep(50 * time.Millisecond)
			}
		})
		a, b := newCache(t, store, leash.Options{Logger: quiet, Observer: slow}), newCache(t, store, leash.Options{})
		store.Hook(nil, func(op, _ string) error {
			if op == "publish" {
				time.Sleep(250 * time.Millisecond)
			}
			return nil
		})
		version := at(1)
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = a.GetOrCompute(t.Context(), "k", versioned(version, 0)) })
		time.Sleep(100 * time.Millisecond)
		version.Store(2)
		if err := b.Delete(t.Context(), "k"); err != nil {
			t.Fatal(err)
		}
		for range 20 {
			wg.Go(func() {
				if u, err := a.GetOrCompute(t.Context(), "k", versioned(version, 0)); err != nil || u.ID != 2 {
					t.Errorf("got version %d, %v, after a delete", u.ID, err)
				}
			})
			time.Sleep(15 * time.Millisecond)
		}
		wg.Wait()
	})
}

type observerFunc func(leash.Event)

func (f observerFunc) Observe(e leash.Event) { f(e) }

// A lease that is answered just after its time must not find the flight's callers
// half moved on.
func TestLeaseAnsweredJustAfterItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newRemote(memstore.New())
		store.Hook(nil, func(op, _ string) error {
			if op == "lease" {
				time.Sleep(250 * time.Millisecond)
			}
			return nil
		})
		slow := observerFunc(func(e leash.Event) {
			if e.Kind == leash.EventStoreError {
				time.Sleep(50 * time.Millisecond)
			}
		})
		c := newCache(t, store, leash.Options{Logger: quiet, Observer: slow})
		if u, err := c.GetOrCompute(t.Context(), "k", (&source{}).load); err != nil || u.ID != 1 {
			t.Errorf("got %v, %v", u, err)
		}
		time.Sleep(time.Second)
		if n := store.Len(); n != 0 {
			t.Errorf("%d orphan leases", n)
		}
	})
}

// Two sendings whose replies were lost leave no lease behind either.
func TestNoLostSendingLeavesALeaseBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newRemote(memstore.New())
		store.Hook(nil, func(op, _ string) error {
			if op == "lease" {
				return far.ErrLost
			}
			return nil
		})
		c := newCache(t, store, leash.Options{Logger: quiet})
		if _, err := c.GetOrCompute(t.Context(), "k", (&source{}).load); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second)
		if n := store.Len(); n != 0 {
			t.Errorf("%d orphan leases", n)
		}
	})
}

// A read that is answered at the very end of its time must not spoil the next
// one, which uses its timer again.
func TestReadAtTheEndOfItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newRemote(memstore.New())
		store.Wire = 0
		c := newCache(t, store, leash.Options{Logger: quiet})
		if err := c.Set(t.Context(), "k", user{ID: 1}); err != nil {
			t.Fatal(err)
		}
		took := []time.Duration{250 * time.Millisecond, time.Millisecond}
		var n atomic.Int64
		store.Hook(nil, func(op, _ string) error {
			if op == "get" {
				time.Sleep(took[n.Add(1)%2])
			}
			return nil
		})
		n.Store(1)
		for range 200 {
			n.Store(1)
			_, _ = c.GetOrCompute(t.Context(), "k", (&source{}).load)
			n.Store(0)
			_, out, err := c.Fetch(t.Context(), "k", (&source{}).load)
			if err != nil || out.Status != leash.StatusHit {
				t.Fatalf("a read within its time: %+v, %v", out, err)
			}
		}
	})
}

// A first sending that failed and a second one that is late: neither leaves a
// lease behind.
func TestNoSendingLeavesALeaseBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newRemote(memstore.New())
		var n atomic.Int64
		store.Hook(nil, func(op, _ string) error {
			if op != "lease" {
				return nil
			}
			if n.Add(1) == 1 {
				return far.ErrLost
			}
			time.Sleep(300 * time.Millisecond)
			return nil
		})
		c := newCache(t, store, leash.Options{Logger: quiet})
		if _, err := c.GetOrCompute(t.Context(), "k", (&source{}).load); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second)
		if n := store.Len(); n != 0 {
			t.Errorf("%d orphan leases", n)
		}
	})
}

type nilError struct{ text string }

func (e *nilError) Error() string { return e.text }

type rudeError struct{}

func (rudeError) Error() string { return "rude" }
func (rudeError) Is(error) bool { panic("no") }

// An error whose own methods panic is a panic of the computation.
func TestErrorsThatPanic(t *testing.T) {
	for _, bad := range []error{(*nilError)(nil), rudeError{}} {
		synctest.Test(t, func(t *testing.T) {
			c := newCache(t, newRemote(memstore.New()), leash.Options{})
			_, err := c.GetOrCompute(t.Context(), "k", func(context.Context) (user, error) { return user{}, bad })
			if _, ok := errors.AsType[*leash.PanicError](err); !ok {
				t.Errorf("%T: got %T", bad, err)
			}
		})
	}
}

// A GetMany that is cancelled while one of its keys is still being leased harms
// nobody who waits for another of its keys.
func TestCancelledGetManyHarmsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newRemote(memstore.New())
		store.Hook(func(op, key string) error {
			if op == "lease" && key == "users:2" {
				time.Sleep(200 * time.Millisecond)
			}
			return nil
		}, nil)
		l := leash.Loader[int, user]{Cache: newCache(t, store, leash.Options{}), LoadMany: func(_ context.Context, ks []int) (map[int]user, error) {
			m := map[int]user{}
			for _, k := range ks {
				m[k] = user{ID: k}
			}
			return m, nil
		}}
		var wg sync.WaitGroup
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			if _, err := l.GetMany(ctx, []int{1, 2}); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v", err)
			}
		})
		time.Sleep(50 * time.Millisecond)
		began := time.Now()
		if u, err := l.Get(t.Context(), 1); err != nil || u.ID != 1 || time.Since(began) > 300*time.Millisecond {
			t.Errorf("got %v, %v after %v", u, err, time.Since(began))
		}
		wg.Wait()
	})
}

// A batch without leases is one computation and takes one place.
func TestBatchTakesOnePlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newRemote(memstore.New())
		store.Hook(down, nil)
		calls := 0
		l := leash.Loader[int, user]{Cache: newCache(t, store, leash.Options{Logger: quiet, MaxUnleased: 2}), LoadMany: func(_ context.Context, ks []int) (map[int]user, error) {
			calls++
			m := map[int]user{}
			for _, k := range ks {
				m[k] = user{ID: k}
			}
			return m, nil
		}}
		var keys []int
		for i := range 100 {
			keys = append(keys, i)
		}
		if m, err := l.GetMany(t.Context(), keys); err != nil || len(m) != 100 || calls != 1 {
			t.Errorf("%d values, %v, %d calls", len(m), err, calls)
		}
	})
}

// Each caller has its own patience, whoever it waits with.
func TestMaxWaitIsEachCallersOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, newRemote(memstore.New()), leash.Options{})
		src := &source{took: time.Second}
		var wg sync.WaitGroup
		ask := func(after, patience time.Duration) {
			wg.Go(func() {
				time.Sleep(after)
				var opts []leash.Option
				if patience > 0 {
					opts = append(opts, leash.MaxWait(patience))
				}
				began := time.Now()
				_, err := c.GetOrCompute(t.Context(), "k", src.load, opts...)
				if patience == 0 && err != nil || patience > 0 && (!errors.Is(err, leash.ErrBusy) || time.Since(began) != patience) {
					t.Errorf("patience %v: %v after %v", patience, err, time.Since(began))
				}
			})
		}
		ask(0, 0)
		ask(100*time.Millisecond, 300*time.Millisecond)
		ask(200*time.Millisecond, 20*time.Millisecond)
		ask(300*time.Millisecond, 0)
		wg.Wait()
	})
}

// At the end of its wait a caller who came during the computation gets the stale
// value as well.
func TestMaxWaitAndStaleForWhoComesLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, newRemote(memstore.New()), leash.Options{TTL: time.Second, StaleIfError: time.Hour, MaxWait: 100 * time.Millisecond})
		mustSet(t, c, "k", user{ID: 7})
		time.Sleep(2 * time.Second)
		src := &source{took: time.Second}
		var wg sync.WaitGroup
		for i := range 3 {
			wg.Go(func() {
				time.Sleep(time.Duration(i) * 50 * time.Millisecond)
				if u, out, err := c.Fetch(t.Context(), "k", src.load); err != nil || u.ID != 7 || out.Status != leash.StatusStale {
					t.Errorf("caller %d: %v, %v, %v", i, u, out.Status, err)
				}
			})
		}
		wg.Wait()
	})
}

// A nil of an interface type is a value like any other.
func TestNilValue(t *testing.T) {
	for _, share := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			c, err := leash.New[any]("x", newRemote(memstore.New()), leash.Options{TTL: time.Minute, Share: share})
			if err != nil {
				t.Fatal(err)
			}
			n := 0
			for range 3 {
				if v, err := c.GetOrCompute(t.Context(), "k", func(context.Context) (any, error) { n++; return nil, nil }); v != nil || err != nil {
					t.Errorf("got %v, %v", v, err)
				}
			}
			if n != 1 {
				t.Errorf("share %v: %d computations, want 1", share, n)
			}
		})
	}
}

// An Observer may call the cache.
func TestObserverCallsTheCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c *leash.Cache[user] // of its own Observer
		c = newCache(t, newRemote(memstore.New()), leash.Options{
			TTL: time.Second, StaleWhileRevalidate: time.Minute, Lease: 300 * time.Millisecond,
			Observer: observerFunc(func(e leash.Event) {
				if e.Kind == leash.EventRefresh || e.Kind == leash.EventLeaseLost {
					_, _, _ = c.Get(context.Background(), "k")
				}
			}),
		})
		src := &source{took: time.Second}
		_, _ = c.GetOrCompute(t.Context(), "k", src.load)
		time.Sleep(1500 * time.Millisecond)
		_, _ = c.GetOrCompute(t.Context(), "k", src.load)
		time.Sleep(500 * time.Millisecond)
		if err := c.Delete(t.Context(), "k"); err != nil { // the refresh finds its lease lost
			t.Error(err)
		}
		time.Sleep(5 * time.Second)
		src.want(t, 2)
	})
}

// mute is a store whose hints are all lost.
type mute struct{ *remote }

func (*mute) Watch(string) (<-chan []byte, func()) { return make(chan []byte), func() {} }

// A lost hint costs one fallback interval and no more.
func TestLostHintCostsOneFallback(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newRemote(memstore.New())
		holder, waiter := newCache(t, store, leash.Options{}), newCache(t, &mute{store}, leash.Options{})
		src := &source{took: time.Second}
		go func() { _, _ = holder.GetOrCompute(t.Context(), "k", src.load) }()
		time.Sleep(time.Millisecond)
		began := time.Now()
		if u, err := waiter.GetOrCompute(t.Context(), "k", src.load); err != nil || u.ID != 1 {
			t.Errorf("got %v, %v", u, err)
		}
		if late := time.Since(began) - time.Second; late > 260*time.Millisecond {
			t.Errorf("the value came %v late", late)
		}
		src.want(t, 1)
	})
}

// restless shows other foreign bytes at each lease command.
type restless struct {
	*remote
	n atomic.Int64
}

func (r *restless) Lease(context.Context, string, []byte, []byte, bool, time.Duration) ([]byte, time.Duration, error) {
	return []byte{byte(r.n.Add(1)), byte(r.n.Load() >> 8)}, 0, nil
}

// A store that talks nonsense makes no loop.
func TestNonsenseMakesNoLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &restless{remote: newRemote(memstore.New())}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if u, err := newCache(t, store, leash.Options{Logger: quiet}).GetOrCompute(ctx, "k", (&source{}).load); err != nil || u.ID != 1 {
			t.Errorf("got %v, %v", u, err)
		}
		if n := store.n.Load(); n > 40 {
			t.Errorf("%d lease commands", n)
		}
	})
}

// A holder that has died is succeeded at the end of its lease, and not at the next
// look after that.
func TestSuccessionAtTheEndOfTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newRemote(memstore.New())
		c := newCache(t, &mute{store}, leash.Options{})
		lease := entry.NewLease(entry.Token{1}, 1100*time.Millisecond, 0)
		if _, _, err := store.Near.Lease(t.Context(), "users:k", lease, nil, false, 1100*time.Millisecond); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if _, err := c.GetOrCompute(t.Context(), "k", (&source{}).load); err != nil {
			t.Error(err)
		}
		if d := time.Since(began); d < 1100*time.Millisecond || d > 1115*time.Millisecond {
			t.Errorf("succeeded after %v, want the lease's 1.1 s and at most 15 ms", d)
		}
	})
}

// Who came while the lease was asked for came before the computation began, and has
// its value although it could not be stored. Whom nobody waits for then is not
// computed for.
func TestCallerDuringTheLeaseCommand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newRemote(memstore.New())
		store.Wire = 10 * time.Millisecond
		c := newCache(t, store, leash.Options{})
		src := &source{took: time.Second}
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				if u, err := c.GetOrCompute(t.Context(), "k", src.load); err != nil || u.ID != 1 {
					t.Errorf("got %v, %v", u, err)
				}
			})
			time.Sleep(30 * time.Millisecond) // the read took 20
		}
		time.Sleep(500 * time.Millisecond)
		if err := store.Near.Delete(t.Context(), "users:k"); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		src.want(t, 1)

		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
		defer cancel()
		_, _ = c.GetOrCompute(ctx, "left", src.load)
		time.Sleep(5 * time.Second)
		src.want(t, 1)
		if n := store.Len(); n != 0 {
			t.Errorf("%d leases for nobody", n)
		}
	})
}

// The one caller of a bypass takes its computation with him.
func TestBypassIsCancelledWithItsCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, newRemote(memstore.New()), leash.Options{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		ended := make(chan error, 1)
		_, err := c.GetOrCompute(ctx, "k", func(ctx context.Context) (user, error) {
			<-ctx.Done()
			ended <- context.Cause(ctx)
			return user{}, ctx.Err()
		}, leash.Bypass())
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		synctest.Wait()
		select {
		case err := <-ended:
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
		default:
			t.Error("the computation goes on")
		}
	})
}

// A lease that is longer than any can be is none, and keeps nobody from refreshing.
func TestImplausibleLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newRemote(memstore.New())
		c := newCache(t, store, leash.Options{TTL: time.Second, StaleWhileRevalidate: 24 * time.Hour})
		src := &source{}
		_, _ = c.GetOrCompute(t.Context(), "k", src.load)
		seen, err := store.Near.Get(t.Context(), "users:k", nil)
		if err != nil {
			t.Fatal(err)
		}
		lease := entry.NewLease(entry.Token{1}, 3*time.Hour, 0)
		if _, left, err := store.Near.Lease(t.Context(), "users:k", lease, seen, false, 3*time.Hour); left != 0 || err != nil {
			t.Fatal(left, err)
		}
		time.Sleep(2 * time.Second)
		_, _ = c.GetOrCompute(t.Context(), "k", src.load)
		time.Sleep(time.Second)
		src.want(t, 2)
	})
}

// Callers who had to move on from a step that takes too long still compute one at a
// time.
func TestCallersWhoMovedOnStayTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newRemote(memstore.New())
		store.Hook(frozen, nil)
		c := newCache(t, store, leash.Options{Logger: quiet})
		var now, most atomic.Int64
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				_, _ = c.GetOrCompute(t.Context(), "k", func(context.Context) (user, error) {
					most.Store(max(most.Load(), now.Add(1)))
					time.Sleep(time.Second)
					now.Add(-1)
					return user{}, nil
				})
			})
			time.Sleep(260 * time.Millisecond)
		}
		wg.Wait()
		if n := most.Load(); n != 1 {
			t.Errorf("%d computations at a time", n)
		}
	})
}

// A computation whose callers have all left or moved on is cancelled when the last
// of them does so.
func TestComputationLeftBehindByALostLeaseIsCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newRemote(memstore.New())
		c := newCache(t, store, leash.Options{Lease: 3 * time.Second})
		var n atomic.Int64
		cancelled := make(chan time.Time, 1)
		load := func(ctx context.Context) (user, error) {
			if n.Add(1) == 1 {
				<-ctx.Done()
				cancelled <- time.Now()
			}
			return user{}, ctx.Err()
		}
		var wg sync.WaitGroup
		ctx, leave := context.WithCancel(t.Context())
		wg.Go(func() { _, _ = c.GetOrCompute(ctx, "k", load) })
		time.Sleep(100 * time.Millisecond)
		wg.Go(func() { // comes during the computation
			if _, err := c.GetOrCompute(t.Context(), "k", load); err != nil {
				t.Error(err)
			}
		})
		time.Sleep(100 * time.Millisecond)
		leave()
		time.Sleep(100 * time.Millisecond)
		if err := store.Near.Delete(t.Context(), "users:k"); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		wg.Wait()
		if d := (<-cancelled).Sub(began); d > time.Second {
			t.Errorf("cancelled %v after the delete, want at the next renewal", d)
		}
	})
}

// tardy is a value that takes its time to write itself.
type tardy struct{ ID int }

func (tardy) MarshalBinary() ([]byte, error) { time.Sleep(time.Second); return []byte{1}, nil }
func (*tardy) UnmarshalBinary([]byte) error  { return nil }

// A value's age counts from the end of its computation, and not from when it was
// stored.
func TestAgeCountsFromTheComputation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := leash.New[tardy]("x", newRemote(memstore.New()), leash.Options{TTL: 3 * time.Second, Jitter: -1})
		if err != nil {
			t.Fatal(err)
		}
		load := func(context.Context) (tardy, error) { return tardy{1}, nil }
		if _, err := c.GetOrCompute(t.Context(), "k", load); err != nil {
			t.Fatal(err)
		}
		_, out, err := c.Fetch(t.Context(), "k", load)
		if err != nil || out.Status != leash.StatusHit || out.Age < time.Second || out.TTL > 2*time.Second {
			t.Errorf("a second after its computation: %+v, %v", out, err)
		}
	})
}

// picky refuses every entry.
type picky struct {
	*remote
	asked atomic.Int64
}

type pickyError struct{ error }

func (pickyError) Refused() bool { return true }

func (p *picky) Publish(context.Context, string, []byte, time.Duration, bool) (bool, error) {
	p.asked.Add(1)
	return false, fmt.Errorf("picky: %w", pickyError{errors.New("too large")})
}

// A value that the store would not take is its callers' all the same, and no failure
// of the store.
func TestEntryThatTheStoreRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &picky{remote: newRemote(memstore.New())}
		c := newCache(t, store, leash.Options{Logger: quiet})
		src := &source{took: time.Second}
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				if u, out, err := c.Fetch(t.Context(), "k", src.load); err != nil || u.ID != 1 || out.Stored {
					t.Errorf("got %v, %+v, %v", u, out, err)
				}
			})
			time.Sleep(100 * time.Millisecond)
		}
		wg.Wait()
		src.want(t, 1)
		if n := store.asked.Load(); n != 1 {
			t.Errorf("asked %d times, want once", n)
		}
		if s := c.Stats(); s.Count(leash.EventVoided) != 1 || s.StoreErrors(leash.OpPublish) != 0 {
			t.Errorf("%d voided, %d store errors", s.Count(leash.EventVoided), s.StoreErrors(leash.OpPublish))
		}
		if n := store.Len(); n != 0 {
			t.Errorf("%d leases are left", n)
		}
	})
}
