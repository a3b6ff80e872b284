// SPDX-License-Identifier: Apache-2.0

package leash

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/leashcache/leash/internal/entry"
)

const (
	// fallback is how often a waiter looks again although it is told of changes.
	fallback = 250 * time.Millisecond
	// soon is when a waiter looks again first, and the spread of looks that many
	// would take at the same moment.
	soon = 10 * time.Millisecond
)

// contest is a flight's way to the lease.
type contest struct {
	f      *flight
	seen   []byte        // what stands there, as far as is known
	steal  bool          // take the lease that seen shows
	left   time.Duration // how long the lease that stands lasts
	holder entry.Head    // the lease that is waited for; nil when none
	since  time.Time     // when holder was seen first
	began  time.Time     // of the wait
	wake   <-chan []byte
	early  bool // the look soon after the first has been taken
	founds int
	lost   []entry.Token // of sendings that failed, and may have been taken all the same
}

// round gets the covered callers their answer: from the store, by computing, or
// by waiting for who computes.
func (f *flight) round(ctx context.Context, r *reading) {
	if r.err != nil {
		f.unleased(ctx, r.err)
		return
	}
	c := &contest{f: f, seen: r.b.entry}
	if !f.background {
		v := f.e.judge(c.seen, f.key, entry.Token{})
		f.setStale(&v)
		if f.e.waker != nil {
			wake, stop := f.e.waker.Watch(f.full)
			defer stop()
			c.wake = wake
		}
	}
	defer c.end()
	for ctx.Err() == nil && f.takeIn() && !c.step(ctx) {
	}
}

// step asks for the lease once, and does what the reply calls for. It reports
// whether the round is over.
func (c *contest) step(ctx context.Context) bool {
	f := c.f
	b, l, err := c.ask()
	switch {
	case errors.Is(err, errLate):
		c.giveUp()
		return true
	case err != nil:
		c.giveUp()
		f.unleased(ctx, err)
		return true
	case b == nil:
		c.waited()
		f.compute(ctx, l)
		return true
	case c.left == 0:
		return c.found(ctx, b)
	}
	head, ok := entry.HeadOf(b)
	if !ok { // a store that breaks its contract must not make a loop
		f.unleased(ctx, entry.ErrForeign)
		return true
	}
	f.valueStands(true)
	if head.Backoff() {
		return c.backoff(head)
	}
	return c.busy(ctx, head)
}

// maxFounds is how often the store may answer with yet another value that is of
// no use before it counts as out of order.
const maxFounds = 32

// found looks at a value that stands there in place of the one seen.
func (c *contest) found(ctx context.Context, b []byte) bool {
	if c.founds++; c.founds > maxFounds {
		c.f.unleased(ctx, errFounds)
		return true
	}
	v := c.look(b)
	c.f.e.countUndecodable(&v)
	return c.f.settleIf(func(g *group) (answer, bool) { return c.given(&v, g) }) || c.f.background
}

var errFounds = errors.New("the store shows another value each time")

// given returns what a value is to those who waited, or read it again.
func (c *contest) given(v *verdict, g *group) (answer, bool) {
	s := StatusHit
	if c.holder != nil {
		s = StatusElsewhere
	}
	if v.state == fresh && !g.call.refresh {
		return c.f.e.answer(v, s), true
	}
	return c.f.e.atOnce(v, g)
}

// look takes b as what stands there.
func (c *contest) look(b []byte) verdict {
	var waited entry.Token
	if c.holder != nil {
		waited = c.holder.Token()
	}
	v := c.f.e.judge(b, c.f.key, waited)
	c.seen, c.steal = b, false
	c.f.setStale(&v)
	return v
}

// setStale keeps the value for those who are covered, if it may be given when
// computing fails.
func (f *flight) setStale(v *verdict) {
	f.usable, f.stale = v.state != absent && v.Kind == entry.Value, nil
	if f.usable && f.e.o.StaleIfError > 0 && v.age-v.Fresh < f.e.o.StaleIfError {
		a := f.e.answer(v, StatusStale)
		f.stale = &a
	}
	f.valueStands(true)
}

// valueStands tells of a reply that shows whether the value that was seen is
// still there: those whom the reply covers may have it, or nobody.
func (f *flight) valueStands(yes bool) {
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	if !yes {
		f.usable, f.stale = false, nil
	}
	for _, g := range f.cover {
		g.stale = f.stale
	}
}

