// SPDX-License-Identifier: Apache-2.0

package codec

import (
	"encoding/binary"
	"errors"
)

var (
	errTruncated = errors.New("codec: msgpack: data is truncated")
	errUnknown   = errors.New("codec: msgpack: data holds a code that does not exist")
	errDeep      = errors.New("codec: msgpack: data is nested too deeply")
)

// maxDepth is encoding/json's limit.
const maxDepth = 10000

// wellFormed looks at the lengths in data before they are believed. The library
// makes room for as many elements as a header announces: five bytes that say
// "four billion follow" end the process, and so does nesting without end, and
// neither can be recovered from. After wellFormed a byte of data stands for at
// most one element.
//
// Several values in a row are let through: an EncodeMsgpack method may write
// more than one.
func wellFormed(data []byte) error {
	var room [32]int
	open := room[:0]   // of each array and map around, the elements that did not end yet
	var pending uint64 // elements announced and not begun, of all of them
	for len(data) > 0 {
		s := &shapes[data[0]]
		size, body, items := int(s.size), uint64(s.body), uint64(s.items)
		if size != 1 {
			if size == 0 {
				return errUnknown
			}
			if len(data) < size {
				return errTruncated
			}
			n := lengthOf(data[1:size])
			body += n * uint64(s.eachBody)
			items = n * uint64(s.eachItem)
		}
		data = data[size:]
		if len(open) > 0 {
			pending--
		}
		// Each of them by itself could fit, one inside the other, and all of
		// them not: what is pending needs a byte each.
		if pending += items; body+pending > uint64(len(data)) {
			return errTruncated
		}
		data = data[body:]
		switch {
		case items == 0:
			open = closed(open)
		case len(open) == maxDepth:
			return errDeep
		default:
			open = append(open, int(items))
		}
	}
	return nil // with nothing left, nothing is pending
}

// closed returns what is still open after a value has ended.
func closed(open []int) []int {
	for n := len(open) - 1; n >= 0; n-- {
		if open[n]--; open[n] > 0 {
			return open[:n+1]
		}
	}
	return open[:0]
}

func lengthOf(b []byte) uint64 {
	switch len(b) {
	case 1:
		return uint64(b[0])
	case 2:
		return uint64(binary.BigEndian.Uint16(b))
	default:
		return uint64(binary.BigEndian.Uint32(b))
	}
}

// shape is what a value's first byte announces: size bytes, which are that byte
// and a length n, then body + n*eachBody bytes to be taken as they are, then
// items + n*eachItem values.
type shape struct{ size, body, items, eachBody, eachItem uint8 }

// shapes is the table of the MessagePack specification. 0xc1 is never used.
var shapes = [256]shape{
	0xc0: {size: 1},                       // nil
	0xc2: {size: 1},                       // false
	0xc3: {size: 1},                       // true
	0xc4: {size: 2, eachBody: 1},          // bin 8
	0xc5: {size: 3, eachBody: 1},          // bin 16
	0xc6: {size: 5, eachBody: 1},          // bin 32
	0xc7: {size: 2, body: 1, eachBody: 1}, // ext 8
	0xc8: {size: 3, body: 1, eachBody: 1}, // ext 16
	0xc9: {size: 5, body: 1, eachBody: 1}, // ext 32
	0xca: {size: 1, body: 4},              // float 32
	0xcb: {size: 1, body: 8},              // float 64
	0xcc: {size: 1, body: 1},              // uint 8
	0xcd: {size: 1, body: 2},              // uint 16
	0xce: {size: 1, body: 4},              // uint 32
	0xcf: {size: 1, body: 8},              // uint 64
	0xd0: {size: 1, body: 1},              // int 8
	0xd1: {size: 1, body: 2},              // int 16
	0xd2: {size: 1, body: 4},              // int 32
	0xd3: {size: 1, body: 8},              // int 64
	0xd4: {size: 1, body: 2},              // fixext 1
	0xd5: {size: 1, body: 3},              // fixext 2
	0xd6: {size: 1, body: 5},              // fixext 4
	0xd7: {size: 1, body: 9},              // fixext 8
	0xd8: {size: 1, body: 17},             // fixext 16
	0xd9: {size: 2, eachBody: 1},          // str 8
	0xda: {size: 3, eachBody: 1},          // str 16
	0xdb: {size: 5, eachBody: 1},          // str 32
	0xdc: {size: 3, eachItem: 1},          // array 16
	0xdd: {size: 5, eachItem: 1},          // array 32
	0xde: {size: 3, eachItem: 2},          // map 16
	0xdf: {size: 5, eachItem: 2},          // map 32
}

func init() {
	for c := range uint8(0x80) { // small integers, from 0 on and below
		shapes[c].size = 1
		shapes[0xe0|c].size = 1
	}
	for n := range uint8(0x10) {
		shapes[0x80|n] = shape{size: 1, items: 2 * n} // fixmap
		shapes[0x90|n] = shape{size: 1, items: n}     // fixarray
	}
	for n := range uint8(0x20) {
		shapes[0xa0|n] = shape{size: 1, body: n} // fixstr
	}
}
