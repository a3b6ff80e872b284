// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"context"
	"time"

	"github.com/leashcache/leash/internal/entry"
)

// publishing is one call of Publish, for bugs to change.
type publishing struct {
	key   string
	data  []byte
	ttl   time.Duration
	force bool
}

// publishes is a bug in Publish; f may answer by itself.
func publishes(f func(b *bent, p *publishing) (answer bool, stored bool)) func(*bent) {
	return func(b *bent) {
		b.publish = func(ctx context.Context, key string, data []byte, ttl time.Duration, force bool) (bool, error) {
			p := publishing{key, append([]byte{}, data...), ttl, force}
			if answer, stored := f(b, &p); answer {
				return stored, nil
			}
			return b.Store.Publish(ctx, p.key, p.data, p.ttl, p.force)
		}
	}
}

func head(b []byte) entry.Head {
	if h, ok := entry.HeadOf(b); ok {
		return h
	}
	return make(entry.Head, entry.HeadSize)
}

var publishBugs = []bug{
	{"the lease stays when its value comes", "publish", publishes(func(b *bent, p *publishing) (bool, bool) {
		if h := head(b.at(p.key)); h.Token() == head(p.data).Publisher() {
			head(p.data).SetLease(h, time.Now().Add(long).UnixMilli(), 0)
		}
		return false, false
	})},
	{"anybody publishes", "publish-refused", publishes(func(_ *bent, p *publishing) (bool, bool) {
		p.force = true
		return false, false
	})},
	{"nobody publishes", "publish-refused", publishes(func(b *bent, p *publishing) (bool, bool) {
		p.force = p.force || head(p.data).Publisher().IsZero()
		return false, false
	})},
	{"the second sending is refused", "publish-twice", publishes(func(b *bent, p *publishing) (bool, bool) {
		return !p.force && head(b.at(p.key)).Publisher() == head(p.data).Publisher(), false
	})},
	{"the second sending stores again", "publish-twice", publishes(func(b *bent, p *publishing) (bool, bool) {
		p.force = p.force || head(b.at(p.key)).Publisher() == head(p.data).Publisher()
		return false, false
	})},
	{"a delete is no obstacle", "publish-after-delete", publishes(func(b *bent, p *publishing) (bool, bool) {
		p.force = p.force || b.at(p.key) == nil
		return false, false
	})},
	{"a value without a lease is free", "publish-after-publish", publishes(func(b *bent, p *publishing) (bool, bool) {
		p.force = p.force || head(b.at(p.key)).Token().IsZero()
		return false, false
	})},
	{"force respects a lease", "publish-force", publishes(func(b *bent, p *publishing) (bool, bool) {
		p.force = p.force && head(b.at(p.key)).Token().IsZero()
		return false, false
	})},
	{"a lease survives force", "publish-force", publishes(func(b *bent, p *publishing) (bool, bool) {
		if h := head(b.at(p.key)); p.force {
			head(p.data).SetLease(h, h.Until(), h.End())
		}
		return false, false
	})},
	{"a life has whole seconds", "publish-life", publishes(func(_ *bent, p *publishing) (bool, bool) {
		p.ttl = p.ttl.Truncate(time.Second) + time.Second
		return false, false
	})},
	{"a life is too short", "publish-life", publishes(func(_ *bent, p *publishing) (bool, bool) {
		p.ttl = p.ttl * 9 / 10
		return false, false
	})},
	{"a value lives as long as its lease", "publish-life-own", func(b *bent) {
		leases := map[string]time.Duration{}
		before(func(_ *bent, a *asking) { leases[a.key] = a.ttl })(b)
		publishes(func(_ *bent, p *publishing) (bool, bool) {
			if !p.force {
				p.ttl = leases[p.key]
			}
			return false, false
		})(b)
	}},
	{"a lease that has ended is no lease", "publish-late", publishes(func(b *bent, p *publishing) (bool, bool) {
		h := head(b.at(p.key))
		return !p.force && h.Until() != 0 && h.Until() < time.Now().UnixMilli(), false
	})},
}

// renews is a bug in Renew, f answers.
func renews(f func(b *bent, key string, token []byte, ttl time.Duration) bool) func(*bent) {
	return func(b *bent) {
		b.renew = func(_ context.Context, key string, token []byte, ttl time.Duration) (bool, error) {
			return f(b, key, token, ttl), nil
		}
	}
}

// abandons is a bug in Abandon, f answers.
func abandons(f func(b *bent, key string, token []byte, backoff time.Duration) bool) func(*bent) {
	return func(b *bent) {
		b.abandon = func(_ context.Context, key string, token []byte, backoff time.Duration) (bool, error) {
			return f(b, key, token, backoff), nil
		}
	}
}

func renewed(b *bent, key string, token []byte, ttl time.Duration) bool {
	held, _ := b.Store.Renew(context.Background(), key, token, ttl)
	return held
}

func abandoned(b *bent, key string, token []byte, backoff time.Duration) bool {
	held, _ := b.Store.Abandon(context.Background(), key, token, backoff)
	return held
}

// dies is a bug: what stands under key ends after ttl, whatever came meanwhile.
func dies(b *bent, key string, ttl time.Duration) {
	time.AfterFunc(ttl, func() { _ = b.Store.Delete(context.Background(), key) })
}

// forced puts data under key, without its lease, for ttl.
func forced(b *bent, key string, data []byte, ttl time.Duration) {
	head(data).ClearLease()
	_, _ = b.Store.Publish(context.Background(), key, data, ttl, true)
}