// backoff answers with the stale value while nobody is to compute. Who can not
// use that value, or asked for a new one, computes all the same.
func (c *contest) backoff(head entry.Head) bool {
	f := c.f
	if f.background {
		return true
	}
	over := f.settleIf(func(g *group) (answer, bool) {
		if g.stale == nil || g.call.refresh {
			return answer{}, false
		}
		return *g.stale, true
	})
	c.seen, c.steal = head, true
	return over
}

// busy does what the options say while another node holds the lease.
func (c *contest) busy(ctx context.Context, head entry.Head) bool {
	f := c.f
	if c.holder == nil {
		f.e.event(Event{Kind: EventBusy})
		c.began = time.Now()
	}
	if c.holder == nil || !entry.SameLease(c.holder, head) {
		c.holder, c.since = head, time.Now()
	}
	switch {
	case f.background:
		return true
	case f.e.o.OnBusy == Fail:
		f.settle(answer{err: ErrBusy, failed: true})
		return true
	case f.e.o.OnBusy == Compute:
		f.unleased(ctx, ErrBusy)
		return true
	}
	f.elsewhere()
	c.seen, c.steal = head, false // with it the next look takes one trip
	// A step of the server's clock can stretch a lease without end. A holder
	// that lives renews it at a third; the same lease for the whole of its
	// length, by this node's own clock, belongs to nobody.
	if time.Since(c.since) >= head.Length() {
		c.steal = true
		return false
	}
	return c.wait(ctx)
}

// elsewhere tells a batch that its member waits for another node.
func (f *flight) elsewhere() {
	if w, ok := f.leader().comp.(interface{ answered() }); ok {
		w.answered()
	}
}

// wait waits for a hint, for the lease to end, or for the next look.
func (c *contest) wait(ctx context.Context) bool {
	timer := time.NewTimer(c.pause())
	defer timer.Stop()
	select {
	case b := <-c.wake:
		if head, ok := entry.HeadOf(b); ok && head.Publisher() == c.holder.Token() {
			return c.message(b)
		}
	case <-timer.C:
	case <-ctx.Done():
		return true
	}
	return false
}

// message answers with the entry that the holder sent along. It covers those who
// were there when the lease was asked for; the lease's token was seen then.
func (c *contest) message(b []byte) bool {
	v := c.look(b)
	if v.state != fresh {
		return false
	}
	return c.f.settleIf(func(g *group) (answer, bool) {
		if g.call.refresh {
			return answer{}, false
		}
		return c.f.e.answer(&v, StatusElsewhere), true
	})
}

// pause is how long to wait before the next look.
func (c *contest) pause() time.Duration {
	d := min(c.left, time.Until(c.since.Add(c.holder.Length()))) + jitter(soon)
	switch {
	case c.wake != nil && !c.early:
		// The rest of the herd comes within moments of the first, and the message
		// is for those who were there at the last look.
		c.early = true
		return min(d, soon+jitter(soon))
	case c.wake != nil:
		return min(d, fallback)
	}
	return min(d, c.poll())
}

// poll is how long to wait before the next look where nobody tells of changes. When
// the computation's duration is known the look comes at its end, and then ever more
// seldom. Else looks are 6 ms apart at first, and fallback after two seconds.
func (c *contest) poll() time.Duration {
	waited := min(time.Since(c.began), 2*time.Second)
	d := 6*time.Millisecond + time.Duration(float64(waited)*waited.Seconds()/12.5)
	if expected := c.holder.Expected(); expected > 0 {
		gone := time.Since(c.began)
		if c.holder.Counter() == 0 {
			gone = max(gone, c.holder.Length()-c.left)
		}
		rest := expected - gone
		if rest > 0 {
			return min(rest, fallback) + jitter(2*time.Millisecond)
		}
		d = min(d, max(-rest/2, 2*time.Millisecond))
	}
	d = min(d, fallback)
	return d*3/4 + jitter(d/2)
}

func jitter(d time.Duration) time.Duration { return time.Duration(rand.Int64N(int64(d)) + 1) }

// end ends the round. Who came too late for the message that ended a wait reads
// next, and an answer to the lease that was waited for that is not to be kept is
// his, too.
func (c *contest) end() {
	c.waited()
	if c.holder != nil {
		c.f.waited = c.holder.Token()
	}
}

// waited tells how long the wait took, if there was one.
func (c *contest) waited() {
	if !c.began.IsZero() {
		c.f.e.event(Event{Kind: EventWait, Duration: time.Since(c.began)})
		c.began = time.Time{}
	}
}
