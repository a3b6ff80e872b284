// SPDX-License-Identifier: Apache-2.0

package memcachestore

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bradfitz/gomemcache/memcache"

	"github.com/leashcache/leash/internal/entry"
	"github.com/leashcache/leash/internal/servers"
)

// bases runs f on nothing and on a stale value, of which seen is what was read.
func bases(t *testing.T, f func(t *testing.T, a, b peer, r raw, seen func(key string) []byte)) {
	srv := servers.Memcached(t)
	for _, name := range []string{"nothing", "value"} {
		t.Run(name, func(t *testing.T) {
			a, b := newPeer(t, srv.Addr()), newPeer(t, srv.Addr())
			f(t, a, b, newRaw(t, srv.Addr()), func(key string) []byte {
				if name == "nothing" {
					return nil
				}
				return a.store(t, key, "stale", time.Minute)
			})
		})
	}
}

// The lock that is released by somebody who never had it: another token, nobody's,
// none, and half of the right one leave lease and guard as they are.
func TestNotTheHolder(t *testing.T) {
	t.Parallel()
	bases(t, func(t *testing.T, a, b peer, r raw, seen func(string) []byte) {
		key := "users:" + t.Name()
		v := seen(key)
		holder := a.lease(t, key, v, time.Minute)
		was := r.shows(t, key)
		other, nobody := newToken(), entry.Token{}
		for name, token := range map[string][]byte{"another": other[:], "nobody's": nobody[:], "none": nil, "half": holder[:8]} {
			for _, backoff := range []time.Duration{0, time.Minute} {
				if held, err := b.Abandon(t.Context(), key, token, backoff); err != nil || held {
					t.Errorf("%s: abandon: %v, %v", name, held, err)
				}
			}
			if held, err := b.Renew(t.Context(), key, token, time.Minute); err != nil || held {
				t.Errorf("%s: renew: %v, %v", name, held, err)
			}
		}
		b.rejected(t, key, other)
		if now := r.shows(t, key); now != was {
			t.Errorf("there was\n%sand is\n%s", was, now)
		}
		b.refused(t, key, v, holder)
		a.publish(t, key, holder, "fresh")
	})
}

// Nobody's token publishes nothing where nobody holds a lease.
func TestNobodyPublishes(t *testing.T) {
	t.Parallel()
	p := newPeer(t, servers.Memcached(t).Addr())
	v := p.store(t, "users:1", "v", time.Minute)
	if stored, err := p.Publish(t.Context(), "users:1", newValue("users:1", entry.Token{}, "nobody's"), time.Minute, false); err != nil || stored {
		t.Errorf("stored %v, %v", stored, err)
	}
	if got := p.get(t, "users:1"); value(got) != value(v) {
		t.Errorf("read %q", got)
	}
}

// Nobody's token is no lease either where nobody holds one.
func TestNobodyHolds(t *testing.T) {
	t.Parallel()
	srv := servers.Memcached(t)
	p, r := newPeer(t, srv.Addr()), newRaw(t, srv.Addr())
	v := p.store(t, "users:1", "v", time.Minute)
	token := p.lease(t, "users:1", v, time.Minute)
	for _, backoff := range []time.Duration{time.Minute, 0} {
		was := r.shows(t, "users:1")
		p.rejected(t, "users:1", entry.Token{})
		if now := r.shows(t, "users:1"); now != was {
			t.Errorf("there was\n%sand is\n%s", was, now)
		}
		if held, err := p.Abandon(t.Context(), "users:1", token[:], backoff); err != nil || held != (backoff > 0) {
			t.Errorf("abandon: %v, %v", held, err)
		}
	}
	was := r.shows(t, "users:1")
	p.rejected(t, "users:1", entry.Token{})
	if now := r.shows(t, "users:1"); now != was {
		t.Errorf("there was\n%sand is\n%s", was, now)
	}
}

