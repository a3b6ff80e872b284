// SPDX-License-Identifier: Apache-2.0

package memcachestore

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/bradfitz/gomemcache/memcache"

	"github.com/leashcache/leash/internal/entry"
)

var (
	errHead = errors.New("memcachestore: lease is not the head of an entry")
	errTTL  = errors.New("memcachestore: a ttl must be positive")
)

// question is one Lease.
type question struct {
	s       *Store
	k       string
	lease   entry.Head
	seen    []byte
	was     entry.Head // seen, or a head without anything
	steal   bool
	ttl     time.Duration
	guarded bool       // the guard of was's value is the caller's
	ends    time.Time  // until then at least
	holder  entry.Head // or this one's
}

// Lease asks for the right to compute key.
func (s *Store) Lease(_ context.Context, key string, lease, seen []byte, steal bool, ttl time.Duration) ([]byte, time.Duration, error) {
	l, ok := entry.HeadOf(lease)
	switch {
	case s.bad != nil:
		return nil, 0, s.bad
	case !ok:
		return nil, 0, errHead
	case ttl <= 0:
		return nil, 0, errTTL
	}
	s.lists.look(key)
	q := &question{s: s, k: serverKey(key), lease: l, seen: seen, steal: steal, ttl: ttl}
	if q.was, ok = entry.HeadOf(seen); !ok {
		q.was = make(entry.Head, entry.HeadSize)
	}
	b, left, err := q.ask()
	return b, left, failed("lease", err)
}

// ask takes as many tries as it needs. Where nothing is known to stand, the first
// is one command.
func (q *question) ask() ([]byte, time.Duration, error) {
	if q.seen == nil {
		if stored, err := q.s.add(q.k, q.onNothing(), q.ttl); stored || err != nil {
			return nil, 0, err
		}
	}
	for try := range tries {
		if q.was.HasValue() && !(q.guarded && time.Now().Before(q.ends)) {
			if err := q.guard(); err != nil {
				return nil, 0, err
			}
		}
		began := time.Now()
		it, err := q.s.read(q.k)
		if err != nil {
			return nil, 0, err
		}
		next, life, told := q.judge(it)
		switch {
		case told.again, next != nil && stood(began, try):
			continue
		case next == nil:
			return told.entry, told.left, nil
		}
		var done bool
		if it == nil {
			done, err = q.s.add(q.k, next, life)
		} else {
			done, err = q.s.swap(it, next, life)
		}
		if done || err != nil {
			return told.entry, 0, err
		}
	}
	return nil, 0, errContended
}

// answer is what a Lease returns, if it does not begin again.
type answer struct {
	entry []byte
	left  time.Duration
	again bool
}

// judge looks at what stands there, and returns what is to replace it when the
// lease is to be had, and what the caller is told.
func (q *question) judge(it *memcache.Item) (next []byte, life time.Duration, told answer) {
	if it == nil {
		return q.onNothing(), q.ttl, answer{}
	}
	h, ok := entry.HeadOf(it.Value)
	switch {
	case !ok && (q.seen == nil || !bytes.Equal(q.seen, it.Value)):
		return nil, 0, answer{entry: it.Value}
	case !ok, !h.HasValue() && !stands(h):
		return q.onNothing(), q.ttl, answer{}
	case h.Publisher() != q.was.Publisher():
		return nil, 0, answer{entry: it.Value}
	case !h.HasValue() && h.Token() == q.lease.Token(): // the reply was lost
		return nil, 0, answer{}
	case !h.HasValue() && q.steal && entry.SameLease(h, q.was):
		return q.onNothing(), q.ttl, answer{}
	case !h.HasValue():
		return nil, 0, answer{entry: h, left: left(h, note(it.Value))}
	case !q.guarded && q.holder == nil:
		return nil, 0, answer{again: true}
	case !q.guarded:
		h := entry.Head(bytes.Clone(h))
		h.SetLease(q.holder, q.holder.Until(), h.End())
		return nil, 0, answer{entry: h, left: left(h, h.Until())}
	}
	now := time.Now()
	life, end := lifeUnder(it.Value, now, q.ttl)
	next = bytes.Clone(it.Value)
	h, _ = entry.HeadOf(next)
	h.SetLease(q.lease, millis(now.Add(q.ttl)), end)
	return next, life, answer{entry: bytes.Clone(h)}
}

