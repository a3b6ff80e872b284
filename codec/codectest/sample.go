// SPDX-License-Identifier: Apache-2.0

package codectest

import (
	"fmt"
	"reflect"

	"github.com/leashcache/leash/codec"
)

// Sample is a value of some type, and when a copy of it is good. Make one with
// [Of], [OfFunc] or [Refused].
type Sample struct {
	name    string
	typ     reflect.Type
	refused bool
	value   func() any           // a T
	pointer func() any           // a *T to a copy of it
	fresh   func() any           // a *T to a zero value
	compare func(back any) error // of what a *T points to
}

// Of is a value that the codec has to give back, as reflect.DeepEqual sees it.
// The type is T as it is written, also where T is an interface.
func Of[T any](name string, value T) Sample {
	return OfFunc(name, value, func(a, b T) bool { return reflect.DeepEqual(a, b) })
}

// OfFunc is like [Of], for types with a sense of equality of their own.
func OfFunc[T any](name string, value T, same func(a, b T) bool) Sample {
	return Sample{
		name:    name,
		typ:     reflect.TypeFor[T](),
		value:   func() any { return value },
		pointer: func() any { v := value; return &v },
		fresh:   func() any { return new(T) },
		compare: func(back any) error {
			if got := *back.(*T); !same(value, got) {
				return fmt.Errorf("got %#v, want %#v", got, value)
			}
			return nil
		},
	}
}

// Refused is a value that does not come back as it went in, of a type that
// Check has to refuse for it. The suite holds Check to both.
func Refused[T any](name string, value T) Sample {
	s := Of(name, value)
	s.refused = true
	return s
}

func (s Sample) decode(c codec.Codec, data []byte) error {
	p := s.fresh()
	if err := c.Decode(data, p); err != nil {
		return fmt.Errorf("Decode: %w", err)
	}
	return s.compare(p)
}
