// SPDX-License-Identifier: Apache-2.0

package redisstore

import (
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/leashcache/leash/internal/entry"
)

// Where scripts are forbidden, each step is a transaction on the one key: WATCH
// it, read it, decide here what the script would decide there, and write it whole
// by MULTI and EXEC, which does nothing if the key has changed in between.

// current is what a transaction found.
type current struct {
	typ   string // type of a key that is no string
	bytes []byte // nil for nothing
	life  int64  // milliseconds; -1 for ever, -2 nothing
	now   int64  // the server's clock, Unix milliseconds; zero where nothing depends on it
}

// change is what a transaction does; the zero change is nothing.
type change struct {
	write  []byte // the whole new entry
	life   int64  // how long that lives, in milliseconds; -1 for ever
	remove bool
	wake   []string // whom to tell of it
	hint   []byte   // and what
}

// txAttempts is many: each failure is the success of somebody else, such as a
// waiter that put itself on the list.
const txAttempts = 100

var errContended = errors.New("key kept changing during the transaction")

func (s *Store) transact(ctx context.Context, key string, step func(current) change) error {
	lost := 0
	for range txAttempts {
		var c change
		sent := false
		err := s.rdb.Watch(ctx, func(tx *redis.Tx) error {
			found, err := s.look(ctx, tx, key)
			if err != nil {
				return err
			}
			if c = step(found); c.write == nil && !c.remove {
				return nil
			}
			sent = true
			return commit(ctx, tx, key, c)
		}, key)
		switch {
		case err == nil:
			s.tell(ctx, key, c.wake, c.hint)
			return nil
		case errors.Is(err, redis.TxFailedErr):
		case !sent && lost == 0 && !refused(err) && again(ctx, err): // a stale pooled connection; nothing was done
			lost++
		default:
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return errContended
}

// look reads key. go-redis keeps a transaction on one connection: if that is
// lost, nothing of the transaction is sent on another one. The clock matters only
// where a value stands, or a lease says when it ends.
func (s *Store) look(ctx context.Context, tx *redis.Tx, key string) (current, error) {
	var get *redis.StringCmd
	var life *redis.Cmd
	_, _ = tx.Pipelined(ctx, func(p redis.Pipeliner) error { // each cmd has its own error
		get, life = p.Get(ctx, key), p.Do(ctx, "pttl", key)
		return nil
	})
	left, err := life.Int64()
	if err != nil {
		return current{}, err
	}
	c := current{life: left}
	v, err := get.Result()
	switch {
	case err == nil:
		c.bytes = []byte(v)
	case errors.Is(err, redis.Nil):
		return c, nil
	case redis.HasErrorPrefix(err, "WRONGTYPE"):
		c.typ, err = tx.Type(ctx, key).Result()
		return c, err
	default:
		return c, err
	}
	if h, ok := entry.HeadOf(c.bytes); ok && (h.HasValue() || h.Until() != 0) {
		now, err := tx.Time(ctx).Result()
		c.now = now.UnixMilli()
		return c, err
	}
	return c, nil
}

// commit is sent once: a second EXEC would stand outside of the WATCH.
func commit(ctx context.Context, tx *redis.Tx, key string, c change) error {
	args := []any{"del", key}
	if c.write != nil {
		args = []any{"set", key, c.write}
		if c.life >= 0 {
			args = append(args, "px", max(c.life, 1))
		}
	}
	_, err := tx.TxPipelined(ctx, func(p redis.Pipeliner) error {
		return p.Process(ctx, once{redis.NewCmd(ctx, args...)})
	})
	return err
}

// tell wakes who waits for key, as the scripts do. A failure costs a hint.
func (s *Store) tell(ctx context.Context, key string, channels []string, hint []byte) {
	if len(channels) == 0 {
		return
	}
	message := encodeHint(key, hint)
	_, _ = s.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, channel := range channels {
			p.Publish(ctx, channel, message)
		}
		return nil
	})
}

// sameAsSeen is one GET for a waiter that looks again: the lease that it saw
// stands, and it is on the list of those who are told.
func (s *Store) sameAsSeen(ctx context.Context, key string, a ask) (outcome, bool) {
	if a.standing == "" || a.robbed != "" {
		return outcome{}, false
	}
	b, err := s.rdb.Get(ctx, key).Bytes()
	h, ok := entry.HeadOf(b)
	if err != nil || !ok || h.Publisher() != a.publisher || leaseID(h) != a.standing {
		return outcome{}, false
	}
	if a.channel != "" && !slices.Contains(waiters(b), a.channel) {
		return outcome{}, false
	}
	return outcome{bytes.Clone(h), h.Length()}, true
}

