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
	"github.com/leashcache/leash/internal/far"
)

// Interleavings that are easy to get wrong, each as it happens.

// versioned returns a computation that returns what v is when it begins.
func versioned(v *atomic.Int64, took time.Duration) func(context.Context) (user, error) {
	return func(context.Context) (user, error) {
		u := user{ID: int(v.Load())}
		time.Sleep(took)
		return u, nil
	}
}

func at(n int64) *atomic.Int64 {
	var v atomic.Int64
	v.Store(n)
	return &v
}

// Publish applied, delete elsewhere, a new caller comes before the
// publish's reply arrives.
func TestCallerBetweenPublishAndItsReply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newRemote(memstore.New())
		a, b := newCache(t, store, leash.Options{}), newCache(t, store, leash.Options{})
		version := at(1)
		store.Hook(nil, func(op, _ string) error {
			if op == "publish" {
				time.Sleep(50 * time.Millisecond) // the reply is slow
			}
			return nil
		})
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = a.GetOrCompute(t.Context(), "k", versioned(version, 10*time.Millisecond)) })
		time.Sleep(30 * time.Millisecond) // published, not answered
		version.Store(2)
		if err := b.Delete(t.Context(), "k"); err != nil {
			t.Fatal(err)
		}
		u, err := a.GetOrCompute(t.Context(), "k", versioned(version, 0))
		if err != nil || u.ID != 2 {
			t.Errorf("got version %d, %v, after a delete", u.ID, err)
		}
		wg.Wait()
	})
}

// The same for a waiter on another node. Its message was on the
// way when the delete returned, and the caller came after that.
func TestCallerBetweenMessageAndDelete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newRemote(memstore.New())
		slow := &slowWake{remote: store, by: 50 * time.Millisecond}
		a, b := newCache(t, store, leash.Options{}), newCache(t, slow, leash.Options{})
		version := at(1)
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = a.GetOrCompute(t.Context(), "k", versioned(version, 20*time.Millisecond)) })
		time.Sleep(5 * time.Millisecond)
		wg.Go(func() { // the early waiter may have version 1
			if u, err := b.GetOrCompute(t.Context(), "k", versioned(version, 0)); err != nil || u.ID == 0 {
				t.Errorf("the early waiter got %v, %v", u, err)
			}
		})
		time.Sleep(25 * time.Millisecond) // published, the message is on its way
		version.Store(2)
		if err := a.Delete(t.Context(), "k"); err != nil {
			t.Fatal(err)
		}
		if u, err := b.GetOrCompute(t.Context(), "k", versioned(version, 0)); err != nil || u.ID != 2 {
			t.Errorf("got version %d, %v, after a delete", u.ID, err)
		}
		wg.Wait()
	})
}

// slowWake is a store whose hints take their time, and may be changed.
type slowWake struct {
	*remote
	by     time.Duration
	change func([]byte) []byte
}

func (s *slowWake) Watch(key string) (<-chan []byte, func()) {
	wake, stop := s.remote.Watch(key)
	ch, done, ended := make(chan []byte, 1), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case b := <-wake:
				time.Sleep(s.by)
				if s.change != nil {
					b = s.change(b)
				}
				select {
				case <-ch:
				default:
				}
				ch <- b
			case <-done:
				return
			}
		}
	}()
	return ch, func() { stop(); close(done); <-ended }
}

// A message of an older generation comes to a waiter of a newer one.
func TestMessageOfAnOlderGeneration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newRemote(memstore.New())
		var old []byte
		slow := &slowWake{remote: store, change: func([]byte) []byte { return old }}
		a, b := newCache(t, store, leash.Options{}), newCache(t, slow, leash.Options{})
		version := at(1)
		_, _ = a.GetOrCompute(t.Context(), "k", versioned(version, 0))
		old = raw(t, store, "k")
		version.Store(2)
		_ = a.Delete(t.Context(), "k")
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = a.GetOrCompute(t.Context(), "k", versioned(version, 20*time.Millisecond)) })
		time.Sleep(5 * time.Millisecond)
		if u, err := b.GetOrCompute(t.Context(), "k", versioned(version, 0)); err != nil || u.ID != 2 {
			t.Errorf("got version %d, %v, from an old message", u.ID, err)
		}
		wg.Wait()
	})
}

