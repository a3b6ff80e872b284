// SPDX-License-Identifier: Apache-2.0

// Package memstore keeps entries in the memory of this process.
//
// It is a whole leash.Store: one process, tests, and a cache that nobody shares
// need nothing else. Several caches may share one Store and then behave like the
// nodes of a cluster.
//
// A Store is bounded. When it is full, the entries that were not read or written
// for longest make room; a lease is an entry like any other and may be lost in
// this way, which can cost one extra computation and never a wrong value.
//
// A Store starts no goroutine and needs no Close. Expired entries go when they
// are met, when room is needed, and a few at each write.
package memstore

import (
	"context"
	"errors"
	"hash/maphash"
	"math"
	"sync/atomic"
	"time"
)

// DefaultMaxBytes is the bound when [Options.MaxBytes] is zero.
const DefaultMaxBytes = 64 << 20

// ErrTooLarge says that one entry alone is larger than [Options.MaxBytes].
var ErrTooLarge = errors.New("memstore: entry is larger than the store")

var (
	errTTL  = errors.New("memstore: ttl is not positive")
	errHead = errors.New("memstore: lease is not the head of an entry")
)

// Options are the choices of [New].
type Options struct {
	// MaxBytes bounds the memory of keys, entries and an estimate of what the
	// store itself needs for each. Zero is [DefaultMaxBytes], negative is no bound.
	MaxBytes int64
}

// Store is a bounded map of entries. It is safe for concurrent use; make it with [New].
type Store struct {
	start  time.Time // reading of the monotonic clock that now counts from
	seed   maphash.Seed
	max    int64
	bytes  atomic.Int64 // of all shards; a step adds first and then makes room
	evicts atomic.Int64
	shards [shardCount]shard
}

// Stats is what [Store.Stats] found.
type Stats struct {
	Entries int   // entries and leases that have not expired
	Bytes   int64 // their memory, as counted against [Options.MaxBytes]
	Evicted int64 // entries that were removed for lack of room since New
}

// New returns an empty Store. At most one Options is looked at.
func New(opts ...Options) *Store {
	s := &Store{start: time.Now(), seed: maphash.MakeSeed(), max: DefaultMaxBytes}
	if len(opts) > 0 && opts[0].MaxBytes != 0 {
		s.max = opts[0].MaxBytes
	}
	if s.max < 0 {
		s.max = math.MaxInt64
	}
	for i := range s.shards {
		s.shards[i].init(s)
	}
	return s
}

// now is the store's own clock in Unix nanoseconds. It follows the monotonic
// clock, so that a step of the wall clock neither ends nor stretches a lease.
func (s *Store) now() int64 { return s.start.UnixNano() + int64(time.Since(s.start)) }

// lock returns the shard of key, locked, and the time.
func (s *Store) lock(key string) (*shard, int64) {
	sh := &s.shards[maphash.String(s.seed, key)%shardCount]
	sh.mu.Lock()
	// The clock is read under the lock: a step never sees an earlier time than
	// the step before it.
	return sh, s.now()
}

// Get returns a copy of what stands under key, in buf if it fits, or nil.
func (s *Store) Get(_ context.Context, key string, buf []byte) ([]byte, error) {
	sh, now := s.lock(key)
	it := sh.use(key, now)
	var data []byte
	if it != nil {
		data = it.data
	}
	sh.mu.Unlock()
	if it == nil {
		return nil, nil
	}
	// data is never written again, see item; so the copy needs no lock.
	if buf == nil {
		buf = make([]byte, 0, len(data))
	}
	return append(buf[:0], data...), nil
}

// GetMany is Get for many keys.
func (s *Store) GetMany(ctx context.Context, keys []string) ([][]byte, error) {
	entries := make([][]byte, len(keys))
	for i, key := range keys {
		entries[i], _ = s.Get(ctx, key, nil)
	}
	return entries, nil
}

// Delete removes value and lease and wakes who waits.
func (s *Store) Delete(_ context.Context, key string) error {
	sh, _ := s.lock(key)
	defer sh.mu.Unlock()
	if it := sh.items[key]; it != nil {
		sh.remove(it)
	}
	sh.tell(key, nil)
	return nil
}

// Len returns how many entries and leases have not expired.
func (s *Store) Len() int { return s.Stats().Entries }

// Stats removes what has expired and counts the rest.
func (s *Store) Stats() Stats {
	var st Stats
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		sh.expire(s.now(), math.MaxInt)
		st.Entries += len(sh.items)
		st.Bytes += sh.bytes
		sh.mu.Unlock()
	}
	st.Evicted = s.evicts.Load()
	return st
}
