// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"time"

	"github.com/leashcache/leash"
)

// hintWithin is how long a hint may take before it counts as lost.
const hintWithin = 2 * time.Second

var watchRows = []row{
	{
		name:  "watch-publish",
		rule:  "A Lease that is refused on a watched key arranges that a publish is told to wake: the published entry itself, or nil.",
		needs: needWaker,
		test: func(e *env) {
			e.hinted(func(key string, a asked) []byte {
				v := value(key, a.token, "computed")
				e.publish(e.s, key, v, long, false, true)
				return v
			})
		},
	},
	{
		name:  "watch-force",
		rule:  "Publish with force wakes who waits.",
		needs: needWaker,
		test: func(e *env) {
			e.hinted(func(key string, _ asked) []byte {
				v := value(key, newToken(), "forced")
				e.store(key, v, long)
				return v
			})
		},
	},
	{
		name:  "watch-abandon",
		rule:  "Abandon wakes who waits.",
		needs: needWaker,
		test: func(e *env) {
			e.hinted(func(key string, a asked) []byte {
				e.abandon(e.s, key, a.token, 0, true)
				return nil
			})
		},
	},
	{
		name:  "watch-delete",
		rule:  "Delete wakes who waits.",
		needs: needWaker,
		test: func(e *env) {
			e.hinted(func(key string, _ asked) []byte {
				e.delete(e.s, key)
				return nil
			})
		},
	},
	{
		name:  "watch-each",
		rule:  "Every interest is told, and stop ends one interest and no other.",
		needs: needWaker,
		test:  testWatchEach,
	},
	{
		name:  "watch-newest",
		rule:  "wake has room for one hint; a hint that finds no room takes the older one's place, and nobody waits for a reader.",
		needs: needWaker,
		test:  testWatchNewest,
	},
}

// hint waits for a hint that means want: want itself or "look again".
func hint(wake <-chan []byte, want []byte) bool {
	late := time.NewTimer(hintWithin)
	defer late.Stop()
	for {
		select {
		case b, open := <-wake:
			if !open {
				return false
			}
			if b == nil || want != nil && same(b, want) {
				return true
			}
		case <-late.C:
			return false
		}
	}
}

// hinted changes a watched key, on nothing and on a value, and wants the other
// node to be told. One hint may be lost, and three in a row are none.
func (e *env) hinted(change func(key string, a asked) (published []byte)) {
	e.Helper()
	e.onBoth(func(_ string, _ asked, on []byte) {
		for range 3 {
			key := e.key("watched")
			var v []byte
			if on != nil {
				v = value(key, newToken(), "stale")
				e.store(key, v, long)
			}
			a := e.take(e.s, key, v, long)
			wake, stop := e.other.(leash.Waker).Watch(key)
			e.refused(e.other, key, v, false, a.token, long)
			told := hint(wake, change(key, a))
			stop()
			if told {
				return
			}
		}
		e.Fatalf("three times there was no hint within %v", hintWithin)
	})
}

func testWatchEach(e *env) {
	w := e.other.(leash.Waker)
	for range 3 {
		key := e.key("watched")
		a := e.take(e.s, key, nil, long)
		wake1, stop1 := w.Watch(key)
		_, stop2 := w.Watch(key)
		wake3, stop3 := w.Watch(key)
		e.refused(e.other, key, nil, false, a.token, long)
		stop2()
		v := value(key, a.token, "computed")
		e.publish(e.s, key, v, long, false, true)
		told := hint(wake1, v) && hint(wake3, v)
		stop1()
		stop3()
		e.store(key, value(key, newToken(), "nobody is interested"), long)
		if told {
			return
		}
	}
	e.Fatalf("three times one of two interests had no hint within %v", hintWithin)
}

func testWatchNewest(e *env) {
	for range 3 {
		key := e.key("watched")
		wake, stop := e.other.(leash.Waker).Watch(key)
		if cap(wake) != 1 {
			e.Fatalf("wake has room for %d hints, want 1", cap(wake))
		}
		var v []byte
		for _, payload := range []string{"first", "second", "third"} {
			a := e.take(e.s, key, v, long)
			e.refused(e.other, key, v, false, a.token, long)
			v = value(key, a.token, payload)
			e.publish(e.s, key, v, long, false, true)
		}
		told := hint(wake, v)
		stop()
		if told {
			return
		}
	}
	e.Fatal("three times the newest hint was not the one that stayed")
}