// The first sending of a lease command arrives late, after a delete.
// It must not make the publish of the old computation acceptable.
func TestLateSendingOfALease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newRemote(memstore.New())
		late := &lateLease{remote: store, again: make(chan struct{})}
		a, b := newCache(t, late, leash.Options{}), newCache(t, store, leash.Options{})
		version := at(1)
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = a.GetOrCompute(t.Context(), "k", versioned(version, 100*time.Millisecond)) })
		time.Sleep(50 * time.Millisecond)
		version.Store(2)
		if err := b.Delete(t.Context(), "k"); err != nil {
			t.Fatal(err)
		}
		late.again <- struct{}{} // the lost first sending lands now
		wg.Wait()
		if u, ok, _ := b.Get(t.Context(), "k"); ok && u.ID < 2 {
			t.Errorf("version %d was stored after the delete", u.ID)
		}
		if u, err := b.GetOrCompute(t.Context(), "k", versioned(version, 0)); err != nil || u.ID != 2 {
			t.Errorf("got version %d, %v", u.ID, err)
		}
	})
}

// lateLease loses the first lease command and takes the step when told to.
type lateLease struct {
	*remote
	once  sync.Once
	again chan struct{}
}

func (l *lateLease) Lease(ctx context.Context, key string, lease, seen []byte, steal bool, ttl time.Duration) (b []byte, left time.Duration, err error) {
	l.once.Do(func() {
		go func() {
			<-l.again
			_, _, _ = l.Near.Lease(ctx, key, lease, seen, steal, ttl)
		}()
		err = far.ErrLost
	})
	if err != nil {
		return nil, 0, err
	}
	return l.remote.Lease(ctx, key, lease, seen, steal, ttl)
}

// A lease command whose reply was lost did its work: the second sending finds
// the first one's lease and adopts it, instead of waiting for itself.
func TestLostReplyOfALeaseIsAdopted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newRemote(memstore.New())
		var once sync.Once
		store.Hook(nil, func(op, _ string) (err error) {
			if op == "lease" {
				once.Do(func() { err = far.ErrLost })
			}
			return err
		})
		c := newCache(t, store, leash.Options{Logger: quiet})
		src := &source{took: time.Second}
		began := time.Now()
		_, out, err := c.Fetch(t.Context(), "k", src.load)
		if err != nil || !out.Stored || time.Since(began) > 1100*time.Millisecond {
			t.Errorf("got %+v, %v after %v", out, err, time.Since(began))
		}
		src.want(t, 1)
	})
}

// A publish whose reply was lost knows its own success.
func TestLostReplyOfAPublish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newRemote(memstore.New())
		var once sync.Once
		store.Hook(nil, func(op, _ string) (err error) {
			if op == "publish" {
				once.Do(func() { err = far.ErrLost })
			}
			return err
		})
		c := newCache(t, store, leash.Options{Logger: quiet})
		src := &source{took: time.Second}
		if _, out, err := c.Fetch(t.Context(), "k", src.load); err != nil || !out.Stored {
			t.Errorf("got %+v, %v", out, err)
		}
		if _, out, _ := c.Fetch(t.Context(), "k", src.load); out.Status != leash.StatusHit {
			t.Errorf("got %+v", out)
		}
		if n := c.Stats().Count(leash.EventVoided); n != 0 {
			t.Errorf("%d publishes are said to be void", n)
		}
	})
}

// A publish that the store refuses is followed by an abandon: nobody waits for
// the lease to end.
func TestFailedPublishGivesTheLeaseUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newRemote(memstore.New())
		store.Hook(func(op, _ string) error {
			if op == "publish" {
				return errors.New("OOM")
			}
			return nil
		}, nil)
		c := newCache(t, store, leash.Options{Logger: quiet})
		if _, out, err := c.Fetch(t.Context(), "k", (&source{}).load); err != nil || out.Stored {
			t.Errorf("got %+v, %v", out, err)
		}
		if n := store.Len(); n != 0 {
			t.Errorf("%d leases left", n)
		}
		store.Hook(nil, nil)
	})
}