var stepBugs = []bug{
	{"renewals are not counted", "renew", renews(func(b *bent, key string, token []byte, _ time.Duration) bool {
		return head(b.at(key)).Token() == entry.Token(token)
	})},
	{"a renewal always succeeds", "renew-refused", renews(func(b *bent, key string, token []byte, ttl time.Duration) bool {
		renewed(b, key, token, ttl)
		return true
	})},
	{"nobody's token renews", "renew-refused", renews(func(b *bent, key string, token []byte, ttl time.Duration) bool {
		return renewed(b, key, token, ttl) || entry.Token(token).IsZero() && b.at(key) != nil
	})},
	{"a renewal of a lease alone does nothing", "renew-lasts", renews(func(b *bent, key string, token []byte, ttl time.Duration) bool {
		h := head(b.at(key))
		return h.Token() == entry.Token(token) && (h.Publisher().IsZero() || renewed(b, key, token, ttl))
	})},
	{"a renewal of a lease on a value does nothing", "renew-lasts-on-value", renews(func(b *bent, key string, token []byte, ttl time.Duration) bool {
		h := head(b.at(key))
		return h.Token() == entry.Token(token) && (!h.Publisher().IsZero() || renewed(b, key, token, ttl))
	})},
	{"a value dies under its renewed lease", "renew-makes-life-longer", endOfLife},
	{"a renewal shortens the life", "renew-keeps-life", renews(func(b *bent, key string, token []byte, ttl time.Duration) bool {
		dies(b, key, ttl)
		return renewed(b, key, token, ttl)
	})},
	{"a refused renewal shortens the life", "renew-refused-keeps-life", renews(func(b *bent, key string, token []byte, ttl time.Duration) bool {
		held := renewed(b, key, token, ttl)
		if !held {
			dies(b, key, ttl)
		}
		return held
	})},
	{"a refused renewal makes the life longer", "renew-refused-keeps-life", renews(func(b *bent, key string, token []byte, ttl time.Duration) bool {
		held := renewed(b, key, token, ttl)
		if got := b.at(key); !held && ttl > short && got != nil {
			forced(b, key, got, ttl)
		}
		return held
	})},
	{"a lease alone is not removed", "abandon", abandons(func(b *bent, key string, token []byte, backoff time.Duration) bool {
		if h := head(b.at(key)); h.Publisher().IsZero() {
			return h.Token() == entry.Token(token)
		}
		return abandoned(b, key, token, backoff)
	})},
	{"a late abandon removes the value", "abandon-refused", abandons(func(b *bent, key string, token []byte, backoff time.Duration) bool {
		held := abandoned(b, key, token, backoff)
		if !held {
			_ = b.Store.Delete(context.Background(), key)
		}
		return held
	})},
	{"a back-off is not kept", "abandon-backoff", abandons(func(b *bent, key string, token []byte, _ time.Duration) bool {
		return abandoned(b, key, token, 0)
	})},
	{"a back-off is too short", "abandon-backoff-ends", abandons(func(b *bent, key string, token []byte, backoff time.Duration) bool {
		return abandoned(b, key, token, backoff*9/10)
	})},
	{"a back-off is too long", "abandon-backoff-ends", abandons(func(b *bent, key string, token []byte, backoff time.Duration) bool {
		return abandoned(b, key, token, 2*backoff)
	})},
	{"the longer life stays", "abandon-restores-life", longerLife},
	{"the longer life stays when the other is over", "abandon-after-life", longerLife},
	{"no end is an end", "abandon-keeps-life", abandons(func(b *bent, key string, token []byte, backoff time.Duration) bool {
		held := abandoned(b, key, token, backoff)
		if held {
			dies(b, key, 0)
		}
		return held
	})},
	{"a delete leaves the lease of a value", "delete", func(b *bent) {
		b.remove = func(ctx context.Context, key string) error {
			h := head(b.at(key))
			err := b.Store.Delete(ctx, key)
			if !h.Token().IsZero() && !h.Publisher().IsZero() {
				_, _, _ = b.Store.Lease(ctx, key, entry.NewLease(h.Token(), h.Length(), 0), nil, false, h.Length())
			}
			return err
		}
	}},
	{"a delete leaves a back-off", "delete", func(b *bent) {
		b.remove = func(ctx context.Context, key string) error {
			if head(b.at(key)).Backoff() {
				return nil
			}
			return b.Store.Delete(ctx, key)
		}
	}},
	{"a delete of nothing is an error", "delete-nothing", func(b *bent) {
		b.remove = func(ctx context.Context, key string) error {
			if b.at(key) == nil {
				return errBug
			}
			return b.Store.Delete(ctx, key)
		}
	}},
	{"a delete takes a neighbour along", "delete-only-that", func(b *bent) {
		b.remove = func(ctx context.Context, key string) error {
			_ = b.Store.Delete(ctx, key+"2")
			return b.Store.Delete(ctx, key)
		}
	}},
}

// longerLife is a bug: an abandon leaves the life that a lease made longer.
func longerLife(b *bent) {
	abandons(func(b *bent, key string, token []byte, backoff time.Duration) bool {
		got := b.at(key)
		longer := head(got).End() != 0
		held := abandoned(b, key, token, backoff)
		if held && longer {
			forced(b, key, got, long)
		}
		return held
	})(b)
}
