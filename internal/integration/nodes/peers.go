// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/leashcache/leash"
)

// floor calls each computation once in the process and talks to no server: what
// a herd costs when nothing but the callers themselves takes time.
type floor struct {
	mu    sync.Mutex
	calls map[string]*floorCall
}

type floorCall struct {
	done chan struct{}
	row  Row
	err  error
}

func (f *floor) fetch(ctx context.Context, key string, compute computation, _ ...leash.Option) Answer {
	f.mu.Lock()
	c, ok := f.calls[key]
	if !ok {
		c = &floorCall{done: make(chan struct{})}
		f.calls[key] = c
	}
	f.mu.Unlock()
	if !ok {
		c.row, c.err = compute(ctx)
		close(c.done)
	}
	select {
	case <-c.done:
	case <-ctx.Done():
		return Answer{Err: Left}
	}
	return Answer{Row: c.row, Found: c.err == nil, Err: failureOf(c.err)}
}

func (f *floor) get(context.Context, string) Answer   { return Answer{} }
func (f *floor) delete(context.Context, string) error { return nil }
func (f *floor) stats() Stats                         { return Stats{} }
func (f *floor) close(context.Context) error          { return nil }

// naive protects nothing.
type naive struct {
	rdb redis.UniversalClient
	ttl time.Duration
}

func (c *naive) fetch(ctx context.Context, key string, compute computation, _ ...leash.Option) Answer {
	if a := c.get(ctx, key); a.Found || a.Err != None {
		return a
	}
	row, err := compute(ctx)
	if err != nil {
		return Answer{Err: failureOf(err), Text: err.Error()}
	}
	b, err := json.Marshal(row)
	if err == nil {
		err = c.rdb.Set(ctx, "naive:"+key, b, c.ttl).Err()
	}
	if err != nil {
		return Answer{Err: failureOf(err), Text: err.Error()}
	}
	return Answer{Row: row, Found: true}
}

func (c *naive) get(ctx context.Context, key string) (a Answer) {
	b, err := c.rdb.Get(ctx, "naive:"+key).Bytes()
	if err == nil {
		err = json.Unmarshal(b, &a.Row)
		a.Found = err == nil
	}
	if err != nil && !errors.Is(err, redis.Nil) {
		return Answer{Err: failureOf(err), Text: err.Error()}
	}
	return a
}

func (c *naive) delete(ctx context.Context, key string) error {
	return c.rdb.Del(ctx, "naive:"+key).Err()
}
func (c *naive) stats() Stats                { return Stats{} }
func (c *naive) close(context.Context) error { return nil }