// A lease that was renewed since the thief has seen it is not stolen.
func TestRenewedIsNotStolen(t *testing.T) {
	t.Parallel()
	bases(t, func(t *testing.T, a, b peer, _ raw, seen func(string) []byte) {
		key := "users:" + t.Name()
		v := seen(key)
		token := a.lease(t, key, v, time.Minute)
		old := b.get(t, key)
		if held, err := a.Renew(t.Context(), key, token[:], time.Minute); err != nil || !held {
			t.Fatal(held, err)
		}
		if thief := b.ask(t, key, old, true, time.Minute); thief.granted || thief.left <= 0 {
			t.Errorf("granted %v, %v left, %v", thief.granted, thief.left, thief.err)
		}
		a.publish(t, key, token, "fresh")
	})
}

// Who lost its lease to a thief can do nothing to the thief's lease or its guard.
func TestStolen(t *testing.T) {
	t.Parallel()
	bases(t, func(t *testing.T, a, b peer, r raw, seen func(string) []byte) {
		key := "users:" + t.Name()
		seen(key)
		old := a.lease(t, key, a.get(t, key), time.Minute)
		thief := b.ask(t, key, b.get(t, key), true, time.Minute)
		if !thief.granted {
			t.Fatalf("not stolen: %v, %v left", thief.err, thief.left)
		}
		was := r.shows(t, key)
		a.rejected(t, key, old)
		if now := r.shows(t, key); now != was {
			t.Errorf("there was\n%sand is\n%s", was, now)
		}
		a.refused(t, key, a.get(t, key), thief.token)
		b.publish(t, key, thief.token, "the thief's")
	})
}

// So with a lease that ended and was taken by the next.
func TestSucceeded(t *testing.T) {
	t.Parallel()
	bases(t, func(t *testing.T, a, b peer, r raw, seen func(string) []byte) {
		key := "users:" + t.Name()
		v := seen(key)
		old := a.lease(t, key, v, 300*time.Millisecond)
		var next asked
		until(t, 300*time.Millisecond+grain+slack, "the next holder", func() bool {
			next = b.ask(t, key, v, false, time.Minute)
			return next.granted
		})
		was := r.shows(t, key)
		a.rejected(t, key, old)
		if now := r.shows(t, key); now != was {
			t.Errorf("there was\n%sand is\n%s", was, now)
		}
		b.publish(t, key, next.token, "the successor's")
	})
}

// The next holder of a value's lease has its guard and not yet the entry. Who had
// the lease before can not renew it then, nor remove the guard.
func TestGuardComesFirst(t *testing.T) {
	t.Parallel()
	for _, backoff := range []time.Duration{0, time.Minute} {
		srv := servers.Memcached(t)
		a, b, r := newPeer(t, srv.Addr()), newPeer(t, srv.Addr()), newRaw(t, srv.Addr())
		v := a.store(t, "users:1", "stale", time.Minute)
		old := a.lease(t, "users:1", v, time.Minute)
		if err := r.Delete("users:1" + guardMark); err != nil {
			t.Fatal(err)
		}
		b.line.onSend("cas users:1", func() error {
			was := r.item(t, "users:1"+guardMark)
			if held, err := a.Renew(t.Context(), "users:1", old[:], time.Minute); held || err != nil {
				t.Errorf("renew: %v, %v", held, err)
			}
			if _, err := a.Abandon(t.Context(), "users:1", old[:], backoff); err != nil {
				t.Errorf("abandon: %v", err)
			}
			if now := r.item(t, "users:1"+guardMark); now == nil || now.CasID != was.CasID {
				t.Error("the successor's guard was touched")
			}
			return nil
		})
		next := b.lease(t, "users:1", v, time.Minute)
		if b.line.pending() {
			t.Error("nothing happened in between")
		}
		a.refused(t, "users:1", v, next)
		b.publish(t, "users:1", next, "fresh")
	}
}

