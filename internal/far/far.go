// SPDX-License-Identifier: Apache-2.0

// Package far is a store at the end of a wire, for tests: its steps take time
// each way and may be looked at, delayed, lost or failed.
package far

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// Near is the store at the other end: what a memstore can do.
type Near interface {
	Get(ctx context.Context, key string, buf []byte) ([]byte, error)
	GetMany(ctx context.Context, keys []string) ([][]byte, error)
	Lease(ctx context.Context, key string, lease, seen []byte, steal bool, ttl time.Duration) ([]byte, time.Duration, error)
	Publish(ctx context.Context, key string, entry []byte, ttl time.Duration, force bool) (bool, error)
	Renew(ctx context.Context, key string, token []byte, ttl time.Duration) (bool, error)
	Abandon(ctx context.Context, key string, token []byte, backoff time.Duration) (bool, error)
	Delete(ctx context.Context, key string) error
	Watch(key string) (<-chan []byte, func())
	Len() int
}

// Store is a store at the end of a wire. Make it with [New].
type Store struct {
	Near
	// Wire is how long each way takes.
	Wire time.Duration
	// Room is what Limit returns.
	Room  int
	steps atomic.Int64

	mu     sync.Mutex
	before func(op, key string) error // before the step is taken
	after  func(op, key string) error // after it, before the reply

	rnd   *rand.Rand // for Shake
	delay time.Duration
	loss  float64
}

// ErrLost is the error of a request or reply that was lost.
var ErrLost = errors.New("far: lost on the way")

// Shake makes every way take a random time, and loses requests and replies.
func (r *Store) Shake(seed uint64, delay time.Duration, loss float64) {
	r.rnd, r.delay, r.loss = rand.New(rand.NewPCG(seed, 3)), delay, loss
}

// way takes as long as one way over the wire does.
func (r *Store) way(mayLose bool) error {
	d, lost := r.Wire, false
	if r.rnd != nil {
		r.mu.Lock()
		d, lost = time.Duration(r.rnd.Int64N(int64(r.delay)+1)), r.rnd.Float64() < r.loss
		r.mu.Unlock()
	}
	time.Sleep(d)
	if lost && mayLose {
		return ErrLost
	}
	return nil
}

// Watch passes hints on late, and loses some.
func (r *Store) Watch(key string) (<-chan []byte, func()) {
	wake, stop := r.Near.Watch(key)
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

// New returns a store that is 100 µs away.
func New(s Near) *Store { return &Store{Near: s, Wire: 100 * time.Microsecond} }

// Limit is how many commands the wire has room for.
func (r *Store) Limit() int { return r.Room }

// Steps is how many steps were sent.
func (r *Store) Steps() int64 { return r.steps.Load() }

// Hook has each step call before, when it arrives, and after, when it was taken.
// An error of before keeps the step from being taken, one of after its reply.
func (r *Store) Hook(before, after func(op, key string) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.before, r.after = before, after
}

func (r *Store) step(op, key string, do func() error) error {
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

// Get takes the step, with a wire on both sides.
func (r *Store) Get(ctx context.Context, key string, buf []byte) (b []byte, err error) {
	err = r.step("get", key, func() error { b, err = r.Near.Get(ctx, key, buf); return err })
	return b, err
}

// Lease takes the step, with a wire on both sides.
func (r *Store) Lease(ctx context.Context, key string, lease, seen []byte, steal bool, ttl time.Duration) (b []byte, left time.Duration, err error) {
	err = r.step("lease", key, func() error {
		b, left, err = r.Near.Lease(ctx, key, lease, seen, steal, ttl)
		return err
	})
	return b, left, err
}

// Publish takes the step, with a wire on both sides.
func (r *Store) Publish(ctx context.Context, key string, entry []byte, ttl time.Duration, force bool) (ok bool, err error) {
	err = r.step("publish", key, func() error { ok, err = r.Near.Publish(ctx, key, entry, ttl, force); return err })
	return ok, err
}

// Renew takes the step, with a wire on both sides.
func (r *Store) Renew(ctx context.Context, key string, token []byte, ttl time.Duration) (ok bool, err error) {
	err = r.step("renew", key, func() error { ok, err = r.Near.Renew(ctx, key, token, ttl); return err })
	return ok, err
}

// Abandon takes the step, with a wire on both sides.
func (r *Store) Abandon(ctx context.Context, key string, token []byte, backoff time.Duration) (ok bool, err error) {
	err = r.step("abandon", key, func() error { ok, err = r.Near.Abandon(ctx, key, token, backoff); return err })
	return ok, err
}

// Delete takes the step, with a wire on both sides.
func (r *Store) Delete(ctx context.Context, key string) error {
	return r.step("delete", key, func() error { return r.Near.Delete(ctx, key) })
}

// GetMany takes the step, with a wire on both sides.
func (r *Store) GetMany(ctx context.Context, keys []string) (b [][]byte, err error) {
	err = r.step("get_many", "", func() error { b, err = r.Near.GetMany(ctx, keys); return err })
	return b, err
}
