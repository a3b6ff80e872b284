// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"time"

	"github.com/leashcache/leash/internal/entry"
)

var abandonRows = []row{
	{
		name: "abandon",
		rule: "Abandon gives the lease up: an entry without a value is removed, whatever the back-off; a value stays. The next lease is granted at once.",
		test: func(e *env) {
			for _, backoff := range []time.Duration{0, long} {
				key := e.key("alone")
				a := e.take(e.s, key, nil, long)
				e.abandon(e.s, key, a.token, backoff, true)
				e.bothSee(key, nil)
				e.abandon(e.s, key, a.token, backoff, false)
				e.take(e.other, key, nil, long)
			}
			key := e.key("on-value")
			v := value(key, newToken(), "stale")
			e.store(key, v, long)
			a := e.take(e.s, key, v, long)
			e.abandon(e.s, key, a.token, 0, true)
			e.bothSee(key, v) // no trace of a lease
			e.abandon(e.s, key, a.token, 0, false)
			e.take(e.other, key, v, long)
		},
	},
	{
		name: "abandon-refused",
		rule: "Abandon reports false, and changes nothing, where no lease carries token: a late one leaves the value.",
		test: func(e *env) {
			e.strangers(func(key string, t entry.Token) {
				e.abandon(e.s, key, t, 0, false)
				e.abandon(e.s, key, t, long, false)
			})
		},
	},
	{
		name: "abandon-backoff",
		rule: "If backoff is positive nobody is granted a lease for that long, the value stays readable, and flags and token say that nobody holds it.",
		test: func(e *env) {
			key := e.key("a")
			v := value(key, newToken(), "stale")
			e.store(key, v, 2*long)
			a := e.take(e.s, key, v, long)
			e.abandon(e.s, key, a.token, long/2, true)
			for i := range 2 {
				b := e.get(e.node(i), key)
				if h, ok := entry.HeadOf(b); !ok || !h.Backoff() || !h.Token().IsZero() || h.Until() == 0 || !sameValue(b, v) {
					e.Fatalf("under the key stands %s, want the value and a back-off", show(b))
				}
				e.refused(e.node(i), key, v, false, entry.Token{}, long/2)
			}
		},
	},
	{
		name:  "abandon-backoff-ends",
		rule:  "A back-off lasts as long as was asked, and the lease that follows it is none.",
		timed: true,
		test: func(e *env) {
			key := e.key("a")
			v := value(key, newToken(), "stale")
			e.store(key, v, long)
			a := e.take(e.s, key, v, long)
			span := during(func() { e.abandon(e.s, key, a.token, short, true) })
			e.ends("the back-off", span, short, e.free(key, v))
			b := e.get(e.s, key)
			if h, ok := entry.HeadOf(b); !ok || h.Backoff() || h.Token().IsZero() || !sameValue(b, v) {
				e.Fatalf("under the key stands %s, want the value and a lease", show(b))
			}
		},
	},
	{
		name:  "abandon-restores-life",
		rule:  "A value stays with the life that it had before the lease, neither longer nor shorter.",
		timed: true,
		test: func(e *env) {
			for _, backoff := range []time.Duration{0, short / 2} {
				var v []byte
				var a asked
				key, span := e.promptly(func(key string) {
					v = value(key, newToken(), "stale")
					e.store(key, v, short)
					a = e.ask(e.s, key, v, false, long)
				})
				e.mustGrant(a)
				e.abandon(e.s, key, a.token, backoff, true)
				e.ends("the value after an abandon", span, short, e.gone(key))
			}
		},
	},
	{
		name:  "abandon-after-life",
		rule:  "When the life that a value had before the lease is over, an abandon removes it; so many leases may have followed each other.",
		timed: true,
		test: func(e *env) {
			var v []byte
			var b asked
			key, span := e.promptly(func(key string) {
				v = value(key, newToken(), "stale")
				e.store(key, v, short)
				e.ask(e.s, key, v, false, long)
				b = e.ask(e.other, key, e.get(e.other, key), true, 2*long) // steals
			})
			e.mustGrant(b)
			e.renew(e.other, key, b.token, 3*long, true)
			e.outlasts("the value under a lease", span, short, e.readable(key, v))
			e.abandon(e.other, key, b.token, 0, true)
			e.ends("the value after its life", span, short, e.gone(key))
		},
	},
	{
		name:  "abandon-keeps-life",
		rule:  "A value whose life no lease made longer keeps it after an abandon, with a back-off or without.",
		timed: true,
		test: func(e *env) {
			key := e.key("a")
			v := value(key, newToken(), "stale")
			e.store(key, v, long)
			a := e.take(e.s, key, v, long/2)
			e.abandon(e.s, key, a.token, 0, true)
			a = e.take(e.s, key, v, long/2)
			span := during(func() { e.abandon(e.s, key, a.token, short/2, true) })
			e.outlasts("the value after an abandon", span, short, e.readable(key, v))
		},
	},
}
