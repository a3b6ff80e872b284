// SPDX-License-Identifier: Apache-2.0

package memstore

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leashcache/leash/internal/entry"
)

// value is an entry that t published, with n bytes of payload.
func value(t entry.Token, n int) []byte {
	b := append(entry.Begin(nil), make([]byte, n)...)
	entry.Finish(b, 0, "", entry.Sealed{Publisher: t, Kind: entry.Value})
	return b
}

func fill(tb testing.TB, s *Store, key string, n int, ttl time.Duration) {
	tb.Helper()
	stored, err := s.Publish(tb.Context(), key, value(entry.Token{1}, n), ttl, true)
	if !stored || err != nil {
		tb.Fatalf("Publish(%s): %v, %v", key, stored, err)
	}
}

func present(tb testing.TB, s *Store, key string) bool {
	tb.Helper()
	b, err := s.Get(tb.Context(), key, nil)
	if err != nil {
		tb.Fatal(err)
	}
	return b != nil
}

func TestExpiryIsExactInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New()
		fill(t, s, "key", 1, 1500*time.Microsecond) // whole milliseconds, rounded up
		time.Sleep(2*time.Millisecond - 1)
		if !present(t, s, "key") {
			t.Error("gone too early")
		}
		time.Sleep(1 * time.Nanosecond)
		if present(t, s, "key") || s.Len() != 0 || s.Stats().Bytes != 0 {
			t.Error("not gone")
		}
		fill(t, s, "long", 1, 1<<63-1)
		time.Sleep(100 * 365 * 24 * time.Hour)
		if !present(t, s, "long") {
			t.Error("the longest life there is has overflowed")
		}
	})
}

func TestLongestLeaseStands(t *testing.T) {
	s := New()
	fill(t, s, "key", 1, 2*time.Hour)
	seen := value(entry.Token{1}, 1)
	for i, want := range []bool{true, false} {
		lease := entry.NewLease(entry.Token{2, byte(i)}, entry.MaxLease, 0)
		got, left, err := s.Lease(t.Context(), "key", lease, seen, false, entry.MaxLease)
		if granted := bytes.Equal(got[4:20], lease[4:20]); err != nil || granted != want || (left > 0) == want {
			t.Fatalf("lease %d: granted %v, left %v, %v", i, granted, left, err)
		}
	}
}

func TestWrongArgumentsAreErrors(t *testing.T) {
	s, ctx, tok := New(), t.Context(), make([]byte, 16)
	lease := entry.NewLease(entry.Token{1}, time.Second, 0)
	if _, _, err := s.Lease(ctx, "key", lease[:10], nil, false, time.Second); err == nil {
		t.Error("Lease took half a head")
	}
	if _, _, err := s.Lease(ctx, "key", lease, nil, false, 0); err == nil {
		t.Error("Lease took no time")
	}
	if _, err := s.Publish(ctx, "key", value(entry.Token{1}, 0), -1, true); err == nil {
		t.Error("Publish took a negative life")
	}
	if _, err := s.Renew(ctx, "key", tok, 0); err == nil {
		t.Error("Renew took no time")
	}
	if held, err := s.Abandon(ctx, "key", tok[:3], 0); held || err != nil {
		t.Errorf("Abandon of a short token: %v, %v", held, err)
	}
	if s.Len() != 0 {
		t.Error("something was stored")
	}
}

func TestStopLeavesNothing(t *testing.T) {
	s := New()
	for i := range 100 {
		_, stop := s.Watch(fmt.Sprint("key", i%10))
		defer func() {
			stop()
			stop() // harmless
		}()
	}
	t.Cleanup(func() {
		for i := range s.shards {
			if n := len(s.shards[i].watchers); n != 0 {
				t.Errorf("%d keys are still watched", n)
			}
		}
	})
}

