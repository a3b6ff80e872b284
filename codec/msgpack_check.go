// SPDX-License-Identifier: Apache-2.0

package codec

import (
	"encoding"
	"reflect"
	"slices"

	"github.com/vmihailenco/msgpack/v5"
)

var msgpackRules = &rules{
	name: "msgpack",
	tag:  "msgpack",
	marshalers: []marshaler{
		{write: encodeMsgpack, read: decodeMsgpack, raw: true},
		{write: marshalMsgpack, read: unmarshalMsgpack, raw: true},
		{write: marshalBinary, read: unmarshalBinary},
		{write: marshalText, read: unmarshalText},
	},
	valuesFirst: true,
	refused: map[reflect.Kind]string{
		reflect.Chan:          "a channel",
		reflect.Func:          "a function",
		reflect.Complex64:     "a complex number",
		reflect.Complex128:    "a complex number",
		reflect.UnsafePointer: "an unsafe pointer",
		reflect.Uintptr:       "a uintptr",
	},
	key:    func(w *walker, t reflect.Type, path string) { w.walk(t, path, false) },
	fields: msgpackFields,
}

var (
	encodeMsgpack = half{"EncodeMsgpack", reflect.TypeFor[msgpack.CustomEncoder](),
		func(t reflect.Type) (reflect.Method, bool) { return t.MethodByName("EncodeMsgpack") }}
	decodeMsgpack = half{"DecodeMsgpack", reflect.TypeFor[msgpack.CustomDecoder](),
		func(t reflect.Type) (reflect.Method, bool) { return t.MethodByName("DecodeMsgpack") }}
	marshalMsgpack = half{"MarshalMsgpack", reflect.TypeFor[msgpack.Marshaler](),
		func(t reflect.Type) (reflect.Method, bool) { return t.MethodByName("MarshalMsgpack") }}
	unmarshalMsgpack = half{"UnmarshalMsgpack", reflect.TypeFor[msgpack.Unmarshaler](),
		func(t reflect.Type) (reflect.Method, bool) { return t.MethodByName("UnmarshalMsgpack") }}
	marshalBinary = half{"MarshalBinary", reflect.TypeFor[encoding.BinaryMarshaler](),
		func(t reflect.Type) (reflect.Method, bool) { return t.MethodByName("MarshalBinary") }}
	unmarshalBinary = half{"UnmarshalBinary", reflect.TypeFor[encoding.BinaryUnmarshaler](),
		func(t reflect.Type) (reflect.Method, bool) { return t.MethodByName("UnmarshalBinary") }}
)

// msgpackFields lists what the library writes of a struct. It puts the fields
// of an embedded struct among the others unless one of their names is taken by
// then; then the embedded struct is a field of its own.
func msgpackFields(w *walker, t reflect.Type, path string) []field {
	var list []field
	for f := range t.Fields() {
		key, options := cutTag(f.Tag.Get("msgpack"))
		if key == "-" || !f.IsExported() && !f.Anonymous {
			continue
		}
		if key == "" {
			key = f.Name
		}
		if !f.Anonymous || slices.Contains(options, "noinline") {
			list = append(list, msgpackField(w, f, key, path)...)
			continue
		}
		inline := slices.Contains(options, "inline")
		if w.pointerInline(f, inline, path) {
			continue
		}
		inner, ok := w.msgpackInline(f, inline, path)
		if ok && (inline || !overlap(list, inner)) {
			list = append(list, inner...)
			continue
		}
		list = append(list, msgpackField(w, f, key, path)...)
	}
	return list
}

// msgpackField is a field that is written under its own name.
func msgpackField(w *walker, f reflect.StructField, key, path string) []field {
	if !f.IsExported() && (f.Type.Kind() != reflect.Struct || !w.plain(f.Type)) {
		w.refuse(path+"."+f.Name, "an embedded field of the unexported type %s would be written and cannot be set", f.Type)
		return nil
	}
	return []field{{key: key, path: f.Name, typ: f.Type}}
}

// pointerInline refuses an embedded pointer to a struct: if it is nil, its
// fields are written as nil, and a struct of zeros comes back. Reading one also
// leaves a goroutine behind.
func (w *walker) pointerInline(f reflect.StructField, inline bool, path string) bool {
	if f.Type.Kind() != reflect.Pointer || !inline && !w.plain(f.Type.Elem()) {
		return false
	}
	w.refuse(path+"."+f.Name, "an embedded pointer that is nil would come back as one that is not: embed the struct, or tag it `msgpack:\",noinline\"`")
	return true
}

// msgpackInline lists the fields of an embedded struct, if they can stand among
// the others.
func (w *walker) msgpackInline(f reflect.StructField, inline bool, path string) ([]field, bool) {
	if f.Type.Kind() != reflect.Struct || !inline && !w.plain(f.Type) {
		return nil, false
	}
	inner := msgpackFields(w, f.Type, path+"."+f.Name)
	if len(inner) == 0 {
		refuseEmpty(w, f, f.Type, path)
	}
	return nested(inner, f, false), true
}

// plain reports whether t is a struct without marshalers.
func (w *walker) plain(t reflect.Type) bool {
	writer, _ := w.find(t, func(m marshaler) half { return m.write })
	reader, _ := w.find(t, func(m marshaler) half { return m.read })
	return t.Kind() == reflect.Struct && writer == none && reader == none
}

func overlap(a, b []field) bool {
	return slices.ContainsFunc(a, func(f field) bool {
		return slices.ContainsFunc(b, func(g field) bool { return f.key == g.key })
	})
}
