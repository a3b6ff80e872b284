// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"bytes"
	"context"
	"time"

	"github.com/leashcache/leash/internal/entry"
)

// asking is one call of Lease, for bugs to change.
type asking struct {
	key         string
	lease, seen []byte
	steal       bool
	ttl         time.Duration
}

// before is a bug that changes what Lease is asked.
func before(f func(b *bent, a *asking)) func(*bent) {
	return func(b *bent) {
		b.lease = func(ctx context.Context, key string, lease, seen []byte, steal bool, ttl time.Duration) ([]byte, time.Duration, error) {
			a := asking{key, lease, seen, steal, ttl}
			f(b, &a)
			return b.Store.Lease(ctx, a.key, a.lease, a.seen, a.steal, a.ttl)
		}
	}
}

// after is a bug that changes what Lease answers.
func after(f func(b *bent, a asking, got []byte, left time.Duration) ([]byte, time.Duration)) func(*bent) {
	return func(b *bent) {
		b.lease = func(ctx context.Context, key string, lease, seen []byte, steal bool, ttl time.Duration) ([]byte, time.Duration, error) {
			got, left, err := b.Store.Lease(ctx, key, lease, seen, steal, ttl)
			got, left = f(b, asking{key, lease, seen, steal, ttl}, got, left)
			return got, left, err
		}
	}
}

var leaseBugs = []bug{
	{"on nothing, something seen is refused", "lease-nothing", after(func(_ *bent, a asking, got []byte, left time.Duration) ([]byte, time.Duration) {
		if got == nil && a.seen != nil {
			return a.seen, 0
		}
		return got, left
	})},
	{"on nothing, a value is told", "lease-nothing", after(func(b *bent, a asking, got []byte, left time.Duration) ([]byte, time.Duration) {
		return append([]byte(nil), b.at(a.key)...), left
	})},
	{"on a value, nothing is told", "lease-value", after(func(_ *bent, a asking, got []byte, left time.Duration) ([]byte, time.Duration) {
		if token(got) == token(a.lease) {
			got = nil
		}
		return got, left
	})},
	{"what is told is the head that was", "lease-value", after(func(_ *bent, a asking, got []byte, left time.Duration) ([]byte, time.Duration) {
		if h, ok := entry.HeadOf(got); ok && h.Token() == token(a.lease) {
			h.SetUntil(0)
		}
		return got, left
	})},
	{"left is zero", "lease-refused", after(func(_ *bent, _ asking, got []byte, _ time.Duration) ([]byte, time.Duration) {
		return got, 0
	})},
	{"left is more than the length", "lease-refused", after(func(_ *bent, _ asking, got []byte, left time.Duration) ([]byte, time.Duration) {
		if left > 0 {
			left += time.Second
		}
		return got, left
	})},
	{"who holds the lease is not told", "lease-refused", after(func(_ *bent, _ asking, got []byte, left time.Duration) ([]byte, time.Duration) {
		if left > 0 {
			return nil, left
		}
		return got, left
	})},
	{"the value goes when a lease comes", "lease-value", before(func(b *bent, a *asking) {
		if got := b.at(a.key); got != nil && token(got).IsZero() {
			_ = b.Store.Delete(context.Background(), a.key)
		}
	})},
	{"two hold the lease of a value", "lease-value", before(func(b *bent, a *asking) {
		if a.seen != nil {
			a.seen, a.steal = b.at(a.key), true
		}
	})},
	{"of a newer value only the head is returned", "lease-outdated", after(func(_ *bent, _ asking, got []byte, left time.Duration) ([]byte, time.Duration) {
		return got[:min(len(got), entry.HeadSize)], left
	})},
	{"a lease keeps away from a newer value", "lease-outdated", after(func(_ *bent, _ asking, got []byte, left time.Duration) ([]byte, time.Duration) {
		if !token(got).IsZero() {
			left = time.Second
		}
		return got, left
	})},
	{"any value will do", "lease-outdated", before(func(b *bent, a *asking) { a.seen = b.at(a.key) })},
	{"a lease is too short", "lease-ends", before(func(_ *bent, a *asking) { a.ttl = a.ttl * 9 / 10 })},
	{"a lease has whole seconds", "lease-ends", before(func(_ *bent, a *asking) { a.ttl = a.ttl.Truncate(time.Second) + time.Second })},
	{"a lease on a value is too short", "lease-on-value-ends", before(func(_ *bent, a *asking) {
		if a.seen != nil {
			a.ttl = a.ttl * 9 / 10
		}
	})},
	{"a lease on a value never ends", "lease-on-value-ends", before(func(_ *bent, a *asking) {
		if a.seen != nil {
			a.ttl = time.Hour
		}
	})},
	{"asking keeps a lease alive", "refused-keeps-life", after(func(b *bent, a asking, got []byte, left time.Duration) ([]byte, time.Duration) {
		if t := token(got); left > 0 {
			_, _ = b.Store.Renew(context.Background(), a.key, t[:], a.ttl)
		}
		return got, left
	})},
	{"a value dies under its lease", "lease-makes-life-longer", endOfLife},
	{"a lease shortens the life", "lease-keeps-life", after(func(b *bent, a asking, got []byte, left time.Duration) ([]byte, time.Duration) {
		if token(got) == token(a.lease) {
			time.AfterFunc(a.ttl, func() { _ = b.Store.Delete(context.Background(), a.key) })
		}
		return got, left
	})},
	{"an implausible lease stands", "lease-implausible", func(b *bent) {
		b.lease = func(ctx context.Context, key string, lease, seen []byte, steal bool, ttl time.Duration) ([]byte, time.Duration, error) {
			if h, ok := entry.HeadOf(b.at(key)); ok && h.Until() > time.Now().Add(time.Hour).UnixMilli() {
				return h, h.Length(), nil
			}
			return b.Store.Lease(ctx, key, lease, seen, steal, ttl)
		}
	}},
	{"a lease without a value never ends", "lease-ended-without-value", func(b *bent) {
		b.lease = func(ctx context.Context, key string, lease, seen []byte, steal bool, ttl time.Duration) ([]byte, time.Duration, error) {
			if h, ok := entry.HeadOf(b.at(key)); ok && h.Publisher().IsZero() {
				return h, h.Length(), nil
			}
			return b.Store.Lease(ctx, key, lease, seen, steal, ttl)
		}
	}},
	{"an ended lease without a value must have been seen", "lease-ended-without-value", func(b *bent) {
		b.lease = func(ctx context.Context, key string, lease, seen []byte, steal bool, ttl time.Duration) ([]byte, time.Duration, error) {
			if got := b.at(key); got != nil && seen != nil && !sameValue(got, seen) {
				return got, 0, nil
			}
			return b.Store.Lease(ctx, key, lease, seen, steal, ttl)
		}
	}},
}