// onNothing is the item of a lease that stands on no value.
func (q *question) onNothing() []byte {
	h := entry.Head(bytes.Clone(q.lease))
	h.SetUntil(0)
	h.SetEnd(0)
	return withNote(h, time.Now().Add(q.ttl))
}

// stands reports whether a head without a value shows a lease. One of ours ends
// with its item.
func stands(h entry.Head) bool {
	return !h.Token().IsZero() && (h.Until() == 0 || plausible(h.Until()))
}

func plausible(until int64) bool {
	ahead := time.Until(time.UnixMilli(until))
	return ahead > 0 && ahead <= entry.MaxLease+grain
}

// left is how long a lease will last, as far as the clocks of its holder and of
// this node agree: memcached tells nobody. It only plans the next look.
func left(h entry.Head, until int64) time.Duration {
	length := max(h.Length(), time.Millisecond)
	d := time.Until(time.UnixMilli(until))
	if d <= 0 { // its item goes within the grain
		d = 100 * time.Millisecond
	}
	return min(d, length)
}

// A guard says who may compute on a value, until when by the server's clock. It is
// an item of its own, since the value lives on: the head of an entry with the
// lease and the publisher of the value that it is about. The guard of another
// value is void, so nothing needs to be cleaned up after a publish or a delete.
// What may be published is decided by the token in the entry alone.

// guard takes the guard, or finds out who holds it.
func (q *question) guard() error {
	mine := entry.Head(bytes.Clone(q.was))
	mine.SetLease(q.lease, millis(time.Now().Add(q.ttl)), 0)
	q.guarded, q.holder, q.ends = false, nil, time.Now().Add(q.ttl)
	stored, err := q.s.add(q.k+guardMark, mine, q.ttl)
	if stored || err != nil {
		q.guarded = stored
		return err
	}
	for try := range tries {
		if settled, err := q.replaceGuard(mine, try); settled || err != nil {
			return err
		}
	}
	return errContended
}

// replaceGuard takes the place of a guard that is void. It reports false when
// somebody else was faster.
func (q *question) replaceGuard(mine entry.Head, try int) (settled bool, err error) {
	began := time.Now()
	it, err := q.s.read(q.k + guardMark)
	if err != nil {
		return false, err
	}
	if it == nil {
		q.guarded, err = q.s.add(q.k+guardMark, mine, q.ttl)
		return q.guarded, err
	}
	h, ok := entry.HeadOf(it.Value)
	switch {
	case ok && !h.Token().IsZero() && h.Token() == q.lease.Token(): // its reply was lost, or it is old
	case ok && h.Publisher() == q.was.Publisher() && !(q.steal && entry.SameLease(h, q.was)):
		q.holder = h
		return true, nil
	case ok && h.Publisher() != q.was.Publisher():
		// Void, or that of a newer value than the one seen. The value is read after
		// the guard: if it is still the one seen, the guard is older.
		now, err := q.s.read(q.k)
		if err != nil {
			return false, err
		}
		if v, ok := valueOf(now); !ok || v.Publisher() != q.was.Publisher() {
			return true, nil // the next look tells
		}
	}
	if stood(began, try) {
		return false, nil
	}
	q.guarded, err = q.s.swap(it, mine, q.ttl)
	return q.guarded, err
}

// valueOf returns the head of an item that holds a value.
func valueOf(it *memcache.Item) (entry.Head, bool) {
	if it == nil {
		return nil, false
	}
	h, ok := entry.HeadOf(it.Value)
	return h, ok && h.HasValue()
}
