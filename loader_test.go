// SPDX-License-Identifier: Apache-2.0

package leash_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leashcache/leash"
	"github.com/leashcache/leash/backends/memstore"
)

type id [2]byte

type place struct {
	Country, City string
}

type tenantKey struct {
	Tenant string
	place  place
	N      int
	ID     id
}

// keySpy is a store that notes keys.
type keySpy struct {
	*memstore.Store
	last string
}

func (s *keySpy) Get(ctx context.Context, key string, buf []byte) ([]byte, error) {
	s.last = key
	return s.Store.Get(ctx, key, buf)
}

func keyIn[K comparable](t *testing.T, k K) string {
	t.Helper()
	s := &keySpy{Store: memstore.New()}
	c, err := leash.New[int]("c", s, leash.Options{TTL: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	l := leash.Loader[K, int]{Cache: c, Load: func(context.Context, K) (int, error) { return 1, nil }}
	if _, err := l.Get(t.Context(), k); err != nil {
		t.Fatal(err)
	}
	return strings.TrimPrefix(s.last, "c:")
}

func TestLoaderKeys(t *testing.T) {
	for got, want := range map[string]string{
		keyIn(t, "a|b"):                            "a|b",
		keyIn(t, int64(-42)):                       "-42",
		keyIn(t, uint8(7)):                         "7",
		keyIn(t, true):                             "true",
		keyIn(t, id{0xab, 1}):                      "ab01",
		keyIn(t, place{"a|b", "c"}):                `a\|b|c`,
		keyIn(t, place{"a", "b|c"}):                `a|b\|c`,
		keyIn(t, [2]place{{"a", "b"}}):             "(a|b)|(|)",
		keyIn(t, tenantKey{"t", place{}, 1, id{}}): `t|(|)|1|0000`,
		keyIn(t, time.Unix(0, 0).UTC()):            "1970-01-01T00:00:00Z",
	} {
		if got != want {
			t.Errorf("key %q, want %q", got, want)
		}
	}
}

// Different keys never look the same: all pairs of parts that try to.
func FuzzLoaderKeysAreInjective(f *testing.F) {
	f.Add("a|b", "c", "a", "b|c")
	f.Add(`a\`, "|b", `a\|`, "b")
	f.Add("(", ")", "", "()")
	f.Fuzz(func(t *testing.T, a, b, c, d string) {
		type nested struct {
			P place
			S string
		}
		if (place{a, b}) != (place{c, d}) && keyIn(t, nested{place{a, b}, "x"}) == keyIn(t, nested{place{c, d}, "x"}) {
			t.Errorf("%q,%q and %q,%q look the same", a, b, c, d)
		}
		if a != c && keyIn(t, nested{place{a, b}, c}) == keyIn(t, nested{place{c, b}, a}) {
			t.Errorf("parts %q and %q change places unseen", a, c)
		}
	})
}

func TestLoaderRefusesKeysThatAreNone(t *testing.T) {
	c := newCache(t, memstore.New(), leash.Options{})
	if _, err := (leash.Loader[float64, user]{Cache: c, Load: func(context.Context, float64) (user, error) { return user{}, nil }}).Get(t.Context(), 1); err == nil {
		t.Error("a float is a key")
	}
	if _, err := (leash.Loader[string, user]{Cache: c}).Get(t.Context(), "a"); err == nil {
		t.Error("a Loader without a function works")
	}
	if _, err := (leash.Loader[string, user]{Load: func(context.Context, string) (user, error) { return user{}, nil }}).GetMany(t.Context(), []string{"a"}); err == nil {
		t.Error("a Loader without a cache works")
	}
}

func TestLoaderTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, newRemote(memstore.New()), leash.Options{})
		var calls atomic.Int64
		l := leash.Loader[int, user]{
			Cache: c,
			Load:  func(_ context.Context, k int) (user, error) { calls.Add(1); return user{ID: k}, nil },
			TTL:   func(k int, v user) time.Duration { return time.Duration(k+v.ID) * time.Second },
		}
		for _, k := range []int{0, 5} {
			for range 2 {
				if u, err := l.Get(t.Context(), k); err != nil || u.ID != k {
					t.Fatal(u, err)
				}
			}
		}
		if calls.Load() != 3 { // 0 is not stored
			t.Errorf("%d computations, want 3", calls.Load())
		}
		time.Sleep(10 * time.Second)
		_, _ = l.Get(t.Context(), 5)
		if calls.Load() != 4 {
			t.Errorf("%d computations, want 4", calls.Load())
		}
		if err := l.Delete(t.Context(), 0, 5); err != nil {
			t.Fatal(err)
		}
		_, _ = l.Get(t.Context(), 5)
		if calls.Load() != 5 {
			t.Errorf("%d computations after Delete, want 5", calls.Load())
		}
	})
}

// GetMany on two nodes at once with keys in common: every key is computed once,
// what is stored is read in one trip, and the missing ones go in one call.
func TestGetMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newRemote(memstore.New())
		var mu sync.Mutex
		var batches [][]int
		times := map[int]int{}
		loader := func(c *leash.Cache[user]) leash.Loader[int, user] {
			return leash.Loader[int, user]{Cache: c, LoadMany: func(_ context.Context, ks []int) (map[int]user, error) {
				slices.Sort(ks)
				mu.Lock()
				batches = append(batches, ks)
				for _, k := range ks {
					times[k]++
				}
				mu.Unlock()
				time.Sleep(100 * time.Millisecond)
				m := map[int]user{}
				for _, k := range ks {
					if k != 13 {
						m[k] = user{ID: k}
					}
				}
				return m, nil
			}}
		}
		a, b := loader(newCache(t, store, leash.Options{})), loader(newCache(t, store, leash.Options{}))
		first, err := a.GetMany(t.Context(), []int{1, 2, 3, 2})
		if err != nil || len(first) != 3 || len(batches) != 1 || !slices.Equal(batches[0], []int{1, 2, 3}) {
			t.Fatalf("got %v, %v, batches %v", first, err, batches)
		}
		var wg sync.WaitGroup
		for i, l := range []leash.Loader[int, user]{a, b, a} {
			wg.Go(func() {
				time.Sleep(time.Duration(i) * 50 * time.Microsecond)
				keys := []int{1, 2, 3, 10, 11, 12, 13, 20 + i}
				if i == 1 {
					slices.Reverse(keys)
				}
				m, err := l.GetMany(t.Context(), keys)
				if err != nil || len(m) != 7 {
					t.Errorf("got %v, %v", m, err)
				}
				for k, u := range m {
					if k != u.ID {
						t.Errorf("key %d has %v", k, u)
					}
				}
			})
		}
		wg.Wait()
		for k, n := range times {
			if n != 1 {
				t.Errorf("key %d was computed %d times", k, n)
			}
		}
		if len(batches) > 4 {
			t.Errorf("%d batches: %v", len(batches), batches)
		}
	})
}

// One key's failure is its own.
func TestGetManyPartialFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		boom := errors.New("boom")
		l := leash.Loader[int, user]{
			Cache: newCache(t, newRemote(memstore.New()), leash.Options{}),
			Load: func(_ context.Context, k int) (user, error) {
				switch k {
				case 1:
					return user{}, boom
				case 2:
					return user{}, leash.ErrNotFound
				case 3:
					panic("three")
				}
				return user{ID: k}, nil
			},
		}
		m, err := l.GetMany(t.Context(), []int{1, 2, 3, 4})
		ke, ok := errors.AsType[leash.KeyErrors[int]](err)
		if !ok || len(ke) != 2 || !errors.Is(ke[1], boom) || len(m) != 1 || m[4].ID != 4 {
			t.Errorf("got %v, %v", m, err)
		}
		if _, ok := errors.AsType[*leash.PanicError](ke[3]); !ok || !errors.Is(err, boom) {
			t.Errorf("got %v", err)
		}
	})
}

// A batch that fails or panics fails all its keys, and lets them go.
func TestGetManyBatchFails(t *testing.T) {
	for _, how := range []string{"error", "panic", "goexit"} {
		synctest.Test(t, func(t *testing.T) {
			boom := errors.New("boom")
			fail := true
			l := leash.Loader[int, user]{
				Cache: newCache(t, newRemote(memstore.New()), leash.Options{Backoff: -1}),
				LoadMany: func(_ context.Context, ks []int) (map[int]user, error) {
					m := map[int]user{}
					for _, k := range ks {
						m[k] = user{ID: k}
					}
					if !fail {
						return m, nil
					}
					switch how {
					case "panic":
						panic(boom)
					case "goexit":
						runtime.Goexit()
					}
					return nil, boom
				},
			}
			m, err := l.GetMany(t.Context(), []int{1, 2, 3})
			ke, _ := errors.AsType[leash.KeyErrors[int]](err)
			if len(m) != 0 || len(ke) != 3 {
				t.Errorf("%s: got %v, %v", how, m, err)
			}
			for k, err := range ke {
				if how == "goexit" && !errors.Is(err, leash.ErrGoexit) || how != "goexit" && !errors.Is(err, boom) {
					t.Errorf("%s: key %d: %v", how, k, err)
				}
			}
			fail = false
			if m, err := l.GetMany(t.Context(), []int{1, 2, 3}); err != nil || len(m) != 3 {
				t.Errorf("%s: later: %v, %v", how, m, err)
			}
		})
	}
}

// The batch is cancelled when nobody waits for any of its keys, and not before.
func TestGetManyIsCancelledByTheLastCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, newRemote(memstore.New()), leash.Options{})
		ended := make(chan time.Duration, 1)
		began := time.Now()
		l := leash.Loader[int, user]{Cache: c, LoadMany: func(ctx context.Context, ks []int) (map[int]user, error) {
			<-ctx.Done()
			ended <- time.Since(began).Round(time.Second)
			return nil, ctx.Err()
		}}
		var wg sync.WaitGroup
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if _, err := l.GetMany(ctx, []int{1, 2}); !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
		})
		wg.Go(func() {
			time.Sleep(time.Second / 2)
			ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
			defer cancel()
			if _, err := l.Get(ctx, 2); !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
		})
		wg.Wait()
		if d := <-ended; d != 3*time.Second {
			t.Errorf("the batch was cancelled after %v", d)
		}
	})
}

func TestGetManyReadsInOneTrip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newRemote(memstore.New())
		l := leash.Loader[int, user]{
			Cache: newCache(t, store, leash.Options{}),
			Load:  func(_ context.Context, k int) (user, error) { return user{ID: k}, nil },
		}
		var keys []int
		for i := range 100 {
			keys = append(keys, i)
		}
		_, _ = l.GetMany(t.Context(), keys)
		before := store.Steps()
		if m, err := l.GetMany(t.Context(), keys); err != nil || len(m) != 100 {
			t.Fatal(fmt.Sprint(len(m)), err)
		}
		if n := store.Steps() - before; n != 1 {
			t.Errorf("%d trips, want 1", n)
		}
	})
}

// halved is a store of which every second key can not be read.
type halved struct{ *remote }

type halvedError struct{ error }

func (halvedError) Failed(i int) error {
	if i%2 == 0 {
		return nil
	}
	return errors.New("server down")
}

func (h *halved) GetMany(ctx context.Context, keys []string) ([][]byte, error) {
	entries, err := h.remote.GetMany(ctx, keys)
	if err != nil {
		return nil, err
	}
	for i := 1; i < len(keys); i += 2 {
		entries[i] = nil
	}
	return entries, halvedError{errors.New("a server is down")}
}

// What a GetMany could read is answered with it, although other keys failed.
func TestGetManyWithAServerDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, &halved{newRemote(memstore.New())}, leash.Options{Logger: quiet})
		var loaded atomic.Int64
		l := leash.Loader[int, user]{Cache: c, Load: func(_ context.Context, id int) (user, error) {
			loaded.Add(1)
			return user{ID: id, Name: "computed"}, nil
		}}
		for id := range 4 {
			if err := l.Set(t.Context(), id, user{ID: id, Name: "stored"}); err != nil {
				t.Fatal(err)
			}
		}
		all, err := l.GetMany(t.Context(), []int{0, 1, 2, 3})
		for id, want := range []string{"stored", "computed", "stored", "computed"} {
			if got := all[id]; got.ID != id || got.Name != want {
				t.Errorf("%d: %v, want it %s", id, all[id], want)
			}
		}
		if err != nil || loaded.Load() != 2 || c.Stats().StoreErrors(leash.OpGetMany) != 1 {
			t.Errorf("%v, %d computations, want 2, %d store errors, want 1", err, loaded.Load(), c.Stats().StoreErrors(leash.OpGetMany))
		}
	})
}
