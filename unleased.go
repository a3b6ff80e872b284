// SPDX-License-Identifier: Apache-2.0

package leash

import (
	"context"
	"time"

	"github.com/leashcache/leash/internal/entry"
)

// unleased computes without the rest of the cluster: the store failed, or the
// caller did not want to wait. Nothing is stored.
func (f *flight) unleased(ctx context.Context, why error) {
	if f.background {
		return // nobody waits for it
	}
	e := f.e
	release, err := e.place(ctx, f.leader().comp)
	if err != nil {
		if ctx.Err() == nil {
			f.settle(answer{err: ErrOverloaded, failed: true})
		}
		return
	}
	defer release()
	f.takeIn()
	g := f.leader()
	e.event(Event{Kind: EventUnleased, Err: why})
	c := e.begin(g.ctx, f.full, f.key, g.call.ttl)
	w := f.watch(ctx, c, nil)
	defer func() { // after runtime.Goexit as well
		if w.end() && ctx.Err() == nil {
			f.settle(f.unleasedAnswer(c))
		}
	}()
	c.run(g.comp)
}

// place waits for one of the places of computations without a lease. The members
// of a batch, which is one computation, take one together.
func (e *engine) place(ctx context.Context, comp computer) (release func(), err error) {
	take := func() error {
		ctx, stop := context.WithTimeout(ctx, e.o.OperationTimeout)
		defer stop()
		return e.unleased.Acquire(ctx, 1)
	}
	release = func() { e.unleased.Release(1) }
	if b, ok := comp.(interface {
		share(take func() error, release func()) (func(), error)
	}); ok {
		return b.share(take, release)
	}
	return release, take()
}

func (f *flight) unleasedAnswer(c *computation) answer {
	a := answer{Outcome: Outcome{Status: StatusMiss, Cost: c.cost}, err: c.err}
	switch c.result {
	case ResultValue:
		a.made = &made{value: c.value, has: true}
		if c.encErr == nil {
			a.payload = c.encoded[entry.Overhead:]
		}
	case ResultNotFound:
		a.NotFound, a.err = true, &notFoundError{same: f.e.o.NotFound, cause: c.err}
	default:
		a.failed = true
	}
	return a
}

// bypass computes for one caller alone.
func (e *engine) bypass(ctx context.Context, full, key string, comp computer) answer {
	if err := e.enter(full); err != nil {
		return answer{err: err}
	}
	defer e.wg.Done()
	c, done := e.begin(ctx, full, key, 0), make(chan struct{})
	e.spawn(func() {
		defer e.wg.Done()
		defer close(done)
		c.run(comp)
	})
	a := answer{Outcome: Outcome{Status: StatusBypass}}
	var limit <-chan time.Time
	if e.o.ComputeTimeout > 0 {
		limit = time.After(e.o.ComputeTimeout)
	}
	select {
	case <-done:
	case <-ctx.Done():
		c.cancel(context.Cause(ctx))
		a.err = ctx.Err()
		return a
	case <-e.ctx.Done():
		c.cancel(ErrClosed)
		a.err = ErrClosed
		return a
	case <-limit:
		a.err = ErrComputeTimeout
		return a
	}
	a.Cost, a.err, a.NotFound = c.cost, c.err, c.result == ResultNotFound
	switch c.result {
	case ResultValue:
		a.made = &made{value: c.value, has: true}
	case ResultNotFound:
		a.err = &notFoundError{same: e.o.NotFound, cause: c.err}
	default:
	}
	return a
}
