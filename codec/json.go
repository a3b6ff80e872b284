// SPDX-License-Identifier: Apache-2.0

package codec

import (
	"encoding/json"
	"fmt"
	"reflect"
	"sync"
)

// JSON stores values as encoding/json writes them, for entries that people or
// programs in other languages read.
//
// What it does not keep: bytes in a string that are not UTF-8 become U+FFFD,
// NaN and the infinities are errors, a number in an any is a float64, and a
// time keeps its offset but not the name of its zone. A pointer to something
// nil comes back as a nil pointer. Unexported fields are not written.
var JSON Codec = jsonCodec{}

type jsonCodec struct{}

func (jsonCodec) Name() string { return "json" }

// jsonWriter keeps an encoder and where it writes: json.Marshal would make a
// slice of its own each time, only to be copied to dst.
type jsonWriter struct {
	sink
	enc *json.Encoder
}

var jsonWriters = sync.Pool{New: func() any {
	w := new(jsonWriter)
	w.enc = json.NewEncoder(&w.sink)
	w.enc.SetEscapeHTML(false) // entries are not put into web pages as they are
	return w
}}

func (jsonCodec) Append(dst []byte, v any) ([]byte, error) {
	w := jsonWriters.Get().(*jsonWriter)
	w.buf = dst
	err := w.enc.Encode(addressable(v))
	b := w.take()
	jsonWriters.Put(w)
	if err != nil {
		return dst, fmt.Errorf("codec: %w", err)
	}
	return b[:len(b)-1], nil // without the encoder's line end
}

func (jsonCodec) Decode(data []byte, v any) error {
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("codec: %w", err)
	}
	return nil
}

func (jsonCodec) Check(t reflect.Type) error { return check(jsonRules, t) }

// sink is a writer that appends.
type sink struct{ buf []byte }

func (s *sink) Write(b []byte) (int, error) {
	s.buf = append(s.buf, b...)
	return len(b), nil
}

func (s *sink) WriteByte(c byte) error {
	s.buf = append(s.buf, c)
	return nil
}

// take returns what was written and lets go of it.
func (s *sink) take() []byte {
	b := s.buf
	s.buf = nil
	return b
}

// addressable returns v, or a pointer to a copy of it. Methods with a pointer
// receiver are found only on what has an address: without one, msgpack refuses
// a type that has such a marshaler and encoding/json passes over the marshaler
// without a word.
func addressable(v any) any {
	t := reflect.TypeOf(v)
	if t == nil || t.Kind() == reflect.Pointer {
		return v
	}
	if t.PkgPath() == "" && t.Kind() != reflect.Struct && t.Kind() != reflect.Array {
		return v // predeclared, or a slice or map: no methods, and elements go their own way
	}
	p := reflect.New(t)
	p.Elem().Set(reflect.ValueOf(v))
	return p.Interface()
}
