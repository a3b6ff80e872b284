// SPDX-License-Identifier: Apache-2.0

// Package schema tells one shape of a value from another. A field that was
// renamed decodes to zero without an error, and an int64 read as an int8 to
// another number, in every common format: so an entry carries the fingerprint
// of the Go type it was written from, and one with another fingerprint is a miss.
package schema

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"reflect"
	"slices"
)

// What is hashed first. A change to what Fingerprint looks at needs a new
// number here, and empties every cache once.
const (
	ofType     = "leash schema 1: type"
	ofExplicit = "leash schema 1: explicit"
)

// Fingerprint is a number for the shape of t: the same in every binary and run,
// and another one when what would be written under it changes.
//
// These count: kinds, also those behind named basic types; exported and
// embedded fields with name, whole tag and order; lengths of arrays; what
// slices, maps and pointers are made of. Order counts because formats that
// write structs as arrays have nothing else. The whole tag counts because the
// tags of a codec that is not ours are not known here: to add a tag for
// validation empties the cache once, not to see one fills it with zeros.
//
// These do not: the names and packages of types, so that a type can be moved or
// renamed; unexported fields, which no codec writes, except for marks such as
// `_msgpack struct{}` that carry a tag. The name of an embedded type is the name
// of a field, and counts.
//
// A type with marshalers may be written in any way, so its package and name
// count as well as its shape, which is what a codec sees that does not know
// these marshalers. What such a method writes is not seen: change the format
// and the fingerprint stays. That is what [Explicit] is for.
func Fingerprint(t reflect.Type) uint64 {
	w := walker{Hash: sha256.New(), numbers: map[reflect.Type]uint64{}}
	w.text(ofType)
	w.walk(t)
	return sum(w.Hash)
}

// Explicit is the fingerprint of a version that the user names, in place of a type's.
func Explicit(version string) uint64 {
	w := walker{Hash: sha256.New()}
	w.text(ofExplicit)
	w.text(version)
	return sum(w.Hash)
}

func sum(h hash.Hash) uint64 { return binary.BigEndian.Uint64(h.Sum(nil)) }

// walker writes a type to a hash, every word with its length so that no two
// types read the same.
type walker struct {
	hash.Hash
	// numbers has every struct that was met. It is written out once and then
	// referred to: types that refer to each other, as the types of an ORM do,
	// have more paths through them than can be followed.
	numbers map[reflect.Type]uint64
	// around has the other types that are being written, for type T []T.
	around []reflect.Type
}

func (w *walker) text(s string) {
	w.number(uint64(len(s)))
	w.Write([]byte(s))
}

func (w *walker) number(n uint64) {
	w.Write(binary.BigEndian.AppendUint64(nil, n))
}

func (w *walker) walk(t reflect.Type) {
	if t == nil {
		w.text("nothing")
		return
	}
	if n, ok := w.met(t); ok {
		w.text("again")
		w.number(n)
		return
	}
	if writesItself(t) {
		w.text("marshaler")
		w.text(t.PkgPath())
		w.text(t.Name())
	}
	w.text(t.Kind().String())
	if t.Kind() == reflect.Struct {
		w.numbers[t] = uint64(len(w.numbers))
		w.structure(t)
		return
	}
	w.around = append(w.around, t)
	w.parts(t)
	w.around = w.around[:len(w.around)-1]
}

// met returns where t was met: a struct by its number, another type by how many
// types outwards it is.
func (w *walker) met(t reflect.Type) (uint64, bool) {
	if n, ok := w.numbers[t]; ok {
		return n, true
	}
	for i, outer := range slices.Backward(w.around) {
		if outer == t {
			return uint64(len(w.around) - i), true
		}
	}
	return 0, false
}

// parts writes what t is made of.
func (w *walker) parts(t reflect.Type) {
	switch t.Kind() {
	case reflect.Array:
		w.number(uint64(t.Len()))
		w.walk(t.Elem())
	case reflect.Map:
		w.walk(t.Key())
		w.walk(t.Elem())
	case reflect.Slice, reflect.Pointer:
		w.walk(t.Elem())
	case reflect.Interface:
		if t.NumMethod() > 0 { // to list them would keep every method in the binary
			w.text(t.PkgPath())
			w.text(t.String())
		}
	}
}

func (w *walker) structure(t reflect.Type) {
	for f := range t.Fields() {
		if !counts(f) {
			continue
		}
		w.text("field")
		w.text(f.Name)
		w.text(string(f.Tag))
		if f.Anonymous {
			w.text("embedded")
		}
		w.walk(f.Type)
	}
	w.text("end")
}

// counts reports whether a codec may look at f.
func counts(f reflect.StructField) bool {
	return f.IsExported() || f.Anonymous || f.Type.Size() == 0 && f.Tag != ""
}

// writesItself reports whether t or *t has a method that some codec uses in
// place of t's shape. They are looked for by name, so that no encoder is
// imported here; each name is a constant, or the linker would have to keep
// every method of every type.
func writesItself(t reflect.Type) bool {
	if t.PkgPath() == "" && t.Kind() != reflect.Struct || t.Kind() == reflect.Interface {
		return false
	}
	p := reflect.PointerTo(t)
	for _, find := range []func(reflect.Type) bool{
		func(t reflect.Type) bool { _, ok := t.MethodByName("MarshalBinary"); return ok },
		func(t reflect.Type) bool { _, ok := t.MethodByName("MarshalText"); return ok },
		func(t reflect.Type) bool { _, ok := t.MethodByName("MarshalJSON"); return ok },
		func(t reflect.Type) bool { _, ok := t.MethodByName("MarshalMsgpack"); return ok },
		func(t reflect.Type) bool { _, ok := t.MethodByName("EncodeMsgpack"); return ok },
	} {
		if find(p) { // has the methods of t as well
			return true
		}
	}
	return false
}