func (s *Store) leaseTx(ctx context.Context, key string, a ask) (o outcome, err error) {
	if o, ok := s.sameAsSeen(ctx, key, a); ok {
		return o, nil
	}
	err = s.transact(ctx, key, func(c current) (todo change) {
		o, todo = a.decide(c)
		return todo
	})
	return o, err
}

// decide is lease.lua.
func (a ask) decide(c current) (outcome, change) {
	fresh := change{write: a.lease, life: a.ttl}
	h, ok := entry.HeadOf(c.bytes)
	switch {
	case c.typ != "" && c.typ == a.typ, c.typ == "" && c.bytes == nil:
		return outcome{}, fresh
	case c.typ != "":
		return outcome{entry: []byte(wrongTypePrefix + c.typ)}, change{}
	case !ok:
		if sum := sha1.Sum(c.bytes); hex.EncodeToString(sum[:]) == a.sum {
			return outcome{}, fresh
		}
		return outcome{entry: c.bytes}, change{}
	}
	left := standing(h, c)
	switch {
	case left == 0 && !hasValue(h):
		return outcome{}, fresh
	case h.Publisher() != a.publisher:
		return outcome{entry: c.bytes}, change{}
	case left > 0 && leaseID(h) != a.robbed:
		o := outcome{bytes.Clone(h), time.Duration(left) * time.Millisecond}
		return o, enlist(c, h, a.channel)
	}
	return take(c, h, a)
}

func take(c current, h entry.Head, a ask) (outcome, change) {
	if !hasValue(h) {
		h.SetLease(entry.Head(a.lease), 0, 0)
		return outcome{}, change{write: c.bytes, life: a.ttl}
	}
	end, life := longer(c, h, a.ttl)
	h.SetLease(entry.Head(a.lease), after(c.now, a.ttl), end)
	return outcome{entry: bytes.Clone(h)}, change{write: c.bytes, life: life}
}

// longer makes a life at least ttl, and says where it ended before.
func longer(c current, h entry.Head, ttl int64) (end, life int64) {
	if c.life < 0 || c.life >= ttl {
		return h.End(), c.life
	}
	if h.End() == 0 {
		return c.now + c.life, ttl
	}
	return h.End(), ttl
}

func enlist(c current, h entry.Head, channel string) change {
	name := item(channel)
	at := entry.HeadSize + h.Size()
	if channel == "" || len(c.bytes) < at {
		return change{}
	}
	if list := c.bytes[at:]; len(list)+len(name) > maxList || bytes.Contains(list, name) {
		return change{}
	}
	return change{write: append(c.bytes, name...), life: c.life}
}

func (s *Store) publishTx(ctx context.Context, key string, e []byte, ttl int64, force bool) (stored bool, err error) {
	me, _ := entry.HeadOf(e)
	err = s.transact(ctx, key, func(c current) change {
		h, ok := entry.HeadOf(c.bytes)
		stored = force || me != nil && ok && !me.Publisher().IsZero() && h.Token() == me.Publisher()
		if !stored {
			stored = me != nil && ok && !me.Publisher().IsZero() && h.Publisher() == me.Publisher()
			return change{}
		}
		todo := change{write: e, life: ttl, wake: waiters(c.bytes)}
		if len(e) <= s.hintLimit {
			todo.hint = e
		}
		return todo
	})
	return stored, err
}

func (s *Store) renewTx(ctx context.Context, key string, token []byte, ttl int64) (held bool, err error) {
	err = s.transact(ctx, key, func(c current) change {
		h, ok := entry.HeadOf(c.bytes)
		if held = ok && holds(h, token); !held {
			return change{}
		}
		end, life := longer(c, h, ttl)
		if hasValue(h) {
			h.SetUntil(after(c.now, ttl))
			h.SetEnd(end)
		} else {
			h.SetUntil(0)
			life = max(c.life, ttl) // also of a lease that would stand for ever
		}
		h.Count()
		return change{write: c.bytes, life: life}
	})
	return held, err
}

func (s *Store) abandonTx(ctx context.Context, key string, token []byte, pause int64) (held bool, err error) {
	err = s.transact(ctx, key, func(c current) change {
		h, ok := entry.HeadOf(c.bytes)
		if held = ok && holds(h, token); !held {
			return change{}
		}
		todo := change{life: c.life, wake: waiters(c.bytes)}
		if end := h.End(); end > 0 && end < c.now+c.life {
			todo.life = max(end-c.now, 0)
		}
		if todo.remove = !hasValue(h) || todo.life == 0; todo.remove {
			return todo
		}
		h.ClearLease()
		if pause = min(pause, hour); pause > 0 {
			h.SetBackoff(after(c.now, pause), time.Duration(pause)*time.Millisecond)
		}
		todo.write = c.bytes[:min(len(c.bytes), entry.HeadSize+h.Size())]
		return todo
	})
	return held, err
}
