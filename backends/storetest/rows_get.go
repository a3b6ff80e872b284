// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"github.com/leashcache/leash"
	"github.com/leashcache/leash/internal/entry"
)

var getRows = []row{
	{
		name: "get-nothing",
		rule: "Get returns nil when nothing is there.",
		test: func(e *env) {
			if b := e.get(e.s, e.key("a")); b != nil {
				e.Fatalf("got %s", show(b))
			}
			b, err := e.s.Get(e.ctx, e.key("b"), make([]byte, 7, 100))
			if b != nil || err != nil {
				e.Fatalf("with a buffer: got %s, %v", show(b), err)
			}
		},
	},
	{
		name: "get-round-trip",
		rule: "An entry is a byte string; everything from 52 on is written once, by Publish.",
		test: func(e *env) {
			var every strings.Builder
			for i := range 256 {
				every.WriteByte(byte(i))
			}
			for _, payload := range []string{"", "x", "\x00", "\r\n", every.String(), strings.Repeat(every.String(), 1000)} {
				key := e.key("round")
				a := e.take(e.s, key, nil, long)
				v := value(key, a.token, payload)
				e.publish(e.s, key, v, long, false, true)
				e.bothSee(key, v)
			}
		},
	},
	{
		name: "get-buffer",
		rule: "Get may use buf's capacity for the result, and the result belongs to the caller.",
		test: testBuffer,
	},
	{
		name: "get-lease-area",
		rule: "Bytes 4 to 52 are the lease area: whoever reads sees token, until, counter, length and expected duration of a lease that stands.",
		test: testLeaseArea,
	},
	{
		name: "arguments",
		rule: "Arguments are neither kept nor changed.",
		test: testArguments,
	},
	{
		name: "cancelled-context",
		rule: "A context that is over makes a step an error or does no harm; an error is the only way to say that the outcome is unknown.",
		test: testCancelled,
	},
	{
		name:  "get-many",
		rule:  "GetMany is Get for many keys; entries[i] belongs to keys[i].",
		needs: needBatch,
		test:  testGetMany,
	},
}

func testBuffer(e *env) {
	key, key2 := e.key("a"), e.key("b")
	v, v2 := value(key, newToken(), "payload"), value(key2, newToken(), "another payload")
	e.store(key, v, long)
	e.store(key2, v2, long)
	for _, buf := range [][]byte{nil, {}, make([]byte, 3), make([]byte, 10, 4096), make([]byte, 4096)} {
		got, err := e.s.Get(e.ctx, key, buf)
		if err != nil || !same(got, v) {
			e.Fatalf("with a buffer of %d bytes, capacity %d: got %s, %v", len(buf), cap(buf), show(got), err)
		}
		if _, err := e.s.Get(e.ctx, key2, make([]byte, 0, 4096)); err != nil {
			e.Fatal(err)
		}
		if !same(got, v) {
			e.Fatalf("a later Get changed the result to %s", show(got))
		}
		for i := range got {
			got[i] = '#' // the caller's own
		}
		e.mustBe(e.s, key, v)
	}
}

func testLeaseArea(e *env) {
	key := e.key("a")
	a := e.take(e.s, key, nil, long)
	e.mustCarry(key, a.token, 0)
	if h := e.head(e.other, key); h.Until() != 0 {
		e.Fatalf("until is %d in an entry that holds no value, want 0", h.Until())
	}
	v := value(key, a.token, "v")
	e.publish(e.s, key, v, 2*long, false, true)
	b := e.take(e.s, key, v, long)
	e.mustCarry(key, b.token, 0)
	h := e.head(e.other, key)
	if h.Until() == 0 || h.End() != 0 {
		e.Fatalf("until is %d and end %d, want an end of the lease, and no end of a life that was not made longer", h.Until(), h.End())
	}
	e.abandon(e.s, key, b.token, 0, true)
	e.take(e.s, key, v, 4*long)
	if h := e.head(e.other, key); h.End() == 0 {
		e.Fatalf("end is 0, but the lease made the entry's life longer")
	}
}

// mustCarry checks that both nodes see the lease that t names.
func (e *env) mustCarry(key string, t entry.Token, counter uint32) {
	e.Helper()
	for i := range 2 {
		b := e.get(e.node(i), key)
		h, ok := entry.HeadOf(b)
		if !ok || h.Token() != t || h.Counter() != counter || h.Length() != long || h.Expected() != expected || h.Backoff() {
			e.Fatalf("under the key stands %s, want the lease %x, counter %d, length %v, expected %v", show(b), t, counter, long, expected)
		}
	}
}

