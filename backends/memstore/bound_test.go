// SPDX-License-Identifier: Apache-2.0

package memstore

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leashcache/leash/internal/entry"
)

func TestEntriesThatNobodyUsesMakeRoom(t *testing.T) {
	// Keys that share a shard, where the order of use is exact.
	s := New(Options{MaxBytes: 5 * 1300})
	var keys []string
	for i := 0; len(keys) < 8; i++ {
		key := fmt.Sprintf("key-%05d", i)
		sh, _ := s.lock(key)
		sh.mu.Unlock()
		if sh == &s.shards[3] {
			keys = append(keys, key)
		}
	}
	for _, key := range keys[:4] {
		fill(t, s, key, 900, time.Hour)
	}
	if !present(t, s, keys[0]) { // now the latest used
		t.Fatal("the first went before there was need")
	}
	for _, key := range keys[4:7] {
		fill(t, s, key, 900, time.Hour)
	}
	var left []string
	for _, key := range keys {
		if present(t, s, key) {
			left = append(left, key)
		}
	}
	if want := []string{keys[0], keys[3], keys[4], keys[5], keys[6]}; !slices.Equal(left, want) {
		t.Errorf("left are %v, want %v", left, want)
	}
	if st := s.Stats(); st.Evicted != 2 || st.Entries != 5 || st.Bytes > 5*1300 {
		t.Errorf("stats %+v", st)
	}
}

func TestBoundHoldsOverAllShards(t *testing.T) {
	const bound = 100 << 10
	s := New(Options{MaxBytes: bound})
	for i := range 5000 {
		fill(t, s, fmt.Sprint("key", rand.IntN(500)), rand.IntN(20<<10), time.Hour)
		if got := s.bytes.Load(); got > bound {
			t.Fatalf("after %d writes %d bytes, bound %d", i, got, bound)
		}
	}
	if st := s.Stats(); st.Bytes != s.bytes.Load() || st.Bytes < bound/2 || st.Evicted == 0 {
		t.Errorf("stats %+v, counted %d", st, s.bytes.Load())
	}
	// One entry may need nearly all the room.
	fill(t, s, "large", bound-1000, time.Hour)
	if st := s.Stats(); !present(t, s, "large") || st.Bytes > bound {
		t.Errorf("with a large entry: %+v", st)
	}
}

func TestTooLargeEntryIsAnErrorAndChangesNothing(t *testing.T) {
	s := New(Options{MaxBytes: 10 << 10})
	fill(t, s, "key", 100, time.Hour)
	stored, err := s.Publish(t.Context(), "key", value(entry.Token{2}, 10<<10), time.Hour, true)
	if stored || !errors.Is(err, ErrTooLarge) {
		t.Fatalf("Publish: %v, %v", stored, err)
	}
	if got, _ := s.Get(t.Context(), "key", nil); !bytes.Equal(got, value(entry.Token{1}, 100)) {
		t.Error("the old entry is gone")
	}
	tiny := New(Options{MaxBytes: 100})
	if _, _, err := tiny.Lease(t.Context(), "key", entry.NewLease(entry.Token{1}, time.Second, 0), nil, false, time.Second); !errors.Is(err, ErrTooLarge) {
		t.Errorf("Lease: %v", err)
	}
}

func TestNegativeBoundIsNone(t *testing.T) {
	s := New(Options{MaxBytes: -1})
	for i := range 100 {
		fill(t, s, fmt.Sprint(i), 1<<20, time.Hour)
	}
	if s.Len() != 100 {
		t.Errorf("%d entries are left", s.Len())
	}
}

func TestDeadEntriesGoBeforeLiveOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{MaxBytes: 16 * 1300 * 4})
		for i := range 16 {
			fill(t, s, fmt.Sprint("live", i), 900, time.Hour)
		}
		for i := range 40 {
			fill(t, s, fmt.Sprint("dead", i), 900, time.Second)
		}
		time.Sleep(time.Second)
		for i := range 24 {
			fill(t, s, fmt.Sprint("new", i), 900, time.Hour)
		}
		if st := s.Stats(); st.Evicted != 0 || st.Entries != 40 {
			t.Errorf("stats %+v", st)
		}
	})
}

// TestWritesSweepTheDead: nobody asks for the keys again and there is room, yet
// the dead do not stay.
func TestWritesSweepTheDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New()
		for i := range 10_000 {
			fill(t, s, fmt.Sprint("dead", i), 0, time.Minute)
		}
		time.Sleep(time.Minute)
		for i := range 10_000 {
			fill(t, s, fmt.Sprint("live", i), 0, time.Hour)
		}
		held := 0
		for i := range s.shards {
			held += len(s.shards[i].items)
		}
		if held != 10_000 {
			t.Errorf("%d items are held, want the 10000 that live", held)
		}
	})
}

func TestEvictionIsToldToWatchers(t *testing.T) {
	s := New(Options{MaxBytes: 2000})
	wake, stop := s.Watch("key")
	defer stop()
	if got, _, err := s.Lease(t.Context(), "key", entry.NewLease(entry.Token{1}, time.Minute, 0), nil, false, time.Minute); got != nil || err != nil {
		t.Fatal(got, err)
	}
	fill(t, s, "other", 1500, time.Hour)
	select {
	case hint := <-wake:
		if hint != nil {
			t.Errorf("the hint is %q", hint)
		}
	default:
		t.Error("no hint")
	}
}

// TestOverheadIsHonest compares the estimate with what the heap grows by.
func TestOverheadIsHonest(t *testing.T) {
	for _, n := range []int{0, 1000} {
		s := New(Options{MaxBytes: -1})
		keys := make([]string, 50_000)
		for i := range keys {
			keys[i] = fmt.Sprintf("some:namespace:%08d", i)
		}
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		for _, key := range keys {
			fill(t, s, key, n, time.Hour)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		got, want := float64(after.HeapAlloc-before.HeapAlloc), float64(s.Stats().Bytes)
		if got > 1.25*want || got < want/1.5 {
			t.Errorf("%d bytes of payload: %.0f bytes per entry on the heap, estimated %.0f", n, got/float64(len(keys)), want/float64(len(keys)))
		}
		runtime.KeepAlive(s)
	}
}
