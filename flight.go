// SPDX-License-Identifier: Apache-2.0

package leash

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/leashcache/leash/internal/entry"
)

// A flight is what this process does about one key: it reads, asks for the
// lease, computes or waits, and answers its callers, round after round until
// none is left. Its goroutine is the only one that talks to the store about the
// key on their behalf.
//
// Which callers a reply may answer is the heart of it. A reply tells how things
// stood at some moment after its command was sent, so it may answer those who
// had called before: they are covered. Who calls later may have seen a delete
// return in between, and is late: the next command covers him. So a caller is
// never answered by what was read, published or put into a message before he
// called.
//
//	read      covers those before it was sent       a hit answers them
//	lease     covers those before it was sent       a value found, and the message
//	                                                that the lease's holder sends
//	compute   covers those before it began          its value, stored or not
//	publish   covers those before it was sent       its value, if it was stored
//
// A step that takes too long is left behind with the goroutine that waits for it;
// the callers move on in a new flight.
type flight struct {
	e    *engine
	key  string
	full string
	s    *shard

	// Guarded by s.mu.
	cover  []*group
	late   []*group
	refs   int // callers in cover and late, and those of mid
	cancel context.CancelCauseFunc
	kept   bool // a computation runs that finishes without callers

	// Used by the flight's goroutine alone.
	stale  *answer     // the value that stands there, within StaleIfError
	usable bool        // a value stands there that a failure must not replace
	waited entry.Token // the lease that the last round waited for

	background bool // a refresh: has no callers and is in no map
	first      group
	coverOne   [1]*group
	alone      bool // it is over, and nobody but its first caller knows it any more
}

// group is callers who came at the same stage.
type group struct {
	f    *flight
	ctx  context.Context // of the first of them, for its values
	comp computer        // of the first of them
	call call
	n    int
	done chan struct{} // closed when a is there
	bell bool          // done is used again, so something is sent instead
	a    answer
	has  bool // a is there

	stale *answer // what they may have if computing fails or takes too long
}

var errAbandoned = errors.New("leash: all callers have left")

// get answers one call.
func (e *engine) get(ctx context.Context, key string, comp computer, c call) answer {
	if err := e.check(ctx, key); err != nil {
		return answer{err: err}
	}
	full := e.prefix + key
	if p := computationOf(ctx); p != nil && p.within(e.store, full) {
		return answer{err: fmt.Errorf("%w: %q", ErrRecursive, key)}
	}
	if c.bypass {
		return e.bypass(ctx, full, key, comp)
	}
	f, g, err := e.join(ctx, full, key, comp, c)
	if err != nil {
		return answer{err: err}
	}
	if g == nil {
		return f.lead(ctx)
	}
	a, _ := f.await(ctx, g, c.maxWait)
	return a
}

// join returns the flight of a key and the caller's group in it, or a new flight
// and no group: then the caller leads it, and is counted.
func (e *engine) join(ctx context.Context, full, key string, comp computer, c call) (*flight, *group, error) {
	s := e.shard(full)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, nil, ErrClosed
	}
	if f := s.flights[full]; f != nil {
		return f, f.join(ctx, comp, c), nil
	}
	f, _ := e.flights.Get().(*flight)
	if f == nil {
		f = &flight{}
	}
	f.e, f.key, f.full, f.s, f.refs = e, key, full, s, 1
	f.first = group{f: f, ctx: ctx, comp: comp, call: c, n: 1}
	f.coverOne[0] = &f.first
	f.cover = f.coverOne[:]
	s.flights[full] = f
	e.wg.Add(1)
	return f, nil, nil
}

// join adds a caller to the late ones; s.mu is held.
func (f *flight) join(ctx context.Context, comp computer, c call) *group {
	f.refs++
	if n := len(f.late); n > 0 && f.late[n-1].call.refresh == c.refresh {
		f.late[n-1].n++
		return f.late[n-1]
	}
	g := &group{f: f, ctx: ctx, comp: comp, call: c, n: 1, done: make(chan struct{})}
	f.late = append(f.late, g)
	return g
}

// lead starts the flight for its first caller.
func (f *flight) lead(ctx context.Context) answer {
	e := f.e
	defer e.wg.Done()
	c := e.gets.Get().(*getCall)
	f.first.done, f.first.bell = c.bell, true
	c.start(ctx, f)
	a, answered := f.await(ctx, &f.first, f.first.call.maxWait)
	if answered && c.unused {
		e.gets.Put(c)
	}
	if answered && f.alone {
		*f = flight{}
		e.flights.Put(f)
	}
	return a
}

// reading is a read that has been made and did not answer everybody.
type reading struct {
	b   *buffer
	err error
}

// fly is the flight's goroutine from its first read on.
func (f *flight) fly(r reading) {
	if r.err == nil {
		v := f.see(r.b.entry)
		if f.answerAlone(&v, r.b) {
			return
		}
		f.answerAtOnce(&v, r.b)
		if f.ended() {
			return
		}
	}
	f.run(&r)
}

