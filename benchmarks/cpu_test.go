package benchmarks

import (
	"context"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/leashcache/leash"
	"github.com/leashcache/leash/backends/redisstore"
	"github.com/vmihailenco/msgpack/v5"
	"github.com/redis/go-redis/v9"
)

func cpu() time.Duration {
	var r syscall.Rusage
	syscall.Getrusage(0, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

func TestCPU(t *testing.T) {
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr()})
	ctx := context.Background()
	c, _ := leash.New[int]("misses", redisstore.New(rdb), leash.Options{TTL: time.Minute})
	h, _ := leash.New[record]("hits", redisstore.New(rdb), leash.Options{TTL: time.Minute})
	h.Set(ctx, "k", sample())
	p, _ := msgpack.Marshal(sample())
	rdb.Set(ctx, "bare", p, time.Hour)
	var ks [1024]string
	for i := range ks { ks[i] = fmt.Sprint("k", i) }
	meas := func(name string, n, conc int, f func(i int)) {
		var best time.Duration = 1 << 60
		for r := range 5 {
			b := cpu()
			var wg sync.WaitGroup
			for g := range conc {
				wg.Go(func() {
					for i := range n / conc {
						f(r*n + g*n/conc + i)
					}
				})
			}
			wg.Wait()
			best = min(best, cpu()-b)
		}
		fmt.Printf("%-20s conc %d: %.2f us cpu/op\n", name, conc, float64(best.Microseconds())/float64(n))
	}
	for _, conc := range []int{1, 64} {
		meas("bare miss", 5000, conc, func(i int) {
			k := fmt.Sprintf("bm:%d:%d", conc, i)
			rdb.Get(ctx, k)
			p, _ := msgpack.Marshal(1)
			rdb.Set(ctx, k, p, time.Minute)
		})
		meas("leash miss", 5000, conc, func(i int) {
			c.GetOrCompute(ctx, fmt.Sprintf("%d:%d", conc, i), func(context.Context) (int, error) { return 1, nil })
		})
		meas("bare hit", 10000, conc, func(i int) {
			b, _ := rdb.Get(ctx, "bare").Bytes()
			var r record
			msgpack.Unmarshal(b, &r)
		})
		for i := range 1024 { h.Set(ctx, fmt.Sprint("k",i), sample()) }
		meas("leash hit", 10000, conc, func(i int) { h.GetOrCompute(ctx, ks[i%1024], never[record]) })
		meas("goroutine hit", 10000, conc, func(i int) {
			ch := make(chan struct{})
			go func() { b, _ := rdb.Get(ctx, "bare").Bytes()
			var r record
			msgpack.Unmarshal(b, &r); close(ch) }()
			<-ch
		})
	}
}
