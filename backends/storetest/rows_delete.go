// SPDX-License-Identifier: Apache-2.0

package storetest

var deleteRows = []row{
	{
		name: "delete",
		rule: "Delete removes value and lease in one step.",
		test: func(e *env) {
			key := e.key("value")
			v := value(key, newToken(), "v")
			e.store(key, v, long)
			e.delete(e.other, key)
			e.bothSee(key, nil)
			e.take(e.s, key, v, long)
			e.onBoth(func(key string, a asked, v []byte) {
				e.delete(e.other, key)
				e.bothSee(key, nil)
				e.renew(e.s, key, a.token, long, false)
				e.abandon(e.s, key, a.token, 0, false)
				e.take(e.other, key, nil, long) // at once
			})
			key = e.key("backoff")
			v = value(key, newToken(), "v")
			e.store(key, v, 2*long)
			a := e.take(e.s, key, v, long)
			e.abandon(e.s, key, a.token, long, true)
			e.delete(e.other, key)
			e.bothSee(key, nil)
			e.take(e.s, key, nil, long)
		},
	},
	{
		name: "delete-nothing",
		rule: "It is not an error when nothing is there.",
		test: func(e *env) {
			key := e.key("a")
			for i := range 2 {
				e.delete(e.node(i), key)
			}
			e.bothSee(key, nil)
		},
	},
	{
		name: "delete-only-that",
		rule: "Delete removes what stands under its key and nothing else.",
		test: func(e *env) {
			key := e.key("a")
			other := key + "2"
			e.keys = append(e.keys, other)
			v := value(other, newToken(), "v")
			e.store(key, value(key, newToken(), "w"), long)
			e.store(other, v, 2*long)
			a := e.take(e.s, other, v, long)
			e.delete(e.s, key)
			e.mustCarry(other, a.token, 0)
			if !e.readable(other, v)() {
				e.Fatal("the value of another key is gone")
			}
		},
	},
}
