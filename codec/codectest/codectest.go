// SPDX-License-Identifier: Apache-2.0

// Package codectest is the conformance suite for [codec.Codec].
//
//	func TestCodec(t *testing.T) {
//		codectest.Run(t, mycodec.Codec, codectest.Values()...)
//	}
//
// A codec for few types passes samples of its own, made with [Of].
package codectest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/leashcache/leash/codec"
)

// Run tests that c keeps the rules of [codec.Codec] with each of the samples.
// Most rules need a sample that is kept; those from [Refused] test Check. With
// the race detector on, it tests more.
func Run(t *testing.T, c codec.Codec, samples ...Sample) {
	t.Helper()
	if name, again := c.Name(), c.Name(); name == "" || name != again {
		t.Errorf("Name is %q, then %q: every entry carries the name, so it is never empty and never changes", name, again)
	}
	if len(samples) == 0 {
		t.Error("no samples: nothing was tested")
	}
	for _, s := range samples {
		t.Run(s.name, func(t *testing.T) { runSample(t, c, s) })
	}
	t.Run("together", func(t *testing.T) { together(t, c, samples) })
}

func runSample(t *testing.T, c codec.Codec, s Sample) {
	for _, r := range rows {
		if r.refused != s.refused {
			continue
		}
		t.Run(r.name, func(t *testing.T) {
			if err := r.check(c, s); err != nil {
				t.Errorf("%s of %s: %v\nrule: %s", c.Name(), s.typ, err, r.rule)
			}
		})
	}
}

// row is one rule of the interface.
type row struct {
	name    string
	rule    string
	refused bool // for samples that Check has to refuse
	check   func(codec.Codec, Sample) error
}

var rows = []row{
	{"check", "Check accepts what comes back as it went in", false,
		func(c codec.Codec, s Sample) error { return c.Check(s.typ) }},
	{"round trip", "what goes in comes out", false, roundTrip},
	{"pointer", "a pointer to a value is written as the value is", false, pointerTrip},
	{"dst", "Append leaves alone what dst holds, and returns it with the encoding behind it", false, keepsDst},
	{"own bytes", "Append keeps no part of the bytes it returned", false, ownBytes},
	{"aliasing", "Decode keeps no part of data, since data is used again", false, noAliasing},
	{"read only", "Decode only reads data", false, readOnly},
	{"truncated", "data that ends early gives an error or a value, never a panic", false, truncated},
	{"garbage", "data that was never written gives an error or a value, never a panic", false, garbage},
	{"after an error", "a failed Decode leaves no trace in the next one", false, afterError},
	{"refused", "Check refuses what does not come back as it went in", true, refused},
	{"refused with reason", "what Check refuses does not come back as it went in", true, refusedWithReason},
}

func roundTrip(c codec.Codec, s Sample) error {
	b, err := c.Append(nil, s.value())
	if err != nil {
		return fmt.Errorf("Append: %w", err)
	}
	return s.decode(c, b)
}

func pointerTrip(c codec.Codec, s Sample) error {
	b, err := c.Append(nil, s.pointer())
	if err != nil {
		return fmt.Errorf("Append: %w", err)
	}
	return s.decode(c, b)
}

func keepsDst(c codec.Codec, s Sample) error {
	const before = "what was there before"
	for _, room := range []int{len(before), len(before) + 1, 4096} {
		dst := append(make([]byte, 0, room), before...)
		b, err := c.Append(dst, s.value())
		if err != nil {
			return fmt.Errorf("Append: %w", err)
		}
		if string(dst) != before {
			return fmt.Errorf("dst was changed to %q", dst)
		}
		rest, ok := bytes.CutPrefix(b, []byte(before))
		if !ok {
			return fmt.Errorf("the result does not begin with dst: %q", b)
		}
		if err := s.decode(c, rest); err != nil {
			return err
		}
	}
	return nil
}

func ownBytes(c codec.Codec, s Sample) error {
	first, err := c.Append(nil, s.value())
	if err != nil {
		return fmt.Errorf("Append: %w", err)
	}
	was := bytes.Clone(first)
	if _, err := c.Append(nil, s.value()); err != nil {
		return fmt.Errorf("Append: %w", err)
	}
	if !bytes.Equal(first, was) {
		return fmt.Errorf("a second Append changed the first result to %q", first)
	}
	clear(first)
	return roundTrip(c, s)
}

