// SPDX-License-Identifier: Apache-2.0

package leash

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"hash/crc32"
	"hash/maphash"
	mathrand "math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/leashcache/leash/codec"
	"github.com/leashcache/leash/internal/entry"
	"github.com/leashcache/leash/internal/schema"
)

// engine is a cache that does not know its type.
type engine struct {
	name   string
	prefix string // of every key in the store
	scope  entry.Scope
	o      Options
	store  Store
	waker  Waker      // nil if the store is none
	batch  BatchStore // nil if the store is none

	fingerprint uint64
	codecID     uint32
	plain       bool // the codec is codec.Bytes: a payload is the value
	notFound    error

	// ctx ends with Close.
	ctx    context.Context
	cancel context.CancelCauseFunc

	seed   maphash.Seed
	shards [64]shard
	wg     sync.WaitGroup // added to by enter, or by who is counted already

	unleased *semaphore.Weighted
	counters counters
	cost     atomic.Int64 // moving mean of computations, ns
	stuck    atomic.Int64 // operations that outlived their time
	maxStuck int64
	turns    chan struct{} // a place for each read that the store's client has room for; nil without bound
	gets     sync.Pool     // of *getCall
	flights  sync.Pool     // of *flight
	buffers  sync.Pool     // of *buffer
	said     [eventKinds]atomic.Int64

	runningMu sync.Mutex
	running   map[*computation]struct{}
}

// shard is a part of the keys.
type shard struct {
	mu         sync.Mutex
	closed     bool
	flights    map[string]*flight
	refreshing map[string]struct{}
}

func newEngine(name string, store Store, o Options, v reflect.Type) (*engine, error) {
	o, err := o.complete(name, store, v)
	if err != nil {
		return nil, err
	}
	e := &engine{
		name:     name,
		prefix:   name + ":",
		scope:    entry.NewScope(name, o.Schema),
		o:        o,
		store:    store,
		plain:    reflect.TypeOf(o.Codec).Comparable() && o.Codec == codec.Bytes,
		codecID:  crc32.ChecksumIEEE([]byte(o.Codec.Name())),
		notFound: &notFoundError{same: o.NotFound},
		seed:     maphash.MakeSeed(),
		maxStuck: maxStuck,
		unleased: semaphore.NewWeighted(int64(o.MaxUnleased)),
		running:  map[*computation]struct{}{},
	}
	if o.Schema != "" {
		e.prefix += o.Schema + ":"
		e.fingerprint = schema.Explicit(o.Schema)
	} else {
		e.fingerprint = schema.Fingerprint(v)
	}
	e.waker, _ = store.(Waker)
	e.batch, _ = store.(BatchStore)
	if l, ok := store.(LimitedStore); ok {
		if n := l.Limit(); n > 0 {
			e.turns = make(chan struct{}, n)
			e.maxStuck = int64(min(maxStuck, n))
		}
	}
	e.ctx, e.cancel = context.WithCancelCause(context.Background())
	e.gets.New = func() any { return newGetCall(e) }
	for i := range e.shards {
		e.shards[i].flights = map[string]*flight{}
		e.shards[i].refreshing = map[string]struct{}{}
	}
	return e, nil
}

func (e *engine) shard(full string) *shard {
	return &e.shards[maphash.String(e.seed, full)%uint64(len(e.shards))]
}

// enter counts a caller or a goroutine in, unless the cache is closed; it ends
// with e.wg.Done.
func (e *engine) enter(full string) error {
	s := e.shard(full)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	e.wg.Add(1)
	return nil
}

// spawn runs f, which ends with e.wg.Done; the caller is counted, or holds the
// lock under which it saw that the cache is open.
func (e *engine) spawn(f func()) {
	e.wg.Add(1)
	go f()
}

func (e *engine) check(ctx context.Context, key string) error {
	if err := checkKey(key); err != nil {
		return err
	}
	return ctx.Err()
}

func (e *engine) peek(ctx context.Context, key string) (answer, bool) {
	if err := e.check(ctx, key); err != nil {
		return answer{err: err}, false
	}
	full := e.prefix + key
	if err := e.enter(full); err != nil {
		return answer{err: err}, false
	}
	defer e.wg.Done()
	b, err := e.read(ctx, full)
	if err != nil {
		return answer{err: err}, false
	}
	v := e.judge(b, key, entry.Token{})
	switch {
	case v.err != nil:
		e.undecodable(v.err)
		return answer{}, false
	case v.state == fresh && v.Kind != entry.Error:
		return e.answer(&v, StatusHit), true
	case v.state == updating:
		return e.answer(&v, StatusUpdating), true
	}
	return answer{}, false
}

