package redisstore

import (
	"context"
	"testing"
	"time"

	"github.com/leashcache/leash/internal/entry"
	"github.com/leashcache/leash/internal/servers"
	"github.com/redis/go-redis/v9"
)

func TestSmoke(t *testing.T) {
	srv := servers.Redis(t)
	rdb := redis.NewClient(&redis.Options{Addr: srv.Addr()})
	defer rdb.Close()
	s := New(rdb)
	defer s.Close()
	ctx := context.Background()
	tok := entry.Token{1, 2, 3}
	tok2 := entry.Token{9}
	e, left, err := s.Lease(ctx, "users:1", entry.NewLease(tok, time.Second, 0), nil, false, time.Second)
	t.Log(e, left, err)
	wake, stop := s.Watch("users:1")
	defer stop()
	start := time.Now()
	e, left, err = s.Lease(ctx, "users:1", entry.NewLease(tok2, time.Second, 0), nil, false, time.Second)
	t.Log(len(e), left, err, time.Since(start))
	b := entry.Begin(nil)
	b = append(b, "hello"...)
	entry.Finish(b, entry.NewScope("x", ""), "1", entry.Sealed{Publisher: tok, Kind: entry.Value})
	ok, err := s.Publish(ctx, "users:1", b, time.Minute, false)
	t.Log(ok, err)
	select {
	case h := <-wake:
		t.Log("woken", len(h), time.Since(start))
	case <-time.After(time.Second):
		t.Fatal("not woken")
	}
	got, err := s.Get(ctx, "users:1", make([]byte, 0, 1000))
	t.Log(len(got), err)
	e, left, err = s.Lease(ctx, "users:1", entry.NewLease(tok2, time.Second, 0), got, false, time.Second)
	t.Log(e, left, err)
	ok, err = s.Renew(ctx, "users:1", tok2[:], time.Second)
	t.Log(ok, err)
	ok, err = s.Abandon(ctx, "users:1", tok2[:], time.Second)
	t.Log(ok, err)
	e, left, err = s.Lease(ctx, "users:1", entry.NewLease(tok, time.Second, 0), got, false, time.Second)
	t.Log(len(e), left, err)
	t.Log(s.Delete(ctx, "users:1"))
	all, err := s.GetMany(ctx, []string{"users:1", "users:2"})
	t.Log(all, err)
}
