// SPDX-License-Identifier: Apache-2.0

package redisstore

import (
	"context"
	"errors"
	"net"
	"strings"

	"github.com/redis/go-redis/v9"
)

// Get reads the entry with one GET, which go-redis may send to a replica, and
// never from go-redis's own client side cache: that is told of a delete too late.
//
// A RawWriteToCmd because it needs no memory beside buf: measured against
// rdb.Get(...).Bytes() a hit of 64 KiB takes about half the time, on a client and
// on an AutoPipeline, and one of 1 KiB the same.
func (s *Store) Get(ctx context.Context, key string, buf []byte) ([]byte, error) {
	if s.bad != nil {
		return nil, s.bad
	}
	r := &getReply{reply: reply{buf: buf}, words: [2]any{"get", key}}
	cmd := redis.NewRawWriteToCmd(ctx, &r.reply, r.words[:]...)
	_ = s.rdb.Process(ctx, cmd) // the same error is in cmd
	if b, ok := r.entry(cmd.Err()); ok {
		return b, nil
	}
	if err := cmd.Err(); !again(ctx, err) {
		return nil, failed("get", err)
	}
	b, err := s.entryOf(ctx, key, s.rdb.Get(ctx, key))
	return b, failed("get", err)
}

// getReply keeps together what one hit allocates.
type getReply struct {
	reply
	words [2]any
}

// again reports whether to read by a plain GET what a RawWriteToCmd did not: that
// is one which go-redis neither sends again after it met a dead connection of the
// pool nor redirects, for it does not look into the reply (then err is nil). A
// server that is silent or away is not asked twice: it would take as long again.
func again(ctx context.Context, err error) bool {
	var op *net.OpError
	switch {
	case err == nil:
		return true
	case ctx.Err() != nil, timedOut(err), errors.Is(err, redis.ErrPoolTimeout), errors.Is(err, redis.ErrClosed):
		return false
	}
	return !errors.As(err, &op) || op.Op != "dial"
}

// GetMany reads all keys in one pipeline; on a cluster in one per node.
func (s *Store) GetMany(ctx context.Context, keys []string) ([][]byte, error) {
	if s.bad != nil || len(keys) == 0 {
		return nil, s.bad
	}
	replies := make([]getReply, len(keys))
	cmds := make([]*redis.RawWriteToCmd, len(keys))
	_, _ = s.rdb.Pipelined(ctx, func(p redis.Pipeliner) error { // each cmd has its own error
		for i, key := range keys {
			replies[i].words = [2]any{"get", key}
			cmds[i] = redis.NewRawWriteToCmd(ctx, &replies[i].reply, replies[i].words[:]...)
			_ = p.Process(ctx, cmds[i])
		}
		return nil
	})
	entries, errs := make([][]byte, len(keys)), make(keyErrors, len(keys))
	var rest []int
	for i, cmd := range cmds {
		var ok bool
		if entries[i], ok = replies[i].entry(cmd.Err()); ok {
			continue
		}
		if err := cmd.Err(); !again(ctx, err) {
			errs[i] = failed("get many", err)
			continue
		}
		rest = append(rest, i)
	}
	s.getRest(ctx, keys, entries, errs, rest)
	if errors.Join(errs...) != nil {
		return entries, errs
	}
	return entries, nil
}

// keyErrors is the error of a GetMany, key by key: one master of a cluster may be
// down.
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

// getRest reads again what the pipeline did not.
func (s *Store) getRest(ctx context.Context, keys []string, entries [][]byte, errs keyErrors, rest []int) {
	if len(rest) == 0 {
		return
	}
	cmds := make([]*redis.StringCmd, len(rest))
	_, _ = s.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for n, i := range rest {
			cmds[n] = p.Get(ctx, keys[i])
		}
		return nil
	})
	for n, i := range rest {
		var err error
		entries[i], err = s.entryOf(ctx, keys[i], cmds[n])
		errs[i] = failed("get many", err)
	}
}

// entryOf is what a GET found: nil for nothing, and a name for a key that holds
// something else than a string.
func (s *Store) entryOf(ctx context.Context, key string, cmd *redis.StringCmd) ([]byte, error) {
	v, err := cmd.Result()
	switch {
	case err == nil:
		return []byte(v), nil // a copy: go-redis's client side cache may keep v
	case errors.Is(err, redis.Nil):
		return nil, nil
	case redis.HasErrorPrefix(err, "WRONGTYPE"):
		return s.wrongType(ctx, key)
	}
	return nil, err
}

// wrongTypePrefix begins what stands for a key of another type.
const wrongTypePrefix = "redis:wrongtype:"

func (s *Store) wrongType(ctx context.Context, key string) ([]byte, error) {
	t, err := s.rdb.Type(ctx, key).Result()
	if err != nil {
		return nil, err
	}
	if t == "none" { // gone since
		return nil, nil
	}
	return []byte(wrongTypePrefix + t), nil
}

// typeNamed is the type that wrongType named, or nothing.
func typeNamed(seen []byte) string {
	t, _ := strings.CutPrefix(string(seen), wrongTypePrefix)
	if len(t) == len(seen) {
		return ""
	}
	return t
}
