package benchmarks

import (
	"context"
	"fmt"
	"testing"
	"time"
	"sync/atomic"

	"github.com/leashcache/leash/backends/redisstore"
	"github.com/leashcache/leash/internal/entry"
	"github.com/redis/go-redis/v9"
	"crypto/rand"
)

func BenchmarkRaw(b *testing.B) {
	rdb, ctx := client(b, false), context.Background()
	s := redisstore.New(rdb)
	var i atomic.Int64
	step := func(k string) error {
		if _, err := s.Get(ctx, k, nil); err != nil { return err }
		var tok entry.Token
		rand.Read(tok[:])
		h := entry.NewLease(tok, 10*time.Second, 0)
		if _, _, err := s.Lease(ctx, k, h, nil, false, 10*time.Second); err != nil { return err }
		e := append(entry.Begin(nil), 1)
		entry.Finish(e, 1, k, entry.Sealed{Publisher: tok, Kind: 1, Fresh: time.Minute, Created: time.Now()})
		_, err := s.Publish(ctx, k, e, time.Minute, false)
		return err
	}
	bare := func() error {
				k := fmt.Sprintf("baremisses:%d", i.Add(1))
				if err := rdb.Get(ctx, k).Err(); err != redis.Nil {
					return err
				}
				return rdb.Set(ctx, k, "x", time.Minute).Err()
			}
	b.Run("inline", func(b *testing.B) {
		versus(b, 1, func() error { return step(fmt.Sprintf("raw:%d", i.Add(1))) }, bare)
	})
	b.Run("onego", func(b *testing.B) {
		versus(b, 1, func() error {
			ch := make(chan error)
			k := fmt.Sprintf("raw:%d", i.Add(1))
			go func() { ch <- step(k) }()
			return <-ch
		}, bare)
	})
	b.Run("barego", func(b *testing.B) {
		versus(b, 1, func() error {
			ch := make(chan error)
			go func() { ch <- bare() }()
			return <-ch
		}, bare)
	})
}
