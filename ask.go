// SPDX-License-Identifier: Apache-2.0

package leash

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/leashcache/leash/internal/entry"
)

// granted is what a sending of the lease command brought.
type granted struct {
	entry []byte
	left  time.Duration
}

// to reports whether s got the lease.
func (g granted) to(s entry.Token) bool {
	if g.entry == nil || g.left > 0 {
		return g.entry == nil
	}
	head, ok := entry.HeadOf(g.entry)
	return ok && head.Token() == s
}

// ask asks for the lease, and once more when that failed. Every sending has a token of its own, so
// one that arrives late, even after a delete, can not bring an old lease back.
func (c *contest) ask() ([]byte, lease, error) {
	var err error
	for range 3 {
		if len(c.lost) == 2 {
			break
		}
		s := newToken()
		var g granted
		g, err = c.send(s)
		switch {
		case errors.Is(err, errLate):
			return nil, lease{}, err
		case err != nil:
			c.lost = append(c.lost, s)
			continue
		}
		c.left = g.left
		if g.to(s) {
			c.f.valueStands(g.entry != nil)
			return nil, c.won(s), nil
		}
		if !c.own(g) {
			return g.entry, lease{}, nil
		}
		c.seen, c.steal = g.entry, true
	}
	return nil, lease{}, err
}

// send sends the command. When it takes too long, the callers go on without it in
// a flight of their own, and nobody computes under a lease that it brings.
func (c *contest) send(s entry.Token) (granted, error) {
	f, e := c.f, c.f.e
	head := entry.NewLease(s, e.o.Lease, time.Duration(e.cost.Load()))
	g, late, err := timed(f.values(), e, OpLease, func(ctx context.Context) (g granted, err error) {
		g.entry, g.left, err = e.store.Lease(ctx, f.full, head, c.seen, c.steal, e.o.Lease)
		return g, err
	}, func() { f.moveOn(&reading{err: fmt.Errorf("%w: lease: %w", ErrStore, errTimeout)}) })
	if !late {
		return g, err
	}
	if err != nil || g.to(s) { // an error may hide a lease
		f.abandon(lease{token: s}, 0)
	}
	return granted{}, errLate
}

// errLate ends a flight whose callers have moved on.
var errLate = errors.New("leash: too late")

// giveUp gives up what the failed sendings may have brought.
func (c *contest) giveUp() {
	for _, s := range c.lost {
		c.f.e.spawn(func() {
			defer c.f.e.wg.Done()
			c.f.abandon(lease{token: s}, 0)
		})
	}
	c.lost = nil
}

// own reports whether the lease that stands is that of an earlier sending. It is
// taken over by comparison: the earlier sending may have come half of its way.
func (c *contest) own(g granted) bool {
	head, ok := entry.HeadOf(g.entry)
	return ok && g.left > 0 && slices.Contains(c.lost, head.Token())
}

func (c *contest) won(s entry.Token) lease {
	k := EventLeased
	if c.steal && c.holder != nil {
		k = EventTakenOver
	}
	c.f.e.event(Event{Kind: k})
	return lease{token: s}
}