// A refresh holds a stale value; a delete comes; the refresh fails.
// Who came after the delete must not get the stale value.
func TestStaleValueAfterDelete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newRemote(memstore.New())
		o := leash.Options{TTL: time.Second, StaleIfError: time.Minute, Backoff: -1, Logger: quiet}
		a, b := newCache(t, store, o), newCache(t, store, o)
		version := at(1)
		_, _ = a.GetOrCompute(t.Context(), "k", versioned(version, 0))
		time.Sleep(2 * time.Second)
		fail := func(context.Context) (user, error) { time.Sleep(time.Second); return user{}, errors.New("down") }
		var wg sync.WaitGroup
		wg.Go(func() {
			if u, err := a.GetOrCompute(t.Context(), "k", fail); err != nil || u.ID != 1 {
				t.Errorf("who came before the delete got %v, %v, want the stale value", u, err)
			}
		})
		time.Sleep(500 * time.Millisecond)
		if err := b.Delete(t.Context(), "k"); err != nil {
			t.Fatal(err)
		}
		if u, err := a.GetOrCompute(t.Context(), "k", fail); err == nil {
			t.Errorf("got the stale version %d after a delete", u.ID)
		}
		wg.Wait()
	})
}

// A delete on another node voids the publish; who came during the computation
// gets a new value, who came before it the computed one.
func TestDeleteDuringComputation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newRemote(memstore.New())
		a, b := newCache(t, store, leash.Options{}), newCache(t, store, leash.Options{})
		version := at(1)
		load := versioned(version, time.Second)
		var wg sync.WaitGroup
		wg.Go(func() {
			if u, out, err := a.Fetch(t.Context(), "k", load); err != nil || u.ID != 1 || out.Stored {
				t.Errorf("the first caller got %v, %+v, %v", u, out, err)
			}
		})
		time.Sleep(500 * time.Millisecond)
		version.Store(2)
		_ = b.Delete(t.Context(), "k")
		if u, err := a.GetOrCompute(t.Context(), "k", load); err != nil || u.ID != 2 {
			t.Errorf("a later caller got %v, %v", u, err)
		}
		wg.Wait()
		if n := a.Stats().Count(leash.EventVoided); n != 1 {
			t.Errorf("%d voided publishes, want 1", n)
		}
	})
}

// A holder that finds its lease lost lets those who came late begin anew at once.
func TestLostLeaseFreesWhoCameLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newRemote(memstore.New())
		o := leash.Options{Lease: 300 * time.Millisecond}
		a, b := newCache(t, store, o), newCache(t, store, o)
		var wg sync.WaitGroup
		wg.Go(func() {
			if u, err := a.GetOrCompute(t.Context(), "k", (&source{took: 20 * time.Second}).load); err != nil || u.Name != "Ann" {
				t.Errorf("the first caller got %v, %v", u, err)
			}
		})
		time.Sleep(time.Second)
		_ = b.Delete(t.Context(), "k")
		began := time.Now()
		version := at(2)
		if u, err := a.GetOrCompute(t.Context(), "k", versioned(version, 0)); err != nil || u.ID != 2 {
			t.Errorf("got %v, %v", u, err)
		}
		if d := time.Since(began); d > 200*time.Millisecond {
			t.Errorf("waited %v for a void computation", d)
		}
		wg.Wait()
	})
}

// On the deleting node itself nobody joins the doomed flight.
func TestDeleteDetachesTheFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, newRemote(memstore.New()), leash.Options{})
		version := at(1)
		go func() { _, _ = c.GetOrCompute(t.Context(), "k", versioned(version, time.Second)) }()
		time.Sleep(500 * time.Millisecond)
		version.Store(2)
		_ = c.Delete(t.Context(), "k")
		began := time.Now()
		if u, err := c.GetOrCompute(t.Context(), "k", versioned(version, 0)); err != nil || u.ID != 2 {
			t.Errorf("got %v, %v", u, err)
		}
		if d := time.Since(began); d > 100*time.Millisecond {
			t.Errorf("waited for the doomed flight: %v", d)
		}
		time.Sleep(time.Second)
	})
}

// A holder that died is succeeded at the end of its lease, by one waiter; its
// own late publish is void.
func TestDeadHolderIsSucceeded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newRemote(memstore.New())
		frozen := newRemote(store.Near)
		o := leash.Options{Lease: 3 * time.Second, Logger: quiet}
		a := newCache(t, frozen, o)
		version := at(1)
		go func() { _, _ = a.GetOrCompute(t.Context(), "k", versioned(version, 10*time.Second)) }()
		time.Sleep(500 * time.Millisecond)
		frozen.Hook(func(op, _ string) error { time.Sleep(9400 * time.Millisecond); return nil }, nil) // paused until 9.9 s
		src := &source{took: time.Second}
		var wg sync.WaitGroup
		began := time.Now()
		for range 2 {
			c := newCache(t, store, o)
			for range 10 {
				wg.Go(func() {
					if u, err := c.GetOrCompute(t.Context(), "k", src.load); err != nil || u.Name != "Ann" {
						t.Errorf("got %v, %v", u, err)
					}
				})
			}
		}
		wg.Wait()
		if d := time.Since(began); d > 4*time.Second {
			t.Errorf("succession and computation took %v", d)
		}
		src.want(t, 1)
		time.Sleep(20 * time.Second)
		if u, ok, _ := newCache(t, store, o).Get(t.Context(), "k"); !ok || u.Name != "Ann" {
			t.Errorf("the dead holder wrote: %v", u)
		}
	})
}

