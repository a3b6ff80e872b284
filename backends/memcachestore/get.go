// SPDX-License-Identifier: Apache-2.0

package memcachestore

import (
	"context"
	"errors"
	"time"

	"github.com/bradfitz/gomemcache/memcache"
)

// Get reads the entry under key.
func (s *Store) Get(_ context.Context, key string, _ []byte) ([]byte, error) {
	if s.bad != nil {
		return nil, s.bad
	}
	it, err := s.read(serverKey(key))
	if it == nil {
		return nil, failed("get", err)
	}
	return it.Value, nil
}

// read returns what stands under a server's key, or nil.
func (s *Store) read(k string) (it *memcache.Item, err error) {
	err = s.again(func() error {
		var err error
		it, err = s.c.Get(k)
		return err
	})
	if errors.Is(err, memcache.ErrCacheMiss) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return it, nil
}

// add stores b where nothing stands. It is sent once.
func (s *Store) add(k string, b []byte, life time.Duration) (stored bool, err error) {
	err = s.once(func() error {
		return s.c.Add(&memcache.Item{Key: k, Value: b, Expiration: expiration(life, time.Now())})
	})
	if errors.Is(err, memcache.ErrNotStored) {
		return false, nil
	}
	return err == nil, err
}

// swap replaces what was read by b, if it still stands. A life of zero removes it.
func (s *Store) swap(was *memcache.Item, b []byte, life time.Duration) (done bool, err error) {
	it := &memcache.Item{Key: was.Key, Value: b, CasID: was.CasID, Expiration: -1}
	if life > 0 {
		it.Expiration = expiration(life, time.Now())
	}
	err = s.again(func() error { return s.c.CompareAndSwap(it) })
	if errors.Is(err, memcache.ErrCASConflict) || errors.Is(err, memcache.ErrCacheMiss) || errors.Is(err, memcache.ErrNotStored) {
		return false, nil
	}
	return err == nil, err
}

const (
	// tries is how often a step begins again because somebody else was faster.
	tries = 16
	// pause is how long may pass between reading an item and replacing it. CAS ids
	// begin at 1 with the server: a process that stands still in between while
	// the server is started again could replace what another node stored there.
	pause = 100 * time.Millisecond
)

var errContended = errors.New("somebody else was faster each time")

// change reads what stands under a server's key, nil for nothing, and replaces it
// by what f returns. Life zero removes it; no bytes leave it alone. f is called again
// when something else stands there in the meantime.
func (s *Store) change(k string, f func(now []byte) (next []byte, life time.Duration)) error {
	for range tries {
		began := time.Now()
		it, err := s.read(k)
		if err != nil {
			return err
		}
		var now []byte
		if it != nil {
			now = it.Value
		}
		next, life := f(now)
		if next == nil {
			return nil
		}
		var done bool
		switch {
		case time.Since(began) > pause:
			continue
		case it == nil:
			done, err = s.add(k, next, life)
		default:
			done, err = s.swap(it, next, life)
		}
		if done || err != nil {
			return err
		}
	}
	return errContended
}
