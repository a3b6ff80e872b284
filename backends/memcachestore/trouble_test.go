// SPDX-License-Identifier: Apache-2.0

package memcachestore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/bradfitz/gomemcache/memcache"

	"github.com/leashcache/leash/internal/entry"
	"github.com/leashcache/leash/internal/servers"
)

// steps are all that a Store does with a key.
func steps(s *Store, key string, seen []byte) map[string]func() error {
	ctx, token := context.Background(), newToken()
	v := newValue(key, token, "from "+key)
	return map[string]func() error{
		"get": func() error { _, err := s.Get(ctx, key, nil); return err },
		"lease": func() error {
			return lost(s.Lease(ctx, key, entry.NewLease(token, time.Second, 0), nil, false, time.Second))
		},
		"lease on a value": func() error {
			return lost(s.Lease(ctx, key, entry.NewLease(token, time.Second, 0), seen, false, time.Second))
		},
		"publish":            func() error { _, err := s.Publish(ctx, key, v, time.Minute, false); return err },
		"publish with force": func() error { _, err := s.Publish(ctx, key, v, time.Minute, true); return err },
		"renew":              func() error { _, err := s.Renew(ctx, key, token[:], time.Minute); return err },
		"abandon":            func() error { _, err := s.Abandon(ctx, key, token[:], time.Minute); return err },
		"delete":             func() error { return s.Delete(ctx, key) },
	}
}

func lost(_ []byte, _ time.Duration, err error) error { return err }

// keysOf finds keys whose entry and guard are on these servers of three.
func keysOf(t *testing.T, addrs []string, entryAt, guardAt, n int) (keys []string) {
	t.Helper()
	var list memcache.ServerList
	if err := list.SetServers(addrs...); err != nil {
		t.Fatal(err)
	}
	at := func(k string) string { a, _ := list.PickServer(k); return a.String() }
	for i := 0; len(keys) < n; i++ {
		key := fmt.Sprintf("users:%d-%d-%d", entryAt, guardAt, i)
		if at(key) == addrs[entryAt] && at(key+guardMark) == addrs[guardAt] {
			keys = append(keys, key)
		}
	}
	return keys
}

// The key whose server is down is on no other server: each step is an error at
// once, and nobody else gets its lease. The other servers' keys go on.
func TestServerDown(t *testing.T) {
	t.Parallel()
	var all []*servers.Server
	var addrs []string
	for range 3 {
		srv := servers.Memcached(t)
		all, addrs = append(all, srv), append(addrs, srv.Addr())
	}
	a, b := node(t, addrs), node(t, addrs)
	const down = 1
	var dead, live []string
	for i := range all {
		dead = append(dead, keysOf(t, addrs, down, i, 2)...)
		if i != down {
			live = append(live, keysOf(t, addrs, i, 0, 2)...)
			live = append(live, keysOf(t, addrs, i, 2, 2)...)
		}
	}
	for _, key := range slices.Concat(dead, live) {
		whole(t, a, b, key)
	}
	all[down].Stop()
	for _, s := range []*Store{a, b} {
		if _, err := s.Get(t.Context(), dead[0], nil); err == nil { // drops the connections
			t.Error("get: no error")
		}
	}
	for _, key := range dead {
		for _, s := range []*Store{a, b} {
			for name, step := range steps(s, key, newValue(key, newToken(), "stale")) {
				began := time.Now()
				if err := step(); !errors.Is(err, syscall.ECONNREFUSED) {
					t.Errorf("%s, %s: %v, want that the connection is refused", key, name, err)
				} else if strings.Contains(err.Error(), key) {
					t.Errorf("%s: the key is in the error: %v", name, err)
				}
				if took := time.Since(began); took > slack {
					t.Errorf("%s, %s: took %v", key, name, took)
				}
			}
		}
		for i, addr := range addrs {
			if i != down && newRaw(t, addr).item(t, key) != nil {
				t.Errorf("%s is on server %d", key, i)
			}
		}
	}
	for _, key := range live {
		whole(t, a, b, key)
	}
	// An entry that stands, whose guard's key alone would lie on the server that is
	// down: it lies beside its entry.
	key := keysOf(t, addrs, 0, down, 1)[0]
	v := b.publish(t, key, a.lease(t, key, nil, time.Minute), "stale")
	holder := a.lease(t, key, v, time.Minute)
	b.refused(t, key, v, holder)
	if held, err := a.Abandon(t.Context(), key, holder[:], 0); err != nil || !held {
		t.Errorf("abandon: %v, %v", held, err)
	}
	if got := a.get(t, key); value(got) != value(v) {
		t.Errorf("read %q", got)
	}
	if err := all[down].Restart(); err != nil {
		t.Fatal(err)
	}
	for _, key := range slices.Concat(dead, live) {
		whole(t, a, b, key)
	}
	a.lease(t, key, v, time.Minute)
}

