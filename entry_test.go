// SPDX-License-Identifier: Apache-2.0

package leash_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leashcache/leash"
	"github.com/leashcache/leash/backends/memstore"
	"github.com/leashcache/leash/codec"
)

var quiet = slog.New(slog.DiscardHandler)

// raw reads what stands under a key of the cache.
func raw(t *testing.T, s *remote, key string) []byte {
	t.Helper()
	b, err := s.Near.Get(t.Context(), "users:"+key, nil)
	if err != nil || b == nil {
		t.Fatal(b, err)
	}
	return b
}

// Whatever stands under a key that is not, to the last bit, an entry of this
// type: a miss that is computed once; never an error, never a wrong value.
func TestDamagedEntriesAreMisses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newRemote(memstore.New())
		c := newCache(t, store, leash.Options{Logger: quiet})
		good := user{ID: 7, Name: "Ann"}
		if err := c.Set(t.Context(), "k", good); err != nil {
			t.Fatal(err)
		}
		entry := raw(t, store, "k")
		try := func(what string, i int, b []byte) {
			if _, err := store.Near.Publish(t.Context(), "users:k", b, time.Minute, true); err != nil {
				t.Fatal(err)
			}
			calls := 0
			load := func(context.Context) (user, error) { calls++; return good, nil }
			for range 2 {
				u, err := c.GetOrCompute(t.Context(), "k", load)
				if err != nil || u.ID != good.ID || u.Name != good.Name {
					t.Errorf("%s %d: got %v, %v", what, i, u, err)
				}
			}
			leaseArea := what == "flip" && i >= 4 && i < 52
			if calls != 1 && !(leaseArea && calls == 0) {
				t.Errorf("%s %d: %d computations", what, i, calls)
			}
		}
		for i := range entry {
			b := bytes.Clone(entry)
			b[i] ^= 0x41
			try("flip", i, b)
			try("truncation", i, entry[:i])
		}
		try("foreign", 0, []byte("O:8:\"stdClass\":0:{}"))
	})
}

// An entry is good under the key it was written for, and nowhere else.
func TestCopiedEntryIsAMiss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newRemote(memstore.New())
		c := newCache(t, store, leash.Options{Logger: quiet})
		_ = c.Set(t.Context(), "a", user{ID: 1})
		_, _ = store.Near.Publish(t.Context(), "users:b", raw(t, store, "a"), time.Minute, true)
		src := &source{}
		if u, err := c.GetOrCompute(t.Context(), "b", src.load); err != nil || u.Name != "Ann" {
			t.Errorf("got %v, %v", u, err)
		}
		src.want(t, 1)
	})
}

type userV2 struct { // of user: a renamed field
	ID    int
	Title string
	Tags  []string
}

// Old and new nodes at once: each computes what it can not read, one at a time.
func TestChangedStruct(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newRemote(memstore.New())
		old := newCache(t, store, leash.Options{Logger: quiet})
		next, err := leash.New[userV2]("users", store, leash.Options{TTL: time.Minute, Logger: quiet})
		if err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		running, calls := 0, 0
		compute := func() {
			mu.Lock()
			running, calls = running+1, calls+1
			if running > 1 {
				t.Error("two computations at once")
			}
			mu.Unlock()
			time.Sleep(10 * time.Millisecond)
			mu.Lock()
			running--
			mu.Unlock()
		}
		var wg sync.WaitGroup
		for i := range 40 {
			wg.Go(func() {
				time.Sleep(time.Duration(i) * 3 * time.Millisecond)
				if i%2 == 0 {
					u, err := old.GetOrCompute(t.Context(), "k", func(context.Context) (user, error) { compute(); return user{1, "Ann", nil}, nil })
					if err != nil || u.Name != "Ann" {
						t.Errorf("old: %v, %v", u, err)
					}
				} else {
					u, err := next.GetOrCompute(t.Context(), "k", func(context.Context) (userV2, error) { compute(); return userV2{1, "Dr", nil}, nil })
					if err != nil || u.Title != "Dr" {
						t.Errorf("new: %v, %v", u, err)
					}
				}
			})
		}
		wg.Wait()
		if calls < 2 {
			t.Errorf("%d computations", calls)
		}
	})
}

// With a schema in the key both versions live side by side.
func TestSchemaKeepsVersionsApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newRemote(memstore.New())
		v1 := newCache(t, store, leash.Options{Schema: "1"})
		v2 := newCache(t, store, leash.Options{Schema: "2"})
		src := &source{}
		for range 5 {
			_, _ = v1.GetOrCompute(t.Context(), "k", src.load)
			_, _ = v2.GetOrCompute(t.Context(), "k", src.load)
		}
		src.want(t, 2)
	})
}

// renamed is a codec that would read what another one wrote.
type renamed struct{ codec.Codec }

func (renamed) Name() string { return "renamed" }

func TestAnotherCodecIsAMiss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newRemote(memstore.New())
		mustSet(t, newCache(t, store, leash.Options{}), "k", user{ID: 5})
		src := &source{}
		for range 2 {
			u, err := newCache(t, store, leash.Options{Codec: renamed{codec.MessagePack}, Logger: quiet}).GetOrCompute(t.Context(), "k", src.load)
			if err != nil || u.ID != 1 {
				t.Errorf("got %v, %v", u, err)
			}
		}
		src.want(t, 1)
	})
}

func mustSet(t *testing.T, c *leash.Cache[user], key string, u user) {
	t.Helper()
	if err := c.Set(t.Context(), key, u); err != nil {
		t.Fatal(err)
	}
}

// readOnly refuses every write, so an entry of no use stays: the value is
// computed for each call, without a loop.
func TestUndecodableOnAStoreThatRefusesWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newRemote(memstore.New())
		c := newCache(t, store, leash.Options{Logger: quiet})
		_, _ = store.Near.Publish(t.Context(), "users:k", []byte("foreign"), time.Minute, true)
		store.Hook(func(op, _ string) error {
			if op != "get" {
				return errors.New("READONLY")
			}
			return nil
		}, nil)
		src := &source{}
		before := store.Steps()
		if u, err := c.GetOrCompute(t.Context(), "k", src.load); err != nil || u.ID != 1 {
			t.Errorf("got %v, %v", u, err)
		}
		src.want(t, 1)
		if n := store.Steps() - before; n > 5 {
			t.Errorf("%d steps", n)
		}
		store.Hook(nil, nil)
	})
}

// liar decodes nothing although everything around the payload is right.
type liar struct{ codec.Codec }

func (liar) Decode([]byte, any) error { return errors.New("no") }

func TestCodecThatCanNotReadItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, newRemote(memstore.New()), leash.Options{Codec: liar{codec.MessagePack}, Logger: quiet})
		src := &source{took: time.Millisecond}
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				for range 2 {
					if u, err := c.GetOrCompute(t.Context(), "k", src.load); err != nil || u.Name != "Ann" {
						t.Errorf("got %v, %v", u, err)
					}
				}
			})
		}
		wg.Wait()
	})
}
