// SPDX-License-Identifier: Apache-2.0

package memcachestore

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"syscall"
	"time"

	"github.com/bradfitz/gomemcache/memcache"
)

// Options are what a Store can be told; the zero value is right for most.
type Options struct {
	// Logger is told what an operator should know: a client with a pool for
	// nobody, nodes that list their servers differently. Default slog.Default().
	Logger *slog.Logger

	// MaxItem is the size of the largest item that the servers take, with its
	// key: their -I. Default 1 MiB.
	MaxItem int
}

const (
	defaultMaxItem = 1 << 20
	minItem        = 1024 // the smallest -I
	// itemOverhead is what an item needs in the server beside key and value.
	itemOverhead = 64
)

// Store keeps entries in memcached. It is safe for concurrent use; make it with
// [Connect] or [New].
type Store struct {
	c     *memcache.Client
	bad   error // why c can not be used
	log   *slog.Logger
	max   int
	limit int
	// With New the servers are not known, and these are nil.
	selector memcache.ServerSelector
	lists    *lists
}

// New returns a Store on a client of yours. It sends nothing. Prefer [Connect]:
// a client's own default keeps two connections and dials anew for each call above
// that, and the Store can not compare its servers with those of other nodes. At
// most one Options is looked at.
func New(c *memcache.Client, options ...Options) *Store {
	var o Options
	if len(options) > 0 {
		o = options[0]
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.MaxItem == 0 {
		o.MaxItem = defaultMaxItem
	}
	s := &Store{c: c, log: o.Logger, max: o.MaxItem}
	switch {
	case c == nil:
		s.bad = errors.New("memcachestore: no client: New was given nil")
	case o.MaxItem < minItem:
		s.bad = fmt.Errorf("memcachestore: MaxItem %d: memcached takes at least %d", o.MaxItem, minItem)
	case c.MaxIdleConns <= memcache.DefaultMaxIdleConns:
		o.Logger.Warn("memcachestore: the client keeps only 2 idle connections and dials for every call above that; set its MaxIdleConns, or use Connect")
	default:
		s.limit = c.MaxIdleConns
	}
	return s
}

// Check says why this Store can not be used, without asking the servers.
// leash.New calls it.
func (s *Store) Check() error { return s.bad }

// Limit returns how many commands have a pooled connection; see leash.LimitedStore.
func (s *Store) Limit() int { return s.limit }

// Close closes the idle connections of a Store that [Connect] made; they are
// opened again when they are needed. A client of your own is yours to close.
func (s *Store) Close() error {
	if s.lists == nil {
		return nil
	}
	s.lists.close()
	return s.c.Close()
}

// grain is how much later than asked the servers may end a life.
const grain = 2 * time.Second

// month is the longest time that memcached takes as a length; above it means a date.
const month = 30 * 24 * time.Hour

// expiration makes an item live for d at least: an exptime of n lives for more
// than n-1 seconds and at most n. 0 would be for ever.
func expiration(d time.Duration, now time.Time) int32 {
	seconds := int64((d-1)/time.Second) + 2
	if seconds <= int64(month/time.Second) {
		return int32(max(seconds, 1))
	}
	if now.Unix() > 1<<31-1-int64(month/time.Second) { // the client has no date left
		return int32(month / time.Second)
	}
	return int32(min(seconds+now.Unix(), 1<<31-1))
}

// failed wraps an error with the step it belongs to, and never with the key.
func failed(step string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("memcachestore: %s: %w", step, err)
}

// stale reports whether err is what a pooled connection says whose server has
// closed it, as all do after a restart.
func stale(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// again runs a command that may be sent twice. After a restart of the server every
// pooled connection fails once; so the first failure drops them all.
func (s *Store) again(f func() error) error {
	err := f()
	if stale(err) {
		_ = s.c.Close() // the idle ones
		err = f()
	}
	return err
}

// once runs a command that must not be sent twice.
func (s *Store) once(f func() error) error {
	err := f()
	if stale(err) {
		_ = s.c.Close()
	}
	return err
}
