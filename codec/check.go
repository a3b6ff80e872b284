// SPDX-License-Identifier: Apache-2.0

package codec

import (
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"strings"
)

// rules is what one format does with Go types, as far as [check] asks.
type rules struct {
	name string
	tag  string

	// marshalers in the order in which the format looks for them. With
	// valuesFirst it looks through all of them on T, and then on *T.
	marshalers  []marshaler
	valuesFirst bool

	refused map[reflect.Kind]string
	key     func(w *walker, t reflect.Type, path string)
	fields  func(w *walker, t reflect.Type, path string) []field
}

// marshaler is one way in which a type can write itself.
type marshaler struct {
	write, read half
	raw         bool // read sees the bytes as they stand, whoever wrote them
}

// half is one direction. find looks the method up under a constant name: with
// a variable, the linker would have to keep every method of every type.
type half struct {
	name  string
	iface reflect.Type
	find  func(reflect.Type) (reflect.Method, bool)
}

// field is a field as the format writes it.
type field struct {
	key  string // the name it is written under
	path string // where it is in the struct
	typ  reflect.Type
	addr bool // behind an embedded pointer, so it has an address in any case
}

// walker goes through a type once, and through the types it is made of.
type walker struct {
	*rules
	seen map[place]bool
	errs []error
}

// place is a type, and whether its values have an address there: those in a
// map have none, and marshalers with a pointer receiver need one.
type place struct {
	t    reflect.Type
	addr bool
}

// check says everything that keeps values of type t from coming back as they
// went in. Fields that Go code cannot see from outside are no reason, since
// most structs have some; a struct that has only such fields is one.
func check(r *rules, t reflect.Type) error {
	if t == nil {
		return fmt.Errorf("codec: %s: no type", r.name)
	}
	w := walker{rules: r, seen: map[place]bool{}}
	w.walk(t, t.String(), true)
	return errors.Join(w.errs...)
}

func (w *walker) refuse(path, format string, args ...any) {
	w.errs = append(w.errs, fmt.Errorf("codec: %s: %s: %s", w.name, path, fmt.Sprintf(format, args...)))
}

func (w *walker) walk(t reflect.Type, path string, addr bool) {
	if w.seen[place{t, addr}] {
		return
	}
	w.seen[place{t, addr}] = true
	if w.writesItself(t, path, addr) {
		return
	}
	if why, ok := w.refused[t.Kind()]; ok {
		w.refuse(path, "%s cannot be written", why)
		return
	}
	switch t.Kind() {
	case reflect.Interface:
		if t.NumMethod() > 0 {
			w.refuse(path, "what is in an interface (%s) is written without its type, so it cannot be read", t)
		}
	case reflect.Pointer:
		w.pointer(t.Elem(), path)
	case reflect.Slice:
		w.walk(t.Elem(), path+"[]", true)
	case reflect.Array:
		w.walk(t.Elem(), path+"[]", addr)
	case reflect.Map:
		w.mapOf(t, path)
	case reflect.Struct:
		w.structure(t, path, addr)
	}
}

func (w *walker) pointer(elem reflect.Type, path string) {
	if elem.Kind() == reflect.Pointer {
		w.refuse(path, "a pointer to a nil pointer would come back as a nil pointer")
		return
	}
	w.walk(elem, path, true)
}

func (w *walker) mapOf(t reflect.Type, path string) {
	switch k := t.Key(); k.Kind() {
	case reflect.Interface:
		w.refuse(path, "keys of type %s would come back as another type", k)
	case reflect.Pointer:
		w.refuse(path, "keys that are pointers would come back as other pointers")
	default:
		w.key(w, k, path+"[key]")
	}
	w.walk(t.Elem(), path+"[]", false)
}

func (w *walker) structure(t reflect.Type, path string, addr bool) {
	fields := w.fields(w, t, path)
	if len(fields) == 0 && holdsSomething(t) {
		w.refuse(path, "%s would be written empty: it has only fields that are not written, and no marshaler", t)
	}
	at := map[string]string{}
	for _, f := range fields {
		if other, ok := at[f.key]; ok {
			w.refuse(path, "%s and %s are both written as %q, so one would be lost", other, f.path, f.key)
		}
		at[f.key] = f.path
		w.walk(f.typ, path+"."+f.path, addr || f.addr)
	}
}

