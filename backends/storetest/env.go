// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/leashcache/leash"
	"github.com/leashcache/leash/internal/entry"
)

const (
	// long is a time that no row lives to see end.
	long = time.Minute

	// short is a time that a timed row waits for.
	short = 300 * time.Millisecond

	// early is how much before its time something may end: a store that keeps
	// whole milliseconds, and reads its clock a little before it takes the step.
	early = 2 * time.Millisecond

	// late is how much after its time, and the store's grain, something may end.
	late = 150 * time.Millisecond

	// slack is how long cleaning up may take.
	slack = 5 * time.Second

	// expected is the duration that every lease of the suite announces.
	expected = 1500 * time.Millisecond
)

// env is what a row works with: two nodes on one store.
type env struct {
	testing.TB
	cfg      Config
	ctx      context.Context // the row's
	s, other leash.Store
	keys     []string
}

// node returns one of the two nodes.
func (e *env) node(i int) leash.Store {
	if i%2 == 0 {
		return e.s
	}
	return e.other
}

// key returns a key that nobody else uses.
func (e *env) key(suffix string) string {
	t := newToken()
	key := "storetest/" + hex.EncodeToString(t[:8]) + "/" + suffix
	e.keys = append(e.keys, key)
	return key
}

func newToken() (t entry.Token) {
	_, _ = rand.Read(t[:]) // never fails
	return t
}

// value returns an entry that t publishes.
func value(key string, t entry.Token, payload string) []byte {
	b := append(entry.Begin(nil), payload...)
	entry.Finish(b, entry.NewScope("storetest", ""), key, entry.Sealed{
		Publisher: t, Kind: entry.Value, Created: time.Now(), Fresh: long, Cost: expected,
	})
	return b
}

// body is the part of b that does not belong to the store.
func body(b []byte) []byte {
	if h, ok := entry.HeadOf(b); ok && len(b) > entry.HeadSize+h.Size() {
		return b[:entry.HeadSize+h.Size()]
	}
	return b
}

// same reports whether two results are the same entry under the same lease, or
// the same foreign bytes, or both nothing.
func same(a, b []byte) bool {
	return (a == nil) == (b == nil) && bytes.Equal(body(a), body(b))
}

// sameValue is same without a look at the lease area.
func sameValue(a, b []byte) bool {
	x, y := bytes.Clone(body(a)), bytes.Clone(body(b))
	for _, z := range [][]byte{x, y} {
		if h, ok := entry.HeadOf(z); ok {
			h.ClearLease()
		}
	}
	return same(x, y)
}

// token is the lease token in b; zero when b is no entry.
func token(b []byte) entry.Token {
	if h, ok := entry.HeadOf(b); ok {
		return h.Token()
	}
	return entry.Token{}
}

func (e *env) get(s leash.Store, key string) []byte {
	e.Helper()
	b, err := s.Get(e.ctx, key, nil)
	if err != nil {
		e.Fatalf("Get: %v", err)
	}
	return b
}

// head is the head of the entry that must stand under key.
func (e *env) head(s leash.Store, key string) entry.Head {
	e.Helper()
	b := e.get(s, key)
	h, ok := entry.HeadOf(b)
	if !ok {
		e.Fatalf("under the key stands %s, want an entry", show(b))
	}
	return h
}

// mustBe reads from s and compares everything but what belongs to the store.
func (e *env) mustBe(s leash.Store, key string, want []byte) {
	e.Helper()
	if got := e.get(s, key); !same(got, want) {
		e.Fatalf("under the key stands %s, want %s", show(got), show(want))
	}
}

// store publishes b by force.
func (e *env) store(key string, b []byte, ttl time.Duration) {
	e.Helper()
	e.publish(e.s, key, b, ttl, true, true)
}

func (e *env) publish(s leash.Store, key string, b []byte, ttl time.Duration, force, want bool) {
	e.Helper()
	stored, err := s.Publish(e.ctx, key, b, ttl, force)
	if err != nil {
		e.Fatalf("Publish: %v", err)
	}
	if stored != want {
		e.Fatalf("Publish reported %v, want %v", stored, want)
	}
}

func (e *env) renew(s leash.Store, key string, t entry.Token, ttl time.Duration, want bool) {
	e.Helper()
	held, err := s.Renew(e.ctx, key, t[:], ttl)
	if err != nil {
		e.Fatalf("Renew: %v", err)
	}
	if held != want {
		e.Fatalf("Renew reported %v, want %v", held, want)
	}
}

func (e *env) abandon(s leash.Store, key string, t entry.Token, backoff time.Duration, want bool) {
	e.Helper()
	held, err := s.Abandon(e.ctx, key, t[:], backoff)
	if err != nil {
		e.Fatalf("Abandon: %v", err)
	}
	if held != want {
		e.Fatalf("Abandon reported %v, want %v", held, want)
	}
}

func (e *env) delete(s leash.Store, key string) {
	e.Helper()
	if err := s.Delete(e.ctx, key); err != nil {
		e.Fatalf("Delete: %v", err)
	}
}

func (e *env) raw(key string, b []byte) {
	e.Helper()
	if err := e.cfg.Raw(e.s, key, b); err != nil {
		e.Fatalf("Config.Raw: %v", err)
	}
}

// together runs f n times at once, on both nodes.
func (e *env) together(n int, f func(i int, s leash.Store) error) {
	e.Helper()
	var wg sync.WaitGroup
	start, errs := make(chan struct{}), make([]error, n)
	for i := range n {
		wg.Go(func() {
			<-start
			errs[i] = f(i, e.node(i))
		})
	}
	close(start)
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		e.Fatal(err)
	}
}
