// SPDX-License-Identifier: Apache-2.0

package redisstore

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"
)

// Publish may be sent again by go-redis: an entry that is there already was
// stored by this call. A renewal that is done twice renews, and a lease that is
// given up twice reports the second time that it did not stand: the caller
// learns too little, never too much.

// Publish replaces what stands under key by entry if the lease stands.
func (s *Store) Publish(ctx context.Context, key string, entry []byte, ttl time.Duration, force bool) (bool, error) {
	if s.bad != nil {
		return false, s.bad
	}
	if ttl <= 0 {
		return false, failed("publish", errTTL)
	}
	stored, err := yes(s.eval(ctx, sendAgain, publishScript, key, entry, millis(ttl), flag(force), s.hintLimit))
	if errors.Is(err, errNoScript) {
		stored, err = s.publishTx(ctx, key, entry, millis(ttl), force)
	}
	return stored, failed("publish", err)
}

// Renew makes the lease that carries token last ttl from now.
func (s *Store) Renew(ctx context.Context, key string, token []byte, ttl time.Duration) (bool, error) {
	if s.bad != nil {
		return false, s.bad
	}
	if ttl <= 0 {
		return false, failed("renew", errTTL)
	}
	held, err := yes(s.eval(ctx, sendAgain, renewScript, key, token, millis(ttl)))
	if errors.Is(err, errNoScript) {
		held, err = s.renewTx(ctx, key, token, millis(ttl))
	}
	return held, failed("renew", err)
}

// Abandon gives the lease that carries token up.
func (s *Store) Abandon(ctx context.Context, key string, token []byte, backoff time.Duration) (bool, error) {
	if s.bad != nil {
		return false, s.bad
	}
	pause := int64(0)
	if backoff > 0 {
		pause = millis(backoff)
	}
	held, err := yes(s.eval(ctx, sendAgain, abandonScript, key, token, pause))
	if errors.Is(err, errNoScript) {
		held, err = s.abandonTx(ctx, key, token, pause)
	}
	return held, failed("abandon", err)
}

// Delete removes value and lease.
func (s *Store) Delete(ctx context.Context, key string) error {
	if s.bad != nil {
		return s.bad
	}
	_, err := s.eval(ctx, sendAgain, deleteScript, key)
	if errors.Is(err, errNoScript) {
		err = s.plainDelete(ctx, key)
	}
	return failed("delete", err)
}

// plainDelete is for servers without scripts. The read tells whom to wake; that
// somebody may enlist between it and the DEL costs no more than a hint.
func (s *Store) plainDelete(ctx context.Context, key string) error {
	var read *redis.StringCmd
	var del *redis.IntCmd
	_, _ = s.rdb.Pipelined(ctx, func(p redis.Pipeliner) error { // each cmd has its own error
		read, del = p.Get(ctx, key), p.Del(ctx, key)
		return nil
	})
	if err := del.Err(); err != nil {
		return err
	}
	if b, err := read.Bytes(); err == nil {
		s.tell(ctx, key, waiters(b), nil)
	}
	return nil
}

func flag(b bool) int {
	if b {
		return 1
	}
	return 0
}
