// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"time"

	"github.com/leashcache/leash/internal/entry"
)

var publishRows = []row{
	{
		name: "publish",
		rule: "Publish replaces what stands under key if the lease token there is entry's publisher; the lease is gone with it.",
		test: func(e *env) {
			e.onBoth(func(key string, a asked, _ []byte) {
				v := value(key, a.token, "computed")
				e.publish(e.s, key, v, long, false, true)
				e.bothSee(key, v)
				e.take(e.other, key, v, long) // at once
			})
		},
	},
	{
		name: "publish-refused",
		rule: "Publish stores nothing where the lease token is not entry's publisher.",
		test: func(e *env) {
			key := e.key("nothing")
			e.publish(e.s, key, value(key, newToken(), "x"), long, false, false)
			e.bothSee(key, nil)
			e.onBoth(func(key string, a asked, v []byte) {
				stands := e.get(e.s, key)
				e.publish(e.other, key, value(key, newToken(), "x"), long, false, false)
				e.bothSee(key, stands)
				e.publish(e.s, key, value(key, a.token, "y"), long, false, true)
			})
			key = e.key("value")
			v := value(key, newToken(), "v")
			e.store(key, v, long)
			e.publish(e.s, key, value(key, newToken(), "x"), long, false, false)
			e.publish(e.s, key, value(key, entry.Token{}, "nobody's"), long, false, false)
			e.bothSee(key, v)
		},
	},
	{
		name: "publish-twice",
		rule: "An entry whose publisher is already the token was stored by an earlier sending: that is stored, too, and changes nothing.",
		test: func(e *env) {
			e.onBoth(func(key string, a asked, _ []byte) {
				v := value(key, a.token, "computed")
				e.publish(e.s, key, v, long, false, true)
				e.publish(e.s, key, v, long, false, true)
				e.bothSee(key, v)
				b := e.take(e.other, key, v, long)
				e.publish(e.s, key, v, long, false, true)
				e.mustCarry(key, b.token, 0) // not undone by the late sending
			})
		},
	},
	{
		name: "publish-after-delete",
		rule: "A token is never good again after a delete.",
		test: func(e *env) {
			e.onBoth(func(key string, a asked, _ []byte) {
				e.delete(e.other, key)
				e.publish(e.s, key, value(key, a.token, "voided"), long, false, false)
				e.bothSee(key, nil)
				b := e.take(e.other, key, nil, long)
				e.publish(e.s, key, value(key, a.token, "voided"), long, false, false)
				e.mustCarry(key, b.token, 0)
				v := value(key, b.token, "computed")
				e.publish(e.other, key, v, long, false, true)
				e.publish(e.s, key, value(key, a.token, "voided"), long, false, false)
				e.bothSee(key, v)
			})
		},
	},
	{
		name: "publish-after-publish",
		rule: "What another holder published is not overwritten.",
		test: func(e *env) {
			e.onBoth(func(key string, a asked, _ []byte) {
				b := e.ask(e.other, key, e.get(e.other, key), true, long)
				e.mustGrant(b)
				v := value(key, b.token, "the thief's")
				e.publish(e.other, key, v, long, false, true)
				e.publish(e.s, key, value(key, a.token, "robbed"), long, false, false)
				e.bothSee(key, v)
			})
		},
	},
	{
		name: "publish-force",
		rule: "With force Publish replaces whatever is there, and no lease survives it.",
		test: func(e *env) {
			key := e.key("nothing")
			v := value(key, newToken(), "forced")
			e.publish(e.s, key, v, long, true, true)
			e.bothSee(key, v)
			w := value(key, newToken(), "forced, shorter life")
			e.publish(e.s, key, w, long/2, true, true)
			e.bothSee(key, w)
			e.onBoth(func(key string, a asked, _ []byte) {
				v := value(key, newToken(), "forced")
				e.publish(e.other, key, v, long, true, true)
				e.bothSee(key, v)
				e.renew(e.s, key, a.token, long, false)
				e.abandon(e.s, key, a.token, 0, false)
				e.publish(e.s, key, value(key, a.token, "voided"), long, false, false)
				e.bothSee(key, v)
			})
		},
	},
	{
		name:  "publish-life",
		rule:  "Publish stores an entry to live for ttl: not shorter, and no longer than the store's grain allows; what stood there before does not matter.",
		timed: true,
		test: func(e *env) {
			for _, before := range []bool{false, true} {
				key := e.key("a")
				if before {
					e.store(key, value(key, newToken(), "long-lived"), long)
				}
				v := value(key, newToken(), "short-lived")
				span := during(func() { e.store(key, v, short) })
				e.ends("the entry", span, short, func() bool { return !e.readable(key, v)() })
				e.bothSee(key, nil)
			}
		},
	},
	{
		name:  "publish-life-own",
		rule:  "Publish under a lease stores an entry to live for ttl: the life of the lease does not matter.",
		timed: true,
		test: func(e *env) {
			key := e.key("shorter")
			a := e.take(e.s, key, nil, long)
			v := value(key, a.token, "short-lived")
			span := during(func() { e.publish(e.s, key, v, short, false, true) })
			e.ends("the entry", span, short, func() bool { return !e.readable(key, v)() })

			key, v, span = e.longerThanLease()
			e.outlasts("the entry", span, short, e.readable(key, v))
		},
	},
	{
		name:  "publish-late",
		rule:  "Publish compares tokens and not times: where nobody took a lease that has ended, its holder may still publish.",
		timed: true,
		test: func(e *env) {
			key := e.key("a")
			v := value(key, newToken(), "stale")
			e.store(key, v, long)
			a := e.take(e.s, key, v, short)
			e.outlasts("the stale value", a.span, short, e.readable(key, v))
			w := value(key, a.token, "late")
			e.publish(e.s, key, w, long, false, true)
			e.bothSee(key, w)
		},
	},
}

// longerThanLease publishes a value that lives longer than the lease it was made under.
func (e *env) longerThanLease() (key string, v []byte, s span) {
	e.Helper()
	key, s = e.promptly(func(key string) {
		a := e.ask(e.s, key, nil, false, short)
		e.mustGrant(a)
		v = value(key, a.token, "long-lived")
		stored, err := e.s.Publish(e.ctx, key, v, long, false)
		if err != nil {
			e.Fatalf("Publish: %v", err)
		}
		if !stored && time.Since(a.from) < short-early {
			e.Fatal("Publish reported false, want true")
		}
	})
	return key, v, s
}
