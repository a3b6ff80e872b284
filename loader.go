// SPDX-License-Identifier: Apache-2.0

package leash

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Loader gets values of V by keys of K through a cache, always with the same
// function. Fill in its fields and use it; it has no state of its own.
type Loader[K comparable, V any] struct {
	// Cache keeps the values. Required.
	Cache *Cache[V]

	// Load computes the value of one key. Required, unless LoadMany is set. See
	// [Cache.GetOrCompute] for what holds in it.
	Load func(ctx context.Context, key K) (V, error)

	// LoadMany computes the values of several keys at once for GetMany. A key
	// that is missing in the result is not found. An error is the error of all.
	LoadMany func(ctx context.Context, keys []K) (map[K]V, error)

	// TTL says for how long a value is fresh. Zero or less keeps one that was
	// computed out of the store, and is an error of Set. Default: the cache's
	// TTL.
	TTL func(key K, value V) time.Duration

	// Key turns a key into the cache's key. Default: strings as they are,
	// integers and booleans in decimal and words, [n]byte in hexadecimal, types
	// with a MarshalText by that, and structs and arrays of all these with their
	// parts joined so that different keys never look the same.
	Key func(key K) string
}

// Get returns the value of key, as [Cache.GetOrCompute] does.
func (l Loader[K, V]) Get(ctx context.Context, key K, opts ...Option) (V, error) {
	v, _, err := l.Fetch(ctx, key, opts...)
	return v, err
}

// Fetch is Get that also tells how the call was answered.
func (l Loader[K, V]) Fetch(ctx context.Context, key K, opts ...Option) (V, Outcome, error) {
	s, err := l.key(key)
	if err != nil {
		var zero V
		return zero, Outcome{}, err
	}
	return l.Cache.Fetch(ctx, s, func(ctx context.Context) (V, error) { return l.load(ctx, key) }, opts...)
}

// Set stores value under key, as [Cache.Set] does, for the Loader's TTL.
func (l Loader[K, V]) Set(ctx context.Context, key K, value V, opts ...Option) error {
	s, err := l.key(key)
	if err != nil {
		return err
	}
	if l.TTL != nil && len(opts) == 0 {
		opts = []Option{TTL(l.TTL(key, value))}
	}
	return l.Cache.Set(ctx, s, value, opts...)
}

// Delete removes the values of keys, as [Cache.Delete] does.
func (l Loader[K, V]) Delete(ctx context.Context, keys ...K) error {
	ss := make([]string, len(keys))
	for i, k := range keys {
		var err error
		if ss[i], err = l.key(k); err != nil {
			return err
		}
	}
	return l.Cache.Delete(ctx, ss...)
}

// GetMany returns the values of keys. What is stored is read in one trip; of the
// rest, each key is leased on its own, and those whose leases this process gets
// are computed by one call of LoadMany, or by a Load each. Keys that are not
// found are missing in the result. If some keys fail, the error is a
// [KeyErrors] and the result holds the others.
func (l Loader[K, V]) GetMany(ctx context.Context, keys []K, opts ...Option) (map[K]V, error) {
	if err := l.check(); err != nil {
		return nil, err
	}
	o, err := l.Cache.e.call(opts)
	if err != nil {
		return nil, err
	}
	m := newMany(ctx, l, o)
	for _, k := range keys {
		if _, twice := m.index[k]; twice {
			continue
		}
		s, err := l.key(k)
		if err == nil {
			err = l.Cache.e.check(ctx, s)
		}
		if err != nil {
			return nil, err
		}
		m.add(k, s)
	}
	return m.get()
}

func (l Loader[K, V]) check() error {
	switch {
	case l.Cache == nil:
		return errors.New("leash: Loader.Cache is nil: make one with New")
	case l.Load == nil && l.LoadMany == nil:
		return errors.New("leash: Loader.Load is nil: say how a value is computed")
	}
	return nil
}

func (l Loader[K, V]) key(k K) (string, error) {
	if err := l.check(); err != nil {
		return "", err
	}
	if l.Key != nil {
		return l.Key(k), nil
	}
	return keyOf(k)
}

func (l Loader[K, V]) load(ctx context.Context, k K) (V, error) {
	if l.Load == nil {
		return l.loadOne(ctx, k)
	}
	v, err := l.Load(ctx, k)
	l.setTTL(ctx, k, v, err)
	return v, err
}

func (l Loader[K, V]) setTTL(ctx context.Context, k K, v V, err error) {
	if l.TTL != nil && err == nil {
		SetTTL(ctx, l.TTL(k, v))
	}
}

// loadOne computes one value by LoadMany.
func (l Loader[K, V]) loadOne(ctx context.Context, k K) (V, error) {
	all, err := l.LoadMany(ctx, []K{k})
	v, ok := all[k]
	if err == nil && !ok {
		err = ErrNotFound
	}
	l.setTTL(ctx, k, v, err)
	return v, err
}

// KeyErrors are the errors of those keys of a GetMany that failed.
type KeyErrors[K comparable] map[K]error //nolint:errname // it is many errors, not one

// Error names every key that failed, with its error.
func (e KeyErrors[K]) Error() string {
	lines := make([]string, 0, len(e))
	for k, err := range e {
		lines = append(lines, fmt.Sprintf("%v: %v", k, err))
	}
	slices.Sort(lines)
	return fmt.Sprintf("leash: %d keys failed; %s", len(e), strings.Join(lines, "; "))
}

// Unwrap returns the errors, so that errors.Is finds one that any key has.
func (e KeyErrors[K]) Unwrap() []error { return slices.Collect(maps.Values(e)) }