// crowd is a Store with n connections in its pool.
func crowd(t *testing.T, addr string, n int) *Store {
	t.Helper()
	var mu sync.Mutex
	dialled, ready := 0, make(chan struct{})
	s, err := Connect([]string{addr}, ConnectOptions{Timeout: 10 * time.Second, Conns: n, Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, addr)
		mu.Lock()
		if dialled++; dialled == n {
			close(ready)
		}
		mu.Unlock()
		select {
		case <-ready: // nobody goes on before all are there
		case <-ctx.Done():
		}
		return c, err
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	for range 3 {
		var wg sync.WaitGroup
		for range n {
			wg.Go(func() {
				if _, err := s.Get(context.Background(), "users:1", nil); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
	if dialled < n {
		t.Fatalf("%d connections, want %d", dialled, n)
	}
	return s
}

// After a restart of the server each pooled connection fails, and no reader of 100
// notices. Of the leases, whose add must not be sent again, one does. So it is with
// the other steps, that are sent again.
func TestStaleConnections(t *testing.T) {
	t.Parallel()
	const n = 60
	for _, c := range []struct {
		name   string
		errors int
		step   func(s *Store, key string) error
	}{
		{"get", 0, func(s *Store, key string) error { return steps(s, key, nil)["get"]() }},
		{"lease", 1, func(s *Store, key string) error { return steps(s, key, nil)["lease"]() }},
		{"publish", 0, func(s *Store, key string) error { return steps(s, key, nil)["publish"]() }},
		{"publish with force", 0, func(s *Store, key string) error { return steps(s, key, nil)["publish with force"]() }},
		{"renew", 0, func(s *Store, key string) error { return steps(s, key, nil)["renew"]() }},
		{"abandon", 0, func(s *Store, key string) error { return steps(s, key, nil)["abandon"]() }},
		{"delete", 0, func(s *Store, key string) error { return steps(s, key, nil)["delete"]() }},
	} {
		srv := servers.Memcached(t)
		s := crowd(t, srv.Addr(), n)
		s.lists.close() // its own connections are not what this is about
		if err := srv.Restart(); err != nil {
			t.Fatal(err)
		}
		var errs []error
		for i := range 100 {
			if err := c.step(s, fmt.Sprintf("users:%d", i)); err != nil {
				errs = append(errs, err)
			}
		}
		if len(errs) > c.errors {
			t.Errorf("%s: %d errors of 100, want at most %d: %v", c.name, len(errs), c.errors, errs[0])
		}
	}
}

// frozen is a Store with a short timeout, warmed up, on a server that stands still
// until thaw, or until the test ends.
func frozen(t *testing.T, timeout time.Duration, prepare func(s *Store)) (s *Store, thaw func()) {
	t.Helper()
	srv := servers.Memcached(t)
	s, err := Connect([]string{srv.Addr()}, ConnectOptions{Timeout: timeout})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	s.c.Timeout = 10 * time.Second
	s.lease(t, "users:warm", nil, time.Minute)
	s.lists.close()
	prepare(s)
	s.c.Timeout = timeout
	_ = s.c.Close() // connections with another timeout do no harm, but half of the steps shall dial
	s.get(t, "users:warm")
	if err := srv.Pause(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = srv.Resume() })
	return s, func() {
		if err := srv.Resume(); err != nil {
			t.Fatal(err)
		}
		s.c.Timeout = 10 * time.Second
		until(t, 10*time.Second, "an answer", func() bool { _, err := s.Get(t.Context(), "users:warm", nil); return err == nil })
	}
}

// A frozen server costs each step the timeout, once.
func TestFrozen(t *testing.T) {
	t.Parallel()
	const timeout = time.Second
	s, thaw := frozen(t, timeout, func(*Store) {})
	var wg sync.WaitGroup
	for name, step := range steps(s, "users:1", newValue("users:1", newToken(), "stale")) {
		wg.Go(func() {
			began := time.Now()
			err := step()
			took := time.Since(began)
			var timedOut net.Error
			var late *memcache.ConnectTimeoutError
			if !errors.As(err, &late) && (!errors.As(err, &timedOut) || !timedOut.Timeout()) {
				t.Errorf("%s: %v, want a timeout", name, err)
			}
			if took >= 2*timeout { // a second try would be more than that
				t.Errorf("%s: took %v", name, took)
			}
		})
	}
	wg.Wait()
	thaw()
}

// A lease that timed out and lands when the server goes on belongs to nobody. Its
// token removes it, and without that it ends as any lease does.
func TestOrphanLease(t *testing.T) {
	t.Parallel()
	var v []byte
	s, thaw := frozen(t, 250*time.Millisecond, func(s *Store) {
		v = s.store(t, "users:value", "stale", time.Minute)
	})
	const ttl = time.Second
	abandoned := s.ask(t, "users:1", nil, false, time.Minute)
	ends := s.ask(t, "users:2", nil, false, ttl)
	guard := s.ask(t, "users:value", v, false, time.Minute)
	for _, a := range []asked{abandoned, ends, guard} {
		if a.err == nil {
			t.Fatal("no error")
		}
	}
	thaw()
	resumed := time.Now()
	for key, a := range map[string]asked{"users:1": abandoned, "users:2": ends} {
		until(t, 10*time.Second, "the orphan", func() bool {
			h, ok := entry.HeadOf(s.get(t, key))
			return ok && h.Token() == a.token
		})
	}
	s.refused(t, "users:1", nil, abandoned.token)
	if held, err := s.Abandon(t.Context(), "users:1", abandoned.token[:], 0); err != nil || !held {
		t.Errorf("abandon: %v, %v", held, err)
	}
	s.lease(t, "users:1", nil, time.Minute)

	s.refused(t, "users:2", nil, ends.token)
	until(t, ttl+grain+slack, "the end of the orphan", func() bool { return s.ask(t, "users:2", nil, false, time.Minute).granted })
	if took := time.Since(resumed); took > ttl+grain+slack {
		t.Errorf("over after %v", took)
	}

	// On a value it is the guard that lands.
	until(t, 10*time.Second, "the orphan", func() bool { return !s.ask(t, "users:value", v, false, time.Second).granted })
	s.refused(t, "users:value", v, guard.token)
	if _, err := s.Abandon(t.Context(), "users:value", guard.token[:], 0); err != nil {
		t.Errorf("abandon: %v", err)
	}
	s.lease(t, "users:value", v, time.Minute)
}

// What was read a while ago is read again before it is replaced.
func TestPause(t *testing.T) {
	t.Parallel()
	srv := servers.Memcached(t)
	slow := func() error { time.Sleep(pause + 20*time.Millisecond); return nil } // is what it tests
	a := newPeer(t, srv.Addr())
	sends := func(step, delayed string, want ...string) {
		t.Helper()
		got := a.line.count()
		if !slices.Equal(got, want) {
			t.Errorf("%s: sent %q, want %q", step, got, want)
		}
		if a.line.pending() {
			t.Errorf("%s: %s was not delayed", step, delayed)
		}
	}
	const read, swap, readGuard, swapGuard, addGuard = "gets users:1", "cas users:1", "gets users:1" + guardMark, "cas users:1" + guardMark, "add users:1" + guardMark
	token := a.lease(t, "users:1", nil, time.Minute)
	a.line.count()
	a.line.onReply(read, slow)
	first := a.publish(t, "users:1", token, "first")
	sends("publish", read, read, read, swap)

	a.line.onReply(read, slow)
	a.lease(t, "users:1", first, time.Minute)
	sends("lease on a value", read, addGuard, read, read, swap)

	second := a.store(t, "users:1", "second", time.Minute)
	a.line.count()
	a.line.onReply(readGuard, slow)
	token = a.lease(t, "users:1", second, time.Minute)
	sends("lease over a void guard", readGuard, addGuard, readGuard, read, readGuard, read, swapGuard, read, swap)

	a.line.onReply(readGuard, slow)
	if held, err := a.Renew(t.Context(), "users:1", token[:], time.Minute); err != nil || !held {
		t.Errorf("renew: %v, %v", held, err)
	}
	sends("renew", readGuard, read, readGuard, readGuard, swapGuard, read, swap)

	a.line.onReply(read, slow)
	if held, err := a.Abandon(t.Context(), "users:1", token[:], 0); err != nil || !held {
		t.Errorf("abandon: %v, %v", held, err)
	}
	sends("abandon", read, read, read, swap, readGuard, swapGuard)
}

// race restarts the server between the reading and the replacing of a, and lets b
// take the lease with an item of the same CAS id. a must not replace that.
func race(t *testing.T, when func(l *line, f func() error)) {
	t.Helper()
	srv := servers.Memcached(t)
	a, b := newPeer(t, srv.Addr()), newPeer(t, srv.Addr())
	r := newRaw(t, srv.Addr())
	if err := r.nextCAS(100); err != nil {
		t.Fatal(err)
	}
	old := a.lease(t, "users:1", nil, time.Minute)
	id := r.item(t, "users:1").CasID
	var next entry.Token
	var was *memcache.Item
	when(a.line, func() error {
		began := time.Now()
		if err := srv.Restart(); err != nil {
			t.Error(err)
		}
		r := newRaw(t, srv.Addr())
		if err := r.nextCAS(id); err != nil {
			t.Error(err)
		}
		next = b.lease(t, "users:1", nil, time.Minute)
		if was = r.item(t, "users:1"); was.CasID != id {
			t.Errorf("CAS ids are %d and %d", id, was.CasID)
		}
		time.Sleep(pause - time.Since(began) + 20*time.Millisecond) // a stood still for long enough to notice
		return nil
	})
	if stored, err := a.Publish(t.Context(), "users:1", newValue("users:1", old, "late"), time.Minute, false); err != nil || stored {
		t.Errorf("publish: %v, %v", stored, err)
	}
	if a.line.pending() {
		t.Fatal("nothing happened in between")
	}
	if now := newRaw(t, srv.Addr()).item(t, "users:1"); string(now.Value) != string(was.Value) {
		t.Errorf("the next holder's item was replaced by %q", now.Value)
	}
	b.publish(t, "users:1", next, "fresh")
}

// The process stood still after it had read.
func TestRestartAfterReading(t *testing.T) {
	t.Parallel()
	race(t, func(l *line, f func() error) { l.onReply("gets users:1", f) })
}

// The process stood still when it was about to send. That its connection is gone is
// what tells it: it must not send the same cas to the new server.
func TestRestartBeforeSending(t *testing.T) {
	t.Parallel()
	race(t, func(l *line, f func() error) { l.onSend("cas users:1", f) })
}
