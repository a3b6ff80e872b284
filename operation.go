// SPDX-License-Identifier: Apache-2.0

package leash

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// No client honours a context's cancellation, and some not even its deadline, so
// every step at the store runs on a goroutine that can be left behind when its
// time is over: the flight's, from which the callers move on, or one of its own.

// maxStuck is how many operations may be left behind, unless the store's client
// has less room; from then on the store counts as failed at once.
const maxStuck = 64

var (
	errTimeout = errors.New("no answer within Options.OperationTimeout")
	errStuck   = errors.New("as many operations as may be left behind got no answer yet")
)

// opContext has the values of the caller's context, and nothing else of it: a
// request's short deadline would close the client's connections.
type opContext struct{ values context.Context }

func (*opContext) Deadline() (time.Time, bool) { return time.Time{}, false }
func (*opContext) Done() <-chan struct{}       { return nil }
func (*opContext) Err() error                  { return nil }
func (c *opContext) Value(key any) any         { return c.values.Value(key) }

const (
	opRuns int32 = iota
	opEnded
	opLeft
)

// getCall is a flight's first Get, on the goroutine that goes on as the flight's.
// It is made often enough to be kept and used again.
type getCall struct {
	e      *engine
	f      *flight
	ctx    opContext
	buf    *buffer
	timer  *time.Timer
	bell   chan struct{} // of the first caller; has room for one
	run    func()
	unused bool // nobody holds on to it
	waits  bool // for its turn, first of all

	mu    sync.Mutex
	state int32
	turn  bool // to be given back to e.turns
}

func newGetCall(e *engine) *getCall {
	c := &getCall{e: e, bell: make(chan struct{}, 1)}
	c.timer = time.AfterFunc(time.Hour, c.overdue)
	c.timer.Stop()
	c.run = c.get
	return c
}

// start starts f with a read. The caller is counted.
func (c *getCall) start(ctx context.Context, f *flight) {
	e := c.e
	if e.stuck.Load() >= e.maxStuck {
		err := e.failed(OpGet, errStuck)
		e.spawn(func() { defer e.wg.Done(); f.fly(reading{err: err}) })
		return
	}
	c.f, c.ctx.values, c.buf, c.unused = f, ctx, e.buffer(), false
	c.state, c.turn = opRuns, false
	select {
	case e.turns <- struct{}{}:
		c.turn = true
	default:
	}
	c.waits = e.turns != nil && !c.turn
	c.timer.Reset(e.o.OperationTimeout)
	e.spawn(c.run)
}

func (c *getCall) get() {
	e, f := c.e, c.f
	defer e.wg.Done()
	if c.waits && !c.queue() {
		return
	}
	b, err := e.store.Get(&c.ctx, f.full, c.buf.b[:0])
	if c.left() {
		return
	}
	buf := c.buf.hold(b)
	stopped := c.timer.Stop() // else overdue may still look at the state
	c.f, c.ctx.values, c.buf, c.unused = nil, context.Background(), nil, stopped
	f.fly(reading{buf, e.failed(OpGet, err)})
}

// queue waits until the store's client has room, and reports whether the call is
// still wanted. It covers who came in the meantime: nothing has been sent yet.
func (c *getCall) queue() bool {
	e := c.e
	e.turns <- struct{}{}
	c.mu.Lock()
	wanted := c.state == opRuns
	c.turn = wanted
	c.mu.Unlock()
	switch {
	case !wanted:
		<-e.turns
		return false
	case !c.f.takeIn():
		c.left()
		return false
	}
	return true
}

// left ends the call, unless its callers have moved on; they have then done so
// completely.
func (c *getCall) left() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.turn {
		<-c.e.turns
	}
	if c.state == opLeft {
		c.e.stuck.Add(-1)
		return true
	}
	c.state = opEnded
	return false
}

// overdue lets the callers go on without an answer.
func (c *getCall) overdue() {
	c.mu.Lock()
	if c.state != opRuns {
		c.mu.Unlock()
		return
	}
	c.state = opLeft
	e := c.e
	if c.turn || !c.waits {
		e.stuck.Add(1)
	}
	e.wg.Add(1) // the flight is counted while it has not ended
	defer e.wg.Done()
	c.f.moveOn(&reading{err: fmt.Errorf("%w: get: %w", ErrStore, errTimeout)})
	c.mu.Unlock()
	_ = e.failed(OpGet, errTimeout)
}

