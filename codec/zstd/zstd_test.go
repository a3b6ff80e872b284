// SPDX-License-Identifier: Apache-2.0

package zstd_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	kzstd "github.com/klauspost/compress/zstd"

	"github.com/leashcache/leash/codec"
	"github.com/leashcache/leash/codec/codectest"
	"github.com/leashcache/leash/codec/zstd"
)

func TestKeepsTheRules(t *testing.T) {
	for name, opts := range map[string]zstd.Options{
		"default":   {},
		"all":       {Threshold: -1},
		"too large": {Threshold: 1, MaxSize: 16},
	} {
		t.Run(name, func(t *testing.T) {
			codectest.Run(t, zstd.New(codec.MessagePack, opts), codectest.Values()...)
			codectest.Run(t, zstd.New(codec.Bytes, opts),
				codectest.Of("repeats", bytes.Repeat([]byte("leash "), 1000)),
				codectest.Of("noise", noise(5000)),
				codectest.Of("empty", []byte{}),
				codectest.Refused("struct", struct{ N int }{1}),
			)
		})
	}
}

func noise(n int) []byte {
	random := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(random.Uint32())
	}
	return b
}

func TestCompressesWhatGetsShorter(t *testing.T) {
	c := zstd.New(codec.Bytes, zstd.Options{})
	text := strings.Repeat("abcdefgh", 1<<10)
	for _, tt := range []struct {
		name  string
		value string
		mark  byte
		most  int
	}{
		{"below the threshold", text[:1023], 0, 1024},
		{"at the threshold", text[:1024], 1, 200},
		{"long", text, 1, 200},
		{"noise stays as it is", string(noise(4096)), 0, 4097},
	} {
		b, err := c.Append([]byte("before"), tt.value)
		if err != nil {
			t.Fatal(err)
		}
		b = b[len("before"):]
		if b[0] != tt.mark || len(b) > tt.most {
			t.Errorf("%s: mark %d, %d bytes; want mark %d, %d bytes at most", tt.name, b[0], len(b), tt.mark, tt.most)
		}
		var back string
		if err := c.Decode(b, &back); err != nil || back != tt.value {
			t.Errorf("%s: came back with %d bytes, %v", tt.name, len(back), err)
		}
	}
}

func TestNameTellsBoth(t *testing.T) {
	if got := zstd.New(codec.JSON, zstd.Options{}).Name(); got != "zstd+json" {
		t.Errorf("Name = %q", got)
	}
}

// A few bytes must not unpack to gigabytes, whether they say so or not.
func TestUnpacksNoBomb(t *testing.T) {
	c := zstd.New(codec.Bytes, zstd.Options{MaxSize: 1 << 20})
	const size = 32 << 20
	for name, bomb := range map[string][]byte{
		"size announced": announced(t, size),
		"size not told":  streamed(t, size),
		"many frames":    bytes.Repeat(announced(t, 512<<10), 64),
	} {
		var got []byte
		err := c.Decode(append([]byte{1}, bomb...), &got)
		if !errors.Is(err, zstd.ErrTooLarge) || got != nil {
			t.Errorf("%s: %d bytes unpacked to %d, error %v", name, len(bomb), len(got), err)
		}
	}
	within := announced(t, 1<<20)
	var got []byte
	if err := c.Decode(append([]byte{1}, within...), &got); err != nil || len(got) != 1<<20 {
		t.Errorf("MaxSize itself: %d bytes, %v", len(got), err)
	}
}

func announced(t *testing.T, n int) []byte {
	t.Helper()
	w, err := kzstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	return w.EncodeAll(make([]byte, n), nil)
}

func streamed(t *testing.T, n int) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := kzstd.NewWriter(&b, kzstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	for range n >> 20 {
		if _, err := w.Write(make([]byte, 1<<20)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// The bubble fails if a goroutine is left in it, and if it meets a channel that
// was made in another bubble.
func TestLeavesNoGoroutineAndMayBeShared(t *testing.T) {
	c := zstd.New(codec.Bytes, zstd.Options{})
	value := strings.Repeat("leash ", 1000)
	for range 2 {
		synctest.Test(t, func(t *testing.T) {
			var wg sync.WaitGroup
			for range 20 {
				wg.Go(func() {
					b, err := c.Append(nil, value)
					var back string
					if err == nil {
						err = c.Decode(b, &back)
					}
					if err != nil || back != value {
						t.Errorf("came back with %d bytes, %v", len(back), err)
					}
				})
			}
			wg.Wait()
		})
	}
}

func TestInnerErrorsAreReturned(t *testing.T) {
	c := zstd.New(codec.JSON, zstd.Options{Threshold: -1})
	if _, err := c.Append(nil, make(chan int)); err == nil {
		t.Error("Append took a channel")
	}
	b, err := c.Append(nil, "text, and not a number, text, and not a number")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Decode(b, new(int)); err == nil {
		t.Error("Decode made a number of text")
	}
	for _, data := range []string{"", "\x02x", "\x01", "\x01x"} {
		if err := c.Decode([]byte(data), new(string)); err == nil {
			t.Errorf("Decode takes %q", data)
		}
	}
}

func FuzzDecode(f *testing.F) {
	c := zstd.New(codec.Bytes, zstd.Options{MaxSize: 1 << 20})
	for _, v := range []string{"", "short", strings.Repeat("leash ", 500), string(noise(2000))} {
		b, err := c.Append(nil, v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var v []byte
		if c.Decode(data, &v) != nil {
			return
		}
		b, err := c.Append(nil, v)
		if err != nil {
			t.Fatalf("read from %q and not to be written: %v", data, err)
		}
		var again []byte
		if err := c.Decode(b, &again); err != nil || !bytes.Equal(v, again) {
			t.Fatalf("written as %q and read as %q, %v", b, again, err)
		}
	})
}

func BenchmarkZstd(b *testing.B) {
	c := zstd.New(codec.Bytes, zstd.Options{})
	value := []byte(strings.Repeat(`{"id":12345,"name":"a name"},`, 128))
	data, err := c.Append(nil, &value)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("op=append", func(b *testing.B) {
		b.ReportAllocs()
		dst := make([]byte, 0, 2*len(value))
		for b.Loop() {
			_, _ = c.Append(dst, &value)
		}
	})
	b.Run("op=decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_ = c.Decode(data, new([]byte))
		}
	})
}
