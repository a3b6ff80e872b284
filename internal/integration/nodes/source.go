// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// Source is the database that all computations read. It lives in the process
// that started the nodes, so that it counts what killed nodes did as well.
type Source struct {
	mu       sync.Mutex
	versions map[string]int64
	plans    map[string]Plan
	log      []*Computation
	changed  chan struct{} // closed when the log changes
}

// Plan is what becomes of the computations of a key.
type Plan struct {
	How  How
	For  time.Duration
	Vary time.Duration                     // and up to this much longer, at random
	Hold func(Computation) <-chan struct{} // nil, or what a computation waits for as well
}

// NewSource returns a source in which every key has version 1.
func NewSource() *Source {
	return &Source{versions: map[string]int64{}, plans: map[string]Plan{}, changed: make(chan struct{})}
}

// Plan says what computations of key do from now on.
func (s *Source) Plan(key string, p Plan) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.plans[key] = p
}

// Change gives key a new version and returns it.
func (s *Source) Change(key string) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.versions[key]++
	return s.versions[key] + 1
}

// Version returns the version of key.
func (s *Source) Version(key string) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.versions[key] + 1
}

// Computations returns all computations of key in the order of their beginnings.
func (s *Source) Computations(key string) []Computation {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.of(key)
}

func (s *Source) of(key string) (list []Computation) {
	for _, c := range s.log {
		if c.Key == key {
			list = append(list, *c)
		}
	}
	return list
}

// Wait waits until the computations of key are as wanted, and returns them.
func (s *Source) Wait(ctx context.Context, key string, wanted func([]Computation) bool) ([]Computation, error) {
	for {
		s.mu.Lock()
		list, changed := s.of(key), s.changed
		s.mu.Unlock()
		if wanted(list) {
			return list, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return list, fmt.Errorf("nodes: computations of %q are not as wanted: %+v: %w", key, list, ctx.Err())
		}
	}
}

// AtATime is the most computations in list that ran at the same time.
func AtATime(list []Computation) int {
	most := 0
	for _, c := range list {
		n := 0
		for _, d := range list {
			if d.Began <= c.Began && (d.Ended == 0 || d.Ended > c.Began) {
				n++
			}
		}
		most = max(most, n)
	}
	return most
}

// asked is a node's question to the source.
type asked struct {
	Node int
	Key  string
}

// told is the source's answer.
type told struct {
	How     How
	Version int64
}

// compute is one computation. The version is read when it begins.
func (s *Source) compute(ctx context.Context, q asked) (told, error) {
	s.mu.Lock()
	p := s.plans[q.Key]
	c := &Computation{Node: q.Node, Key: q.Key, Version: s.versions[q.Key] + 1, Began: now()}
	s.log = append(s.log, c)
	s.tell()
	s.mu.Unlock()

	timer := time.NewTimer(p.For + time.Duration(rand.Int64N(int64(p.Vary)+1)))
	defer timer.Stop()
	var err error
	select {
	case <-timer.C:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if p.Hold != nil && err == nil {
		select {
		case <-p.Hold(*c):
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c.Ended, c.Cancelled = now(), err != nil
	s.tell()
	return told{p.How, c.Version}, err
}

func (s *Source) tell() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// Nodes returns which nodes computed, each once.
func Nodes(list []Computation) (nodes []int) {
	for _, c := range list {
		if !slices.Contains(nodes, c.Node) {
			nodes = append(nodes, c.Node)
		}
	}
	return nodes
}

func now() int64 { return time.Now().UnixNano() }
