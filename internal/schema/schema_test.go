// SPDX-License-Identifier: Apache-2.0

package schema

import (
	"fmt"
	"math/big"
	"net/netip"
	"reflect"
	"testing"
	"time"
)

type user struct {
	ID    int64
	Name  string `json:"name"`
	Tags  []string
	Price float64
	At    time.Time
	note  string
}

// moved is user after it was renamed and its unexported parts were changed.
type moved struct {
	ID    int64
	Name  string `json:"name"`
	Tags  []string
	Price float64
	At    time.Time
	a, b  map[string]chan int
}

func of[T any]() uint64 { return Fingerprint(reflect.TypeFor[T]()) }

func TestEveryChangeOfShapeIsSeen(t *testing.T) {
	shapes := map[string]uint64{
		"user": of[user](),
		"field renamed": of[struct {
			Id    int64
			Name  string `json:"name"`
			Tags  []string
			Price float64
			At    time.Time
		}](),
		"kind changed": of[struct {
			ID    int8
			Name  string `json:"name"`
			Tags  []string
			Price float64
			At    time.Time
		}](),
		"tag changed": of[struct {
			ID    int64
			Name  string `json:"title"`
			Tags  []string
			Price float64
			At    time.Time
		}](),
		"field added": of[struct {
			ID    int64
			Name  string `json:"name"`
			Tags  []string
			Price float64
			At    time.Time
			More  bool
		}](),
		"field removed": of[struct {
			ID    int64
			Name  string `json:"name"`
			Tags  []string
			Price float64
		}](),
		"fields in another order": of[struct {
			Name  string `json:"name"`
			ID    int64
			Tags  []string
			Price float64
			At    time.Time
		}](),
		"element changed": of[struct {
			ID    int64
			Name  string `json:"name"`
			Tags  [][]byte
			Price float64
			At    time.Time
		}](),
		"marshaler in place of another": of[struct {
			ID    int64
			Name  string `json:"name"`
			Tags  []string
			Price float64
			At    netip.Addr
		}](),
		"pointer to it":       of[*user](),
		"slice of it":         of[[]user](),
		"map of it":           of[map[string]user](),
		"map with other keys": of[map[int]user](),
		"array of it":         of[[2]user](),
		"longer array":        of[[3]user](),
		"int":                 of[int](),
		"int64":               of[int64](),
		"any":                 of[any](),
		"interface":           of[fmt.Stringer](),
		"other interface":     of[error](),
		"no fields":           of[struct{}](),
		"field in a struct":   of[struct{ A struct{ B int } }](),
		"two fields":          of[struct{ A, B int }](),
		"empty struct and field": of[struct {
			A struct{}
			B int
		}](),
		"embedded":             of[struct{ Base }](),
		"same, not embedded":   of[struct{ Base Base }](),
		"written as an array":  of[asArray](),
		"written as a map":     of[asMap](),
		"recursive":            of[list](),
		"recursive by pointer": of[struct{ Next *list }](),
		"explicit":             Explicit(""),
		"explicit v1":          Explicit("v1"),
		"explicit v2":          Explicit("v2"),
	}
	seen := map[uint64]string{}
	for name, f := range shapes {
		if other, ok := seen[f]; ok {
			t.Errorf("%q and %q have one fingerprint: entries of one would be read as the other", name, other)
		}
		seen[f] = name
	}
}

// Base is embedded.
type Base struct{ ID int }

type asArray struct {
	_msgpack struct{} `msgpack:",as_array"`
	A        int
}

type asMap struct{ A int }

type list struct {
	Value int
	Next  *list
}

func TestWhatIsNotWrittenDoesNotCount(t *testing.T) {
	type number int64
	type names []string
	for name, pair := range map[string][2]uint64{
		"renamed type, other unexported fields": {of[user](), of[moved]()},
		"named basic type":                      {of[int64](), of[number]()},
		"named slice":                           {of[[]string](), of[names]()},
		"renamed recursive type":                {of[list](), of[otherList]()},
		"twice the same and named":              {of[struct{ A, B []string }](), of[struct{ A, B names }]()},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s: a deploy would empty the cache for nothing", name)
		}
	}
}

type otherList struct {
	Value int
	Next  *otherList
}

type hasBinary struct{ A int }

func (hasBinary) MarshalBinary() ([]byte, error) { return nil, nil }

