// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"fmt"
	"strings"
)

var keyRows = []row{
	{
		name: "keys-distinct",
		rule: "Any string is a key, and two keys are never the same entry: the store maps what its server cannot take.",
		test: testKeys,
	},
	{
		name: "keys-steps",
		rule: "Every step works on any key.",
		test: func(e *env) {
			for i, suffix := range oddKeys() {
				key := e.key(suffix)
				a := e.take(e.s, key, nil, long)
				e.refused(e.other, key, nil, false, a.token, long)
				e.renew(e.s, key, a.token, long, true)
				v := value(key, a.token, fmt.Sprint(i))
				e.publish(e.s, key, v, long, false, true)
				e.bothSee(key, v)
				b := e.take(e.other, key, v, long)
				e.abandon(e.other, key, b.token, 0, true)
				e.delete(e.s, key)
				e.bothSee(key, nil)
			}
		},
	},
}

// oddKeys are ends of keys that some server, script or escape takes for another.
func oddKeys() []string {
	at300, at60K := strings.Repeat("x", 300), strings.Repeat("y", 60<<10)
	return []string{
		"a", "A", "aB", "Ab", "a b", "a  b", " a", "a ", "a\tb", "a\nb", "a\r\nb", "a\x00b", "a\x00", "a\x7f",
		"a}b", "{}x", "{a}", "{a}b", "a{", "{", "}", "a:b", "a/b", "a/../b", "a%20b", "a+b", "%s", "*", "?", "[ab]", `\`, `a\nb`, "'", `"`,
		"ü", "u\u0308", "ß", "ss", "日本語", "\u200b", "\xff\xfe", "\xff", "💩",
		at300, at300[1:] + "y", "y" + at300[1:], at60K, at60K[1:] + "z", "z" + at60K[1:],
	}
}

func testKeys(e *env) {
	prefix := e.key("")
	keys := oddKeys()
	values := make([][]byte, len(keys))
	for i := range keys {
		keys[i] = prefix + keys[i]
		e.keys = append(e.keys, keys[i])
		values[i] = value(keys[i], newToken(), fmt.Sprint(i))
		e.store(keys[i], values[i], long)
	}
	for i, key := range keys {
		e.mustBe(e.other, key, values[i])
	}
	for i := 0; i < len(keys); i += 2 {
		e.delete(e.s, keys[i])
		values[i] = nil
	}
	for i, key := range keys {
		e.mustBe(e.other, key, values[i])
	}
}
