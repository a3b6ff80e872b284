// SPDX-License-Identifier: Apache-2.0

package leash

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/leashcache/leash/internal/entry"
)

// lease is one that this process holds.
type lease struct{ token entry.Token }

// compute computes under a lease, publishes, and answers.
func (f *flight) compute(ctx context.Context, l lease) {
	e := f.e
	if !f.takeIn() { // who is here now came before the computation begins
		f.abandon(l, 0)
		return
	}
	g := f.leader()
	f.keep(e.o.FinishAbandoned)
	c := e.begin(g.ctx, f.full, f.key, g.call.ttl)
	w := f.watch(ctx, c, &l)
	defer func() { // after runtime.Goexit as well
		wanted := w.end() && ctx.Err() == nil
		f.keep(false)
		if wanted {
			f.finish(c, l)
		} else {
			f.abandon(l, 0)
		}
	}()
	c.run(g.comp)
}

// watch looks after a computation while the flight's goroutine is in the user's
// function: it renews the lease, and answers the callers when the function takes
// too long or the flight is cancelled.
type watch struct {
	f     *flight
	c     *computation
	l     *lease
	renew *time.Timer
	limit *time.Timer
	stop  func() bool

	mu   sync.Mutex
	over bool // the function has returned, or its callers were answered without it
}

func (f *flight) watch(ctx context.Context, c *computation, l *lease) *watch {
	w := &watch{f: f, c: c, l: l}
	w.mu.Lock() // until all of it is there
	defer w.mu.Unlock()
	w.stop = context.AfterFunc(ctx, func() {
		c.cancel(context.Cause(ctx))
		f.over(ctx)
	})
	if l != nil {
		w.renew = time.AfterFunc(f.e.o.Lease/3, w.renewal)
	}
	if d := f.e.o.ComputeTimeout; d > 0 {
		w.limit = time.AfterFunc(d, w.timeout)
	}
	return w
}

// end stops the watch, and reports whether the callers still wait.
func (w *watch) end() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	onTime := !w.over
	w.over = true
	w.stop()
	for _, t := range []*time.Timer{w.renew, w.limit} {
		if t != nil {
			t.Stop()
		}
	}
	return onTime
}

func (w *watch) timeout() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.over {
		w.over = true
		w.f.timedOut(w.c)
	}
}

// renewal makes the lease last. A lease that is lost, to a delete as a rule, is
// known not to be published: who came during the computation starts anew at once.
// A function that ignores its context keeps others out for what is left of the
// lease, and no longer.
func (w *watch) renewal() {
	f, e := w.f, w.f.e
	w.mu.Lock()
	if w.over || w.c.ctx.Err() != nil {
		w.mu.Unlock()
		return
	}
	e.wg.Add(1) // the flight is counted while this is not over
	w.mu.Unlock()
	defer e.wg.Done()
	held, err := budgeted(context.WithoutCancel(w.c.ctx), e, OpRenew, func(ctx context.Context) (bool, error) {
		return e.store.Renew(ctx, f.full, w.l.token[:], e.o.Lease)
	})
	if w.lost(held, err) {
		e.event(Event{Kind: EventLeaseLost})
	}
}

// lost draws the consequences of a renewal. On an error the lease may still
// stand, and the publish will tell.
func (w *watch) lost(held bool, err error) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.over:
		return false
	case held, err != nil:
		w.renew.Reset(w.f.e.o.Lease / 3)
		return false
	}
	w.f.detach()
	return true
}

// timedOut answers who came before the computation, although the function has not
// returned. The others begin anew.
func (f *flight) timedOut(c *computation) {
	f.detach()
	f.settle(answer{Outcome: Outcome{Status: StatusMiss, Cost: time.Since(c.began)}, err: ErrComputeTimeout, failed: true})
}

// keep says whether the flight goes on without callers.
func (f *flight) keep(on bool) {
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	f.kept = on
}

// detach takes the flight out of the map, and lets those who came late begin a
// flight of their own.
func (f *flight) detach() {
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	late := f.late
	f.late = nil
	f.move(late, nil)
}

// moveOn lets everybody begin a flight of their own, from r.
func (f *flight) moveOn(r *reading) {
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	all := append(f.cover, f.late...)
	f.cover, f.late = nil, nil
	f.move(all, r)
}

// move takes the flight out of the map and puts groups into a new one; s.mu is
// held.
func (f *flight) move(groups []*group, r *reading) {
	f.remove()
	n := &flight{e: f.e, key: f.key, full: f.full, s: f.s, cover: groups}
	for _, g := range groups {
		g.f = n
		n.refs += g.n
	}
	f.refs -= n.refs
	if f.refs == 0 && f.cancel != nil && !f.kept { // those who stay behind have all left
		f.cancel(errAbandoned)
	}
	if n.refs == 0 {
		return
	}
	if f.s.flights[f.full] == nil {
		f.s.flights[f.full] = n
	}
	f.e.spawn(func() { defer f.e.wg.Done(); n.run(r) })
}

