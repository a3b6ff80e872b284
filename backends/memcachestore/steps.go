// SPDX-License-Identifier: Apache-2.0

package memcachestore

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/bradfitz/gomemcache/memcache"

	"github.com/leashcache/leash/internal/entry"
)

// ErrTooLarge is the error of a Publish whose entry the servers would not take. It
// is found out before anything is sent: a "set" that is refused deletes what
// stood there, and a "cas" leaves a lease.
var ErrTooLarge = errors.New("larger than Options.MaxItem")

// tooLargeError is ErrTooLarge with the sizes.
type tooLargeError struct{ size, most int }

func (e tooLargeError) Error() string {
	return fmt.Sprintf("an item of %d bytes is %v, %d", e.size, ErrTooLarge, e.most)
}
func (e tooLargeError) Is(target error) bool { return target == ErrTooLarge }

// Refused says that the store has nothing to do with it; see leash.Store.
func (e tooLargeError) Refused() bool { return true }

// noteSize is the size of the note behind an entry's value: a time in Unix
// milliseconds of the node that wrote it. On a value it is the end of its life
// without leases, on a lease without a value the end of the lease. memcached tells
// nobody how long an item lives.
const noteSize = 8

func withNote(b []byte, at time.Time) []byte {
	return binary.BigEndian.AppendUint64(bytes.Clone(b), uint64(millis(at)))
}

// note returns the note of an item, or 0.
func note(b []byte) int64 {
	h, ok := entry.HeadOf(b)
	if !ok || len(b) != entry.HeadSize+h.Size()+noteSize {
		return 0
	}
	return int64(binary.BigEndian.Uint64(b[len(b)-noteSize:]))
}

func millis(t time.Time) int64 { return t.UnixMilli() }

// unknownLife is for a value that somebody else has put there.
const unknownLife = 24 * time.Hour

// lifeUnder is how long a value lives under a lease of ttl, and what its head is to
// say about its former end.
func lifeUnder(b []byte, now time.Time, ttl time.Duration) (life time.Duration, end int64) {
	h, _ := entry.HeadOf(b)
	life = lifeOf(b, now)
	if life >= ttl {
		return life, h.End()
	}
	return ttl, note(b)
}

// lifeOf is how long a value lives without leases.
func lifeOf(b []byte, now time.Time) time.Duration {
	n := note(b)
	if n == 0 {
		return unknownLife
	}
	life := time.UnixMilli(n).Sub(now)
	if h, _ := entry.HeadOf(b); life <= -grain && h.End() == 0 {
		return unknownLife // no lease made it longer, and it is still there: this clock is ahead
	}
	return life
}

// Publish replaces what stands under key by data, if its publisher holds the
// lease, or has published already; with force it stores any bytes over anything.
func (s *Store) Publish(_ context.Context, key string, data []byte, ttl time.Duration, force bool) (stored bool, err error) {
	switch {
	case s.bad != nil:
		return false, s.bad
	case ttl <= 0:
		return false, errTTL
	}
	s.lists.look(key)
	k, b := serverKey(key), withNote(data, time.Now().Add(ttl))
	if n := len(k) + len(b) + itemOverhead; n > s.max {
		return false, failed("publish", tooLargeError{n, s.max})
	}
	if force {
		err = s.again(func() error {
			return s.c.Set(&memcache.Item{Key: k, Value: b, Expiration: expiration(ttl, time.Now())})
		})
		return err == nil, failed("publish", err)
	}
	p, ok := entry.HeadOf(data)
	if !ok || !p.HasValue() {
		return false, nil
	}
	err = s.change(k, func(now []byte) ([]byte, time.Duration) {
		h, ok := entry.HeadOf(now)
		stored = ok && (h.Publisher() == p.Publisher() || h.Token() == p.Publisher())
		if !stored || h.Publisher() == p.Publisher() {
			return nil, 0
		}
		return b, ttl
	})
	return stored && err == nil, failed("publish", err)
}

