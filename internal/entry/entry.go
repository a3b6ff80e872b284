// SPDX-License-Identifier: Apache-2.0

// Package entry is the layout of what stands under a key: a head that stores
// read and change in place, a sealed part that is written once, and a payload.
//
// Format 1, numbers big endian. The head, which package leash documents at
// Store, is bytes 0 to 72; then
//
//	 72  1  kind: 1 value, 2 not found, 3 error
//	 73  1  zero
//	 74  8  fingerprint of the Go type
//	 82  4  codec
//	 86  8  created, Unix microseconds of the publisher's clock
//	 94  8  fresh for, microseconds from created
//	102  8  cost of the computation, microseconds
//	110  4  CRC-32C of scope and key, bytes 52 to 110, and the payload
//	114     payload, up to 72 + size
//
// Whatever does not fit this, to the last bit, is no value: see [Parse].
package entry

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
	"time"
)

// Offsets and sizes of the head.
const (
	HeadSize = 72

	offToken     = 4
	offUntil     = 20
	offEnd       = 28
	offCounter   = 36
	offLength    = 40
	offExpected  = 44
	offFlags     = 48
	offPublisher = 52
	offSize      = 68

	offKind        = 72
	offFingerprint = 74
	offCodec       = 82
	offCreated     = 86
	offFresh       = 94
	offCost        = 102
	offSum         = 110
	// Overhead is what an entry needs beside its payload.
	Overhead = 114

	flagBackoff = 1

	// MaxLease is the longest lease; an until further ahead is no lease.
	MaxLease = time.Hour
)

const magic = "LSH\x01"

// Token names one acquisition of a lease; the zero token is nobody's.
type Token [16]byte

// IsZero reports whether t is nobody's token.
func (t Token) IsZero() bool { return t == Token{} }

// Head is a view of an entry's first bytes; it is valid only if [HeadOf] said so.
type Head []byte

// HeadOf returns the head of b, and false when b is foreign.
func HeadOf(b []byte) (Head, bool) {
	if len(b) < HeadSize || string(b[:len(magic)]) != magic {
		return nil, false
	}
	return Head(b[:HeadSize:HeadSize]), true
}

// NewLease returns the head of a lease that stands on no value.
func NewLease(t Token, length, expected time.Duration) Head {
	h := make(Head, HeadSize)
	copy(h, magic)
	copy(h[offToken:], t[:])
	binary.BigEndian.PutUint32(h[offLength:], uint32(length.Milliseconds()))
	binary.BigEndian.PutUint32(h[offExpected:], uint32(min(expected.Milliseconds(), 1<<32-1)))
	return h
}

// Token is the token of the lease that stands, or zero.
func (h Head) Token() Token { return Token(h[offToken:offUntil]) }

// Until is the end of the lease on the store's clock; zero when the lease ends with the entry.
func (h Head) Until() int64 { return int64(binary.BigEndian.Uint64(h[offUntil:])) }

// End is where the entry's life ended before a lease made it longer; zero when none did.
func (h Head) End() int64 { return int64(binary.BigEndian.Uint64(h[offEnd:])) }

// Counter counts the renewals of the lease.
func (h Head) Counter() uint32 { return binary.BigEndian.Uint32(h[offCounter:]) }

// Length is the length of the lease.
func (h Head) Length() time.Duration {
	return time.Duration(binary.BigEndian.Uint32(h[offLength:])) * time.Millisecond
}

// Expected is how long the holder expects to compute; zero is unknown.
func (h Head) Expected() time.Duration {
	return time.Duration(binary.BigEndian.Uint32(h[offExpected:])) * time.Millisecond
}

// Backoff reports whether the lease is a back-off, held by nobody.
func (h Head) Backoff() bool { return h[offFlags]&flagBackoff != 0 }

// Publisher is the token under which the value was made, or zero when there is none.
func (h Head) Publisher() Token { return Token(h[offPublisher:offSize]) }

// HasValue reports whether somebody published what h is the head of.
func (h Head) HasValue() bool { return !h.Publisher().IsZero() }

// Size is the length of what follows the head and belongs to the value.
func (h Head) Size() int { return int(binary.BigEndian.Uint32(h[offSize:])) }

// SetLease writes the lease area of from into h, with its until and end.
func (h Head) SetLease(from Head, until, end int64) {
	copy(h[offToken:offPublisher], from[offToken:offPublisher])
	h.SetUntil(until)
	h.SetEnd(end)
}

// SetUntil moves the end of the lease.
func (h Head) SetUntil(until int64) { binary.BigEndian.PutUint64(h[offUntil:], uint64(until)) }

// SetEnd notes where the entry's life ends without the lease.
func (h Head) SetEnd(end int64) { binary.BigEndian.PutUint64(h[offEnd:], uint64(end)) }

// Count adds one renewal.
func (h Head) Count() { binary.BigEndian.PutUint32(h[offCounter:], h.Counter()+1) }

// ClearLease empties the lease area.
func (h Head) ClearLease() { clear(h[offToken:offPublisher]) }

// SetBackoff turns the lease area into a back-off of length d up to until.
func (h Head) SetBackoff(until int64, d time.Duration) {
	h.ClearLease()
	h.SetUntil(until)
	binary.BigEndian.PutUint32(h[offLength:], uint32(d.Milliseconds()))
	h[offFlags] |= flagBackoff
}

