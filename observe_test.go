// SPDX-License-Identifier: Apache-2.0

package leash_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leashcache/leash"
	"github.com/leashcache/leash/backends/memstore"
)

// spy keeps events.
type spy struct {
	mu     sync.Mutex
	events []leash.Event
}

func (s *spy) Observe(e leash.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, e)
}

func (s *spy) count(k leash.EventKind) (n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.events {
		if e.Kind == k {
			n++
		}
	}
	return n
}

// Events tell what happened, Stats counts the same, and neither tells keys or
// values.
func TestEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, s := newRemote(memstore.New()), &spy{}
		o := leash.Options{TTL: time.Second, StaleIfError: time.Minute, StaleWhileRevalidate: time.Second, NotFoundTTL: time.Second, Observer: s, Logger: quiet}
		c, other := newCache(t, store, o), newCache(t, store, leash.Options{TTL: time.Second})
		secret := func(context.Context) (user, error) {
			time.Sleep(100 * time.Millisecond)
			return user{Name: "secret-value"}, nil
		}
		ask := func(load func(context.Context) (user, error), opts ...leash.Option) {
			_, _ = c.GetOrCompute(t.Context(), "secret-key", load, opts...)
		}
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() { ask(secret) }) // leased, computed; two coalesced; three misses
		}
		wg.Wait()
		ask(secret)                         // hit
		time.Sleep(1500 * time.Millisecond) //
		ask(secret)                         // updating, refresh
		time.Sleep(2500 * time.Millisecond) //
		fail := func(context.Context) (user, error) { return user{}, errors.New("down") }
		ask(fail)                               // stale
		ask(secret, leash.Bypass())             // bypass
		_ = c.Delete(t.Context(), "secret-key") //
		ask(fail)                               // a miss with an error
		ask(fail)                               // the back-off
		time.Sleep(time.Second)                 //
		ask(func(context.Context) (user, error) { return user{}, leash.ErrNotFound })
		ask(secret)                             // a stored "not found"
		_ = c.Delete(t.Context(), "secret-key") //
		go func() { _, _ = other.GetOrCompute(t.Context(), "secret-key", secret) }()
		time.Sleep(10 * time.Millisecond)
		ask(secret)                       // busy, wait, elsewhere
		go ask(secret, leash.Refresh())   //
		time.Sleep(10 * time.Millisecond) //
		_ = other.Delete(t.Context(), "secret-key")
		time.Sleep(time.Second) // voided
		want := map[leash.EventKind]int64{
			leash.EventHit: 1, leash.EventUpdating: 1, leash.EventStale: 1, leash.EventBypass: 1, leash.EventMiss: 6,
			leash.EventBackoffHit: 1, leash.EventNotFoundHit: 1, leash.EventElsewhere: 1, leash.EventCoalesced: 2,
			leash.EventRefresh: 1, leash.EventBusy: 1, leash.EventWait: 1, leash.EventVoided: 1, leash.EventLeased: 6,
			leash.EventCompute: 7, leash.EventLeft: 0, leash.EventStoreError: 0, leash.EventUndecodable: 0, leash.EventUnleased: 0,
		}
		stats := c.Stats()
		for k, n := range want {
			if s.count(k) != n || stats.Count(k) != n {
				t.Errorf("%v: %d events, %d in Stats, want %d", k, s.count(k), stats.Count(k), n)
			}
		}
		if stats.ComputeTime < 300*time.Millisecond || stats.WaitTime < 50*time.Millisecond {
			t.Errorf("times: %v, %v", stats.ComputeTime, stats.WaitTime)
		}
		if all := fmt.Sprintf("%+v", s.events); strings.Contains(all, "secret") {
			t.Errorf("an event tells too much: %s", all)
		}
	})
}

func TestLogTo(t *testing.T) {
	var b bytes.Buffer
	l := slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{Level: slog.LevelWarn}))
	c := newCache(t, memstore.New(), leash.Options{Observer: leash.LogTo(l)})
	_, _ = c.GetOrCompute(t.Context(), "k", func(context.Context) (user, error) { return user{}, nil })
	if b.Len() > 0 {
		t.Errorf("a miss is a warning: %s", &b)
	}
	_, _ = c.GetOrCompute(t.Context(), "j", func(context.Context) (user, error) { return user{}, errors.New("boom") })
	if got := b.String(); !strings.Contains(got, "result=error") || !strings.Contains(got, "err=boom") || !strings.Contains(got, "cache=users") {
		t.Errorf("got %q", got)
	}
}

// Every kind has a name of its own.
func TestNames(t *testing.T) {
	seen := map[string]bool{}
	for k := leash.EventKind(0); k.String() != "unknown"; k++ {
		if k.String() == "" || seen[k.String()] {
			t.Errorf("kind %d is called %q", k, k)
		}
		seen[k.String()] = true
	}
	if len(seen) < 20 {
		t.Errorf("%d kinds have names", len(seen))
	}
	if got := fmt.Sprint(leash.OpGetMany, leash.Op(99), leash.ResultCancelled, leash.StatusBypass); got != "get_many unknown cancelled BYPASS" {
		t.Error(got)
	}
}

func TestCacheStatus(t *testing.T) {
	for want, o := range map[string]leash.Outcome{
		`leash; hit; ttl=30; detail=HIT`:                   {Status: leash.StatusHit, TTL: 30500 * time.Millisecond, Collapsed: true},
		`leash; hit; ttl=-5; detail=UPDATING`:              {Status: leash.StatusUpdating, TTL: -5 * time.Second},
		`leash; fwd=uri-miss; stored; ttl=60; detail=MISS`: {Status: leash.StatusMiss, Stored: true, TTL: time.Minute},
		`leash; fwd=stale; collapsed; detail=EXPIRED`:      {Status: leash.StatusExpired, Collapsed: true},
		`leash; fwd=uri-miss; collapsed; detail=ELSEWHERE`: {Status: leash.StatusElsewhere},
		`leash; fwd=bypass; detail=BYPASS`:                 {Status: leash.StatusBypass},
		`leash; hit; ttl=1; detail=HIT-NOT-FOUND`:          {Status: leash.StatusHit, NotFound: true, TTL: time.Second},
		`leash; hit; ttl=1; detail=HIT-BACKOFF`:            {Status: leash.StatusHit, Backoff: true, TTL: time.Second},
		`leash; fwd=miss`:                                  {},
	} {
		if got := o.CacheStatus("leash"); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	for name, want := range map[string]string{"app.example.org": "app.example.org", "1a": `"1a"`, "": `""`, `a "b"`: `"a \"b\""`} {
		if got := (leash.Outcome{}).CacheStatus(name); got != want+"; fwd=miss" {
			t.Errorf("name %q: %q", name, got)
		}
	}
}