// endOfLife is a bug: nothing makes the life of what was published longer.
func endOfLife(b *bent) {
	b.publish = func(ctx context.Context, key string, data []byte, ttl time.Duration, force bool) (bool, error) {
		time.AfterFunc(ttl, func() { _ = b.Store.Delete(context.Background(), key) })
		return b.Store.Publish(ctx, key, data, ttl, force)
	}
}

var foreignBugs = []bug{
	{"foreign bytes are nothing", "foreign-get", func(b *bent) {
		b.get = func(ctx context.Context, key string, buf []byte) ([]byte, error) {
			got, err := b.Store.Get(ctx, key, buf)
			if _, ok := entry.HeadOf(got); !ok {
				got = nil
			}
			return got, err
		}
	}},
	{"an empty string is nothing", "foreign-get", func(b *bent) {
		b.get = func(ctx context.Context, key string, buf []byte) ([]byte, error) {
			got, err := b.Store.Get(ctx, key, buf)
			return append([]byte(nil), got...), err
		}
	}},
	{"foreign bytes are replaced unseen", "foreign-replaced", before(func(b *bent, a *asking) {
		if got := b.at(a.key); got != nil && !isEntry(got) {
			a.seen = got
		}
	})},
	{"foreign bytes are never replaced", "foreign-replaced", before(func(b *bent, a *asking) {
		if got := b.at(a.key); got != nil && !isEntry(got) {
			a.seen = nil
		}
	})},
	{"foreign bytes seen mean anything", "foreign-entry-came", before(func(b *bent, a *asking) {
		if a.seen != nil && !isEntry(a.seen) {
			a.seen = b.at(a.key)
		}
	})},
	{"foreign bytes are nobody's, so anybody publishes", "foreign-steps", func(b *bent) {
		b.publish = func(ctx context.Context, key string, data []byte, ttl time.Duration, force bool) (bool, error) {
			return b.Store.Publish(ctx, key, data, ttl, force || !isEntry(b.at(key)))
		}
	}},
	{"what cannot be read is nothing", "foreign-type", func(b *bent) {
		b.get = func(ctx context.Context, key string, buf []byte) ([]byte, error) {
			got, err := b.Store.Get(ctx, key, buf)
			if string(got) == "a list" {
				got = nil
			}
			return got, err
		}
	}},
	{"what cannot be read stays for ever", "foreign-type", func(b *bent) {
		b.publish = func(ctx context.Context, key string, data []byte, ttl time.Duration, force bool) (bool, error) {
			if string(b.at(key)) == "a list" {
				return false, nil
			}
			return b.Store.Publish(ctx, key, data, ttl, force)
		}
	}},
}

func isEntry(b []byte) bool {
	_, ok := entry.HeadOf(b)
	return ok
}

var stealBugs = []bug{
	{"nothing is ever stolen", "steal", before(func(_ *bent, a *asking) { a.steal = false })},
	{"a lease is stolen without a word", "steal", before(func(_ *bent, a *asking) { a.steal = true })},
	{"the counter is not compared", "steal-renewed", before(func(b *bent, a *asking) {
		if h, ok := entry.HeadOf(b.at(a.key)); ok && token(a.seen) == h.Token() {
			a.seen = h
		}
	})},
	{"the token is not compared", "steal-another", before(func(b *bent, a *asking) {
		if h, ok := entry.HeadOf(b.at(a.key)); ok && a.steal && samePublisher(a.seen, h) {
			a.seen = h
		}
	})},
	{"the publisher is not compared", "steal-other-publisher", before(func(b *bent, a *asking) {
		if h, ok := entry.HeadOf(b.at(a.key)); ok && a.steal && token(a.seen) == h.Token() {
			a.seen = h
		}
	})},
	{"a back-off is stolen unseen", "steal-backoff", before(func(b *bent, a *asking) {
		if h, ok := entry.HeadOf(b.at(a.key)); ok && h.Backoff() {
			a.seen = h
		}
	})},
	{"a back-off is not stolen", "steal-backoff", before(func(b *bent, a *asking) {
		if h, ok := entry.HeadOf(b.at(a.key)); ok && h.Backoff() {
			a.steal = false
		}
	})},
}

func samePublisher(a []byte, h entry.Head) bool {
	ah, ok := entry.HeadOf(a)
	return ok && bytes.Equal(ah[52:68], h[52:68])
}
