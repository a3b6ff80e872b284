// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"fmt"
	"time"

	"github.com/leashcache/leash"
	"github.com/leashcache/leash/internal/entry"
)

// pause is the time between two looks.
const pause = 5 * time.Millisecond

// span is when a command was under way: its effect began neither before from nor
// after at.
type span struct{ from, at time.Time }

// during runs f, which sends one command.
func during(f func()) span {
	from := time.Now()
	f()
	return span{from, time.Now()}
}

// ends looks until over reports true, which must be when ttl has passed since
// the command of s took effect: not earlier, and not more than the store's grain
// later. Both bounds are certain, however slow the machine is: what is over was
// over when the look came back, and what stands stood when it was sent.
func (e *env) ends(what string, s span, ttl time.Duration, over func() bool) {
	e.Helper()
	for {
		look := time.Now()
		done := over()
		switch d := time.Since(s.from); {
		case done && d < ttl-early:
			e.Fatalf("%s ended after %v, which is before its %v", what, d, ttl)
		case done:
			return
		case look.Sub(s.at) > ttl+e.cfg.Grain+late:
			e.Fatalf("%s of %v still stands after %v", what, ttl, look.Sub(s.at))
		}
		time.Sleep(pause)
	}
}

// outlasts looks until ttl and the store's grain are safely over, and holds must
// be true all the time.
func (e *env) outlasts(what string, s span, ttl time.Duration, holds func() bool) {
	e.Helper()
	for time.Since(s.at) < ttl+e.cfg.Grain+late {
		if !holds() {
			e.Fatalf("%s was over after %v", what, time.Since(s.from))
		}
		time.Sleep(pause)
	}
}

// promptly repeats prepare with fresh keys until it has taken less than half of
// short: what was to happen within that time did.
func (e *env) promptly(prepare func(key string)) (key string, s span) {
	e.Helper()
	for range 20 {
		key = e.key("prompt")
		s = during(func() { prepare(key) })
		if s.at.Sub(s.from) < short/2 {
			return key, s
		}
	}
	e.Skip("this machine is too slow for the row")
	return "", s
}

// gone returns a function that reports whether nothing stands under key.
func (e *env) gone(key string) func() bool {
	return func() bool { return e.get(e.other, key) == nil }
}

// readable returns a function that reports whether the value v stands under key.
func (e *env) readable(key string, v []byte) func() bool {
	return func() bool { return sameValue(e.get(e.other, key), v) }
}

// free returns a function that reports whether the other node gets a lease.
func (e *env) free(key string, seen []byte) func() bool {
	return func() bool { return e.ask(e.other, key, seen, false, long).granted() }
}

// show describes b in a failure.
func show(b []byte) string {
	h, ok := entry.HeadOf(b)
	switch {
	case b == nil:
		return "nothing"
	case !ok:
		return fmt.Sprintf("%d foreign bytes %.40q", len(b), b)
	}
	return fmt.Sprintf("an entry of %d bytes (token %x, until %d, end %d, counter %d, length %v, backoff %v, publisher %x, size %d)",
		len(b), h.Token(), h.Until(), h.End(), h.Counter(), h.Length(), h.Backoff(), h.Publisher(), h.Size())
}

// bothSee compares what each node reads.
func (e *env) bothSee(key string, want []byte) {
	e.Helper()
	for _, s := range []leash.Store{e.s, e.other} {
		e.mustBe(s, key, want)
	}
}