// A lease that never ends, because the server's clock was set
// back, is taken over by a waiter whose own clock saw it unchanged for its whole
// length; a holder that renews is not robbed.
func TestStretchedLeaseIsTakenOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newRemote(memstore.New())
		stretched := &stretch{store}
		o := leash.Options{Lease: 2 * time.Second, Logger: quiet}
		slow := &source{took: 8 * time.Second}
		alive := newCache(t, stretched, o)
		go func() { _, _ = alive.GetOrCompute(t.Context(), "alive", slow.load) }()
		dead := newRemote(store.Near)
		o.OperationTimeout = time.Hour
		dying := newCache(t, &stretch{dead}, o)
		go func() { _, _ = dying.GetOrCompute(t.Context(), "dead", (&source{took: 30 * time.Second}).load) }()
		time.Sleep(100 * time.Millisecond)
		dead.Hook(func(op, _ string) error {
			if op == "renew" {
				time.Sleep(20 * time.Second)
			}
			return nil
		}, nil)
		c := newCache(t, stretched, o)
		var wg sync.WaitGroup
		wg.Go(func() {
			src := &source{}
			began := time.Now()
			if _, err := c.GetOrCompute(t.Context(), "dead", src.load); err != nil {
				t.Error(err)
			}
			src.want(t, 1)
			if d := time.Since(began); d < 1900*time.Millisecond || d > 2500*time.Millisecond {
				t.Errorf("taken over after %v, want a lease", d)
			}
		})
		wg.Go(func() {
			src := &source{}
			if u, err := c.GetOrCompute(t.Context(), "alive", src.load); err != nil || u.ID != 1 {
				t.Error(u, err)
			}
			src.want(t, 0)
		})
		wg.Wait()
		if n := c.Stats().Count(leash.EventTakenOver); n != 1 {
			t.Errorf("%d leases taken over, want 1", n)
		}
	})
}

// stretch is a store whose clock was set back after each lease: a lease of any
// length lasts for an hour.
type stretch struct{ *remote }

func (s *stretch) Lease(ctx context.Context, key string, lease, seen []byte, steal bool, ttl time.Duration) ([]byte, time.Duration, error) {
	return s.remote.Lease(ctx, key, lease, seen, steal, time.Hour)
}

// Without hints a waiter polls, planned by what the holder expects to take.
func TestPollingWithoutHints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newRemote(memstore.New())
		a, b := newCache(t, &deaf{remote: store}, leash.Options{}), newCache(t, &deaf{remote: store}, leash.Options{})
		src := &source{took: time.Second}
		_, _ = a.GetOrCompute(t.Context(), "first", src.load) // now the cost is known
		go func() { _, _ = a.GetOrCompute(t.Context(), "k", src.load) }()
		time.Sleep(time.Millisecond)
		before, began := store.Steps(), time.Now()
		if u, err := b.GetOrCompute(t.Context(), "k", src.load); err != nil || u.ID != 2 {
			t.Errorf("got %v, %v", u, err)
		}
		if over := time.Since(began) - time.Second; over > 40*time.Millisecond {
			t.Errorf("the value came %v late", over)
		}
		if n := store.Steps() - before; n > 8 {
			t.Errorf("%d steps at the store", n)
		}
	})
}

// deaf is a store that can not tell of changes.
type deaf struct{ *remote }

func (*deaf) Watch(string) (<-chan []byte, func()) { return nil, func() {} }