// oneMore is what the loss of a lease may cost: one grant more, and what the old
// holder computed.
func oneMore(t *testing.T, a, b peer, key string, seen []byte, old entry.Token) {
	t.Helper()
	next := b.lease(t, key, seen, time.Minute)
	b.refused(t, key, seen, next)
	a.refused(t, key, seen, next)
	a.rejected(t, key, old)
	a.refused(t, key, seen, next)
	v := b.publish(t, key, next, "fresh")
	a.rejected(t, key, old)
	if got := a.get(t, key); value(got) != value(v) {
		t.Errorf("read %q", got)
	}
}

// flush_all takes lease, guard and value.
func TestFlush(t *testing.T) {
	t.Parallel()
	bases(t, func(t *testing.T, a, b peer, r raw, seen func(string) []byte) {
		key := "users:" + t.Name()
		v := seen(key)
		old := a.lease(t, key, v, time.Minute)
		if err := r.FlushAll(); err != nil {
			t.Fatal(err)
		}
		a.rejected(t, key, old) // also where nobody was faster
		if got := r.shows(t, key); got != "" {
			t.Errorf("left is %s", got)
		}
		oneMore(t, a, b, key, nil, old)
		// Who read the value before finds nothing, and gets the lease of that.
		key += "2"
		v = seen(key)
		a.lease(t, key, v, time.Minute)
		if err := r.FlushAll(); err != nil {
			t.Fatal(err)
		}
		if next := b.ask(t, key, v, false, time.Minute); !next.granted || next.entry != nil {
			t.Errorf("granted %v on %q, %v", next.granted, next.entry, next.err)
		}
	})
}

// A server that was started again counts its CAS ids from 1, so the next holder's
// item may have the id that the old one's had.
func TestRestartWithEqualCAS(t *testing.T) {
	t.Parallel()
	for _, stale := range []bool{false, true} {
		srv := servers.Memcached(t)
		a, b, r := newPeer(t, srv.Addr()), newPeer(t, srv.Addr()), newRaw(t, srv.Addr())
		if err := r.nextCAS(100); err != nil {
			t.Fatal(err)
		}
		var v []byte
		if stale {
			v = a.store(t, "users:1", "stale", time.Minute)
		}
		old := a.lease(t, "users:1", v, time.Minute)
		id := r.item(t, "users:1").CasID
		if err := srv.Restart(); err != nil {
			t.Fatal(err)
		}
		r = newRaw(t, srv.Addr())
		if err := r.nextCAS(id); err != nil {
			t.Fatal(err)
		}
		_ = b.get(t, "users:1") // drops the connections to the old server
		next := b.lease(t, "users:1", nil, time.Minute)
		was := r.item(t, "users:1")
		if was.CasID != id {
			t.Fatalf("CAS ids are %d and %d", id, was.CasID)
		}
		a.rejected(t, "users:1", old)
		if now := r.item(t, "users:1"); string(now.Value) != string(was.Value) || now.CasID != id {
			t.Errorf("there was %x and is %x", was.Value, now.Value)
		}
		b.publish(t, "users:1", next, "fresh")
	}
}

// The guard alone is evicted.
func TestGuardEvicted(t *testing.T) {
	t.Parallel()
	srv := servers.Memcached(t)
	a, b, r := newPeer(t, srv.Addr()), newPeer(t, srv.Addr()), newRaw(t, srv.Addr())
	v := a.store(t, "users:1", "stale", time.Minute)
	old := a.lease(t, "users:1", v, time.Minute)
	evict := func(key string) {
		t.Helper()
		if err := r.Delete(key + guardMark); err != nil {
			t.Fatal(err)
		}
	}
	evict("users:1")
	oneMore(t, a, b, "users:1", v, old)

	// When nobody asks, the holder's next renewal brings it back.
	v = a.store(t, "users:2", "stale", time.Minute)
	old = a.lease(t, "users:2", v, time.Minute)
	evict("users:2")
	if held, err := a.Renew(t.Context(), "users:2", old[:], time.Minute); err != nil || !held {
		t.Errorf("renew: %v, %v", held, err)
	}
	b.refused(t, "users:2", v, old)
	evict("users:2") // and without it, the fence is in the entry
	a.publish(t, "users:2", old, "fresh")

	// A back-off brings it back, too.
	v = a.store(t, "users:3", "stale", time.Minute)
	old = a.lease(t, "users:3", v, time.Minute)
	evict("users:3")
	if held, err := a.Abandon(t.Context(), "users:3", old[:], time.Minute); err != nil || !held {
		t.Errorf("abandon: %v, %v", held, err)
	}
	b.refused(t, "users:3", v, entry.Token{})
}

