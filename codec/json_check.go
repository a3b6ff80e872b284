// SPDX-License-Identifier: Apache-2.0

package codec

import (
	"encoding"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
)

var jsonRules = &rules{
	name:       "json",
	tag:        "json",
	marshalers: []marshaler{{write: marshalJSON, read: unmarshalJSON, raw: true}, {write: marshalText, read: unmarshalText}},
	refused: map[reflect.Kind]string{
		reflect.Chan:          "a channel",
		reflect.Func:          "a function",
		reflect.Complex64:     "a complex number",
		reflect.Complex128:    "a complex number",
		reflect.UnsafePointer: "an unsafe pointer",
	},
	key:    jsonKey,
	fields: func(w *walker, t reflect.Type, path string) []field { return jsonFields(w, t, path, nil) },
}

var (
	marshalJSON = half{"MarshalJSON", reflect.TypeFor[json.Marshaler](),
		func(t reflect.Type) (reflect.Method, bool) { return t.MethodByName("MarshalJSON") }}
	unmarshalJSON = half{"UnmarshalJSON", reflect.TypeFor[json.Unmarshaler](),
		func(t reflect.Type) (reflect.Method, bool) { return t.MethodByName("UnmarshalJSON") }}
	marshalText = half{"MarshalText", reflect.TypeFor[encoding.TextMarshaler](),
		func(t reflect.Type) (reflect.Method, bool) { return t.MethodByName("MarshalText") }}
	unmarshalText = half{"UnmarshalText", reflect.TypeFor[encoding.TextUnmarshaler](),
		func(t reflect.Type) (reflect.Method, bool) { return t.MethodByName("UnmarshalText") }}
)

// jsonKey follows encoding/json: a string is written as it is, whatever methods
// it has; then come text marshalers, which have no address here; then integers.
func jsonKey(w *walker, t reflect.Type, path string) {
	writes := t.Implements(marshalText.iface)
	reads := reflect.PointerTo(t).Implements(unmarshalText.iface)
	integer := t.Kind() >= reflect.Int && t.Kind() <= reflect.Uintptr
	switch {
	case t.Kind() == reflect.String, writes && reads, integer && !writes && !reads:
	case writes != reads && (integer || writes):
		w.refuse(path, "%s is written as a key in one way and read in another: it needs MarshalText on the value and UnmarshalText", t)
	default:
		w.refuse(path, "%s cannot be a key: keys are strings, integers or have MarshalText on the value", t)
	}
}

// jsonFields lists what encoding/json writes of a struct, and also what it
// would leave out because two fields have one name. Around are the structs
// that t is embedded in.
func jsonFields(w *walker, t reflect.Type, path string, around []reflect.Type) []field {
	var list []field
	for f := range t.Fields() {
		elem := embeddedElem(f)
		if !f.IsExported() && (!f.Anonymous || elem.Kind() != reflect.Struct) || f.Tag.Get("json") == "-" {
			continue
		}
		key, _ := cutTag(f.Tag.Get("json"))
		if strings.ContainsAny(key, "\"'\\`") {
			key = "" // as encoding/json does
		}
		switch {
		case key != "" || !f.Anonymous || elem.Kind() != reflect.Struct:
			if key == "" {
				key = f.Name
			}
			list = append(list, field{key: key, path: f.Name, typ: f.Type})
		case elem == t || slices.Contains(around, elem):
			w.refuse(path+"."+f.Name, "a struct that embeds itself is written once only")
		default:
			list = append(list, jsonInline(w, f, elem, path, append(around, t))...)
		}
	}
	return list
}

// jsonInline lists the fields of an embedded struct, which stand among those
// of the struct around it.
func jsonInline(w *walker, f reflect.StructField, elem reflect.Type, path string, around []reflect.Type) []field {
	inner := jsonFields(w, elem, path+"."+f.Name, around)
	pointer := f.Type.Kind() == reflect.Pointer
	switch {
	case len(inner) == 0:
		refuseEmpty(w, f, elem, path)
	case pointer && !f.IsExported():
		w.refuse(path+"."+f.Name, "an embedded pointer to an unexported struct cannot be set")
	}
	return nested(inner, f, pointer)
}

// refuseEmpty is for an embedded struct of which nothing is written. One that
// is unexported is like any other unexported field.
func refuseEmpty(w *walker, f reflect.StructField, elem reflect.Type, path string) {
	if f.IsExported() && holdsSomething(elem) {
		w.refuse(path+"."+f.Name, "nothing of the embedded %s would be written", elem)
	}
}

func nested(inner []field, in reflect.StructField, pointer bool) []field {
	for i := range inner {
		inner[i].path = in.Name + "." + inner[i].path
		inner[i].addr = inner[i].addr || pointer
	}
	return inner
}

// embeddedElem is the type of a field, and of a pointer what it points to.
func embeddedElem(f reflect.StructField) reflect.Type {
	if f.Type.Kind() == reflect.Pointer {
		return f.Type.Elem()
	}
	return f.Type
}