type hasText struct{ A int }

func (*hasText) MarshalText() ([]byte, error) { return nil, nil }

type hasJSON struct{ A int }

func (hasJSON) MarshalJSON() ([]byte, error) { return nil, nil }

type hasMsgpack struct{ A int }

func (*hasMsgpack) MarshalMsgpack() ([]byte, error) { return nil, nil }

type hasEncode struct{ A int }

func (*hasEncode) EncodeMsgpack(any) error { return nil }

// Their bytes are their own, so one of them is never taken for another.
func TestTypesWithMarshalersCountByName(t *testing.T) {
	seen := map[uint64]reflect.Type{of[struct{ A int }](): reflect.TypeFor[struct{ A int }]()}
	for _, typ := range []reflect.Type{
		reflect.TypeFor[hasBinary](), reflect.TypeFor[hasText](), reflect.TypeFor[hasJSON](),
		reflect.TypeFor[hasMsgpack](), reflect.TypeFor[hasEncode](),
	} {
		f := Fingerprint(typ)
		if other, ok := seen[f]; ok {
			t.Errorf("%s and %s have one fingerprint", typ, other)
		}
		seen[f] = typ
	}
}

// To MessagePack a type with MarshalJSON is a struct like any other, so a field
// of it that is renamed has to be seen.
func TestTypesWithMarshalersCountByShapeToo(t *testing.T) {
	if before, after := oldReport(), newReport(); before == after {
		t.Errorf("both are %#x", before)
	}
}

func oldReport() uint64 {
	type report struct {
		hasJSON
		Price int
	}
	return of[report]()
}

func newReport() uint64 {
	type report struct {
		hasJSON
		Cost int
	}
	return of[report]()
}

type ladder []ladder

type tangle map[string]*tangle

type knot *knot

// Each of these refers to all of them: there are more ways through than anyone
// could follow.
type (
	m0 struct{ A, B, C, D, E *m1 }
	m1 struct{ A, B, C, D, E []m2 }
	m2 struct{ A, B, C, D, E map[string]m3 }
	m3 struct {
		A *m0
		B []m1
		C []m2
		D []m3
	}
)

func TestEndsOnEveryType(t *testing.T) {
	for _, typ := range []reflect.Type{
		nil, reflect.TypeFor[list](), reflect.TypeFor[ladder](), reflect.TypeFor[tangle](),
		reflect.TypeFor[knot](), reflect.TypeFor[m0](), reflect.TypeFor[reflect.Value](),
		reflect.TypeFor[testing.T](), reflect.TypeFor[chan func()](), reflect.TypeFor[complex64](),
	} {
		if a, b := Fingerprint(typ), Fingerprint(typ); a != b || a == 0 {
			t.Errorf("%v: %#x and %#x", typ, a, b)
		}
	}
}

type everything struct {
	Base
	ID     int64  `json:"id" msgpack:"i"`
	Name   string `json:"name,omitempty"`
	F      float32
	B      []byte
	Arr    [3]uint16
	Map    map[string]*everything
	At     *time.Time
	Big    big.Int
	Any    any
	Status status
	hidden int
}

type status uint8

// Entries in stores carry these numbers: if one changes, every cache in the
// world is emptied by an update of this library.
func TestFingerprintsNeverChange(t *testing.T) {
	for name, tt := range map[string]struct{ got, want uint64 }{
		"int":        {of[int](), 0xfc07342663620103},
		"string":     {of[string](), 0x5f7e87ddd5b1faff},
		"bytes":      {of[[]byte](), 0x38d0928f5832969c},
		"any":        {of[any](), 0x68e0766b679fd61a},
		"time":       {of[time.Time](), 0x51629ff85a4d320},
		"user":       {of[user](), 0xe515dad9dc9b5f61},
		"list":       {of[list](), 0xad7f87fccd9b79e7},
		"ladder":     {of[ladder](), 0x85b66e956d73260b},
		"array":      {of[asArray](), 0x970dd9331978c37},
		"everything": {of[everything](), 0xf4fa448f10fc2444},
		"explicit":   {Explicit("v3"), 0xb5652a6e3b0d01e8},
	} {
		if tt.got != tt.want {
			t.Errorf("%q: %#x, want %#x", name, tt.got, tt.want)
		}
	}
}
