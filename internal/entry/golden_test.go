// SPDX-License-Identifier: Apache-2.0

package entry

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"
)

// example is a line of a golden file: a name, the key, and the bytes in hex.
type example struct {
	name, key string
	bytes     []byte
}

// golden reads the entries of format 1. The file is never written again: what it
// holds may stand in a store, written by any release.
func golden(tb testing.TB) []example {
	tb.Helper()
	text, err := os.ReadFile("testdata/format1.txt")
	if err != nil {
		tb.Fatal(err)
	}
	var all []example
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) == 0 || f[0] == "#" {
			continue
		}
		b, err := hex.DecodeString(strings.Join(f[2:], ""))
		if err != nil {
			tb.Fatalf("%s: %v", f[0], err)
		}
		all = append(all, example{f[0], f[1], b})
	}
	return all
}

// written is what the golden file holds, as this release writes it.
func written() map[string]Sealed {
	created := time.UnixMicro(1_700_000_000_123_456)
	return map[string]Sealed{
		"value":     {Publisher: alice, Kind: Value, Fingerprint: 0x0123456789abcdef, Codec: 1, Created: created, Fresh: 5 * time.Minute, Cost: 1234 * time.Microsecond, Payload: []byte("\x81\xa4name\xa5alice")},
		"empty":     {Publisher: alice, Kind: Value, Created: created, Payload: []byte{}},
		"not-found": {Publisher: bob, Kind: NotFound, Fingerprint: 0x0123456789abcdef, Codec: 1, Created: created, Fresh: time.Second, Cost: time.Millisecond, Payload: []byte{}},
		"error":     {Publisher: bob, Kind: Error, Created: created, Fresh: time.Second, Cost: 30 * time.Second, Payload: []byte("dial tcp: refused")},
		"leased":    {Publisher: alice, Kind: Value, Fingerprint: 1, Codec: 2, Created: created, Fresh: time.Hour, Payload: []byte("{}")},
		"behind":    {Publisher: alice, Kind: Value, Codec: 3, Created: created, Payload: []byte("bytes")},
	}
}

func TestGoldenEntriesParse(t *testing.T) {
	want := written()
	for _, g := range golden(t) {
		got, err := Parse(g.bytes, scope, g.key)
		if g.name == "lease" {
			if !errors.Is(err, ErrEmpty) {
				t.Errorf("lease: %v, want %v", err, ErrEmpty)
			}
			continue
		}
		if err != nil || !reflect.DeepEqual(got, want[g.name]) {
			t.Errorf("%s: %+v, %v\nwant %+v", g.name, got, err, want[g.name])
		}
		delete(want, g.name)
	}
	for name := range want {
		t.Errorf("%s is not in the golden file", name)
	}
}

// TestGoldenEntriesAreStillWritten holds the writer: old nodes read what it writes.
func TestGoldenEntriesAreStillWritten(t *testing.T) {
	for _, g := range golden(t) {
		if g.name == "lease" {
			if got := NewLease(alice, 10*time.Second, 1500*time.Millisecond); !bytes.Equal(got, g.bytes) {
				t.Errorf("a lease is %x", []byte(got))
			}
			continue
		}
		s := written()[g.name]
		b := append(Begin(nil), s.Payload...)
		Finish(b, scope, g.key, s)
		switch g.name {
		case "leased":
			Head(b).SetLease(NewLease(bob, 10*time.Second, 0), 1_700_000_009_000, 1_700_000_001_000)
			Head(b).Count()
		case "behind":
			b = append(b, "node-1 node-2"...)
		}
		if !bytes.Equal(b, g.bytes) {
			t.Errorf("%s %s %x", g.name, g.key, b)
		}
	}
}

func TestGoldenLeaseReads(t *testing.T) {
	for _, g := range golden(t) {
		h, ok := HeadOf(g.bytes)
		switch {
		case !ok:
			t.Errorf("%s has no head", g.name)
		case g.name == "lease" && (h.Token() != alice || h.Until() != 0 || h.Length() != 10*time.Second || h.Expected() != 1500*time.Millisecond):
			t.Errorf("the lease reads as %x", []byte(h))
		case g.name == "leased" && (h.Token() != bob || h.Counter() != 1 || h.Until() != 1_700_000_009_000 || h.End() != 1_700_000_001_000):
			t.Errorf("the lease on a value reads as %x", []byte(h))
		}
	}
}
