// SPDX-License-Identifier: Apache-2.0

package redisstore

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/leashcache/leash/internal/entry"
)

// maxList is the size up to which a waiter list grows, a thousand waiters or
// more; who comes later polls.
const maxList = 64 << 10

var (
	errLease = errors.New("lease is not the head of an entry")
	errTTL   = errors.New("ttl is not positive")
)

// Lease takes one trip when nothing stands under key: SET NX GET takes the lease
// or reads again, both on the primary. In all other cases a script decides.
func (s *Store) Lease(ctx context.Context, key string, lease, seen []byte, steal bool, ttl time.Duration) ([]byte, time.Duration, error) {
	if s.bad != nil {
		return nil, 0, s.bad
	}
	if _, ok := entry.HeadOf(lease); !ok || len(lease) != entry.HeadSize {
		return nil, 0, failed("lease", errLease)
	}
	if ttl <= 0 {
		return nil, 0, failed("lease", errTTL)
	}
	a := asked(lease, seen, steal, ttl)
	o, err := s.ask(ctx, key, seen, a)
	return o.entry, o.left, failed("lease", err)
}

// ask sends the head a second time only after a refusal. If the caller wants to
// be told of a change, it is put on the list of waiters not before the
// subscription stands: what came in between would go unheard.
func (s *Store) ask(ctx context.Context, key string, seen []byte, a ask) (outcome, error) {
	if seen == nil && !s.noSetGet.Load() {
		o, found, err := s.setNX(ctx, key, a)
		if found == answer || err != nil {
			return o, err
		}
		if found == somebodysLease {
			a.channel = s.wake.listen(ctx, key)
			return s.leaseStep(ctx, key, a)
		}
	}
	a.channel = s.wake.listening(key)
	o, err := s.leaseStep(ctx, key, a)
	if err != nil || o.left == 0 || a.channel != "" {
		return o, err
	}
	if a.channel = s.wake.listen(ctx, key); a.channel == "" {
		return o, nil
	}
	return s.leaseStep(ctx, key, a)
}

// ask is what a call of Lease asks for, as the scripts want it.
type ask struct {
	lease     []byte
	ttl       int64
	publisher entry.Token // of what the caller saw
	sum       string      // SHA-1 of something foreign that the caller saw
	typ       string      // type of a key that is no string
	standing  string      // the lease that the caller saw
	robbed    string      // the lease to steal
	channel   string      // where to tell of a change
}

func asked(lease, seen []byte, steal bool, ttl time.Duration) ask {
	a := ask{lease: lease, ttl: millis(ttl)}
	h, ok := entry.HeadOf(seen)
	switch {
	case ok:
		a.publisher = h.Publisher()
		if t := h.Token(); !t.IsZero() {
			a.standing = leaseID(h)
		}
		if steal {
			a.robbed = leaseID(h)
		}
	case seen != nil:
		sum := sha1.Sum(seen)
		a.sum, a.typ = hex.EncodeToString(sum[:]), typeNamed(seen)
	}
	return a
}

// leaseID tells one lease, not renewed in between, from all others.
func leaseID(h entry.Head) string {
	b := append([]byte(nil), h[4:20]...)
	b = append(b, h[36:40]...)
	if h.Backoff() {
		return string(b) + "1"
	}
	return string(b) + "0"
}

// outcome is what Lease returns; the zero outcome is a lease on no value.
type outcome struct {
	entry []byte
	left  time.Duration
}

// found is what the plain command found.
type found uint8

const (
	answer         found = iota // granted, or a value that the caller has not seen
	somebodysLease              // how long it lasts is not in the reply
	unknown                     // this server or this key needs the script
)

func (s *Store) setNX(ctx context.Context, key string, a ask) (outcome, found, error) {
	v, err := s.send(ctx, sendOnce, 1, "set", key, a.lease, "nx", "get", "px", a.ttl)
	switch {
	case errors.Is(err, redis.Nil):
		return outcome{}, answer, nil
	case redis.HasErrorPrefix(err, "syntax error"), forbidden(err, "set"):
		s.noSetGet.Store(true)
		return outcome{}, unknown, nil
	case redis.HasErrorPrefix(err, "WRONGTYPE"):
		return outcome{}, unknown, nil
	case err != nil:
		return outcome{}, answer, err
	}
	t, ok := v.(string)
	if !ok {
		return outcome{}, answer, fmt.Errorf("odd reply of type %T", v)
	}
	b := []byte(t)
	if h, ok := entry.HeadOf(b); ok && h.Publisher().IsZero() {
		return outcome{}, somebodysLease, nil
	}
	return outcome{entry: b}, answer, nil
}

func (s *Store) leaseStep(ctx context.Context, key string, a ask) (outcome, error) {
	v, err := s.eval(ctx, sendOnce, leaseScript, key,
		a.lease, a.ttl, a.publisher[:], a.sum, a.typ, a.robbed, a.channel, maxList)
	if errors.Is(err, errNoScript) {
		return s.leaseTx(ctx, key, a)
	}
	if err != nil {
		return outcome{}, err
	}
	return readOutcome(v)
}

func readOutcome(v any) (outcome, error) {
	list, _ := v.([]any)
	switch {
	case len(list) == 1 && list[0] == int64(1):
		return outcome{}, nil
	case len(list) == 2 && list[0] == int64(1):
		if head, ok := list[1].(string); ok {
			return outcome{entry: []byte(head)}, nil
		}
	case len(list) == 3 && list[0] == int64(0):
		left, ok1 := list[1].(int64)
		b, ok2 := list[2].(string)
		if ok1 && ok2 {
			return outcome{[]byte(b), time.Duration(left) * time.Millisecond}, nil
		}
	}
	return outcome{}, fmt.Errorf("odd reply of type %T", v)
}
