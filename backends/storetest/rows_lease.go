// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"time"

	"github.com/leashcache/leash/internal/entry"
)

var leaseRows = []row{
	{
		name: "lease-nothing",
		rule: "A lease is granted when nothing stands under key, whatever was seen: left is zero and entry is nil.",
		test: func(e *env) {
			for _, seen := range [][]byte{nil, {}, []byte("foreign"), value("k", newToken(), "gone by now")} {
				key := e.key("a")
				a := e.take(e.s, key, seen, long)
				e.mustTell(key, a, false)
				e.mustCarry(key, a.token, 0)
			}
		},
	},
	{
		name: "lease-refused",
		rule: "While a lease stands nobody else is granted one: left says for how long, entry shows it, and nothing changes.",
		test: func(e *env) {
			key := e.key("a")
			a := e.take(e.s, key, nil, long)
			for i := range 3 {
				e.refused(e.node(i), key, nil, false, a.token, long)
			}
			e.refused(e.other, key, e.get(e.other, key), false, a.token, long)
			e.mustCarry(key, a.token, 0)
		},
	},
	{
		name: "lease-value",
		rule: "A lease is granted on the value that was seen; the value stays, only the lease area is written, and entry is the head that stands there now.",
		test: func(e *env) {
			key := e.key("a")
			v := value(key, newToken(), "stale")
			e.store(key, v, long)
			a := e.take(e.other, key, v, long)
			e.mustTell(key, a, true)
			e.mustCarry(key, a.token, 0)
			if !e.readable(key, v)() {
				e.Fatalf("the value is not readable under the lease: %s", show(e.get(e.other, key)))
			}
			for i := range 3 {
				e.refused(e.node(i), key, v, false, a.token, long)
			}
		},
	},
	{
		name: "lease-outdated",
		rule: "If the publisher is not the one seen, left is zero and entry is whole, whether a lease stands on it or not.",
		test: testOutdated,
	},
	{
		name:  "lease-ends",
		rule:  "A lease never ends before ttl has passed since its command arrived; one that has ended lets the next be granted.",
		timed: true,
		test: func(e *env) {
			key := e.key("a")
			a := e.take(e.s, key, nil, short)
			e.ends("the lease", a.span, short, e.free(key, nil))
		},
	},
	{
		name:  "lease-on-value-ends",
		rule:  "A lease on a value never ends before ttl has passed since its command arrived; one that has ended lets the next be granted, and the value stays.",
		timed: true,
		test: func(e *env) {
			key := e.key("a")
			v := value(key, newToken(), "stale")
			e.store(key, v, long)
			a := e.take(e.s, key, v, short)
			e.ends("the lease", a.span, short, e.free(key, v))
			if !e.readable(key, v)() {
				e.Fatalf("the value ended with the lease: %s", show(e.get(e.s, key)))
			}
			e.renew(e.s, key, a.token, long, false)
		},
	},
	{
		name:  "refused-keeps-life",
		rule:  "A lease that is refused changes nothing: the one that stands does not last longer for it.",
		timed: true,
		test: func(e *env) {
			key := e.key("a")
			a := e.take(e.s, key, nil, short)
			e.ends("the lease", a.span, short, func() bool {
				// Asks for a long lease again and again, and looks by reading.
				return e.ask(e.other, key, nil, false, long).granted() || e.get(e.s, key) == nil
			})
		},
	},
	{
		name:  "lease-makes-life-longer",
		rule:  "When a lease is granted on a value, the entry's life becomes at least ttl.",
		timed: true,
		test: func(e *env) {
			var a asked
			var v []byte
			key, span := e.promptly(func(key string) {
				v = value(key, newToken(), "stale")
				e.store(key, v, short)
				a = e.ask(e.s, key, v, false, long)
			})
			e.mustGrant(a)
			e.outlasts("the value under a lease", span, short, e.readable(key, v))
			e.mustCarry(key, a.token, 0)
			e.publish(e.s, key, value(key, a.token, "new"), long, false, true)
		},
	},
	{
		name:  "lease-keeps-life",
		rule:  "A lease that is shorter than the life of the value does not shorten that life.",
		timed: true,
		test: func(e *env) {
			key := e.key("a")
			v := value(key, newToken(), "stale")
			e.store(key, v, long)
			a := e.take(e.s, key, v, short)
			e.outlasts("the value under a lease", a.span, short, e.readable(key, v))
		},
	},
	{
		name:  "lease-implausible",
		rule:  "An until more than an hour ahead is no lease.",
		needs: needRaw,
		test: func(e *env) {
			from, key := e.key("from"), e.key("a")
			v := value(key, newToken(), "stale")
			e.store(from, v, long)
			e.take(e.s, from, v, long)
			b := body(e.get(e.s, from))
			h, ok := entry.HeadOf(b)
			if !ok {
				e.Fatalf("under the key stands %s, want an entry", show(b))
			}
			h.SetUntil(h.Until() + (2 * time.Hour).Milliseconds()) // in the store's own clock
			e.raw(key, b)
			a := e.take(e.other, key, v, long)
			e.mustCarry(key, a.token, 0)
			if !e.readable(key, v)() {
				e.Fatal("the value is gone")
			}
		},
	},
	{
		name:  "lease-ended-without-value",
		rule:  "A lease is granted where no value and a lease that has ended stands, whatever was seen.",
		needs: needRaw,
		test: func(e *env) {
			for _, seen := range [][]byte{nil, []byte("foreign"), value("k", newToken(), "older")} {
				key := e.key("a")
				h := entry.NewLease(newToken(), long, expected)
				h.SetUntil(1) // 1970
				e.raw(key, h)
				a := e.take(e.s, key, seen, long)
				e.mustTell(key, a, false)
				e.mustCarry(key, a.token, 0)
			}
		},
	},
}

func testOutdated(e *env) {
	key := e.key("a")
	old, v := value(key, newToken(), "old"), value(key, newToken(), "new, and longer than the old one")
	e.store(key, v, long)
	for _, steal := range []bool{false, true} {
		e.newer(e.other, key, old, steal, v)
		e.newer(e.other, key, nil, steal, v)
	}
	a := e.take(e.s, key, v, long)
	leased := e.get(e.s, key)
	for _, steal := range []bool{false, true} {
		e.newer(e.other, key, old, steal, leased)
		e.newer(e.other, key, nil, steal, leased)
		e.refused(e.other, key, v, false, a.token, long) // who saw too little did the lease no harm
	}
	// A value was seen, and now there is only a lease.
	e.delete(e.s, key)
	e.take(e.s, key, nil, long)
	e.newer(e.other, key, old, false, e.get(e.s, key))
}
