// SPDX-License-Identifier: Apache-2.0

package entry

import (
	"bytes"
	"strings"
	"testing"
)

// FuzzParse feeds Parse with anything, as it comes and with a checksum that
// fits: without that no input would get far.
func FuzzParse(f *testing.F) {
	for _, payload := range []string{"", "a payload", strings.Repeat("x", 300)} {
		f.Add(sample(payload), uint32(scope), key)
		f.Add(append(sample(payload), "behind"...), uint32(scope), "")
	}
	f.Add([]byte(NewLease(bob, MaxLease, 0)), uint32(0), key)
	f.Add([]byte{}, uint32(0), key)
	f.Add([]byte(magic), uint32(0), key)
	for _, g := range golden(f) {
		f.Add(g.bytes, uint32(scope), g.key)
	}
	f.Fuzz(func(t *testing.T, b []byte, s uint32, key string) {
		check(t, b, Scope(s), key)
		sealed := bytes.Clone(b)
		seal(sealed, Scope(s), key)
		check(t, sealed, Scope(s), key)
	})
}

// check wants that Parse leaves b alone, and that what it accepts, written
// again, is the same.
func check(t *testing.T, b []byte, s Scope, key string) {
	was := bytes.Clone(b)
	got, err := Parse(b, s, key)
	if !bytes.Equal(b, was) {
		t.Fatalf("Parse changed its argument from %x to %x", was, b)
	}
	if err != nil {
		if got.Payload != nil {
			t.Fatalf("a payload beside the error %v", err)
		}
		return
	}
	again := append(Begin(nil), got.Payload...)
	Finish(again, s, key, got)
	h, _ := HeadOf(b)
	if want := b[offPublisher : HeadSize+h.Size()]; !bytes.Equal(again[offPublisher:], want) {
		t.Fatalf("%+v\nis written as %x\nand was read from %x", got, again[offPublisher:], want)
	}
}
