// SPDX-License-Identifier: Apache-2.0

package codec

import (
	"fmt"
	"reflect"
)

// Bytes stores a []byte or a string as it is, for values that are encoded
// already or that other programs read. It keeps these two, and types declared
// as one of them, and nothing else: a type's own marshalers are not asked.
//
// No bytes are no bytes: a nil slice comes back empty and not nil.
var Bytes Codec = bytesCodec{}

type bytesCodec struct{}

func (bytesCodec) Name() string { return "bytes" }

func (bytesCodec) Append(dst []byte, v any) ([]byte, error) {
	switch v := v.(type) {
	case []byte:
		return append(dst, v...), nil
	case *[]byte:
		if v != nil {
			return append(dst, *v...), nil
		}
	case string:
		return append(dst, v...), nil
	case *string:
		if v != nil {
			return append(dst, *v...), nil
		}
	}
	return appendNamed(dst, v)
}

// appendNamed is for the types that a type switch does not know.
func appendNamed(dst []byte, v any) ([]byte, error) {
	rv := reflect.ValueOf(v)
	if rv.Kind() == reflect.Pointer {
		rv = rv.Elem()
	}
	switch {
	case !rv.IsValid():
		return dst, fmt.Errorf("codec: bytes: %T holds nothing to write", v)
	case isBytes(rv.Type()):
		return append(dst, rv.Bytes()...), nil
	case rv.Kind() == reflect.String:
		return append(dst, rv.String()...), nil
	}
	return dst, notBytes(rv.Type())
}

func (bytesCodec) Decode(data []byte, v any) error {
	switch v := v.(type) {
	case *[]byte:
		if v != nil {
			*v = exactly(data)
			return nil
		}
	case *string:
		if v != nil {
			*v = string(data)
			return nil
		}
	}
	return decodeNamed(data, v)
}

// decodeNamed is for the types that a type switch does not know.
func decodeNamed(data []byte, v any) error {
	rv := reflect.ValueOf(v)
	if rv.Kind() != reflect.Pointer || rv.IsNil() {
		return fmt.Errorf("codec: bytes: cannot decode into %T", v)
	}
	switch rv = rv.Elem(); {
	case isBytes(rv.Type()):
		rv.SetBytes(exactly(data))
	case rv.Kind() == reflect.String:
		rv.SetString(string(data))
	default:
		return notBytes(rv.Type())
	}
	return nil
}

func (bytesCodec) Check(t reflect.Type) error {
	if isBytes(t) || t.Kind() == reflect.String {
		return nil
	}
	return notBytes(t)
}

// exactly copies data without room to grow: the copy may live long.
func exactly(data []byte) []byte {
	b := make([]byte, len(data))
	copy(b, data)
	return b
}

func isBytes(t reflect.Type) bool {
	return t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Uint8
}

func notBytes(t reflect.Type) error {
	return fmt.Errorf("codec: bytes: %s is neither []byte nor string", t)
}