func testArguments(e *env) {
	key := e.key("a")
	a, b := newToken(), newToken()
	used := func(what string, args ...[]byte) func() {
		var was [][]byte
		for _, arg := range args {
			was = append(was, bytes.Clone(arg))
		}
		return func() {
			e.Helper()
			for i, arg := range args {
				if !bytes.Equal(arg, was[i]) {
					e.Fatalf("%s changed its argument from %s to %s", what, show(was[i]), show(arg))
				}
				for i := range arg {
					arg[i] = '#' // whoever kept it keeps this
				}
			}
		}
	}
	lease := []byte(entry.NewLease(a, long, expected))
	done := used("Lease", lease)
	if got, left, err := e.s.Lease(e.ctx, key, lease, nil, false, long); got != nil || left != 0 || err != nil {
		e.Fatalf("Lease: %s, %v, %v", show(got), left, err)
	}
	done()
	e.mustCarry(key, a, 0)

	tok := bytes.Clone(a[:])
	done = used("Renew", tok)
	if held, err := e.s.Renew(e.ctx, key, tok, long); !held || err != nil {
		e.Fatalf("Renew: %v, %v", held, err)
	}
	done()
	e.mustCarry(key, a, 1)

	v := value(key, a, "payload")
	sent := bytes.Clone(v)
	done = used("Publish", sent)
	e.publish(e.s, key, sent, long, false, true)
	done()
	e.bothSee(key, v)

	lease, seen := []byte(entry.NewLease(b, long, expected)), bytes.Clone(v)
	done = used("Lease", lease, seen)
	if got, left, err := e.s.Lease(e.ctx, key, lease, seen, false, long); token(got) != b || left != 0 || err != nil {
		e.Fatalf("Lease: %s, %v, %v", show(got), left, err)
	}
	done()
	e.mustCarry(key, b, 0)

	tok = bytes.Clone(b[:])
	done = used("Abandon", tok)
	if held, err := e.s.Abandon(e.ctx, key, tok, 0); !held || err != nil {
		e.Fatalf("Abandon: %v, %v", held, err)
	}
	done()
	e.bothSee(key, v)
}

func testCancelled(e *env) {
	ctx, cancel := context.WithCancel(e.ctx)
	cancel()
	key, empty, t := e.key("a"), e.key("b"), newToken()
	v := value(key, t, "v")
	e.store(key, v, long)
	if b, err := e.s.Get(ctx, key, nil); err == nil && !same(b, v) {
		e.Fatalf("Get returned %s and no error, want %s", show(b), show(v))
	}
	if many, ok := e.s.(leash.BatchStore); ok {
		if b, err := many.GetMany(ctx, []string{key, empty}); err == nil && (len(b) != 2 || !same(b[0], v) || b[1] != nil) {
			e.Fatalf("GetMany returned %d entries and no error, and not what Get returns", len(b))
		}
	}
	if b, left, err := e.s.Lease(ctx, empty, entry.NewLease(t, long, 0), nil, false, long); err == nil && (b != nil || left != 0 || token(e.get(e.s, empty)) != t) {
		e.Fatalf("Lease returned %s, %v and no error, and the key holds %s", show(b), left, show(e.get(e.s, empty)))
	}
	if held, err := e.s.Renew(ctx, key, t[:], long); held && err == nil {
		e.Fatal("Renew reported a lease that nobody holds")
	}
	if held, err := e.s.Abandon(ctx, key, t[:], 0); held && err == nil {
		e.Fatal("Abandon reported a lease that nobody holds")
	}
	w := value(key, newToken(), "w")
	if stored, err := e.s.Publish(ctx, key, w, long, true); err == nil && !(stored && same(e.get(e.s, key), w)) {
		e.Fatalf("Publish reported %v and no error, and the key holds %s", stored, show(e.get(e.s, key)))
	}
	if err := e.s.Delete(ctx, key); err == nil && e.get(e.s, key) != nil {
		e.Fatal("Delete returned nil and deleted nothing")
	}
}

func testGetMany(e *env) {
	many := e.other.(leash.BatchStore)
	var keys []string
	var want [][]byte
	for i := range 1000 {
		key := e.key(fmt.Sprint(i))
		keys = append(keys, key)
		switch {
		case i%3 == 1: // a hole
			want = append(want, nil)
		default:
			v := value(key, newToken(), strings.Repeat("x", i))
			e.store(key, v, long)
			want = append(want, v)
		}
	}
	e.take(e.s, keys[1], nil, long)
	want[1] = e.get(e.s, keys[1])
	keys, want = append(keys, keys[0]), append(want, want[0]) // twice the same key

	got, err := many.GetMany(e.ctx, keys)
	if err != nil || len(got) != len(keys) {
		e.Fatalf("GetMany returned %d entries for %d keys, %v", len(got), len(keys), err)
	}
	for i := range got {
		if !same(got[i], want[i]) {
			e.Fatalf("entry %d is %s, want %s", i, show(got[i]), show(want[i]))
		}
	}
	for i := range got[0] {
		got[0][i] = '#' // the caller's own
	}
	e.mustBe(e.other, keys[0], want[0])
	if got, err := many.GetMany(e.ctx, nil); err != nil || len(got) != 0 {
		e.Fatalf("GetMany of no keys returned %d entries, %v", len(got), err)
	}
}
