// SPDX-License-Identifier: Apache-2.0

package leash

import (
	"encoding"
	"encoding/hex"
	"fmt"
	"reflect"
	"strconv"
)

// keyOf writes a typed key so that two keys of one type never look the same.
func keyOf[K comparable](k K) (string, error) {
	switch k := any(k).(type) {
	case string:
		return k, nil
	case int:
		return strconv.Itoa(k), nil
	case int64:
		return strconv.FormatInt(k, 10), nil
	}
	b, err := appendKey(nil, reflect.ValueOf(&k).Elem(), false)
	return string(b), err
}

// appendKey appends v; inside tells that v is a part of something, where the
// signs that join parts are escaped.
func appendKey(b []byte, v reflect.Value, inside bool) ([]byte, error) {
	if m, ok := marshaler(v); ok {
		text, err := m.MarshalText()
		if err != nil {
			return nil, fmt.Errorf("leash: key of type %v: %w", v.Type(), err)
		}
		return appendText(b, string(text), inside), nil
	}
	switch v.Kind() {
	case reflect.String:
		return appendText(b, v.String(), inside), nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return strconv.AppendInt(b, v.Int(), 10), nil
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		return strconv.AppendUint(b, v.Uint(), 10), nil
	case reflect.Bool:
		return strconv.AppendBool(b, v.Bool()), nil
	case reflect.Array:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return appendHex(b, v), nil
		}
		return appendParts(b, v.Len(), v.Index, inside)
	case reflect.Struct:
		return appendParts(b, v.NumField(), v.Field, inside)
	}
	return nil, fmt.Errorf("leash: a %v is no key: use strings, integers, booleans, byte arrays, types with MarshalText, or structs and arrays of these, or set Loader.Key", v.Type())
}

func marshaler(v reflect.Value) (encoding.TextMarshaler, bool) {
	if !v.CanInterface() { // an unexported field
		return nil, false
	}
	if m, ok := reflect.TypeAssert[encoding.TextMarshaler](v); ok {
		return m, v.Kind() != reflect.Pointer && v.Kind() != reflect.Interface
	}
	return reflect.TypeAssert[encoding.TextMarshaler](v.Addr())
}

func appendHex(b []byte, v reflect.Value) []byte {
	raw := make([]byte, v.Len())
	for i := range raw {
		raw[i] = byte(v.Index(i).Uint())
	}
	return hex.AppendEncode(b, raw)
}

func appendParts(b []byte, n int, part func(int) reflect.Value, inside bool) ([]byte, error) {
	var err error
	if inside {
		b = append(b, '(')
	}
	for i := range n {
		if i > 0 {
			b = append(b, '|')
		}
		if b, err = appendKey(b, part(i), true); err != nil {
			return nil, err
		}
	}
	if inside {
		b = append(b, ')')
	}
	return b, nil
}

func appendText(b []byte, s string, inside bool) []byte {
	if !inside {
		return append(b, s...)
	}
	for i := range len(s) {
		switch s[i] {
		case '|', '(', ')', '\\':
			b = append(b, '\\')
		}
		b = append(b, s[i])
	}
	return b
}
