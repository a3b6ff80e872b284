// SPDX-License-Identifier: Apache-2.0

package leash

import (
	"context"
	"errors"
	"sync"

	"github.com/leashcache/leash/internal/entry"
)

// many is one GetMany: its keys, and the batch that computes those whose leases
// this process gets.
type many[K comparable, V any] struct {
	ctx   context.Context
	l     Loader[K, V]
	e     *engine
	call  call
	keys  []K
	names []string
	index map[K]int
	batch *batch[K, V]

	values map[K]V
	errs   KeyErrors[K]
}

func newMany[K comparable, V any](ctx context.Context, l Loader[K, V], c call) *many[K, V] {
	return &many[K, V]{ctx: ctx, l: l, e: l.Cache.e, call: c, index: map[K]int{}, values: map[K]V{}, errs: KeyErrors[K]{}}
}

func (m *many[K, V]) add(k K, name string) {
	m.index[k] = len(m.keys)
	m.keys = append(m.keys, k)
	m.names = append(m.names, name)
}

func (m *many[K, V]) get() (map[K]V, error) {
	if len(m.keys) == 0 {
		return m.values, nil
	}
	if m.call.bypass {
		for i := range m.keys {
			v, a := fetch[V](m.ctx, m.e, m.names[i], m.single(i), m.call)
			m.put(i, v, a.err)
		}
		return m.result()
	}
	if err := m.e.enter(m.e.prefix + m.names[0]); err != nil {
		return nil, err
	}
	defer m.e.wg.Done()
	missing := m.read()
	m.compute(missing)
	return m.result()
}

func (m *many[K, V]) result() (map[K]V, error) {
	if len(m.errs) > 0 {
		return m.values, m.errs
	}
	return m.values, nil
}

// take puts the answer to key i where it belongs.
func (m *many[K, V]) take(i int, a answer) {
	v, ok := open[V](m.e, &a)
	if !ok { // what is stored can not be decoded
		c := m.call
		c.refresh = true
		v, a = fetch[V](m.ctx, m.e, m.names[i], m.single(i), c)
	} else {
		m.e.event(Event{Kind: a.kind()})
	}
	m.put(i, v, a.err)
}

func (m *many[K, V]) put(i int, v V, err error) {
	switch {
	case err == nil:
		m.values[m.keys[i]] = v
	case !errors.Is(err, ErrNotFound):
		m.errs[m.keys[i]] = err
	}
}

func (m *many[K, V]) single(i int) computer {
	return computeFunc[V](func(ctx context.Context) (V, error) { return m.l.load(ctx, m.keys[i]) })
}

// pending is a key that needs more than its first read.
type pending struct {
	i int
	r *reading
}

// read takes what is stored and returns the rest.
func (m *many[K, V]) read() []pending {
	entries, failed := m.entries()
	var missing []pending
	for i := range m.keys {
		r := &reading{err: failed(i)}
		if r.err == nil {
			r.b = &buffer{entry: entries[i]}
			g := &group{ctx: m.ctx, comp: m.single(i), call: m.call}
			v := m.e.judge(entries[i], m.names[i], entry.Token{})
			m.e.countUndecodable(&v)
			if a, ok := m.e.atOnce(&v, g); ok {
				if m.e.due(&v) {
					m.e.refresh(m.names[i], m.e.prefix+m.names[i], g, &v)
				}
				m.take(i, a)
				continue
			}
		}
		missing = append(missing, pending{i, r})
	}
	return missing
}

// entries reads all keys, and tells which could not be read.
func (m *many[K, V]) entries() (entries [][]byte, failed func(i int) error) {
	names := make([]string, len(m.names))
	for i, n := range m.names {
		names[i] = m.e.prefix + n
	}
	entries, errs := make([][]byte, len(names)), make([]error, len(names))
	if m.e.batch == nil {
		var err error
		for i, n := range names {
			if err == nil { // else it would cost its time once more for each key
				entries[i], err = m.e.read(m.ctx, n)
			}
			errs[i] = err
		}
		return entries, func(i int) error { return errs[i] }
	}
	var partial partialError
	all, err := budgeted(m.ctx, m.e, OpGetMany, func(ctx context.Context) ([][]byte, error) {
		all, err := m.e.batch.GetMany(ctx, names)
		if len(all) == len(names) && errors.As(err, &partial) {
			err = nil
		}
		return all, err
	})
	if err != nil {
		return entries, func(int) error { return err }
	}
	if partial == nil {
		return all, func(int) error { return nil }
	}
	err = m.e.failed(OpGetMany, partial)
	return all, func(i int) error {
		if partial.Failed(i) == nil {
			return nil
		}
		return err
	}
}

// partialError is the error of a GetMany that could read some keys; see BatchStore.
type partialError interface {
	error
	Failed(i int) error
}

