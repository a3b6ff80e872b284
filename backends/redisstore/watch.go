// SPDX-License-Identifier: Apache-2.0

package redisstore

import (
	"slices"
	"sync"
)

// watches are those who want to hear of keys in this process.
type watches struct {
	mu    sync.Mutex
	byKey map[string][]*watch
}

type watch struct {
	hints chan []byte // has room for one
}

// Watch registers interest in key; see leash.Waker. The channel is nil, and
// nothing will be told, after Close and for half a minute after the server
// refused or failed a subscription.
func (s *Store) Watch(key string) (wake <-chan []byte, stop func()) {
	if s.bad != nil || !s.wake.able(key) {
		return nil, func() {}
	}
	w := &watch{make(chan []byte, 1)}
	s.wake.watches.add(key, w)
	return w.hints, func() { s.wake.watches.remove(key, w) }
}

func (ws *watches) add(key string, w *watch) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.byKey[key] = append(ws.byKey[key], w)
}

func (ws *watches) remove(key string, w *watch) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	left := slices.DeleteFunc(ws.byKey[key], func(x *watch) bool { return x == w })
	if len(left) == 0 {
		delete(ws.byKey, key)
		return
	}
	ws.byKey[key] = left
}

func (ws *watches) has(key string) bool {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	return len(ws.byKey[key]) > 0
}

func (ws *watches) empty() bool {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	return len(ws.byKey) == 0
}

// told passes on a message that came in for this process.
func (ws *watches) told(message string) {
	key, hint, ok := decodeHint(message)
	if !ok {
		return // not from one of us
	}
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for _, w := range ws.byKey[key] {
		if hint == "" {
			w.tell(nil)
		} else {
			w.tell([]byte(hint)) // to each its own: it may be changed
		}
	}
}

// everybody looks again: nobody knows what was missed.
func (ws *watches) everybody() {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for _, list := range ws.byKey {
		for _, w := range list {
			w.tell(nil)
		}
	}
}

// tell is called under the lock, so there is one sender, and never blocks.
func (w *watch) tell(hint []byte) {
	select {
	case <-w.hints:
	default:
	}
	w.hints <- hint
}
