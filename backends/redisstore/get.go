// SPDX-License-Identifier: Apache-2.0

package redisstore

import (
	"context"
	"errors"
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
	// A lost connection, a redirection, a refusal: go-redis neither sends that
	// command again nor looks into its reply. A GET it does understand.
	if ended(ctx) {
		return nil, failed("get", context.Cause(ctx))
	}
	b, err := s.entryOf(ctx, key, s.rdb.Get(ctx, key))
	return b, failed("get", err)
}

// getReply keeps together what one hit allocates.
type getReply struct {
	reply
	words [2]any
}

// GetMany reads all keys in one pipeline; on a cluster in one per node.
func (s *Store) GetMany(ctx context.Context, keys []string) ([][]byte, error) {
	if s.bad != nil || len(keys) == 0 {
		return nil, s.bad
	}
	replies := make([]reply, len(keys))
	cmds, _ := s.rdb.Pipelined(ctx, func(p redis.Pipeliner) error { // each cmd has its own error
		for i, key := range keys {
			_ = p.Process(ctx, redis.NewRawWriteToCmd(ctx, &replies[i], "get", key))
		}
		return nil
	})
	entries := make([][]byte, len(keys))
	var rest []int // see Get
	for i := range keys {
		var ok bool
		if entries[i], ok = replies[i].entry(cmds[i].Err()); !ok {
			rest = append(rest, i)
		}
	}
	return entries, failed("get many", s.getRest(ctx, keys, entries, rest))
}

// getRest reads what the pipeline did not, with all that go-redis does about failures.
func (s *Store) getRest(ctx context.Context, keys []string, entries [][]byte, rest []int) error {
	if len(rest) == 0 {
		return nil
	}
	if ended(ctx) {
		return context.Cause(ctx)
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
		if entries[i], err = s.entryOf(ctx, keys[i], cmds[n]); err != nil {
			return err
		}
	}
	return nil
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
