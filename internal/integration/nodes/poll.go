// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/bradfitz/gomemcache/memcache"

	"github.com/leashcache/leash"
)

// poll is what people write by hand on memcached: in each process one caller asks
// for a lock key, and whoever does not get it looks for the value at fixed times.
type poll struct {
	floor
	c     *memcache.Client
	every time.Duration
}

func (p *poll) fetch(ctx context.Context, key string, compute computation, opts ...leash.Option) Answer {
	return p.floor.fetch(ctx, key, func(ctx context.Context) (Row, error) { return p.find(ctx, key, compute) }, opts...)
}

func (p *poll) find(ctx context.Context, key string, compute computation) (row Row, err error) {
	name := p.every.String() + ":" + key
	for first := true; ; first = false {
		it, err := p.c.Get(name)
		if err == nil {
			return row, json.Unmarshal(it.Value, &row)
		}
		if !errors.Is(err, memcache.ErrCacheMiss) {
			return row, err
		}
		if first {
			err = p.c.Add(&memcache.Item{Key: name + ":lock", Value: []byte("1"), Expiration: 30})
		}
		if err == nil {
			return p.make(ctx, name, compute)
		}
		if err := sleep(ctx, p.every); err != nil {
			return row, err
		}
	}
}

func (p *poll) make(ctx context.Context, name string, compute computation) (Row, error) {
	row, err := compute(ctx)
	if err != nil {
		return row, err
	}
	b, err := json.Marshal(row)
	if err != nil {
		return row, err
	}
	if err := p.c.Set(&memcache.Item{Key: name, Value: b, Expiration: 60}); err != nil {
		return row, err
	}
	return row, p.c.Delete(name + ":lock")
}
