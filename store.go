// SPDX-License-Identifier: Apache-2.0

package leash

import (
	"context"
	"time"
)

// Store is what a backend implements: one entry under one key, and the steps
// of the lease protocol on it. It is made of standard types only, so a backend
// need not import this package. A backend is right when it passes
// [github.com/leashcache/leash/backends/storetest].
//
// # An entry
//
// An entry is a byte string. Its first 72 bytes, the head, are all that a
// store looks at; numbers are big endian:
//
//	 0  4  magic "LSH" and the format version, 1
//	 4 16  lease token: who may compute now; zero when nobody holds a lease
//	20  8  until: end of the lease, Unix milliseconds of the store's own clock;
//	       0 when the entry holds a lease and no value: then the lease ends
//	       with the entry
//	28  8  end: where the entry's life ended before a lease made it longer,
//	       same clock; 0 when it was not made longer
//	36  4  counter: renewals of this lease
//	40  4  length of the lease in milliseconds
//	44  4  expected duration of the computation in milliseconds; 0 is unknown
//	48  1  flags; bit 0: a back-off, which is a lease that nobody holds
//	49  3  zero
//	52 16  publisher: the token of the lease under which this value was made
//	68  4  size of the value: how many bytes after the head belong to it
//
// An entry holds a value if its publisher is not zero; without one its size is
// zero. Bytes 4 to 52 are the lease area and change in place. Everything from
// 52 on is written once, by Publish, and a store only compares the publisher.
// What stands behind the value (72 + size) belongs to the store; a store that
// keeps something there may return it with the entry.
//
// Anything that is shorter than a head or does not begin with the magic is
// foreign. A store returns foreign bytes as they are; for something that it
// can not even read (a key of another type) it returns bytes of its own choice
// that are no entry and name what it found.
//
// # Every method
//
// ctx carries values and at most a deadline; the cache does not count on a
// store to honour it. An error means that the outcome is unknown: the step may
// have been taken, or may still be taken. Arguments are neither kept nor
// changed. A lease never ends before ttl has passed since its command arrived,
// on the store's own clock. ttl is positive; a store may round it up to its
// grain. The zero token is nobody's: no step is granted to it.
//
// Publish, Renew and Abandon compare tokens and not times: a lease that has
// ended and that nobody took still stands for them.
type Store interface {
	// Get reads the entry under key, or returns nil when nothing is there;
	// what is there but empty is returned empty, not nil. It may use buf's
	// capacity for the result, and the result belongs to the caller. Get may
	// read from a replica; then a value that was deleted on the primary can be
	// read until the replica has caught up.
	Get(ctx context.Context, key string, buf []byte) (entry []byte, err error)

	// Lease asks, in one atomic step on the primary, for the right to compute
	// key. lease is the head to store, without its until and end: the token in
	// it is fresh for every call, and a store must not send one call twice.
	// seen is the entry that the caller read and found wanting, nil for
	// nothing.
	//
	// The lease is granted when
	//   - nothing stands under key, or no value and no lease that stands,
	//   - what stands there is foreign and still what seen is; it is replaced,
	//   - an entry stands there that has seen's publisher (zero when seen is
	//     nil or foreign), and either no lease, or one that has ended, or steal
	//     is true and token, counter and back-off flag of its lease are those
	//     in seen; a value stays, only the lease area is written, and the
	//     entry's life becomes at least ttl.
	//
	// Then left is zero, and entry is nil, or, where a value stays, the entry
	// or its head as it stands there now, with the new lease in it: it tells
	// the caller that the value it saw was still there. Otherwise nothing
	// changes, and entry is what stands there now: the second read of the
	// double-checked read. If its publisher is the one seen, a lease or a
	// back-off stands: left says for how long, more than zero and at most its
	// length, and the head alone is enough of an entry. If not, left is zero
	// and entry is whole, whether a lease stands on it or not. An until more
	// than an hour and the store's grain ahead is no lease; neither is one
	// without a value whose entry lives longer than that.
	Lease(ctx context.Context, key string, lease, seen []byte, steal bool, ttl time.Duration) (entry []byte, left time.Duration, err error)

	// Publish replaces what stands under key by entry, to live for ttl, if the
	// lease token there is entry's publisher. An entry whose publisher is
	// already that token was stored by an earlier sending of this call: that
	// is stored, too, and nothing changes. With force it replaces whatever is
	// there. Publish wakes who waits. An error with a method Refused() bool that
	// returns true is about this entry, which is too large for example, and not
	// about the store: nothing was sent.
	Publish(ctx context.Context, key string, entry []byte, ttl time.Duration, force bool) (stored bool, err error)

	// Renew makes the lease that carries token last ttl from now and adds one
	// to its counter. The entry's life becomes at least ttl and is never
	// shortened where a value stands; an end that is noted stays. It reports
	// whether the lease stood.
	Renew(ctx context.Context, key string, token []byte, ttl time.Duration) (held bool, err error)

	// Abandon gives the lease that carries token up. An entry without a value
	// is removed. A value stays, with the life that it had before the lease,
	// and if backoff is positive nobody is granted a lease for that long, or
	// until the value's life ends (flags bit 0, token zero), unless it steals.
	// A value whose former life is over is removed. Abandon wakes who waits,
	// and reports whether the lease stood.
	Abandon(ctx context.Context, key string, token []byte, backoff time.Duration) (held bool, err error)

	// Delete removes value and lease in one step and wakes who waits. It is
	// not an error when nothing is there.
	Delete(ctx context.Context, key string) error
}

// CheckedStore is implemented by a store that can be made wrongly. New calls
// Check, and fails with what it returns.
type CheckedStore interface {
	Check() error
}

// LimitedStore is implemented by a store whose client has only so many commands
// under way at a time. Of the reads with which calls begin, the bulk of what is
// sent, a cache then has no more under way than that: those above wait where
// waiting is cheap, and leave the client's own queue to what makes others wait,
// like the publishing of a value. When so many steps hang, further ones fail at
// once. A type that wraps a store must pass this method on, as those below.
type LimitedStore interface {
	// Limit returns how many; 0 or less means any number.
	Limit() int
}

// BatchStore is implemented by a store that reads many keys in one trip.
type BatchStore interface {
	// GetMany is Get for many keys; entries[i] belongs to keys[i]. An error is
	// about all of them, unless it has a method Failed(i int) error: that
	// returns nil for the keys that could be read all the same.
	GetMany(ctx context.Context, keys []string) (entries [][]byte, err error)
}

// Waker is implemented by a store that can tell a waiter of a change. What it
// tells is a hint: a hint may be lost, late, repeated or spurious, and every
// waiter also looks again by itself.
type Waker interface {
	// Watch registers interest in key. It sends nothing and never blocks. A
	// Lease that is refused on a watched key arranges, before it returns, that
	// a change of the key is told to wake: the published entry itself, when it
	// is small enough, or nil for "look again". wake has room for one hint; a
	// hint that finds no room takes the older one's place. stop ends the
	// interest and is called once; wake is never closed. A hint belongs to its
	// receiver.
	Watch(key string) (wake <-chan []byte, stop func())
}