// The guard of a value that was replaced keeps nobody from the next one, and a late
// asker who puts one there for the old value neither.
func TestGuardOfAnotherValue(t *testing.T) {
	t.Parallel()
	srv := servers.Memcached(t)
	a, b, r := newPeer(t, srv.Addr()), newPeer(t, srv.Addr()), newRaw(t, srv.Addr())
	first := a.store(t, "users:1", "first", time.Minute)
	old := a.lease(t, "users:1", first, time.Minute)
	second := b.store(t, "users:1", "second", time.Minute)
	if r.item(t, "users:1"+guardMark) == nil {
		t.Fatal("the first guard does not stand")
	}
	next := b.lease(t, "users:1", second, time.Minute)
	a.rejected(t, "users:1", old)
	a.refused(t, "users:1", second, next)

	// The guard is away when a late asker comes.
	if err := r.Delete("users:1" + guardMark); err != nil {
		t.Fatal(err)
	}
	third := b.publish(t, "users:1", next, "third")
	for _, seen := range [][]byte{first, second} {
		if late := a.ask(t, "users:1", seen, false, time.Minute); late.granted || late.left != 0 || value(late.entry) != value(third) {
			t.Errorf("a late asker: granted %v, %v left, entry %q, %v", late.granted, late.left, late.entry, late.err)
		}
	}
	b.lease(t, "users:1", third, time.Minute)
}

// A stale value can be read under its lease, with the same bytes, for as long as
// the lease lasts; when that is given up, it has the life that it had.
func TestStaleValueStays(t *testing.T) {
	t.Parallel()
	srv := servers.Memcached(t)
	a, b := newPeer(t, srv.Addr()), newPeer(t, srv.Addr())
	for _, backoff := range []time.Duration{0, 200 * time.Millisecond, time.Hour} {
		key := fmt.Sprintf("users:%v", backoff)
		v := a.store(t, key, "stale", 20*time.Second)
		reads := func(step string, atLeast, atMost time.Duration) {
			t.Helper()
			if got := b.get(t, key); value(got) != value(v) {
				t.Errorf("%s: read %x, want %x", step, got, v)
			}
			if n := life(t, srv, key); n < atLeast || n > atMost+grain+time.Second {
				t.Errorf("%s: it lives for %v, want %v to %v", step, n, atLeast, atMost)
			}
		}
		reads("published", 10*time.Second, 20*time.Second)
		token := a.lease(t, key, v, time.Second)
		reads("leased for less than it lives", 10*time.Second, 20*time.Second)
		if held, err := a.Abandon(t.Context(), key, token[:], 0); err != nil || !held {
			t.Fatalf("abandon: %v, %v", held, err)
		}
		token = a.lease(t, key, v, time.Minute)
		reads("leased", time.Minute, time.Minute)
		b.refused(t, key, v, token)
		reads("refused", 50*time.Second, time.Minute)
		for i := range uint32(2) {
			if held, err := a.Renew(t.Context(), key, token[:], 2*time.Minute); err != nil || !held {
				t.Fatalf("renew: %v, %v", held, err)
			}
			reads("renewed", 2*time.Minute, 2*time.Minute)
			h, _ := entry.HeadOf(a.get(t, key))
			if h.Counter() != i+1 {
				t.Errorf("renewals: %d, want %d", h.Counter(), i+1)
			}
			if left := time.Until(time.UnixMilli(h.Until())); left < time.Minute || left > 2*time.Minute {
				t.Errorf("renewed for 2 minutes, and until is in %v", left)
			}
		}
		b.refused(t, key, v, token)
		if held, err := a.Abandon(t.Context(), key, token[:], backoff); err != nil || !held {
			t.Fatalf("abandon: %v, %v", held, err)
		}
		reads("given up", 10*time.Second, 20*time.Second)
		switch backoff {
		case 0:
			b.lease(t, key, v, time.Minute)
		case time.Hour:
			b.refused(t, key, v, entry.Token{})
			if next := b.ask(t, key, b.get(t, key), true, time.Minute); !next.granted {
				t.Errorf("a back-off is not stolen: %v", next.err)
			}
		default:
			b.refused(t, key, v, entry.Token{})
			until(t, backoff+grain+slack, "the end of the back-off", func() bool { return b.ask(t, key, v, false, time.Minute).granted })
		}
		reads("leased again", time.Minute, time.Minute)
	}
}

