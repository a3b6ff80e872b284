// SPDX-License-Identifier: Apache-2.0

package memstore

import (
	"bytes"
	"math"
	"time"

	"github.com/leashcache/leash/internal/entry"
)

// ms is the grain of the store's clock: every end is a whole millisecond, as
// the head writes it, and rounded up, so that nothing ends early.
const ms = int64(time.Millisecond)

// later is now + d in whole milliseconds, rounded up.
func later(now int64, d time.Duration) int64 {
	t := now + int64(d)
	if t < now || t > math.MaxInt64-ms {
		return math.MaxInt64 / ms
	}
	return (t + ms - 1) / ms
}

// hasValue reports whether somebody published what h is the head of.
func hasValue(h entry.Head) bool { return !h.Publisher().IsZero() }

// leaseLeft is how long the lease or back-off in h still stands; zero is not at all.
func leaseLeft(h entry.Head, exp, now int64) time.Duration {
	if h.Token().IsZero() && !h.Backoff() {
		return 0
	}
	until := h.Until()
	if until == 0 && !hasValue(h) {
		until = exp
	}
	// An end before the Unix epoch, or so far ahead that it overflows, is no
	// lease either. The millisecond is what later may have added.
	if until <= now/ms || until > later(now, entry.MaxLease) {
		return 0
	}
	left := time.Duration(until*ms - now)
	if l := h.Length(); l > 0 {
		left = min(left, l)
	}
	return left
}

// held returns the item whose lease carries token, and its head; nil if none does.
func (sh *shard) held(key string, token []byte, now int64) (*item, entry.Head) {
	it := sh.use(key, now)
	if it == nil || len(token) != len(entry.Token{}) {
		return nil, nil
	}
	h, ok := entry.HeadOf(it.data)
	if !ok || h.Token().IsZero() || h.Token() != entry.Token(token) {
		return nil, nil
	}
	return it, h
}

// putLease stores l over whatever stands under key, where no value is to be kept.
// Such a lease ends with its entry.
func (sh *shard) putLease(key string, l entry.Head, now int64, ttl time.Duration) error {
	data := entry.Head(clone(l))
	data.SetUntil(0)
	data.SetEnd(0)
	return sh.put(key, data, later(now, ttl), now)
}

// write lets f change the head of a fresh copy of it and makes its life last
// until at least exp. end is what f is to note as the end of the life that the
// value had without leases; zero when it was not made longer.
func (sh *shard) write(it *item, exp int64, f func(h entry.Head, end int64)) {
	data := clone(it.data)
	h, _ := entry.HeadOf(data)
	end := h.End()
	if end == 0 && exp > it.exp {
		end = it.exp
	}
	f(h, end)
	it.data = data
	if exp > it.exp {
		sh.live(it, exp)
	}
}

// clone is bytes.Clone, but never nil: nil is nothing.
func clone(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return bytes.Clone(b)
}