// Who comes while the answer to an abandon is on its way may have seen a delete
// return before: what was computed is not his.
func TestCallerBetweenAbandonAndItsReply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newRemote(memstore.New())
		a, b := newCache(t, store, leash.Options{}), newCache(t, store, leash.Options{})
		version := at(1)
		store.Hook(nil, func(op, _ string) error {
			if op == "abandon" {
				time.Sleep(50 * time.Millisecond) // the reply is slow
			}
			return nil
		})
		unstored := func(ctx context.Context) (user, error) {
			leash.NoStore(ctx)
			return versioned(version, 10*time.Millisecond)(ctx)
		}
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = a.GetOrCompute(t.Context(), "k", unstored) })
		time.Sleep(30 * time.Millisecond) // abandoned, not answered
		version.Store(2)
		if err := b.Delete(t.Context(), "k"); err != nil {
			t.Fatal(err)
		}
		if u, err := a.GetOrCompute(t.Context(), "k", unstored); err != nil || u.ID != 2 {
			t.Errorf("got version %d, %v, after a delete", u.ID, err)
		}
		wg.Wait()
	})
}

// A stale value that is gone when the lease is granted is nobody's any more who
// came after it went.
func TestStaleValueGoneBeforeTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newRemote(memstore.New())
		o := leash.Options{TTL: time.Second, StaleIfError: time.Minute, Backoff: -1, Logger: quiet}
		a, b := newCache(t, store, o), newCache(t, store, o)
		version := at(1)
		_, _ = a.GetOrCompute(t.Context(), "k", versioned(version, 0))
		time.Sleep(2 * time.Second)
		fail := func(context.Context) (user, error) { time.Sleep(time.Second); return user{}, errors.New("down") }
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = b.GetOrCompute(t.Context(), "k", fail) })
		time.Sleep(100 * time.Millisecond)
		wg.Go(func() { // waits for b
			_, _ = a.GetOrCompute(t.Context(), "k", fail) // may have the stale value
		})
		time.Sleep(100 * time.Millisecond)
		var deleted atomic.Bool
		store.Hook(func(op, _ string) error {
			if op == "lease" && !deleted.Swap(true) { // a looks again; its lease finds nothing
				if err := store.Near.Delete(t.Context(), "users:k"); err != nil {
					t.Error(err)
				}
				for _, later := range []time.Duration{0, 500 * time.Millisecond} { // before the computation, and during it
					wg.Go(func() {
						time.Sleep(later)
						if u, err := a.GetOrCompute(t.Context(), "k", fail); err == nil {
							t.Errorf("got the stale version %d after a delete", u.ID)
						}
					})
				}
				time.Sleep(10 * time.Millisecond)
			}
			return nil
		}, nil)
		time.Sleep(5 * time.Second)
		wg.Wait()
	})
}

// Who asks for a new value does not get one that another node made in the
// meantime: its computation may have begun before the call.
func TestRefreshIsNotAnsweredByWhatItFinds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newRemote(memstore.New())
		a, b := newCache(t, store, leash.Options{}), newCache(t, store, leash.Options{})
		if err := b.Set(t.Context(), "k", user{ID: 1}); err != nil {
			t.Fatal(err)
		}
		var set atomic.Bool
		store.Hook(func(op, _ string) error {
			if op == "lease" && !set.Swap(true) {
				return b.Set(t.Context(), "k", user{ID: 2})
			}
			return nil
		}, nil)
		u, err := a.GetOrCompute(t.Context(), "k", versioned(at(3), 0), leash.Refresh())
		if err != nil || u.ID != 3 {
			t.Errorf("got version %d, %v", u.ID, err)
		}
	})
}

// A value that has expired while the message of it was on its way is for those who
// waited for it, and not for who came after its end.
func TestExpiredOnItsWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newRemote(memstore.New())
		o := leash.Options{TTL: 20 * time.Millisecond, StaleIfError: time.Minute} // so that the store still has it
		slow := &slowWake{remote: store, by: 50 * time.Millisecond}
		a, b := newCache(t, store, o), newCache(t, slow, o)
		version := at(1)
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = a.GetOrCompute(t.Context(), "k", versioned(version, 100*time.Millisecond)) })
		time.Sleep(5 * time.Millisecond)
		wg.Go(func() {
			if u, err := b.GetOrCompute(t.Context(), "k", versioned(version, 0)); err != nil || u.ID != 1 {
				t.Errorf("who waited for it got %v, %v", u, err)
			}
		})
		time.Sleep(135 * time.Millisecond) // published 40 ms ago, and the message comes in 10
		version.Store(2)
		if u, err := b.GetOrCompute(t.Context(), "k", versioned(version, 0)); err != nil || u.ID != 2 {
			t.Errorf("who came 20 ms after its end got version %d, %v", u.ID, err)
		}
		wg.Wait()
	})
}
