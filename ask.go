// SPDX-License-Identifier: Apache-2.0

package leash

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/leashcache/leash/internal/entry"
)

// sending is one sending of a lease command.
type sending struct {
	token entry.Token
	fate  atomic.Int32 // of a lease granted after its time: adopted, or to be given up
}

const (
	undecided int32 = iota
	adopted
	givenUp
)

// granted is what a sending of the lease command brought.
type granted struct {
	entry []byte
	left  time.Duration
}

// to reports whether s got the lease.
func (g granted) to(s *sending) bool {
	if g.entry == nil || g.left > 0 {
		return g.entry == nil
	}
	head, ok := entry.HeadOf(g.entry)
	return ok && head.Token() == s.token
}

// ask asks for the lease, at most twice. Every sending has a token of its own, so
// one that arrives late, even after a delete, can not bring an old lease back.
// An earlier sending that turns out to hold the lease is adopted.
func (c *contest) ask(ctx context.Context) ([]byte, lease, error) {
	var err error
	for range 2 {
		s, sent := &sending{token: newToken()}, time.Now()
		var g granted
		g, err = c.send(ctx, s)
		if err != nil {
			c.lost = append(c.lost, s)
			continue
		}
		c.left = g.left
		if g.to(s) {
			c.f.valueStands(g.entry != nil)
			return nil, c.won(s, sent.Add(c.f.e.o.Lease)), nil
		}
		if s := c.own(g); s != nil {
			c.f.valueStands(true)
			return nil, c.won(s, sent.Add(g.left)), nil
		}
		return g.entry, lease{}, nil
	}
	return nil, lease{}, err
}

func (c *contest) send(ctx context.Context, s *sending) (granted, error) {
	f, e := c.f, c.f.e
	head := entry.NewLease(s.token, e.o.Lease, time.Duration(e.cost.Load()))
	seen, steal := c.seen, c.steal
	return budgeted(withValues{ctx, f.values()}, e, OpLease, func(ctx context.Context) (g granted, err error) {
		g.entry, g.left, err = e.store.Lease(ctx, f.full, head, seen, steal, e.o.Lease)
		return g, err
	}, func(g granted) { // too late: nobody computes under this lease
		if g.to(s) && s.fate.CompareAndSwap(undecided, givenUp) {
			f.abandon(lease{token: s.token}, 0)
		}
	})
}

// own returns the earlier sending whose lease stands, if it may still be adopted.
func (c *contest) own(g granted) *sending {
	head, ok := entry.HeadOf(g.entry)
	if !ok || g.left == 0 {
		return nil
	}
	for _, s := range c.lost {
		if s.token == head.Token() && s.fate.CompareAndSwap(undecided, adopted) {
			return s
		}
	}
	return nil
}

func (c *contest) won(s *sending, until time.Time) lease {
	k := EventLeased
	if c.steal && c.holder != nil {
		k = EventTakenOver
	}
	c.f.e.event(Event{Kind: k})
	return lease{token: s.token, until: until}
}

// withValues is a context with another one's values.
type withValues struct {
	context.Context
	values context.Context
}

func (c withValues) Value(key any) any { return c.values.Value(key) }
