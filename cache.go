// SPDX-License-Identifier: Apache-2.0

package leash

import (
	"context"
	"errors"
	"reflect"
	"time"
)

// Cache keeps values of one type under string keys. It is safe for concurrent
// use; make one per kind of value and keep it.
type Cache[V any] struct {
	e *engine
}

// New returns a cache of V. name is the prefix of every key in the store, the
// word in logs and the label in metrics: nodes that share a cache use the same
// name. New starts nothing and sends nothing. The error lists everything that
// is wrong with the arguments.
func New[V any](name string, store Store, o Options) (*Cache[V], error) {
	e, err := newEngine(name, store, o, reflect.TypeFor[V]())
	if err != nil {
		return nil, err
	}
	return &Cache[V]{e}, nil
}

// computer is a computation with its type forgotten.
type computer interface {
	compute(ctx context.Context) (any, error)
}

type computeFunc[V any] func(ctx context.Context) (V, error)

func (f computeFunc[V]) compute(ctx context.Context) (any, error) {
	v, err := f(ctx)
	return v, err
}

// GetOrCompute returns the value of key, and computes it when it is not there
// or no longer fresh. In the whole cluster one caller's compute runs at a time;
// the others wait for its value.
//
// compute gets a context that has the values of ctx, but neither its deadline
// nor its cancellation: it is cancelled after [Options.ComputeTimeout], when
// every caller that waits for it has left, or by Close. A transaction that ends
// with the request must not be used in it. It may call [SetTTL] and [NoStore].
// An error that it returns reaches all who wait in this process as it is, and
// others as a [ComputeError]; a panic becomes a [PanicError], and the process
// goes on. Side effects of compute can happen twice, if the store loses data or
// the process is paused for longer than the lease.
//
// ctx bounds how long this caller waits; it then gets an error that matches
// ErrBusy and the context's own; the context's own alone where nothing had been
// found out yet. A store that fails is no error: the value is
// computed, without the rest of the cluster knowing.
//
// A call that begins after [Cache.Delete] returned nil, on any node, does not
// return a value whose computation began before.
//
// Errors besides compute's own: ErrNotFound, ErrBusy, ErrComputeTimeout,
// ErrOverloaded, ErrRecursive, ErrGoexit, ErrClosed, and what is wrong with the
// arguments.
func (c *Cache[V]) GetOrCompute(ctx context.Context, key string, compute func(ctx context.Context) (V, error), opts ...Option) (V, error) {
	v, _, err := c.Fetch(ctx, key, compute, opts...)
	return v, err
}

// Fetch is GetOrCompute that also tells how the call was answered.
func (c *Cache[V]) Fetch(ctx context.Context, key string, compute func(ctx context.Context) (V, error), opts ...Option) (V, Outcome, error) {
	var zero V
	if compute == nil {
		return zero, Outcome{}, errors.New("leash: compute is nil")
	}
	o, err := c.e.call(opts)
	if err != nil {
		return zero, Outcome{}, err
	}
	v, a := fetch[V](ctx, c.e, key, computeFunc[V](compute), o)
	return v, a.Outcome, a.err
}

func fetch[V any](ctx context.Context, e *engine, key string, comp computer, o call) (V, answer) {
	a := e.get(ctx, key, comp, o)
	v, ok := open[V](e, &a)
	if !ok { // what is stored can not be decoded: that is a miss
		o.refresh = true
		a = e.get(ctx, key, comp, o)
		v, _ = open[V](e, &a)
	}
	e.event(Event{Kind: a.kind()})
	return v, a
}

// open takes the value out of an answer. It reports false when the payload is
// no V although everything around it says so.
func open[V any](e *engine, a *answer) (v V, ok bool) {
	defer e.giveBack(a)
	if a.err != nil {
		return v, true
	}
	if m := a.made; m != nil {
		return openMade[V](e, a, m)
	}
	if e.plain {
		if _, ok := any(v).([]byte); ok { // spares the value a place of its own on the heap
			return any(append(make([]byte, 0, len(a.payload)), a.payload...)).(V), true
		}
	}
	p := decode[V](e, a.payload)
	if p == nil {
		return v, false
	}
	return *p, true
}

