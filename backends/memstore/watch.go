// SPDX-License-Identifier: Apache-2.0

package memstore

import "bytes"

// watcher is one interest in one key.
type watcher struct {
	wake chan []byte
}

// Watch registers interest in key. Every change of it is told from now on, with
// a copy of the published entry or nil, and so is an eviction. stop may be
// called more than once.
func (s *Store) Watch(key string) (wake <-chan []byte, stop func()) {
	w := &watcher{wake: make(chan []byte, 1)}
	sh, _ := s.lock(key)
	defer sh.mu.Unlock()
	if sh.watchers[key] == nil {
		sh.watchers[key] = make(map[*watcher]struct{})
	}
	sh.watchers[key][w] = struct{}{}
	return w.wake, func() { s.unwatch(key, w) }
}

func (s *Store) unwatch(key string, w *watcher) {
	sh, _ := s.lock(key)
	defer sh.mu.Unlock()
	delete(sh.watchers[key], w)
	if len(sh.watchers[key]) == 0 {
		delete(sh.watchers, key)
	}
}

// tell gives each watcher of key a copy of entry, or nil.
func (sh *shard) tell(key string, entry []byte) {
	for w := range sh.watchers[key] {
		// Only tell sends, and the shard is locked: after the older hint is
		// gone, whoever took it, there is room.
		select {
		case <-w.wake:
		default:
		}
		w.wake <- bytes.Clone(entry)
	}
}
