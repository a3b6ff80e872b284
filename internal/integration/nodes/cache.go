// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/leashcache/leash"
)

// cache is a cache of rows, whatever it keeps them as.
type cache interface {
	fetch(ctx context.Context, key string, compute computation, opts ...leash.Option) Answer
	get(ctx context.Context, key string) Answer
	delete(ctx context.Context, key string) error
	stats() Stats
	close(ctx context.Context) error
}

type computation func(ctx context.Context) (Row, error)

// cache returns the cache that c names.
func (n *node) cache(c Cache) (cache, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if k, ok := n.caches[c]; ok {
		return k, nil
	}
	k, err := n.newCache(c)
	if err != nil {
		return nil, err
	}
	n.caches[c] = k
	return k, nil
}

func (n *node) newCache(c Cache) (cache, error) {
	switch c.Kind {
	case Floor:
		return &floor{calls: map[string]*floorCall{}}, nil
	case Naive:
		return &naive{n.rdb, c.TTL}, nil
	case Poll:
		return &poll{floor{calls: map[string]*floorCall{}}, n.mc, c.Every}, nil
	case Leash:
	}
	switch c.Type {
	case TypeV1:
		return newTyped(n, c, toV1, rowV1.row)
	case TypeV2:
		return newTyped(n, c, toV2, rowV2.row)
	case TypeRow:
	}
	same := func(r Row) Row { return r }
	return newTyped(n, c, same, same)
}

// typed is a leash cache whose values are of type V.
type typed[V any] struct {
	c    *leash.Cache[V]
	to   func(Row) V
	from func(V) Row
}

func newTyped[V any](n *node, c Cache, to func(Row) V, from func(V) Row) (cache, error) {
	o := leash.Options{
		TTL: c.TTL, Lease: c.Lease, Backoff: c.Backoff, NotFoundTTL: c.NotFoundTTL,
		StaleWhileRevalidate: c.StaleWhileRevalidate, StaleIfError: c.StaleIfError,
		OperationTimeout: c.OperationTimeout, RefreshAhead: c.RefreshAhead, Jitter: c.Jitter,
		NotFound: []error{sql.ErrNoRows},
	}
	if o.Jitter == 0 {
		o.Jitter = -1
	}
	k, err := leash.New[V](c.Name, n.store, o)
	return &typed[V]{k, to, from}, err
}

func (t *typed[V]) fetch(ctx context.Context, key string, compute computation, opts ...leash.Option) Answer {
	v, outcome, err := t.c.Fetch(ctx, key, func(ctx context.Context) (V, error) {
		row, err := compute(ctx)
		return t.to(row), err
	}, opts...)
	a := t.answer(v, err)
	a.Status, a.Age = outcome.Status.String(), outcome.Age
	return a
}

func (t *typed[V]) answer(v V, err error) Answer {
	if err != nil {
		text := err.Error()
		return Answer{Err: failureOf(err), Text: text[:min(len(text), 200)]}
	}
	return Answer{Row: t.from(v), Found: true}
}

func (t *typed[V]) get(ctx context.Context, key string) Answer {
	v, ok, err := t.c.Get(ctx, key)
	a := t.answer(v, err)
	if a.Found = ok; !ok {
		a.Row = Row{}
	}
	return a
}

func (t *typed[V]) delete(ctx context.Context, key string) error { return t.c.Delete(ctx, key) }
func (t *typed[V]) close(ctx context.Context) error              { return t.c.Close(ctx) }

func (t *typed[V]) stats() Stats {
	from := t.c.Stats()
	s := Stats{Events: map[string]int64{}}
	for k := leash.EventHit; k <= leash.EventUnleased; k++ {
		s.Events[k.String()] = from.Count(k)
	}
	for op := leash.OpGet; op <= leash.OpGetMany; op++ {
		s.StoreErrors += from.StoreErrors(op)
	}
	return s
}

// The struct before and after a rollout: a field has another name, and another
// is narrower. What one wrote must never be read as the other.
type rowV1 struct {
	Key          string
	Version      int64
	Computation  string
	Began, Ended int64
	Title        string
	Size         int64
}

type rowV2 struct {
	Key          string
	Version      int64
	Computation  string
	Began, Ended int64
	Headline     string
	Size         int16
}

const (
	sizeV1 = 1<<40 + 7 // low bits look like a good size in the narrow field
	sizeV2 = 7
)

func toV1(r Row) rowV1 {
	return rowV1{r.Key, r.Version, r.Computation, r.Began, r.Ended, r.Text, sizeV1}
}
func toV2(r Row) rowV2 {
	return rowV2{r.Key, r.Version, r.Computation, r.Began, r.Ended, r.Text, sizeV2}
}

func (v rowV1) row() Row {
	return Row{v.Key, v.Version, v.Computation, v.Began, v.Ended, checked(v.Title, v.Size == sizeV1)}
}

func (v rowV2) row() Row {
	return Row{v.Key, v.Version, v.Computation, v.Began, v.Ended, checked(v.Headline, v.Size == sizeV2)}
}

func checked(text string, ok bool) string {
	if ok {
		return text
	}
	return fmt.Sprintf("wrong size beside %q", text)
}

// compute returns the function that n gives to a cache.
func (n *node) compute(key string, c Compute) computation {
	return func(ctx context.Context) (Row, error) {
		if c.IgnoreCancel {
			ctx = context.WithoutCancel(ctx)
		}
		began := now()
		t := told{Version: 1}
		var err error
		if c.Source {
			err = n.peer.call(ctx, "compute", asked{n.config.Index, key}, &t)
		} else {
			err = sleep(ctx, c.For)
		}
		row := n.row(key, t.Version, began)
		if !c.Source {
			n.note(row, err)
		}
		if err != nil {
			return Row{}, err
		}
		return row, t.How.end()
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (n *node) row(key string, version, began int64) Row {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.made++
	id := fmt.Sprintf("%d of node %d", n.made, n.config.Index)
	return Row{Key: key, Version: version, Computation: id, Began: began, Ended: now(), Text: TextOf(key, version)}
}

func (n *node) note(r Row, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.log = append(n.log, Computation{n.config.Index, r.Key, r.Version, r.Began, r.Ended, err != nil})
}

// end is how a computation returns, if it does.
func (h How) end() error {
	switch h {
	case Fail:
		return errSource
	case Panic:
		panic(sourceText)
	case Goexit:
		runtime.Goexit()
	case NotFound:
		return fmt.Errorf("asked the source: %w", leash.ErrNotFound)
	case NoRows:
		return sql.ErrNoRows
	case Value:
		return nil
	}
	return errors.New("nodes: no such end: " + string(h))
}
