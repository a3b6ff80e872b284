// SPDX-License-Identifier: Apache-2.0

package redisstore

import (
	"bytes"
	"encoding/binary"
	"time"

	"github.com/leashcache/leash/internal/entry"
)

// What lib.lua knows of an entry, for the transactions.

func hasValue(h entry.Head) bool { return !h.Publisher().IsZero() }

func holds(h entry.Head, token []byte) bool {
	t := h.Token()
	return !t.IsZero() && bytes.Equal(t[:], token)
}

const hour = int64(entry.MaxLease / time.Millisecond)

// after is an end on the server's clock, which is rounded down; so one more.
func after(now, ttl int64) int64 { return now + ttl + 1 }

// standing is for how long the lease in h stands, in milliseconds; zero when none does.
func standing(h entry.Head, c current) int64 {
	if h.Token().IsZero() && !h.Backoff() {
		return 0
	}
	left := h.Until() - c.now
	if h.Until() == 0 && !hasValue(h) && c.life >= 0 {
		left = max(c.life, 1)
	}
	if h.Until() < 0 || left <= 0 || left > after(0, hour) {
		return 0
	}
	if length := h.Length().Milliseconds(); length > 0 {
		left = min(left, length)
	}
	return left
}

// The list of waiters stands behind the value: a byte with the length, then the
// name of a node's channel, again and again.

func item(channel string) []byte { return append([]byte{byte(len(channel))}, channel...) }

// waiters reads the list in an entry.
func waiters(b []byte) (channels []string) {
	h, ok := entry.HeadOf(b)
	if !ok || len(b) < entry.HeadSize+h.Size() {
		return nil
	}
	list := b[entry.HeadSize+h.Size():]
	if len(list) > maxList {
		return nil
	}
	for len(list) > 0 {
		n := 1 + int(list[0])
		if n > len(list) || !bytes.Contains(list[1:n], []byte(channelMark)) {
			return channels // not written by us
		}
		channels, list = append(channels, string(list[1:n])), list[n:]
	}
	return channels
}

// A hint says which key has changed, and into what if that is small enough.

func encodeHint(key string, hint []byte) []byte {
	b := binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(key)+len(hint)), uint32(len(key)))
	return append(append(b, key...), hint...)
}

func decodeHint(message string) (key, hint string, ok bool) {
	if len(message) < 4 {
		return "", "", false
	}
	n := int64(binary.BigEndian.Uint32([]byte(message[:4])))
	if n > int64(len(message)-4) {
		return "", "", false
	}
	return message[4 : 4+n], message[4+n:], true
}