// Many ask at once while the value is replaced, half of them with the value before.
// Of each value at most one gets the lease, nobody of the value before, and none of
// them disturbs the guard: its holder can renew.
func TestOutdatedAskersRace(t *testing.T) {
	t.Parallel()
	srv := servers.Memcached(t)
	a, b := newPeer(t, srv.Addr()), newPeer(t, srv.Addr())
	const key = "users:1"
	was := a.store(t, key, "0", time.Minute)
	holder := a.lease(t, key, was, time.Minute)
	for round := range 200 {
		now := newValue(key, holder, fmt.Sprint(round))
		var wg sync.WaitGroup
		var asks [8]asked
		wg.Go(func() {
			if stored, err := a.Publish(t.Context(), key, now, time.Minute, false); err != nil || !stored {
				t.Errorf("round %d: publish: %v, %v", round, stored, err)
			}
		})
		for i := range asks {
			wg.Go(func() {
				for range 2 {
					if g := []peer{a, b}[i/2%2].ask(t, key, [][]byte{was, now}[i%2], false, time.Minute); g.granted || asks[i].err == nil && !asks[i].granted {
						asks[i] = g
					}
				}
			})
		}
		wg.Wait()
		grants := 0
		for i, g := range asks {
			switch {
			case g.err != nil:
				t.Errorf("round %d: %v", round, g.err)
			case g.granted && i%2 == 0:
				t.Errorf("round %d: the lease of a value that another held, or that is gone, was granted", round)
			case g.granted:
				grants, holder = grants+1, g.token
			}
		}
		if grants > 1 {
			t.Errorf("round %d: %d grants", round, grants)
		}
		if grants == 0 { // all came before the value
			holder = a.lease(t, key, now, time.Minute)
		}
		if held, err := b.Renew(t.Context(), key, holder[:], time.Minute); err != nil || !held {
			t.Errorf("round %d: renew: %v, %v", round, held, err)
		}
		if t.Failed() {
			return
		}
		was = now
	}
}

// A process that stands still while it asks may come after its guard has ended and
// somebody else has got the lease. It must not take that away.
func TestGuardEndsWhileAsking(t *testing.T) {
	t.Parallel()
	srv := servers.Memcached(t)
	a, b := newPeer(t, srv.Addr()), newPeer(t, srv.Addr())
	v := a.store(t, "users:1", "stale", time.Minute)
	var next asked
	a.line.onReply("gets users:1", func() error {
		until(t, 300*time.Millisecond+grain+slack, "the next holder", func() bool {
			next = b.ask(t, "users:1", v, false, time.Minute)
			return next.granted
		})
		return nil
	})
	late := a.ask(t, "users:1", v, false, 300*time.Millisecond)
	if a.line.pending() || !next.granted {
		t.Fatal("nothing happened in between")
	}
	if late.granted {
		t.Error("two hold the lease of one value")
	}
	b.publish(t, "users:1", next.token, "fresh")
}

