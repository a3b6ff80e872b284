// SPDX-License-Identifier: Apache-2.0

// Package leash is a cache in which one node computes.
//
// When a popular value expires, every request on every node finds it gone, and
// all of them ask the database at once: a cache stampede. With this package one
// request in the whole cluster computes the value, and all others get what it
// computed.
//
//	users, err := leash.New[User]("users", redisstore.New(rdb), leash.Options{TTL: 5 * time.Minute})
//	...
//	u, err := users.GetOrCompute(ctx, "42", func(ctx context.Context) (User, error) {
//		return db.UserByID(ctx, 42)
//	})
//
// With a [Loader] the function is written once, and keys have types.
//
// # One call
//
//	GetOrCompute
//	  |
//	join the flight of this key, if one is under way in this process
//	  |                                           -> its answer
//	read ---- fresh ------------------------------> value             1 trip
//	  |  '--- stale, but may be served -----------> old value; one node refreshes it
//	  |
//	lease, which reads again
//	  |  |--- a value has come in between --------> value             2 trips
//	  |  '--- another node computes: wait --------> its value
//	  |
//	compute, the only one in the cluster; the lease is renewed meanwhile
//	  |
//	publish, if the lease still stands -----------> value             3 trips
//
// All callers of a key in one process share one flight, so the store is asked
// once for all of them. The lease stands in the entry itself, under the same key
// as the value: a delete removes both in one step, and a publish is accepted
// only while its own lease stands there.
//
// # What is promised
//
//   - One computation at a time per key in the cluster, also when it lasts many
//     times the lease.
//   - A call that begins after a Delete returned nil, on any node, does not return
//     a value whose computation began before.
//   - A node that lost its lease, because it was paused for example, overwrites
//     nothing. Its own callers still get what it computed.
//   - A node that dies is succeeded by another one after the lease, 10 s unless
//     [Options.Lease] says otherwise.
//   - Each caller leaves at its own deadline and harms nobody. When the last one
//     has left, the computation is cancelled.
//   - An error, a panic or a runtime.Goexit in a computation reaches all who wait
//     for it, at once, as an error.
//   - Bytes that are no entry of this cache and this Go type count as nothing.
//   - A store that fails is no error of GetOrCompute: the value is computed.
//
// # What is not promised
//
// The lease saves work; it is no lock to build correctness on. If the store loses
// data, or a node is paused for longer than its lease, a computation can run
// twice, and so can its side effects. See [Cache.GetOrCompute].
//
// A cached value is as old as its TTL and stale windows allow, unless it is
// deleted. If a store forgets a delete that it has confirmed, as an asynchronously
// replicated one can in a failover, or if reads go to a replica that lags behind,
// the old value is seen again until it expires or the replica catches up.
//
// # Words
//
//	entry      what is stored under one key: a small header and a payload
//	compute    to run the caller's function that makes the value
//	flight     one computation, or one wait for another node's, shared by all
//	           callers of a key in this process
//	lease      the right to compute and publish a key, for a limited time, renewed
//	           while the computation runs
//	token      128 random bits that name one attempt to get a lease, never a process
//	holder     the node whose token stands in the entry
//	publish    the holder replaces its lease by a value
//	abandon    the holder gives its lease up without a value
//	back-off   a time in which nobody computes, because computing failed
//	hit, miss  a read found a fresh value, or none
//	stale      past its TTL, but within [Options.StaleWhileRevalidate] or
//	           [Options.StaleIfError]
//	not found  the source has no such thing; this can be cached, too
//	delete     removes value and lease in one step
//
// # Choosing a store
//
// A [Store] decides who shares a cache.
//
//   - [github.com/leashcache/leash/backends/redisstore]: Redis or Valkey, a single
//     server, a failover setup or a cluster. All processes that use it with the
//     same cache name are one cluster.
//   - [github.com/leashcache/leash/backends/memstore]: this process's memory,
//     bounded. For one process, and for tests: caches that share a memstore behave
//     like nodes.
//
// Another one is six methods, and is right when it passes
// [github.com/leashcache/leash/backends/storetest].
//
// Values are written by a codec: [codec.MessagePack] unless [Options.Codec] says
// otherwise.
//
// # More
//
// The README has recipes, a table of what happens when something fails, and the
// format for readers in other languages. docs/design.md has the protocol and its
// reasons.
package leash
