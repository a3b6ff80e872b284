// SPDX-License-Identifier: Apache-2.0

package memstore

import (
	"bytes"
	"context"
	"time"

	"github.com/leashcache/leash/internal/entry"
)

// Lease asks for the right to compute key.
func (s *Store) Lease(_ context.Context, key string, lease, seen []byte, steal bool, ttl time.Duration) ([]byte, time.Duration, error) {
	l, ok := entry.HeadOf(lease)
	if !ok {
		return nil, 0, errHead
	}
	if ttl <= 0 {
		return nil, 0, errTTL
	}
	sh, now := s.lock(key)
	defer s.makeRoom(sh) // after the unlock
	defer sh.mu.Unlock()
	it := sh.use(key, now)
	if it == nil {
		return nil, 0, sh.putLease(key, l, now, ttl)
	}
	h, ok := entry.HeadOf(it.data)
	if !ok {
		if seen != nil && bytes.Equal(seen, it.data) {
			return nil, 0, sh.putLease(key, l, now, ttl)
		}
		return clone(it.data), 0, nil
	}
	return sh.leaseEntry(it, h, l, seen, steal, now, ttl)
}

// leaseEntry is Lease where an entry stands. Granted on a value it returns the
// head that stands there now; the caller knows its own lease by the token.
func (sh *shard) leaseEntry(it *item, h, l entry.Head, seen []byte, steal bool, now int64, ttl time.Duration) ([]byte, time.Duration, error) {
	left := leaseLeft(h, it.exp, now)
	if !hasValue(h) && left == 0 {
		return nil, 0, sh.putLease(it.key, l, now, ttl)
	}
	was, ok := entry.HeadOf(seen)
	if !ok {
		was = make(entry.Head, entry.HeadSize) // nobody's publisher, nobody's lease
	}
	if h.Publisher() != was.Publisher() {
		return clone(it.data), 0, nil
	}
	if left > 0 && !(steal && entry.SameLease(h, was)) {
		return clone(h), left, nil
	}
	if !hasValue(h) {
		return nil, 0, sh.putLease(it.key, l, now, ttl)
	}
	until := later(now, ttl)
	sh.write(it, until, func(h entry.Head, end int64) { h.SetLease(l, until, end) })
	return clone(it.data[:entry.HeadSize]), 0, nil
}

// Publish replaces what stands under key by entry if entry's publisher holds the
// lease, or has published already; with force it stores any bytes over anything.
func (s *Store) Publish(_ context.Context, key string, data []byte, ttl time.Duration, force bool) (bool, error) {
	if ttl <= 0 {
		return false, errTTL
	}
	data = clone(data)
	sh, now := s.lock(key)
	defer s.makeRoom(sh) // after the unlock
	defer sh.mu.Unlock()
	if !force {
		may, already := sh.mayPublish(key, data, now)
		if !may || already {
			return may, nil
		}
	}
	if err := sh.put(key, data, later(now, ttl), now); err != nil {
		return false, err
	}
	sh.tell(key, data)
	return true, nil
}

// mayPublish compares the publisher of data with what stands under key.
func (sh *shard) mayPublish(key string, data []byte, now int64) (may, already bool) {
	p, ok := entry.HeadOf(data)
	if !ok || p.Publisher().IsZero() {
		return false, false
	}
	it := sh.use(key, now)
	if it == nil {
		return false, false
	}
	h, ok := entry.HeadOf(it.data)
	if !ok {
		return false, false
	}
	already = h.Publisher() == p.Publisher()
	return already || h.Token() == p.Publisher(), already
}

// Renew makes the lease that carries token last ttl from now.
func (s *Store) Renew(_ context.Context, key string, token []byte, ttl time.Duration) (bool, error) {
	if ttl <= 0 {
		return false, errTTL
	}
	sh, now := s.lock(key)
	defer sh.mu.Unlock()
	it, h := sh.held(key, token, now)
	if it == nil {
		return false, nil
	}
	until := later(now, ttl)
	sh.write(it, until, func(renewed entry.Head, end int64) {
		renewed.Count()
		if hasValue(h) {
			renewed.SetUntil(until)
			renewed.SetEnd(end)
		}
	})
	return true, nil
}

// Abandon gives the lease that carries token up.
func (s *Store) Abandon(_ context.Context, key string, token []byte, backoff time.Duration) (bool, error) {
	sh, now := s.lock(key)
	defer sh.mu.Unlock()
	it, h := sh.held(key, token, now)
	if it == nil {
		return false, nil
	}
	if hasValue(h) {
		sh.giveBack(it, now, backoff)
	} else {
		sh.remove(it)
	}
	sh.tell(key, nil)
	return true, nil
}

// giveBack clears the lease on a value, or turns it into a back-off, and gives
// the value the life that it had before.
func (sh *shard) giveBack(it *item, now int64, backoff time.Duration) {
	end := entry.Head(it.data).End()
	sh.write(it, 0, func(h entry.Head, _ int64) {
		if backoff > 0 {
			// No longer than a lease: an until further ahead would count as none.
			backoff = min(backoff, entry.MaxLease)
			h.SetBackoff(later(now, backoff), backoff)
		} else {
			h.ClearLease()
		}
	})
	if end != 0 {
		sh.live(it, min(it.exp, end))
	}
	if it.dead(now) {
		sh.remove(it)
	}
}
