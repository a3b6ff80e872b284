// SPDX-License-Identifier: Apache-2.0

package memstore

import (
	"container/heap"
	"container/list"
	"strings"
	"sync"
	"time"
)

const (
	shardCount = 16

	// overhead is what an item costs beside its key and data: the item (72
	// bytes), its list element, its place in the map and in the heap, and what
	// the allocator rounds up.
	overhead = 224

	// swept is how many expired items a write removes at most. It adds one
	// item, so anything above one catches up.
	swept = 4
)

// item is what stands under one key.
type item struct {
	key  string
	data []byte // never written again, only replaced: readers copy it without the lock
	exp  int64  // end of its life, Unix milliseconds; alive while now is before it
	size int64
	pos  int // in shard.byExp
	used *list.Element
}

// shard is one sixteenth of the store, with a lock of its own.
type shard struct {
	store *Store

	mu       sync.Mutex // protects all that follows
	items    map[string]*item
	lru      list.List // of *item, the latest used in front
	byExp    expHeap
	bytes    int64
	watchers map[string]map[*watcher]struct{}
}

func (sh *shard) init(s *Store) {
	sh.store = s
	sh.items = make(map[string]*item)
	sh.watchers = make(map[string]map[*watcher]struct{})
}

// use returns the item under key, now the latest used, or nil; one that has expired goes.
func (sh *shard) use(key string, now int64) *item {
	it := sh.items[key]
	if it == nil {
		return nil
	}
	if it.dead(now) {
		sh.remove(it)
		return nil
	}
	sh.lru.MoveToFront(it.used)
	return it
}

// put stores data under key to live until exp. The item becomes the latest used.
func (sh *shard) put(key string, data []byte, exp, now int64) error {
	size := int64(len(key)+len(data)) + overhead
	if size > sh.store.max {
		return ErrTooLarge
	}
	sh.expire(now, swept)
	if old := sh.items[key]; old != nil {
		sh.remove(old)
	}
	it := &item{key: strings.Clone(key), data: data, exp: exp, size: size}
	sh.items[it.key] = it
	it.used = sh.lru.PushFront(it)
	heap.Push(&sh.byExp, it)
	sh.count(size)
	// Room is made here first, and in other shards once this lock is free.
	sh.shrink(now, 1)
	return nil
}

// live moves the end of it's life.
func (sh *shard) live(it *item, exp int64) {
	it.exp = exp
	heap.Fix(&sh.byExp, it.pos)
}

func (sh *shard) remove(it *item) {
	delete(sh.items, it.key)
	sh.lru.Remove(it.used)
	heap.Remove(&sh.byExp, it.pos)
	sh.count(-it.size)
}

func (sh *shard) count(n int64) {
	sh.bytes += n
	sh.store.bytes.Add(n)
}

// expire removes up to n items that have expired.
func (sh *shard) expire(now int64, n int) {
	for ; n > 0 && len(sh.byExp) > 0 && sh.byExp[0].dead(now); n-- {
		sh.remove(sh.byExp[0])
	}
}

// shrink makes room: first the dead go, then the least used, while the store is
// over its bound and more than keep items are left in this shard.
func (sh *shard) shrink(now int64, keep int) {
	for sh.store.full() && len(sh.byExp) > 0 && sh.byExp[0].dead(now) {
		sh.remove(sh.byExp[0])
	}
	for sh.store.full() && sh.lru.Len() > keep {
		it := sh.lru.Back().Value.(*item)
		sh.remove(it)
		sh.tell(it.key, nil)
		sh.store.evicts.Add(1)
	}
}

func (s *Store) full() bool { return s.bytes.Load() > s.max }

// makeRoom evicts from the other shards when sh alone could not make room. No
// two locks are ever held together.
func (s *Store) makeRoom(sh *shard) {
	for i := 0; i < shardCount && s.full(); i++ {
		if other := &s.shards[i]; other != sh {
			other.mu.Lock()
			other.shrink(s.now(), 0)
			other.mu.Unlock()
		}
	}
}

func (it *item) dead(now int64) bool { return now >= it.exp*int64(time.Millisecond) }

// expHeap is a container/heap of items, the first to expire on top.
type expHeap []*item

func (h expHeap) Len() int           { return len(h) }
func (h expHeap) Less(i, j int) bool { return h[i].exp < h[j].exp }

func (h expHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].pos, h[j].pos = i, j
}

func (h *expHeap) Push(x any) {
	it := x.(*item)
	it.pos = len(*h)
	*h = append(*h, it)
}

func (h *expHeap) Pop() any {
	old := *h
	it := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return it
}
