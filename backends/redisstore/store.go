// SPDX-License-Identifier: Apache-2.0

package redisstore

import (
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// Options are what a Store can be told; the zero value is right for most.
type Options struct {
	// Logger is told, once each, which way was taken when a server forbids
	// scripts or subscriptions. Default slog.Default().
	Logger *slog.Logger

	// HintLimit is the size up to which a published entry travels inside the
	// wake-up, so that a waiter need not read it. Default 4096; negative: never.
	HintLimit int
}

const defaultHintLimit = 4096

// Store keeps entries in Redis or Valkey. It is safe for concurrent use; make
// it with [New].
type Store struct {
	rdb       redis.UniversalClient
	bad       error // why rdb can not be used
	log       *slog.Logger
	hintLimit int
	wake      *listener

	// What this server was found not to allow; never unlearned.
	noSetGet  atomic.Bool // SET with NX and GET: Redis before 7.0
	noScript  atomic.Bool // EVALSHA or EVAL
	noShebang atomic.Bool // "#!lua": Redis before 7.0
}

// New returns a Store on rdb: a client, cluster client, failover client or
// AutoPipeline of go-redis. It sends nothing. A nil client or a [redis.Ring] is
// refused by [Store.Check] and by every method. At most one Options is looked at.
func New(rdb redis.UniversalClient, options ...Options) *Store {
	var o Options
	if len(options) > 0 {
		o = options[0]
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.HintLimit == 0 {
		o.HintLimit = defaultHintLimit
	}
	s := &Store{rdb: rdb, bad: check(rdb), log: o.Logger, hintLimit: max(o.HintLimit, 0)}
	s.wake = newListener(rdb, o.Logger)
	return s
}

// Check says why this Store can not be used, without asking the server.
// leash.New calls it.
func (s *Store) Check() error { return s.bad }

// Limit returns the size of a plain client's pool; see leash.LimitedStore. Where
// MaxActiveConns is smaller it is half of that: go-redis refuses what is above, and
// leases and publishes need connections as well. The other clients have no such
// bound, or one for each server.
func (s *Store) Limit() int {
	c, ok := s.rdb.(*redis.Client)
	if !ok || s.bad != nil {
		return 0
	}
	o := c.Options()
	if most := o.MaxActiveConns; most > 0 && most < o.PoolSize {
		return max(1, most/2)
	}
	return o.PoolSize
}

// Close ends the subscription and its goroutine at once, where idleness would
// end them after some seconds. The client stays open, and so does the rest of
// the Store: only its wake-ups are gone.
func (s *Store) Close() error {
	s.wake.close()
	return nil
}

var (
	errNoClient = errors.New("redisstore: no client: New was given nil")
	errRing     = errors.New("redisstore: a redis.Ring can not hold leases: it moves keys to another server " +
		"when a shard is down, so that two nodes would hold one lease; use a Redis Cluster")
)

func check(rdb redis.UniversalClient) error {
	missing := rdb == nil
	switch c := rdb.(type) {
	case *redis.Ring:
		return errRing
	case *redis.Client:
		missing = c == nil
	case *redis.ClusterClient:
		missing = c == nil
	case *redis.AutoPipeliner:
		missing = c == nil
	}
	if missing {
		return errNoClient
	}
	return nil
}

// failed wraps an error with the step it belongs to, and never with the key.
func failed(step string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("redisstore: %s: %w", step, err)
}

// millis rounds up: nothing may end before its time. Redis refuses 0.
func millis(d time.Duration) int64 {
	return max(1, int64((d+time.Millisecond-1)/time.Millisecond))
}

// refused reports whether err is the server's answer, and not the lack of one.
func refused(err error) bool {
	var answer redis.Error
	return errors.As(err, &answer)
}