func noAliasing(c codec.Codec, s Sample) error {
	b, err := c.Append(nil, s.value())
	if err != nil {
		return fmt.Errorf("Append: %w", err)
	}
	p := s.fresh()
	if err := c.Decode(b, p); err != nil {
		return fmt.Errorf("Decode: %w", err)
	}
	for i := range b {
		b[i] ^= 0xff
	}
	return s.compare(p)
}

func readOnly(c codec.Codec, s Sample) error {
	b, err := c.Append(nil, s.value())
	if err != nil {
		return fmt.Errorf("Append: %w", err)
	}
	// A codec may be tempted by the capacity, too.
	data := append(make([]byte, 0, len(b)+64), b...)
	spare := data[len(data):cap(data)]
	if err := s.decode(c, data); err != nil {
		return err
	}
	if !bytes.Equal(data, b) || bytes.ContainsFunc(spare, func(r rune) bool { return r != 0 }) {
		return fmt.Errorf("data was changed to %q", data[:cap(data)])
	}
	return nil
}

func truncated(c codec.Codec, s Sample) error {
	b, err := c.Append(nil, s.value())
	if err != nil {
		return fmt.Errorf("Append: %w", err)
	}
	for n := 0; n < len(b); n += 1 + len(b)/200 {
		if err := survives(c, s, b[:n]); err != nil {
			return err
		}
	}
	return survives(c, s, nil)
}

func garbage(c codec.Codec, s Sample) error {
	b, err := c.Append(nil, s.value())
	if err != nil {
		return fmt.Errorf("Append: %w", err)
	}
	random := rand.New(rand.NewPCG(1, 2)) // the same on every run
	for range 100 {
		if err := survives(c, s, damaged(random, b)); err != nil {
			return err
		}
		if err := survives(c, s, noise(random, random.IntN(64))); err != nil {
			return err
		}
	}
	return nil
}

// damaged returns b with a few bytes changed and, at times, the end gone or doubled.
func damaged(random *rand.Rand, b []byte) []byte {
	b = bytes.Clone(b)
	for range 1 + random.IntN(3) {
		if len(b) > 0 {
			b[random.IntN(len(b))] = byte(random.Uint32())
		}
	}
	switch at := random.IntN(len(b) + 1); random.IntN(4) {
	case 0:
		return b[:at]
	case 1:
		return append(b, b[at:]...)
	}
	return b
}

func noise(random *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(random.Uint32())
	}
	return b
}

// survives decodes what may be nonsense: only a panic is an error.
func survives(c codec.Codec, s Sample, data []byte) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("Decode of %q: panic: %v", data, p)
		}
	}()
	_ = c.Decode(data, s.fresh()) // an error or a value
	return nil
}

func afterError(c codec.Codec, s Sample) error {
	b, err := c.Append(nil, s.value())
	if err != nil {
		return fmt.Errorf("Append: %w", err)
	}
	random := rand.New(rand.NewPCG(3, 4))
	for range 20 {
		if err := survives(c, s, damaged(random, b)); err != nil {
			return err
		}
		if err := s.decode(c, b); err != nil {
			return err
		}
	}
	return nil
}

func refused(c codec.Codec, s Sample) error {
	if c.Check(s.typ) == nil {
		return fmt.Errorf("Check accepted it")
	}
	return nil
}

func refusedWithReason(c codec.Codec, s Sample) (err error) {
	defer func() {
		if recover() != nil {
			err = nil // reason enough
		}
	}()
	if roundTrip(c, s) == nil {
		return fmt.Errorf("it came back: Check said %w", c.Check(s.typ))
	}
	return nil
}

// together uses c from several goroutines, each with every sample.
func together(t *testing.T, c codec.Codec, samples []Sample) {
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 5 {
				for _, s := range samples {
					if s.refused {
						continue
					}
					if err := noAliasing(c, s); err != nil {
						t.Errorf("%s of %s: %v\nrule: a codec is used by many goroutines at once", c.Name(), s.typ, err)
						return
					}
				}
			}
		})
	}
	wg.Wait()
}
