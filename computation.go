// SPDX-License-Identifier: Apache-2.0

package leash

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"
)

// computation is one run of a user's function.
type computation struct {
	e      *engine
	full   string
	key    string
	parent *computation // whose function asked for this key
	began  time.Time
	ctx    context.Context
	cancel context.CancelCauseFunc
	free   func() // ends the timer of ctx

	// Written by the function's goroutine.
	value   any
	encoded []byte // the value's entry, without its sealed part
	err     error
	text    string // of err, for other nodes
	encErr  error
	result  Result
	made    time.Time // when the function returned
	cost    time.Duration

	mu  sync.Mutex
	ttl time.Duration // zero: not to be stored
}

type computationKey struct{}

// computationOf returns the computation that ctx belongs to.
func computationOf(ctx context.Context) *computation {
	c, _ := ctx.Value(computationKey{}).(*computation)
	return c
}

// within reports whether c or what called it computes the key.
func (c *computation) within(s Store, full string) bool {
	for ; c != nil; c = c.parent {
		if c.full == full && c.e.store == s {
			return true
		}
	}
	return false
}

func (c *computation) setTTL(ttl time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ttl = max(ttl, 0)
}

func (c *computation) storeFor() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ttl
}

// begin makes a computation with the values of ctx, but neither its deadline nor
// its cancellation.
func (e *engine) begin(ctx context.Context, full, key string, ttl time.Duration) *computation {
	c := &computation{e: e, full: full, key: key, parent: computationOf(ctx), began: time.Now(), ttl: ttl}
	ctx = context.WithValue(context.WithoutCancel(ctx), computationKey{}, c)
	ctx, c.cancel = context.WithCancelCause(ctx)
	c.ctx, c.free = ctx, func() {}
	if e.o.ComputeTimeout > 0 {
		c.ctx, c.free = context.WithTimeoutCause(ctx, e.o.ComputeTimeout, ErrComputeTimeout)
	}
	e.runningMu.Lock()
	defer e.runningMu.Unlock()
	e.running[c] = struct{}{}
	return c
}

// run calls the function on this goroutine, and makes the outcome known. If the
// function calls runtime.Goexit, run does not return, but deferred functions find
// the computation ended.
func (c *computation) run(comp computer) {
	defer c.free()
	defer c.cancel(nil)
	defer c.end()
	c.call(comp)
}

func panicError(p any) error { return &PanicError{Value: p, Stack: debug.Stack()} }

// call calls the function. A panic of the function, or of the value's own way of
// writing itself, ends here.
func (c *computation) call(comp computer) {
	returned := false
	defer func() {
		if returned {
			return
		}
		if p := recover(); p != nil {
			e := &PanicError{Value: p, Stack: debug.Stack()}
			c.err, c.result, c.text = e, ResultPanic, e.brief()
		} else {
			c.err, c.result, c.text = ErrGoexit, ResultGoexit, ErrGoexit.Error()
		}
	}()
	c.value, c.err = comp.compute(c.ctx)
	c.made = time.Now()                     // its age counts from here, however long it takes to store it
	if c.err == nil && c.ctx.Err() != nil { // what it found may be a part of the truth
		c.err = context.Cause(c.ctx)
	}
	if c.err == nil {
		c.encoded, c.encErr = c.e.encode(c.value)
	}
	c.classify()
	returned = true
}

// classify looks at the error once, where its methods can do no harm.
func (c *computation) classify() {
	switch {
	case c.err == nil:
		c.result = ResultValue
		return
	case c.e.isNotFound(c.err):
		c.result = ResultNotFound
		return
	case errors.Is(context.Cause(c.ctx), ErrComputeTimeout):
		c.result = ResultTimeout
		if !errors.Is(c.err, ErrComputeTimeout) {
			c.err = fmt.Errorf("%w: %w", ErrComputeTimeout, c.err)
		}
	case c.ctx.Err() != nil, contextual(c.err):
		c.result = ResultCancelled
	default:
		c.result = ResultError
	}
	text := c.err.Error()
	c.text = text[:min(len(text), maxErrorText)]
}

// end makes the outcome known.
func (c *computation) end() {
	c.cost = time.Since(c.began)
	c.e.runningMu.Lock()
	delete(c.e.running, c)
	c.e.runningMu.Unlock()
	if c.result == ResultValue {
		c.e.learn(c.cost)
	}
	c.e.event(Event{Kind: EventCompute, Duration: c.cost, Result: c.result, Err: c.err})
}

// learn keeps a moving mean of what computations take.
func (e *engine) learn(d time.Duration) {
	old := e.cost.Load()
	if old == 0 {
		e.cost.Store(int64(d))
		return
	}
	e.cost.Store(old + (int64(d)-old)/8)
}

// contextual reports whether an error tells of a context and not of the thing
// asked for: others may have better luck at once.
func contextual(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

const maxErrorText = 1 << 10
