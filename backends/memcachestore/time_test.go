// SPDX-License-Identifier: Apache-2.0

package memcachestore

import (
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/leashcache/leash/internal/servers"
)

const day = 24 * time.Hour

// An exptime of n lives for more than n-1 seconds and at most n; up to 30 days it is
// a length and above it a date, which ends in 2038.
func TestExpiration(t *testing.T) {
	const now = 1_800_000_000 // in 2027
	for _, c := range []struct {
		life time.Duration
		want int32
	}{
		{1, 2},
		{time.Millisecond, 2},
		{300 * time.Millisecond, 2},
		{time.Second, 2},
		{time.Second + 1, 3},
		{1500 * time.Millisecond, 3},
		{2 * time.Second, 3},
		{time.Hour, 3601},
		{30*day - time.Second, 2_592_000},
		{30*day - time.Second + 1, now + 2_592_001},
		{30 * day, now + 2_592_001},
		{30*day + time.Second, now + 2_592_002},
		{31 * day, now + 31*86400 + 1},
		{10 * 365 * day, now + 10*365*86400 + 1},
		{12 * 365 * day, math.MaxInt32},
		{200 * 365 * day, math.MaxInt32},
		{math.MaxInt64 - time.Second, math.MaxInt32},
		{math.MaxInt64, math.MaxInt32},
	} {
		for _, nanos := range []int64{0, 999_999_999} {
			if got := expiration(c.life, time.Unix(now, nanos)); got != c.want {
				t.Errorf("%v: %d, want %d", c.life, got, c.want)
			}
		}
	}
	for range 1000 {
		d := 1 + rand.N(30*day-time.Second)
		n := time.Duration(expiration(d, time.Unix(now, 0))) * time.Second
		if n-time.Second < d || n-grain >= d {
			t.Errorf("%v: lives for more than %v and at most %v", d, n-time.Second, n)
		}
	}
}

// After 2038 the client's 32 bits have no date left. An item must not be gone at
// once for that, which is what a date in the past means.
func TestExpirationAfter2038(t *testing.T) {
	now := time.Unix(math.MaxInt32+1000, 0)
	for _, d := range []time.Duration{time.Second, 30 * day, 31 * day, math.MaxInt64} {
		if got := expiration(d, now); got > int32(month/time.Second) {
			t.Errorf("%v: %d, which is a date that has passed", d, got)
		}
	}
}

// What is published for less than a second, and for more than 30 days, is there,
// and never for less than was asked. The server has clocks of its own: several
// servers, at several times.
func TestLives(t *testing.T) {
	t.Parallel()
	for range 3 {
		srv := servers.Memcached(t)
		p := newPeer(t, srv.Addr())
		for i, d := range []time.Duration{
			time.Millisecond, 300 * time.Millisecond, time.Second, 1500 * time.Millisecond, time.Minute,
			30*day - time.Second, 30 * day, 30*day + time.Second, 31 * day, 31*day + 1, 365 * day,
		} {
			key := fmt.Sprintf("users:%d", i)
			v := p.store(t, key, "v", d)
			if got := p.get(t, key); value(got) != value(v) {
				t.Errorf("published for %v: read %q", d, got)
			}
			// n seconds are more than n-1; a date may come a second later.
			if n := life(t, srv, key); n-time.Second < d || n > d+grain+time.Second {
				t.Errorf("published for %v: it lives for up to %v", d, n)
			}
		}
	}
}

// A lease of 300 ms never ends before, and its succession comes at most the grain
// later, on nothing and on a value. The server's clock goes in whole seconds, so
// leases are taken all over one.
func TestShortLease(t *testing.T) {
	t.Parallel()
	addr := servers.Memcached(t).Addr()
	a, b := newPeer(t, addr), newPeer(t, addr)
	const ttl = 300 * time.Millisecond
	var wg sync.WaitGroup
	for i := range 40 {
		key := fmt.Sprintf("users:%d", i)
		wg.Go(func() {
			<-time.After(time.Duration(i/2) * 50 * time.Millisecond)
			var seen []byte
			if i%2 == 1 {
				seen = a.store(t, key, "stale", time.Minute)
			}
			sent := time.Now()
			first := a.ask(t, key, seen, false, ttl)
			begun := time.Now()
			if !first.granted {
				t.Errorf("%s: refused: %v", key, first.err)
				return
			}
			for {
				next := b.ask(t, key, seen, false, ttl)
				took := time.Since(sent)
				switch {
				case next.err != nil:
					t.Errorf("%s: %v", key, next.err)
				case next.granted && took < ttl:
					t.Errorf("%s, on a value %v: over after %v", key, seen != nil, took)
				case time.Since(begun) > ttl+grain+slack:
					t.Errorf("%s, on a value %v: not over after %v", key, seen != nil, took)
				case !next.granted:
					if next.left <= 0 || next.left > ttl {
						t.Errorf("%s: %v left", key, next.left)
					}
					time.Sleep(20 * time.Millisecond)
					continue
				}
				return
			}
		})
	}
	wg.Wait()
}
