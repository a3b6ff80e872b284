// SPDX-License-Identifier: Apache-2.0

package storetest

import "github.com/leashcache/leash/internal/entry"

var stealRows = []row{
	{
		name: "steal",
		rule: "With steal a standing lease is replaced when token, counter and back-off flag are those in seen; the one who was robbed has no lease any more.",
		test: func(e *env) {
			e.onBoth(func(key string, a asked, v []byte) {
				seen := e.get(e.other, key)
				e.refused(e.other, key, seen, false, a.token, long)
				b := e.ask(e.other, key, seen, true, long)
				e.mustTell(key, b, v != nil)
				e.mustCarry(key, b.token, 0)
				if v != nil && !e.readable(key, v)() {
					e.Fatalf("the value went with its lease: %s", show(e.get(e.s, key)))
				}
				e.renew(e.s, key, a.token, long, false)
				e.abandon(e.s, key, a.token, 0, false)
				e.publish(e.s, key, value(key, a.token, "robbed"), long, false, false)
				e.mustCarry(key, b.token, 0)
			})
		},
	},
	{
		name: "steal-renewed",
		rule: "A lease that was renewed since it was seen is not stolen.",
		test: func(e *env) {
			e.onBoth(func(key string, a asked, _ []byte) {
				seen := e.get(e.other, key)
				e.renew(e.s, key, a.token, long, true)
				e.refused(e.other, key, seen, true, a.token, long)
				b := e.ask(e.other, key, e.get(e.other, key), true, long)
				e.mustGrant(b)
				e.mustCarry(key, b.token, 0) // a new lease counts from zero
			})
		},
	},
	{
		name: "steal-another",
		rule: "A lease whose token is not the one seen is not stolen.",
		test: func(e *env) {
			e.onBoth(func(key string, a asked, v []byte) {
				seen := e.get(e.other, key)
				b := e.ask(e.s, key, seen, true, long)
				e.mustGrant(b)
				e.refused(e.other, key, seen, true, b.token, long)
				e.refused(e.other, key, v, true, b.token, long) // no lease was seen
			})
		},
	},
	{
		name: "steal-other-publisher",
		rule: "A lease is not stolen from an entry whose publisher is not the one seen.",
		test: func(e *env) {
			key := e.key("a")
			v := value(key, newToken(), "v")
			e.store(key, v, long)
			e.take(e.s, key, v, long)
			h := e.head(e.s, key)
			seen := value(key, newToken(), "older")
			entry.Head(seen).SetLease(h, h.Until(), h.End())
			e.newer(e.other, key, seen, true, e.get(e.s, key))
		},
	},
	{
		name: "steal-backoff",
		rule: "A back-off keeps everybody away unless it is seen and stolen; the lease that follows is none.",
		test: func(e *env) {
			key := e.key("a")
			v := value(key, newToken(), "v")
			e.store(key, v, 2*long)
			e.take(e.s, key, v, long)
			leased := e.get(e.s, key)
			e.abandon(e.s, key, token(leased), long, true)
			e.refused(e.other, key, v, true, entry.Token{}, long)
			e.refused(e.other, key, leased, true, entry.Token{}, long)
			backoff := e.get(e.other, key)
			e.refused(e.other, key, backoff, false, entry.Token{}, long)
			a := e.ask(e.other, key, backoff, true, long)
			e.mustTell(key, a, true)
			e.mustCarry(key, a.token, 0)
			// What was seen was a back-off, and now somebody computes.
			e.refused(e.s, key, backoff, true, a.token, long)
		},
	},
}

// onBoth runs f where a lease stands alone, and where one stands on the value v.
func (e *env) onBoth(f func(key string, a asked, v []byte)) {
	e.Helper()
	key := e.key("alone")
	f(key, e.take(e.s, key, nil, long), nil)
	key = e.key("on-value")
	v := value(key, newToken(), "stale")
	e.store(key, v, 2*long)
	f(key, e.take(e.s, key, v, long), v)
}