// openMade is open for a value that was made here, or is to be shared.
func openMade[V any](e *engine, a *answer, m *made) (v V, ok bool) {
	if e.o.Share {
		m.once.Do(func() {
			if m.has {
				return
			}
			if p := decode[V](e, a.payload); p != nil {
				m.value, m.has = *p, true
			}
		})
	}
	if !e.o.Share && !m.taken.CompareAndSwap(false, true) && a.payload != nil {
		if p := decode[V](e, a.payload); p != nil {
			return *p, true
		}
	}
	v, _ = m.value.(V) // better the one value for all than none
	return v, m.has
}

// decode returns the value in payload, or nil if there is none.
func decode[V any](e *engine, payload []byte) *V {
	v := new(V)
	if err := e.o.Codec.Decode(payload, v); err != nil {
		e.undecodable(err)
		return nil
	}
	return v
}

// Get returns the value of key if one is stored that is fresh or within
// StaleWhileRevalidate; nothing is computed, nobody is waited for, and only
// what was stored at some moment during the call is returned. A stored "not
// found" is an ErrNotFound; a store that fails, an error that matches ErrStore.
func (c *Cache[V]) Get(ctx context.Context, key string) (v V, ok bool, err error) {
	a, ok := c.e.peek(ctx, key)
	if !ok || a.err != nil {
		return v, false, a.err
	}
	v, ok = open[V](c.e, &a)
	return v, ok, nil
}

// Set stores value under key, whatever is there. A computation that runs
// anywhere is not stored any more. Of the options only TTL means something
// here. A Set that returned an error may still happen, at any later time, even
// after a Delete: delete again when the store is back.
func (c *Cache[V]) Set(ctx context.Context, key string, value V, opts ...Option) error {
	o, err := c.e.call(opts)
	if err != nil {
		return err
	}
	if o.refresh || o.bypass || o.maxWait != c.e.o.MaxWait {
		return errors.New("leash: of the options only TTL means something to Set")
	}
	return c.e.set(ctx, key, value, o.ttl)
}

// Delete removes the values of keys everywhere: once it has returned nil, no
// call that begins later, on any node, returns a value whose computation began
// before. Call it after the transaction that changed the source has committed,
// never inside it. An error matches ErrStore and lists the keys that may still
// hold their old values: they must be deleted again, or are served until their
// TTL ends. What holds for calls that begin later does not where they read from
// a replica that lags, or where the store itself forgets the delete, as a
// failover to such a replica does.
func (c *Cache[V]) Delete(ctx context.Context, keys ...string) error {
	return c.e.delete(ctx, keys)
}

// Stats returns what happened in this cache since New.
func (c *Cache[V]) Stats() Stats { return c.e.counters.snapshot() }

// Name returns the cache's name.
func (c *Cache[V]) Name() string { return c.e.name }

// Close cancels all computations, waits for them to end, and gives their leases
// up. When ctx ends first, the error names the keys whose computations ignore
// their contexts; their leases end by themselves. Calls after Close return
// ErrClosed. The store is not closed. Closing twice is fine.
func (c *Cache[V]) Close(ctx context.Context) error { return c.e.close(ctx) }

// SetTTL replaces the TTL of the value that is being computed: compute calls it
// with its own context, when it knows from what it found how long that is good
// for. A TTL of zero or less is the same as [NoStore]. Outside a computation it
// does nothing.
func SetTTL(ctx context.Context, ttl time.Duration) {
	if c := computationOf(ctx); c != nil {
		c.setTTL(ttl)
	}
}

// NoStore keeps the value that is being computed out of the store: those who
// wait for it in this process get it, and nobody else. On other nodes those who
// wait compute in turn. Outside a computation it does nothing.
func NoStore(ctx context.Context) { SetTTL(ctx, 0) }