func (e *engine) set(ctx context.Context, key string, value any, ttl time.Duration) error {
	if err := e.check(ctx, key); err != nil {
		return err
	}
	full := e.prefix + key
	b, err := e.encode(value)
	if err != nil {
		return err
	}
	if err := e.enter(full); err != nil {
		return err
	}
	defer e.wg.Done()
	_, life := e.seal(b, key, entry.Sealed{Publisher: newToken(), Kind: entry.Value}, ttl)
	_, err = budgeted(ctx, e, OpSet, func(ctx context.Context) (bool, error) {
		return e.store.Publish(ctx, full, b, life, true)
	})
	e.detach(full)
	return err
}

func (e *engine) delete(ctx context.Context, keys []string) error {
	for _, key := range keys {
		if err := e.check(ctx, key); err != nil {
			return err
		}
	}
	errs := make([]error, len(keys))
	var g errgroup.Group
	g.SetLimit(maxDeletes)
	for i, key := range keys {
		g.Go(func() error {
			if err := e.deleteOne(ctx, key); err != nil {
				errs[i] = fmt.Errorf("leash: %q may still hold its old value: %w", key, err)
			}
			return nil
		})
	}
	_ = g.Wait() // the errors are in errs, in the order of the keys
	return errors.Join(errs...)
}

// maxDeletes is how many keys of one Delete are under way at a time.
const maxDeletes = 16

func (e *engine) deleteOne(ctx context.Context, key string) error {
	full := e.prefix + key
	if err := e.enter(full); err != nil {
		return err
	}
	defer e.wg.Done()
	_, err := budgeted(ctx, e, OpDelete, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, e.store.Delete(ctx, full)
	})
	e.detach(full)
	return err
}

// detach keeps later callers from joining the flight of a key.
func (e *engine) detach(full string) {
	s := e.shard(full)
	s.mu.Lock()
	delete(s.flights, full)
	s.mu.Unlock()
}

// encode returns an entry that is complete but for its sealed part.
func (e *engine) encode(value any) ([]byte, error) {
	b, err := e.o.Codec.Append(entry.Begin(make([]byte, 0, 1024)), value)
	if err != nil {
		return nil, fmt.Errorf("leash: codec %s can not carry this value: %w", e.o.Codec.Name(), err)
	}
	return b, nil
}

// handover is how long an entry lives that is not to be kept at all, so that
// those who waited for it find it.
const handover = time.Second

// seal completes the entry b, and returns how long it is fresh and how long it is
// to live in the store.
func (e *engine) seal(b []byte, key string, s entry.Sealed, ttl time.Duration) (fresh, life time.Duration) {
	if e.o.Jitter > 0 && s.Kind != entry.Error {
		ttl -= time.Duration(float64(ttl) * e.o.Jitter * mathrand.Float64())
	}
	s.Fingerprint, s.Codec = e.fingerprint, e.codecID
	s.Fresh = ttl.Truncate(time.Microsecond)
	if s.Created.IsZero() {
		s.Created = time.Now()
	}
	entry.Finish(b, e.scope, key, s)
	life = ttl
	if s.Kind == entry.Value {
		life += max(e.o.StaleWhileRevalidate, e.o.StaleIfError)
	}
	if life < time.Millisecond {
		life = handover
	}
	return s.Fresh, life
}

func newToken() (t entry.Token) {
	rand.Read(t[:])
	return t
}

func (e *engine) countUndecodable(v *verdict) {
	if v.err != nil {
		e.undecodable(v.err)
	}
}

func (e *engine) undecodable(err error) {
	e.event(Event{Kind: EventUndecodable, Err: err})
	e.say(EventUndecodable, "entry can not be used and is computed again", err)
}

// say logs what an operator should know, each kind once a minute.
func (e *engine) say(k EventKind, what string, err error) {
	now := time.Now().UnixNano()
	last := e.said[k].Load()
	if last != 0 && now-last < int64(time.Minute) || !e.said[k].CompareAndSwap(last, now) {
		return
	}
	e.o.Logger.Warn("leash: "+what, "cache", e.name, "err", err)
}

func (e *engine) close(ctx context.Context) error {
	for i := range e.shards {
		s := &e.shards[i]
		s.mu.Lock()
		s.closed = true
		s.mu.Unlock()
	}
	e.cancel(ErrClosed)
	done := make(chan struct{})
	go func() { e.wg.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("leash: close of %q: %w: still running: %s", e.name, ctx.Err(), e.stillRunning())
	}
}

func (e *engine) stillRunning() string {
	e.runningMu.Lock()
	defer e.runningMu.Unlock()
	var keys []string
	for c := range e.running {
		keys = append(keys, fmt.Sprintf("computation of %q", c.key))
	}
	if n := e.stuck.Load(); n > 0 {
		keys = append(keys, fmt.Sprintf("%d store operations", n))
	}
	slices.Sort(keys)
	return strings.Join(keys, ", ")
}
