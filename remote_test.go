// SPDX-License-Identifier: Apache-2.0

package leash_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/leashcache/leash"
	"github.com/leashcache/leash/backends/memstore"
)

// remote is a memstore at the end of a wire: every step takes a while each way,
// and a test may look at, delay, lose or fail it.
type remote struct {
	*memstore.Store
	wire  time.Duration
	steps atomic.Int64

	mu     sync.Mutex
	before func(op, key string) error // before the step is taken
	after  func(op, key string) error // after it, before the reply

	rnd   *rand.Rand // for shake
	delay time.Duration
	loss  float64
}

var errLost = errors.New("the reply was lost")

// shake makes every way take a random time, and loses requests and replies.
func (r *remote) shake(seed uint64, delay time.Duration, loss float64) {
	r.rnd, r.delay, r.loss = rand.New(rand.NewPCG(seed, 3)), delay, loss
}

// way takes as long as one way over the wire does.
func (r *remote) way(mayLose bool) error {
	d, lost := r.wire, false
	if r.rnd != nil {
		r.mu.Lock()
		d, lost = time.Duration(r.rnd.Int64N(int64(r.delay))), r.rnd.Float64() < r.loss
		r.mu.Unlock()
	}
	time.Sleep(d)
	if lost && mayLose {
		return errLost
	}
	return nil
}

// Watch passes hints on late, and loses some.
func (r *remote) Watch(key string) (<-chan []byte, func()) {
	wake, stop := r.Store.Watch(key)
	if r.rnd == nil {
		return wake, stop
	}
	ch, done, ended := make(chan []byte, 1), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case b := <-wake:
				if r.way(true) == nil {
					select {
					case <-ch:
					default:
					}
					ch <- b
				}
			case <-done:
				return
			}
		}
	}()
	return ch, func() { stop(); close(done); <-ended }
}

func newRemote(s *memstore.Store) *remote { return &remote{Store: s, wire: 100 * time.Microsecond} }

func (r *remote) hook(before, after func(op, key string) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.before, r.after = before, after
}

func (r *remote) step(op, key string, do func() error) error {
	r.steps.Add(1)
	r.mu.Lock()
	before, after := r.before, r.after
	r.mu.Unlock()
	if err := r.way(true); err != nil {
		return err
	}
	if before != nil {
		if err := before(op, key); err != nil {
			return err
		}
	}
	err := do()
	if lost := r.way(true); lost != nil {
		return lost
	}
	if after != nil && err == nil {
		err = after(op, key)
	}
	return err
}

func (r *remote) Get(ctx context.Context, key string, buf []byte) (b []byte, err error) {
	err = r.step("get", key, func() error { b, err = r.Store.Get(ctx, key, buf); return err })
	return b, err
}

func (r *remote) Lease(ctx context.Context, key string, lease, seen []byte, steal bool, ttl time.Duration) (b []byte, left time.Duration, err error) {
	err = r.step("lease", key, func() error {
		b, left, err = r.Store.Lease(ctx, key, lease, seen, steal, ttl)
		return err
	})
	return b, left, err
}

func (r *remote) Publish(ctx context.Context, key string, entry []byte, ttl time.Duration, force bool) (ok bool, err error) {
	err = r.step("publish", key, func() error { ok, err = r.Store.Publish(ctx, key, entry, ttl, force); return err })
	return ok, err
}

func (r *remote) Renew(ctx context.Context, key string, token []byte, ttl time.Duration) (ok bool, err error) {
	err = r.step("renew", key, func() error { ok, err = r.Store.Renew(ctx, key, token, ttl); return err })
	return ok, err
}

func (r *remote) Abandon(ctx context.Context, key string, token []byte, backoff time.Duration) (ok bool, err error) {
	err = r.step("abandon", key, func() error { ok, err = r.Store.Abandon(ctx, key, token, backoff); return err })
	return ok, err
}

func (r *remote) Delete(ctx context.Context, key string) error {
	return r.step("delete", key, func() error { return r.Store.Delete(ctx, key) })
}

func (r *remote) GetMany(ctx context.Context, keys []string) (b [][]byte, err error) {
	err = r.step("get_many", "", func() error { b, err = r.Store.GetMany(ctx, keys); return err })
	return b, err
}

// Local hides that the store itself is in this process.
func (r *remote) Local(struct{}) {}

var (
	_ leash.Store      = (*remote)(nil)
	_ leash.BatchStore = (*remote)(nil)
	_ leash.Waker      = (*remote)(nil)
)
