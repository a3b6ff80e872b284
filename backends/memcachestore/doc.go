// SPDX-License-Identifier: Apache-2.0

// Package memcachestore keeps the entries of a leash cache in memcached, on one
// server or many:
//
//	store, err := memcachestore.Connect([]string{"cache-1:11211", "cache-2:11211"}, memcachestore.ConnectOptions{})
//	...
//	users, err := leash.New[User]("users", store, leash.Options{TTL: 5 * time.Minute})
//
// # What is sent
//
//	step                                     commands, one trip each
//	hit, or read of a miss                   gets
//	GetMany                                  one gets for each server
//	lease, nothing there                     add
//	lease, refused                           add, gets; a later look is one gets
//	lease on a value that stays              add of its guard, gets, cas
//	publish                                  gets, cas
//	renew, abandon                           gets, cas; on a value the guard's gets and cas as well
//	set, delete                              set, delete
//
// So a cold miss is gets, add, gets, cas. Before every cas the item is read again
// and its token compared, since the ids that a cas compares begin anew with the
// server. memcached wakes nobody: who waits looks again, at the time when the
// computation is expected to be done, or in growing steps from 6 to 250 ms.
//
// # Guards
//
// A lease on a value that stays, for a refresh, has a second item, the guard: who
// adds it may compute, and it ends by the server's clock when the lease does. It
// holds the publisher of the value that it is about; for every other value it is
// void, so a delete or a publish need not touch it. What may be stored is decided
// by the token in the entry alone: if a guard is evicted, or expires while its owner
// is paused, two compute, and one of them stores.
//
// # Time
//
// memcached keeps whole seconds: an item lives up to two seconds longer than asked,
// never shorter. How long a value is fresh stands in the entry and is exact. A lease
// whose holder has died is succeeded at most two seconds after its end, or when a
// waiter has seen it unchanged for its whole length. The life of a value under a
// lease is kept by the clocks of the nodes, as memcached does not tell it: where a
// clock is ahead by more than what is left of that life, a stale value may be gone
// when its refresh fails.
//
// # Servers
//
// A key belongs to one server. When that is down its steps fail, nothing moves to
// another server, and the cache computes without a lease. All nodes must list the
// same servers in the same order; a [Store] of [Connect] compares order and number
// with the other nodes while it runs, and logs an error. A guard lies on the server of its entry, if the client was made by this package or
// has the selector of [Together]. Evictions, restarts and flush_all
// lose values and leases; that costs a computation each, and never wrong data, but
// for this: a process that stands still between the last look and the sending of a
// cas, a matter of microseconds, while the server restarts and gives another node's
// lease the same id, replaces that lease.
//
// An item that is larger than MaxItem is refused with [ErrTooLarge] before anything
// is sent: its callers get the value, and what stood there stays for as long as it
// lives.
//
// # Keys
//
// Keys without blanks, control bytes and "~~", of up to 243 bytes, are sent as they
// are. Of others up to 150 bytes stay readable (what memcached does not take, and what
// is no ASCII, as "_"), followed by "~~" and the first 20 bytes of their SHA-256 in
// hexadecimal. A guard's key is the entry's with "~~lease" behind it. Flags are zero.
// Behind the value stand 8 bytes: on a value the end of its life without leases, on a
// lease without a value the end of that, in Unix milliseconds of the node that wrote
// it.
package memcachestore
