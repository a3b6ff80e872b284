// SPDX-License-Identifier: Apache-2.0

package redisstore

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/leashcache/leash/internal/servers"
)

// BenchmarkHit compares a hit with a plain GET: run it some times with a short
// -benchtime, and look at the ratios of medians.
func BenchmarkHit(b *testing.B) {
	srv := servers.Redis(b)
	rdb := redis.NewClient(&redis.Options{Addr: srv.Addr(), PoolSize: 64})
	defer rdb.Close()
	ap, err := rdb.AutoPipeline()
	if err != nil {
		b.Fatal(err)
	}
	for _, size := range []int{1 << 10, 64 << 10} {
		key := fmt.Sprint("bench:", size)
		rdb.Set(b.Context(), key, bytes.Repeat([]byte("x"), size), 0)
		for name, c := range map[string]redis.UniversalClient{"client": rdb, "autopipeline": ap} {
			s := New(c)
			for _, n := range []int{1, 64, 512} {
				at := fmt.Sprintf("%s/%dKiB/%d", name, size>>10, n)
				b.Run(at+"/plain", func(b *testing.B) {
					hit(b, n, func(ctx context.Context, _ []byte) ([]byte, error) { return c.Get(ctx, key).Bytes() })
				})
				b.Run(at+"/store", func(b *testing.B) {
					hit(b, n, func(ctx context.Context, buf []byte) ([]byte, error) { return s.Get(ctx, key, buf) })
				})
			}
		}
	}
}

func hit(b *testing.B, goroutines int, get func(context.Context, []byte) ([]byte, error)) {
	b.ReportAllocs()
	var left atomic.Int64
	left.Store(int64(b.N))
	pool := sync.Pool{New: func() any { b := make([]byte, 0, 66<<10); return &b }}
	var wg sync.WaitGroup
	for range goroutines {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				buf := pool.Get().(*[]byte)
				if e, err := get(context.Background(), *buf); err != nil || len(e) < 1024 {
					b.Error(len(e), err)
					return
				}
				pool.Put(buf)
			}
		})
	}
	wg.Wait()
}
