// SPDX-License-Identifier: Apache-2.0

package entry

import (
	"bytes"
	"math"
	"testing"
	"time"
)

// TestHeadLayout spells the head out as the contract of stores does.
func TestHeadLayout(t *testing.T) {
	h := NewLease(bob, 10*time.Second, 1500*time.Millisecond)
	h.SetUntil(0x0102030405060708)
	h.SetEnd(0x1112131415161718)
	h.Count()
	h.Count()
	want := append([]byte("LSH\x01"), bob[:]...)
	want = append(want, 1, 2, 3, 4, 5, 6, 7, 8)
	want = append(want, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18)
	want = append(want, 0, 0, 0, 2, 0, 0, 0x27, 0x10, 0, 0, 0x05, 0xdc)
	want = append(want, make([]byte, 24)...)
	if !bytes.Equal(h, want) {
		t.Fatalf("got  %x\nwant %x", []byte(h), want)
	}
	if h.Token() != bob || h.Until() != 0x0102030405060708 || h.End() != 0x1112131415161718 || h.Counter() != 2 ||
		h.Length() != 10*time.Second || h.Expected() != 1500*time.Millisecond || h.Backoff() || !h.Publisher().IsZero() || h.Size() != 0 {
		t.Fatal("the head does not read as it was written")
	}
	h.SetBackoff(99, 3*time.Second)
	want = append([]byte("LSH\x01"), make([]byte, 16)...)
	want = append(want, 0, 0, 0, 0, 0, 0, 0, 99)
	want = append(want, make([]byte, 12)...)
	want = append(want, 0, 0, 0x0b, 0xb8, 0, 0, 0, 0, 1)
	want = append(want, make([]byte, 23)...)
	if !bytes.Equal(h, want) || !h.Backoff() {
		t.Fatalf("back-off\ngot  %x\nwant %x", []byte(h), want)
	}
}

func TestLeaseAreaLeavesTheRest(t *testing.T) {
	b := sample("a payload")
	h := Head(b)
	steps := map[string]func(){
		"SetLease":   func() { h.SetLease(NewLease(alice, time.Hour, 0), 1, 2) },
		"Count":      h.Count,
		"SetUntil":   func() { h.SetUntil(math.MaxInt64) },
		"SetEnd":     func() { h.SetEnd(-1) },
		"SetBackoff": func() { h.SetBackoff(5, time.Hour) },
		"ClearLease": h.ClearLease,
	}
	for name, step := range steps {
		was := bytes.Clone(b)
		step()
		if !bytes.Equal(b[:offToken], was[:offToken]) || !bytes.Equal(b[offPublisher:], was[offPublisher:]) {
			t.Errorf("%s wrote outside the lease area", name)
		}
	}
	h.ClearLease()
	if !bytes.Equal(b[offToken:offPublisher], make([]byte, offPublisher-offToken)) {
		t.Error("ClearLease left something")
	}
}

func TestHeadOfIsOnlyTheHead(t *testing.T) {
	h, ok := HeadOf(sample("a payload"))
	if !ok || len(h) != HeadSize || cap(h) != HeadSize {
		t.Fatalf("%v, length %d, capacity %d", ok, len(h), cap(h))
	}
	for _, b := range [][]byte{nil, {}, []byte(magic), sample("")[:HeadSize-1], bytes.Repeat([]byte{'x'}, 100)} {
		if _, ok := HeadOf(b); ok {
			t.Errorf("%x has a head", b)
		}
	}
}

func TestSameLease(t *testing.T) {
	seen := NewLease(bob, time.Second, 0)
	for name, test := range map[string]struct {
		change func(h Head)
		want   bool
	}{
		"nothing":     {func(Head) {}, true},
		"until moved": {func(h Head) { h.SetUntil(9); h.SetEnd(9) }, true},
		"renewed":     {func(h Head) { h.Count() }, false},
		"stolen":      {func(h Head) { h.SetLease(NewLease(alice, time.Second, 0), 0, 0) }, false},
		"given up":    {func(h Head) { h.ClearLease() }, false},
		"backing off": {func(h Head) { h.SetBackoff(9, time.Second) }, false},
	} {
		now := Head(bytes.Clone(seen))
		test.change(now)
		if SameLease(seen, now) != test.want || SameLease(now, seen) != test.want {
			t.Errorf("%s: want %v", name, test.want)
		}
	}
	free, backoff := make(Head, HeadSize), make(Head, HeadSize)
	backoff.SetBackoff(1, time.Second)
	if SameLease(free, backoff) {
		t.Error("no lease and a back-off are the same")
	}
}

func TestNewLeaseBoundsExpected(t *testing.T) {
	if got := NewLease(bob, MaxLease, math.MaxInt64).Expected(); got != math.MaxUint32*time.Millisecond {
		t.Errorf("expected is %v", got)
	}
}
