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

// GetMany reads all keys, in one trip to each server.
func (s *Store) GetMany(_ context.Context, keys []string) ([][]byte, error) {
	if s.bad != nil || len(keys) == 0 {
		return nil, s.bad
	}
	names := make([]string, len(keys))
	for i, key := range keys {
		names[i] = serverKey(key)
	}
	var found map[string]*memcache.Item
	err := s.again(func() error {
		var err error
		found, err = s.c.GetMulti(names)
		return err
	})
	entries := make([][]byte, len(keys))
	var rest []int
	for i, name := range names {
		if it := found[name]; it != nil {
			entries[i] = it.Value
		} else if err != nil {
			rest = append(rest, i)
		}
	}
	if len(rest) == 0 {
		return entries, nil
	}
	return entries, s.getRest(names, entries, rest)
}

// getRest reads what was not found while a server failed, to see which are its keys.
func (s *Store) getRest(names []string, entries [][]byte, rest []int) error {
	errs := make(keyErrors, len(names))
	for _, i := range rest {
		it, err := s.read(names[i])
		if it != nil {
			entries[i] = it.Value
		}
		errs[i] = failed("get many", err)
	}
	if errors.Join(errs...) == nil {
		return nil
	}
	return errs
}

// keyErrors is the error of a GetMany, key by key.
type keyErrors []error

// Failed returns the error of the i-th key.
func (e keyErrors) Failed(i int) error { return e[i] }
func (e keyErrors) Unwrap() []error    { return e }

func (e keyErrors) Error() string {
	for _, err := range e {
		if err != nil {
			return err.Error()
		}
	}
	return "no error"
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
	// Not sent again as it is: to a server that was started anew the same CAS id
	// means another item. Who reads again finds out what became of it.
	err = s.once(func() error { return s.c.CompareAndSwap(it) })
	if stale(err) {
		return false, nil
	}
	if errors.Is(err, memcache.ErrCASConflict) || errors.Is(err, memcache.ErrCacheMiss) || errors.Is(err, memcache.ErrNotStored) {
		return false, nil
	}
	return err == nil, err
}

const (
	// tries is how often a step begins again because somebody else was faster.
	tries = 16
	// pause is how long may pass between reading an item and replacing it, at the
	// first try. CAS ids begin at 1 with the server: a process that stands still in
	// between while the server is started again could replace what another node
	// stored there.
	pause = 100 * time.Millisecond
)

// stood reports whether so much time has passed since began that what was read is to
// be read again. A server that is far away gets twice the time at each further try.
func stood(began time.Time, try int) bool { return time.Since(began) > pause<<try }

var errContended = errors.New("somebody else was faster each time")

// change reads what stands under a server's key, nil for nothing, and replaces it
// by what f returns. Life zero removes it; no bytes leave it alone. f is called again
// when something else stands there in the meantime.
func (s *Store) change(k string, f func(now []byte) (next []byte, life time.Duration)) error {
	for try := range tries {
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
		case stood(began, try):
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