// holdsSomething reports whether a struct has fields that are not mere marks.
func holdsSomething(t reflect.Type) bool {
	for f := range t.Fields() {
		if f.Name != "_" && f.Type.Size() > 0 {
			return true
		}
	}
	return false
}

// none is the index of no marshaler.
const none = -1

// writesItself reports whether t's own methods write it, or should but cannot:
// then nothing is to be said about what t is made of.
func (w *walker) writesItself(t reflect.Type, path string, addr bool) bool {
	if t.Kind() == reflect.Pointer || t.Kind() == reflect.Interface {
		return false
	}
	writer, needsAddr := w.find(t, func(m marshaler) half { return m.write })
	reader, _ := w.find(t, func(m marshaler) half { return m.read })
	rawReader := reader != none && w.marshalers[reader].raw
	switch {
	case writer == none && (reader == none || rawReader):
		return false
	case writer == none:
		m := w.marshalers[reader]
		w.refuse(path, "%s has %s but no %s", t, m.read.name, m.write.name)
	case writer != reader && !rawReader:
		m := w.marshalers[writer]
		w.refuse(path, "%s has %s but no %s that would be used, so it cannot be read", t, m.write.name, m.read.name)
	case needsAddr && !addr:
		w.refuse(path, "%s of %s has a pointer receiver, and what is in a map has no address: use pointers in the map", w.marshalers[writer].write.name, t)
	default:
		w.promoted(t, path, w.marshalers[writer].write)
		w.promoted(t, path, w.marshalers[reader].read)
	}
	return true
}

// find returns the first marshaler that t has, and whether only *t has it.
func (w *walker) find(t reflect.Type, side func(marshaler) half) (index int, needsAddr bool) {
	if w.valuesFirst {
		for i, m := range w.marshalers {
			if t.Implements(side(m).iface) {
				return i, false
			}
		}
	}
	for i, m := range w.marshalers {
		if reflect.PointerTo(t).Implements(side(m).iface) {
			return i, !t.Implements(side(m).iface)
		}
	}
	return none, false
}

// promoted looks for struct{ time.Time; Name string }: time.Time's methods are
// the struct's too, and write the time only.
func (w *walker) promoted(t reflect.Type, path string, h half) {
	if t.Kind() != reflect.Struct || !generated(t, h) {
		return
	}
	from, others := w.embedding(t, h)
	switch {
	case from == "":
	case len(others) > 0:
		w.refuse(path, "%s of the embedded %s is used for the whole struct, so %s would be lost", h.name, from, strings.Join(others, ", "))
	default:
		f, _ := t.FieldByName(from)
		w.writesItself(f.Type, path+"."+from, true)
	}
}

// embedding returns the embedded field that h comes from, and the fields beside it.
func (w *walker) embedding(t reflect.Type, h half) (from string, others []string) {
	for f := range t.Fields() {
		if _, ok := methodOf(f.Type, h); ok && f.Anonymous {
			from = f.Name
			continue
		}
		if name, _, _ := strings.Cut(f.Tag.Get(w.tag), ","); name != "-" && (f.IsExported() || f.Anonymous) {
			others = append(others, f.Name)
		}
	}
	return from, others
}

// generated reports whether h is a method that nobody wrote for t itself.
func generated(t reflect.Type, h half) bool {
	for _, t := range []reflect.Type{t, reflect.PointerTo(t)} {
		m, ok := h.find(t)
		if !ok {
			continue
		}
		f := runtime.FuncForPC(m.Func.Pointer())
		if f == nil {
			return false
		}
		if file, _ := f.FileLine(f.Entry()); file != "<autogenerated>" {
			return false
		}
	}
	return true
}

func methodOf(t reflect.Type, h half) (reflect.Method, bool) {
	if t.Kind() != reflect.Pointer && t.Kind() != reflect.Interface {
		t = reflect.PointerTo(t)
	}
	return h.find(t)
}

// cutTag splits a struct tag into the name and what follows it.
func cutTag(tag string) (name string, options []string) {
	parts := strings.Split(tag, ",")
	return parts[0], parts[1:]
}
