// SPDX-License-Identifier: Apache-2.0

package redisstore

import (
	"bytes"
	"io"
	"strconv"
)

// reply takes the bytes of one RESP reply as go-redis streams them: a line, its
// CRLF, and for a string its bytes and another CRLF. The string goes straight
// from the connection into buf when that has room for it and the CRLF, and into
// exactly as much memory as it needs otherwise. go-redis's own GetToBuffer can
// not do that: it must know the size beforehand.
type reply struct {
	buf  []byte // lent by the caller
	size int    // of the string
	kind replyKind
	got  int // bytes of string and CRLF so far
}

type replyKind uint8

const (
	nothing replyKind = iota // no reply, or one that is not understood
	isNil
	isString
)

// maxSize is more than a string in Redis can be: a server that announces such a
// thing talks nonsense.
const maxSize = 1 << 30

var crlf = []byte("\r\n")

// Write gets the line. Only a string's bytes come after it, and those through
// ReadFrom. Errors of the server are left to the caller, who asks again in a way
// that go-redis understands: it would not follow a redirection found here.
func (r *reply) Write(p []byte) (int, error) {
	if len(p) == 0 || bytes.Equal(p, crlf) {
		return len(p), nil
	}
	r.kind, r.size, r.got = nothing, 0, 0
	switch p[0] {
	case '_':
		r.kind = isNil
	case '$':
		n, err := strconv.Atoi(string(p[1:]))
		switch {
		case err != nil || n > maxSize:
		case n < 0:
			r.kind = isNil
		default:
			r.kind, r.size = isString, n
		}
	}
	return len(p), nil //nolint:nilerr // what can not be read has no kind, and the caller says so
}

// ReadFrom is called by io.Copy with a reader that ends behind the CRLF. Without
// it every hit would be copied through a buffer of 32 KiB.
func (r *reply) ReadFrom(src io.Reader) (int64, error) {
	if r.kind != isString {
		return io.Copy(io.Discard, src)
	}
	need := r.size + len(crlf)
	if cap(r.buf) < need {
		r.buf = make([]byte, need)
	}
	n, err := io.ReadFull(src, r.buf[:need])
	r.got = n
	return int64(n), err
}

// entry returns what the command found under the key, nil for nothing, or false
// when the reply did not arrive whole or is something else.
func (r *reply) entry(err error) ([]byte, bool) {
	switch {
	case err != nil:
		return nil, false
	case r.kind == isString && r.got == r.size+len(crlf):
		return r.buf[:r.size], true
	}
	return nil, r.kind == isNil
}
