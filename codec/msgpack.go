// SPDX-License-Identifier: Apache-2.0

package codec

import (
	"bytes"
	"fmt"
	"reflect"
	"sync"

	"github.com/vmihailenco/msgpack/v5"
)

// MessagePack is the default: small, fast, and exact for declared types. It
// writes what msgpack.Marshal of github.com/vmihailenco/msgpack/v5 writes, with
// its struct tags and marshalers.
//
// What it does not keep: a time is the same instant in the local zone; an int
// in an any comes back as the smallest type that holds it and a struct in an
// any as a map; a pointer to something nil comes back as a nil pointer.
// Unexported fields are not written. A value that contains itself ends the
// process, as it does with msgpack.Marshal. An EncodeMsgpack method has to write
// well-formed MessagePack and nothing else, or its bytes are refused on the way
// back; what only msgpack.Register knows about, Check does not know.
var MessagePack Codec = msgpackCodec{}

type msgpackCodec struct{}

func (msgpackCodec) Name() string { return "msgpack" }

type msgpackWriter struct {
	sink
	enc *msgpack.Encoder
}

var msgpackWriters = sync.Pool{New: func() any {
	return &msgpackWriter{enc: msgpack.NewEncoder(nil)}
}}

// Pools of our own: the library's are shared with the application, whose
// decoders may come back with a buffer that still records.
type msgpackReader struct {
	data bytes.Reader
	dec  *msgpack.Decoder
}

var msgpackReaders = sync.Pool{New: func() any {
	return &msgpackReader{dec: msgpack.NewDecoder(nil)}
}}

// maxPooled is the most data after which a decoder is kept: its buffer has
// grown to the longest string.
const maxPooled = 64 << 10

func (msgpackCodec) Append(dst []byte, v any) (b []byte, err error) {
	defer recovered(&err)
	w := msgpackWriters.Get().(*msgpackWriter)
	w.buf = dst
	w.enc.Reset(w)
	if err := w.enc.Encode(addressable(v)); err != nil {
		return dst, fmt.Errorf("codec: %w", err)
	}
	b = w.take()
	msgpackWriters.Put(w)
	return b, nil
}

func (msgpackCodec) Decode(data []byte, v any) (err error) {
	defer recovered(&err)
	if err := wellFormed(data); err != nil {
		return err
	}
	r := msgpackReaders.Get().(*msgpackReader)
	r.data.Reset(data)
	// Not UsePreallocateValues, which msgpack.Unmarshal sets: it leaves one
	// goroutine per type behind, for ever.
	r.dec.Reset(&r.data)
	if err := r.dec.Decode(v); err != nil {
		return fmt.Errorf("codec: %w", err) // and no decoder kept: it may be left recording
	}
	left := r.data.Len()
	if r.data.Reset(nil); len(data) <= maxPooled {
		msgpackReaders.Put(r)
	}
	if left > 0 {
		return fmt.Errorf("codec: msgpack: %d bytes left over", left)
	}
	return nil
}

func (msgpackCodec) Check(t reflect.Type) error { return check(msgpackRules, t) }

// recovered turns a panic into an error. The library panics where bytes hold a
// map key that cannot be hashed, and on tags that contradict the field's type;
// neither may end a process that only wanted to read its cache.
func recovered(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("codec: msgpack: panic: %v", p)
	}
}
