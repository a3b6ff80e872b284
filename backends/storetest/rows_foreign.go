// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"bytes"
	"strings"

	"github.com/leashcache/leash/internal/entry"
)

var foreignRows = []row{
	{
		name:  "foreign-get",
		rule:  "A store returns foreign bytes as they are.",
		needs: needRaw,
		test: func(e *env) {
			for _, b := range foreign() {
				key := e.key("a")
				e.raw(key, b)
				got := e.get(e.other, key)
				if got == nil || !bytes.Equal(got, b) {
					e.Fatalf("got %s, want %s", show(got), show(b))
				}
			}
		},
	},
	{
		name:  "foreign-replaced",
		rule:  "A lease replaces foreign bytes only if they are still what was seen; if not, entry is whole and left is zero.",
		needs: needRaw,
		test: func(e *env) {
			for _, b := range foreign() {
				key := e.key("a")
				e.raw(key, b)
				for _, seen := range [][]byte{nil, append(bytes.Clone(b), 'x'), value(key, newToken(), "v")} {
					a := e.ask(e.s, key, seen, true, long)
					if a.granted() || a.left != 0 || !bytes.Equal(a.entry, b) {
						e.Fatalf("a lease on %s, seen %s: got %s, left %v, want what stands there", show(b), show(seen), show(a.entry), a.left)
					}
				}
				a := e.take(e.s, key, e.get(e.s, key), long)
				e.mustTell(key, a, false)
				e.mustCarry(key, a.token, 0)
				if got := e.get(e.s, key); len(body(got)) != entry.HeadSize {
					e.Fatalf("under the key stands %s, want a lease and nothing else", show(got))
				}
			}
		},
	},
	{
		name:  "foreign-entry-came",
		rule:  "Foreign bytes were seen, and an entry stands there now: what was seen has no publisher, so a value is returned whole and a lease keeps away; nothing is stolen.",
		needs: needRaw,
		test: func(e *env) {
			seen := []byte("foreign")
			key := e.key("a")
			v := value(key, newToken(), "v")
			e.store(key, v, long)
			e.newer(e.other, key, seen, true, v)
			key = e.key("b")
			a := e.take(e.s, key, nil, long)
			if b := e.ask(e.other, key, seen, true, long); b.granted() || token(b.entry) != a.token {
				e.Fatalf("got %s, left %v, want the lease that stands", show(b.entry), b.left)
			}
		},
	},
	{
		name:  "foreign-steps",
		rule:  "Foreign bytes are nobody's lease: Publish, Renew and Abandon leave them. Publish with force replaces and Delete removes them.",
		needs: needRaw,
		test: func(e *env) {
			for _, b := range foreign() {
				key, t := e.key("a"), newToken()
				e.raw(key, b)
				e.publish(e.s, key, value(key, t, "v"), long, false, false)
				e.renew(e.s, key, t, long, false)
				e.abandon(e.s, key, t, 0, false)
				if got := e.get(e.s, key); !bytes.Equal(got, b) {
					e.Fatalf("%s became %s", show(b), show(got))
				}
				v := value(key, t, "v")
				e.store(key, v, long)
				e.bothSee(key, v)
				e.raw(key, b)
				e.delete(e.s, key)
				e.bothSee(key, nil)
			}
		},
	},
	{
		name:  "foreign-type",
		rule:  "For something that it can not even read a store returns bytes of its own choice that are no entry; a lease replaces it when they were seen.",
		needs: needOtherType,
		test: func(e *env) {
			for _, leased := range []bool{true, false} {
				key := e.key("a")
				if err := e.cfg.OtherType(e.s, key); err != nil {
					e.Fatalf("Config.OtherType: %v", err)
				}
				b := e.get(e.other, key)
				if _, ok := entry.HeadOf(b); ok || len(b) == 0 {
					e.Fatalf("got %s, want some words that are no entry", show(b))
				}
				e.renew(e.s, key, newToken(), long, false)
				e.abandon(e.s, key, newToken(), 0, false)
				e.publish(e.s, key, value(key, newToken(), "v"), long, false, false)
				if a := e.ask(e.s, key, nil, false, long); a.granted() || a.left != 0 || !bytes.Equal(a.entry, b) {
					e.Fatalf("seen nothing: got %s, left %v, want %s", show(a.entry), a.left, show(b))
				}
				if leased {
					a := e.take(e.s, key, b, long)
					e.mustCarry(key, a.token, 0)
					continue
				}
				v := value(key, newToken(), "v")
				e.store(key, v, long)
				e.bothSee(key, v)
			}
		},
	},
}

// foreign are bytes that are no entry.
func foreign() [][]byte {
	other := value("k", newToken(), "of another format")
	other[3] = 2
	return [][]byte{
		{}, []byte("x"), []byte("LSH\x01"), value("k", newToken(), "cut")[:entry.HeadSize-1], other,
		[]byte(strings.Repeat("\x00", 200)), []byte(strings.Repeat("json ", 1000)),
	}
}