// answerAlone gives the first caller what was read, if he is the only one and
// needs no more. The flight is over then, and he may use it for another key at
// once: nothing of it is touched after the bell.
func (f *flight) answerAlone(v *verdict, b *buffer) bool {
	s := f.s
	s.mu.Lock()
	defer s.mu.Unlock()
	g := &f.first
	if len(f.cover) > 1 || len(f.late) > 0 {
		return false
	}
	a, ok := f.e.atOnce(v, g)
	if !ok {
		return false
	}
	f.remove()
	f.alone = true
	a.pooled = b
	g.a, g.has = a, true
	g.done <- struct{}{} // has room
	return true
}

// ended takes the flight out of the map if it has no callers.
func (f *flight) ended() bool {
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	if f.refs == 0 {
		f.remove()
	}
	return f.refs == 0
}

// atOnce returns the answer to g that needs no lease, if v is one.
func (e *engine) atOnce(v *verdict, g *group) (answer, bool) {
	if !g.call.refresh {
		switch {
		case v.state == fresh:
			return e.answer(v, StatusHit), true
		case v.state == updating:
			return e.answer(v, StatusUpdating), true
		case v.state == stale && v.head.Backoff() && v.leased():
			return e.answer(v, StatusStale), true
		}
	}
	return answer{}, false
}

// remove takes the flight out of the map; s.mu is held.
func (f *flight) remove() {
	if f.s.flights[f.full] == f {
		delete(f.s.flights, f.full)
	}
}

// leave takes one caller out, and reports false if the group has its answer.
// When the last one leaves, what the flight does is cancelled, and nobody can
// join it any more.
func (f *flight) leave(g *group) bool {
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	if g.has {
		return false
	}
	g.n--
	g.f.refs--
	if w, ok := g.comp.(interface{ answered() }); ok && g.n == 0 {
		w.answered()
	}
	if g.f.refs == 0 && g.f.cancel != nil && !g.f.kept {
		g.f.remove()
		g.f.cancel(errAbandoned)
	}
	return true
}

// await waits for the group's answer, as long as the caller wants to, and reports
// whether it came.
func (f *flight) await(ctx context.Context, g *group, maxWait time.Duration) (a answer, answered bool) {
	joined := g != &f.first
	if joined {
		f.e.event(Event{Kind: EventCoalesced})
	}
	var expired <-chan time.Time
	if d := maxWait; d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		expired = t.C
	}
	select {
	case <-g.done:
		answered = true
	case <-ctx.Done():
		if f.leave(g) {
			return answer{err: fmt.Errorf("%w: %w", ErrBusy, ctx.Err())}, false
		}
	case <-expired:
		if a = f.staleFor(g); a.err != nil && !g.call.refresh {
			a = f.readStale(ctx)
		}
		if f.leave(g) {
			return a, false
		}
	}
	a = g.a
	a.Collapsed = joined
	return a, answered
}

// staleFor returns the stale value if g may have it, else ErrBusy.
func (f *flight) staleFor(g *group) answer {
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	if g.stale != nil && !g.call.refresh {
		return *g.stale
	}
	return answer{err: ErrBusy}
}

// readStale reads for a caller who waits no longer and came too late to be given
// what the flight has seen.
func (f *flight) readStale(ctx context.Context) answer {
	e, busy := f.e, answer{err: ErrBusy}
	if e.o.StaleIfError == 0 || e.enter(f.full) != nil {
		return busy
	}
	defer e.wg.Done()
	b, err := e.read(ctx, f.full)
	if err != nil {
		return busy
	}
	v := e.judge(b, f.key, entry.Token{})
	switch {
	case v.Kind != entry.Value || v.state == absent:
		return busy
	case v.state == fresh:
		return e.answer(&v, StatusHit)
	case v.age-v.Fresh < e.o.StaleIfError:
		return e.answer(&v, StatusStale)
	}
	return busy
}

// run answers callers until none is left; r is what was read already, if anything.
func (f *flight) run(r *reading) {
	ctx, cancel := context.WithCancelCause(f.e.ctx)
	defer cancel(nil)
	returned := false
	defer func() {
		if !returned { // the user's function called runtime.Goexit: another goroutine goes on
			f.e.spawn(func() { defer f.e.wg.Done(); f.run(nil) })
		}
	}()
	f.s.mu.Lock()
	f.cancel = cancel
	if f.refs == 0 && !f.background {
		f.remove()
		cancel(errAbandoned)
	}
	f.s.mu.Unlock()
	for ctx.Err() == nil && (r != nil || f.next(&r)) {
		if f.covered() {
			f.round(ctx, r)
		}
		r = nil
	}
	if ctx.Err() != nil {
		f.over(ctx)
	}
	returned = true
}

