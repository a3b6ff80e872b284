// SPDX-License-Identifier: Apache-2.0

// Package codec turns values into bytes and back.
package codec

import "reflect"

// Codec is a way to write values. Implementations are safe for concurrent use
// and pass [github.com/leashcache/leash/codec/codectest].
type Codec interface {
	// Name is the format's name, kept in every entry: bytes written under one
	// name are never given to a codec of another.
	Name() string

	// Append appends v's encoding to dst. A pointer to a value is written as
	// the value is, and saves a copy of it. With an error the bytes returned
	// mean nothing.
	Append(dst []byte, v any) ([]byte, error)

	// Decode writes the value that data holds to what v points to, a zero value
	// until then. It keeps no part of data, since data is used again. With an
	// error what v points to may be half written. No bytes make it panic.
	Decode(data []byte, v any) error

	// Check says why values of type t could not come back as they went in, or
	// returns nil. A cache asks once, when it is made.
	Check(t reflect.Type) error
}
