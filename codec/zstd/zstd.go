// SPDX-License-Identifier: Apache-2.0

// Package zstd compresses what another codec writes.
//
//	leash.Options{Codec: zstd.New(codec.MessagePack, zstd.Options{})}
//
// It is a package of its own so that only those who import it link it.
package zstd

import (
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"sync"

	"github.com/klauspost/compress/zstd"

	"github.com/leashcache/leash/codec"
)

// Options of [New]. The zero value means the defaults.
type Options struct {
	// Threshold is the length, in bytes, from which an encoding is compressed;
	// 0 means 1 KiB and a negative threshold that all are. Shorter ones gain
	// little and cost about 10 µs each way.
	Threshold int

	// MaxSize is the longest encoding that is compressed, and the most that
	// Decode unpacks, so that a few bytes in a store cannot claim all memory;
	// 0 means 64 MiB. Longer values are stored as they are: they are not lost.
	// Lowering it makes entries unreadable that were written before.
	MaxSize int
}

// Defaults of [Options].
const (
	defaultThreshold = 1 << 10
	defaultMaxSize   = 64 << 20
)

// ErrTooLarge says that an entry would unpack to more than [Options.MaxSize].
var ErrTooLarge = errors.New("codec: zstd: unpacks to more than MaxSize")

// Codec compresses what its inner codec writes. Make one with [New] and keep
// it: it holds tables. It starts no goroutine and needs no closing.
type Codec struct {
	inner     codec.Codec
	threshold int
	maxSize   int
	packer    *zstd.Encoder
	unpacker  *zstd.Decoder
}

var _ codec.Codec = (*Codec)(nil)

// What an encoding begins with. Neither changes: entries are stored with it.
const (
	asItIs byte = 0
	packed byte = 1
)

// New returns a codec that compresses what inner writes. At most four calls,
// and no more than there are processors, compress at a time; the others wait.
func New(inner codec.Codec, opts Options) *Codec {
	c := &Codec{inner: inner, threshold: opts.Threshold, maxSize: opts.MaxSize}
	if c.threshold == 0 {
		c.threshold = defaultThreshold
	}
	if c.maxSize <= 0 {
		c.maxSize = defaultMaxSize
	}
	atOnce := min(runtime.GOMAXPROCS(0), 4)
	c.packer = must(zstd.NewWriter(nil,
		zstd.WithEncoderLevel(zstd.SpeedFastest),
		zstd.WithEncoderConcurrency(atOnce),
		zstd.WithLowerEncoderMem(true),
		zstd.WithEncoderCRC(false), // an entry has a checksum of its own
	))
	c.unpacker = must(zstd.NewReader(nil,
		zstd.WithDecoderConcurrency(atOnce),
		zstd.WithDecoderMaxMemory(uint64(c.maxSize)),
	))
	// The encoder makes its channel on first use. Made here, it belongs where
	// the codec was made, also if a synctest bubble is the first to use it.
	c.packer.EncodeAll(nil, nil)
	return c
}

// must is for options that are right or wrong whoever calls [New].
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// Name is "zstd+" and the inner codec's name.
func (c *Codec) Name() string { return "zstd+" + c.inner.Name() }

// Check asks the inner codec.
func (c *Codec) Check(t reflect.Type) error { return c.inner.Check(t) }

// Append appends v's encoding to dst, compressed if that makes it shorter.
func (c *Codec) Append(dst []byte, v any) ([]byte, error) {
	mark := len(dst)
	b, err := c.inner.Append(append(dst, asItIs), v)
	if err != nil {
		return dst, err
	}
	plain := b[mark+1:]
	if len(plain) < c.threshold || len(plain) > c.maxSize {
		return b, nil
	}
	s := borrow()
	defer s.giveBack()
	if s.buf = c.packer.EncodeAll(plain, s.buf); len(s.buf) < len(plain) {
		b[mark] = packed
		b = append(b[:mark+1], s.buf...)
	}
	return b, nil
}

// Decode writes the value that data holds to what v points to.
func (c *Codec) Decode(data []byte, v any) error {
	if len(data) == 0 {
		return errors.New("codec: zstd: no data")
	}
	switch mark, data := data[0], data[1:]; mark {
	case asItIs:
		return c.inner.Decode(data, v)
	case packed:
		return c.unpack(data, v)
	default:
		return fmt.Errorf("codec: zstd: unknown mark %d", mark)
	}
}

func (c *Codec) unpack(data []byte, v any) error {
	s := borrow()
	defer s.giveBack() // the inner codec keeps no part of it
	plain, err := c.unpacker.DecodeAll(data, s.buf)
	switch {
	case errors.Is(err, zstd.ErrDecoderSizeExceeded), errors.Is(err, zstd.ErrWindowSizeExceeded):
		return fmt.Errorf("%w (%d bytes): %w", ErrTooLarge, c.maxSize, err)
	case err != nil:
		return fmt.Errorf("codec: zstd: %w", err)
	}
	s.buf = plain[:0]
	return c.inner.Decode(plain, v)
}

// scratch holds one form of a value while the other is made.
type scratch struct{ buf []byte }

var scratches = sync.Pool{New: func() any { return new(scratch) }}

// maxPooled is the largest scratch that is kept.
const maxPooled = 1 << 20

func borrow() *scratch { return scratches.Get().(*scratch) }

func (s *scratch) giveBack() {
	if cap(s.buf) > maxPooled {
		return
	}
	s.buf = s.buf[:0]
	scratches.Put(s)
}
