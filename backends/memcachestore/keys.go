// SPDX-License-Identifier: Apache-2.0

package memcachestore

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

const (
	// mark stands in no key that is sent as it is.
	mark = "~~"
	// guardMark makes the key of a guard of an entry's key.
	guardMark = mark + "lease"
	// longest is the longest key that is sent as it is; memcached takes 250 bytes.
	longest = 250 - len(guardMark)
	// readable is how much of another key is kept to be read by people.
	readable = 150
)

// serverKey is key as the server knows it: the same where memcached takes it, else
// its readable part and its hash. No two keys become the same.
func serverKey(key string) string {
	if len(key) > 0 && len(key) <= longest && asItIs(key) {
		return key
	}
	sum := sha256.Sum256([]byte(key))
	plain := strings.Map(func(r rune) rune {
		if odd(r) || r > '~' {
			return '_'
		}
		return r
	}, key[:min(len(key), readable)])
	return plain + mark + hex.EncodeToString(sum[:20])
}

// asItIs reports whether key has nothing in it that memcached does not take, and no
// mark.
func asItIs(key string) bool {
	var last byte
	for i := range len(key) {
		c := key[i]
		if odd(rune(c)) || c == mark[0] && last == mark[1] {
			return false
		}
		last = c
	}
	return true
}

// odd reports what memcached takes for the end of a key, or of a command.
func odd(r rune) bool { return r <= ' ' || r == 0x7f }