// The reply to a cas of Lease is lost after the server has done it. The asker must
// not be told that another holds the lease that it has got itself.
func TestLostReplyToLease(t *testing.T) {
	t.Parallel()
	srv := servers.Memcached(t)
	for name, c := range map[string]struct {
		command string // what follows the key
		there   func(p peer, key string) (seen []byte, steal bool)
	}{
		"foreign": {"", func(p peer, key string) ([]byte, bool) {
			if err := p.c.Set(&memcache.Item{Key: key, Value: []byte("foreign")}); err != nil {
				t.Error(err)
			}
			return []byte("foreign"), false
		}},
		"stolen from nothing": {"", func(p peer, key string) ([]byte, bool) {
			p.lease(t, key, nil, time.Minute)
			return p.get(t, key), true
		}},
		"entry of a value": {"", func(p peer, key string) ([]byte, bool) {
			return p.store(t, key, "stale", time.Minute), false
		}},
		"guard of a value": {guardMark, func(p peer, key string) ([]byte, bool) {
			p.lease(t, key, p.store(t, key, "stale", time.Minute), time.Minute)
			return p.get(t, key), true
		}},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := newPeer(t, srv.Addr()), newPeer(t, srv.Addr())
			key := "users:" + strings.ReplaceAll(name, " ", "-")
			seen, steal := c.there(b, key)
			a.line.onReply("cas "+key+c.command, func() error { return io.EOF })
			got := a.ask(t, key, seen, steal, time.Minute)
			if a.line.pending() {
				t.Fatalf("no reply was lost: %v", a.line.count())
			}
			if !got.granted && got.err == nil {
				t.Errorf("refused, %v left, by itself", got.left)
			}
			if held, err := a.Abandon(t.Context(), key, got.token[:], 0); err != nil || held != got.granted {
				t.Errorf("granted %v; abandon: %v, %v", got.granted, held, err)
			}
		})
	}
}

// A publish, a renewal and an abandonment may be sent again.
func TestLostReplyToSteps(t *testing.T) {
	t.Parallel()
	bases(t, func(t *testing.T, a, b peer, r raw, seen func(string) []byte) {
		key := "users:" + t.Name()
		token := a.lease(t, key, seen(key), time.Minute)
		lose := func() { a.line.onReply("cas "+key, func() error { return io.EOF }) }
		lose()
		if held, err := a.Renew(t.Context(), key, token[:], time.Minute); err != nil || !held {
			t.Errorf("renew: %v, %v", held, err)
		}
		lose()
		v := a.publish(t, key, token, "fresh")
		if got := b.get(t, key); value(got) != value(v) || a.line.pending() {
			t.Errorf("read %q", got)
		}
		a.line.onReply("gets "+key, func() error { return io.EOF })
		if got := a.get(t, key); value(got) != value(v) || a.line.pending() {
			t.Errorf("read %q", got)
		}
		token = a.lease(t, key, v, time.Minute)
		lose()
		if _, err := a.Abandon(t.Context(), key, token[:], 0); err != nil || a.line.pending() {
			t.Errorf("abandon: %v", err)
		}
		b.lease(t, key, v, time.Minute)
	})
}

// An add is sent once: a lease that came of the first would keep the second out.
func TestAddIsSentOnce(t *testing.T) {
	t.Parallel()
	p := newPeer(t, servers.Memcached(t).Addr())
	p.line.onReply("add users:1", func() error { return io.EOF })
	p.line.count()
	if got := p.ask(t, "users:1", nil, false, time.Minute); !errors.Is(got.err, io.EOF) {
		t.Errorf("granted %v, %v", got.granted, got.err)
	} else if sent := p.line.count(); len(sent) != 1 {
		t.Errorf("sent %q", sent)
	} else if held, err := p.Abandon(t.Context(), "users:1", got.token[:], 0); err != nil || !held {
		t.Errorf("abandon: %v, %v", held, err)
	}
}