// compute gets the missing keys, each through a flight of its own or one that is
// under way.
func (m *many[K, V]) compute(missing []pending) {
	if m.l.LoadMany != nil {
		m.batch = newBatch(m.l, len(missing))
	}
	type waiting struct {
		f *flight
		g *group
		i int
	}
	var all []waiting
	for _, p := range missing {
		comp := m.single(p.i)
		if m.batch != nil {
			comp = &member[K, V]{b: m.batch, key: m.keys[p.i]}
		}
		f, g, err := m.begin(p, comp)
		if err != nil {
			m.errs[m.keys[p.i]] = err
			continue
		}
		all = append(all, waiting{f, g, p.i})
	}
	for _, w := range all {
		a, _ := w.f.await(m.ctx, w.g, m.call.maxWait)
		m.take(w.i, a)
	}
}

func (m *many[K, V]) begin(p pending, comp computer) (*flight, *group, error) {
	name := m.names[p.i]
	full := m.e.prefix + name
	decided := func() {
		if d, ok := comp.(interface{ answered() }); ok {
			d.answered()
		}
	}
	if c := computationOf(m.ctx); c != nil && c.within(m.e.store, full) {
		decided()
		return nil, nil, ErrRecursive
	}
	f, g, err := m.e.join(m.ctx, full, name, comp, m.call)
	if err != nil || g != nil {
		decided()
		return f, g, err
	}
	defer m.e.wg.Done()
	f.first.done = make(chan struct{})
	m.e.spawn(func() { defer m.e.wg.Done(); f.run(p.r) })
	return f, &f.first, nil
}

// batch computes several keys by one call of LoadMany, once it is known of every
// key whether this process has its lease.
type batch[K comparable, V any] struct {
	l    Loader[K, V]
	turn chan struct{} // whoever takes it makes the call
	done chan struct{}

	mu      sync.Mutex
	open    int // keys of which it is not known yet
	fired   bool
	members []*member[K, V]
	values  map[K]V
	err     error

	placeMu sync.Mutex
	sharers int // members that share the place
}

func newBatch[K comparable, V any](l Loader[K, V], n int) *batch[K, V] {
	return &batch[K, V]{l: l, open: n, turn: make(chan struct{}, 1), done: make(chan struct{})}
}

// member is one key of a batch, as a computation.
type member[K comparable, V any] struct {
	b       *batch[K, V]
	key     K
	ctx     context.Context
	decided bool // guarded by b.mu
}

// answered says that the key's value comes from elsewhere.
func (m *member[K, V]) answered() {
	m.b.mu.Lock()
	defer m.b.mu.Unlock()
	m.decide()
}

// decide counts the key; b.mu is held.
func (m *member[K, V]) decide() {
	if m.decided {
		return
	}
	m.decided = true
	m.b.open--
	if m.b.open == 0 && len(m.b.members) > 0 {
		m.b.fired = true
		m.b.turn <- struct{}{}
	}
}

// share takes a place for the first member who needs one, and gives it back with
// the last.
func (m *member[K, V]) share(take func() error, release func()) (func(), error) {
	b := m.b
	b.placeMu.Lock()
	defer b.placeMu.Unlock()
	if b.sharers == 0 {
		if err := take(); err != nil {
			return nil, err
		}
	}
	b.sharers++
	return func() {
		b.placeMu.Lock()
		defer b.placeMu.Unlock()
		if b.sharers--; b.sharers == 0 {
			release()
		}
	}, nil
}

// arrive reports whether the batch takes the key.
func (m *member[K, V]) arrive(ctx context.Context) bool {
	b := m.b
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fired || m.decided {
		return false
	}
	m.ctx = ctx
	b.members = append(b.members, m)
	m.decide()
	return true
}

func (m *member[K, V]) compute(ctx context.Context) (any, error) {
	if !m.arrive(ctx) {
		return m.b.l.loadOne(ctx, m.key)
	}
	select {
	case <-m.b.turn:
		m.b.call(ctx)
	case <-m.b.done:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	<-m.b.done
	if m.b.err != nil {
		return nil, m.b.err
	}
	v, ok := m.b.values[m.key]
	if !ok {
		return nil, ErrNotFound
	}
	m.b.l.setTTL(ctx, m.key, v, nil)
	return v, nil
}

// call makes the one call, on the goroutine of one member's computation: a panic
// takes its way through that one, the others get it as an error.
func (b *batch[K, V]) call(ctx context.Context) {
	b.err = ErrGoexit
	defer close(b.done)
	defer func() {
		if p := recover(); p != nil {
			b.err = panicError(p)
			panic(p)
		}
	}()
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer b.cancelWithMembers(cancel)()
	keys := make([]K, len(b.members))
	for i, m := range b.members {
		keys[i] = m.key
	}
	b.values, b.err = b.l.LoadMany(ctx, keys)
}

// cancelWithMembers calls cancel when no member's computation is wanted any more.
func (b *batch[K, V]) cancelWithMembers(cancel func()) (stop func()) {
	var mu sync.Mutex
	left := len(b.members)
	stops := make([]func() bool, 0, left)
	for _, m := range b.members {
		stops = append(stops, context.AfterFunc(m.ctx, func() {
			mu.Lock()
			defer mu.Unlock()
			if left--; left == 0 {
				cancel()
			}
		}))
	}
	return func() {
		for _, s := range stops {
			s()
		}
	}
}
