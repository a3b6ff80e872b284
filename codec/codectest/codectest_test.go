// SPDX-License-Identifier: Apache-2.0

package codectest

import (
	"bytes"
	"errors"
	"reflect"
	"testing"

	"github.com/leashcache/leash/codec"
)

// broken is the Bytes codec with one method replaced.
type broken struct {
	codec.Codec
	append func(dst []byte, v any) ([]byte, error)
	decode func(data []byte, v any) error
	check  func(t reflect.Type) error
}

func (b broken) Append(dst []byte, v any) ([]byte, error) {
	if b.append == nil {
		return b.Codec.Append(dst, v)
	}
	return b.append(dst, v)
}

func (b broken) Decode(data []byte, v any) error {
	if b.decode == nil {
		return b.Codec.Decode(data, v)
	}
	return b.decode(data, v)
}

func (b broken) Check(t reflect.Type) error {
	if b.check == nil {
		return b.Codec.Check(t)
	}
	return b.check(t)
}

func TestEachRowFindsTheCodecThatBreaksIt(t *testing.T) {
	good := Of("bytes", []byte("some bytes"))
	var shared []byte
	failed := false
	for name, tt := range map[string]struct {
		codec  broken
		sample Sample
	}{
		"check": {broken{check: func(reflect.Type) error { return errors.New("no") }}, good},
		"round trip": {broken{decode: func(data []byte, v any) error {
			*v.(*[]byte) = bytes.ToUpper(data)
			return nil
		}}, good},
		"pointer": {broken{append: func(dst []byte, v any) ([]byte, error) {
			b, _ := v.([]byte)
			return append(dst, b...), nil
		}}, good},
		"dst": {broken{append: func(_ []byte, v any) ([]byte, error) {
			return codec.Bytes.Append(nil, v)
		}}, good},
		"own bytes": {broken{append: func(_ []byte, v any) (_ []byte, err error) {
			shared, err = codec.Bytes.Append(append(shared[:0], byte(len(shared))), v)
			return shared, err
		}}, good},
		"aliasing": {broken{decode: func(data []byte, v any) error {
			*v.(*[]byte) = data
			return nil
		}}, good},
		"read only": {broken{decode: func(data []byte, v any) error {
			defer clear(data)
			return codec.Bytes.Decode(data, v)
		}}, good},
		"truncated": {broken{decode: func(data []byte, v any) error {
			return codec.Bytes.Decode(data[:10], v)
		}}, good},
		"garbage": {broken{decode: func(data []byte, v any) error {
			_ = data[5]
			return codec.Bytes.Decode(data, v)
		}}, good},
		"after an error": {broken{decode: func(data []byte, v any) error {
			if failed {
				return errors.New("still")
			}
			failed = string(data) != "some bytes"
			return codec.Bytes.Decode(data, v)
		}}, good},
		"refused":             {broken{check: func(reflect.Type) error { return nil }}, Refused("n", 1)},
		"refused with reason": {broken{check: func(reflect.Type) error { return errors.New("no") }}, Refused("b", []byte("b"))},
	} {
		tt.codec.Codec = codec.Bytes
		if err := rowNamed(t, name).check(tt.codec, tt.sample); err == nil {
			t.Errorf("%q lets a codec pass that breaks it", name)
		}
	}
	for _, r := range rows {
		s := good
		if r.refused {
			s = Refused("number", 1)
		}
		if err := r.check(codec.Bytes, s); err != nil {
			t.Errorf("%q of a good codec: %v", r.name, err)
		}
	}
}

func rowNamed(t *testing.T, name string) row {
	t.Helper()
	for _, r := range rows {
		if r.name == name {
			return r
		}
	}
	t.Fatalf("no row %q", name)
	return row{}
}
