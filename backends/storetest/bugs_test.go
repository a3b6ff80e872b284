// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/leashcache/leash/internal/entry"
)

// bug is one thing that a store does wrong, and the row that must find it.
type bug struct {
	name string
	row  string
	bend func(b *bent)
}

func bugs() []bug {
	return slices.Concat(getBugs, keyBugs(), leaseBugs, foreignBugs, stealBugs, publishBugs, stepBugs, raceBugs, watchBugs)
}

var errBug = errors.New("planted")

var getBugs = []bug{
	{"nothing is an empty entry", "get-nothing", func(b *bent) {
		b.get = func(ctx context.Context, key string, buf []byte) ([]byte, error) {
			got, err := b.Store.Get(ctx, key, buf)
			return append([]byte{}, got...), err
		}
	}},
	{"a zero byte at the end is cut", "get-round-trip", func(b *bent) {
		b.publish = func(ctx context.Context, key string, entry []byte, ttl time.Duration, force bool) (bool, error) {
			return b.Store.Publish(ctx, key, bytes.TrimSuffix(entry, []byte{0}), ttl, force)
		}
	}},
	{"results share a buffer", "get-buffer", func(b *bent) {
		shared := make([]byte, 0, 4096)
		b.get = func(ctx context.Context, key string, _ []byte) ([]byte, error) {
			return b.Store.Get(ctx, key, shared)
		}
	}},
	{"the result is appended to the buffer", "get-buffer", func(b *bent) {
		b.get = func(ctx context.Context, key string, buf []byte) ([]byte, error) {
			got, err := b.Store.Get(ctx, key, nil)
			if got == nil {
				return nil, err
			}
			return append(buf, got...), err
		}
	}},
	{"a lease forgets the expected duration", "get-lease-area", func(b *bent) {
		b.lease = func(ctx context.Context, key string, lease, seen []byte, steal bool, ttl time.Duration) ([]byte, time.Duration, error) {
			h, _ := entry.HeadOf(lease)
			return b.Store.Lease(ctx, key, entry.NewLease(h.Token(), h.Length(), 0), seen, steal, ttl)
		}
	}},
	{"end is always written", "get-lease-area", func(b *bent) {
		b.get = func(ctx context.Context, key string, buf []byte) ([]byte, error) {
			got, err := b.Store.Get(ctx, key, buf)
			if h, ok := entry.HeadOf(got); ok && !h.Token().IsZero() {
				h.SetEnd(time.Now().UnixMilli())
			}
			return got, err
		}
	}},
	{"Publish changes its argument", "arguments", func(b *bent) {
		b.publish = func(ctx context.Context, key string, data []byte, ttl time.Duration, force bool) (bool, error) {
			stored, err := b.Store.Publish(ctx, key, data, ttl, force)
			entry.Head(data).SetUntil(1)
			return stored, err
		}
	}},
	{"Publish keeps its argument", "arguments", func(b *bent) {
		kept := map[string][]byte{}
		b.publish = func(ctx context.Context, key string, data []byte, ttl time.Duration, force bool) (bool, error) {
			kept[key] = data
			return b.Store.Publish(ctx, key, data, ttl, force)
		}
		b.get = func(ctx context.Context, key string, buf []byte) ([]byte, error) {
			if kept[key] != nil {
				return bytes.Clone(kept[key]), nil
			}
			return b.Store.Get(ctx, key, buf)
		}
	}},
	{"Lease changes seen", "arguments", func(b *bent) {
		b.lease = func(ctx context.Context, key string, lease, seen []byte, steal bool, ttl time.Duration) ([]byte, time.Duration, error) {
			got, left, err := b.Store.Lease(ctx, key, lease, seen, steal, ttl)
			if h, ok := entry.HeadOf(seen); ok {
				h.Count()
			}
			return got, left, err
		}
	}},
	{"a cancelled Get finds nothing", "cancelled-context", func(b *bent) {
		b.get = func(ctx context.Context, key string, buf []byte) ([]byte, error) {
			if ctx.Err() != nil {
				return nil, nil
			}
			return b.Store.Get(ctx, key, buf)
		}
	}},
	{"a cancelled Delete did it", "cancelled-context", func(b *bent) {
		b.remove = func(ctx context.Context, key string) error {
			if ctx.Err() != nil {
				return nil
			}
			return b.Store.Delete(ctx, key)
		}
	}},
	{"GetMany leaves holes out", "get-many", func(b *bent) {
		b.many = func(ctx context.Context, keys []string) ([][]byte, error) {
			got, err := b.Store.GetMany(ctx, keys)
			return slices.DeleteFunc(got, func(e []byte) bool { return e == nil }), err
		}
	}},
	{"GetMany sorts", "get-many", func(b *bent) {
		b.many = func(ctx context.Context, keys []string) ([][]byte, error) {
			return b.Store.GetMany(ctx, slices.Sorted(slices.Values(keys)))
		}
	}},
}

func keyBugs() []bug {
	named := func(name string, f func(key string) string) bug {
		return bug{name, "keys-distinct", func(b *bent) { b.name = f }}
	}
	return []bug{
		named("keys have no case", strings.ToLower),
		named("keys are cut", func(key string) string { return key[:min(len(key), 250)] }),
		named("keys are cut at 32 KiB", func(key string) string { return key[:min(len(key), 32<<10)] }),
		named("blanks are trimmed", strings.TrimSpace),
		named("a key ends at NUL", func(key string) string { return strings.SplitN(key, "\x00", 2)[0] }),
		named("keys are made valid UTF-8", func(key string) string { return strings.ToValidUTF8(key, "?") }),
		named("blanks are escaped", func(key string) string { return strings.ReplaceAll(key, " ", "%20") }),
		named("line ends are one", func(key string) string { return strings.ReplaceAll(key, "\r\n", "\n") }),
		named("braces are dropped", func(key string) string { return strings.NewReplacer("{", "", "}", "").Replace(key) }),
		{"a long key is an error", "keys-steps", func(b *bent) {
			b.renew = func(ctx context.Context, key string, token []byte, ttl time.Duration) (bool, error) {
				if len(key) > 250 {
					return false, errBug
				}
				return b.Store.Renew(ctx, key, token, ttl)
			}
		}},
	}
}
