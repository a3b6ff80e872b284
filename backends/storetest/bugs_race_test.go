// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"bytes"
	"context"
	"sync"
	"time"

	"github.com/leashcache/leash/internal/entry"
)

// yield lets the other goroutines of the bubble go on between a look and a step.
func yield() { time.Sleep(time.Microsecond) }

// lookThenLease is a bug: Lease looks first and writes later, where it applies.
func lookThenLease(applies func(stands, seen []byte, steal bool) bool) func(*bent) {
	return func(b *bent) {
		b.lease = func(ctx context.Context, key string, lease, seen []byte, steal bool, ttl time.Duration) ([]byte, time.Duration, error) {
			stands := b.at(key)
			if !applies(stands, seen, steal) {
				return b.Store.Lease(ctx, key, lease, seen, steal, ttl)
			}
			yield()
			_, err := b.Store.Publish(ctx, key, lease, ttl, true)
			return nil, 0, err
		}
	}
}

var raceBugs = []bug{
	{"a lease on nothing is two steps", "race-one-holder", lookThenLease(func(stands, _ []byte, _ bool) bool { return stands == nil })},
	{"a theft is two steps", "race-one-holder", lookThenLease(stealable)},
	{"foreign bytes are replaced in two steps", "race-foreign", lookThenLease(func(stands, seen []byte, _ bool) bool {
		return stands != nil && !isEntry(stands) && bytes.Equal(stands, seen)
	})},
	{"a publish is two steps", "race-publish-delete", func(b *bent) {
		b.publish = func(ctx context.Context, key string, data []byte, ttl time.Duration, force bool) (bool, error) {
			if !force && token(b.at(key)) != head(data).Publisher() {
				return false, nil
			}
			yield()
			return b.Store.Publish(ctx, key, data, ttl, true)
		}
	}},
	{"a renewal is two steps", "race-publish-renew", func(b *bent) {
		b.renew = func(ctx context.Context, key string, t []byte, ttl time.Duration) (bool, error) {
			stands := b.at(key)
			if token(stands) != entry.Token(t) {
				return false, nil
			}
			yield()
			head(stands).Count()
			return b.Store.Publish(ctx, key, stands, ttl, true)
		}
	}},
	{"an abandon is two steps", "race-publish-abandon", func(b *bent) {
		b.abandon = func(ctx context.Context, key string, t []byte, _ time.Duration) (bool, error) {
			if token(b.at(key)) != entry.Token(t) {
				return false, nil
			}
			yield()
			return true, b.Store.Delete(ctx, key)
		}
	}},
	{"a theft and a publish both succeed", "race-publish-steal", lookThenLease(stealable)},
}

func stealable(stands, seen []byte, steal bool) bool {
	return steal && isEntry(stands) && isEntry(seen) && entry.SameLease(head(stands), head(seen)) && head(stands).Publisher().IsZero()
}

var watchBugs = []bug{
	{"a publish is not told", "watch-publish", publishes(func(b *bent, p *publishing) (bool, bool) {
		stored, _ := b.Store.Publish(context.Background(), p.key, p.data, p.ttl, p.force)
		b.deaf()
		return true, stored
	})},
	{"another entry is told", "watch-publish", func(b *bent) {
		b.watch = func(key string) (<-chan []byte, func()) {
			wake := make(chan []byte, 1)
			wake <- value(key, newToken(), "another")
			return wake, func() {}
		}
	}},
	{"a forced publish is not told", "watch-force", publishes(func(b *bent, p *publishing) (bool, bool) {
		stored, _ := b.Store.Publish(context.Background(), p.key, p.data, p.ttl, p.force)
		if p.force {
			b.deaf()
		}
		return true, stored
	})},
	{"an abandon is not told", "watch-abandon", abandons(func(b *bent, key string, token []byte, backoff time.Duration) bool {
		defer b.deaf()
		return abandoned(b, key, token, backoff)
	})},
	{"a delete is not told", "watch-delete", func(b *bent) {
		b.remove = func(ctx context.Context, key string) error {
			defer b.deaf()
			return b.Store.Delete(ctx, key)
		}
	}},
	{"the last interest is the only one", "watch-each", func(b *bent) {
		stops := map[string]func(){}
		b.watch = func(key string) (<-chan []byte, func()) {
			if stop := stops[key]; stop != nil {
				stop()
			}
			wake, stop := b.Store.Watch(key)
			stops[key] = stop
			return wake, stop
		}
	}},
	{"one stop ends every interest", "watch-each", func(b *bent) {
		var stops []func()
		b.watch = func(key string) (<-chan []byte, func()) {
			wake, stop := b.Store.Watch(key)
			stops = append(stops, stop)
			return wake, func() {
				for _, stop := range stops {
					stop()
				}
			}
		}
	}},
	{"the older hint stays", "watch-newest", olderHint},
	{"hints queue", "watch-newest", func(b *bent) {
		b.watch = func(key string) (<-chan []byte, func()) {
			return make(chan []byte, 10), func() {}
		}
	}},
}

// olderHint is a bug: a hint that finds no room is dropped.
func olderHint(b *bent) {
	var mu sync.Mutex
	wakes := map[string][]chan []byte{}
	b.watch = func(key string) (<-chan []byte, func()) {
		mu.Lock()
		defer mu.Unlock()
		wake := make(chan []byte, 1)
		wakes[key] = append(wakes[key], wake)
		return wake, func() {}
	}
	publishes(func(_ *bent, p *publishing) (bool, bool) {
		mu.Lock()
		defer mu.Unlock()
		for _, wake := range wakes[p.key] {
			select {
			case wake <- p.data:
			default:
			}
		}
		return false, false
	})(b)
}
