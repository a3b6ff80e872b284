// SPDX-License-Identifier: Apache-2.0

package codectest

import (
	"math"
	"math/big"
	"net/netip"
	"strings"
	"time"
)

// Values are the samples that a codec for Go values of every kind has to keep.
func Values() []Sample {
	var noStruct *nested
	return []Sample{
		Of("bool", true),
		Of("largest int64", int64(math.MaxInt64)),
		Of("smallest int64", int64(math.MinInt64)),
		Of("largest uint64", uint64(math.MaxUint64)),
		Of("integer beyond a float64", int64(1<<53+1)),
		Of("float64", math.SmallestNonzeroFloat64),
		Of("float32", float32(math.MaxFloat32)),
		Of("named basic type", weekday(3)),
		Of("empty string", ""),
		Of("unicode", "Grüße, 世界 \U0001F415 \u2028 <&> \x00 \" \\"),
		Of("long string", strings.Repeat("leash ", 3000)),
		Of("bytes", []byte{0, 0xc1, 0xff}),
		Of("nil bytes", []byte(nil)),
		Of("empty bytes", []byte{}),
		Of("nil slice", []int(nil)),
		Of("empty slice", []int{}),
		Of("nil strings", []string(nil)),
		Of("empty strings", []string{}),
		Of("nil map", map[string]int(nil)),
		Of("empty map", map[string]int{}),
		Of("empty map of strings", map[string]string{}),
		Of("set", map[string]struct{}{"a": {}, "b": {}}),
		Of("keys of integers", map[int64]string{-1: "a", 1 << 60: "b"}),
		Of("slice with nil pointers", []*nested{nil, {ID: 1}, nil}),
		Of("nil pointer", noStruct),
		Of("pointer", &nested{ID: 7, Tags: []string{"x"}}),
		Of("pointer to zero", &nested{}),
		Of("array", [3]int16{1, 2, 3}),
		Of("bytes of an array", [16]byte{1, 2, 15: 16}),
		Of("struct", nested{ID: 1, Tags: []string{"a", "b"}, ByName: map[string][]byte{"k": {1}}}),
		Of("zero struct", nested{}),
		Of("no fields", struct{}{}),
		Of("embedded", embedding{Base: Base{ID: 5}, hidden: hidden{Shown: "s"}, Name: "n"}),
		Of("recursive", tree{Value: 1, Left: &tree{Value: 2}, More: []tree{{Value: 3}}, ByName: map[string]*tree{"x": {Value: 4}}}),
		Of("text marshaler", netip.MustParseAddr("2001:db8::1")),
		Of("duration", time.Hour),
		Of("any, nil", any(nil)),
		Of("any, text", any("text")),
		OfFunc("big integer", bigger{Value: *huge(), Pointer: huge()}, sameBigger),
		OfFunc("time", moment(), time.Time.Equal),
		OfFunc("zero time", time.Time{}, func(a, b time.Time) bool { return a.Equal(b) && b.IsZero() }),
		OfFunc("times", times{At: moment(), Maybe: new(moment()), List: []time.Time{moment()}}, sameTimes),
		OfFunc("no times", times{}, sameTimes),
	}
}

type weekday uint8

type nested struct {
	ID     int64
	Tags   []string
	ByName map[string][]byte
	Next   *nested
}

// Base is embedded.
type Base struct{ ID int64 }

type hidden struct{ Shown string }

type embedding struct {
	Base
	hidden
	Name string
}

type tree struct {
	Value  int
	Left   *tree
	More   []tree
	ByName map[string]*tree
}

type bigger struct {
	Value   big.Int // its marshalers have pointer receivers
	Pointer *big.Int
	Nil     *big.Int
}

func huge() *big.Int { return new(big.Int).Lsh(big.NewInt(-12345), 200) }

func sameBigger(a, b bigger) bool {
	return a.Value.Cmp(&b.Value) == 0 && b.Pointer != nil && a.Pointer.Cmp(b.Pointer) == 0 && b.Nil == nil
}

type times struct {
	At    time.Time
	Maybe *time.Time
	List  []time.Time
}

func moment() time.Time {
	return time.Date(2026, time.March, 1, 23, 59, 59, 123456789, time.FixedZone("", 3600))
}

func sameTimes(a, b times) bool {
	if !a.At.Equal(b.At) || (a.Maybe == nil) != (b.Maybe == nil) || len(a.List) != len(b.List) {
		return false
	}
	if a.Maybe != nil && !a.Maybe.Equal(*b.Maybe) {
		return false
	}
	for i := range a.List {
		if !a.List[i].Equal(b.List[i]) {
			return false
		}
	}
	return true
}
