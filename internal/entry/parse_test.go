// SPDX-License-Identifier: Apache-2.0

package entry

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
)

var (
	scope = NewScope("users", "v1")
	alice = Token{0xa1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
	bob   = Token{0xb0, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1}
)

const key = "users:42"

// sample is an entry with a lease on it.
func sample(payload string) []byte {
	b := append(Begin(nil), payload...)
	Finish(b, scope, key, Sealed{
		Publisher: alice, Kind: Value, Fingerprint: 0x0102030405060708, Codec: 7,
		Created: time.UnixMicro(1_700_000_000_123_456), Fresh: 5 * time.Minute, Cost: 42 * time.Millisecond,
	})
	Head(b).SetLease(NewLease(bob, 10*time.Second, time.Second), 1_700_000_009_000, 1_700_000_001_000)
	return b
}

// seal gives b the checksum that fits what it says.
func seal(b []byte, s Scope, key string) {
	h, ok := HeadOf(b)
	if !ok || h.Size() < Overhead-HeadSize || h.Size() > len(b)-HeadSize {
		return
	}
	binary.BigEndian.PutUint32(b[offSum:], s.sum(b[:HeadSize+h.Size()], key))
}

func TestParseReturnsWhatFinishWrote(t *testing.T) {
	for _, kind := range []Kind{Value, NotFound, Error} {
		for _, payload := range []string{"", "x", strings.Repeat("payload ", 1000)} {
			want := Sealed{
				Publisher: alice, Kind: kind, Fingerprint: math.MaxUint64, Codec: math.MaxUint32,
				Created: time.UnixMicro(1_700_000_000_123_456), Fresh: 400 * 24 * time.Hour, Cost: time.Microsecond,
				Payload: []byte(payload),
			}
			b := append(Begin(nil), payload...)
			Finish(b, scope, key, want)
			got, err := Parse(b, scope, key)
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("got %+v, %v\nwant %+v", got, err, want)
			}
		}
	}
}

func TestBeginAppends(t *testing.T) {
	b := Begin([]byte("before"))
	if string(b[:6]) != "before" || len(b) != 6+Overhead {
		t.Fatalf("got %q", b)
	}
	if h, ok := HeadOf(b[6:]); !ok || !h.Publisher().IsZero() || !h.Token().IsZero() {
		t.Fatal("what follows is not an empty entry")
	}
}

func TestNoFlippedByteIsAValue(t *testing.T) {
	for _, behind := range []string{"", "the store's own, much longer than a byte can count: " + strings.Repeat("x", 300)} {
		b := append(sample("a payload"), behind...)
		size := len(b) - len(behind)
		for i := range b {
			for bit := range 8 {
				c := bytes.Clone(b)
				c[i] ^= 1 << bit
				_, err := Parse(c, scope, key)
				free := i >= offToken && i < offPublisher || i >= size
				if (err == nil) != free {
					t.Fatalf("bit %d of byte %d flipped: %v", bit, i, err)
				}
			}
		}
	}
}

func TestNoTruncatedEntryIsAValue(t *testing.T) {
	b := sample("a payload")
	for n := range b {
		_, err := Parse(b[:n], scope, key)
		want := ErrTruncated
		if n < HeadSize {
			want = ErrForeign
		}
		if !errors.Is(err, want) {
			t.Fatalf("the first %d bytes: %v, want %v", n, err, want)
		}
	}
	if _, err := Parse(append(b, "the store's"...), scope, key); err != nil {
		t.Fatalf("with bytes behind the value: %v", err)
	}
}

func TestParseRefusesWhatWasWrittenElsewhere(t *testing.T) {
	b := sample("a payload")
	for _, k := range []string{"", "users:4", "users:421", "Users:42", key + "\x00", strings.Repeat(key, 100)} {
		if _, err := Parse(b, scope, k); !errors.Is(err, ErrChecksum) {
			t.Errorf("under key %.20q: %v", k, err)
		}
	}
	for _, s := range []Scope{NewScope("users", "v2"), NewScope("user", "sv1"), NewScope("users", ""), NewScope("usersv1", ""), 0} {
		if _, err := Parse(b, s, key); !errors.Is(err, ErrChecksum) {
			t.Errorf("in scope %x: %v", s, err)
		}
	}
}

func TestParseSaysWhy(t *testing.T) {
	changed := func(f func(b []byte)) []byte {
		b := sample("a payload")
		f(b)
		seal(b, scope, key)
		return b
	}
	huge := uint64(math.MaxInt64/1000 + 1)
	for name, test := range map[string]struct {
		b    []byte
		want error
	}{
		"nothing":            {nil, ErrForeign},
		"another format":     {changed(func(b []byte) { b[3] = 2 }), ErrForeign},
		"a lease alone":      {NewLease(bob, time.Second, 0), ErrEmpty},
		"nobody's value":     {changed(func(b []byte) { clear(b[offPublisher:offSize]) }), ErrEmpty},
		"no sealed part":     {changed(func(b []byte) { clear(b[offSize:offKind]) }), ErrTruncated},
		"sealed part is cut": {changed(func(b []byte) { b[offSize+3] = Overhead - HeadSize - 1 }), ErrTruncated},
		"size is too large":  {changed(func(b []byte) { b[offSize] = 0xff }), ErrTruncated},
		"kind zero":          {changed(func(b []byte) { b[offKind] = 0 }), ErrKind},
		"kind of the future": {changed(func(b []byte) { b[offKind] = 4 }), ErrKind},
		"the zero byte":      {changed(func(b []byte) { b[offKind+1] = 1 }), ErrKind},
		"fresh overflows":    {changed(func(b []byte) { binary.BigEndian.PutUint64(b[offFresh:], huge) }), ErrKind},
		"cost overflows":     {changed(func(b []byte) { binary.BigEndian.PutUint64(b[offCost:], huge) }), ErrKind},
	} {
		if _, err := Parse(test.b, scope, key); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
}

func TestParseAllocatesNothing(t *testing.T) {
	for _, key := range []string{"", key, strings.Repeat("k", 127), strings.Repeat("k", 129), strings.Repeat("k", 60<<10)} {
		b := append(Begin(nil), "a payload"...)
		Finish(b, scope, key, Sealed{Publisher: alice, Kind: Value})
		n := testing.AllocsPerRun(100, func() {
			if _, err := Parse(b, scope, key); err != nil {
				t.Fatal(err)
			}
		})
		if n != 0 {
			t.Errorf("with a key of %d bytes: %v allocations", len(key), n)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	e := sample(strings.Repeat("x", 1024))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(e, scope, key); err != nil {
			b.Fatal(err)
		}
	}
}