// abandon gives the lease up, and reports whether it stood.
func (f *flight) abandon(l lease, backoff time.Duration) bool {
	e := f.e
	held, _ := budgeted(context.Background(), e, OpAbandon, func(ctx context.Context) (bool, error) {
		return e.store.Abandon(ctx, f.full, l.token[:], backoff)
	})
	return held
}

// finish publishes what a computation returned, and answers.
func (f *flight) finish(c *computation, l lease) {
	e := f.e
	s := entry.Sealed{Publisher: l.token, Cost: c.cost, Created: c.made}
	a := answer{Outcome: Outcome{Status: StatusMiss, Cost: c.cost}, err: c.err}
	if f.usable {
		a.Status = StatusExpired
	}
	switch c.result {
	case ResultValue:
		a.made = &made{value: c.value, has: true}
		ttl := c.storeFor()
		if c.encErr != nil {
			ttl = 0
			f.unstorable(c.encErr)
		}
		if ttl == 0 {
			f.giveUp(a, l, 0)
			return
		}
		s.Kind = entry.Value
		a.payload = c.encoded[entry.Overhead:]
		f.publish(c, a, s, c.encoded, ttl)
	case ResultNotFound:
		s.Kind, a.NotFound = entry.NotFound, true
		a.err = &notFoundError{same: e.o.NotFound, cause: c.err}
		f.publish(c, a, s, entry.Begin(nil), e.o.NotFoundTTL)
	default:
		f.fail(c, l, a)
	}
}

// fail answers with the computation's error, or the stale value, and sees to it
// that nobody tries again before the back-off is over. A value that stands there
// stays. Errors of contexts are nobody else's.
func (f *flight) fail(c *computation, l lease, a answer) {
	e := f.e
	a.failed = true
	own := c.result == ResultTimeout || c.result == ResultCancelled
	switch {
	case own, !f.usable && e.o.Backoff == 0:
		f.giveUp(a, l, 0)
	case f.usable:
		f.giveUp(a, l, e.o.StaleBackoff)
	default:
		f.publish(c, a, entry.Sealed{Publisher: l.token, Kind: entry.Error}, append(entry.Begin(nil), c.text...), e.o.Backoff)
	}
}

func (f *flight) unstorable(err error) {
	if err != nil {
		f.e.event(Event{Kind: EventVoided, Err: err})
		f.e.say(EventVoided, "value can not be stored", err)
	}
}

// publish stores the entry b and answers: those who came before the computation
// in any case, those who came before this publish if it was accepted.
func (f *flight) publish(c *computation, a answer, s entry.Sealed, b []byte, ttl time.Duration) {
	e := f.e
	fresh, life := e.seal(b, f.key, s, ttl)
	mid := f.takeLate()
	var refused error
	send := func() (stored, late bool, err error) {
		return timed(context.WithoutCancel(c.ctx), e, OpPublish, func(ctx context.Context) (bool, error) {
			stored, err := e.store.Publish(ctx, f.full, b, life, false)
			var r interface{ Refused() bool }
			if errors.As(err, &r) && r.Refused() {
				refused, err = err, nil
			}
			return stored, err
		}, func() {
			f.conclude(a, mid, false)
			f.moveOn(nil)
		})
	}
	stored, late, err := send()
	if err != nil && !late { // unknown: ask again before giving up, the step knows its own earlier success
		stored, late, err = send()
	}
	accepted := stored
	switch {
	case refused != nil:
		f.unstorable(refused)
		accepted = f.abandon(lease{token: s.Publisher}, 0)
	case err != nil:
		f.abandon(lease{token: s.Publisher}, 0)
	case !stored:
		e.event(Event{Kind: EventVoided})
	}
	if late {
		return
	}
	a.Stored = stored && fresh > 0
	if a.Stored && s.Kind != entry.Error {
		a.TTL = fresh
	}
	f.conclude(a, mid, accepted)
}

// giveUp abandons the lease and answers: those who came during the computation
// only if the lease still stood.
func (f *flight) giveUp(a answer, l lease, backoff time.Duration) {
	mid := f.takeLate()
	f.conclude(a, mid, f.abandon(l, backoff))
}

// takeLate seals the flight: its late callers depend on the command that is sent
// next, and who comes from now on is late for that one.
func (f *flight) takeLate() []*group {
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	mid := f.late
	f.late = nil
	return mid
}

// conclude answers those who are covered, and mid if the command was accepted.
// Who wants a value computed after his call is not answered by this one.
func (f *flight) conclude(a answer, mid []*group, accepted bool) {
	f.s.mu.Lock()
	var again []*group
	for _, g := range mid {
		if accepted && !g.call.refresh {
			g.stale = f.stale
			f.cover = append(f.cover, g)
		} else {
			again = append(again, g)
		}
	}
	f.late = append(again, f.late...)
	f.s.mu.Unlock()
	f.settle(a)
}
