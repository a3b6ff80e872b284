// SPDX-License-Identifier: Apache-2.0

package memcachestore

import (
	"context"
	"errors"
	"sync"
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
	entries, errs := make([][]byte, len(keys)), make(keyErrors, len(keys))
	var wg sync.WaitGroup
	for _, part := range s.byServer(names) {
		wg.Go(func() { s.getPart(names, part, entries, errs) })
	}
	wg.Wait()
	if errors.Join(errs...) != nil {
		return entries, errs
	}
	return entries, nil
}

// byServer returns the keys of each server, by their places; with [New] they are
// taken for one server's.
func (s *Store) byServer(names []string) map[string][]int {
	parts := map[string][]int{}
	for i, name := range names {
		server := ""
		if s.selector != nil {
			if addr, err := s.selector.PickServer(name); err == nil {
				server = addr.String()
			}
		}
		parts[server] = append(parts[server], i)
	}
	return parts
}

// getPart reads the keys of one server.
func (s *Store) getPart(names []string, part []int, entries [][]byte, errs keyErrors) {
	some := make([]string, len(part))
	for n, i := range part {
		some[n] = names[i]
	}
	var found map[string]*memcache.Item
	err := s.again(func() error {
		var err error
		found, err = s.c.GetMulti(some)
		return err
	})
	for _, i := range part {
		if it := found[names[i]]; it != nil {
			entries[i] = it.Value
		} else {
			errs[i] = failed("get many", err)
		}
	}
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
	it, err = s.c.Get(k)
	if err == nil {
		return it, nil
	}
	if stale(err) { // see again
		_ = s.c.Close()
		it, err = s.c.Get(k)
	}
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