// read gets the entry under full within the operation's time. The caller is
// counted.
func (e *engine) read(ctx context.Context, full string) ([]byte, error) {
	return budgeted(ctx, e, OpGet, func(ctx context.Context) ([]byte, error) { return e.store.Get(ctx, full, nil) })
}

// failed counts an operation's error and gives it the form that callers see.
func (e *engine) failed(op Op, err error) error {
	if err == nil {
		return nil
	}
	e.event(Event{Kind: EventStoreError, Op: op, Err: err})
	e.say(EventStoreError, "store failed: "+op.String(), err)
	return fmt.Errorf("%w: %s: %w", ErrStore, op, err)
}

// budgeted runs one operation within its time. The caller is counted. ctx only
// ends the wait. What takes others' waits away or undoes what is stored is still
// tried when nothing else is.
func budgeted[T any](ctx context.Context, e *engine, op Op, f func(context.Context) (T, error)) (v T, err error) {
	limit := e.maxStuck
	if op == OpAbandon || op == OpDelete {
		limit *= 2
	}
	if e.stuck.Load() >= limit {
		return v, e.failed(op, errStuck)
	}
	ch := make(chan reply[T], 1)
	var state atomic.Int32
	timer := time.AfterFunc(e.o.OperationTimeout, func() {
		if state.CompareAndSwap(opRuns, opLeft) {
			e.stuck.Add(1)
			ch <- reply[T]{err: errTimeout}
		}
	})
	e.spawn(func() {
		defer e.wg.Done()
		v, err := f(&opContext{ctx})
		if !state.CompareAndSwap(opRuns, opEnded) {
			e.stuck.Add(-1)
			return
		}
		timer.Stop()
		ch <- reply[T]{v, err}
	})
	select {
	case r := <-ch:
		return r.result(e, op)
	case <-ctx.Done():
		return v, fmt.Errorf("%w: %s: %w", ErrStore, op, ctx.Err())
	}
}

type reply[T any] struct {
	v   T
	err error
}

// result returns nothing beside an error, whatever the store said.
func (r reply[T]) result(e *engine, op Op) (T, error) {
	if r.err != nil {
		return *new(T), e.failed(op, r.err)
	}
	return r.v, nil
}

// timed runs one operation on the flight's own goroutine, which saves a miss two
// changes of goroutine. If its time is over before it returns, overdue is called
// on another goroutine, to see to the callers, and the operation's result is late:
// all that is left to the flight is to clean up. The caller is counted.
func timed[T any](ctx context.Context, e *engine, op Op, f func(context.Context) (T, error), overdue func()) (v T, late bool, err error) {
	if e.stuck.Load() >= e.maxStuck {
		return v, false, e.failed(op, errStuck)
	}
	var mu sync.Mutex
	ended, left := false, false
	timer := time.AfterFunc(e.o.OperationTimeout, func() {
		mu.Lock()
		if ended {
			mu.Unlock()
			return
		}
		left = true
		e.stuck.Add(1)
		e.wg.Add(1) // the flight is counted while it has not ended
		defer e.wg.Done()
		overdue()
		mu.Unlock()
		_ = e.failed(op, errTimeout)
	})
	v, err = f(&opContext{ctx})
	mu.Lock()
	ended = true
	mu.Unlock()
	if left {
		e.stuck.Add(-1)
		return v, true, err
	}
	timer.Stop()
	v, err = reply[T]{v, err}.result(e, op)
	return v, false, err
}

// buffer is what an entry is read into, and is used again when nobody needs the
// entry any more. Stores that need more room bring their own, which is then kept.
type buffer struct {
	b     []byte // room
	entry []byte // what was read; nil when there was nothing
}

const maxBuffer = 1 << 20

func (b *buffer) hold(entry []byte) *buffer {
	b.entry = entry
	if cap(entry) > cap(b.b) && cap(entry) <= maxBuffer {
		b.b = entry
	}
	return b
}

func (e *engine) buffer() *buffer {
	if b, _ := e.buffers.Get().(*buffer); b != nil {
		return b
	}
	return &buffer{}
}

// giveBack ends the use of an answer's buffer.
func (e *engine) giveBack(a *answer) {
	if a.pooled != nil {
		a.pooled.entry = nil
		e.buffers.Put(a.pooled)
		a.pooled = nil
	}
}