// Renew makes the lease that carries token last ttl from now.
func (s *Store) Renew(_ context.Context, key string, token []byte, ttl time.Duration) (held bool, err error) {
	switch {
	case s.bad != nil:
		return false, s.bad
	case ttl <= 0:
		return false, errTTL
	}
	k := serverKey(key)
	guarded := false
	for {
		var value []byte // that needs its guard renewed first
		err = s.change(k, func(now []byte) ([]byte, time.Duration) {
			h, ok := holds(now, token)
			if held = ok; !held {
				return nil, 0
			}
			if h.HasValue() && !guarded {
				value = bytes.Clone(now)
				return nil, 0
			}
			next, at := bytes.Clone(now), time.Now()
			renewed, _ := entry.HeadOf(next)
			renewed.Count()
			if !h.HasValue() {
				return withNote(renewed, at.Add(ttl)), ttl
			}
			life, end := lifeUnder(now, at, ttl)
			renewed.SetUntil(millis(at.Add(ttl)))
			renewed.SetEnd(end)
			return next, life
		})
		if err != nil || value == nil {
			return held && err == nil, failed("renew", err)
		}
		if guarded, err = s.renewGuard(k, value, ttl); err != nil || !guarded {
			return false, failed("renew", err)
		}
	}
}

// renewGuard renews the guard of the lease on value, unless another stands there.
func (s *Store) renewGuard(k string, value []byte, ttl time.Duration) (mine bool, err error) {
	h, _ := entry.HeadOf(value)
	err = s.change(k+guardMark, func(now []byte) ([]byte, time.Duration) {
		g, ok := entry.HeadOf(now)
		if mine = !ok || g.Token() == h.Token(); !mine {
			return nil, 0
		}
		next := entry.Head(bytes.Clone(h))
		next.SetUntil(millis(time.Now().Add(ttl)))
		next.Count()
		return next, ttl
	})
	return mine, err
}

// holds returns the head of an entry whose lease carries token.
func holds(b, token []byte) (entry.Head, bool) {
	h, ok := entry.HeadOf(b)
	if !ok || h.Token().IsZero() || len(token) != len(entry.Token{}) || h.Token() != entry.Token(token) {
		return nil, false
	}
	return h, true
}

// Abandon gives the lease that carries token up.
func (s *Store) Abandon(_ context.Context, key string, token []byte, backoff time.Duration) (held bool, err error) {
	if s.bad != nil {
		return false, s.bad
	}
	k := serverKey(key)
	backoff = min(backoff, entry.MaxLease)
	var value entry.Head // of the value that stays
	var wrote []byte
	err = s.change(k, func(now []byte) ([]byte, time.Duration) {
		if wrote != nil && bytes.Equal(now, wrote) { // the reply was lost
			return nil, 0
		}
		h, ok := holds(now, token)
		if held, value = ok, nil; !held {
			if h, ok := entry.HeadOf(now); ok && h.HasValue() {
				value = bytes.Clone(h) // a lease may have come as far as its guard
			}
			return nil, 0
		}
		at := time.Now()
		life := lifeOf(now, at)
		if !h.HasValue() || life <= 0 {
			return now, 0
		}
		next := bytes.Clone(now)
		value, _ = entry.HeadOf(next)
		if backoff > 0 {
			value.SetBackoff(millis(at.Add(backoff)), backoff)
		} else {
			value.ClearLease()
		}
		wrote = next
		return next, life
	})
	if err == nil && value != nil {
		err = s.abandonGuard(k, value, token, held && backoff > 0, backoff)
	}
	return held && err == nil, failed("abandon", err)
}

// abandonGuard removes the guard that carries token, or makes it that of a back-off.
func (s *Store) abandonGuard(k string, value entry.Head, token []byte, back bool, backoff time.Duration) error {
	return s.change(k+guardMark, func(now []byte) ([]byte, time.Duration) {
		_, mine := holds(now, token)
		switch {
		case mine && !back:
			return now, 0
		case back && (mine || now == nil):
			return value, backoff
		}
		return nil, 0
	})
}

// Delete removes value and lease.
func (s *Store) Delete(_ context.Context, key string) error {
	if s.bad != nil {
		return s.bad
	}
	s.lists.look(key)
	err := s.again(func() error { return s.c.Delete(serverKey(key)) })
	if errors.Is(err, memcache.ErrCacheMiss) {
		return nil
	}
	return failed("delete", err)
}
