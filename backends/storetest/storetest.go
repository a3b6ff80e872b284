// SPDX-License-Identifier: Apache-2.0

// Package storetest is the conformance suite of [leash.Store]: a backend is
// right when it passes.
//
//	func TestStore(t *testing.T) {
//		storetest.Run(t, func(t *testing.T) leash.Store { return memstore.New() })
//	}
//
// A server may be shared by everything that runs at the same time: rows use
// random keys, delete them, and let nothing live for more than some minutes.
// The suite expects that Get reads what was written before, so a store that
// reads from replicas is tested with that turned off, and that the server does
// not run out of memory.
//
// A row that fails prints the sentence of the contract that was broken.
package storetest

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/leashcache/leash"
)

// Config says how to reach the store under test. Only New is required; rows that
// need what is not given are skipped and say so.
type Config struct {
	// New returns one node's handle on the store. It is called once per row.
	New func(t *testing.T) leash.Store

	// Node returns another node's handle on the data of s, which New returned.
	// Nil: s stands for both nodes.
	Node func(t *testing.T, s leash.Store) leash.Store

	// Raw writes data under key as a foreign program would, to stay for at
	// least a minute. s is what New returned.
	Raw func(s leash.Store, key string, data []byte) error

	// OtherType puts something under key that the store cannot read as bytes: a
	// list in Redis. Leave it nil where there is no such thing.
	OtherType func(s leash.Store, key string) error

	// Grain is how much later than asked the store may end a lease or a life: 2 s
	// in memcached, zero where milliseconds are kept. Nothing may ever end earlier.
	Grain time.Duration

	// NoHints says that Watch, though there, tells nothing: a server without
	// pub/sub. The rows about hints are skipped.
	NoHints bool

	// Around runs the body of each row, New included. A store without sockets
	// passes testing/synctest.Test, and the suite takes no time.
	Around func(t *testing.T, row func(t *testing.T))
}

// Run tests the store that newStore returns, as [Config.Run] does.
func Run(t *testing.T, newStore func(t *testing.T) leash.Store) {
	t.Helper()
	Config{New: newStore}.Run(t)
}

// Run runs every row as a subtest. Rows that wait for time to pass run all at
// once below "timed". All have ended when Run returns.
func (c Config) Run(t *testing.T) {
	t.Helper()
	var timed []row
	for _, r := range rows() {
		if r.timed {
			timed = append(timed, r)
			continue
		}
		t.Run(r.name, func(t *testing.T) { c.run(t, r) })
	}
	t.Run("timed", func(t *testing.T) {
		// Not t.Parallel: that runs as many as there are processors, and what
		// these rows do is wait.
		var wg sync.WaitGroup
		for _, r := range timed {
			wg.Go(func() { t.Run(r.name, func(t *testing.T) { c.run(t, r) }) })
		}
		wg.Wait()
	})
}

// run runs one row on a store of its own.
func (c Config) run(t *testing.T, r row) {
	around := c.Around
	if around == nil {
		around = func(t *testing.T, f func(*testing.T)) { f(t) }
	}
	around(t, func(t *testing.T) {
		s := c.New(t)
		other := s
		if c.Node != nil {
			other = c.Node(t, s)
		}
		r.run(&env{TB: t, cfg: c, ctx: t.Context(), s: s, other: other})
	})
}

// row is one rule of the contract and what proves it.
type row struct {
	name  string
	rule  string
	timed bool
	needs need
	test  func(e *env)
}

// need is what not every store has; a row without it is skipped.
type need func(e *env) (missing string)

func needRaw(e *env) string {
	if e.cfg.Raw == nil {
		return "Config.Raw is not set"
	}
	return ""
}

func needOtherType(e *env) string {
	if e.cfg.OtherType == nil {
		return "Config.OtherType is not set"
	}
	return ""
}

func needBatch(e *env) string {
	if _, ok := e.other.(leash.BatchStore); !ok {
		return "the store is no leash.BatchStore"
	}
	return ""
}

func needWaker(e *env) string {
	if _, ok := e.other.(leash.Waker); !ok {
		return "the store is no leash.Waker"
	}
	if e.cfg.NoHints {
		return "Config.NoHints is set"
	}
	return ""
}

func (r row) run(e *env) {
	if r.needs != nil {
		if missing := r.needs(e); missing != "" {
			e.Skip(missing)
		}
	}
	defer e.clean()
	defer func() {
		if e.Failed() {
			e.Logf("broken rule: %s", r.rule)
		}
	}()
	r.test(e)
}

// clean deletes what the row wrote. The row's own context may be over by now.
func (e *env) clean() {
	ctx, cancel := context.WithTimeout(context.Background(), slack)
	defer cancel()
	for _, key := range e.keys {
		_ = e.s.Delete(ctx, key)
	}
}

func rows() []row {
	var all []row
	for _, group := range [][]row{
		getRows, keyRows, leaseRows, foreignRows, stealRows, publishRows,
		renewRows, abandonRows, deleteRows, raceRows, watchRows,
	} {
		all = append(all, group...)
	}
	return all
}
