// SPDX-License-Identifier: Apache-2.0

package leash

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"
)

// Observer is told what happens in a cache. Observe is called on the goroutine
// where it happens, mostly a flight's, so it must be quick, must not panic, and is
// safe for concurrent use.
type Observer interface {
	Observe(Event)
}

// Event is one thing that happened. Neither keys nor values are in it, so that
// all but Err can be a metric's label.
type Event struct {
	Cache    string        // the cache's name
	Kind     EventKind     // what happened
	Result   Result        // of a computation
	Op       Op            // of a step at the store
	Duration time.Duration // of a computation, or of a wait for another node
	Err      error         // what went wrong, if something did; for logs
}

// EventKind says what happened.
type EventKind uint8

// The kinds of events. Every GetOrCompute, and every key of a GetMany, is exactly
// one of EventHit to EventLeft; the others tell how it came about.
const (
	EventHit         EventKind = iota // a call was answered by a fresh value
	EventUpdating                     // a call was answered by a stale value while it is refreshed
	EventStale                        // a call was answered by a stale value because computing failed or took too long
	EventNotFoundHit                  // a call was answered by a stored "not found"
	EventBackoffHit                   // a call was answered by an error whose back-off lasts
	EventMiss                         // a call was answered by a computation in this process
	EventElsewhere                    // a call was answered by a computation on another node, for which it waited
	EventBypass                       // a call bypassed the cache
	EventLeft                         // a call ended without an answer: its context or its wait ended, or it was refused
	EventCoalesced                    // a call joined others in this process
	EventCompute                      // a computation ended; Duration, Result, Err
	EventWait                         // a wait for another node ended; Duration
	EventLeased                       // a lease was acquired
	EventTakenOver                    // a lease was acquired from a holder that gave no sign of life
	EventBusy                         // a lease was refused: another node computes
	EventLeaseLost                    // a lease was found lost at its renewal
	EventVoided                       // a computed value was not stored: its lease was lost, most often to a delete
	EventUndecodable                  // an entry was no value of this type; Err says why
	EventRefresh                      // a background refresh began
	EventStoreError                   // a step at the store failed; Op, Err
	EventUnleased                     // a computation ran without a lease; Err says why
	eventKinds
)

var eventNames = [eventKinds]string{
	"hit", "updating", "stale", "not_found_hit", "backoff_hit", "miss", "elsewhere", "bypass", "left",
	"coalesced", "compute", "wait", "leased", "taken_over", "busy", "lease_lost", "voided", "undecodable",
	"refresh", "store_error", "unleased",
}

// String returns the kind's name in snake case.
func (k EventKind) String() string { return name(eventNames[:], int(k)) }

// Result is how a computation ended.
type Result uint8

// The results of computations.
const (
	ResultNone Result = iota // the event is not of a computation
	ResultValue
	ResultNotFound
	ResultError
	ResultPanic
	ResultGoexit
	ResultTimeout
	ResultCancelled
)

var resultNames = []string{"none", "value", "not_found", "error", "panic", "goexit", "timeout", "cancelled"}

// String returns the result's name in snake case.
func (r Result) String() string { return name(resultNames, int(r)) }

// Op is a step at the store.
type Op uint8

// The steps at a store.
const (
	OpNone Op = iota // the event is not of a step at the store
	OpGet
	OpLease
	OpPublish
	OpRenew
	OpAbandon
	OpDelete
	OpSet
	OpGetMany
	ops
)

var opNames = [ops]string{"none", "get", "lease", "publish", "renew", "abandon", "delete", "set", "get_many"}

// String returns the step's name in snake case.
func (o Op) String() string { return name(opNames[:], int(o)) }

func name(names []string, i int) string {
	if i < len(names) {
		return names[i]
	}
	return "unknown"
}

// Stats counts what happened since the cache was made.
type Stats struct {
	counts [eventKinds]int64
	errors [ops]int64
	// ComputeTime is the sum of all computations' durations.
	ComputeTime time.Duration
	// WaitTime is the sum of all waits for other nodes.
	WaitTime time.Duration
}

// Count returns how many events of a kind there were.
func (s Stats) Count(k EventKind) int64 { return s.counts[k] }

// StoreErrors returns how many steps of a kind failed.
func (s Stats) StoreErrors(op Op) int64 { return s.errors[op] }

type counters struct {
	events  [eventKinds]atomic.Int64
	errors  [ops]atomic.Int64
	compute atomic.Int64
	wait    atomic.Int64
}

func (c *counters) snapshot() Stats {
	s := Stats{ComputeTime: time.Duration(c.compute.Load()), WaitTime: time.Duration(c.wait.Load())}
	for i := range c.events {
		s.counts[i] = c.events[i].Load()
	}
	for i := range c.errors {
		s.errors[i] = c.errors[i].Load()
	}
	return s
}

func (e *engine) event(ev Event) {
	e.counters.events[ev.Kind].Add(1)
	switch ev.Kind {
	case EventStoreError:
		e.counters.errors[ev.Op].Add(1)
	case EventCompute:
		e.counters.compute.Add(int64(ev.Duration))
	case EventWait:
		e.counters.wait.Add(int64(ev.Duration))
	default:
	}
	if e.o.Observer != nil {
		ev.Cache = e.name
		e.o.Observer.Observe(ev)
	}
}

// LogTo returns an Observer that writes every event to l: what an operator should
// look at as warnings, the rest for debugging. Nothing is held back: a store that
// is down makes a line for each failed step.
func LogTo(l *slog.Logger) Observer { return logObserver{l} }

type logObserver struct{ l *slog.Logger }

func (o logObserver) Observe(ev Event) {
	level := slog.LevelDebug
	switch ev.Kind {
	case EventStoreError, EventUndecodable:
		level = slog.LevelWarn
	case EventUnleased:
		if !errors.Is(ev.Err, ErrBusy) { // with Compute it is what the user asked for
			level = slog.LevelWarn
		}
	case EventCompute:
		if ev.Result > ResultNotFound {
			level = slog.LevelWarn
		}
	default:
	}
	ctx := context.Background()
	if !o.l.Enabled(ctx, level) {
		return
	}
	attrs := []slog.Attr{slog.String("cache", ev.Cache)}
	switch ev.Kind {
	case EventCompute:
		attrs = append(attrs, slog.Duration("duration", ev.Duration), slog.String("result", ev.Result.String()))
	case EventWait:
		attrs = append(attrs, slog.Duration("duration", ev.Duration))
	case EventStoreError:
		attrs = append(attrs, slog.String("op", ev.Op.String()))
	default:
	}
	if ev.Err != nil {
		attrs = append(attrs, slog.Any("err", ev.Err))
	}
	o.l.LogAttrs(ctx, level, "leash: "+ev.Kind.String(), attrs...)
}