// next reads for those who came late, and reports whether anybody is there.
func (f *flight) next(r **reading) bool {
	if !f.takeIn() || f.background {
		return false
	}
	var buf buffer
	b, late, err := timed(f.values(), f.e, OpGet, func(ctx context.Context) ([]byte, error) {
		return f.e.store.Get(ctx, f.full, nil)
	}, func() { f.moveOn(&reading{err: fmt.Errorf("%w: get: %w", ErrStore, errTimeout)}) })
	if late {
		return false
	}
	buf.entry = b
	*r = &reading{&buf, err}
	if err == nil {
		v := f.see(b)
		f.answerAtOnce(&v, &buf)
	}
	return true
}

// over ends the flight: it was cancelled.
func (f *flight) over(ctx context.Context) {
	if errors.Is(context.Cause(ctx), ErrClosed) {
		f.takeIn()
		f.settle(answer{err: ErrClosed})
	}
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	f.remove()
}

// see judges what was read.
func (f *flight) see(b []byte) verdict {
	v := f.e.judge(b, f.key, entry.Token{})
	if v.Fresh == 0 { // not to be kept: the answer to those who waited for it, and to nobody else
		v = f.e.judge(b, f.key, f.waited)
	}
	f.waited = entry.Token{}
	f.e.countUndecodable(&v)
	if f.e.due(&v) {
		f.e.refresh(f.key, f.full, f.leader(), &v)
	}
	return v
}

// answerAtOnce gives what was read to those who need no more.
func (f *flight) answerAtOnce(v *verdict, b *buffer) {
	f.settleIf(func(g *group) (answer, bool) {
		a, ok := f.e.atOnce(v, g)
		if ok && g == &f.first && len(f.cover) == 1 { // others may still read what it gives back
			a.pooled = b
		}
		return a, ok
	})
}

// takeIn covers the late callers: a command is sent next. It reports false, and
// the flight is over, when there is nobody.
func (f *flight) takeIn() bool {
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	f.cover = append(f.cover, f.late...)
	f.late = nil
	if f.refs == 0 {
		f.remove()
		return f.background
	}
	return true
}

func (f *flight) covered() bool {
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	return len(f.cover) > 0
}

// leader returns the group whose function and options a computation uses.
func (f *flight) leader() *group {
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	for _, g := range f.cover {
		if g.n > 0 {
			return g
		}
	}
	return f.cover[0]
}

// values returns a context with the first caller's values.
func (f *flight) values() context.Context { return context.WithoutCancel(f.leader().ctx) }

// settle gives all covered callers one answer; the stale value in place of a
// failure, unless they asked for a new one.
func (f *flight) settle(a answer) {
	f.settleIf(func(g *group) (answer, bool) {
		if a.failed && g.stale != nil && !g.call.refresh {
			return *g.stale, true
		}
		return a, true
	})
}

// settleIf gives covered callers the answer that choose has for them, and
// reports whether none is left.
func (f *flight) settleIf(choose func(*group) (answer, bool)) bool {
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	var rest []*group
	var shared *made
	for _, g := range f.cover {
		a, ok := choose(g)
		if !ok {
			rest = append(rest, g)
			continue
		}
		if a.made == nil && f.e.o.Share && a.err == nil {
			if shared == nil {
				shared = &made{}
			}
			a.made = shared
		}
		g.a, g.has = a, true
		f.refs -= g.n
		switch {
		case g.bell:
			g.done <- struct{}{} // has room
		case g.done != nil: // a refresh has nobody who waits
			close(g.done)
		}
		if w, ok := g.comp.(interface{ answered() }); ok {
			w.answered()
		}
	}
	f.cover = rest
	if f.refs == 0 { // who comes now has nothing to do with it
		f.remove()
	}
	return len(rest) == 0
}

// due reports whether an entry that was read is to be refreshed, and nobody seems
// to be at it.
func (e *engine) due(v *verdict) bool {
	return (v.state == updating || v.state == fresh && e.ahead(v)) && !v.leased()
}

// refresh starts a background refresh of the entry that was read for g, unless
// this process is at it.
func (e *engine) refresh(key, full string, g *group, v *verdict) {
	if g.call.refresh {
		return
	}
	s := e.shard(full)
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.refreshing[full]; ok || s.closed {
		return
	}
	s.refreshing[full] = struct{}{}
	n := &flight{e: e, key: key, full: full, s: s, background: true, usable: true}
	n.first = group{f: n, ctx: g.ctx, comp: g.comp, call: g.call}
	n.cover = []*group{&n.first}
	head := append([]byte(nil), v.head...)
	e.spawn(func() {
		defer e.wg.Done()
		defer e.refreshed(s, full)
		e.event(Event{Kind: EventRefresh})
		n.run(&reading{b: &buffer{entry: head}})
	})
}

func (e *engine) refreshed(s *shard, full string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.refreshing, full)
}