// Kind says what a value is.
type Kind uint8

// The kinds of format 1.
const (
	Value    Kind = 1
	NotFound Kind = 2
	Error    Kind = 3
)

// Sealed is what is written once: the value and what is known of it.
type Sealed struct {
	Publisher   Token
	Kind        Kind
	Fingerprint uint64
	Codec       uint32
	Created     time.Time
	Fresh       time.Duration
	Cost        time.Duration
	Payload     []byte // of a parsed entry: a part of its bytes
}

// Begin appends an empty entry to dst, to be followed by the payload and closed by [Finish].
func Begin(dst []byte) []byte {
	dst = append(dst, magic...)
	return append(dst, make([]byte, Overhead-len(magic))...)
}

// Finish writes s into b, which is what [Begin] returned with the payload
// appended; s.Payload is not looked at.
func Finish(b []byte, scope Scope, key string, s Sealed) {
	copy(b[offPublisher:], s.Publisher[:])
	binary.BigEndian.PutUint32(b[offSize:], uint32(len(b)-HeadSize))
	b[offKind] = byte(s.Kind)
	binary.BigEndian.PutUint64(b[offFingerprint:], s.Fingerprint)
	binary.BigEndian.PutUint32(b[offCodec:], s.Codec)
	binary.BigEndian.PutUint64(b[offCreated:], uint64(s.Created.UnixMicro()))
	binary.BigEndian.PutUint64(b[offFresh:], uint64(s.Fresh.Microseconds()))
	binary.BigEndian.PutUint64(b[offCost:], uint64(s.Cost.Microseconds()))
	binary.BigEndian.PutUint32(b[offSum:], scope.sum(b, key))
}

// Errors of [Parse]: why bytes are no value.
var (
	ErrForeign   = errors.New("not an entry")
	ErrEmpty     = errors.New("a lease without a value")
	ErrTruncated = errors.New("entry is truncated")
	ErrChecksum  = errors.New("checksum does not match")
	ErrKind      = errors.New("unknown kind of entry")
)

// micros reads a duration in microseconds; what is none is negative.
func micros(b []byte) time.Duration {
	n := binary.BigEndian.Uint64(b)
	if n > math.MaxInt64/uint64(time.Microsecond) {
		return -1
	}
	return time.Duration(n) * time.Microsecond
}

// Parse reads the sealed part of b, which was found under key. The payload is a
// part of b. Bytes behind the value are allowed: they are the store's.
func Parse(b []byte, scope Scope, key string) (Sealed, error) {
	h, ok := HeadOf(b)
	if !ok {
		return Sealed{}, ErrForeign
	}
	size := h.Size()
	if !h.HasValue() {
		return Sealed{}, ErrEmpty
	}
	if size < Overhead-HeadSize || size > len(b)-HeadSize {
		return Sealed{}, ErrTruncated
	}
	b = b[: HeadSize+size : HeadSize+size]
	if binary.BigEndian.Uint32(b[offSum:]) != scope.sum(b, key) {
		return Sealed{}, ErrChecksum
	}
	s := Sealed{
		Publisher:   h.Publisher(),
		Kind:        Kind(b[offKind]),
		Fingerprint: binary.BigEndian.Uint64(b[offFingerprint:]),
		Codec:       binary.BigEndian.Uint32(b[offCodec:]),
		Created:     time.UnixMicro(int64(binary.BigEndian.Uint64(b[offCreated:]))),
		Fresh:       micros(b[offFresh:]),
		Cost:        micros(b[offCost:]),
		Payload:     b[Overhead:],
	}
	if s.Kind < Value || s.Kind > Error || b[offKind+1] != 0 || s.Fresh < 0 || s.Cost < 0 {
		return Sealed{}, ErrKind
	}
	return s, nil
}

// SameLease reports whether two heads show the same lease, not renewed in between.
func SameLease(a, b Head) bool {
	return bytes.Equal(a[offToken:offUntil], b[offToken:offUntil]) && a.Counter() == b.Counter() && a.Backoff() == b.Backoff()
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Scope is where a key is unique: a cache's name and schema. The checksum covers
// it and the key, so an entry that was copied, or that another cache wrote under
// the same bytes ("a" + "b:c", "a:b" + "c"), is no value.
type Scope uint32

// NewScope returns the scope of a cache.
func NewScope(name, schema string) Scope {
	return Scope(crc32.Checksum([]byte(name+"\x00"+schema+"\x00"), castagnoli))
}

func (s Scope) sum(b []byte, key string) uint32 {
	c := crc32.Update(updateString(uint32(s), key), castagnoli, zero)
	c = crc32.Update(c, castagnoli, b[offPublisher:offSum])
	return crc32.Update(c, castagnoli, b[Overhead:])
}

var zero = []byte{0}

// updateString is crc32.Update for a string, byte by byte: what crc32 is given
// escapes, so a copy of the key would be an allocation for every hit.
func updateString(c uint32, s string) uint32 {
	c = ^c
	for i := range len(s) {
		c = castagnoli[byte(c)^s[i]] ^ c>>8
	}
	return ^c
}