func TestHintsAreCopies(t *testing.T) {
	s := New()
	wake1, stop1 := s.Watch("key")
	wake2, stop2 := s.Watch("key")
	defer stop1()
	defer stop2()
	fill(t, s, "key", 10, time.Hour)
	clear(<-wake1)
	if want := value(entry.Token{1}, 10); !bytes.Equal(<-wake2, want) || !present(t, s, "key") {
		t.Error("one who was told changed what the other was told")
	}
}

// TestChaos runs every step at once on few keys and little room, for the race
// detector, and checks the books in the end.
func TestChaos(t *testing.T) {
	s := New(Options{MaxBytes: 20 << 10})
	ctx := t.Context()
	done := make(chan struct{})
	for w := range 8 {
		go func() {
			defer func() { done <- struct{}{} }()
			rng := rand.New(rand.NewPCG(uint64(w), 1))
			for range 5000 {
				key, tok := fmt.Sprint(rng.IntN(20)), entry.Token{byte(rng.IntN(4) + 1)}
				ttl := time.Duration(rng.IntN(3000)+1) * time.Microsecond
				switch rng.IntN(8) {
				case 0:
					_, _ = s.Publish(ctx, key, value(tok, rng.IntN(4<<10)), ttl, rng.IntN(2) == 0)
				case 1:
					_, _ = s.Renew(ctx, key, tok[:], ttl)
				case 2:
					_, _ = s.Abandon(ctx, key, tok[:], ttl)
				case 3:
					_ = s.Delete(ctx, key)
				case 4:
					wake, stop := s.Watch(key)
					runtime.Gosched()
					select {
					case <-wake:
					default:
					}
					stop()
				default:
					seen, _ := s.Get(ctx, key, nil)
					_, _, _ = s.Lease(ctx, key, entry.NewLease(tok, ttl, 0), seen, rng.IntN(2) == 0, ttl)
				}
			}
		}()
	}
	for range 8 {
		<-done
	}
	checkBooks(t, s)
}

// checkBooks wants map, list, heap and counters to agree.
func checkBooks(t *testing.T, s *Store) {
	t.Helper()
	var total int64
	for i := range s.shards {
		sh := &s.shards[i]
		var sum int64
		for key, it := range sh.items {
			sum += it.size
			if it.key != key || sh.byExp[it.pos] != it || it.used.Value.(*item) != it || it.size != int64(len(key)+len(it.data))+overhead {
				t.Errorf("shard %d: item %q is not what it says", i, key)
			}
		}
		if sh.bytes != sum || sh.lru.Len() != len(sh.items) || len(sh.byExp) != len(sh.items) {
			t.Errorf("shard %d: %d bytes and %d counted, %d items, %d listed, %d in the heap", i, sum, sh.bytes, len(sh.items), sh.lru.Len(), len(sh.byExp))
		}
		total += sum
	}
	if total != s.bytes.Load() || total > s.max {
		t.Errorf("%d bytes, %d counted, %d allowed", total, s.bytes.Load(), s.max)
	}
}

func TestGetIntoABufferAllocatesNothing(t *testing.T) {
	s, ctx := New(), t.Context()
	fill(t, s, "key", 1000, time.Hour)
	buf := make([]byte, 0, 2048)
	if n := testing.AllocsPerRun(100, func() { buf, _ = s.Get(ctx, "key", buf) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkGet(b *testing.B) {
	for _, n := range []int{100, 10_000} {
		b.Run(fmt.Sprintf("size=%d", n), func(b *testing.B) {
			s, ctx := New(), b.Context()
			fill(b, s, "key", n, time.Hour)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				var buf []byte
				for pb.Next() {
					buf, _ = s.Get(ctx, "key", buf)
				}
			})
		})
	}
}

func BenchmarkPublish(b *testing.B) {
	s, ctx, v := New(), b.Context(), value(entry.Token{1}, 100)
	keys := strings.Fields("a b c d e f g h")
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		_, _ = s.Publish(ctx, keys[i%len(keys)], v, time.Hour, true)
		i++
	}
}
