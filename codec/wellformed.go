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
		h, err := headOf(data)
		if err != nil {
			return err
		}
		data = data[h.size:]
		if len(open) > 0 {
			pending--
		}
		// Each of them by itself could fit, one inside the other, and all of
		// them not: what is pending needs a byte each.
		if pending += h.items; h.body+pending > uint64(len(data)) {
			return errTruncated
		}
		data = data[h.body:]
		if h.items == 0 {
			open = closed(open)
			continue
		}
		if len(open) == maxDepth {
			return errDeep
		}
		open = append(open, int(h.items))
	}
	return nil // with nothing left, nothing is pending
}

// closed returns what is still open after a value has ended.
func closed(open []int) []int {
	for n := len(open); n > 0; n = len(open) {
		if open[n-1]--; open[n-1] > 0 {
			break
		}
		open = open[:n-1]
	}
	return open
}

// head is what the first bytes of a value announce: their own number, then
// bytes to be taken as they are, or values.
type head struct {
	size        int
	body, items uint64
}

func headOf(data []byte) (head, error) {
	c := data[0]
	switch {
	case c <= 0x7f || c >= 0xe0: // small integers
		return head{size: 1}, nil
	case c <= 0x8f:
		return head{size: 1, items: 2 * uint64(c&0x0f)}, nil
	case c <= 0x9f:
		return head{size: 1, items: uint64(c & 0x0f)}, nil
	case c <= 0xbf:
		return head{size: 1, body: uint64(c & 0x1f)}, nil
	}
	s := shapes[c-0xc0]
	if s.size == 0 {
		return head{}, errUnknown
	}
	if len(data) < int(s.size) {
		return head{}, errTruncated
	}
	n := lengthOf(data[1:s.size])
	return head{size: int(s.size), body: n*uint64(s.each) + uint64(s.fixed), items: n * uint64(s.times)}, nil
}

func lengthOf(b []byte) uint64 {
	switch len(b) {
	case 1:
		return uint64(b[0])
	case 2:
		return uint64(binary.BigEndian.Uint16(b))
	case 4:
		return uint64(binary.BigEndian.Uint32(b))
	}
	return 0
}

// shape is how a code goes on: size bytes with the code and a length n, then
// n*each + fixed bytes, or n*times values.
type shape struct{ size, each, fixed, times uint8 }

// shapes is the table of the MessagePack specification from 0xc0 to 0xdf.
var shapes = [32]shape{
	0x00: {size: 1},                    // nil
	0x02: {size: 1},                    // false
	0x03: {size: 1},                    // true
	0x04: {size: 2, each: 1},           // bin 8
	0x05: {size: 3, each: 1},           // bin 16
	0x06: {size: 5, each: 1},           // bin 32
	0x07: {size: 2, each: 1, fixed: 1}, // ext 8
	0x08: {size: 3, each: 1, fixed: 1}, // ext 16
	0x09: {size: 5, each: 1, fixed: 1}, // ext 32
	0x0a: {size: 1, fixed: 4},          // float 32
	0x0b: {size: 1, fixed: 8},          // float 64
	0x0c: {size: 1, fixed: 1},          // uint 8
	0x0d: {size: 1, fixed: 2},          // uint 16
	0x0e: {size: 1, fixed: 4},          // uint 32
	0x0f: {size: 1, fixed: 8},          // uint 64
	0x10: {size: 1, fixed: 1},          // int 8
	0x11: {size: 1, fixed: 2},          // int 16
	0x12: {size: 1, fixed: 4},          // int 32
	0x13: {size: 1, fixed: 8},          // int 64
	0x14: {size: 1, fixed: 2},          // fixext 1
	0x15: {size: 1, fixed: 3},          // fixext 2
	0x16: {size: 1, fixed: 5},          // fixext 4
	0x17: {size: 1, fixed: 9},          // fixext 8
	0x18: {size: 1, fixed: 17},         // fixext 16
	0x19: {size: 2, each: 1},           // str 8
	0x1a: {size: 3, each: 1},           // str 16
	0x1b: {size: 5, each: 1},           // str 32
	0x1c: {size: 3, times: 1},          // array 16
	0x1d: {size: 5, times: 1},          // array 32
	0x1e: {size: 3, times: 2},          // map 16
	0x1f: {size: 5, times: 2},          // map 32
}
