// SPDX-License-Identifier: Apache-2.0

// Package benchmarks compares leash with the bare client, in one run: rounds of
// both take turns, and what counts is the median of the rounds' ratios.
//
//	make bench
package benchmarks

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/vmihailenco/msgpack/v5"

	"github.com/leashcache/leash"
	"github.com/leashcache/leash/backends/redisstore"
	"github.com/leashcache/leash/codec"
	"github.com/leashcache/leash/internal/servers"
)

var server, memcached *servers.Server

func TestMain(m *testing.M) {
	var err, second error
	server, err = servers.StartRedis()
	memcached, second = servers.StartMemcached()
	if err := errors.Join(err, second); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	server.Close()
	memcached.Close()
	os.Exit(code)
}

const rounds = 9

// versus runs a and b in turns with n goroutines and reports the ratio of their
// throughputs, a's over b's, and both.
func versus(b *testing.B, n int, ours, bare func() error) {
	b.Helper()
	each := 150 * time.Millisecond
	throughput(b, n, each, ours) // warm up
	throughput(b, n, each, bare)
	var ratios, a, c []float64
	for i := range rounds {
		var x, y float64
		if i%2 == 0 {
			x, y = throughput(b, n, each, ours), throughput(b, n, each, bare)
		} else {
			y, x = throughput(b, n, each, bare), throughput(b, n, each, ours)
		}
		ratios, a, c = append(ratios, x/y), append(a, x), append(c, y)
	}
	b.ReportMetric(median(ratios), "x-bare")
	b.ReportMetric(median(a), "leash/s")
	b.ReportMetric(median(c), "bare/s")
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(allocs(ours)-allocs(bare), "more-allocs")
}

func throughput(b *testing.B, n int, d time.Duration, f func() error) float64 {
	var ops atomic.Int64
	var wg sync.WaitGroup
	debug.SetTraceback("all") // says who stands still
	defer time.AfterFunc(d+30*time.Second, func() { panic("calls do not return") }).Stop()
	runtime.GC()
	began := time.Now()
	end := began.Add(d)
	for range n {
		wg.Go(func() {
			k := int64(0)
			for time.Now().Before(end) {
				if err := f(); err != nil {
					b.Error(err)
					return
				}
				k++
			}
			ops.Add(k)
		})
	}
	wg.Wait()
	return float64(ops.Load()) / time.Since(began).Seconds()
}

func allocs(f func() error) float64 {
	return testing.AllocsPerRun(500, func() { _ = f() })
}

func median(x []float64) float64 {
	slices.Sort(x)
	return x[len(x)/2]
}

// record is about one kilobyte as msgpack.
type record struct {
	ID      int64
	Name    string
	Email   string
	Created time.Time
	Tags    []string
	Scores  map[string]int
	Bio     string
	Active  bool
}

func sample() record {
	r := record{ID: 42, Name: "Ann Example", Email: "ann@example.org", Created: time.Unix(1e9, 0), Active: true, Scores: map[string]int{}}
	for i := range 8 {
		r.Tags = append(r.Tags, fmt.Sprintf("tag-number-%d", i))
		r.Scores[fmt.Sprintf("score-%d", i)] = i
	}
	for range 70 {
		r.Bio += "0123456789"
	}
	return r
}

func client(b *testing.B, auto bool) redis.UniversalClient {
	c := redis.NewClient(&redis.Options{Addr: server.Addr()})
	b.Cleanup(func() { c.Close() })
	if !auto {
		return c
	}
	ap, err := c.AutoPipeline()
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { ap.Close() })
	return ap
}

func never[V any](context.Context) (V, error) { panic("a hit computes nothing") }

func BenchmarkHit(b *testing.B) {
	for _, n := range []int{1, 64, 512} {
		b.Run(fmt.Sprintf("struct1KiB/memcached/%d", n), func(b *testing.B) { hitMemcached(b, n) })
	}
	for _, auto := range []bool{false, true} {
		name := map[bool]string{false: "plain", true: "autopipeline"}[auto]
		for _, n := range []int{1, 64, 512} {
			b.Run(fmt.Sprintf("struct1KiB/%s/%d", name, n), func(b *testing.B) { hitStruct(b, client(b, auto), n) })
		}
	}
	for _, n := range []int{1, 64, 512} {
		b.Run(fmt.Sprintf("blob64KiB/plain/%d", n), func(b *testing.B) { hitBlob(b, client(b, false), n) })
	}
}

const keys = 4096 // so many that callers hardly ever meet

var next atomic.Int64

func key() int { return int(next.Add(1)) % keys }

func hitStruct(b *testing.B, rdb redis.UniversalClient, n int) {
	ctx := context.Background()
	c, err := leash.New[record]("hits", redisstore.New(rdb), leash.Options{TTL: time.Hour})
	if err != nil {
		b.Fatal(err)
	}
	var ks, bare [keys]string
	plain, _ := msgpack.Marshal(sample())
	for i := range keys {
		ks[i], bare[i] = fmt.Sprint(i), fmt.Sprintf("bare:%d", i)
		if err := c.Set(ctx, ks[i], sample()); err != nil {
			b.Fatal(err)
		}
		rdb.Set(ctx, bare[i], plain, time.Hour)
	}
	b.ResetTimer()
	versus(b, n, func() error {
		_, err := c.GetOrCompute(ctx, ks[key()], never[record])
		return err
	}, func() error {
		p, err := rdb.Get(ctx, bare[key()]).Bytes()
		if err != nil {
			return err
		}
		var r record
		return msgpack.Unmarshal(p, &r)
	})
}

func hitBlob(b *testing.B, rdb redis.UniversalClient, n int) {
	ctx := context.Background()
	c, err := leash.New[[]byte]("blobs", redisstore.New(rdb), leash.Options{TTL: time.Hour, Codec: codec.Bytes})
	if err != nil {
		b.Fatal(err)
	}
	const keys = 512 // 32 MiB
	var ks, bare [keys]string
	blob := make([]byte, 64<<10)
	for i := range keys {
		ks[i], bare[i] = fmt.Sprint(i), fmt.Sprintf("bareblob:%d", i)
		if err := c.Set(ctx, ks[i], blob); err != nil {
			b.Fatal(err)
		}
		rdb.Set(ctx, bare[i], blob, time.Hour)
	}
	b.ResetTimer()
	versus(b, n, func() error {
		_, err := c.GetOrCompute(ctx, ks[key()%keys], never[[]byte])
		return err
	}, func() error {
		_, err := rdb.Get(ctx, bare[key()%keys]).Bytes()
		return err
	})
}

// BenchmarkMiss computes nothing on a cold key each time, against a GET and a SET.
func BenchmarkMiss(b *testing.B) {
	for _, n := range []int{1, 64} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			rdb, ctx := client(b, false), context.Background()
			c, err := leash.New[int]("misses", redisstore.New(rdb), leash.Options{TTL: time.Minute})
			if err != nil {
				b.Fatal(err)
			}
			var i atomic.Int64
			versus(b, n, func() error {
				_, err := c.GetOrCompute(ctx, fmt.Sprint(i.Add(1)), func(context.Context) (int, error) { return 1, nil })
				return err
			}, func() error {
				k := fmt.Sprintf("baremisses:%d", i.Add(1))
				if err := rdb.Get(ctx, k).Err(); !errors.Is(err, redis.Nil) {
					return err
				}
				p, _ := msgpack.Marshal(1)
				return rdb.Set(ctx, k, p, time.Minute).Err()
			})
		})
	}
}
