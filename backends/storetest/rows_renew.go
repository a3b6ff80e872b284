// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"time"

	"github.com/leashcache/leash/internal/entry"
)

var renewRows = []row{
	{
		name: "renew",
		rule: "Renew adds one to the counter of the lease that carries token, reports true, and leaves everything else.",
		test: func(e *env) {
			e.onBoth(func(key string, a asked, v []byte) {
				for n := range uint32(3) {
					e.renew(e.node(int(n)), key, a.token, long, true)
					e.mustCarry(key, a.token, n+1)
					if v != nil && !e.readable(key, v)() {
						e.Fatalf("the value is gone: %s", show(e.get(e.s, key)))
					}
				}
				e.refused(e.other, key, v, false, a.token, long)
				w := value(key, a.token, "computed")
				e.publish(e.s, key, w, long, false, true)
				e.bothSee(key, w)
			})
		},
	},
	{
		name: "renew-refused",
		rule: "Renew reports false, and changes nothing, where no lease carries token.",
		test: func(e *env) {
			e.strangers(func(key string, t entry.Token) { e.renew(e.s, key, t, 4*long, false) })
		},
	},
	{
		name:  "renew-lasts",
		rule:  "Renew makes the lease last ttl from now.",
		timed: true,
		test: func(e *env) {
			key := e.key("alone")
			a := e.take(e.s, key, nil, short)
			e.keepsUp(key, nil, a)
		},
	},
	{
		name:  "renew-lasts-on-value",
		rule:  "Renew makes the lease on a value last ttl from now.",
		timed: true,
		test: func(e *env) {
			key := e.key("on-value")
			v := value(key, newToken(), "stale")
			e.store(key, v, long)
			a := e.take(e.s, key, v, short)
			e.keepsUp(key, v, a)
		},
	},
	{
		name:  "renew-makes-life-longer",
		rule:  "The entry's life becomes at least ttl when its lease is renewed, and an abandon gives back the life that the value had.",
		timed: true,
		test: func(e *env) {
			var v []byte
			var a asked
			key, span := e.promptly(func(key string) {
				v = value(key, newToken(), "stale")
				e.store(key, v, short)
				a = e.ask(e.s, key, v, false, short/2)
				_, err := e.s.Renew(e.ctx, key, a.token[:], long)
				if err != nil {
					e.Fatalf("Renew: %v", err)
				}
			})
			e.mustGrant(a)
			e.outlasts("the value under a renewed lease", span, short, e.readable(key, v))
			e.abandon(e.s, key, a.token, 0, true)
			e.ends("the value after its life", span, short, e.gone(key))
		},
	},
	{
		name:  "renew-keeps-life",
		rule:  "The entry's life is never shortened by a renewal.",
		timed: true,
		test: func(e *env) {
			key := e.key("a")
			v := value(key, newToken(), "stale")
			e.store(key, v, long)
			a := e.take(e.s, key, v, long)
			span := during(func() { e.renew(e.s, key, a.token, short/2, true) })
			e.outlasts("the value", span, short, e.readable(key, v))
		},
	},
	{
		name:  "renew-refused-keeps-life",
		rule:  "A renewal that is refused makes no life longer or shorter.",
		timed: true,
		test: func(e *env) {
			kept, shortened := e.key("kept"), e.key("shortened")
			a := e.take(e.s, kept, nil, long)
			v := value(kept, a.token, "long-lived")
			e.publish(e.s, kept, v, long, false, true)
			b := e.take(e.s, shortened, nil, long)
			w := value(shortened, b.token, "short-lived")
			span := during(func() { e.publish(e.s, shortened, w, short, false, true) })

			e.renew(e.s, kept, a.token, short/2, false)
			e.renew(e.s, shortened, b.token, long, false)
			e.ends("the published value", span, short, e.gone(shortened))
			e.outlasts("the published value", span, short, e.readable(kept, v))
		},
	},
}

// strangers runs step, which must change nothing, with every token that holds no
// lease: one that never was, nobody's, and those of leases that are over.
func (e *env) strangers(step func(key string, t entry.Token)) {
	e.Helper()
	try := func(key string, tokens ...entry.Token) {
		e.Helper()
		stands := e.get(e.s, key)
		for _, t := range append(tokens, newToken(), entry.Token{}) {
			step(key, t)
			e.bothSee(key, stands)
		}
	}
	try(e.key("nothing"))
	e.onBoth(func(key string, a asked, v []byte) {
		try(key)
		b := e.ask(e.other, key, e.get(e.other, key), true, long)
		e.mustGrant(b)
		try(key, a.token) // robbed
		w := value(key, b.token, "computed")
		e.publish(e.other, key, w, long, false, true)
		try(key, a.token, b.token) // published
		c := e.take(e.other, key, w, long)
		e.abandon(e.other, key, c.token, long, true)
		try(key, b.token, c.token) // a back-off, which nobody holds
		e.delete(e.other, key)
		try(key, a.token, b.token, c.token)
		e.take(e.s, key, nil, long)
		try(key, a.token, b.token, c.token)
	})
}

// keepsUp renews a lease of short for so long that it would have ended three
// times, while another node asks for it, and then lets it end.
func (e *env) keepsUp(key string, seen []byte, a asked) {
	e.Helper()
	last, counter := a.span, uint32(0)
	for time.Since(a.from) < 3*short+e.cfg.Grain {
		var held bool
		var err error
		renewal := during(func() { held, err = e.s.Renew(e.ctx, key, a.token[:], short) })
		if err != nil {
			e.Fatalf("Renew: %v", err)
		}
		if held {
			last, counter = renewal, counter+1
		}
		b := e.ask(e.other, key, seen, false, short)
		if held && !b.granted() {
			time.Sleep(pause)
			continue
		}
		if time.Since(last.from) < short-early {
			e.Fatalf("%v after it was renewed for the %dth time, the lease of %v was gone (held %v, granted %v)", time.Since(last.from), counter, short, held, b.granted())
		}
		e.Skip("this machine is too slow to renew a lease in time")
	}
	e.ends("the lease, renewed", last, short, e.free(key, seen))
}
